"""What no first-order method can beat: lower bounds, and the problems that attain them.

For all methods with w_n in w_0 + span{grad f(w_0), ..., grad f(w_{n-1})}. The chain
f(w) = (L/8)((w_1 - 1)^2 + sum_i (w_{i+1} - w_i)^2) from w_0 = 0 shows one new coordinate a step; it
is `thalweg.problems.hard_chain`.

Source: Nesterov (2004), theorem 2.1.7; Goh (2017); Benning (2021), section on lower bounds; the
cycle of heavy ball: Lessard, Recht and Packard (2016), derived in exact fractions.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

# The cycle that heavy ball runs through on `thalweg.problems.heavy_ball_trap`.
HEAVY_BALL_CYCLE = (Fraction(792, 1225), Fraction(-2208, 1225), Fraction(2592, 1225))


def convex_floor(smoothness: float, distance: float, steps: ArrayLike) -> np.ndarray:
    """f(w_n) - f* is at least L R^2/(16 (n + 1)^2) on the chain of d = 2 n + 1 dimensions.

    In more of them R grows, and `best_in_span` is the bound.

    Args:
        smoothness: L.
        distance: R = ||w_0 - w*||.
        steps: n.

    Examples:
        >>> from thalweg.theory.quadratics.lower_bounds import convex_floor
        >>> float(convex_floor(1.0, 4.0, 1))
        0.25
    """
    return smoothness * distance**2 / (16 * (np.asarray(steps, float) + 1) ** 2)


def best_in_span(smoothness: float, steps: ArrayLike) -> np.ndarray:
    """The least value of the chain on its first n coordinates: L/(8 (n + 1)).

    Its minimiser there is w_i = 1 - i/(n + 1).

    Args:
        smoothness: L.
        steps: n, at most the dimensions.

    Examples:
        >>> from thalweg.theory.quadratics.lower_bounds import best_in_span
        >>> float(best_in_span(8.0, 1))
        0.5
    """
    return smoothness / (8 * (np.asarray(steps, float) + 1))


def strongly_convex_floor(condition: float, distance: float, steps: ArrayLike) -> np.ndarray:
    """||w_n - w*|| is at least (1 - 2/(1 + sqrt kappa))^n R on the infinite chain.

    Args:
        condition: kappa = L/mu.
        distance: R.
        steps: n.

    Examples:
        >>> from thalweg.theory.quadratics.lower_bounds import strongly_convex_floor
        >>> float(strongly_convex_floor(9.0, 1.0, 2))
        0.25
    """
    return (1 - 2 / (1 + np.sqrt(condition))) ** np.asarray(steps, float) * distance


def trap_slope(x: ArrayLike) -> np.ndarray:
    """f'(x) of the function on which tuned heavy ball runs in a cycle; mu = 1, L = 25.

    25 x below 1, x + 24 up to 2, 25 x - 24 above.

    Examples:
        >>> from thalweg.theory.quadratics.lower_bounds import trap_slope
        >>> trap_slope([0.0, 1.0, 2.0]).tolist()
        [0.0, 25.0, 26.0]
    """
    x = np.asarray(x, float)
    return np.where(x < 1, 25 * x, np.where(x < 2, x + 24, 25 * x - 24))
