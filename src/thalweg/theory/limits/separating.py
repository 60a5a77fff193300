"""Whether a plane through the origin separates data: a plane that does, or a proof that none can.

Labels are absorbed: a row x_n stands for y_n x_n, and w separates the data if x_n . w > 0 for all.
By Gordan's theorem either there is such a w, or there are weights p_n >= 0, not all zero, with
sum_n p_n x_n = 0. Both answers are checked on the data as they came; both checks stand or fall by
the rounding of single entries, so that they cannot both succeed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import linprog, nnls

from thalweg.core.errors import require

EPS = float(np.finfo(float).eps)
TOLERANCES = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
CLOSED = 1e-9  # a relative gap of the largest margin that is not worth another program


class Separability(NamedTuple):
    """Whether a plane through the origin separates data, with the best one in another norm.

    Attributes:
        separable: True if x_n . w > 0 for all n by more than rounding; False if `weights` prove
            that there is no such w, or none by more than rounding; None if neither was found.
        margin: min_n x_n . w, 0 unless separable (unit: input).
        w: Where the largest margin was found, |w_j| <= 1, shape (d,); not always unique. Zero
            unless separable.
        error: max_{|w_j| <= 1} min_n x_n . w is at most margin + error (unit: input), since it is
            at most |sum_n p_n x_n|_1 for any weights p of sum 1.
        weights: p >= 0 of sum 1, shape (n,), behind `error`; sum_n p_n x_n = 0, relative to
            sum_n p_n |x_n| column by column, where nothing separates.
    """

    separable: bool | None
    margin: float
    w: Float[np.ndarray, " d"]
    error: float
    weights: Float[np.ndarray, " n"]


def separability(X: ArrayLike) -> Separability:
    """max_{|w_j| <= 1} min_n x_n . w by linear programming: positive exactly if w separates.

    Solvers of linear programs know zero to about 1e-9 of the largest entry. Whether data are
    separable does not depend on the units of the features, or on any invertible map of them: the
    question is asked with features of one size and examples of length 1, and where that does not
    settle it in an orthonormal basis of the columns. The answer is checked on X itself: a plane by
    x_n . w > 2 (d + 2) eps sum_j |x_nj w_j| for all n, a refusal by weights p with
    |sum_n p_n x_nj| <= 2 (m + 2) eps sum_n p_n |x_nj| for all j, m the larger of d and the number
    of examples with weight. The largest margin is found in units of a margin already known; it is
    also where methods of sign-like steps (Adam without epsilon) tend to.

    Args:
        X: Inputs with labels absorbed, shape (n, d).

    Raises:
        InputError: If X is no matrix of finite numbers.

    Source: Gordan (1873) for the alternative; the checks: derived.

    Examples:
        >>> from thalweg.theory.limits.separating import separability
        >>> separability([[1.0], [2.0]]).separable, separability([[1.0], [-1.0]]).separable
        (True, False)
    """
    X = finite_matrix(X)
    empty = ~X.any(axis=1)
    if empty.any():
        return _refused(X, np.eye(len(X))[int(np.argmax(empty))], False)
    size = np.abs(X).max(axis=0)
    size[size == 0] = 1.0
    for view in (_of_one_size, _in_general_position):
        with np.errstate(all="ignore"):  # what is not finite separates nothing
            w, weights = view(X / size)
            w = w / size
            w = w / np.abs(w).max()
            if _separates(X, w):
                return _largest_margin(X, w, size)
        weights = _balanced(X, weights > 1e-9 * weights.max())
        if _balances(X, weights):
            return _refused(X, weights, False)
    weights = _balanced(X, np.ones(len(X), bool))
    return _refused(X, weights, False if _balances(X, weights) else None)


def _of_one_size(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The plane farthest from the examples on the unit sphere, and weights."""
    length = np.linalg.norm(A, axis=1)
    found = _program(A / length[:, None], np.ones(A.shape[1]))
    if found is None:
        return np.zeros(A.shape[1]), np.ones(len(A))
    return found[0], found[1] / length


def _in_general_position(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same in an orthonormal basis of the columns: coordinates of every invertible map."""
    U, spread, V = np.linalg.svd(A, full_matrices=False)
    kept = spread > EPS * max(A.shape) * spread[0]
    basis = V[kept].T / spread[kept]
    w, weights = _of_one_size(U[:, kept])
    return basis @ w, weights


def _program(B: np.ndarray, bound: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Max min_n b_n . q for |q_j| <= bound_j, and its dual weights, sum 1; None if that fails."""
    n, d = B.shape
    found: Any = linprog(  # type: ignore[call-overload]
        np.append(np.zeros(d), -1.0),
        np.hstack([-B, np.ones((n, 1))]),
        np.zeros(n),
        bounds=[*((-float(b), float(b)) for b in bound), (0.0, np.inf)],
        method="highs",
        options=TOLERANCES,
    )
    if found.x is None:
        return None
    p = np.maximum(-np.asarray(found.ineqlin.marginals), 0.0)
    return found.x[:d], p / p.sum() if p.any() else np.full(n, 1 / n)


def _separates(X: np.ndarray, w: np.ndarray) -> bool:
    """Whether x_n . w > 0 for all n whatever the rounding of the sums, and of entries."""
    return bool(np.all(X @ w > 2 * (X.shape[1] + 2) * EPS * (np.abs(X) @ np.abs(w))))


def _balances(X: np.ndarray, p: np.ndarray) -> bool:
    """Whether sum_n p_n x_n = 0, to the rounding of entries."""
    slack = 2 * (max(X.shape[1], np.count_nonzero(p)) + 2) * EPS
    return bool(np.all(np.abs(p @ X) <= slack * (p @ np.abs(X))))


def _balanced(X: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Weights of sum 1 on some examples whose weighted sum is as near zero as can be.

    Weights of very different sizes are known to one precision once each example has been scaled by
    a first guess of its own.
    """
    guess = 1 / np.abs(X).max(axis=1)
    for _ in range(3):
        S = X[among] * guess[among, None]
        columns = np.abs(S).max(axis=0)
        S = S / np.where(columns > 0, columns, 1.0)
        try:
            a = nnls(np.vstack([S.T, np.ones(len(S))]), np.eye(S.shape[1] + 1)[-1])[0]
        except RuntimeError:  # its count of iterations
            a = np.ones(len(S))
        p = np.zeros(len(X))
        p[among] = a * guess[among] / np.max(a * guess[among])
        p /= p.sum()
        if _balances(X, p):
            break
        among, guess = p > 0, p
    return p


def _largest_margin(X: np.ndarray, w: np.ndarray, size: np.ndarray) -> Separability:
    """The largest margin of the box from a plane with a smaller one, and a bound above it."""
    best, margin = w, float(np.min(X @ w))
    weights, above = np.full(len(X), 1 / len(X)), np.inf
    for _ in range(8):
        before = margin
        found = _program(X / size, np.minimum(size / margin, 1e19))
        if found is None:
            break
        trial = np.clip(found[0] * margin / size, -1, 1)
        bound = float(np.abs(found[1] @ X).sum())
        if bound < above:
            weights, above = found[1], bound
        if _separates(X, trial) and float(np.min(X @ trial)) > margin:
            best, margin = trial, float(np.min(X @ trial))
        if above - margin <= CLOSED * margin or margin <= 2 * before:
            break
    if not np.isfinite(above):
        above = float(np.abs(weights @ X).sum())
    return Separability(True, margin, best, max(above - margin, 0.0), weights)


def _refused(X: np.ndarray, weights: np.ndarray, separable: bool | None) -> Separability:
    bound = float(np.abs(weights @ X).sum())
    return Separability(separable, 0.0, np.zeros(X.shape[1]), bound, weights)


def finite_matrix(X: ArrayLike) -> np.ndarray:
    """X as float64, shape (n, d); refused unless it is a matrix of finite numbers.

    Examples:
        >>> from thalweg.theory.limits.separating import finite_matrix
        >>> finite_matrix([[1, 2]]).tolist()
        [[1.0, 2.0]]
    """
    X = np.asarray(X, float)
    require(
        X.ndim == 2 and X.size > 0 and bool(np.all(np.isfinite(X))),
        f"inputs of shape {X.shape} came; give finite numbers (examples, features)",
    )
    return X
