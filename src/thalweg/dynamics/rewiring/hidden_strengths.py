"""Hidden strengths: a connection of sign s and strength theta has the weight s max(theta, 0).

A transformation that moves theta returns updates u for which w + u is s max(theta, 0) to the last
bit: of what stays connected u is s times the change of theta, of what is pruned it is -w, of what
grows again the weight itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from thalweg.core.arguments import told
from thalweg.core.errors import InputError, choose, require
from thalweg.core.ranges import require_positive, require_share
from thalweg.core.tree import Params

Mask = Any  # a pytree of truth values like the parameters, or a function that makes it of them
Rate = float | Callable[[Any], Any]  # a learning rate, or a schedule of the step
Leaf = Float[Array, "..."]
RULES = {"adam": "Adam", "sgd": "plain descent"}


class RewiringState(NamedTuple):
    """What a rewiring transformation carries from step to step.

    Attributes:
        step: Steps taken.
        strength: theta of every connection; where a transformation keeps those that are absent at
            no depth, 0 for these. Arrays that are not wired are `optax.MaskedNode`.
        sign: s, -1 or 1, and 0 for a weight that was exactly 0 at the start: it never moves.
        direction: Of Adam or plain descent: the state of what turns a gradient into a direction.
        key: Of random numbers, where any are drawn.
    """

    step: Int[Array, ""]
    strength: Params
    sign: Params
    direction: Any
    key: Array | None = None


class StepRule(NamedTuple):
    """Adam or plain descent: what turns a gradient into a direction, and what steps count.

    Attributes:
        direction: A transformation from gradients to directions, of which a step takes rate times.
        rate: The step size of everything beside the gradient at a step, counted from 1, and its
            type: eta/(1 - b1^t) of Adam, whose first moment is corrected so.
        plain: The same rule, for the parameters that are not wired.
    """

    direction: optax.GradientTransformation
    rate: Callable[[Array, Any], tuple[Array, Array]]
    plain: optax.GradientTransformation


def rule_of(name: str, learning_rate: Rate, b1: float, b2: float, epsilon: float) -> StepRule:
    """Adam or plain descent by name.

    Raises:
        InputError: If the name is none of `RULES`, or a number is out of its range.
    """
    choose(name, RULES, "rule")
    if not callable(learning_rate):
        require_positive(learning_rate=learning_rate)

    def rate(count: Array, kind: Any) -> tuple[Array, Array]:
        given = learning_rate(count) if callable(learning_rate) else learning_rate
        eta = jnp.asarray(given, kind)
        if name == "sgd":
            return eta, eta
        kept = jnp.asarray(b1, kind) ** (count + 1).astype(kind)
        return eta, eta / (1 - kept)

    if name == "sgd":
        return StepRule(optax.identity(), rate, optax.sgd(learning_rate))
    require_share(b1=b1, b2=b2)
    direction = optax.scale_by_adam(b1, b2, epsilon)
    return StepRule(direction, rate, optax.adam(learning_rate, b1, b2, epsilon))


def only_matrices(params: Params) -> Params:
    """Arrays of two or more axes: what is wired by default, as biases and scales are not.

    Examples:
        >>> params = {"weight": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
        >>> tw.dynamics.only_matrices(params)
        {'bias': False, 'weight': True}
    """
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, params)


def wired(params: Params, mask: Mask = None) -> Params:
    """Which arrays of the parameters have connections, as a tree of truth values.

    Raises:
        InputError: If there is none, or the mask is not like the parameters.
    """
    try:
        chosen = only_matrices(params) if mask is None else mask(params) if callable(mask) else mask
        like: Any = jax.tree.structure(params)
        fits = like == jax.tree.structure(chosen)
    except Exception:  # a user's function may raise anything
        chosen, fits = None, False
    truths = all(isinstance(flag, bool | np.bool_) for flag in jax.tree.leaves(chosen))
    require(
        fits and truths,
        f"mask came as {told(mask)}; give a tree of truth values with one for each array of the "
        "parameters, or a function of the parameters that makes it",
    )
    if not any(jax.tree.leaves(chosen)):
        raise InputError(
            "there is nothing to rewire: no array of the parameters has two or more axes; name "
            "those that have connections by mask="
            if mask is None
            else "there is nothing to rewire: mask names no array of the parameters"
        )
    return chosen


def with_others(
    rewiring: optax.GradientTransformation, others: optax.GradientTransformation, mask: Mask
) -> optax.GradientTransformationExtraArgs:
    """A transformation of what is wired, another of all else."""

    def labels(params: Params) -> Params:
        return jax.tree.map(lambda yes: "wired" if yes else "others", wired(params, mask))

    return optax.partition({"wired": rewiring, "others": others}, labels)


def begun(rule: StepRule, params: Params, key: Array | None = None) -> RewiringState:
    """Every connection present: theta = |w|, s = sign(w)."""
    signs = jax.tree.map(jnp.sign, params)
    strengths = jax.tree.map(jnp.abs, params)
    return RewiringState(
        jnp.zeros((), jnp.int32), strengths, signs, rule.direction.init(params), key
    )


def held(weights: Params, state: RewiringState) -> Params:
    """Theta at the start of a step: of what is connected, as the weights hold it."""

    def of(w: Leaf, theta: Leaf, s: Leaf) -> Leaf:
        return jnp.where(theta > 0, s * w, theta)

    return jax.tree.map(of, weights, state.strength, state.sign)


def alive(strengths: Params) -> Params:
    """Which connections are present."""
    return jax.tree.map(lambda theta: theta > 0, strengths)


def only(chosen: Params, values: Params) -> Params:
    """Values where chosen, else 0."""
    return jax.tree.map(lambda yes, v: jnp.where(yes, v, jnp.zeros_like(v)), chosen, values)


def realised(
    weights: Params, before: Params, after: Params, change: Params, signs: Params
) -> Params:
    """Updates u with w + u = s max(theta, 0) exactly, theta going from `before` to `after`.

    Where a connection stays, `after` must be `before + change`: w + s change then rounds as theta
    does. The sign is chosen, not multiplied by, so that no compiler fuses it into the sum.
    """

    def of(w: Leaf, old: Leaf, new: Leaf, moved: Leaf, s: Leaf) -> Leaf:
        stays = jnp.where(s > 0, moved, -moved)
        grown = jnp.where(s > 0, new, -new) - w  # w is 0 there
        return jnp.where(new <= 0, -w, jnp.where(old > 0, stays, grown))  # NaN stays NaN

    return jax.tree.map(of, weights, before, after, change, signs)


def without_momentum(direction: Any, absent: Params) -> Any:
    """The state of a direction with the first moments of absent connections cleared."""
    if not isinstance(direction, optax.ScaleByAdamState):
        return direction
    cleared = jax.tree.map(lambda no, m: jnp.where(no, jnp.zeros_like(m), m), absent, direction.mu)
    return direction._replace(mu=cleared)


def gone(strengths: Params) -> Params:
    """Which connections are absent."""
    return jax.tree.map(lambda theta: ~(theta > 0), strengths)


def params_needed(params: Params | None) -> Params:
    """The parameters that an update was given.

    Raises:
        InputError: If it was given none.
    """
    require(
        params is not None,
        "rewiring needs the parameters beside the gradient: call update(gradient, state, params)",
    )
    return params
