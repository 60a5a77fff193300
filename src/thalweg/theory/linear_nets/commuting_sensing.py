"""Deep matrix sensing with commuting matrices: solved in closed form, and where it ends.

Symmetric A_1, ..., A_m that commute have common eigenvectors. In their basis the flow of
1/2 sum_i (<A_i, W> - b_i)^2 from W_j = alpha^{1/N} I keeps W diagonal; row i of the matrix A (m, d)
holds the eigenvalues of A_i, and the eigenvalues w of W obey

    w' = -N w^{2-2/N} A^T (A w - b),   w(0) = alpha.

With s(t) = -int_0^t A^T (A w - b) the path is a function of s alone, and its limit is the least
of a convex function. As alpha -> 0 the limit has the least sum, hence nuclear norm, of all w >= 0
with A w = b, for every depth N >= 2.

Source: Gunasekar et al. (2017) for N = 2; Arora, Cohen, Hu and Luo (2019), Theorem 1 for N >= 3;
the closed form is derived from it (E1 of the study).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog

from thalweg.core.errors import InputError, require

Values = NDArray[np.float64]
NEWTON_STEPS = 500
HIDDEN = 1e-10  # share of the height below which a fall may be rounding


class CommutingLimit(NamedTuple):
    """Where the flow ends.

    Attributes:
        w: Eigenvalues of the product, shape (d,).
        multipliers: nu, w = w(A^T nu), shape (m,).
        error: ||A w - b||, what is left of the loss's root.
        steps: Newton steps taken.
    """

    w: Values
    multipliers: Values
    error: float
    steps: int


class LeastSum(NamedTuple):
    """The least sum of w >= 0 with A w = b, by linear programming.

    Attributes:
        w: Where, shape (d,).
        value: sum w.
        multipliers: nu of the dual, max b.nu with A^T nu <= 1, shape (m,).
        slack: 1 - A^T nu, shape (d,); 0 on the support of w.
        error: |value - b.nu| + ||A w - b|| ||nu||: how far the value may be from the least, up
            to infeasibility of the dual by the solver's 1e-7.
    """

    w: Values
    value: float
    multipliers: Values
    slack: Values
    error: float


def commuting_velocity(w: ArrayLike, A: ArrayLike, b: ArrayLike, depth: int) -> Values:
    """W' = -N w^{2-2/N} A^T (A w - b), shape (d,), at depth N for eigenvalues w >= 0.

    Examples:
        >>> from thalweg.theory.linear_nets.commuting_sensing import commuting_velocity
        >>> commuting_velocity([1.0], [[1.0]], [3.0], 2).tolist()  # -2 w (w - 3)
        [4.0]
    """
    w, A = np.asarray(w, float), np.asarray(A, float)
    return -depth * w ** (2 - 2 / depth) * (A.T @ (A @ w - np.asarray(b, float)))


def commuting_eigenvalues(s: ArrayLike, alpha: float, depth: int) -> Values:
    """w(s), s = -int A^T (A w - b) dt, of the flow from alpha (E1).

    N = 1: alpha + s; N = 2: alpha e^{2s}; N >= 3: (alpha^{-(1-2/N)} - (N - 2) s)^{-N/(N-2)}.

    Args:
        s: Any shape; for N >= 3 below alpha^{-(1-2/N)}/(N - 2), where w is infinite; NaN above.
        alpha: Start of every eigenvalue, positive.
        depth: N, at least 1.

    Raises:
        InputError: If the start or the depth is out of range.

    Exact. Source: derived from Arora, Cohen, Hu and Luo (2019), proof of Theorem 1.

    Examples:
        >>> from thalweg.theory.linear_nets.commuting_sensing import commuting_eigenvalues
        >>> bool(np.isclose(commuting_eigenvalues(0.5, 2.0, 2), 2 * np.e))
        True
    """
    require(
        alpha > 0 and depth >= 1,
        f"start {alpha}, depth {depth}: give a positive start, a depth >= 1",
    )
    s = np.asarray(s, float)
    if depth == 1:
        return alpha + s
    if depth == 2:
        return alpha * np.exp(2 * s)
    root = alpha ** -(1 - 2 / depth) - (depth - 2) * s
    with np.errstate(invalid="ignore"):
        return np.where(root > 0, root, np.nan) ** (-depth / (depth - 2))


def commuting_limit(
    A: ArrayLike, b: ArrayLike, depth: int, alpha: float, tolerance: float = 1e-11
) -> CommutingLimit:
    """The limit of the flow for t -> infinity, without following it.

    s stays in the row space of A, s = A^T nu, and the limit is where A w(A^T nu) = b: the least
    of the convex sum_i Psi(s_i) - b.nu, Psi' = w. Newton steps from nu = 0 are halved until they
    do not raise it.

    Args:
        A: Eigenvalues of the sensing matrices in rows, shape (m, d), of full row rank.
        b: Shape (m,), such that some w > 0 has A w = b.
        depth: N, at least 1.
        alpha: Start, positive.
        tolerance: Of ||A w - b||, relative to ||b||.

    Raises:
        InputError: If shapes do not fit or Newton's method does not get there.

    Cost: an m x m system a step; some tens of steps.
    Source: derived from Arora, Cohen, Hu and Luo (2019), proof of Theorem 1.

    Examples:
        >>> from thalweg.theory.linear_nets.commuting_sensing import commuting_limit
        >>> commuting_limit([[1.0, 1.0]], [4.0], 2, 0.1).w.round(6).tolist()
        [2.0, 2.0]
    """
    A, b = _checked(A, b)
    nu = np.zeros(len(b))
    for step in range(NEWTON_STEPS):
        w = commuting_eigenvalues(A.T @ nu, alpha, depth)
        gap = A @ w - b
        error = float(np.linalg.norm(gap))
        if error <= tolerance * np.linalg.norm(b):
            return CommutingLimit(w, nu, error, step)
        slope = depth * w ** (2 - 2 / depth)
        try:
            direction = np.asarray(-np.linalg.solve((A * slope) @ A.T, gap), np.float64)
        except np.linalg.LinAlgError:  # eigenvalues ran to zero: nothing positive fits
            break
        nu = nu + _damping(A, b, depth, alpha, nu, direction, float(gap @ direction)) * direction
    raise InputError(
        f"||A w - b|| is still {error:.2e} after {step + 1} Newton steps; give measurements "
        "that some w > 0 meets, or a larger start"
    )


def least_sum(A: ArrayLike, b: ArrayLike) -> LeastSum:
    """Min sum_i w_i over w >= 0 with A w = b: least nuclear norm among positive semidefinite.

    Args:
        A: Shape (m, d).
        b: Shape (m,).

    Raises:
        InputError: If shapes do not fit or nothing is feasible.

    Cost: one linear programme (HiGHS). Source: linear programming duality.

    Examples:
        >>> from thalweg.theory.linear_nets.commuting_sensing import least_sum
        >>> found = least_sum([[1.0, 2.0]], [4.0])
        >>> found.w.tolist(), found.value
        ([0.0, 2.0], 2.0)
    """
    A, b = _checked(A, b)
    found = linprog(np.ones(A.shape[1]), A_eq=A, b_eq=b, method="highs")
    require(found.status == 0, f"no least sum was found: {found.message}")
    w, nu = np.asarray(found.x, float), np.asarray(found.eqlin.marginals, float)
    value = float(np.sum(w))
    error = abs(value - b @ nu) + np.linalg.norm(A @ w - b) * np.linalg.norm(nu)
    return LeastSum(w, value, nu, 1 - A.T @ nu, float(error))


def _potential(s: Values, alpha: float, N: int) -> float:
    """Sum Psi(s), Psi' = w; infinite where w is."""
    if N == 1:
        return float(np.sum(alpha * s + s**2 / 2))
    if N == 2:
        with np.errstate(over="ignore"):
            return float(np.sum(alpha * np.exp(2 * s) / 2))
    root = alpha ** -(1 - 2 / N) - (N - 2) * s
    return float(np.sum(root ** (-2 / (N - 2))) / 2) if np.all(root > 0) else np.inf


def _damping(
    A: Values, b: Values, N: int, alpha: float, nu: Values, direction: Values, slope: float
) -> float:
    """The longest of 1, 1/2, 1/4, ... with a share of the fall foretold (Armijo).

    Near the end, where rounding hides the fall, Newton's whole step.
    """

    def height(at: Values) -> float:
        return _potential(A.T @ at, alpha, N) - float(b @ at)

    here = height(nu)
    if abs(slope) <= HIDDEN * abs(here) and np.isfinite(height(nu + direction)):
        return 1.0
    halves = 0.5 ** np.arange(60)
    return next((t for t in halves if height(nu + t * direction) <= here + 1e-4 * t * slope), 0.0)


def _checked(A: ArrayLike, b: ArrayLike) -> tuple[Values, Values]:
    A, b = np.asarray(A, float), np.asarray(b, float)
    require(
        A.ndim == 2 and b.shape == A.shape[:1],
        f"A has shape {A.shape} and b {b.shape}; give (m, d) and (m,)",
    )
    return A, b
