"""Exact total-variation denoising of lines, against duality and strings drawn one by one."""

import numpy as np
import pytest

import thalweg as tw
from thalweg.estimators import total_variation
from thalweg.estimators.total_variation import taut_strings

RNG = np.random.default_rng(0)


def gap(lines, strings, radii):
    """Primal minus dual of every line."""
    x, v = strings.values, strings.heights
    pulled = -np.diff(np.pad(v, ((0, 0), (1, 1))), axis=1)
    primal = 0.5 * ((lines - x) ** 2).sum(1) + radii * np.abs(np.diff(x, axis=1)).sum(1)
    return primal - 0.5 * (lines**2).sum(1) + 0.5 * ((lines - pulled) ** 2).sum(1)


@pytest.mark.parametrize("size", [1, 2, 7, 90])
@pytest.mark.parametrize("walk", [False, True])
def test_strings_close_the_duality_gap(size, walk):
    lines = RNG.normal(size=(40, size))
    lines = np.cumsum(lines, axis=1) if walk else lines
    radii = np.geomspace(1e-2, 1e2, 40)
    strings = taut_strings(lines, radii)
    assert (np.abs(strings.heights) <= radii[:, None] * (1 + 1e-9)).all()
    scale = 0.5 * ((lines - lines.mean(1, keepdims=True)) ** 2).sum(1)
    assert (np.abs(gap(lines, strings, radii)) <= 1e-9 * scale + 1e-12).all()
    steps = np.diff(strings.values, axis=1)
    assert (np.sign(np.where(np.abs(steps) < 1e-9, 0, steps)) == strings.touches[:, :-1]).all()


def test_lines_that_do_not_end_are_drawn_one_by_one(monkeypatch):
    lines = np.cumsum(RNG.normal(size=(30, 50)), axis=1)
    radii = np.geomspace(0.1, 30, 30)
    right = taut_strings(lines, radii)
    monkeypatch.setattr(total_variation, "MOST_PASSES", 0)
    drawn = taut_strings(lines, radii)
    np.testing.assert_allclose(drawn.values, right.values, atol=1e-12)
    np.testing.assert_array_equal(drawn.touches, right.touches)


def test_a_start_from_another_problem_changes_nothing():
    lines = RNG.normal(size=(20, 40))
    radii = np.full(20, 0.8)
    cold = taut_strings(lines, radii)
    warm = taut_strings(lines, radii, taut_strings(lines[::-1], radii).touches)
    np.testing.assert_allclose(warm.values, cold.values, atol=1e-12)


def test_any_axis_large_and_zero_thresholds():
    y = RNG.normal(size=(3, 4, 5))
    prox = tw.estimators.total_variation_prox
    np.testing.assert_allclose(prox(y, 0.0, axis=1), y, atol=1e-14)
    np.testing.assert_allclose(prox(y, 1e3, axis=1), np.broadcast_to(y.mean(1)[:, None], y.shape))
    one = prox(y[1, :, 2], 0.3)
    np.testing.assert_allclose(prox(y, 0.3, axis=1)[1, :, 2], one, atol=1e-14)
    assert prox(np.zeros((0, 3)), 1.0).shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1.0, np.nan], 1.0), "finite"),
        (([1.0, 2.0], -1.0), "threshold=-1.0"),
        (([1.0, 2.0], 1.0, 1), "axis=1"),
    ],
)
def test_bad_arguments_are_told(arguments, words):
    with pytest.raises(tw.InputError, match=words):
        tw.estimators.total_variation_prox(np.array(arguments[0]), *arguments[1:])
