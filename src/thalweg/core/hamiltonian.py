"""Hamiltonian Monte Carlo: draws of exp(-U(x)) by many chains side by side in one compiled scan."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

TARGET = 0.8  # share of accepted proposals that the step size is tuned to
# Dual averaging of the step size (Hoffman and Gelman 2014, section 3.2).
SHRINK, EARLY, FORGET = 0.05, 10.0, 0.75
FINEST = 4.0  # by how much a step may be shorter than that

Potential = Callable[[Float[Array, " p"]], Float[Array, ""]]
Observer = Callable[[Float[Array, "m p"], Float[Array, " m"], Float[Array, "m p"]], Any]


class Chains(NamedTuple):
    """What m chains saw in n draws.

    Attributes:
        seen: What was observed; every leaf (n, m, ...).
        accepted: Share of proposals that were accepted, over the draws kept.
        step_size: The longest leapfrog step, as tuned in the warm-up.
        gradients: Gradients of U spent by all chains, the warm-up included.
    """

    seen: Any
    accepted: Float[Array, ""]
    step_size: Float[Array, ""]
    gradients: Int[Array, ""]


class _Place(NamedTuple):
    """Where the chains are, and how the step size has been tuned."""

    x: Float[Array, "m p"]
    u: Float[Array, " m"]
    slope: Float[Array, "m p"]
    log_step: Float[Array, ""]
    lag: Float[Array, ""]
    averaged: Float[Array, ""]
    leaps: Int[Array, ""]


def hamiltonian_chains(
    potential: Potential,
    start: Float[Array, "m p"],
    key: Array,
    *,
    length: float | Array,
    draws: int,
    warm_up: int,
    most_leaps: int,
    observe: Observer,
) -> Chains:
    """Chains whose draws have the density exp(-U(x)) up to a constant, once they are stationary.

    A proposal follows dx = v dt, dv = -grad U dt by leapfrog steps from a normal velocity and is
    accepted with probability min(1, exp(-change of U + |v|^2/2)), so that no step size leaves a
    bias. Time and step size of a path are drawn anew for each proposal, the same for all chains:
    0.3 to 1.7 times `length`, and 1/`FINEST` to 1 times a step size that is tuned in the warm-up to
    a share `TARGET` of acceptance. Short steps now and then let chains into places that are stiffer
    than most, where others would be rejected for ever.

    Args:
        potential: U of one point.
        start: Where the chains begin.
        key: For all random numbers.
        length: Mean time of a path: about pi/2 times the widest scale of the density.
        draws: How many draws of each chain are kept.
        warm_up: How many come before them and are not kept.
        most_leaps: Leapfrog steps in a proposal at most; paths are then shorter.
        observe: What is kept of positions (m, p), potentials (m,) and gradients (m, p).

    Cost: one gradient a leapfrog step and chain. Pure: `jit` and `vmap` it.
    Source: Neal (2011); Hoffman and Gelman (2014) for the step size.
    """
    value_and_slope = jax.vmap(jax.value_and_grad(potential))
    kind, m = start.dtype, len(start)
    time = jnp.asarray(length, kind)

    def leap(place: tuple[Array, ...], step: Array) -> tuple[Array, ...]:
        x, v, _, slope = place
        half = v - 0.5 * step * slope
        x = x + step * half
        u, slope = value_and_slope(x)
        return x, half - 0.5 * step * slope, u, slope

    def proposal(place: _Place, key: Array, step: Array) -> tuple[_Place, Array]:
        one, two, three, four = jax.random.split(key, 4)
        step = step * jnp.exp(jax.random.uniform(four, (), kind, -math.log(FINEST), 0.0))
        v = jax.random.normal(one, place.x.shape, kind)
        asked = time * jax.random.uniform(two, (), kind, 0.3, 1.7)
        leaps = jnp.clip(jnp.ceil(asked / step), 1, most_leaps).astype(jnp.int32)
        x, w, u, slope = jax.lax.fori_loop(
            0, leaps, lambda _, p: leap(p, step), (place.x, v, place.u, place.slope)
        )
        energy = place.u - u + 0.5 * (jnp.sum(v * v, axis=1) - jnp.sum(w * w, axis=1))
        chance = jnp.where(
            jnp.isnan(energy), jnp.zeros_like(energy), jnp.exp(jnp.minimum(energy, 0))
        )
        taken = jax.random.uniform(three, (m,), kind) < chance
        moved = place._replace(
            x=jnp.where(taken[:, None], x, place.x),
            u=jnp.where(taken, u, place.u),
            slope=jnp.where(taken[:, None], slope, place.slope),
            leaps=place.leaps + leaps,
        )
        return moved, jnp.mean(chance)

    first = jnp.log(time / 8)
    aim = first + math.log(2)

    def draw(place: _Place, given: tuple[Array, Array]) -> tuple[_Place, Any]:
        key, count = given
        tuning = count <= warm_up
        place, share = proposal(
            place, key, jnp.exp(jnp.where(tuning, place.log_step, place.averaged))
        )
        weight = 1 / (count + EARLY)
        lag = (1 - weight) * place.lag + weight * (TARGET - share)
        log_step = aim - jnp.sqrt(count) / SHRINK * lag
        fading = count**-FORGET
        averaged = fading * log_step + (1 - fading) * place.averaged
        tuned = place._replace(log_step=log_step, lag=lag, averaged=averaged)
        place = jax.tree.map(lambda a, b: jnp.where(tuning, a, b), tuned, place)
        return place, (observe(place.x, place.u, place.slope), share)

    u, slope = value_and_slope(start)
    zero = jnp.zeros((), kind)
    place = _Place(start, u, slope, first, zero, first, jnp.zeros((), jnp.int32))
    counts = jnp.arange(1, warm_up + draws + 1).astype(kind)
    # One loop for both phases: the gradient is compiled once in it.
    place, all_seen = jax.lax.scan(draw, place, (jax.random.split(key, len(counts)), counts))
    seen, shares = jax.tree.map(lambda a: a[warm_up:], all_seen)
    return Chains(seen, jnp.mean(shares), jnp.exp(place.averaged), m * (place.leaps + 1))
