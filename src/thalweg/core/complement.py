"""What a search has missed: a bound on the eigenvalues outside the pairs it found.

Lanczos from a random start z in the complement W of the pairs, of dimension d, gives vectors
v_{j+1} = p_j(A) z, all of length 1, with polynomials p_j that grow beyond the largest Ritz value.
If W held an eigenvalue lambda, z would have a component gamma along its eigenvector, and
|p_j(lambda) gamma| <= 1. A component below delta has a probability of at most
delta sqrt(2 d / pi). So with probability 1 - `failure` no eigenvalue of W lies above a t with
p_j(t) >= sqrt(2 d / pi) / failure and p_1(t), ..., p_j(t) > 0, which says that t is above all Ritz
values (Sturm). Source: van Dorsselaer, Hochstenbach and van der Vorst (2000).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.hessian_product import Product
from thalweg.core.tree import length

# Where the polynomials are followed, in units of what may be missed.
STEPS = np.concatenate([[0.0], 2.0 ** np.arange(-4, 40)])
ALLOWED = int(np.searchsorted(STEPS, 1.0))


class Missed(NamedTuple):
    """What is known of the complement.

    Attributes:
        beyond: With probability at least 1 - failure no eigenvalue of the complement is further
            above the base; infinite where nothing is known.
        seen: Whether a Ritz value of the complement is above what may be missed, for certain.
        vector: Its approximate eigenvector, a unit vector of the complement.
        scale: The largest ||A v|| seen.
        products: How many were spent.
    """

    beyond: Float[Array, ""]
    seen: Bool[Array, ""]
    vector: Float[Array, " p"]
    scale: Float[Array, ""]
    products: Int[Array, ""]


class _State(NamedTuple):
    """The recurrence; rows of `basis` beyond its room are followed but not kept."""

    step: Array
    row: Array
    last: Array
    link: Array  # beta between them
    basis: Array
    projected: Array
    ratios: Array  # p_j / p_{j-1} at every target
    logs: Array  # ln p_j
    below: Array  # targets that a Ritz value has reached
    safe: Array  # targets above which there is no eigenvalue, in probability
    scale: Array


def missed(
    product: Product,
    found: Float[Array, "k p"],
    base: Float[Array, ""],
    allowed: Float[Array, ""],
    key: Array,
    most_products: Int[Array, ""],
    failure: Float[Array, ""],
    room: int,
) -> Missed:
    """Looks for eigenvalues above `base + allowed` in the complement of orthonormal rows.

    Args:
        product: The symmetric map A.
        found: What was found, k < p.
        base: Eigenvalues above it are of interest.
        allowed: By how much they may be above it; positive.
        key: Draws the start.
        most_products: Never more; none are spent if it is not positive.
        failure: Probability with which the bound may fail.
        room: How many Lanczos vectors are held, to keep them orthogonal.

    Returns:
        A `Missed`. Products are spent until the least target beyond the Ritz values is safe.
    """
    k, p = found.shape
    dtype, room = found.dtype, min(room, p - k)
    eps = jnp.finfo(dtype).eps
    targets = base + allowed * jnp.asarray(STEPS, dtype)
    enough = jnp.log(math.sqrt(2 * (p - k) / math.pi) / failure)
    draw, refill = jax.random.split(key)

    def outside(row: Array, basis: Array) -> Array:
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            row = row - found.T @ (found @ row)
            row = row - basis.T @ (basis @ row)
        return row

    def unit(row: Array) -> Array:
        size = length(row)
        return row / jnp.where(size > 0, size, jnp.ones_like(size))

    def fresh(step: Array, basis: Array) -> Array:
        return unit(
            outside(jax.random.normal(jax.random.fold_in(refill, step), (p,), dtype), basis)
        )

    def body(s: _State) -> _State:
        keep = s.step < room
        at = jnp.minimum(s.step, room - 1)
        basis = jnp.where(keep, s.basis.at[at].set(s.row), s.basis)
        image = product(s.row)
        height = s.row @ image
        scale = jnp.maximum(s.scale, length(image))
        rest = outside(image - height * s.row - s.link * s.last, basis)
        link = length(rest)
        # A residual at rounding level ends a Krylov space: the next starts at random.
        ended = link <= 100 * eps * scale
        floor = jnp.maximum(link, 10 * eps * scale)
        growth = (targets - height) - s.link / s.ratios
        # Nothing but zeros so far: any target above them is safe.
        sure = jnp.where(growth > 0, jnp.inf, jnp.zeros_like(growth))
        ratios = jnp.where(floor > 0, growth / floor, sure)
        below = s.below | (ratios <= 0)
        logs = s.logs + jnp.log(jnp.where(below, 1, ratios))
        projected = jnp.where(keep, s.projected.at[at, at].set(height), s.projected)
        joined = keep & (s.step + 1 < room)
        beside = jnp.minimum(at + 1, room - 1)
        pair = jnp.where(ended, 0, link)
        projected = jnp.where(
            joined, projected.at[at, beside].set(pair).at[beside, at].set(pair), projected
        )
        row = jax.lax.cond(ended, lambda: fresh(s.step, basis), lambda: unit(rest))
        return _State(
            s.step + 1,
            row,
            s.row,
            pair,
            basis,
            projected,
            jnp.where(ended | below, jnp.ones_like(ratios), ratios),
            jnp.where(ended, jnp.zeros_like(logs), logs),
            below,
            s.safe | (logs >= enough),
            scale,
        )

    def unfinished(s: _State) -> Array:
        ahead = ~s.below & (jnp.arange(len(STEPS)) >= ALLOWED)
        done = jnp.any(ahead) & s.safe[jnp.argmax(ahead)]
        return ~done & (s.step < most_products) & jnp.isfinite(s.scale)

    basis = jnp.zeros((room, p), dtype)
    empty, nothing = jnp.zeros(len(STEPS), dtype), jnp.zeros((), dtype)
    no = jnp.zeros(len(STEPS), bool)
    start = _State(
        jnp.zeros((), jnp.int32),
        unit(outside(jax.random.normal(draw, (p,), dtype), basis)),
        jnp.zeros(p, dtype),
        nothing,
        basis,
        jnp.zeros((room, room), dtype),
        jnp.ones_like(empty),
        empty,
        no,
        no,
        nothing,
    )
    s = jax.lax.while_loop(unfinished, body, start)
    safe = s.safe & ~s.below
    beyond = jnp.where(
        jnp.any(safe), allowed * jnp.asarray(STEPS, dtype)[jnp.argmax(safe)], jnp.inf
    )
    # Rows that are not filled sink below the spectrum, out of the way.
    empty_rows = jnp.arange(room, dtype=s.step.dtype) >= s.step
    floor = -jnp.where(s.scale > 0, 4 * s.scale, jnp.ones_like(s.scale))
    sunk = jnp.diag(jnp.where(empty_rows, floor, jnp.zeros_like(floor)))
    rotation = jnp.linalg.eigh(s.projected + sunk)[1][:, -1]
    return Missed(beyond, s.below[ALLOWED], rotation @ s.basis, s.scale, s.step)
