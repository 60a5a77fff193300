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

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.hessian_product import Product
from thalweg.core.tree import length

SMALL = 256  # parameters up to which a recheck costs so little that every record is one
AFRESH = 5  # records after which a recheck is due at first
# Where the polynomials are followed, in units of what may be missed.
STEPS = np.concatenate([[0.0], 2.0 ** np.arange(-4, 40)])
ALLOWED = int(np.searchsorted(STEPS, 1.0))


def next_pause(pause: int, same: bool, most: int) -> int:
    """Records until the next recheck, of vectors that are followed from record to record.

    Args:
        pause: How many passed before this one; 0 at the first record.
        same: Whether it found what was followed.
        most: As many at most.
    """
    return min(2 * pause if same and pause else AFRESH, most)


@functools.cache
def _early(most: int) -> tuple[int, ...]:
    """The records of rechecks until they are `most` records apart."""
    found, pause = [0], next_pause(0, True, most)
    while pause < most:
        found.append(found[-1] + pause)
        pause = next_pause(pause, True, most)
    return tuple(found)


def is_due(record: Int[Array, ""] | int, most: int, size: int) -> Bool[Array, ""] | bool:
    """Whether a record is one of a recheck: 0, 5, 15, 35, ..., twice as far apart each time.

    So a mode that takes over early, as from a symmetric start, which vectors that are carried never
    turn to, stays unseen for at most about as many records as went before.

    Args:
        record: Its number.
        most: How many records apart they are at most; 1 makes every record one.
        size: Of how many parameters; of at most `SMALL` every record is one.
    """
    early, later = _early(most)[:-1], record - _early(most)[-1]
    due = (later >= 0) & (later % most == 0) | (size <= SMALL)
    return functools.reduce(lambda known, first: known | (record == first), early, due)


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
    draw: Array  # whether the next row is drawn, and not left by a product
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

    # A row is drawn in the loop as well, so that all that makes it orthogonal is compiled once.
    def body(s: _State) -> _State:
        at = jnp.minimum(s.step, room - 1)
        keep = ~s.draw & (s.step < room)
        basis = s.basis.at[at].set(jnp.where(keep, s.row, s.basis[at]))

        def multiplied() -> tuple[Array, Array, Array]:
            image = product(s.row)
            height = s.row @ image
            return image - height * s.row - s.link * s.last, height, length(image)

        def drawn() -> tuple[Array, Array, Array]:
            drawing = jnp.where(s.step > 0, jax.random.fold_in(refill, s.step - 1), draw)
            return jax.random.normal(drawing, (p,), dtype), s.link, s.scale

        def outside(_: Array, row: Array) -> Array:
            row = row - found.T @ (found @ row)
            return row - basis.T @ (basis @ row)

        raw, height, size = jax.lax.cond(s.draw, drawn, multiplied)
        scale = jnp.maximum(s.scale, size)
        rest = jax.lax.fori_loop(0, 2, outside, raw)  # twice is enough (Kahan, Parlett)
        link = length(rest)
        row = rest / jnp.where(link > 0, link, 1.0)
        # A residual at rounding level ends a Krylov space: the next starts at random.
        ended = ~s.draw & (link <= 100 * eps * scale)
        apart = s.draw | ended
        floor = jnp.maximum(link, 10 * eps * scale)
        growth = (targets - height) - s.link / s.ratios
        # Nothing but zeros so far: any target above them is safe.
        sure = jnp.where(growth > 0, jnp.inf, 0.0)
        ratios = jnp.where(s.draw, s.ratios, jnp.where(floor > 0, growth / floor, sure))
        below = s.below | (ratios <= 0)
        gained = jnp.where(s.draw, 0.0, jnp.log(jnp.where(below, 1.0, ratios)))
        logs = s.logs + gained
        beside = jnp.minimum(at + 1, room - 1)
        pair = jnp.where(apart, 0.0, link)
        projected = s.projected.at[at, at].set(jnp.where(keep, height, s.projected[at, at]))
        across = jnp.where(keep & (s.step + 1 < room), pair, projected[at, beside])
        projected = projected.at[at, beside].set(across).at[beside, at].set(across)
        return _State(
            s.step + (~s.draw).astype(s.step.dtype),
            ended,
            row,
            s.row,
            pair,
            basis,
            projected,
            jnp.where(apart | below, 1.0, ratios),
            jnp.where(ended, 0.0, logs),
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
        jnp.ones((), bool),
        jnp.zeros(p, dtype),
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
    rotation = jnp.linalg.eigh(s.projected + sunk, symmetrize_input=False)[1][:, -1]
    return Missed(beyond, s.below[ALLOWED], rotation @ s.basis, s.scale, s.step)
