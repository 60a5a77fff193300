"""Weighted basis pursuit: where label noise leads the over-parametrised linear model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import InputError, require


class WeightedL1(NamedTuple):
    """The solution of least weighted l1 norm.

    Attributes:
        solution: w, shape (d,).
        value: sum_j c_j |w_j|.
        error: The duality gap, plus what the constraints are off times their multipliers: the
            least value is within it of `value`.
    """

    solution: NDArray[np.float64]
    value: float
    error: float


def weighted_basis_pursuit(Z: ArrayLike, y: ArrayLike, weights: ArrayLike) -> WeightedL1:
    """Least sum_j c_j |w_j| subject to Z w = y, as a linear programme.

    With c_j = (4/n) sum_i z_ij^2 its value is the least trace of the Hessian of
    `over_parametrised_linear` over its exact fits: u_j v_j = 0 there, so u^2 + v^2 = |w|. (8/n for
    a loss without the factor 1/2.)

    Args:
        Z: Shape (n, d).
        y: Shape (n,).
        weights: c, positive, shape (d,).

    Raises:
        InputError: If shapes or weights do not fit, or no w solves Z w = y.

    Cost: a linear programme of 2 d variables (SciPy, HiGHS).
    Source: Chen, Donoho and Saunders (1998); Li, Wang and Arora (2022), section 6.

    Examples:
        >>> from thalweg.theory.limits.weighted_l1 import weighted_basis_pursuit
        >>> found = weighted_basis_pursuit([[1.0, 2.0]], [2.0], [1.0, 1.0])
        >>> found.solution.round(6).tolist(), round(found.value, 6)
        ([0.0, 1.0], 1.0)
    """
    from scipy.optimize import linprog  # imported by those who solve one

    Z, y, c = (np.asarray(a, float) for a in (Z, y, weights))
    require(
        Z.ndim == 2 and y.shape == Z.shape[:1] and c.shape == Z.shape[1:] and bool(np.all(c > 0)),
        f"Z came with shape {Z.shape}, y with {y.shape} and weights with {c.shape}; give (n, d), "
        "(n,) and (d,), weights positive",
    )
    found = linprog(np.r_[c, c], A_eq=np.hstack([Z, -Z]), b_eq=y, bounds=(0, None), method="highs")
    if not found.success:
        raise InputError(f"no w was found with Z w = y ({found.message}); give a y that Z reaches")
    d = len(c)
    both = np.asarray(found.x, float)
    w = both[:d] - both[d:]
    value, multipliers = float(c @ np.abs(w)), np.asarray(found.eqlin.marginals)
    # Multipliers that leave |Z^T m| <= c are feasible for the dual; others are shrunk until so.
    multipliers = multipliers / max(1.0, float(np.max(np.abs(Z.T @ multipliers) / c)))
    gap = abs(value - float(y @ multipliers))
    off = float(np.abs(multipliers) @ np.abs(Z @ w - y))
    return WeightedL1(w, value, gap + off)
