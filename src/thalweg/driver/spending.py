"""Many lanes of one kind of dynamics, each until it has spent so many gradients; records between.

Methods whose steps cost differently are held against each other at equal cost. What a lane has at a
mark is the last state whose cost is not above it: no lane is given a part of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from thalweg.core.compiling import QUICKEST, QuickToCompile
from thalweg.core.result import Result
from thalweg.core.tree import Params
from thalweg.driver.lanes import of_any_lane, over_lanes
from thalweg.driver.steps import BLOCKS
from thalweg.dynamics.dynamics import VALUES, Discrete, State
from thalweg.problems.problem import Problem

VALUE = 1 / 3  # of a gradient, which is a pass forward and about two back


class Spent(NamedTuple):
    """What a lane has at a mark, or (lanes, marks) at each, the start among them.

    Attributes:
        loss: The objective on all examples; infinite from a divergence on.
        cost: Gradients spent on it, at most the mark.
        steps: Steps taken to it.
        gradients: Gradients, as the dynamics counts them; a Hessian product is two.
        values: Values beside them.
        result: A `Result` code.
    """

    loss: Float[Array, "*at"]
    cost: Float[Array, "*at"]
    steps: Int[Array, "*at"]
    gradients: Int[Array, "*at"]
    values: Int[Array, "*at"]
    result: Int[Array, "*at"]


class _At(NamedTuple):
    """Where a lane was, with what it had spent."""

    params: Params
    cost: Array
    steps: Array
    gradients: Array
    values: Array
    result: Array


def values_taken(dynamics: Discrete, problem: Problem, state: State) -> Int[Array, ""]:
    """Values that a dynamics took beside its gradients."""
    if not any(told.name == VALUES for told in dynamics.recorded(problem)):
        return jnp.zeros((), jnp.int64)
    return jnp.asarray(dynamics.statistics(problem, state)[VALUES], jnp.int64)


def _at(dynamics: Discrete, problem: Problem, state: State, price: Array) -> _At:
    values = values_taken(dynamics, problem, state)
    cost = price * (state.evaluations.astype(jnp.float64) + VALUE * values.astype(jnp.float64))
    return _At(state.params, cost, state.step, state.evaluations, values, state.result)


def _going(dynamics: Discrete, mark: Array) -> Callable[[tuple[State, _At, _At]], Array]:
    def going(now: tuple[State, _At, _At]) -> Array:
        state, here, _ = now
        return (here.cost <= mark) & (state.result < int(Result.NONFINITE))

    return going


def _until(
    problem: Problem, dynamics: Discrete, now: tuple[State, _At, _At], mark: Array, key: Array,
    price: Array,
) -> tuple[State, _At, _At]:  # fmt: skip
    """Steps until the cost is above a mark; the state, where it is, and where it was before.

    Step k and block j have the keys that they have in a run of the driver.
    """
    size, going = dynamics.block(problem, now[0].params), _going(dynamics, mark)

    def own(state: State) -> Array:
        return jax.random.fold_in(key, state.step)

    def moved(state: State, here: _At, after: State) -> tuple[State, _At, _At]:
        # A step that costs nothing would go on for ever.
        there = _at(dynamics, problem, after, price)
        stuck = there.cost <= here.cost
        there = there._replace(cost=jnp.where(stuck, jnp.inf, there.cost))
        return after, there, here

    if size == 0:

        def plain(now: tuple[State, _At, _At]) -> tuple[State, _At, _At]:
            state, here, _ = now
            return moved(state, here, dynamics.step(problem, state, own(state))[0])

        return jax.lax.while_loop(going, plain, now)
    blocks = jax.random.fold_in(key, BLOCKS)

    def block(now: tuple[State, _At, _At]) -> tuple[State, _At, _At]:
        number = now[0].step // size
        draws = dynamics.draws(problem, now[0].params, jax.random.fold_in(blocks, number), size)

        def inside(now: tuple[State, _At, _At]) -> Array:
            return going(now) & (now[0].step // size == number)

        def drawn(now: tuple[State, _At, _At]) -> tuple[State, _At, _At]:
            state, here, _ = now
            draw = jax.tree.map(lambda leaf: leaf[state.step - number * size], draws)
            return moved(state, here, dynamics.drawn_step(problem, state, draw, own(state))[0])

        return jax.lax.while_loop(inside, drawn, now)

    return jax.lax.while_loop(going, block, now)


def spend(
    problem: Problem,
    dynamics: Any,
    keys: Array,
    marks: Float[Array, " marks"],
    price: Float[Array, ""],
    lanes: str,
) -> Spent:
    """Follow lanes of a dynamics until each has spent the last mark.

    A lane that leaves the finite numbers ends there, and holds up no other.

    Args:
        problem: What is descended.
        dynamics: One for all lanes, or `Each`.
        keys: Of the seed of each lane, as a run has them.
        marks: Costs at which to record, ascending (unit: gradient of the whole objective).
        price: Of what the dynamics counts as a gradient; a value is a third of it.
        lanes: "vmap", "map" or "single": see `over_lanes`.

    Cost: the last mark, exceeded by a step at most that is not counted; a value at each mark.
    """
    followed = _spend_on_large if of_any_lane(dynamics).long_to_compile else _spend_on
    return followed(problem, dynamics, keys, marks, price, lanes)


def _spent(
    problem: Problem, dynamics: Any, keys: Array, marks: Array, price: Array, lanes: str
) -> Spent:
    def one(dynamics: Discrete, key: Array) -> Spent:
        params = problem.init(jax.random.fold_in(key, 0))
        own, state = jax.random.fold_in(key, 1), dynamics.init(problem, params)
        begun = _at(dynamics, problem, state, price)

        def record(now: Any, mark: Array) -> tuple[Any, Any]:
            now = _until(problem, dynamics, now, mark, own, price)
            _, here, before = now
            ended = here.cost <= mark  # within the mark, since it left the finite numbers
            kept = jax.tree.map(lambda a, b: jnp.where(ended, a, b), here, before)
            loss = problem.objective(kept.params).astype(jnp.float64)
            loss = jnp.where(kept.result >= int(Result.NONFINITE), jnp.inf, loss)
            return now, Spent(loss, *kept[1:])

        return jax.lax.scan(record, (state, begun, begun), marks)[1]

    return over_lanes(one, lanes, (dynamics,), keys)


_spend_on = eqx.filter_jit(_spent)
_spend_on_large = QuickToCompile(_spent, QUICKEST)
