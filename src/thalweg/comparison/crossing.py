"""When a recorded curve first rises through a level."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import require


class Crossing(NamedTuple):
    """Times of first upward crossings, NaN where there is none, and their errors (same unit).

    The error is the distance to the time found from every second record alone: for a smooth
    curve about three times the error of the interpolation, so on the safe side.
    """

    time: NDArray[np.float64]
    error: NDArray[np.float64]


def first_crossing(times: ArrayLike, values: ArrayLike, level: ArrayLike) -> Crossing:
    """Time at which each curve first rises to a level, by linear interpolation between records.

    t = t_i + (level - v_i) (t_{i+1} - t_i) / (v_{i+1} - v_i) for the first i with
    v_i < level <= v_{i+1}.

    Args:
        times: Increasing, shape (T,), T at least 3.
        values: Shape (T, ...).
        level: Broadcasts with the curves, shape values.shape[1:].

    Returns:
        Times and errors, shape values.shape[1:]; NaN where a curve never rises to its level
        (a curve that starts above must fall below it first).

    Raises:
        InputError: If the shapes do not fit.
    """
    times, values = np.asarray(times, float), np.asarray(values, float)
    require(
        times.ndim == 1 and len(times) >= 3 and values.shape[:1] == times.shape,
        f"times of shape {times.shape} and values of shape {values.shape}: give at least 3 times "
        "and as many values on the first axis.",
    )
    level = np.broadcast_to(np.asarray(level, float), values.shape[1:])
    fine, coarse = _crossing(times, values, level), _crossing(times[::2], values[::2], level)
    return Crossing(fine, np.abs(fine - coarse))


def _crossing(
    times: NDArray[np.float64], values: NDArray[np.float64], level: NDArray[np.float64]
) -> NDArray[np.float64]:
    rises = (values[:-1] < level) & (values[1:] >= level)
    at = np.argmax(rises, axis=0)[None]
    low, high = (np.take_along_axis(v, at, axis=0)[0] for v in (values[:-1], values[1:]))
    start, length = times[at[0]], np.diff(times)[at[0]]
    there = rises.any(axis=0)
    rise = np.where(there, high - low, 1.0)
    return np.where(there, start + (level - low) / rise * length, np.nan)
