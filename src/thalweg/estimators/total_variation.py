"""Total-variation denoising in one dimension, exact, of many lines at once: the taut string.

The running sums X_i of the solution are the shortest string through the tube of radius t about the
running sums Y_i of the values. A primal-dual active-set method finds where it touches the tube:
given the touched points it is piecewise linear, so that a pass over all lines is a few operations
on whole arrays; points that left the tube are added, those that bend the wrong way are let go. It
ends, mostly in 2 passes from a good start and in 5 to 30 from none, when nothing changes, which is
the optimality condition itself. Lines that have not ended after `MOST_PASSES` are drawn by the
sequential taut string, so that all are exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int8

from thalweg.core.errors import require

MOST_PASSES = 100
ROUNDING = 1e-13


class Strings(NamedTuple):
    """Solutions of the denoising of lines, with their certificates.

    Attributes:
        values: x, the denoised lines.
        heights: v = X - Y at the N - 1 inner points: the dual solution, |v| <= t.
        touches: Where the strings touch the tube, 1 above and -1 below, else 0; the last column,
            where all lines end, is 0. Inside, the signs of the differences of x.
    """

    values: Float[np.ndarray, "lines N"]
    heights: Float[np.ndarray, "lines M"]
    touches: Int8[np.ndarray, "lines N"]


def total_variation_prox(
    values: Float[np.ndarray, "..."], threshold: float, axis: int = -1
) -> Float[np.ndarray, "..."]:
    """argmin_x 1/2 ||x - y||^2 + t sum |x_{i+1} - x_i| along one axis, for each of its lines.

    Args:
        values: y, of any shape.
        threshold: t, at least 0, in the unit of the values.
        axis: The axis along which differences are taken.

    Returns:
        x, exact up to rounding: the running sums are right to 1e-13 of the largest.

    Raises:
        InputError: If there is no such axis, a value is not finite or the threshold is negative.

    Cost:
        About 20 ns a value and pass, 5 to 30 passes.

    References:
        Davies and Kovac (2001) for the string; Hintermüller, Ito and Kunisch (2002) for the method.

    Examples:
        >>> tw.estimators.total_variation_prox(np.array([1.0, 3.0]), 0.4).tolist()
        [1.4, 2.6]
    """
    values = np.asarray(values, dtype=float)
    require(
        -values.ndim <= axis < values.ndim,
        f"axis={axis} is not an axis of an array of {values.ndim} dims; give one from"
        f" {-values.ndim} to {values.ndim - 1}.",
    )
    require(
        bool(np.isfinite(values).all()), "values must be finite; drop or fill NaN and infinity."
    )
    require(
        bool(np.isfinite(threshold)) and threshold >= 0,
        f"threshold={threshold} must be a finite number of at least 0.",
    )
    if values.size == 0:
        return values.copy()
    last = np.moveaxis(values, axis, -1)
    lines = last.reshape(-1, last.shape[-1])
    strings = taut_strings(lines, np.full(len(lines), float(threshold)))
    return np.ascontiguousarray(np.moveaxis(strings.values.reshape(last.shape), -1, axis))


def taut_strings(
    lines: Float[np.ndarray, "lines N"],
    radii: Float[np.ndarray, " lines"],
    touches: Int8[np.ndarray, "lines N"] | None = None,
) -> Strings:
    """The strings of many lines, each with its own radius, from touched points near the right ones.

    Args:
        lines: The values y.
        radii: t of each line, at least 0.
        touches: Those of a problem near by; none by default.
    """
    sums = np.cumsum(lines, axis=1)
    slack = ROUNDING * np.maximum(radii, np.abs(sums).max(axis=1))
    touching = np.zeros(lines.shape, np.int8) if touches is None else touches
    values, heights, touching, done = _one_pass(lines, sums, radii, slack, touching)
    left = np.flatnonzero(~done)
    for _ in range(MOST_PASSES):
        if len(left) == 0:
            break
        values[left], heights[left], touching[left], done = _one_pass(
            lines[left], sums[left], radii[left], slack[left], touching[left]
        )
        left = left[~done]
    else:
        for line in left:
            touching[line] = _touches_one_by_one(sums[line], radii[line])
            only = slice(line, line + 1)
            values[only], heights[only], _, _ = _one_pass(
                lines[only], sums[only], radii[only], slack[only], touching[only]
            )
    return Strings(values, heights[:, :-1], touching)


def _one_pass(
    values: Float[np.ndarray, "lines N"],
    sums: Float[np.ndarray, "lines N"],
    radii: Float[np.ndarray, " lines"],
    slack: Float[np.ndarray, " lines"],
    touches: Int8[np.ndarray, "lines N"],
) -> tuple[
    Float[np.ndarray, "lines N"],
    Float[np.ndarray, "lines N"],
    Int8[np.ndarray, "lines N"],
    Bool[np.ndarray, " lines"],
]:
    """Slopes and heights of strings through given points, the next points, and who is done."""
    size = sums.shape[1]
    knotted = touches != 0
    knotted[:, -1] = True
    knots = np.flatnonzero(knotted)
    signs = touches.ravel()[knots]
    line, place = np.divmod(knots, size)
    ends = place == size - 1
    string = sums.ravel()[knots] + radii[line] * signs
    # Each piece begins where the one before ends, or at height 0 before a line's first point.
    begin, origin = np.empty(len(knots)), np.empty(len(knots), place.dtype)
    begin[0], origin[0] = 0.0, -1
    begin[1:] = np.where(ends[:-1], 0.0, string[:-1])
    origin[1:] = np.where(ends[:-1], -1, place[:-1])
    length = place - origin
    slope = (string - begin) / length
    slopes = np.repeat(slope, length).reshape(sums.shape)
    heights = np.cumsum(slopes - values, axis=1)
    allowed = (radii + slack)[:, None]
    found = (heights > allowed).view(np.int8) - (heights < -allowed).view(np.int8)
    bends = np.zeros(len(knots))
    bends[:-1] = np.diff(slope)
    found.ravel()[knots] = np.where(ends | (signs * bends <= 0), 0, signs)
    return slopes, heights, found, (found == touches).all(axis=1)


def _touches_one_by_one(sums: Float[np.ndarray, " N"], radius: float) -> Int8[np.ndarray, " N"]:
    """Where one string touches the tube, by a funnel that is narrowed from the last touched point.

    Cost:
        O(N) for each touched point.
    """
    size = len(sums)
    touches = np.zeros(size, np.int8)
    radii = np.full(size, radius)
    radii[-1] = 0.0
    anchor, height = -1, 0.0
    while anchor < size - 1:
        reach = np.arange(1, size - anchor)
        upper = (sums[anchor + 1 :] + radii[anchor + 1 :] - height) / reach
        lower = (sums[anchor + 1 :] - radii[anchor + 1 :] - height) / reach
        narrowest, steepest = np.minimum.accumulate(upper), np.maximum.accumulate(lower)
        shut = np.flatnonzero(narrowest < steepest)
        if len(shut) == 0:
            break
        first = shut[0]
        # The side that was there before the funnel shut is where the string turns.
        above = lower[first] > narrowest[first - 1]
        bound = narrowest[first - 1] if above else steepest[first - 1]
        anchor += 1 + int(np.flatnonzero((upper if above else lower)[:first] == bound)[-1])
        touches[anchor] = 1 if above else -1
        height = sums[anchor] + radius * touches[anchor]
    return touches
