"""What the driver does to many lanes at once: seeds, and members of a sweep, in one program.

A lane is one run: a seed of one dynamics. What differs from lane to lane has the lanes as the first
axis of every array; a dynamics or a probe that does so comes as `Each`, what is the same for all
lanes as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from thalweg.core import tree
from thalweg.core.result import Reading, tree_finite
from thalweg.core.tree import Params
from thalweg.driver.steps import steps_on
from thalweg.dynamics.dynamics import Continuous, Discrete, Dynamics, State
from thalweg.probes.probe import Moment, Probe
from thalweg.problems.problem import Problem


class Each(eqx.Module):
    """A dynamics or a probe for each lane: every array of `value` has the lanes as first axis."""

    value: Any


MOST_ABREAST = 256  # lanes; 4,000 runs in two dimensions take half the time of all at once


def of_any_lane(given: Any) -> Any:
    """The module itself: what is not an array in it holds for every lane."""
    return given.value if isinstance(given, Each) else given


def abreast(count: int) -> int:
    """How many of so many lanes are worked on at once: on a CPU what its cache holds.

    Groups are equal where they can be, since a smaller last one is compiled by itself. How much
    memory that takes depends on the parameters; what does not fit is refused before a run.
    """
    if count <= MOST_ABREAST or jax.default_backend() != "cpu":
        return count
    even = [size for size in range(MOST_ABREAST // 2, MOST_ABREAST + 1) if count % size == 0]
    return max(even, default=MOST_ABREAST)


def over_lanes(
    function: Callable[..., Any], lanes: str, shared: tuple[Any, ...], *arguments: Any
) -> Any:
    """Apply a function of one lane.

    Args:
        function: Takes what is shared, then a lane of the arguments.
        lanes: "vmap" works on all lanes at once, "map" on one after the other, "single" on one.
        shared: Modules that are the same for all lanes, or `Each`.
        arguments: With a leading axis of lanes.
    """
    sides = [eqx.partition(of_any_lane(module), eqx.is_array) for module in shared]
    own = [arrays if isinstance(m, Each) else None for m, (arrays, _) in zip(shared, sides)]  # noqa: B905

    def one(own: list[Any], *arguments: Any) -> Any:
        modules = [
            eqx.combine(arrays if mine is None else mine, rest)
            for mine, (arrays, rest) in zip(own, sides, strict=True)
        ]
        return function(*modules, *arguments)

    if lanes == "vmap":
        count = len(jax.tree.leaves(arguments)[0])
        group = abreast(count)
        if group == count:
            return jax.vmap(one)(own, *arguments)
        return jax.lax.map(lambda packed: one(*packed), (own, *arguments), batch_size=group)
    if lanes == "map":
        return jax.lax.map(lambda packed: one(*packed), (own, *arguments))
    result = one(*(tree.lane(a, 0) for a in (own, *arguments)))
    return jax.tree.map(lambda leaf: leaf[None], result)


@eqx.filter_jit
def start_states(
    problem: Problem, dynamics: Dynamics | Each, keys: Array, lanes: str, given: Params | None
) -> State:
    """Draw each lane's parameters, if none are given, and put the dynamics at time zero."""

    def one(dynamics: Dynamics, key: Array) -> State:
        params = problem.init(jax.random.fold_in(key, 0)) if given is None else given
        state = dynamics.init(problem, params)
        bad = jnp.maximum(tree_finite(params), tree_finite(problem.objective(params)))
        return state._replace(result=jnp.maximum(state.result, bad))

    return over_lanes(one, lanes, (dynamics,), keys)


@eqx.filter_jit
def start_probes(
    problem: Problem, probes: tuple[Probe | Each, ...], params: Any, lanes: str
) -> Any:
    """The probes' memories before the first record, with a leading axis of lanes."""

    def one(*given: Any) -> tuple[Any, ...]:
        *measuring, params = given
        return tuple(probe.start(problem, params) for probe in measuring)

    return over_lanes(one, lanes, probes, params)


@eqx.filter_jit
def take_steps(
    problem: Problem,
    dynamics: Dynamics | Each,
    states: State,
    keys: Array,
    count: ArrayLike,
    lanes: str,
) -> State:
    """So many steps: of every lane, or of each its own number."""

    def one(dynamics: Discrete, state: State, key: Array, *own: Array) -> State:
        number, first = (*own, state.step) if own else (count, shared)
        return steps_on(problem, dynamics, state, jax.random.fold_in(key, 1), first, number)

    shared = states.step[0]  # of all lanes, so that it stays one number where these are mapped over
    each = (count,) if jnp.ndim(count) else ()
    return over_lanes(one, lanes, (dynamics,), states, keys, *each)


@eqx.filter_jit
def advance_to(
    problem: Problem,
    dynamics: Dynamics | Each,
    states: State,
    until: ArrayLike,
    last: ArrayLike,
    most_steps: ArrayLike,
    lanes: str,
) -> tuple[State, Array]:
    """Towards a mark, and the gradients expected up to the last."""

    def one(dynamics: Continuous, state: State) -> tuple[State, Array]:
        state = dynamics.advance(problem, state, jnp.asarray(until), jnp.asarray(most_steps))
        return state, dynamics.expected(problem, state, jnp.asarray(last))

    return over_lanes(one, lanes, (dynamics,), states)


@eqx.filter_jit
def readings_at(
    problem: Problem,
    probes: tuple[Probe | Each, ...],
    states: State,
    memories: tuple[Any, ...],
    record: ArrayLike,
    keys: Array,
    lanes: str,
    going: ArrayLike | None = None,
) -> tuple[tuple[Reading, ...], tuple[Any, ...]]:
    """What the probes read at a record, and their memories after it, with a leading axis of lanes.

    Lanes that are not `going` are passed over where lanes come one after the other: they read
    zeros and keep their memories.
    """
    count = len(probes)

    def one(*given: Any) -> Any:
        measuring, (state, memories, key, *active) = given[:count], given[count:]
        key = jax.random.fold_in(jax.random.fold_in(key, 2), record)

        def measured() -> Any:
            pairs = []
            for i, (probe, memory) in enumerate(zip(measuring, memories, strict=True)):
                moment = Moment(jnp.asarray(record), jax.random.fold_in(key, i), state.memory)
                pairs.append(probe.measure(problem, state.params, memory, moment))
            return tuple(r for r, _ in pairs), tuple(m for _, m in pairs)

        if not active:
            return measured()
        shapes = jax.eval_shape(measured)[0]
        blank = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        return jax.lax.cond(active[0], measured, lambda: (blank, tuple(memories)))

    own = () if going is None else (going,)
    return over_lanes(one, lanes, probes, states, memories, keys, *own)


@eqx.filter_jit
def told_by(
    problem: Problem, dynamics: Dynamics | Each, states: State, lanes: str
) -> dict[str, Array]:
    """What the dynamics tells of itself, with a leading axis of lanes."""

    def one(dynamics: Dynamics, state: State) -> dict[str, Array]:
        told = dynamics.statistics(problem, state)
        if isinstance(dynamics, Continuous):
            told["path_error"] = dynamics.path_error(problem, state)
        return told

    return over_lanes(one, lanes, (dynamics,), states)


@jax.jit
def flat_of_lanes(params: Any) -> Array:
    """The parameters of every lane as a vector."""
    return jax.vmap(tree.flatten)(params)


def variable_names(probe: Probe) -> tuple[str, str, str]:
    """Names of a probe's value, error and result code in the data set."""
    return probe.name, f"{probe.name}_error", f"{probe.name}_result"
