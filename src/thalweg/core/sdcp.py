"""The semidefinite complementarity problem of curvature at its limit.

Symmetric matrices X, Y of one size with

    X >= 0,  Y = A + B[X] >= 0,  <X, Y> = 0,

B a positive semidefinite map. It states that X minimises <X, B[X]>/2 + <A, X> over the cone of
positive semidefinite matrices, and is solved as that: projected gradient steps with momentum,
which starts again where it points uphill (Beck and Teboulle 2009; O'Donoghue and Candes 2015).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.errors import require
from thalweg.core.result import Result, finite

TOLERANCE = 1e-11  # of the residual, relative to ||A||; rounding allowed for
MOST_ITERATIONS = 3000


class Complementary(NamedTuple):
    """What `sdcp` found.

    Attributes:
        X: Positive semidefinite, to rounding.
        Y: A + B[X].
        residual: ||L X - P(L X - Y)||, P the projection on the cone and L the largest eigenvalue of
            B (Frobenius norm; unit of A): 0 at solutions only. No eigenvalue of Y is below
            -residual, and |<X, Y>| <= residual (||X|| + ||Y||/L + residual/L).
        iterations: Projections.
        result: NOT_CONVERGED where the residual is above the tolerance, as where there is no
            solution; NONFINITE.
    """

    X: Float[Array, "k k"]
    Y: Float[Array, "k k"]
    residual: Float[Array, ""]
    iterations: Int[Array, ""]
    result: Int[Array, ""]


def svec(matrix: Float[Array, "k k ..."]) -> Float[Array, "m ..."]:
    """The upper triangle of a symmetric matrix, off-diagonal entries times sqrt(2): an isometry.

    Args:
        matrix: Symmetric in its first two axes; further axes are carried along.

    Returns:
        m = k (k + 1)/2 entries, row by row.

    Examples:
        >>> from thalweg.core.sdcp import svec
        >>> svec(jnp.array([[1.0, 2.0], [2.0, 3.0]])).round(3).tolist()
        [1.0, 2.828, 3.0]
    """
    rows, columns = np.triu_indices(len(matrix))
    weights = jnp.asarray(np.where(rows == columns, 1.0, np.sqrt(2.0)), matrix.dtype)
    return matrix[rows, columns] * weights.reshape(-1, *[1] * (matrix.ndim - 2))


def smat(vector: Float[Array, " m"]) -> Float[Array, "k k"]:
    """The symmetric matrix of which `svec` made the vector."""
    k = _side(len(vector))
    rows, columns = np.triu_indices(k)
    weights = jnp.asarray(np.where(rows == columns, 1.0, np.sqrt(0.5)), vector.dtype)
    upper = jnp.zeros((k, k), vector.dtype).at[rows, columns].set(vector * weights)
    return upper + upper.T - jnp.diag(jnp.diag(upper))


def sdcp(
    A: Float[Array, "k k"],
    B: Float[Array, "m m"],
    start: Float[Array, "k k"] | None = None,
    *,
    tolerance: float = TOLERANCE,
    most_iterations: int = MOST_ITERATIONS,
) -> Complementary:
    """Find X >= 0 with Y = A + B[X] >= 0 and <X, Y> = 0.

    Args:
        A: Symmetric.
        B: The map in the coordinates of `svec`, symmetric positive semidefinite, m = k (k + 1)/2.
        start: Where to begin, 0 by default; a near solution saves iterations.
        tolerance: Of the residual, relative to ||A||.
        most_iterations: Projections after which it gives up.

    Returns:
        A `Complementary`. Unique where B is definite. Works under `jit` and `vmap`; compiled once
        for every k elsewhere. Cost: one
        eigendecomposition of k x k an iteration, 30 to 50 of them for well-conditioned B of k <= 6.

    Raises:
        InputError: If the shapes do not fit.

    Examples:
        >>> from thalweg.core.sdcp import sdcp
        >>> found = sdcp(jnp.diag(jnp.array([-3.0, 1.0])), 2.0 * jnp.eye(3))
        >>> found.X.tolist(), found.Y.tolist()  # X is the negative part of A, over 2
        ([[1.5, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]])
    """
    k, m = A.shape[0], A.shape[0] * (A.shape[0] + 1) // 2
    require(
        A.shape == (k, k) and B.shape == (m, m),
        f"A came of shape {A.shape} and B of shape {B.shape}; give A (k, k) symmetric and B in the "
        "coordinates of svec, (k (k + 1)/2, k (k + 1)/2)",
    )
    return _solved(A, B, start, jnp.asarray(tolerance), jnp.asarray(most_iterations))


@jax.jit
def _solved(
    A: Float[Array, "k k"],
    B: Float[Array, "m m"],
    start: Float[Array, "k k"] | None,
    tolerance: Float[Array, ""],
    most_iterations: Int[Array, ""],
) -> Complementary:
    a = svec(A)
    largest = jnp.linalg.eigvalsh(B)[-1]
    size = jnp.where(largest > 0, largest, jnp.ones_like(largest))
    allowed = jnp.maximum(tolerance.astype(a.dtype), 50 * jnp.finfo(a.dtype).eps)
    allowed = allowed * jnp.linalg.norm(a)

    def projected(x: Array) -> Array:
        return svec(_positive_part(smat(x)))

    def off(x: Array) -> Array:
        """The residual at a point."""
        return jnp.linalg.norm(size * x - projected(size * x - (a + B @ x)))

    def going(carry: tuple[Array, ...]) -> Array:
        _, _, _, moved, count = carry
        return ~(moved <= allowed) & jnp.isfinite(moved) & (count < most_iterations)

    def turn(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        x, ahead, momentum, _, count = carry
        after = projected(ahead - (a + B @ ahead) / size)
        moved = size * jnp.linalg.norm(after - ahead)
        uphill = jnp.vdot(ahead - after, after - x) > 0
        momentum = jnp.where(uphill, jnp.ones_like(momentum), momentum)
        longer = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        share = jnp.where(uphill, jnp.zeros_like(longer), (momentum - 1) / longer)
        return after, after + share * (after - x), longer, moved, count + 1

    # ||L (after - ahead)|| is the residual at `ahead`; projections bring points no farther apart.
    x = projected(a * 0 if start is None else svec(start.astype(a.dtype)))
    one = jnp.ones((), a.dtype)
    first: tuple[Array, ...] = (
        x,
        x,
        one,
        jnp.full_like(one, jnp.finfo(one.dtype).max),
        jnp.zeros((), jnp.int64),
    )
    x, _, _, _, count = jax.lax.while_loop(going, turn, first)
    residual = off(x)
    late = jnp.where(residual <= 2 * allowed, int(Result.OK), int(Result.NOT_CONVERGED))
    code = jnp.maximum(late.astype(jnp.int32), finite(x, residual))
    return Complementary(smat(x), smat(a + B @ x), residual, count, code)


def _positive_part(matrix: Float[Array, "k k"]) -> Float[Array, "k k"]:
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.maximum(values, 0)[None]) @ vectors.T


def _side(entries: int) -> int:
    return int((np.sqrt(8 * entries + 1) - 1) / 2 + 0.5)
