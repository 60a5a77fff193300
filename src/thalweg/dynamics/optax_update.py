"""One update of an Optax transformation: how it goes about, what it is given and what it costs."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from thalweg.core.counting import Evaluations, Sight, counted, marked
from thalweg.core.errors import InputError, require
from thalweg.core.tree import Params

Objective = Callable[[Params], Array]
EXTRA = "value, grad, value_fn, grad_fn and obj_fn"
SETTLING_STEPS = 4  # steps in which the types of a transformation's state must come to rest


class Manner(NamedTuple):
    """How a transformation goes about, found out by a step in the abstract.

    Attributes:
        state: Shapes and types of its state, the same after every step.
        slow: Whether it holds slow parameters beside those that move.
        free: Whether it is schedule-free: gradients at y, evaluation at x.
        random: Whether its state holds random keys.
        sight: What is known of the evaluations that it makes; None if it makes none.
    """

    state: Any
    slow: bool
    free: bool
    random: bool
    sight: Sight | None


class Taken(NamedTuple):
    """What one call of `update` gave, and if watched, what it cost."""

    updates: Params
    state: Any
    spent: Evaluations | None
    sight: Sight | None


class Family(NamedTuple):
    """Transformations that differ in their learning rate alone; equal ones are one program.

    Attributes:
        make: From the learning rate and the numbers to the transformation.
        numbers: What they have in common, by argument.
    """

    make: Callable[..., Any]
    numbers: tuple[tuple[str, Any], ...]

    def at(self, rate: float | Array) -> optax.GradientTransformationExtraArgs:
        """The transformation of a learning rate, which may be traced."""
        return optax.with_extra_args_support(self.make(rate, **dict(self.numbers)))


ANY_RATE = 0.1  # of the one whose state and manner are those of a whole family


@functools.lru_cache(maxsize=256)
def made(family: Family, rate: float) -> optax.GradientTransformationExtraArgs:
    """One object for each rate, as what is found of a transformation is kept by it."""
    return family.at(rate)


def manner_of(transform: optax.GradientTransformationExtraArgs, params: Params) -> Manner:
    """How a transformation goes about parameters of these shapes.

    Raises:
        InputError: If it refuses them, or its state does not keep its shape.
    """
    leaves, structure = jax.tree.flatten(params)
    return _tried(transform, structure, tuple((a.shape, a.dtype) for a in leaves))


@functools.lru_cache(maxsize=64)
def _tried(
    transform: optax.GradientTransformationExtraArgs, structure: Any, kinds: tuple
) -> Manner:
    params = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*kind) for kind in kinds])
    seen: list[Taken] = []

    def bowl(p: Params) -> Array:
        return functools.reduce(jnp.add, [jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(p)])

    def step(p: Params, held: Params, state: Any) -> Any:
        taken = update(transform, bowl, bowl(p), p, state, held, watched=True)
        seen.append(taken)
        return taken.state

    with _in_words(), _quiet(), optax_converts():
        state = jax.eval_shape(transform.init, params)
    slow = bool(parts_of(state, optax.LookaheadState))
    held = held_by(params, params if slow else None)
    for _ in range(SETTLING_STEPS):
        after = jax.eval_shape(step, params, held, state)
        if not _alike(after, state):
            break
        before, state = state, jax.tree.map(_wider, state, after)
        if jax.tree.leaves(before) == jax.tree.leaves(state):
            return Manner(
                state,
                slow,
                bool(parts_of(state, optax.contrib.ScheduleFreeState)),
                any(is_key(leaf) for leaf in jax.tree.leaves(state)),
                seen[-1].sight,
            )
    raise InputError(
        "the state of the Optax transformation has another structure, shape or type after a step "
        "than before, which a compiled loop cannot follow; leave out what changes it, as "
        "optax.monitor does"
    )


def update(
    transform: optax.GradientTransformationExtraArgs,
    objective: Objective,
    loss: Array,
    gradient: Params,
    state: Any,
    held: Params,
    watched: bool,
) -> Taken:
    """One call of the transformation with the extra arguments that it accepts.

    Args:
        transform: The transformation.
        objective: What is descended.
        loss: Its value at the parameters.
        gradient: Its gradient there.
        state: The transformation's state.
        held: The parameters, as by `held_by`.
        watched: Whether to count the evaluations that it makes.

    Raises:
        InputError: If it refuses, or its updates do not fit the parameters.
    """
    calls: list[Params] = []
    seen = marked(objective)

    # Line searches hand on to the objective what else they were given.
    def value_fn(params: Params, *, grad_fn: Any = None, obj_fn: Any = None) -> Array:
        calls.append(params)
        return seen(params)

    def grad_fn(params: Params, *_: Any) -> Params:
        return jax.grad(value_fn)(params)

    functions = {"value_fn": value_fn, "grad_fn": grad_fn, "obj_fn": value_fn}

    def call(loss: Array, gradient: Params, state: Any, held: Params) -> Any:
        extra = {"value": loss, "grad": gradient, **functions}
        first = None
        while True:
            try:
                with optax_converts():
                    return transform.update(gradient, state, held, **extra)
            except Exception as error:
                found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
                first = first or (None if found else error)
                refused = [found[1]] if found else list(functions)
                if calls or not extra.keys() & set(refused):
                    raise first or error from None
                extra = {name: value for name, value in extra.items() if name not in refused}

    with _in_words():
        if watched:
            (updates, after), spent, sight = counted(call)(loss, gradient, state, held)
        else:
            updates, after = call(loss, gradient, state, held)
            spent, sight = None, None
    require(
        _alike(updates, held),
        f"the updates of the Optax transformation have shapes {_told(updates)}, the parameters "
        f"{_told(held)}; give a transformation whose updates fit the parameters of a run, where it "
        "gets the gradient of the whole objective, not one per example",
    )
    return Taken(updates, after, spent, sight if calls else None)


@contextmanager
def optax_converts() -> Iterator[None]:
    """Optax mixes types, as in powers by a count of steps; who forbids it means other code."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@contextmanager
def _in_words() -> Iterator[None]:
    """What a transformation throws becomes one sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        words = " ".join(str(error).split()) or "without a word"
        raise InputError(
            f"the Optax transformation refused this problem ({type(error).__name__}: "
            f"{words[:300]}); it gets the gradient of the whole objective, the parameters and, "
            f"where it accepts them, {EXTRA}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning that the trial of `optax.lookahead` is no proper start."""
    log = logging.getLogger("absl")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def held_by(params: Params, slow: Params | None) -> Params:
    """The parameters as the transformation wants them."""
    return params if slow is None else optax.LookaheadParams(fast=params, slow=slow)


def parts_of(state: Any, kind: Any) -> list[Any]:
    """The parts of a state that are of a kind, or of one of several."""
    found = jax.tree.leaves(state, is_leaf=lambda part: isinstance(part, kind))
    return [part for part in found if isinstance(part, kind)]


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a random key, typed or of the old kind."""
    typed = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return typed or (leaf.dtype == jnp.uint32 and leaf.shape == (2,))


def _alike(left: Any, right: Any) -> bool:
    """Whether two trees have the same structure and leaves of the same shapes."""
    one: Any = jax.tree.structure(left)
    return one == jax.tree.structure(right) and _told(left) == _told(right)


def _told(tree: Any) -> list[tuple[int, ...]]:
    return [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]


def _wider(leaf: Any, other: Any) -> jax.ShapeDtypeStruct:
    if leaf.dtype == other.dtype:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    with optax_converts():
        return jax.ShapeDtypeStruct(leaf.shape, jnp.promote_types(leaf.dtype, other.dtype))


def typed_as(leaf: Any, like: Any) -> Array:
    """A leaf in the type of another."""
    leaf = jnp.asarray(leaf)
    return leaf if leaf.dtype == like.dtype else leaf.astype(like.dtype)


def learning_rate_of(transform: optax.GradientTransformation) -> float:
    """The constant learning rate that `optax.inject_hyperparams` keeps in the state."""
    try:
        injected = parts_of(transform.init(jnp.zeros(1)), optax.InjectStatefulHyperparamsState)
    except Exception:  # not made for one vector of parameters
        injected = []
    rates = [
        part.hyperparams["learning_rate"]
        for part in injected
        if "learning_rate" in part.hyperparams and "learning_rate" not in part.hyperparams_states
    ]
    if len(rates) != 1:
        raise InputError(
            "the training time of a step cannot be read from an Optax transformation; give it as "
            "step_size, usually the learning rate: optax_dynamics(optax.adam(1e-3), 1e-3), or a "
            "schedule"
        )
    return float(rates[0])
