"""What past steps tell of the curvature: pairs of L-BFGS about the inverse of Kronecker factors.

A step s and the change y of the gradient along it say (Hessian of the path) s = y, blocks that a
block-diagonal approximation leaves out included. Of the m last pairs the inverse K^-1 is corrected:

    H = V^T ... V^T K^-1 V ... V + sum rho_i (...) s_i s_i^T,    V_i = I - rho_i y_i s_i^T,

rho_i = 1/(s_i . y_i), so that H y = s for the newest. Both gradients have to be of the same
examples: a pair across two batches is not taken. Source: Nocedal (1980); Liu and Nocedal (1989).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core.tree import Params
from thalweg.problems.problem import Supervised

Scalar = Float[Array, ""]


class History(NamedTuple):
    """Pairs of the last steps, in a ring.

    Attributes:
        steps: s of each (m, p).
        changes: y of each (m, p).
        taken: Pairs taken since the start.
        gradient: At the start of the last step (p,).
        examples: Which examples it was of, in a number; NaN before the first.
    """

    steps: Float[Array, "m p"]
    changes: Float[Array, "m p"]
    taken: Int[Array, ""]
    gradient: Float[Array, " p"]
    examples: Scalar


def no_history(params: Params, pairs: int) -> History | None:
    """Before the first step; None where no pair is kept."""
    if not pairs:
        return None
    flat = ravel_pytree(params)[0]
    none, zero = jnp.zeros((pairs, len(flat)), flat.dtype), jnp.zeros((), jnp.int64)
    return History(none, none, zero, jnp.zeros_like(flat), jnp.asarray(jnp.nan, jnp.float64))


def extended(
    history: History | None,
    last: Params,
    gradient: Params,
    data: Supervised,
    step: Array,
    average: Array,
) -> History | None:
    """With the pair of the last step, if the gradient there was of the same examples.

    A pair is left out, too, where the last step was none, or s . y <= eps^1/2 |s| |y|: there the
    objective curves down, or rounding decides; and in the first 1/(1 - average) steps, as long as
    the factors' own averages stand on the start: there curvature changes faster than pairs tell.
    """
    if history is None:
        return None
    s, g = ravel_pytree(last)[0], ravel_pytree(gradient)[0]
    y, told = g - history.gradient, told_apart(data)
    root = jnp.finfo(s.dtype).eps ** 0.5
    sound = step.astype(jnp.float64) * (1 - average) >= 1
    sound &= (told == history.examples) & (s @ y > root * jnp.sqrt((s @ s) * (y @ y)))
    at = history.taken % len(history.steps)
    steps, changes = (
        kept.at[at].set(jnp.where(sound, new, kept[at]))
        for kept, new in ((history.steps, s), (history.changes, y))
    )
    return History(steps, changes, history.taken + sound.astype(jnp.int64), g, told)


def corrected(
    history: History | None, damping: Array, gradient: Params, inverse: Callable[[Params], Params]
) -> Params:
    """H times a gradient, by two loops over the pairs about one product with `inverse`."""
    if history is None:
        return inverse(gradient)
    flat, unravel = ravel_pytree(gradient)
    m = len(history.steps)
    newest = (history.taken - 1 - jnp.arange(m)) % m

    def pair(i: Array) -> tuple[Array, Array, Array]:
        s = history.steps[i]
        y = history.changes[i] + damping.astype(s.dtype) * s
        slope = s @ y  # 0 of a place in the ring that is still empty
        return s, y, jnp.where(slope > 0, 1 / jnp.where(slope > 0, slope, 1), 0)

    def down(q: Array, i: Array) -> tuple[Array, Array]:
        s, y, rho = pair(i)
        a = rho * (s @ q)
        return q - a * y, a

    def up(r: Array, known: tuple[Array, Array]) -> tuple[Array, None]:
        (s, y, rho), a = pair(known[0]), known[1]
        return r + (a - rho * (y @ r)) * s, None

    q, along = jax.lax.scan(down, flat, newest)
    r = ravel_pytree(inverse(unravel(q)))[0]
    return unravel(jax.lax.scan(up, r, (newest, along), reverse=True)[0])


def told_apart(data: Supervised) -> Scalar:
    """A number that two batches share only if they hold the same examples in the same order."""

    def weighed(x: Any) -> Array:
        rows = jnp.asarray(x, jnp.float64).reshape(len(x), -1)
        n, d = rows.shape
        return jnp.cos(jnp.arange(1.0, n + 1)) @ rows @ jnp.cos(1.7 * jnp.arange(1.0, d + 1))

    return weighed(data.inputs) + jnp.sqrt(2.0) * weighed(data.targets)
