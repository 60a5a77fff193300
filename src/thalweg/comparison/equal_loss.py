"""Two trajectories at equal loss: which of their records to hold against each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from thalweg.core.errors import InputError, choose, require
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


def distance_at_equal_loss(left: Trajectory, right: Trajectory, count: int = 20) -> xr.Dataset:
    """||theta_left - theta_right|| where the two first have the same loss, seed by seed.

    Between two records parameters and time are interpolated linearly in the logarithm of the loss.

    Args:
        left: A trajectory with parameters and losses recorded.
        right: Another from the same starts; its way to the lowest level scales the distance.
        count: How many levels of the loss, evenly spaced on a logarithm over the range that both
            pass.

    Returns:
        Dims (seed, level), seeds in both, NaN where a seed's losses share no positive range:
        `equal_loss`, the level (unit: loss); `equal_loss_distance` (unit: parameter); its error,
        `equal_loss_distance_error`: that of the paths, and by how much the points move if every
        second record is left out, about three times what interpolation errs; the distance over
        the farthest that the right one is from its start at these levels,
        `equal_loss_share_of_way`; and the training times, `equal_loss_left_time` and
        `equal_loss_right_time`.

    Raises:
        InputError: If the two share no seed, or a run recorded no parameters.

    Examples:
        >>> from thalweg.comparison.equal_loss import distance_at_equal_loss
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> slow = tw.run(bowl, tw.gradient_descent(0.1), until=2.0, records=20)
        >>> fast = tw.run(bowl, tw.gradient_descent(0.2), until=2.0, records=10)
        >>> apart = distance_at_equal_loss(slow, fast)  # both go straight to the minimum
        >>> bool((apart["equal_loss_distance"] <= apart["equal_loss_distance_error"]).all())
        True
    """
    seeds = [s for s in left.dataset["seed"].values if s in right.dataset["seed"].values]
    require(bool(seeds), "the trajectories share no seed; run both with the same seeds")
    columns = {name: np.full((len(seeds), count), np.nan) for name in WORDS}
    for i, seed in enumerate(seeds):
        pair = [Trajectory(t.dataset.sel(seed=[seed])) for t in (left, right)]
        try:
            levels = loss_levels(pair[0], pair[1], count)
        except InputError:  # no positive range in common: nothing is told of this seed
            continue
        one, two = (_at_levels(trajectory, levels) for trajectory in pair)
        apart = np.linalg.norm(one.theta - two.theta, axis=1)
        way = np.linalg.norm(two.theta - pair[1].parameters[0, 0].values, axis=1).max()
        row = {
            "": levels,
            "_distance": apart,
            "_distance_error": one.error + two.error,
            "_share_of_way": apart / way if way > 0 else np.full(count, np.nan),
            "_left_time": one.time,
            "_right_time": two.time,
        }
        for name, values in row.items():
            columns[name][i] = values
    return xr.Dataset(
        {
            f"equal_loss{name}": (("seed", "level"), columns[name], {"units": u, "long_name": w})
            for name, (u, w) in WORDS.items()
        },
        {"seed": seeds, "level": np.arange(count)},
    )


WORDS = {
    "": ("loss", "loss that both have"),
    "_distance": ("parameter", "distance at equal loss"),
    "_distance_error": ("parameter", "error of the distance at equal loss"),
    "_share_of_way": ("1", "distance at equal loss over the way"),
    "_left_time": ("step size", "training time of the left one there"),
    "_right_time": ("step size", "training time of the right one there"),
}


class _Points(NamedTuple):
    """Where a seed first has each level: parameters (L, p), their error (L,), times (L,)."""

    theta: np.ndarray
    error: np.ndarray
    time: np.ndarray


def _at_levels(trajectory: Trajectory, levels: np.ndarray) -> _Points:
    table = trajectory.dataset.isel(seed=0)
    losses, times = table["loss"].values, table["time"].values
    every = np.arange(len(losses))
    found = _first_passage(losses, every, levels)
    few = np.unique([*every[::2], every[-1]])
    before, after, part = (np.array(column) for column in zip(*found, strict=True))

    def between(values: np.ndarray, at: list[tuple[int, int, float]]) -> np.ndarray:
        return np.array([values[a] + part * (values[b] - values[a]) for a, b, part in at])

    theta = trajectory.parameters[0].values
    here = between(theta, found)
    error = np.linalg.norm(here - between(theta, _first_passage(losses, few, levels)), axis=1)
    if "path_error" in table:
        error = error + np.fmax(*(table["path_error"].values[at] for at in (before, after)))
    return _Points(here, error, times[before] + part * (times[after] - times[before]))


def _first_passage(
    losses: np.ndarray, records: np.ndarray, levels: np.ndarray
) -> list[tuple[int, int, float]]:
    """The two records between which a loss is first passed, and where between them."""
    kept = records[np.isfinite(losses[records])]
    values, found = losses[kept], []
    for level in levels:
        below = np.flatnonzero(values <= level * (1 + 1e-12))
        after = int(below[0]) if below.size else len(values) - 1
        before = max(after - 1, 0)
        high, low = values[before], values[after]
        fell = low > 0 and high > low
        part = float(np.clip(np.log(high / level) / np.log(high / low), 0, 1)) if fell else 1.0
        found.append((int(kept[before]), int(kept[after]), part))
    return found
