"""Motion along the floor of a valley f(x) y^2/2 by noise across and along, in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import require
from thalweg.core.ranges import require_positive

Values = NDArray[np.float64]
HALF_WIDTH = 9.0  # of the grid, in standard deviations of the noise alone, beyond the start


def valley_drift(log_slopes: ArrayLike, variances: ArrayLike) -> Values:
    """-(1/4) sum_j s_j (ln f_j)', the speed along the floor of (1/2) sum_j f_j(x) y_j^2.

    Of noise on each y_j alone, of variance s_j, per slow time eta^2 k: towards where the valley is
    wide. With s_j = f_j, the noise of labels, it is minus a quarter of the gradient of the trace;
    with s_j = 1 minus a quarter of that of the log-determinant.

    Args:
        log_slopes: (ln f_j)', shape (..., m).
        variances: s_j, shape (..., m).

    Exact. Source: Li, Wang and Arora (2022), theorem 4.6 for commuting H and S.

    Examples:
        >>> from thalweg.theory.limits.valleys import valley_drift
        >>> float(valley_drift([2.0, -1.0], [4.0, 0.0]))
        -2.0
    """
    return -0.25 * np.sum(np.asarray(variances, float) * np.asarray(log_slopes, float), axis=-1)


class Expectation(NamedTuple):
    """E g(X_T), and how far it may be off."""

    value: float
    error: float


def diffusion_expectation(
    drift: Callable[[Values], Values],
    quantity: Callable[[Values], Values],
    start: float,
    time: float,
    points: int = 801,
) -> Expectation:
    """E g(X_T) of dX = b(X) dT + dW from one point, by the backward Kolmogorov equation.

    u' = b u_x + u_xx/2 from u = g on a grid of 9 sqrt(T) to both sides, central differences, in
    time exactly by an exponential of the matrix. The error is the difference from twice the
    spacing, 4 times that of the value, whose order is 2.

    Args:
        drift: b, of arrays; it should point inwards or grow at most linearly.
        quantity: g, of arrays.
        start: X_0.
        time: T, positive.
        points: Of the grid, odd.

    Raises:
        InputError: If a number is out of range.

    Examples:
        >>> from thalweg.theory.limits.valleys import diffusion_expectation
        >>> found = diffusion_expectation(lambda x: -x, lambda x: x, 1.0, 1.0)
        >>> abs(found.value - np.exp(-1)) < found.error < 1e-3
        True
    """
    require_positive(time=time)
    require(points >= 101 and points % 4 == 1, f"points came as {points}; give 4 m + 1, as 801")
    fine, coarse = (_backward(drift, quantity, start, time, n) for n in (points, (points + 1) // 2))
    return Expectation(fine, abs(fine - coarse))


def _backward(
    drift: Callable[[Values], Values],
    quantity: Callable[[Values], Values],
    start: float,
    time: float,
    points: int,
) -> float:
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import expm_multiply

    width = HALF_WIDTH * np.sqrt(time)
    x, h = np.linspace(start - width, start + width, points, retstep=True)
    b = np.asarray(drift(x), float)
    side = 0.5 / h**2
    lower, upper = side - b / (2 * h), side + b / (2 * h)
    middle = np.full(points, -2 * side)
    # Beyond the ends u goes on as it was: they are out of reach.
    middle[0] += lower[0]
    middle[-1] += upper[-1]
    A = diags_array([lower[1:], middle, upper[:-1]], offsets=[-1, 0, 1]).tocsr()
    return float(expm_multiply(A * time, np.asarray(quantity(x), float))[points // 2])
