"""Magnitude pruning: the smallest weights are set to 0, at once or by a schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from thalweg.core.errors import require
from thalweg.core.ranges import require_share
from thalweg.core.tree import Params
from thalweg.dynamics.rewiring import hidden_strengths as hidden
from thalweg.dynamics.rewiring.hidden_strengths import Leaf, Mask


class MagnitudeState(NamedTuple):
    """What magnitude pruning carries from step to step.

    Attributes:
        step: Steps taken.
        kept: Which weights are left; one truth value for an array that has no connections.
        inner: The state of what trains them.
    """

    step: Int[Array, ""]
    kept: Params
    inner: Any


def magnitude_pruned(params: Params, sparsity: float, mask: Mask = None) -> Params:
    """Parameters with a share of their weights, the smallest over all arrays, set to 0.

    Args:
        params: Any pytree of arrays.
        sparsity: Share that is 0 afterwards, from 0 to below 1; of n weights round(sparsity n).
        mask: As of `grad_r`: by default the arrays of two or more axes, all else is left alone.

    Raises:
        InputError: If the share is out of its range, or there is nothing to prune.

    Examples:
        >>> tw.dynamics.magnitude_pruned(jnp.array([[3.0, -1.0], [-2.0, 0.5]]), 0.5).tolist()
        [[3.0, 0.0], [-2.0, 0.0]]
    """
    require_share(sparsity=sparsity)
    kept = _largest(params, hidden.wired(params, mask), sparsity)
    return hidden.only(kept, params)


def magnitude_pruning(
    inner: optax.GradientTransformation,
    sparsity: float | Callable[[Any], Any],
    begin: int = 0,
    every: int = 100,
    *,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """Any Optax transformation, with the smallest weights pruned for good and the rest trained on.

    A number prunes once, with step `begin` + 1. A schedule prunes to sparsity(step) with that step
    and each `every`-th one from there on: `optax.polynomial_schedule(0.0, 0.9, 3, 1000)` is the
    cubic one of Zhu and Gupta. What is pruned stays so.

    Moments: `inner` gets the gradient of what is left, 0 for all else, and its updates of what was
    pruned are left out. What it remembers of a pruned weight is not cleared, decays and moves
    nothing.

    Args:
        inner: The transformation, as `optax.adam(1e-3)`.
        sparsity: Share of weights that are 0 afterwards, or a schedule of the step.
        begin: Steps of `inner` before that with which it prunes for the first time.
        every: Steps between prunings by a schedule.
        mask: As of `grad_r`; all else is trained by `inner` as ever.

    Raises:
        InputError: If the share or a count is out of its range, or there is nothing to prune.

    Cost: that of `inner`, and a sort of all weights at each pruning (inside `vmap` over the step
    count at each step).

    Source: Han et al. (2015); Zhu and Gupta (2017) for the schedule.

    Examples:
        >>> import optax
        >>> w = jnp.array([[3.0, -1.0], [-2.0, 0.5]])
        >>> pruning = tw.dynamics.magnitude_pruning(optax.sgd(0.1), 0.5)
        >>> u, state = pruning.update(jnp.ones((2, 2)), pruning.init(w), w)
        >>> optax.apply_updates(w, u).round(6).tolist()
        [[2.9, 0.0], [-2.1, 0.0]]
    """
    if not callable(sparsity):
        require_share(sparsity=sparsity)
    require(begin >= 0, f"begin came as {begin}; give a whole number from 0 on")
    require(every >= 1, f"every came as {every}; give a whole number from 1 on")
    trained = optax.with_extra_args_support(inner)

    def init(params: Params) -> MagnitudeState:
        chosen = hidden.wired(params, mask)
        kept = jax.tree.map(
            lambda yes, w: jnp.ones(jnp.shape(w) if yes else (), bool), chosen, params
        )
        return MagnitudeState(jnp.zeros((), jnp.int32), kept, trained.init(params))

    def update(
        gradient: Params, state: MagnitudeState, params: Params | None = None, **extra: Any
    ) -> tuple[Params, MagnitudeState]:
        weights = hidden.params_needed(params)
        seen = hidden.only(state.kept, gradient)
        updates, memory = trained.update(seen, state.inner, weights, **extra)
        chosen = hidden.wired(weights, mask)

        def prune(kept: Params) -> Params:
            after = hidden.only(kept, jax.tree.map(jnp.add, weights, updates))
            wanted = sparsity(state.step) if callable(sparsity) else sparsity
            left = _largest(after, chosen, wanted)
            return jax.tree.map(jnp.logical_and, kept, left)

        since = state.step - begin
        due = (since >= 0) & (since % every == 0) if callable(sparsity) else since == 0
        kept = jax.lax.cond(due, prune, lambda kept: kept, state.kept)
        masked = jax.tree.map(lambda yes, u, w: jnp.where(yes, u, -w), kept, updates, weights)
        return masked, MagnitudeState(state.step + 1, kept, memory)

    return optax.GradientTransformationExtraArgs(init, update)


def _largest(params: Params, chosen: Params, sparsity: Float[Array, ""] | float) -> Params:
    """Which weights are among the largest share 1 - sparsity of all chosen, ties by place."""
    leaves, structure = jax.tree.flatten(params)
    flags = jax.tree.leaves(chosen)
    sizes = [jnp.abs(w).ravel() for w, yes in zip(leaves, flags, strict=True) if yes]
    flat = jnp.concatenate([size.astype(jnp.result_type(*sizes)) for size in sizes])
    rank = (
        jnp.zeros(flat.size, jnp.int32)
        .at[jnp.argsort(flat)]
        .set(jnp.arange(flat.size, dtype=jnp.int32))
    )
    kept = rank >= jnp.round(jnp.asarray(sparsity, float) * flat.size).astype(jnp.int32)
    told: list[Leaf] = []
    for w, yes in zip(leaves, flags, strict=True):
        told.append(kept[: w.size].reshape(w.shape) if yes else jnp.ones((), bool))
        kept = kept[w.size :] if yes else kept
    return jax.tree.unflatten(structure, told)
