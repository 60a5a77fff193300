"""Numbers that sum up a kernel matrix: smallest eigenvalue, alignment, drift, effective rank."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core import rank
from thalweg.core.errors import require, unknown
from thalweg.core.result import Reading, exact, finite
from thalweg.core.tree import length
from thalweg.kernels.tangent import as_matrix

RANKS = ("entropy", "participation")


def smallest_eigenvalue_of(kernel: ArrayLike, entry_error: ArrayLike = 0.0) -> Reading:
    """The smallest eigenvalue of a symmetric kernel, min_v v^T K v / v^T v.

    Args:
        kernel: (n, n), or (n, n, k, k), which is taken as a matrix over (example, output).
        entry_error: How far every entry may be off, a number or the shape of the kernel.

    Returns:
        A `Reading`, both parts shape (): the value (unit: that of the kernel) and its error,
        ||K v - value v|| + N eps ||K||_F + ||entry_error||_F for N rows and the unit eigenvector
        v: the residual, the backward error of the dense solver, and what wrong entries can move
        it by (Weyl). Cost: N^3, no gradients.

    Raises:
        InputError: If the kernel is not square.

    Source: Weyl's inequality; Parlett (1998), The Symmetric Eigenvalue Problem, ch. 4.

    Examples:
        >>> round(float(tw.kernels.smallest_eigenvalue_of(np.diag([3.0, -2.0])).value), 6)
        -2.0
    """
    K = _square(kernel)
    values, vectors = jnp.linalg.eigh(K)
    v = vectors[:, 0]
    solver = len(K) * jnp.finfo(K.dtype).eps * length(K)
    entries = length(jnp.broadcast_to(_matrix(entry_error), K.shape))
    error = length(K @ v - values[0] * v) + solver + entries
    return Reading(values[0], error, finite(values[0], error))


def alignment(left: ArrayLike, right: ArrayLike, centred: bool = False) -> Reading:
    """The cosine between two kernels, A(K, M) = <K, M>_F / (||K||_F ||M||_F).

    Args:
        left: K, (n, n) or (n, n, k, k).
        right: M, of the same shape.
        centred: Whether both are centred first over the examples (of every output), H K H with
            H = I - 1 1^T / n.

    Returns:
        A `Reading`, shape (): between 0 and 1 for positive semidefinite kernels, 1 where they are
        proportional, dimensionless. Exact up to rounding; of centred kernels the error says what
        rounding leaves, 2 N eps (||K||/||H K H|| + ||M||/||H M H||) for N rows. NONFINITE where a
        kernel is zero, or its centred part not told from rounding.

    Raises:
        InputError: If shapes do not agree.

    Source: Cristianini et al. (2001), definition 1; Cortes, Mohri and Rostamizadeh (2012),
    definition 4, for centring.

    Examples:
        >>> K = np.diag([1.0, 0.0])
        >>> round(float(tw.kernels.alignment(K, np.eye(2)).value), 6)  # 1/sqrt(2)
        0.707107
    """
    K, M = (_square(k) for k in (left, right))
    require(K.shape == M.shape, f"kernels of shapes {K.shape} and {M.shape} cannot be compared")
    if not centred:
        return exact(jnp.sum(K / length(K) * (M / length(M))))
    (K, one), (M, other) = _centred(left), _centred(right)
    value, error = jnp.sum(K / length(K) * (M / length(M))), 2 * (one + other)
    return Reading(value, error, finite(value, error))


def target_alignment(kernel: ArrayLike, targets: ArrayLike, centred: bool = False) -> Reading:
    """How far the kernel points along the targets, A(K, Y Y^T); see `alignment`.

    For one output y this is y^T K y / (||K||_F ||y||^2).

    Args:
        kernel: (n, n), as the trace over outputs, against Y Y^T; or (n, n, k, k), against
            y y^T with y all targets in one vector.
        targets: Y, (n, k) or (n,).
        centred: Whether kernel and targets are centred over examples first.

    Returns:
        A `Reading`, shape (), dimensionless, with the error and the code of `alignment`: centred
        targets that are all equal are NONFINITE.

    Raises:
        InputError: If shapes do not agree.

    Source: Cristianini et al. (2001), sec. 3.

    Examples:
        >>> y = np.array([1.0, -1.0])
        >>> round(float(tw.kernels.target_alignment(np.outer(y, y), 3 * y).value), 6)
        1.0
    """
    K, Y = jnp.asarray(kernel), jnp.asarray(targets)
    Y = Y[:, None] if Y.ndim == 1 else Y
    full = K.ndim == 4
    require(
        K.ndim in (2, 4)
        and Y.ndim == 2
        and K.shape[0] == Y.shape[0]
        and (not full or K.shape[2] == Y.shape[1]),
        f"a kernel of shape {K.shape} and targets of shape {Y.shape} do not belong together",
    )
    wanted = jnp.einsum("ia,jb->ijab", Y, Y) if full else Y @ Y.T
    return alignment(K, wanted, centred)


def drift(kernel: ArrayLike, start: ArrayLike) -> Reading:
    """How far a kernel has moved, ||K_t - K_0||_F / ||K_0||_F.

    Args:
        kernel: K_t, any shape.
        start: K_0, of the same shape.

    Returns:
        A `Reading`, shape (), dimensionless, exact up to rounding; 0 in the lazy regime.

    Raises:
        InputError: If shapes do not agree.

    Source: Chizat, Oyallon and Bach (2019), sec. 3.

    Examples:
        >>> round(float(tw.kernels.drift(1.5 * np.eye(2), np.eye(2)).value), 6)
        0.5
    """
    K, first = jnp.asarray(kernel), jnp.asarray(start)
    require(
        K.shape == first.shape,
        f"kernels of shapes {K.shape} and {first.shape} cannot be compared",
    )
    return exact(length(K - first) / length(first))


def effective_rank_of(kernel: ArrayLike, form: str = "entropy") -> Reading:
    """How many eigendirections carry a positive semidefinite kernel.

    With eigenvalues lambda_i and p_i = lambda_i / sum lambda: "entropy" (the effective rank) is
    exp(-sum_i p_i log p_i); "participation" (the participation ratio) is
    (sum lambda)^2 / sum lambda^2 = tr(K)^2 / ||K||_F^2.

    Args:
        kernel: (n, n) or (n, n, k, k). Eigenvalues below zero, which rounding makes, count as 0.
        form: "entropy" or "participation".

    Returns:
        A `Reading`, shape (), dimensionless: between 1 and the number of rows, r for r equal
        eigenvalues. Exact up to rounding. Cost: N^3 for N rows.

    Raises:
        InputError: If the form is unknown or the kernel not square.

    Source: Roy and Vetterli (2007), definition 1.

    Examples:
        >>> round(float(tw.kernels.effective_rank_of(np.eye(3)).value), 6)
        3.0
    """
    require(form in RANKS, unknown(form, RANKS, "effective rank"))
    values = jnp.maximum(jnp.linalg.eigvalsh(_square(kernel)), 0)
    if form == "participation":
        values = values / jnp.max(values)
        return exact(jnp.sum(values) ** 2 / jnp.sum(values**2))
    return exact(rank.effective_rank_from(values))


def _matrix(kernel: ArrayLike) -> Array:
    kernel = jnp.asarray(kernel)
    return as_matrix(kernel) if kernel.ndim else kernel


def _square(kernel: ArrayLike) -> Float[Array, "N N"]:
    K = _matrix(kernel)
    require(
        K.ndim == 2 and K.shape[0] == K.shape[1],
        f"a kernel of shape {jnp.shape(kernel)} is not square; give the same examples twice",
    )
    return K


def _centred(kernel: ArrayLike) -> tuple[Float[Array, "N N"], Float[Array, ""]]:
    """H K H, and how much of it is rounding: as one, and H K H as zero, from a quarter on."""
    K = jnp.asarray(kernel)
    K = K if jnp.issubdtype(K.dtype, jnp.inexact) else K.astype(float)
    size = length(K)
    K = K - jnp.mean(K, axis=0, keepdims=True)
    K = as_matrix(K - jnp.mean(K, axis=1, keepdims=True))
    left, rounding = length(K), len(K) * jnp.finfo(K.dtype).eps * size
    told = left > 4 * rounding
    return jnp.where(told, K, 0), jnp.where(told, rounding / jnp.where(told, left, 1), 1)
