"""Extreme eigenvalues of symmetric maps, with residuals and with a bound on what was missed.

A Ritz value always lies inside the spectrum: the largest is never too high, the smallest never
too low. Its residual says that *some* eigenvalue is near, not that it is the extreme one. How
much of the spectrum can lie beyond it is bounded in probability over a random start
(`missed_fraction`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from thalweg.core.curvature import Product


class Krylov(NamedTuple):
    """An orthonormal basis Q of a Krylov space with T = Q A Q^T.

    Attributes:
        basis: Q, shape (k, p), rows orthonormal.
        projected: T, shape (k, k), tridiagonal.
        remainder: Norm of the vector that the next step would add; the residual of a Ritz pair
            (theta, s) of T is `remainder * |s[-1]|`.
    """

    basis: Float[Array, "k p"]
    projected: Float[Array, "k k"]
    remainder: Float[Array, ""]


def tridiagonalise(product: Product, start: Float[Array, " p"], depth: int, key: Array) -> Krylov:
    """Lanczos' tridiagonalisation with full reorthogonalisation (Lanczos 1950).

    An invariant subspace (a residual at rounding level) does not end the process: a fresh random
    direction is taken, so that `depth = p` gives the whole spectrum, degenerate or not.

    Args:
        product: The symmetric map v -> A v.
        start: Start vector, not zero.
        depth: Number of products k, at most p.
        key: Draws the fresh directions.
    """
    p = start.shape[0]
    tiny = 100 * jnp.finfo(start.dtype).eps
    fresh = jax.random.normal(key, (depth, p), start.dtype)

    def orthogonal(vector: Array, basis: Array) -> Array:
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            vector = vector - basis.T @ (basis @ vector)
        return vector

    def body(j: Array, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, ...]:
        basis, diagonal, offdiagonal, scale = carry
        image = product(basis[j])
        diagonal = diagonal.at[j].set(basis[j] @ image)
        scale = jnp.maximum(scale, jnp.linalg.norm(image))
        rest = orthogonal(image, basis)
        length = jnp.linalg.norm(rest)
        invariant = length <= tiny * scale
        rest = jnp.where(invariant, orthogonal(fresh[j], basis), rest)
        offdiagonal = offdiagonal.at[j].set(jnp.where(invariant, 0.0, length))
        unit = rest / jnp.linalg.norm(rest)
        # The last vector is of no use, and at depth p it does not exist.
        basis = jnp.where(j + 1 < depth, basis.at[(j + 1) % depth].set(unit), basis)
        return basis, diagonal, offdiagonal, scale

    basis = jnp.zeros((depth, p), start.dtype).at[0].set(start / jnp.linalg.norm(start))
    empty = jnp.zeros(depth, start.dtype)
    basis, diagonal, offdiagonal, _ = jax.lax.fori_loop(
        0, depth, body, (basis, empty, empty, jnp.zeros((), start.dtype))
    )
    between = offdiagonal[:-1]
    projected = jnp.diag(diagonal) + jnp.diag(between, 1) + jnp.diag(between, -1)
    return Krylov(basis, projected, offdiagonal[-1])


def missed_fraction(depth: int, dimension: int, failure: float) -> float:
    """How far an extreme Ritz value can be off, as a fraction of the spread of the spectrum.

    With probability at least 1 - `failure` over a random start vector,
    (lambda_max - theta_max) / (lambda_max - lambda_min)
        <= (ln(1.648 sqrt(p) / failure) / (2k - 1))^2
    for k = `depth` products in p = `dimension` dimensions; the same holds for the smallest.
    Source: Kuczynski and Wozniakowski (1992), theorem 4.2, which is invariant under shifts.
    It is 0 when the Krylov space is the whole space, and never above 1.
    """
    if depth >= dimension:
        return 0.0
    exponent = math.log(1.648 * math.sqrt(dimension) / failure) / (2 * depth - 1)
    return min(1.0, exponent**2)


class Smallest(NamedTuple):
    """The smallest eigenvalue found, and how much smaller the true one can be."""

    value: Float[Array, ""]
    residual: Float[Array, ""]
    missed: Float[Array, ""]
    vector: Float[Array, " p"]
    largest: Float[Array, ""]


def smallest_eigenvalue(
    product: Product, guess: Float[Array, " p"], key: Array, depth: int, failure: float
) -> Smallest:
    """Smallest (signed) eigenvalue from a random Krylov space enlarged by a guess.

    The Ritz value over span(K_k(A, random), guess) is at most that of the Krylov space alone, so
    the probabilistic bound of `missed_fraction` holds for it, while a guess carried over from a
    nearby matrix makes the value itself accurate.

    Args:
        product: The symmetric map.
        guess: A vector near the eigenvector wanted, or zeros.
        key: Draws the start.
        depth: Products spent on the Krylov space (one more is spent on the guess).
        failure: Probability with which the bound `missed` may fail.

    Returns:
        With probability at least 1 - 2 `failure`, value - missed <= lambda_min <= value.
    """
    p = guess.shape[0]
    depth = min(depth, p)
    draw, refill = jax.random.split(key)
    krylov = tridiagonalise(product, jax.random.normal(draw, (p,), guess.dtype), depth, refill)
    spread = jnp.linalg.eigvalsh(krylov.projected)

    rest = guess
    for _ in range(2):
        rest = rest - krylov.basis.T @ (krylov.basis @ rest)
    length = jnp.linalg.norm(rest)
    useful = length > 1e-6 * jnp.linalg.norm(guess)
    added = jnp.where(useful, rest / jnp.where(useful, length, 1.0), jnp.zeros_like(rest))
    image = product(added)
    border = krylov.basis @ image
    # An unused guess must not add a spurious eigenvalue 0 below a positive spectrum.
    corner = jnp.where(useful, added @ image, spread[-1] + 1.0)
    projected = jnp.block(
        [[krylov.projected, border[:, None]], [border[None, :], corner[None, None]]]
    )
    ritz, rotations = jnp.linalg.eigh(projected)
    vector = krylov.basis.T @ rotations[:-1, 0] + added * rotations[-1, 0]
    vector = vector / jnp.linalg.norm(vector)
    residual = jnp.linalg.norm(product(vector) - ritz[0] * vector)

    fraction = missed_fraction(depth, p, failure)
    # The spread of the Ritz values is itself short by the same fraction at either end.
    widest = (spread[-1] - spread[0]) / max(1.0 - 2.0 * fraction, 1e-3)
    missed = jnp.maximum(fraction * widest - (spread[0] - ritz[0]), 0.0)
    return Smallest(ritz[0], residual, missed, vector, spread[-1])


class Tracked(NamedTuple):
    """The largest eigenvalues that a block has converged to."""

    values: Float[Array, " b"]
    residuals: Float[Array, " b"]
    vectors: Float[Array, "b p"]
    products: Int[Array, ""]


def track_largest(
    product: Product,
    block: Float[Array, "b p"],
    tolerance: float,
    least_products: Int[Array, ""] | int = 0,
    most_products: int = 200,
    width: int = 12,
) -> Tracked:
    """Largest eigenvalues by a restarted block Krylov iteration from a warm block.

    The basis grows by the residuals of the leading Ritz vectors until the residual of the first
    is at most `tolerance * |value|`; when it is full it is restarted from its best vectors. From
    a block carried over from a nearby matrix one round (b products) is usually enough.

    Args:
        product: The symmetric map.
        block: Start vectors, shape (b, p), linearly independent; b of 2 lets a rising second
            eigenvalue take over.
        tolerance: Relative residual asked of the first pair.
        least_products: Products to spend even if the first pair has converged.
        most_products: Products after which the iteration gives up.
        width: Blocks kept before a restart; memory is 2 * width * b * p numbers.
    """
    b, p = block.shape
    width = min(width, max(p // b, 1))
    n = width * b
    keep = min(2 * b, n - b) if n > b else 0

    def orthonormal(new: Array, basis: Array) -> tuple[Array, Array]:
        """New rows against the basis and one another; a dependent row becomes zero."""
        rows: list[Array] = []
        for row in new:
            size = jnp.linalg.norm(row)
            for _ in range(2):
                row = row - basis.T @ (basis @ row)
                for other in rows:
                    row = row - other * (other @ row)
            length = jnp.linalg.norm(row)
            alive = length > 1e-10 * jnp.where(size > 0, size, 1.0)
            rows.append(jnp.where(alive, row / jnp.where(alive, length, 1.0), jnp.zeros_like(row)))
        stacked = jnp.stack(rows)
        return stacked, jnp.any(stacked != 0, axis=1)

    def ritz(basis: Array, images: Array, alive: Array) -> tuple[Array, Array]:
        projected = basis @ images.T
        projected = (projected + projected.T) / 2
        # Empty slots sink below the spectrum (Gershgorin), out of the way.
        floor = -1.0 - 2.0 * jnp.max(jnp.sum(jnp.abs(projected), axis=1))
        slots = jnp.where(alive, jnp.diag(projected), floor)
        projected = projected.at[jnp.diag_indices(n)].set(slots)
        values, rotations = jnp.linalg.eigh(projected)
        return values[::-1], rotations[:, ::-1].T

    def body(carry: tuple) -> tuple:
        basis, images, alive, new, filled, products, *_ = carry
        full = filled + b > n
        values, rotations = ritz(basis, images, alive)
        top = jnp.where(jnp.arange(n)[:, None] < keep, rotations, 0.0)
        basis = jnp.where(full, top @ basis, basis)
        images = jnp.where(full, top @ images, images)
        alive = jnp.where(full, jnp.arange(n) < keep, alive)
        filled = jnp.where(full, keep, filled)

        new, living = orthonormal(new, basis)
        put = jax.lax.dynamic_update_slice_in_dim
        basis = put(basis, new, filled, 0)
        images = put(images, jax.vmap(product)(new), filled, 0)
        alive = put(alive, living, filled, 0)
        values, rotations = ritz(basis, images, alive)
        vectors, mapped = rotations[:b] @ basis, rotations[:b] @ images
        residual = mapped - values[:b, None] * vectors
        lengths = jnp.linalg.norm(residual, axis=1)
        spent = products + jnp.sum(living).astype(jnp.int32)
        stuck = ~jnp.any(living)
        return (
            basis,
            images,
            alive,
            residual,
            filled + b,
            spent,
            values[:b],
            lengths,
            vectors,
            stuck,
        )

    def unfinished(carry: tuple) -> Array:
        products, values, lengths, stuck = carry[5], carry[6], carry[7], carry[9]
        late = (lengths[0] > tolerance * jnp.abs(values[0])) | (products < least_products)
        return (products == 0) | (~stuck & late & (products < most_products))

    kind = block.dtype
    start = (
        jnp.zeros((n, p), kind),
        jnp.zeros((n, p), kind),
        jnp.zeros(n, bool),
        block,
        jnp.zeros((), jnp.int32),
        jnp.zeros((), jnp.int32),
        jnp.zeros(b, kind),
        jnp.zeros(b, kind),
        block,
        jnp.zeros((), bool),
    )
    end = jax.lax.while_loop(unfinished, body, start)
    return Tracked(values=end[6], residuals=end[7], vectors=end[8], products=end[5])
