"""What the driver does to many lanes at once: seeds, and members of a sweep, in one program.

A lane is one run: a seed of one dynamics. What differs from lane to lane has the lanes as the first
axis of every array; a dynamics or a probe that does so comes as `Each`, what is the same for all
lanes as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from thalweg.core import tree
from thalweg.core.compiling import QUICKEST, QuickToCompile
from thalweg.core.result import Reading, tree_finite
from thalweg.core.tree import Params
from thalweg.driver.steps import steps_on
from thalweg.dynamics.dynamics import Continuous, Discrete, Dynamics, State, state_at_start
from thalweg.probes.probe import Every, Moment, Probe, answered, started
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


def start_states(
    problem: Problem, dynamics: Dynamics | Each, keys: Array, lanes: str, given: Params | None
) -> State:
    """Draw each lane's parameters, if none are given, and put the dynamics at time zero."""
    # Apart, so that the draws, which take long to compile, are one program for all dynamics.
    params, results = _drawn(problem, keys, lanes, given)
    return _begun(problem, dynamics, params, results, lanes)


@QuickToCompile
def _drawn(problem: Problem, keys: Array, lanes: str, given: Params | None) -> tuple[Params, Array]:
    """The parameters of each lane at time zero, and a code for those that cannot be descended."""

    def one(key: Array) -> tuple[Params, Array]:
        params = problem.init(jax.random.fold_in(key, 0)) if given is None else given
        return params, jnp.maximum(tree_finite(params), tree_finite(problem.objective(params)))

    return over_lanes(one, lanes, (), keys)


@eqx.filter_jit
def _begun(
    problem: Problem, dynamics: Dynamics | Each, params: Params, results: Array, lanes: str
) -> State:
    def one(dynamics: Dynamics, params: Params, bad: Array) -> State:
        state = state_at_start(dynamics, problem, params)
        return state._replace(result=jnp.maximum(state.result, bad))

    return over_lanes(one, lanes, (dynamics,), params, results)


@eqx.filter_jit
def start_probes(
    problem: Problem, probes: tuple[Probe | Each, ...], params: Any, lanes: str
) -> Any:
    """The probes' memories before the first record, with a leading axis of lanes."""

    def one(*given: Any) -> tuple[Any, ...]:
        *measuring, params = given
        return tuple(started(probe, problem, params) for probe in measuring)

    return over_lanes(one, lanes, probes, params)


def _take_steps(
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


take_steps = eqx.filter_jit(_take_steps)
take_large_steps = QuickToCompile(_take_steps, QUICKEST)


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


class Together(NamedTuple):
    """Probes that are measured in one program.

    Attributes:
        places: Which of the schedule they are.
        period: They are due at every so-manyth record.
        process: Whether they ask what the dynamics carries.
    """

    places: tuple[int, ...]
    period: int
    process: bool


def together(schedule: Sequence[Every]) -> list[Together]:
    """The probes of a schedule by program.

    Those that do not ask the process share theirs with every other dynamics, and none is compiled
    once with another and once without because that one is not always due.
    """
    kinds = [(s.period, s.probe.asks_process) for s in schedule]
    return [
        Together(tuple(i for i, kind in enumerate(kinds) if kind == own), *own)
        for own in dict.fromkeys(kinds)
    ]


def readings_of(
    group: Together,
    problem: Problem,
    probes: Sequence[Probe | Each],
    states: State,
    memories: Sequence[Any],
    record: ArrayLike,
    keys: Array,
    lanes: str,
    going: ArrayLike | None = None,
    shapes: bool = False,
) -> tuple[tuple[Reading, ...], tuple[Any, ...]]:
    """What the probes of a group read at a record, and their memories after it: see `_read`.

    Of `shapes` alone nothing is compiled, and what is traced for them is not traced again.
    """
    read: Any = _read.shapes if shapes else _read
    return read(
        problem,
        tuple(probes[i] for i in group.places),
        group.places,
        states.params,
        states.memory if group.process else (),
        tuple(memories[i] for i in group.places),
        record,
        keys,
        lanes,
        going,
    )


@QuickToCompile
def _read(
    problem: Problem,
    probes: tuple[Probe | Each, ...],
    places: tuple[int, ...],
    params: Params,
    process: Any,
    memories: tuple[Any, ...],
    record: ArrayLike,
    keys: Array,
    lanes: str,
    going: ArrayLike | None,
) -> tuple[tuple[Reading, ...], tuple[Any, ...]]:
    """What the probes read at a record, and their memories after it, with a leading axis of lanes.

    Lanes that are not `going` are passed over where lanes come one after the other: they read
    zeros and keep their memories.
    """
    count = len(probes)

    def one(*given: Any) -> Any:
        measuring, (params, process, memories, key, *active) = given[:count], given[count:]
        key = jax.random.fold_in(jax.random.fold_in(key, 2), record)

        def measured() -> Any:
            pairs = []
            for i, probe, memory in zip(places, measuring, memories, strict=True):
                moment = Moment(jnp.asarray(record), jax.random.fold_in(key, i), process)
                pairs.append(answered(probe, problem, params, memory, moment))
            return tuple(r for r, _ in pairs), tuple(m for _, m in pairs)

        if not active:
            return measured()
        shapes = jax.eval_shape(measured)[0]
        blank = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        return jax.lax.cond(active[0], measured, lambda: (blank, tuple(memories)))

    own = () if going is None else (going,)
    return over_lanes(one, lanes, probes, params, process, memories, keys, *own)


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
