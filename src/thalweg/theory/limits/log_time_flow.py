"""Gradient flow on separable data in logarithmic time, so that t = e^1000 is in reach.

Source: Soudry et al. (2018, arXiv 1710.10345), whose rates are powers of 1/log t; derived.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.special import logsumexp

from thalweg.core.errors import InputError, require
from thalweg.theory.limits.max_margin import hard_margin_svm

TOLERANCE = 1e-12  # relative and absolute, of the solver


class LogTimeFlow(NamedTuple):
    """Gradient flow of the exponential loss at times t = e^s.

    Attributes:
        s: log t, shape (T,).
        rho: w - w_svm s, shape (T, d).
        w: Shape (T, d).
        scaled_loss: t L(w), shape (T,).
        error: Estimated error of rho in each record, shape (T,): its distance from the solution
            at a tolerance 100 times looser.
    """

    s: Float[np.ndarray, " T"]
    rho: Float[np.ndarray, "T d"]
    w: Float[np.ndarray, "T d"]
    scaled_loss: Float[np.ndarray, " T"]
    error: Float[np.ndarray, " T"]


def log_time_flow(
    X: ArrayLike, s: ArrayLike, step_size: float = 1.0, start: ArrayLike | None = None
) -> LogTimeFlow:
    """Flow w' = eta sum_n exp(-x_n . w) x_n in s = log t, so that t = e^1000 is in reach.

    With w = w_svm s + rho, d rho/ds = eta sum_n exp(-(x_n . w_svm - 1) s - x_n . rho) x_n - w_svm,
    from s = 0 (t = 1), rho(0) = w(t = 1). Its limit is `separable.residual_limit`. Solved by
    LSODA; the exponent of support vectors is exactly free of s.

    Args:
        X: Inputs with labels absorbed, shape (n, d).
        s: Where to record, increasing, from 0 on.
        step_size: eta.
        start: w at t = 1; zero by default.

    Raises:
        InputError: If the data are not separable, `s` does not increase, or the solver fails.

    Cost: of the order of a thousand right-hand sides, twice; milliseconds for small data.
    Source: derived (E6 of the study).

    Examples:
        >>> from thalweg.theory.limits.log_time_flow import log_time_flow
        >>> path = log_time_flow([[1.0]], [0.0, 1000.0])  # w' = exp(-w) from 0 at t = 1: w = log t
        >>> path.w.ravel().round(6).tolist()
        [0.0, 1000.0]
    """
    X = np.asarray(X, float)
    svm = hard_margin_svm(X)
    slack = np.where(svm.support, 0.0, X @ svm.w - 1)
    first = np.zeros(X.shape[1]) if start is None else np.asarray(start, float)

    def weights(s: float, rho: np.ndarray) -> np.ndarray:
        return step_size * np.exp(-slack * s - X @ rho)

    def slope(s: float, rho: np.ndarray) -> np.ndarray:
        return weights(s, rho) @ X - svm.w

    def jacobian(s: float, rho: np.ndarray) -> np.ndarray:
        return -(X.T * weights(s, rho)) @ X

    s, rho, error = _follow(slope, jacobian, first, s)
    scaled = np.exp(logsumexp(-np.outer(s, slack) - rho @ X.T, axis=1))
    return LogTimeFlow(s, rho, np.outer(s, svm.w) + rho, scaled, error)


class PowerTailFlow(NamedTuple):
    """Gradient flow on a power tail at times t = e^s.

    Attributes:
        s: log t, shape (T,).
        scaled: q = w t^{-1/(p + 2)}, shape (T, d).
        direction: w/|w|, shape (T, d).
        error: Estimated error of q, shape (T,); see `LogTimeFlow`.
    """

    s: Float[np.ndarray, " T"]
    scaled: Float[np.ndarray, "T d"]
    direction: Float[np.ndarray, "T d"]
    error: Float[np.ndarray, " T"]


def power_tail_flow(X: ArrayLike, power: float, s: ArrayLike) -> PowerTailFlow:
    """Flow on L = sum_n (x_n . w)^-p in s = log t: q = w t^{-1/(p+2)} obeys an autonomous equation.

    dq/ds = p sum_n (x_n . q)^{-p-1} x_n - q/(p + 2), from the hard-margin vector at s = 0; its
    fixed point has the direction of `separable.power_tail_direction`.

    Args:
        X: Inputs with labels absorbed, shape (n, d).
        power: p > 0.
        s: Where to record, increasing, from 0 on.

    Raises:
        InputError: If the data are not separable, or `s` does not increase.

    Source: derived (E10 of the study).

    Examples:
        >>> from thalweg.theory.limits.log_time_flow import power_tail_flow
        >>> path = power_tail_flow([[1.0]], 1.0, [0.0, 100.0])  # q tends to (p (p + 2))^(1/(p + 2))
        >>> round(float(path.scaled[-1, 0]) ** 3, 6)
        3.0
    """
    X = np.asarray(X, float)

    def slope(s: float, q: np.ndarray) -> np.ndarray:
        return power * (X @ q) ** (-power - 1) @ X - q / (power + 2)

    def jacobian(s: float, q: np.ndarray) -> np.ndarray:
        bend = power * (power + 1) * (X @ q) ** (-power - 2)
        return -(X.T * bend) @ X - np.eye(X.shape[1]) / (power + 2)

    s, q, error = _follow(slope, jacobian, hard_margin_svm(X).w, s)
    return PowerTailFlow(s, q, q / np.linalg.norm(q, axis=1, keepdims=True), error)


def _follow(
    slope: Callable, jacobian: Callable, first: np.ndarray, s: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """s, the solution there (T, d), and its distance from one of a looser tolerance."""
    s = np.asarray(s, float)
    require(
        s.ndim == 1 and s.size > 0 and s[0] >= 0 and bool(np.all(np.diff(s) > 0)),
        "s must be increasing numbers from 0 on",
    )

    def solution(tolerance: float) -> np.ndarray:
        options: dict[str, Any] = {
            "rtol": tolerance,
            "atol": tolerance,
            "jac": jacobian,
            "t_eval": s,
        }
        found = solve_ivp(slope, (0.0, s[-1]), first, method="LSODA", **options)
        if not found.success:
            raise InputError(f"the flow could not be followed: {found.message}; scale the inputs")
        return found.y.T

    fine = solution(TOLERANCE)
    return s, fine, np.linalg.norm(fine - solution(100 * TOLERANCE), axis=1)
