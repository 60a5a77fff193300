"""Two trajectories at equal loss: which of their records to hold against each other."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from thalweg.core.errors import choose, require
from thalweg.trajectory import Trajectory


def _nearest(losses: np.ndarray, level: float) -> int:
    gaps = np.abs(losses - level)
    return int(np.argmin(np.where(np.isfinite(gaps), gaps, np.inf)))


def _first_at_most(losses: np.ndarray, level: float) -> int:
    below = losses <= level
    return int(np.argmax(below)) if below.any() else -1


RULES = {"nearest": _nearest, "first-at-most": _first_at_most}


def records_at(losses: ArrayLike, levels: ArrayLike, rule: str = "nearest") -> np.ndarray:
    """Positions of the records at which a curve of losses has the given levels.

    Args:
        losses: Shape (T,); values that are not finite are passed over.
        levels: Shape (L,).
        rule: "nearest", the record whose loss is closest to the level (the first of equals), or
            "first-at-most", the first whose loss is at or below the level.

    Returns:
        Positions (L,); -1 where "first-at-most" finds none.

    Raises:
        InputError: If a shape or the rule is not as said, or no loss is finite.
    """
    find = choose(rule, RULES, "rule")
    losses, levels = np.asarray(losses, float), np.asarray(levels, float)
    require(
        losses.ndim == levels.ndim == 1 and bool(np.isfinite(losses).any()),
        f"losses of shape {losses.shape}, levels of shape {levels.shape}; give a list of each, "
        "with a finite loss",
    )
    return np.array([find(losses, level) for level in levels], int)


def loss_levels(left: Trajectory, right: Trajectory, count: int = 10) -> np.ndarray:
    """Losses that every seed of both trajectories passes, evenly spaced on a logarithm, falling.

    From the smallest of the first losses down to the largest of the least losses.

    Args:
        left: A trajectory.
        right: Another, with starts of its own or the same.
        count: How many levels, at least 2.

    Raises:
        InputError: If the losses are not positive there, or there is no common range.
    """
    require(count >= 2, f"count came as {count}; give at least 2")
    curves = [t.dataset["loss"].transpose("time", ...).values for t in (left, right)]
    top = min(float(np.min(curve[0])) for curve in curves)
    low = max(float(np.max(np.nanmin(curve, axis=0))) for curve in curves)
    require(
        0 < low < top,
        f"the losses share no range of positive values (from {top:.3g} down to {low:.3g}); "
        "give the levels yourself",
    )
    return np.geomspace(top, low, count)


def matched_records(left: Trajectory, right: Trajectory, levels: ArrayLike) -> xr.Dataset:
    """The records of two trajectories that are nearest in loss to each of the given levels.

    Runs of different optimisers compared at equal step or time mix how far they are with where
    they are; at equal loss only the latter differs.

    Args:
        left: A trajectory with the loss recorded.
        right: Another with at least one seed in common.
        levels: Losses, shape (L,), positive.

    Returns:
        Dims (seed, level): `left_record` and `right_record`, positions along each one's time axis;
        `left_loss` and `right_loss` there; `mismatch`, the larger of |loss/level - 1| of the two,
        which is large where a run does not reach the level or its records are too far apart.

    Raises:
        InputError: If the two share no seed, or a level is not positive.
    """
    levels = np.asarray(levels, float)
    require(levels.ndim == 1 and bool(np.all(levels > 0)), "levels must be a list of numbers > 0")
    losses = [t.dataset["loss"].transpose("seed", "time") for t in (left, right)]
    seeds = [s for s in losses[0]["seed"].values if s in losses[1]["seed"].values]
    require(bool(seeds), "the trajectories share no seed; run both with the same seeds")
    curves = [loss.sel(seed=seeds).values for loss in losses]
    records = [np.stack([records_at(curve, levels) for curve in c]) for c in curves]
    found = [np.take_along_axis(c, r, axis=1) for c, r in zip(curves, records, strict=True)]
    mismatch = np.max([np.abs(values / levels - 1) for values in found], axis=0)
    dims = ("seed", "level")
    table = {"mismatch": (dims, mismatch, {"units": "1", "long_name": "relative gap to the level"})}
    for side, record, loss in zip(("left", "right"), records, found, strict=True):
        words = {"units": "1", "long_name": f"position of the {side} one's record"}
        table[f"{side}_record"] = (dims, record, words)
        words = {"units": "loss", "long_name": f"loss of the {side} one there"}
        table[f"{side}_loss"] = (dims, loss, words)
    return xr.Dataset(table, {"seed": seeds, "level": levels})
