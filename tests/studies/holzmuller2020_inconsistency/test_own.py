"""What is particular to the study of inconsistency: its data."""

import numpy as np
import pytest

from thalweg.studies.holzmuller2020_inconsistency import data, reduced


def test_the_six_points_are_those_of_the_paper():
    assert dict(zip(data.X, data.Y, strict=True)) == {-3: -1, -2: 2, -1: -1, 1: 1, 2: -2, 3: 1}
    np.testing.assert_allclose(data.six_points(0.1).best_lines(), [0, 0.1, 0, 0.1], atol=1e-13)


def test_the_wave_is_standardised_and_keeps_its_noise():
    x, y = data.wave(np.random.default_rng(0), 50_000)
    for values in (x, y):
        assert values.mean() == pytest.approx(0, abs=1e-12)
        assert values.std() == pytest.approx(1)
    order = np.argsort(x)
    jumps = np.diff(y[order])[np.diff(x[order]) < 1e-4]
    assert np.sqrt(np.mean(jumps**2) / 2) == pytest.approx(0.143, rel=0.03)


def test_the_star_has_three_examples_a_ray():
    x, y = data.star()
    angles = np.round(np.arctan2(x[:, 1], x[:, 0]), 9)
    for angle in np.unique(angles):
        on = angles == angle
        radii = np.linalg.norm(x[on], axis=1)
        assert dict(zip(radii.round(9), y[on], strict=True)) == {0.9: 1, 1.0: -2, 1.1: 1}


def test_offsets_share_their_draws():
    one, other = (reduced.drawn_runs(8, 5, offset) for offset in (0.0, 0.1))
    np.testing.assert_array_equal(one.net.a, other.net.a)
    np.testing.assert_array_equal(one.data.p, other.data.p)
    np.testing.assert_allclose(one.data.p.sum(1), 1)
