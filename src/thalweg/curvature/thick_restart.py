"""Thick-restart Lanczos for the largest eigenvalues, with a check from a random start.

A subspace is held as orthonormal rows with their images, so that any block can start it, and a
random direction can join it at any time. A cycle fills it up by Lanczos steps with full
reorthogonalisation, diagonalises A on it, and the best Ritz vectors start the next. See
`thalweg.curvature.eigenvalues` for what is known of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.hessian_product import Product
from thalweg.core.tree import length

Draw = Callable[[Int[Array, ""]], Float[Array, " p"]]


class Limits(NamedTuple):
    """What a search is asked for.

    Attributes:
        threshold: Only values above it are wanted (used where they are counted).
        tolerance: Residual asked, in units of the largest |Ritz value|.
        most_products: Never more.
        shares: What a check with Ritz values nu, nu_min can have missed, in units of nu - nu_min,
            for the first, second, ... check.
    """

    threshold: Float[Array, ""]
    tolerance: Float[Array, ""]
    most_products: Int[Array, ""]
    shares: Float[Array, " c"]


class Found(NamedTuple):
    """Ritz pairs, largest first, and upper bounds on the eigenvalues of their places.

    Attributes:
        values: Rayleigh quotients of the vectors.
        vectors: Orthonormal rows; zero where fewer were wanted.
        residuals: Norms, by fresh products.
        upper: Bounds on the eigenvalues, in probability.
        beyond: Bound on those not listed, in probability.
        scale: Largest |Ritz value| seen.
        passed: Whether the last check saw nothing that was missed.
        products: How many were spent.
    """

    values: Float[Array, " k"]
    vectors: Float[Array, "k p"]
    residuals: Float[Array, " k"]
    upper: Float[Array, " k"]
    beyond: Float[Array, ""]
    scale: Float[Array, ""]
    passed: Bool[Array, ""]
    products: Int[Array, ""]


class _State(NamedTuple):
    """A subspace in Ritz form (rows from `filled` on are zero), and what is known so far."""

    basis: Float[Array, "n p"]
    images: Float[Array, "n p"]
    filled: Int[Array, ""]
    values: Float[Array, " k"]
    lengths: Float[Array, " k"]
    upper: Float[Array, " k"]
    beyond: Float[Array, ""]
    scale: Float[Array, ""]
    checks: Int[Array, ""]
    products: Int[Array, ""]
    passed: Bool[Array, ""]
    done: Bool[Array, ""]


def search(
    product: Product,
    start: Float[Array, "b p"],
    key: Array,
    k: int,
    width: int,
    limits: Limits,
    *,
    check: bool,
    counting: bool,
) -> Found:
    """The k largest eigenvalues, or with `counting` those of the k that exceed the threshold.

    Args:
        product: The symmetric map.
        start: At most k rows.
        key: Draws random directions.
        k: How many, below `width`.
        width: Vectors held, below p.
        limits: See `Limits`.
        check: Whether to look for what was missed.
        counting: Whether the threshold says what is wanted; a search that finds k values above
            it ends at once, unchecked.
    """
    p, dtype = start.shape[1], start.dtype
    keep_wide = k + (width - k) // 3

    def draw(at: Array) -> Array:
        return jax.random.normal(jax.random.fold_in(key, at), (p,), dtype)

    def wanted(s: _State) -> Array:
        return jnp.sum(s.values > limits.threshold) if counting else jnp.asarray(k)

    def late(s: _State) -> Array:
        return (jnp.arange(k) < wanted(s)) & ~(s.lengths <= limits.tolerance * s.scale)

    def spent(s: _State) -> Array:
        return s.products + 2 * width + k > limits.most_products

    def unfinished(s: _State) -> Array:
        return ~s.done if check else ~s.done & jnp.any(late(s)) & ~spent(s)

    def cycle(s: _State) -> _State:
        checking = (~jnp.any(late(s)) | spent(s)) if check else jnp.asarray(False)
        keep = jnp.minimum(s.filled, jnp.where(checking, wanted(s), keep_wide))
        first = jax.lax.cond(
            checking, lambda: draw(s.products), lambda: _residual(s, jnp.argmax(late(s)))
        )
        s = _truncated(s, keep)
        basis, images = _grown(product, s.basis, s.images, keep, width, first[None], draw, s)
        projected = _projected(basis, images)
        s = s._replace(products=s.products + width - keep)
        nu, mu = _reach(projected, keep, limits.shares, s.checks)
        s = _merge(checking, _bounded(s, mu), s)
        grown = _ritz_form(s, basis, images, projected)
        slack = limits.threshold if counting else s.values[-1] + limits.tolerance * grown.scale
        passed = checking & (nu <= slack)
        enough = jnp.all(grown.values > limits.threshold) if counting else jnp.asarray(False)
        over = (checking & (passed | spent(s))) | enough | ~jnp.isfinite(grown.scale)
        # A check that found nothing leaves the pairs alone: near them its directions only blur.
        return _merge(passed, s, grown)._replace(passed=passed, done=over, scale=grown.scale)

    s = jax.lax.while_loop(unfinished, cycle, _begun(product, start, k, width, draw))
    vectors = s.basis[:k]
    values, residuals = _verified(product, vectors)
    products = s.products + k
    return Found(values, vectors, residuals, s.upper, s.beyond, s.scale, s.passed, products)


def whole(product: Product, p: int, k: int, dtype: jnp.dtype) -> Found:
    """The k largest eigenvalues from the matrix itself: p products."""
    eye = jnp.eye(p, dtype=dtype)
    spectrum, rows = _ritz(_projected(eye, jax.lax.map(product, eye)))
    vectors = rows[:k]
    values, residuals = _verified(product, vectors)
    beyond = spectrum[k] if k < p else jnp.full_like(spectrum[0], -jnp.inf)
    passed, products = jnp.asarray(True), jnp.asarray(p + k)
    scale = _largest(spectrum)
    return Found(values, vectors, residuals, spectrum[:k], beyond, scale, passed, products)


def _begun(product: Product, start: Array, k: int, width: int, draw: Draw) -> _State:
    """The Ritz form of the span of a start block; dependent rows are replaced by random ones."""
    (b, p), dtype = start.shape, start.dtype
    none, zero = jnp.zeros((b, p), dtype), jnp.asarray(0)
    no, infinite = jnp.asarray(False), jnp.full(k, jnp.inf, dtype)
    nothing = _State(
        basis=none,
        images=none,
        filled=zero,
        values=-infinite,
        lengths=infinite,
        upper=infinite,
        beyond=infinite[0],
        scale=jnp.zeros((), dtype),
        checks=zero,
        products=zero,
        passed=no,
        done=no,
    )
    basis, images = _grown(product, none, none, zero, b, start, draw, nothing)
    s = _ritz_form(nothing, basis, images, _projected(basis, images))
    room = ((0, width - b), (0, 0))
    return s._replace(
        basis=jnp.pad(s.basis, room),
        images=jnp.pad(s.images, room),
        products=jnp.asarray(b),
        done=~jnp.isfinite(s.scale),
    )


def _truncated(s: _State, keep: Array) -> _State:
    """The state without the rows from `keep` on."""
    kept, place = jnp.arange(len(s.basis))[:, None] < keep, jnp.arange(len(s.values))
    return s._replace(
        basis=jnp.where(kept, s.basis, 0),
        images=jnp.where(kept, s.images, 0),
        filled=keep,
        values=jnp.where(place < keep, s.values, -jnp.inf),
        lengths=jnp.where(place < keep, s.lengths, jnp.inf),
    )


def _ritz_form(s: _State, basis: Array, images: Array, projected: Array) -> _State:
    """The state on a full basis, rotated to its Ritz vectors."""
    values, rotations = _ritz(projected)
    basis, images = rotations @ basis, rotations @ images
    b = min(len(basis), len(s.values))
    residuals = images[:b] - values[:b, None] * basis[:b]
    return s._replace(
        basis=basis,
        images=images,
        filled=jnp.asarray(len(basis)),
        values=s.values.at[:b].set(values[:b]),
        lengths=s.lengths.at[:b].set(jax.vmap(length)(residuals)),
        scale=jnp.maximum(s.scale, _largest(values)),
    )


def _bounded(s: _State, mu: Array) -> _State:
    """The state with what a check has shown: no eigenvalue of the complement is above `mu`."""
    place = jnp.arange(len(s.values))
    rho = length(jnp.where(place < s.filled, s.lengths, 0))
    return s._replace(
        upper=jnp.minimum(s.upper, jnp.maximum(s.values, mu) + rho),
        beyond=jnp.minimum(s.beyond, mu + rho),
        checks=s.checks + 1,
    )


def _reach(
    projected: Float[Array, "n n"], keep: Array, shares: Array, checks: Array
) -> tuple[Array, Array]:
    """The largest Ritz value of the rows from `keep` on, and a bound on their eigenvalues."""
    new = jnp.arange(len(projected)) >= keep
    # A diagonal entry of the block lies between its extreme eigenvalues, and changes neither.
    filler = jnp.diag(jnp.where(new, 0, projected[-1, -1]))
    values = jnp.linalg.eigvalsh(jnp.where(new[:, None] & new[None], projected, 0) + filler)
    share = shares[jnp.minimum(checks, len(shares) - 1)]
    mu = values[-1] + share * (values[-1] - values[0])
    return values[-1], jnp.where(jnp.isinf(share), jnp.inf, mu)  # not NaN for a spread of 0


def _merge(choose: Array, left: _State, right: _State) -> _State:
    return jax.tree.map(lambda a, b: jnp.where(choose, a, b), left, right)


def _grown(
    product: Product,
    basis: Array,
    images: Array,
    begin: Array,
    end: int,
    firsts: Float[Array, "m p"],
    draw: Draw,
    s: _State,
) -> tuple[Array, Array]:
    """A basis filled from row `begin` to `end`: with new directions, then by Lanczos steps."""

    def body(j: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        basis, images, last = carry
        turn = j - begin
        given = firsts[jnp.minimum(turn, len(firsts) - 1)]
        row = jnp.where(turn < len(firsts), given, last)
        row = _new_unit(row, basis, lambda: draw(s.products + turn))
        image = product(row)
        return basis.at[j].set(row), images.at[j].set(image), image

    last = jnp.asarray(end, begin.dtype)
    basis, images, _ = jax.lax.fori_loop(begin, last, body, (basis, images, firsts[0]))
    return basis, images


def _new_unit(
    row: Float[Array, " p"], basis: Float[Array, "n p"], fresh: Callable[[], Array]
) -> Float[Array, " p"]:
    """The unit vector along the part of a row that is new to a basis; of a fresh one if none is."""

    def new(row: Array) -> Array:
        return row - basis.T @ (basis @ row)

    rest = new(new(row))
    alive = length(rest) > 100 * jnp.finfo(row.dtype).eps * length(row)
    rest = jax.lax.cond(alive, lambda: rest, lambda: new(new(fresh())))
    # What is left of a row may be little; once more makes even that orthogonal to rounding.
    rest = new(rest / length(rest))
    return rest / length(rest)


def _projected(basis: Array, images: Array) -> Float[Array, "n n"]:
    projected = basis @ images.T
    return (projected + projected.T) / 2


def _ritz(projected: Float[Array, "n n"]) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Eigenvalues, descending, and eigenvectors as rows."""
    values, vectors = jnp.linalg.eigh(projected)
    return values[::-1], vectors[:, ::-1].T


def _residual(s: _State, which: Array) -> Float[Array, " p"]:
    value = jnp.where(jnp.isfinite(s.values[which]), s.values[which], 0)
    return s.images[which] - value * s.basis[which]


def _largest(values: Array) -> Array:
    return jnp.max(jnp.abs(values))


def _verified(
    product: Product, vectors: Float[Array, "k p"]
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Rayleigh quotients and residuals by fresh products, free of what restarts accumulate."""
    images = jax.lax.map(product, vectors)
    there = jnp.any(vectors != 0, axis=1)
    values = jnp.sum(vectors * images, axis=1)
    residuals = jax.vmap(length)(images - values[:, None] * vectors)
    return jnp.where(there, values, -jnp.inf), residuals
