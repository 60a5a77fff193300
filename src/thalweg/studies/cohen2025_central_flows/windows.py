"""Which part of a run is judged, and what is made of it."""

from __future__ import annotations

import numpy as np
import xarray as xr


def late(d: xr.Dataset) -> xr.Dataset:
    """The second half of a run, both of the steps and of the looks at curvature."""
    half = d["step"].values[-1] / 2
    return d.sel(step=d["step"] >= half, look=d["look"] >= half)


def ratio(d: xr.Dataset) -> xr.DataArray:
    """How far midpoints are from the central flow, over how far from gradient flow."""
    return d["distance_central"] / d["distance_plain"]


def onsets(d: xr.Dataset) -> tuple[int, int]:
    """The steps from which on the central flow is near the edge, and descent oscillates.

    The second is the first step, after tr Sigma > 0, whose distance from the midpoint squared is
    above 0.3 tr Sigma.
    """
    step, needed = d["step"].values, d["oscillation"].values
    begun = step[np.argmax(needed > 0)]
    oscillates = (step > begun) & (d["energy"].values > 0.3 * needed)
    return int(step[np.argmax(d["effective_sharpness"].values > 1.95)]), int(
        step[np.argmax(oscillates)] if oscillates.any() else step[-1]
    )


def each_seed(d: xr.Dataset) -> list[tuple[xr.Dataset, int, int]]:
    """The table of each seed, with both onsets."""
    return [(one, *onsets(one)) for one in (d.sel(seed=s) for s in d["seed"].values)]


def excess(d: xr.Dataset) -> xr.DataArray:
    """The loss that the oscillation adds, measured over predicted."""
    mean = d.mean("step")
    return (mean["loss"] - mean["central_loss"]) / mean["added_loss"]
