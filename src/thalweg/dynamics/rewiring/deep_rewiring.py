"""Deep R and soft Deep R: connections walk at random, and absent ones come back by chance."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from thalweg.core.ranges import require_from_zero, require_positive, require_share
from thalweg.core.tree import Params
from thalweg.dynamics.rewiring import hidden_strengths as hidden
from thalweg.dynamics.rewiring.hidden_strengths import Leaf, Mask, Rate, RewiringState

REVIVED = 1e-8  # strength of a connection that comes back


def deep_r(
    learning_rate: Rate,
    l1: float,
    sparsity: float = 0.95,
    noise: float = 0.0,
    *,
    rule: str = "adam",
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    seed: int | Array = 0,
    mask: Mask = None,
    others: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Deep R: connections that change sign are pruned; beyond a sparsity some come back at random.

    theta <- theta - eta_t (s d + l1) + noise sqrt(eta_t) xi      of present connections alone

    with d the direction of Adam (eta_t = eta/(1 - b1^t) for all but the corrected d) or dL/dw. One
    that falls to 0 is absent. If the share c of absent ones in an array exceeds the sparsity, each
    of those that were absent before the step comes back with probability (c - sparsity)/c, with
    its own sign and the strength 1e-8. A weight of exactly 0 at the start counts as absent, and
    stays so.

    Moments: gradients of absent connections count as 0, and their first moment is cleared, so that
    nothing of the past moves one that comes back; the second moment is kept and decays.

    Args:
        learning_rate: eta, or an Optax schedule.
        l1: Strength of pruning (unit: 1/parameter).
        sparsity: Share of absent connections beyond which some come back, from 0 to below 1.
        noise: The square root of twice the temperature of Bellec et al.; xi is standard normal.
        rule: "adam" or "sgd".
        b1: Decay of the first moment.
        b2: Decay of the second moment.
        epsilon: Added to its root.
        seed: Of the random numbers, or a random key.
        mask: As of `grad_r`.
        others: As of `grad_r`.

    Raises:
        InputError: If a number is out of its range, or nothing is to be wired.

    Source: Bellec, Kappel, Maass and Legenstein (2018), as re-implemented by Chen et al. (2021),
    whose code gives 1e-8 to what comes back whatever its sign.

    Examples:
        >>> import optax
        >>> w = jnp.array([[0.375, -0.0625]])
        >>> rewiring = tw.dynamics.deep_r(0.125, l1=1.0, rule="sgd")
        >>> u, state = rewiring.update(jnp.zeros((1, 2)), rewiring.init(w), w)
        >>> optax.apply_updates(w, u).tolist()
        [[0.25, 0.0]]
    """
    moved = hidden.rule_of(rule, learning_rate, b1, b2, epsilon)
    require_from_zero(l1=l1, noise=noise)
    require_share(sparsity=sparsity)

    def land(free: Leaf, before: Leaf, s: Leaf, key: Array) -> Leaf:
        after = jnp.maximum(free, jnp.zeros_like(free))
        absent = jnp.mean((after <= 0).astype(free.dtype))
        beyond = absent - jnp.asarray(sparsity, free.dtype)
        chance = jnp.where(beyond > 0, beyond / jnp.where(absent > 0, absent, 1), 0)
        drawn = jax.random.uniform(key, free.shape, free.dtype) < chance
        back = drawn & (before <= 0) & (s != 0)
        return jnp.where(back, jnp.asarray(REVIVED, free.dtype), after)

    def push(theta: Leaf) -> Leaf:
        return theta > 0

    return _walk(moved, l1, noise, push, land, seed, mask, others)


def soft_deep_r(
    learning_rate: Rate,
    l1: float,
    noise: float,
    sparsity: float = 0.95,
    *,
    rule: str = "adam",
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    seed: int | Array = 0,
    mask: Mask = None,
    others: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Soft Deep R: absent strengths do a random walk above a floor, and come back above 0.

    theta <- max(theta - eta_t (s d + l1) 1{theta > 0} + noise sqrt(eta_t) xi, theta_min)
    theta_min = -noise^2 sparsity/(2 l1 (1 - sparsity))

    Without a loss the walk rests with the share `sparsity` of strengths below 0, in the limit of
    small steps: that sets the floor. Moments as of `deep_r`.

    Args:
        learning_rate: eta, or an Optax schedule.
        l1: Strength of pruning (unit: 1/parameter), above 0.
        noise: The square root of twice the temperature; xi is standard normal.
        sparsity: Share of absent connections at rest, from 0 to below 1.
        rule: "adam" or "sgd".
        b1: Decay of the first moment.
        b2: Decay of the second moment.
        epsilon: Added to its root.
        seed: Of the random numbers, or a random key.
        mask: As of `grad_r`.
        others: As of `grad_r`.

    Raises:
        InputError: If a number is out of its range, or nothing is to be wired.

    Source: Bellec, Kappel, Maass and Legenstein (2018); floor of the code of Chen et al. (2021).

    Examples:
        >>> import optax
        >>> w = jnp.array([[0.375, -0.0625]])
        >>> rewiring = tw.dynamics.soft_deep_r(0.125, l1=1.0, noise=0.0, rule="sgd")
        >>> u, state = rewiring.update(jnp.zeros((1, 2)), rewiring.init(w), w)
        >>> optax.apply_updates(w, u).tolist()
        [[0.25, 0.0]]
    """
    moved = hidden.rule_of(rule, learning_rate, b1, b2, epsilon)
    require_positive(l1=l1)
    require_from_zero(noise=noise)
    require_share(sparsity=sparsity)

    def land(free: Leaf, before: Leaf, s: Leaf, key: Array) -> Leaf:
        kind = free.dtype
        p, warm = jnp.asarray(sparsity, kind), jnp.asarray(noise, kind)
        floor = -(warm**2) * p / (2 * jnp.asarray(l1, kind) * (1 - p))
        return jnp.maximum(free, floor)

    def push(theta: Leaf) -> Leaf:
        return jnp.ones_like(theta, bool)

    return _walk(moved, l1, noise, push, land, seed, mask, others)


def _walk(
    moved: hidden.StepRule,
    l1: float,
    noise: float,
    shaken: Any,
    land: Any,
    seed: int | Array,
    mask: Mask,
    others: optax.GradientTransformation | None,
) -> optax.GradientTransformationExtraArgs:
    """Present strengths drift, those `shaken` get noise; `land` says where they come to lie."""

    def init(params: Params) -> RewiringState:
        key = jax.random.key(seed) if jnp.issubdtype(jnp.asarray(seed).dtype, jnp.integer) else seed
        return hidden.begun(moved, params, jnp.asarray(key))

    def update(
        gradient: Params, state: RewiringState, params: Params | None = None
    ) -> tuple[Params, RewiringState]:
        weights = hidden.params_needed(params)
        assert state.key is not None
        before = hidden.held(weights, state)
        present = hidden.alive(before)
        directions, memory = moved.direction.update(hidden.only(present, gradient), state.direction)
        key, own = jax.random.split(state.key)
        leaves, structure = jax.tree.flatten(before)
        pairs = jax.random.split(own, (len(leaves), 2))
        noises = jax.tree.unflatten(structure, list(pairs[:, 0]))
        landings = jax.tree.unflatten(structure, list(pairs[:, 1]))

        def change(theta: Leaf, s: Leaf, d: Leaf, key: Array) -> Leaf:
            kind = theta.dtype
            eta, eta_t = moved.rate(state.step, kind)
            drift = -(eta * (s * d)) - eta_t * jnp.asarray(l1, kind)
            drawn = jax.random.normal(key, theta.shape, kind)
            size = jnp.asarray(noise, kind) * jnp.sqrt(eta_t)
            none = jnp.zeros_like(theta)
            shake = jnp.where(shaken(theta), size * drawn, none)
            return jnp.where(s == 0, none, jnp.where(theta > 0, drift, none) + shake)

        changes = jax.tree.map(change, before, state.sign, directions, noises)
        free = jax.tree.map(jnp.add, before, changes)
        after = jax.tree.map(land, free, before, state.sign, landings)
        updates = hidden.realised(weights, before, after, changes, state.sign)
        memory = hidden.without_momentum(memory, hidden.gone(after))
        return updates, RewiringState(state.step + 1, after, state.sign, memory, key)

    core = optax.GradientTransformation(init, update)
    return hidden.with_others(core, moved.plain if others is None else others, mask)
