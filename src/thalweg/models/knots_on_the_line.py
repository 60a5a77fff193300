"""Knots of nets and functions of one input: where they bend, by how much, and in which gap."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from thalweg.core.arguments import told
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.dense import layer_weights

HEAVY = 1e-3  # of the largest weight: below it a neuron or a bend does not count
TOGETHER = 0.01  # of the range: knots nearer to each other are one
LEAST = 1e-9  # of the largest slope: a bend below it is rounding of a function's values


class Knots(NamedTuple):
    """Where a function of one input bends, ascending.

    Attributes:
        at: Places, shape (knots,).
        slope_change: Slope after less slope before (unit: output/input).
        spread: Length of the stretch over which a knot bends: of a net the range of its neurons'
            own knots, of a function between the grid points beside the bend.
    """

    at: Float[np.ndarray, " knots"]
    slope_change: Float[np.ndarray, " knots"]
    spread: Float[np.ndarray, " knots"]


def net_knots(
    params: Params,
    low: float = -np.inf,
    high: float = np.inf,
    heavy: float = HEAVY,
    together: float = TOGETHER,
) -> Knots:
    """The knots of a two-layer ReLU net on the line, from its neurons.

    A neuron a (w x + b)_+ bends at -b/w and weighs |a| |(w, b)|. Those that weigh least do not
    count; of the rest, neighbours whose distance is below a share of the range are one knot, at
    their mean, weighted as they are.

    Args:
        params: Of a dense net with one hidden layer, one input and one output.
        low: Where to look from.
        high: Up to where. Without both ends the range is that of the heavy neurons' knots.
        heavy: The least weight that counts, relative to the largest.
        together: The distance of neighbours that are one, relative to the range.

    Raises:
        InputError: If the parameters are not of such a net, or an argument is out of range.

    Cost: a sort of the neurons.

    Examples:
        >>> net = tw.models.MeanFieldNet(3)
        >>> theta = jnp.array([[3.0, 1.0, -1.0], [2.0, 1.0, -1.001], [1.0, -2.0, 0.0]])
        >>> knots = tw.models.net_knots(net.from_neurons(theta), -1.0, 2.0)
        >>> knots.at.round(3).tolist(), knots.slope_change.round(3).tolist()
        ([0.0, 1.0], [0.667, 1.667])
    """
    weights = layer_weights(params)
    sizes = [W.shape for W in weights]
    require(
        len(weights) == 2 and sizes[0][1] == 1 and sizes[1][0] == 1,
        f"params came with weights of shapes {sizes}; give those of a net with one hidden layer, "
        "one input and one output, [(N, 1), (1, N)]",
    )
    within = low < high and 0 <= heavy < 1 and 0 <= together < 1
    require(
        within,
        f"low, high, heavy and together came as {low}, {high}, {heavy}, {together}; give low below "
        "high and shares from 0 to 1",
    )
    w, a = (np.asarray(W, float).ravel() for W in weights)
    b = np.asarray(params[0]["bias"], float) if "bias" in params[0] else np.zeros_like(w)
    weight = np.abs(a) * np.hypot(w, b)
    kept = (weight > heavy * weight.max(initial=0.0)) & (w != 0)
    t = -b[kept] / w[kept]
    inside = (t >= low) & (t <= high)
    t, weight, bend = t[inside], weight[kept][inside], (a * np.abs(w))[kept][inside]
    if len(t) == 0:
        return Knots(t, t, t)
    length = high - low if np.isfinite(high - low) else float(np.ptp(t))
    order = np.argsort(t)
    t, weight, bend = t[order], weight[order], bend[order]
    return _grouped(t, weight, bend, np.diff(t) > together * length)


def function_knots(
    function: Callable[[np.ndarray], ArrayLike],
    grid: ArrayLike,
    heavy: float = HEAVY,
) -> Knots:
    """The knots of a function of one input, from its slopes on a grid.

    The slope changes at grid points are second differences. Those next to each other are one knot
    at their weighted mean: of a piecewise affine function that is its knot, exactly, wherever it
    lies between grid points.

    Args:
        function: From points, shape (n,), to values, shape (n,).
        grid: Points, ascending, shape (n,), at least three.
        heavy: The least slope change that counts, relative to the largest.

    Raises:
        InputError: If the grid is not ascending or values do not fit it.

    Examples:
        >>> tent = lambda x: np.minimum(x, 1.0) - 2 * np.maximum(x - 2.3, 0.0)
        >>> knots = tw.models.function_knots(tent, np.linspace(0.0, 4.0, 50))
        >>> knots.at.round(9).tolist(), knots.slope_change.round(9).tolist()
        ([1.0, 2.3], [-1.0, -2.0])
    """
    grid = np.asarray(grid, float)
    require(
        grid.ndim == 1 and grid.size >= 3 and bool(np.all(np.diff(grid) > 0)),
        f"grid came as {told(grid)}; give at least three points, ascending",
    )
    values = np.asarray(function(grid), float)
    require(
        values.shape == grid.shape,
        f"the function came with values of shape {values.shape}; give one for each of the "
        f"{len(grid)} points",
    )
    slopes = np.diff(values) / np.diff(grid)
    bend = np.diff(slopes)
    size = np.abs(bend)
    least = max(heavy * size.max(), LEAST * np.abs(slopes).max())
    here = np.flatnonzero(size > least)
    if len(here) == 0:
        nothing = np.zeros(0)
        return Knots(nothing, nothing, nothing)
    turns = np.sign(bend[here[1:]]) != np.sign(bend[here[:-1]])
    found = _grouped(grid[here + 1], size[here], bend[here], (np.diff(here) > 1) | turns)
    return found


def _grouped(t: np.ndarray, weight: np.ndarray, bend: np.ndarray, breaks: np.ndarray) -> Knots:
    """One knot for each run of neighbours between breaks."""
    begin = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    end = np.append(begin[1:], len(t)) - 1
    mean = np.add.reduceat(weight * t, begin) / np.add.reduceat(weight, begin)
    return Knots(mean, np.add.reduceat(bend, begin), t[end] - t[begin])


class KnotsOfGaps(NamedTuple):
    """How many knots the gaps between neighbouring inputs have.

    Attributes:
        total: Shape (M - 1,); a knot at an input counts in both gaps beside it.
        interior: Of these, how many lie inside.
    """

    total: Int[np.ndarray, " gaps"]
    interior: Int[np.ndarray, " gaps"]


def knots_of_gaps(knots: ArrayLike, x: ArrayLike, tolerance: float = TOGETHER) -> KnotsOfGaps:
    """Knots counted gap by gap; those outside the inputs are left out.

    Args:
        knots: Places, in any order.
        x: Inputs, ascending, shape (M,), at least two.
        tolerance: How near to an input a knot lies at it, relative to the range of the inputs.

    Raises:
        InputError: If the inputs are not ascending.

    Examples:
        >>> found = tw.models.knots_of_gaps([0.0, 0.4, 1.0, 1.5, 7.0], [0.0, 1.0, 2.0])
        >>> found.total.tolist(), found.interior.tolist()
        ([3, 2], [1, 1])
    """
    t, x = np.asarray(knots, float).ravel()[:, None], np.asarray(x, float)
    require(
        x.ndim == 1 and x.size >= 2 and bool(np.all(np.diff(x) > 0)),
        f"x came as {told(x)}; give at least two inputs, ascending",
    )
    near = tolerance * (x[-1] - x[0])
    at = np.any(np.abs(t - x) <= near, axis=0)
    inside = np.sum((t > x[:-1] + near) & (t < x[1:] - near), axis=0)
    return KnotsOfGaps(inside + at[:-1] + at[1:], inside)
