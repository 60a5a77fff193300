"""How singular values move when a multiple of the identity is added, or rows are scaled.

For a matrix A with singular values s_1 >= ... >= s_n: derivatives and paths along A + rho I, bounds
on them, exact values for [A; I], bounds for diag(d) A, and constants for Gaussian matrices. They
say what skip connections and activations do to the layers of a net: see
`thalweg.models.local_matrix`.

Source: Riedi, Balestriero and Baraniuk (2023), arXiv 2203.03099; Horn and Johnson, Topics in
Matrix Analysis, ch. 3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from thalweg.core.errors import require
from thalweg.core.rank import rounding_of

Values = np.ndarray

# E[ln kappa] - ln n of a real Gaussian n x n matrix, n to infinity: the mean of ln x under the
# density (2 x + 4) x^-3 exp(-2/x - 2/x^2) of kappa/n (Edelman 1988).
GAUSSIAN_LOG_CONDITION = 1.537089435383441


def condition_number(
    singular_values: Float[ArrayLike, "*b n"], nonzero: bool = False
) -> Float[Values, "*b"]:
    """Condition number kappa = s_1/s_n, infinite for a rank-deficient matrix.

    What lies below n * eps * s_1, with the eps of the precision in which the values came, is
    rounding noise and counts as zero: of float64 finite values end near 1e14 for n = 50.

    Args:
        singular_values: Descending, with any batch axes in front.
        nonzero: Leave zeros out: s_1 over the smallest singular value that is none, which is the
            eccentricity of an ellipsoid across its flat directions.

    Examples:
        >>> from thalweg.theory.landscape.singular_values import condition_number
        >>> float(condition_number([4.0, 2.0]))
        2.0
    """
    eps, s = rounding_of(singular_values), np.asarray(singular_values, float)
    floor = s.shape[-1] * eps * s[..., :1]
    kept = np.where(s > floor, s, np.inf if nonzero else 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(s[..., 0] > 0, s[..., 0] / kept.min(-1), np.inf)


def contraction(condition: ArrayLike) -> Values:
    """Contraction (kappa^2 - 1)/(kappa^2 + 1) per step of gradient descent at its best step size.

    For a quadratic whose Hessian has the eigenvalues s_i^2, at eta = 2/(s_1^2 + s_n^2): the slowest
    and the fastest direction shrink alike. 1 for an infinite condition number.

    Examples:
        >>> from thalweg.theory.landscape.singular_values import contraction
        >>> round(float(contraction(2.0)), 6)
        0.6
    """
    square = np.asarray(condition, float) ** -2.0
    return (1 - square) / (1 + square)


class Derivatives(NamedTuple):
    """Singular values of A + t E at t = 0, descending, and their derivatives in t."""

    value: Float[Values, " n"]
    first: Float[Values, " n"]
    second: Float[Values, " n"]


def derivatives(
    A: Float[ArrayLike, "n n"], E: Float[ArrayLike, "n n"] | None = None
) -> Derivatives:
    """First and second derivatives of the singular values along A + t E.

    With G = U^T E V, s_i' = G_ii and s_i'' is the sum over k != i of
    (G_ki + G_ik)^2 / (2 (s_i - s_k)) + (G_ki - G_ik)^2 / (2 (s_i + s_k)).
    For E = I the slope is u_i . v_i, the cosine of an angle, and in [-1, 1].

    Args:
        A: Square.
        E: The direction; the identity by default.

    Returns:
        Exact where s_i is simple and positive; at a crossing s_i'' is infinite or noise, and at
        s_n = 0 the slopes are those of one side.

    Raises:
        InputError: If A is not square, or E has another shape.

    Source: the paper's derivative of singular values (E4); second-order perturbation of the
    symmetric matrix [0 A; A^T 0] (E5).

    Examples:
        >>> from thalweg.theory.landscape.singular_values import derivatives
        >>> found = derivatives(np.diag([2.0, 1.0]))  # along A + t I
        >>> found.value.tolist(), found.first.tolist(), found.second.tolist()
        ([2.0, 1.0], [1.0, 1.0], [0.0, 0.0])
    """
    A = _square(A)
    E = np.eye(len(A)) if E is None else np.asarray(E, float)
    require(E.shape == A.shape, f"the direction has shape {E.shape}, the matrix {A.shape}")
    U, s, Vt = np.linalg.svd(A)
    G = U.T @ E @ Vt.T
    gap = s[:, None] - s + np.diag(np.full(len(s), np.inf))
    with np.errstate(divide="ignore", invalid="ignore"):
        near = (G + G.T) ** 2 / (2 * gap)
        far = np.where(G == G.T, 0.0, (G - G.T) ** 2 / (2 * (s[:, None] + s)))
    return Derivatives(s, np.diag(G).copy(), near.sum(1) + far.sum(1))


class Paths(NamedTuple):
    """Singular values along A + rho I, each followed through crossings.

    Attributes:
        rho: Shape (T,).
        value: s_i(rho), shape (T, n), in descending order at the first rho only.
        slope: u_i . v_i, shape (T, n).
    """

    rho: Float[Values, " T"]
    value: Float[Values, "T n"]
    slope: Float[Values, "T n"]


def singular_paths(A: Float[ArrayLike, "n n"], rho: Float[ArrayLike, " T"]) -> Paths:
    """Singular values and their slopes along A + rho I.

    Branches are matched between neighbouring rho by the largest total overlap
    |u_i . u_j'| |v_i . v_j'|, not by sorting, so that they pass through crossings; this needs a
    mesh that resolves them and does not hit one. A branch that meets zero is reflected there.

    Args:
        A: Square.
        rho: The values of rho, in order.

    Returns:
        The trapezoidal rule on the slopes gives the values back to O(h^2).

    Raises:
        InputError: If A is not square or rho is empty.

    Cost: one singular value decomposition per rho.

    Source: the paper's singular value paths (E4).

    Examples:
        >>> from thalweg.theory.landscape.singular_values import singular_paths
        >>> singular_paths(np.diag([2.0, -1.0]), [0.0, 0.5]).value.round(6).tolist()
        [[2.0, 1.0], [2.5, 0.5]]
    """
    A, rho = _square(A), np.asarray(rho, float)
    require(rho.ndim == 1 and rho.size > 0, f"rho has shape {rho.shape}; give a list of numbers")
    U, s, Vt = np.linalg.svd(A + rho[:, None, None] * np.eye(len(A)))
    order = [np.arange(len(A))]
    for t in range(1, len(rho)):
        overlap = np.abs(U[t - 1].T @ U[t]) * np.abs(Vt[t - 1] @ Vt[t].T)
        onward = linear_sum_assignment(overlap, maximize=True)[1]
        order.append(onward[order[-1]])
    slopes = np.einsum("tki,tik->ti", U, Vt)
    taken = np.array(order)
    return Paths(rho, *(np.take_along_axis(a, taken, 1) for a in (s, slopes)))


class Bounds(NamedTuple):
    """Lower and upper bounds, entry by entry."""

    lower: Values
    upper: Values

    def margin(self, values: ArrayLike) -> float:
        """The least distance of values from their bounds; negative where one is violated."""
        v = np.asarray(values, float)
        return float(np.min(np.minimum(v - self.lower, self.upper - v)))


def shift_bounds(norm: ArrayLike, rho: ArrayLike) -> Bounds:
    """Bounds rho - s_1(B) and rho + s_1(B) on every singular value of B + rho I, rho >= 0 (Weyl).

    Args:
        norm: s_1(B).
        rho: At least 0.

    Source: the paper's additive perturbation (E6).

    Examples:
        >>> from thalweg.theory.landscape.singular_values import shift_bounds
        >>> low, high = shift_bounds(norm=0.5, rho=1.0)
        >>> float(low), float(high)
        (0.5, 1.5)
    """
    norm, rho = np.asarray(norm, float), np.asarray(rho, float)
    return Bounds(np.maximum(rho - norm, 0.0), rho + norm)


def shift_condition_bound(norm: ArrayLike, rho: ArrayLike) -> Values:
    """Upper bound (rho + s_1(B))/(rho - s_1(B)) on the condition number of B + rho I.

    Infinite where s_1(B) >= rho: a skip guarantees nothing against larger weights. It does not
    depend on the size of B; for a product the bounds multiply.

    Source: the paper's condition number of a residual layer (E6).

    Examples:
        >>> from thalweg.theory.landscape.singular_values import shift_condition_bound
        >>> float(shift_condition_bound(norm=0.5, rho=1.0))
        3.0
    """
    low, high = shift_bounds(norm, rho)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(low > 0, high / low, np.inf)


def stacked_singular_values(singular_values: ArrayLike) -> Values:
    """Singular values sqrt(1 + s_i^2) of [B; I], as where a layer is concatenated with its input.

    So kappa = sqrt((1 + s_1^2)/(1 + s_n^2)) <= sqrt(1 + s_1^2), whatever the rank of B.

    Args:
        singular_values: All n of B, which has n columns; zeros included.

    Source: the paper's DenseNets (E7).

    Examples:
        >>> from thalweg.theory.landscape.singular_values import stacked_singular_values
        >>> stacked_singular_values([0.75, 0.0]).tolist()
        [1.25, 1.0]
    """
    return np.hypot(1.0, np.asarray(singular_values, float))


class RowScaling(NamedTuple):
    """What is known of the singular values of diag(d) A, d_k = 1 or eta; see `row_scaling`.

    Attributes:
        upper: s_i(A).
        upper_off: eta s_{i-(m-r)}(A_off) for i > m - r, infinity before: zeros for ReLU.
        lower_scale: |eta| s_i(A).
        lower_interlacing: s_{i+r}(A), and 0 beyond the last.
        lower_norm: sqrt(s_i(A)^2 - (1 - eta^2) s_1(A_off)^2), or 0; the difference is lowered by
            its rounding error, which the root would blow up.
        lost: (1 - eta^2) ||A_off||_F^2, by how much the sum of squares falls: an identity.
    """

    upper: Values
    upper_off: Values
    lower_scale: Values
    lower_interlacing: Values
    lower_norm: Values
    lost: float

    @property
    def bounds(self) -> Bounds:
        """All bounds together."""
        low = np.maximum(self.lower_scale, np.maximum(self.lower_interlacing, self.lower_norm))
        return Bounds(low, np.minimum(self.upper, self.upper_off))


def row_scaling(A: Float[ArrayLike, "m n"], off: ArrayLike, eta: float) -> RowScaling:
    """Bounds on the singular values of D A, D scaling the r rows in `off` by eta, |eta| <= 1.

    An activation of slopes 1 and eta does this to a layer: ReLU 0, leaky ReLU 0 < eta < 1, the
    absolute value -1, which changes no singular value. Adding rho I comes after.

    Args:
        A: Any matrix.
        off: Booleans, shape (m,): the rows that are scaled.
        eta: Between -1 and 1.

    Returns:
        Bounds that hold up to rounding, each by itself.

    Raises:
        InputError: If `off` does not fit, or |eta| > 1.

    Source: the paper's multiplication by a diagonal activation matrix (E8); `upper_off` is Weyl's
    inequality for the sum of the rows kept and the rows scaled.

    Examples:
        >>> from thalweg.theory.landscape.singular_values import row_scaling
        >>> found = row_scaling(np.diag([3.0, 1.0]), [False, True], eta=0.0)
        >>> found.bounds.margin([3.0, 0.0]) > -1e-6  # the singular values of diag(3, 0)
        True
    """
    A, off = np.asarray(A, float), np.asarray(off)
    require(
        off.dtype == bool and off.shape == A.shape[:1],
        f"off has type {off.dtype} and shape {off.shape}; give a boolean for each of the "
        f"{len(A)} rows",
    )
    require(abs(eta) <= 1, f"eta is {eta}; give a slope between -1 and 1")
    s, r = np.linalg.svd(A, compute_uv=False), int(off.sum())
    s_off = np.linalg.svd(A[off], compute_uv=False) if r else np.zeros(0)
    shrink = 1 - eta**2
    index = np.arange(s.size)
    behind = index - (len(A) - r)
    padded = np.concatenate([s_off, np.zeros(s.size)])
    rounding = 4 * A.shape[0] * np.finfo(float).eps * np.max(s**2, initial=0.0)
    return RowScaling(
        s,
        np.where(behind >= 0, abs(eta) * padded[np.maximum(behind, 0)], np.inf),
        abs(eta) * s,
        np.concatenate([s[r:], np.zeros(min(r, s.size))]),
        np.sqrt(np.maximum(s**2 - shrink * padded[0] ** 2 - rounding, 0.0)),
        float(shrink * np.sum(s_off**2)),
    )


def gaussian_norm(scale: ArrayLike, kept: float = 1.0) -> Values:
    """Limit c (1 + sqrt(kept)) of s_1 of a wide n x n matrix, entries N(0, c^2/n), rows zeroed.

    Asymptotic: s_1 is below it by about n^(-2/3) at finite n. With half of the rows kept, as by
    ReLU, 1.707 c; so that a skip rho bounds the condition number at any width for c < rho/1.707,
    and for c < rho/2 under the absolute value.

    Args:
        scale: c.
        kept: The share of rows that are not zeroed.

    Raises:
        InputError: If the share is not between 0 and 1.

    Source: Geman (1980); Davidson and Szarek (2001), Theorem II.13.

    Examples:
        >>> from thalweg.theory.landscape.singular_values import gaussian_norm
        >>> float(gaussian_norm(1.0)), round(float(gaussian_norm(1.0, kept=0.5)), 3)
        (2.0, 1.707)
    """
    require(0 <= kept <= 1, f"the share of rows kept is {kept}; give a number between 0 and 1")
    return np.asarray(scale, float) * (1 + np.sqrt(kept))


def gaussian_log_condition(n: ArrayLike) -> Values:
    """Mean of ln kappa of a real n x n Gaussian matrix for large n: ln n + 1.53709.

    Within 0.1 of it from n = 16 on. The spread of a single matrix is 1.2.

    Source: Edelman (1988), Eigenvalues and condition numbers of random matrices.

    Examples:
        >>> from thalweg.theory.landscape.singular_values import gaussian_log_condition
        >>> round(float(gaussian_log_condition(1000) - np.log(1000)), 5)
        1.53709
    """
    return np.log(np.asarray(n, float)) + GAUSSIAN_LOG_CONDITION


def _square(A: ArrayLike) -> Values:
    A = np.asarray(A, float)
    require(
        A.ndim == 2 and A.shape[0] == A.shape[1],
        f"the matrix has shape {A.shape}; adding a multiple of the identity needs a square one",
    )
    return A
