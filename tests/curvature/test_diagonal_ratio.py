"""R_med of blocks against dense Hessians, and its sampling, errors and edge cases."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import thalweg as tw
from thalweg.core.hessian_product import dense_hessian
from thalweg.core.result import Reading, Result
from thalweg.curvature.diagonal_ratio import (
    block_ratio,
    block_ratios,
    coordinate_marks,
    max_over_median,
    sampled_coordinates,
)
from thalweg.problems import Function


def small_net():
    x = np.random.default_rng(0).normal(size=(15, 4))
    problem = tw.problems.supervised(tw.models.mlp([5, 3], "tanh"), (x, np.arange(15) % 3))
    return problem, problem.init(jax.random.key(1))


def dense_diagonal(problem, params):
    """The diagonal of the Hessian, shaped as the parameters."""
    dense = jax.jit(lambda p: dense_hessian(problem.objective, p))(params)
    return ravel_pytree(params)[1](jnp.diagonal(dense))


def reading(values, errors=None):
    values = jnp.asarray(values, float)
    errors = jnp.zeros_like(values) if errors is None else jnp.asarray(errors, float)
    return Reading(values, errors, jnp.zeros((), jnp.int32))


@pytest.mark.parametrize(
    ("values", "ratio"),
    [
        ([3.0], 1),
        ([1.0, -4.0], 4 / 2.5),  # the median of two is their mean
        ([-6.0, 2.0, 1.0], 3),
        ([5.0, 0.0, 0.0], np.inf),
        ([0.0, 0.0], np.inf),
        ([1.0, np.nan, 2.0], np.nan),
    ],
)
def test_largest_over_median_by_hand(values, ratio):
    np.testing.assert_equal(float(max_over_median(jnp.asarray(values))), ratio)


def test_largest_over_median_of_many_blocks_at_once():
    values = np.random.default_rng(2).normal(size=(3, 4, 10))
    expected = np.abs(values).max(-1) / np.median(np.abs(values), axis=-1)
    np.testing.assert_allclose(max_over_median(jnp.asarray(values)), expected, rtol=1e-14)


def test_zeros_are_counted():
    found = block_ratio(reading([0.0, 0.0, 1.0, 3.0]))
    assert (float(found.zeros), float(found.value)) == (0.5, 6)
    assert float(block_ratio(reading([0.0, 0.0, 3.0])).value) == np.inf
    assert int(found.result) == Result.OK
    assert int(block_ratio(reading([1.0, np.nan])).result) == Result.NONFINITE


def test_the_error_covers_every_move_of_the_entries():
    rng = np.random.default_rng(3)
    values, errors = rng.normal(size=9), 0.1 * rng.random(9)
    found = block_ratio(reading(values, errors))
    moved = values + errors * rng.uniform(-1, 1, size=(2000, 9))
    gaps = np.abs(max_over_median(jnp.asarray(moved)) - found.value)
    assert 0 < float(gaps.max()) <= float(found.error)
    assert float(block_ratio(reading(values)).error) == 0
    assert float(block_ratio(reading([1.0, 0.1, 0.1], [0.0, 0.2, 0.2])).error) == np.inf


def test_blocks_against_the_dense_hessian():
    problem, params = small_net()
    entries = dense_diagonal(problem, params)
    found = block_ratios(problem, params)
    assert list(found) == ["0.weight", "1.weight", "2.weight"]
    for layer, ratio in zip(entries, found.values(), strict=True):
        size = np.abs(np.ravel(layer["weight"]))
        assert float(ratio.value) == pytest.approx(size.max() / np.median(size), rel=1e-9)
        assert float(ratio.error) == 0


def test_sampled_blocks_and_those_of_ones_own():
    problem, params = small_net()
    dense = dense_diagonal(problem, params)
    coordinates = {"2.weight": np.array([1, 4, 8]), "0.bias": np.array([0, 2, 3, 4])}
    found = block_ratios(problem, params, coordinates)
    for path, entries in (("2.weight", dense[2]["weight"]), ("0.bias", dense[0]["bias"])):
        size = np.abs(np.ravel(entries)[coordinates[path]])
        assert float(found[path].value) == pytest.approx(size.max() / np.median(size), rel=1e-9)


def test_an_estimate_tells_its_error():
    """A diagonal Hessian has no noise; a full one has."""
    scales = jnp.arange(1.0, 21.0).reshape(4, 5)
    even = Function(lambda p: jnp.sum(scales * p["W"] ** 2) / 2, {"W": jnp.ones((4, 5))})
    found = block_ratios(even, even.start, method="hutchinson", products=12)["W"]
    assert float(found.value) == pytest.approx(20 / 10.5)
    assert float(found.error) == pytest.approx(0, abs=1e-12)
    problem, params = small_net()
    exact = block_ratios(problem, params)
    noisy = block_ratios(problem, params, method="hutchinson", products=20, key=jax.random.key(4))
    assert all(float(noisy[path].error) > 0 for path in exact)


def test_coordinates_are_drawn_as_numpy_draws_them():
    params = [np.zeros((6, 5)), np.zeros(7), np.zeros((2, 2))]
    found = sampled_coordinates(params, 8, np.random.default_rng(5))
    expected = np.sort(np.random.default_rng(5).choice(30, 8, replace=False))
    assert list(found) == ["0", "2"]
    np.testing.assert_array_equal(found["0"], expected)
    np.testing.assert_array_equal(found["2"], np.arange(4))
    np.testing.assert_array_equal(sampled_coordinates(params, 8, 5)["0"], expected)
    np.testing.assert_array_equal(sampled_coordinates(params, None)["0"], np.arange(30))
    marks = coordinate_marks(params, found)
    np.testing.assert_array_equal(np.flatnonzero(marks[0]), expected)
    assert not marks[1].any()
    assert marks[2].all()


@pytest.mark.parametrize(
    ("coordinates", "words"),
    [
        ({"0.wieght": np.array([0])}, "Did you mean '0.weight'"),
        ({"0.weight": np.array([3, 1])}, "must increase"),
        ({"0.weight": np.array([99])}, "lie in 0..19"),
        ({"0.weight": np.array([], int)}, "chooses no parameter"),
    ],
)
def test_wrong_coordinates_are_told(coordinates, words):
    problem, params = small_net()
    with pytest.raises(tw.InputError, match=words):
        block_ratios(problem, params, coordinates)


def test_wrong_samples_are_told():
    with pytest.raises(tw.InputError, match="at least 1"):
        sampled_coordinates([np.zeros((2, 2))], 0)
    with pytest.raises(tw.InputError, match="no parameter is a matrix"):
        sampled_coordinates([np.zeros(3)])
