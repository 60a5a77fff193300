"""Hidden strengths of connections without a loss: under a Laplace prior, and in a random walk.

The prior pulls a strength theta by alpha towards its centre mu: without a gradient it gets there at
the speed alpha per unit of training time, and then chatters about it by less than a step. Soft Deep
R drifts down by l1 where theta > 0, and walks everywhere above a floor.

Sources: Chen et al. (2021), section 3; the rest elementary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.core.ranges import require_positive


def laplace_mass_below(point: ArrayLike, centre: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """The share of (alpha/2) exp(-alpha |theta - mu|) that lies below a point.

    Args:
        point: Where (unit: parameter).
        centre: mu.
        alpha: Inverse scale, positive.

    Raises:
        InputError: If alpha is not positive.

    Examples:
        >>> from thalweg.theory.optimisers.hidden_strengths import laplace_mass_below
        >>> laplace_mass_below([-1.0, 0.0], 0.0, 2.0).round(6).tolist()
        [0.067668, 0.5]
    """
    x, scale = np.asarray(point, float) - np.asarray(centre, float), np.asarray(alpha, float)
    require_positive(alpha=alpha)
    tail = np.exp(-scale * np.abs(x)) / 2
    return np.where(x < 0, tail, 1 - tail)


def strength_without_loss(
    start: ArrayLike, centre: float, alpha: float, time: ArrayLike
) -> np.ndarray:
    """theta(t) = mu + sign(theta_0 - mu) max(|theta_0 - mu| - alpha t, 0) under the prior alone.

    Steps of size eta follow it to within eta alpha: exactly up to rounding until they reach mu,
    about which they then go to and fro.

    Args:
        start: theta_0, shape (p,).
        centre: mu.
        alpha: Inverse scale of the prior, positive.
        time: Training times, shape (T,).

    Returns:
        Shape (T, p).

    Raises:
        InputError: If alpha is not positive.

    Examples:
        >>> from thalweg.theory.optimisers.hidden_strengths import strength_without_loss
        >>> strength_without_loss([1.0, -2.0], -0.5, 0.5, [0.0, 2.0, 9.0]).tolist()
        [[1.0, -2.0], [0.0, -1.0], [-0.5, -0.5]]
    """
    require_positive(alpha=alpha)
    away = np.atleast_1d(np.asarray(start, float)) - centre
    left = np.abs(away) - alpha * np.atleast_1d(np.asarray(time, float))[:, None]
    return centre + np.sign(away) * np.maximum(left, 0)


def absent_at_rest(floor: float, l1: float, noise: float) -> float:
    """Share of strengths below 0 when a walk with a floor and a drift above 0 has come to rest.

    d theta = -l1 1{theta > 0} dt + noise dW above the floor: the density is flat below 0 and falls
    as exp(-2 l1 theta/noise^2) above, so the share is |floor|/(|floor| + noise^2/(2 l1)).

    Args:
        floor: Where the walk is reflected, at most 0 (unit: parameter).
        l1: Drift towards 0, positive.
        noise: Of a unit of time, positive.

    Raises:
        InputError: If a number is out of its range.

    Examples:
        >>> from thalweg.theory.optimisers.hidden_strengths import absent_at_rest
        >>> absent_at_rest(-3.0, 0.5, 1.0)
        0.75
    """
    require(
        floor <= 0 and l1 > 0 and noise > 0,
        f"floor came as {floor}, l1 as {l1}, noise as {noise}; give a floor of at most 0, and "
        "positive numbers for the others",
    )
    return -floor / (-floor + noise**2 / (2 * l1))
