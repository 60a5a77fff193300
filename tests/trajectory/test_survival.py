"""Staying by Kaplan and Meier: against the product by hand, shares, and its own coverage."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.trajectory import staying_share


def by_hand(exits: np.ndarray, followed: np.ndarray, t: float) -> float:
    share, seen = 1.0, exits <= followed
    for moment in np.unique(exits[seen & (exits <= t)]):
        n = np.sum(np.where(seen, exits, followed) >= moment)
        share *= 1 - np.sum(seen & (exits == moment)) / n
    return share


def test_shares_that_are_censored() -> None:
    rng = np.random.default_rng(0)
    exits, followed = rng.integers(1, 30, 60).astype(float), rng.integers(5, 40, 60).astype(float)
    times = np.array([0.0, 3.0, 10.0, 20.0])
    told = staying_share(exits, times, followed)
    np.testing.assert_allclose(
        told["staying"], [by_hand(exits, followed, t) for t in times], rtol=1e-12
    )
    inside = (told["staying_low"] <= told["staying"]) & (told["staying"] <= told["staying_high"])
    assert bool(inside.all())
    assert bool((told["staying_error"] > 0).all())
    assert int(told["at_risk"][0]) == 60


def test_no_exit_is_no_certainty() -> None:
    told = staying_share(np.full(100, np.nan), [50.0], followed=100.0)
    assert float(told["staying"][0]) == 1
    assert 0 < float(told["staying_error"][0]) < 0.01
    assert 0.95 < float(told["staying_low"][0]) < 0.97  # 0.05/2 of the binomial: 0.9638


def test_times_that_nobody_saw_are_not_told() -> None:
    told = staying_share([1.0, np.nan], [2.0, 9.0], followed=5.0)
    assert np.isfinite(told["staying"].values).tolist() == [True, False]


@pytest.mark.parametrize("censored", [False, True])
def test_the_interval_covers_the_truth(censored: bool) -> None:
    """Exponential exits, exponential censoring: 95 of 100, and the error is the spread."""
    rng, truth, found, covered, told = np.random.default_rng(3), np.exp(-0.7), [], 0, []
    for _ in range(200):
        exits = rng.exponential(1.0, 80)
        followed = rng.exponential(2.0, 80) if censored else np.full(80, 5.0)
        exits = np.where(exits <= followed, exits, np.nan)
        one = staying_share(exits, [0.7], followed)
        found.append(float(one["staying"][0]))
        told.append(float(one["staying_error"][0]))
        covered += bool(one["staying_low"][0] <= truth <= one["staying_high"][0])
    assert covered >= 182  # 190 expected, 2.5 standard deviations below
    assert np.mean(told) == pytest.approx(np.std(found), rel=0.15)
    assert np.mean(found) == pytest.approx(truth, abs=4 * np.std(found) / 200**0.5)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(InputError, match="followed came with shape"):
        staying_share([1.0, 2.0], [1.0], followed=[1.0])
    with pytest.raises(InputError, match="say how long each run was followed"):
        staying_share([1.0, np.nan], [1.0], followed=[2.0, np.nan])
