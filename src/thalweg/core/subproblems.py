"""Steps on a quadratic model in its eigenbasis: cubic, trust-region, damped, saddle-free, Newton.

All take the eigenvalues e of the Hessian, or of its projection onto a Krylov space, and the
components g of the gradient. The step solves (e + sigma) s = -g with sigma >= -e_min, sigma fixed
by a scalar equation; where g has no component along e_min that equation may have no solution, the
hard case, and the step takes the missing length along that eigenvector.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Vector = Float[Array, " k"]
HALVINGS = 90


def cubic_step(e: Vector, g: Vector, M: Array) -> Vector:
    """The global minimiser of <g, s> + (1/2) s^T e s + (M/6) ||s||^3.

    s = -(e + M r/2)^{-1} g with r = ||s|| and M r/2 >= -e_min.

    Error: Rounding. Source: Nesterov and Polyak (2006), section 5.
    """
    return _shifted(e, g, lambda sigma: 2 * sigma / M, jnp.sqrt(M * _length(g) / 2))


def trust_region_step(e: Vector, g: Vector, radius: Array) -> Vector:
    """The global minimiser of <g, s> + (1/2) s^T e s over ||s|| <= radius.

    Error: Rounding. Source: Conn, Gould and Toint (2000), chapter 7.
    """
    return _shifted(e, g, lambda sigma: radius + 0 * sigma, _length(g) / radius)


def damped_step_of(e: Vector, g: Vector, damping: Array) -> Vector:
    """-(H + M I)^{-1} g: Levenberg and Marquardt's step, with the whole Hessian."""
    return -g / (e + damping)


def saddle_free_step(e: Vector, g: Vector, least: Array) -> Vector:
    """-|H|^{-1} g, with no |e| below `least`. Source: Dauphin et al. (2014)."""
    return -g / jnp.maximum(jnp.abs(e), least)


def _length(g: Vector) -> Array:
    return jnp.sqrt(jnp.sum(g**2))


def _shifted(e: Vector, g: Vector, target: Callable[[Array], Array], reach: Array) -> Vector:
    """S = -g/(e + sigma) with ||s|| = target(sigma), or the least shift if ||s|| is below there.

    Args:
        e: Eigenvalues.
        g: Components of the gradient.
        target: Never falls with sigma.
        reach: At this distance above the least shift ||s|| is below the target.
    """
    low = jnp.maximum(0.0, -jnp.min(e))
    above = e + low  # exactly 0 at the lowest if it is negative

    def step(d: Array) -> Vector:
        bottom = above + d
        return jnp.where(bottom > 0, -g / jnp.where(bottom > 0, bottom, 1.0), 0.0)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        left, right = ends
        middle = (left + right) / 2
        long = _length(step(middle)) > target(low + middle)
        return jnp.where(long, middle, left), jnp.where(long, right, middle)

    zero = jnp.zeros_like(low)
    left, right = jax.lax.fori_loop(0, HALVINGS, halve, (zero, reach.astype(low.dtype)))
    hard = (left == 0) & (jnp.min(e) <= 0)
    s = step(jnp.where(left == 0, zero, right))
    missing = jnp.sqrt(jnp.maximum(target(low) ** 2 - jnp.sum(s**2), 0.0))
    lowest = (jnp.arange(e.size) == jnp.argmin(e)).astype(s.dtype)
    way = jnp.where(jnp.sum(g * lowest) > 0, -1.0, 1.0).astype(s.dtype)
    return jnp.where(hard, s + way * missing * lowest, s)
