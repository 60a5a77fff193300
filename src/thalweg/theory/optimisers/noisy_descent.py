"""SGD on strongly convex problems: a bound on its second moment, and schedules that make it fall.

With mu-strong convexity, L-Lipschitz gradients and noise of second moment at most sigma^2 mu L, so
that sigma^2 is a square of parameters, any step h <= 2/(L + mu) has

    E_{n+1} <= (1 - 2 h L mu/(L + mu)) E_n + h^2 sigma^2 mu L,    E_n = E ||W_n - w*||^2.

Source: Benning (2021), chapter on stochastic gradient descent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from thalweg.core.errors import require


def second_moment_bound(
    step_size: float, smoothness: float, convexity: float, variance: float, first: float,
    steps: ArrayLike,
) -> np.ndarray:  # fmt: skip
    """E_n is at most s + (1 - 2 h L mu/(L + mu))^n (E_0 - s), s = sigma^2 h (L + mu)/2.

    Args:
        step_size: h, at most 2/(L + mu).
        smoothness: L.
        convexity: mu.
        variance: sigma^2, the second moment of the noise over mu L (unit: parameter^2).
        first: E_0, the squared distance at the start.
        steps: n.

    Raises:
        InputError: Unless 0 < mu <= L, 0 < h <= 2/(L + mu), and the others are at least 0.

    Examples:
        >>> from thalweg.theory.optimisers.noisy_descent import second_moment_bound
        >>> second_moment_bound(0.5, 1.0, 1.0, 1.0, 4.5, [0, 1]).tolist()
        [4.5, 2.5]
    """
    L, mu = _admitted(smoothness, convexity, variance, first)
    h = float(step_size)
    require(
        0 < h <= 2 / (L + mu) * (1 + 1e-12),
        f"step_size came as {h:g}; give one above 0, and at most 2/(L + mu) = {2 / (L + mu):g}",
    )
    still = variance * h * (L + mu) / 2
    left = (1 - 2 * h * L * mu / (L + mu)) ** np.asarray(steps, float)
    return left * first + (1 - left) * still


def optimal_schedule(
    smoothness: float, convexity: float, variance: float, first: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """The step sizes that lower the recursion most, and the bound on E_n that they give.

    h_n = min(2/(L + mu), E_n/(sigma^2 (L + mu))): as long as can be until E_n <= 2 sigma^2, then in
    proportion to E_n, which falls as sigma^2 (1 + mu/L)(1 + L/mu)/n.

    Args:
        smoothness: L.
        convexity: mu.
        variance: sigma^2, the second moment of the noise over mu L (unit: parameter^2).
        first: E_0, the squared distance at the start.
        steps: How many.

    Returns:
        h, shape (steps,), and E, shape (steps + 1,).

    Raises:
        InputError: Unless 0 < mu <= L and the others are at least 0.

    Examples:
        >>> from thalweg.theory.optimisers.noisy_descent import optimal_schedule
        >>> [a.tolist() for a in optimal_schedule(1.0, 1.0, 1.0, 4.0, 2)]
        [[1.0, 0.5], [4.0, 1.0, 0.75]]
    """
    L, mu = _admitted(smoothness, convexity, variance, first)
    h, E = [], [float(first)]
    for _ in range(steps):
        noisy = E[-1] / (variance * (L + mu)) if variance > 0 else np.inf
        h.append(min(2 / (L + mu), noisy))
        E.append(_next(E[-1], h[-1], L, mu, variance))
    return np.array(h), np.array(E)


def halving_schedule(
    smoothness: float, convexity: float, variance: float, first: float, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step sizes 2^-r/(L + mu), halved as soon as E_n is at most 2^-r sigma^2; E_n and when.

    From E_0 <= 2 sigma^2, at the r-th halving, after N(r) steps,
    E <= (1 + 2 ln 2 (1 + L/mu)(1 + mu/L)) sigma^2/N(r).

    Args:
        smoothness: L.
        convexity: mu.
        variance: sigma^2, the second moment of the noise over mu L (unit: parameter^2).
        first: E_0, the squared distance at the start.
        steps: How many.

    Returns:
        h, shape (steps,), E, shape (steps + 1,), and N(r), whole numbers from N(0) = 0 on.

    Raises:
        InputError: Unless 0 < mu <= L, sigma^2 is positive and E_0 from 0 to 2 sigma^2.

    Examples:
        >>> from thalweg.theory.optimisers.noisy_descent import halving_schedule
        >>> h, E, at = halving_schedule(1.0, 1.0, 1.0, 2.0, 3)
        >>> h.tolist(), E.tolist(), at.tolist()
        ([0.5, 0.5, 0.25], [2.0, 1.25, 0.875, 0.71875], [0, 2])
    """
    L, mu = _admitted(smoothness, convexity, variance, first)
    require(
        variance > 0 and first <= 2 * variance,
        f"first came as {first:g}, variance as {variance:g}; give a positive variance, and first "
        "at most twice that",
    )
    h, E, at, r = [], [float(first)], [0], 0
    for n in range(steps):
        if E[-1] <= 2.0**-r * variance:
            r += 1
            at.append(n)
        h.append(2.0**-r / (L + mu))
        E.append(_next(E[-1], h[-1], L, mu, variance))
    return np.array(h), np.array(E), np.array(at)


def _next(E: float, h: float, L: float, mu: float, variance: float) -> float:
    return (1 - 2 * h * L * mu / (L + mu)) * E + h**2 * variance * mu * L


def _admitted(
    smoothness: float, convexity: float, variance: float, first: float
) -> tuple[float, float]:
    mu, L = float(convexity), float(smoothness)
    require(
        0 < mu <= L < np.inf,
        f"convexity came as {mu:g}, smoothness as {L:g}; give 0 < mu <= L, L finite",
    )
    require(
        0 <= variance < np.inf and 0 <= first < np.inf,
        f"variance came as {variance:g}, first as {first:g}; give finite numbers from 0 on",
    )
    return L, mu
