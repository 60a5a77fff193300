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

from thalweg.core.errors import require
from thalweg.core.hessian_product import Product
from thalweg.core.tree import length as length_of


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
        scale = jnp.maximum(scale, length_of(image))
        rest = orthogonal(image, basis)
        length = length_of(rest)
        invariant = length <= tiny * scale
        rest = jnp.where(invariant, orthogonal(fresh[j], basis), rest)
        offdiagonal = offdiagonal.at[j].set(jnp.where(invariant, 0.0, length))
        unit = rest / length_of(rest)
        # The last vector is of no use, and at depth p it does not exist.
        basis = jnp.where(j + 1 < depth, basis.at[(j + 1) % depth].set(unit), basis)
        return basis, diagonal, offdiagonal, scale

    basis = jnp.zeros((depth, p), start.dtype).at[0].set(start / length_of(start))
    empty = jnp.zeros(depth, start.dtype)
    basis, diagonal, offdiagonal, _ = jax.lax.fori_loop(
        0, depth, body, (basis, empty, empty, jnp.zeros((), start.dtype))
    )
    between = offdiagonal[:-1]
    projected = jnp.diag(diagonal) + jnp.diag(between, 1) + jnp.diag(between, -1)
    return Krylov(basis, projected, offdiagonal[-1])


def _require_digits(vectors: Array) -> None:
    """Refuse formats of 16 bits and fewer, in which no basis stays orthogonal."""
    require(
        jnp.finfo(vectors.dtype).bits >= 32,
        f"the Hessian came in {vectors.dtype}; give parameters in float32 or float64",
    )


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


def lanczos_smallest(
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
        With probability at least 1 - 2 `failure`, value - missed <= lambda_min <= value. From so
        few products that `missed_fraction` is a half or more, `missed` is infinite.
    """
    _require_digits(guess)
    p = guess.shape[0]
    depth = min(depth, p)
    draw, refill = jax.random.split(key)
    krylov = tridiagonalise(product, jax.random.normal(draw, (p,), guess.dtype), depth, refill)
    spread = jnp.linalg.eigvalsh(krylov.projected)

    rest = guess
    for _ in range(2):
        rest = rest - krylov.basis.T @ (krylov.basis @ rest)
    length = length_of(rest)
    useful = length > 1e-6 * length_of(guess)
    added = jnp.where(useful, rest / jnp.where(useful, length, 1.0), jnp.zeros_like(rest))
    image = product(added)
    border = krylov.basis @ image
    # An unused guess must not add a spurious eigenvalue 0 below a positive spectrum.
    corner = jnp.where(useful, added @ image, _beyond(spread))
    projected = jnp.block(
        [[krylov.projected, border[:, None]], [border[None, :], corner[None, None]]]
    )
    ritz, rotations = jnp.linalg.eigh(projected)
    vector = krylov.basis.T @ rotations[:-1, 0] + added * rotations[-1, 0]
    vector = vector / length_of(vector)
    residual = length_of(product(vector) - ritz[0] * vector)

    fraction = missed_fraction(depth, p, failure)
    # The spread of the Ritz values is itself short by the same fraction at either end; from a half
    # on it says nothing.
    share = fraction / (1.0 - 2.0 * fraction) if fraction < 0.5 else math.inf
    wide = jnp.maximum(spread[-1] - spread[0], jnp.finfo(guess.dtype).tiny)
    missed = jnp.maximum(share * wide - (spread[0] - ritz[0]), 0.0)
    return Smallest(ritz[0], residual, missed, vector, spread[-1])


def _beyond(sizes: Array) -> Array:
    """A number beyond all of the sizes and of their scale, so that digits are not lost to it."""
    most = jnp.max(jnp.abs(sizes))
    return jnp.where(most > 0, 2 * most, jnp.ones_like(most))


class Tracked(NamedTuple):
    """The largest eigenvalues that a block has converged to.

    Attributes:
        values: Descending.
        residuals: ||A v - value v|| of each pair.
        vectors: Orthonormal rows v.
        ahead: The vectors after a step of the power iteration, v + (A v - value v) / |value|, which
            costs nothing: the block to start from on a nearby matrix.
        products: How many were spent.
    """

    values: Float[Array, " b"]
    residuals: Float[Array, " b"]
    vectors: Float[Array, "b p"]
    ahead: Float[Array, "b p"]
    products: Int[Array, ""]


class _Space(NamedTuple):
    """A subspace with its images; rows from `filled` on are zero."""

    basis: Array
    images: Array
    projected: Array
    filled: Array


class _Pairs(NamedTuple):
    """The best Ritz pairs of a subspace; `residuals` are vectors, `lengths` their norms."""

    values: Array
    vectors: Array
    residuals: Array
    lengths: Array


def track_largest(
    product: Product,
    block: Float[Array, "b p"],
    tolerance: Float[Array, ""] | float,
    least_products: Int[Array, ""] | int = 0,
    most_products: Int[Array, ""] | int = 200,
    width: int = 6,
    wanted: int = 1,
    threshold: Float[Array, ""] | None = None,
) -> Tracked:
    """Largest eigenvalues by a restarted Krylov iteration from a warm block.

    The basis starts with the block and grows by one residual at a time: that of the first Ritz
    pair whose residual is too large, so that all products go to the wanted pairs, the first first,
    until they have converged, then to the others until no residual reaches above the last wanted
    value, and then to whatever `least_products` asks. A full basis is restarted from its best
    third. From a block carried over from a nearby matrix the b products with the block itself are
    usually enough.

    Args:
        product: The symmetric map.
        block: Start vectors, shape (b, p); b of 2 lets a rising second eigenvalue take over.
            Dependent rows, as zeros, are left out and cost nothing.
        tolerance: Residual asked of the wanted pairs together (root sum of squares), relative to
            the largest value; rounding is allowed for.
        least_products: Products to spend even if the wanted pairs have converged.
        most_products: Products after which the iteration gives up.
        width: The basis holds `width` * b vectors (at least 2 b), its memory is twice that.
        wanted: How many of the b pairs must converge; the others are challengers.
        threshold: If given, the pairs that must converge are those that may lie above it, value
            plus residual, however many; and as long as all do and b allows, one more is sought.

    Returns:
        The b largest Ritz pairs; NaN where the space that was reached has fewer dimensions.
    """
    _require_digits(block)
    b, p = block.shape
    # One vector more than spans the whole space: it is dependent, and ends the search.
    n = min(max(width, 2) * b, p + 1)
    keep = max(b, n // 3)

    def slack(space: _Space, pairs: _Pairs) -> Array:
        size = jnp.max(jnp.abs(space.projected))
        return tolerance * jnp.abs(pairs.values[0]) + 10 * jnp.finfo(block.dtype).eps * size

    def grown(carry: tuple[_Space, _Pairs, Array, Array]) -> tuple[_Space, _Pairs, Array, Array]:
        space, pairs, products, _ = carry
        late = pairs.lengths > slack(space, pairs) / math.sqrt(wanted)
        which = jnp.where(jnp.any(late), jnp.argmax(late), jnp.argmax(pairs.lengths))
        row, alive = _new_part(pairs.residuals[which], space.basis)
        image, at = product(row), space.filled
        basis, images = space.basis.at[at].set(row), space.images.at[at].set(image)
        column = basis @ image
        projected = space.projected.at[at].set(column).at[:, at].set(column)
        space = _Space(basis, images, projected, at + alive.astype(at.dtype))
        values, rotations = _ritz(space)

        def restarted() -> _Space:
            top = jnp.where(jnp.arange(n)[:, None] < keep, rotations, 0.0)
            kept = jnp.where(jnp.arange(n) < keep, values, 0.0)
            count = jnp.full_like(space.filled, keep)
            return _Space(top @ basis, top @ images, jnp.diag(kept), count)

        pairs = _best(space, values[:b], rotations[:b])
        space = jax.lax.cond(space.filled == n, restarted, lambda: space)
        return space, pairs, products + alive.astype(products.dtype), ~alive

    def unfinished(carry: tuple[_Space, _Pairs, Array, Array]) -> Array:
        space, pairs, products, stuck = carry
        room = slack(space, pairs)
        if threshold is not None:
            there = jnp.arange(b, dtype=space.filled.dtype) < space.filled
            near = there & (pairs.values + pairs.lengths > threshold)
            short = jnp.all(near | ~there) & (space.filled < min(b, p))
            late = jnp.any(near & (pairs.lengths > room)) | short
            return ~stuck & late & (products < most_products)
        # A later pair whose residual reaches above those wanted may hide a larger eigenvalue.
        least, tops = pairs.values[wanted - 1], pairs.values + pairs.lengths
        hidden = jnp.any(tops[wanted:] > least + room)
        late = jnp.any(pairs.lengths[:wanted] > room / math.sqrt(wanted))
        late = late | hidden | (products < least_products)
        return ~stuck & late & (products < most_products)

    def searched(space: _Space, pairs: _Pairs) -> tuple[_Pairs, Array]:
        room = n - b
        wide = _Space(
            jnp.pad(space.basis, ((0, room), (0, 0))),
            jnp.pad(space.images, ((0, room), (0, 0))),
            jnp.pad(space.projected, ((0, room), (0, room))),
            space.filled,
        )
        start = wide, pairs, space.filled, jnp.zeros((), bool)
        _, pairs, products, _ = jax.lax.while_loop(unfinished, grown, start)
        return pairs, products

    space = _spanned(product, block)
    pairs = _best(space, *_ritz(space))
    enough = ~unfinished((space, pairs, space.filled, jnp.zeros((), bool)))
    # The wide basis is not touched where the block is good enough, as it mostly is along a run.
    pairs, products = jax.lax.cond(
        enough, lambda space, pairs: (pairs, space.filled), searched, space, pairs
    )
    sizes = jnp.sum(pairs.vectors**2, axis=1)
    there = sizes > 0
    # Rounding of the restarts leaves vectors of almost unit length; their quotients know better.
    along = jnp.sum(pairs.vectors * pairs.residuals, axis=1) / jnp.where(there, sizes, 1)
    values = jnp.where(there, pairs.values + along, jnp.nan)
    lengths = jnp.where(there, pairs.lengths, jnp.nan)
    scale = jnp.max(jnp.abs(pairs.values))
    ahead = pairs.vectors + pairs.residuals / jnp.where(scale > 0, scale, 1.0)
    return Tracked(values, lengths, pairs.vectors, ahead, products)


def _spanned(product: Product, block: Float[Array, "b p"]) -> _Space:
    """The span of a block; dependent rows are left out."""
    b = len(block)

    def add(i: Array, held: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, filled = held
        row, alive = _new_part(block[i], basis)
        return basis.at[filled].set(row), filled + alive.astype(filled.dtype)

    none = jnp.zeros_like(block), jnp.zeros((), jnp.int32)
    basis, filled = jax.lax.fori_loop(0, b, add, none)
    images = product(basis[0])[None] if b == 1 else _images(product, basis, filled)
    projected = basis @ images.T
    return _Space(basis, images, (projected + projected.T) / 2, filled)


def _images(product: Product, basis: Float[Array, "b p"], filled: Array) -> Float[Array, "b p"]:
    """The images of the rows that are filled."""
    return jax.lax.fori_loop(
        jnp.zeros_like(filled),
        filled,
        lambda i, images: images.at[i].set(product(basis[i])),
        jnp.zeros_like(basis),
    )


def _new_part(row: Float[Array, " p"], basis: Float[Array, "n p"]) -> tuple[Array, Array]:
    """The part of a row that is new to an orthonormal basis, as a unit vector; zero if none is."""
    size = length_of(row)
    for _ in range(2):
        row = row - basis.T @ (basis @ row)
    length = length_of(row)
    tiny = max(1e-10, 8 * float(jnp.finfo(row.dtype).eps))
    alive = length > tiny * size
    row = row / jnp.where(alive, length, 1.0)
    # What is left of a row may be little; once more makes even that orthogonal to rounding.
    row = row - basis.T @ (basis @ row)
    return jnp.where(alive, row / length_of(row), jnp.zeros_like(row)), alive


def _ritz(space: _Space) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Ritz values, descending, and their coordinates in the basis as rows."""
    n = len(space.basis)
    # Empty slots sink below the spectrum (Gershgorin), out of the way.
    floor = -_beyond(jnp.sum(jnp.abs(space.projected), axis=1))
    empty = jnp.arange(n, dtype=space.filled.dtype) >= space.filled
    sunk = jnp.where(jnp.eye(n, dtype=bool) & empty[None], floor, space.projected)
    values, rotations = jnp.linalg.eigh(sunk, symmetrize_input=False)
    return values[::-1], rotations[:, ::-1].T


def _best(space: _Space, values: Array, rotations: Array) -> _Pairs:
    vectors, mapped = rotations @ space.basis, rotations @ space.images
    residuals = mapped - values[:, None] * vectors
    return _Pairs(values, vectors, residuals, jax.vmap(length_of)(residuals))
