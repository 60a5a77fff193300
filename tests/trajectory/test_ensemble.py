"""Statistics over seeds: their errors are those that repeated ensembles scatter by."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import thalweg as tw
from thalweg.trajectory.ensemble import over_seeds


def drawn(trials: int, seeds: int) -> xr.Dataset:
    """A skewed law, whose fourth moment is not the normal one; trials take the place of times."""
    values = np.random.default_rng(0).gamma(2.0, size=(seeds, trials))
    return xr.Dataset({"x": (("seed", "time"), values, {"units": "loss"})})


@pytest.mark.parametrize(
    ("name", "truth"), [("mean", 2.0), ("std", 2**0.5), ("quantile", 1.6783469900166612)]
)
def test_errors_are_what_repeated_ensembles_scatter_by(name, truth):
    told = over_seeds(drawn(2000, 400), quantiles=(0.5,))
    value, error = (np.ravel(told[f"x_{name}{end}"]) for end in ("", "_error"))
    assert np.std(value) / np.sqrt(np.mean(error**2)) == pytest.approx(1, abs=0.1)
    assert abs(np.mean(value - truth)) < 0.1 * np.mean(error) + 2 * np.std(value) / 2000**0.5


def test_seeds_that_diverged_are_left_out_and_counted():
    data = drawn(2, 10)
    data["x"][3, 1] = np.nan
    told = over_seeds(data)
    assert told["x_seeds"].values.tolist() == [10, 9]
    kept = np.delete(data["x"].values[:, 1], 3)
    assert float(told["x_mean"][1]) == pytest.approx(kept.mean())
    assert float(told["x_std"][1]) == pytest.approx(kept.std(ddof=1))
    assert told["x_mean"].attrs["units"] == "loss"


def test_what_does_not_fit_is_one_sentence():
    with pytest.raises(tw.InputError, match="take at least 2 seeds, and 1 came"):
        over_seeds(drawn(2, 1))
    with pytest.raises(tw.InputError, match="median"):
        over_seeds(drawn(2, 3), ("median",))
    with pytest.raises(tw.InputError, match="quantiles came"):
        over_seeds(drawn(2, 3), quantiles=(1.5,))
