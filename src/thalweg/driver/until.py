"""Descent that ends where the objective is low enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.result import Result
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Continuous, Discrete, State
from thalweg.problems.problem import Problem

LATE = 1e15  # training time that no process is meant to reach


class Stopped(NamedTuple):
    """Where a descent ended.

    Attributes:
        params: The first parameters whose objective is low enough, else the last ones looked at.
        loss: The objective there.
        steps: Steps taken to them.
        evaluations: Gradients spent, a last one for looking at the loss included.
        reached: Whether the objective is low enough.
    """

    params: Params
    loss: Float[Array, ""]
    steps: Int[Array, ""]
    evaluations: Int[Array, ""]
    reached: Bool[Array, ""]


def descend_until(
    family: Callable[[Array], Discrete],
    setting: float | Array,
    problem: Problem,
    params: Params,
    loss: float | Array,
    most_steps: int | Array,
    key: Array | None = None,
) -> Stopped:
    """Steps until f(theta_k) <= loss, at most so many; stops at once where f is not finite.

    Args:
        family: Maps a setting to a dynamics, as `gradient_descent`. Pass the same
            function again to reuse what was compiled.
        setting: Its step size; new numbers here and below compile nothing.
        problem: What is descended.
        params: The start.
        loss: Level of the objective (unit: loss).
        most_steps: Where to give up.
        key: For dynamics that draw; none is needed by descent on the full objective.

    Cost: steps + 1 gradients.
    """
    key = jax.random.key(0) if key is None else key
    numbers = (jnp.asarray(x) for x in (setting, loss, most_steps))
    return _descend(family, problem, params, key, *numbers)


@eqx.filter_jit
def _descend(
    family: Callable[[Array], Discrete],
    problem: Problem,
    params: Params,
    key: Array,
    setting: Array,
    loss: Array,
    most_steps: Array,
) -> Stopped:
    dynamics = family(setting)

    def going(carry: tuple[Params, Array, State]) -> Array:
        _, value, after = carry
        return (value > loss) & (after.step <= most_steps) & (after.result < int(Result.NONFINITE))

    def advance(carry: tuple[Params, Array, State]) -> tuple[Params, Array, State]:
        before = carry[2]
        after, info = dynamics.step(problem, before, jax.random.fold_in(key, before.step))
        return before.params, info.loss, after

    begin = dynamics.init(problem, params)
    carry = (params, jnp.full((), jnp.inf, problem.objective(params).dtype), begin)
    found, value, after = jax.lax.while_loop(going, advance, carry)
    steps = jnp.maximum(after.step - 1, 0)
    return Stopped(found, value, steps, after.evaluations, value <= loss)


def advance_until(
    dynamics: Continuous,
    problem: Problem,
    params: Params,
    loss: float | Array,
    most_evaluations: int | Array,
) -> Stopped:
    """Solver steps of a process in continuous time until f(theta) <= loss.

    The loss is looked at after each solver step. Ends without it where the evaluations are used
    up, the objective is not finite, or the process stays where it is.

    Args:
        dynamics: As `stabilised_descent()` or `gradient_flow(error=1e-3)`.
        problem: What is descended.
        params: The start.
        loss: Level of the objective (unit: loss).
        most_evaluations: Gradients after which no further step begins.

    Cost: the solver's own gradients and one evaluation of the objective a solver step.
    """
    return _advance(dynamics, problem, params, jnp.asarray(loss), jnp.asarray(most_evaluations))


@eqx.filter_jit
def _advance(
    dynamics: Continuous, problem: Problem, params: Params, loss: Array, most_evaluations: Array
) -> Stopped:
    until, one = jnp.asarray(LATE, jnp.float64), jnp.asarray(1)

    def going(carry: tuple[State, Array]) -> Array:
        state, value = carry
        able = state.result == int(Result.OK)
        return (value > loss) & able & (state.evaluations < most_evaluations) & (state.time < until)

    def advance(carry: tuple[State, Array]) -> tuple[State, Array]:
        state = dynamics.advance(problem, carry[0], until, one)
        return state, problem.objective(state.params)

    begin = dynamics.init(problem, params)
    state, value = jax.lax.while_loop(going, advance, (begin, problem.objective(params)))
    return Stopped(state.params, value, state.step, state.evaluations, value <= loss)
