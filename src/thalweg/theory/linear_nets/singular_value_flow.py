"""How singular values of a deep factorisation grow: large ones faster, more so with depth.

Gradient flow of l(W_N ... W_1) from balanced factors moves the product W = U diag(sigma) V^T by
the end-to-end rule (`thalweg.theory.linear_nets.end_to_end`). Along it, with G = grad l(W),

    sigma_r' = -N (sigma_r^2)^{1-1/N} <G, u_r v_r^T>,

so that a mode grows in proportion to a power of what it is already, and a rank that is needed is
filled mode by mode. Values are signed: an analytic decomposition lets them change order, and for
N = 1 cross zero.

Source: Arora, Cohen, Hu and Luo (2019, arXiv 1905.13655), section 3; E-numbers are those of the
study.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from thalweg.core.errors import require

Values = NDArray[np.float64]


class SignedModes(NamedTuple):
    """Singular decompositions W = U diag(s) V^T along a path, continued without jumps.

    Attributes:
        U: Left vectors, shape (T, out, r).
        s: Singular values, of either sign and in any order, shape (T, r).
        V: Right vectors, shape (T, in, r).
    """

    U: Values
    s: Values
    V: Values


class VectorVelocity(NamedTuple):
    """Velocities of singular vectors: dU/dt (out, r) and dV/dt (in, r)."""

    U: Values
    V: Values


class Alignment(NamedTuple):
    """Sizes in U^T G V: root mean squares of its diagonal and of the rest (unit: gradient)."""

    diagonal: float
    rest: float


def singular_value_velocity(
    U: ArrayLike, s: ArrayLike, V: ArrayLike, G: ArrayLike, depth: int
) -> Values:
    """sigma_r' = -N (sigma_r^2)^{1-1/N} u_r^T G v_r under gradient flow of balanced factors (E2).

    Args:
        U: Left singular vectors (out, r) of the product.
        s: Signed singular values (r,).
        V: Right singular vectors (in, r).
        G: Gradient of the loss in the product (out, in).
        depth: N, at least 1.

    Returns:
        Shape (r,), unit of sigma per training time; exact. For N >= 2 zero where sigma is zero,
        so that no positive value reaches zero in finite time.

    Raises:
        InputError: If shapes or the depth do not fit.

    Source: Arora, Cohen, Hu and Luo (2019), Theorem 3.

    Examples:
        >>> from thalweg.theory.linear_nets.singular_value_flow import singular_value_velocity
        >>> singular_value_velocity([[1.0]], [4.0], [[1.0]], [[1.0]], 2).tolist()
        [-8.0]
    """
    U, s, V, G = _checked(U, s, V, G, depth)
    return -depth * (s**2) ** (1 - 1 / depth) * np.einsum("ir,ij,jr->r", U, G, V)


def singular_vector_velocity(
    U: ArrayLike, s: ArrayLike, V: ArrayLike, G: ArrayLike, depth: int
) -> VectorVelocity:
    """Velocities of the singular vectors under gradient flow of balanced factors (E3).

    With M = U^T G V, S = diag(sigma), F_rq = 1/((sigma_q^2)^{1/N} - (sigma_r^2)^{1/N}), F_rr = 0,

        U' = -U (F * [M S + S M^T]) - (I - U U^T) G V S (S^2)^{-1/N},
        V' = -V (F * [S M + M^T S]) - (I - V V^T) G^T U S (S^2)^{-1/N}.

    The last factor is (S^2)^{1/2-1/N} for positive values, and carries the sign of negative ones.
    Vectors stand still exactly where M is diagonal, G aligned with W.

    Args:
        U: As in `singular_value_velocity`, and so the others.
        s: Values of distinct size, none zero: where two meet, vectors have no velocity.
        V: (in, r).
        G: (out, in).
        depth: The paper's N.

    Returns:
        dU/dt (out, r) and dV/dt (in, r), per training time; exact up to rounding over the gap.

    Raises:
        InputError: If shapes or the depth do not fit, or two values are equal or one is zero.

    Source: Arora, Cohen, Hu and Luo (2019), Lemma 2.

    Examples:
        >>> from thalweg.theory.linear_nets.singular_value_flow import singular_vector_velocity
        >>> I, G = np.eye(2), np.diag([3.0, 5.0])
        >>> found = singular_vector_velocity(I, [2.0, 1.0], I, G, 2)
        >>> float(np.abs(found.U).max())  # aligned: they stand still
        0.0
    """
    U, s, V, G = _checked(U, s, V, G, depth)
    power = (s**2) ** (1 / depth)
    gaps = power[None, :] - power[:, None]
    apart = gaps + np.eye(s.size)
    require(
        bool(np.all(apart != 0) and np.all(s != 0)),
        f"singular values {s} came; give distinct ones that are not zero",
    )
    F = (1 - np.eye(s.size)) / apart
    M = U.T @ G @ V
    scale = s * (s**2) ** (-1 / depth)
    turned = -U @ (F * (M * s + s[:, None] * M.T)) - _outside(U, G @ V) * scale
    other = -V @ (F * (s[:, None] * M + M.T * s)) - _outside(V, G.T @ U) * scale
    return VectorVelocity(turned, other)


def singular_alignment(U: ArrayLike, V: ArrayLike, G: ArrayLike) -> Alignment:
    """Root mean square of the diagonal of U^T G V, and of the entries beside it.

    The rest is zero where, and for distinct values only where, singular vectors stand still.

    Args:
        U: Left singular vectors (out, r), r at least 2.
        V: Right singular vectors (in, r).
        G: Gradient of the loss in the product (out, in).

    Source: Arora, Cohen, Hu and Luo (2019), Corollary 1.

    Examples:
        >>> from thalweg.theory.linear_nets.singular_value_flow import singular_alignment
        >>> singular_alignment(np.eye(2), np.eye(2), 2 * np.eye(2))
        Alignment(diagonal=2.0, rest=0.0)
    """
    M = np.asarray(U).T @ np.asarray(G) @ np.asarray(V)
    beside = M[~np.eye(len(M), dtype=bool)]
    return Alignment(float(np.sqrt(np.mean(np.diag(M) ** 2))), float(np.sqrt(np.mean(beside**2))))


def signed_svd_track(path: ArrayLike) -> SignedModes:
    """Singular decompositions of W(t_0), W(t_1), ..., each matched to the one before.

    Modes are paired by overlap, |u.u'| |v.v'|, and both vectors of a pair turned to the side of
    those before; a value takes the sign that this leaves. The first decomposition is descending
    and positive. Steps must be short against the gaps between values.

    Args:
        path: Matrices, shape (T, out, in).

    Raises:
        InputError: If the shape is another.

    Cost: T singular value decompositions.

    Examples:
        >>> from thalweg.theory.linear_nets.singular_value_flow import signed_svd_track
        >>> path = [np.diag([2.0, 1.0]), np.diag([1.6, 1.4]), np.diag([1.4, 1.6])]
        >>> signed_svd_track(path).s.round(6).tolist()  # through the crossing
        [[2.0, 1.0], [1.6, 1.4], [1.4, 1.6]]
    """
    path = np.asarray(path, float)
    require(path.ndim == 3, f"a path of shape {path.shape} came; give (T, out, in)")
    U, s, Vt = np.linalg.svd(path, full_matrices=False)
    V = np.swapaxes(Vt, 1, 2).copy()
    for t in range(1, len(path)):
        left, right = U[t - 1].T @ U[t], V[t - 1].T @ V[t]
        _, order = linear_sum_assignment(-np.abs(left * right))
        modes = np.arange(s.shape[1])
        u_sign, v_sign = (np.where(a[modes, order] < 0, -1.0, 1.0) for a in (left, right))
        U[t], V[t] = U[t][:, order] * u_sign, V[t][:, order] * v_sign
        s[t] = s[t][order] * u_sign * v_sign
    return SignedModes(U, s, V)


def mode_relation(leader: ArrayLike, ratio: float, depth: int, start: float | ArrayLike) -> Values:
    """The second of two modes that share a start and are pulled by constant p and ratio * p (E4).

    With a = ratio and sigma_1 the leader: N = 1: sigma_2 = start + a (sigma_1 - start); N = 2:
    start (sigma_1/start)^a; N >= 3: (a sigma_1^{-k} + (1 - a) start^{-k})^{-1/k}, k = (N-2)/N.

    Args:
        leader: sigma_1, at least the start.
        ratio: a, from 0 to 1.
        depth: N, at least 1.
        start: Common start, positive.

    Returns:
        sigma_2, in the shape of the leader; exact. For N >= 3 and a < 1 it stays below
        `mode_ceiling` however large the leader.

    Raises:
        InputError: If a number is out of range.

    Source: Arora, Cohen, Hu and Luo (2019), section 3.2.

    Examples:
        >>> from thalweg.theory.linear_nets.singular_value_flow import mode_relation
        >>> float(mode_relation(leader=4.0, ratio=0.5, depth=2, start=1.0))
        2.0
    """
    leader, start = np.asarray(leader, float), np.asarray(start, float)
    require(
        depth >= 1 and bool(np.all(start > 0)),
        f"depth {depth} from {start}: give a depth >= 1, a start > 0",
    )
    require(0 <= ratio <= 1, f"the ratio came as {ratio}; give a number from 0 to 1")
    if depth == 1:
        return start + ratio * (leader - start)
    if depth == 2:
        return start * (leader / start) ** ratio
    k = (depth - 2) / depth
    return (ratio * leader**-k + (1 - ratio) * start**-k) ** (-1 / k)


def mode_ceiling(ratio: float, depth: int, start: float) -> float:
    """Where `mode_relation` tends as the leader grows: ((1 - a) start^{-k})^{-1/k}, k = (N-2)/N.

    a is the ratio and N the depth.

    Raises:
        InputError: If the depth is below 3 or the ratio not below 1: then there is no ceiling.

    Examples:
        >>> from thalweg.theory.linear_nets.singular_value_flow import mode_ceiling
        >>> mode_ceiling(ratio=0.75, depth=4, start=1.0)
        16.0
    """
    require(
        depth >= 3 and 0 <= ratio < 1,
        f"depth {depth} and ratio {ratio} have no ceiling; give a depth >= 3 and a ratio < 1",
    )
    k = (depth - 2) / depth
    return float(((1 - ratio) * start**-k) ** (-1 / k))


def lift_off_time(target: float, start: float, depth: int) -> float:
    """Training time in which sigma' = N sigma^{2-2/N} (target - sigma) gets to target/2 (E5).

    Leading order as start -> 0: ln(target/start)/(2 target) for N = 2, and
    start^{-(1-2/N)}/((N - 2) target) for N >= 3; nine percent too long for N = 3 at a start of
    1e-3 and target 1.

    Args:
        target: m, positive.
        start: alpha, positive and below target/2.
        depth: N, at least 2.

    Raises:
        InputError: If a number is out of range.

    Source: derived from Arora, Cohen, Hu and Luo (2019), Theorem 3, for 1/2 ||W - M||_F^2.

    Examples:
        >>> from thalweg.theory.linear_nets.singular_value_flow import lift_off_time
        >>> round(lift_off_time(target=1.0, start=np.exp(-2), depth=2), 6)
        1.0
    """
    require(
        depth >= 2 and 0 < start < target / 2,
        f"depth {depth}, start {start}, target {target}: give a depth >= 2, 0 < start < target/2",
    )
    if depth == 2:
        return float(np.log(target / start) / (2 * target))
    return float(start ** -(1 - 2 / depth) / ((depth - 2) * target))


def _outside(basis: Values, vectors: Values) -> Values:
    """(I - B B^T) X."""
    return vectors - basis @ (basis.T @ vectors)


def _checked(
    U: ArrayLike, s: ArrayLike, V: ArrayLike, G: ArrayLike, N: int
) -> tuple[Values, Values, Values, Values]:
    U, s, V, G = (np.asarray(a, float) for a in (U, s, V, G))
    require(N >= 1, f"the depth came as {N}; give at least 1")
    fits = s.ndim == 1 and U.shape == (len(G), s.size) and V.shape == (G.shape[-1], s.size)
    require(
        G.ndim == 2 and fits,
        f"U, s, V, G have shapes {U.shape}, {s.shape}, {V.shape}, {G.shape}; give (out, r), (r,), "
        "(in, r), (out, in)",
    )
    return U, s, V, G
