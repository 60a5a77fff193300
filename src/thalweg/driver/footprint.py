"""What a run must have in memory, read off shapes before anything is allocated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from thalweg.core import tree
from thalweg.core.memory import available_memory, bytes_of, require_memory, working_memory
from thalweg.driver.lanes import abreast
from thalweg.dynamics.dynamics import Discrete, Dynamics, State, state_at_start
from thalweg.probes.probe import Every, Moment, answered, started
from thalweg.problems.problem import Problem

LOWER = (
    "lower the seeds, the records or the width of the model, use float32, or take probes that need "
    "fewer vectors"
)


def require_room(
    problem: Problem,
    dynamics: Dynamics,
    schedule: Sequence[Every],
    seeds: int,
    records: int,
    *,
    lanes: str,
    kept: int,
    parameters: bool,
) -> None:
    """Refuse a run that cannot fit.

    Counted are the states of all seeds before and after a step, what probes carry along, the
    largest set of vectors that a measurement or a step works on, random numbers drawn ahead
    included, and records that stay in memory: a lower bound, since compiled code needs room of its
    own.

    Args:
        problem: What is trained.
        dynamics: What moves the parameters.
        schedule: What is measured.
        seeds: How many.
        records: How many.
        lanes: "vmap" if seeds are worked on side by side, as many at once as `abreast` says.
        kept: Of how many seeds the records stay in memory.
        parameters: Whether they hold the parameters.

    Raises:
        InputError: If it needs more memory than there is.
    """
    state = eqx.filter_eval_shape(lambda key: _first(problem, dynamics, key), jax.random.key(0))
    memories = [eqx.filter_eval_shape(started, s.probe, problem, state.params) for s in schedule]
    row = 24 * (1 + len(schedule)) + (bytes_of(state.params) if parameters else 0)
    needed = seeds * (2 * bytes_of(state) + bytes_of(memories)) + 8 * records
    needed += kept * records * row
    if 1000 * needed > available_memory():  # else tracing would take longer than it is worth
        most = max(_work(problem, dynamics, schedule, state, memories))
        needed += most * (abreast(seeds) if lanes == "vmap" else 1)
    size = tree.size(state.params)
    counts = f"{_many(seeds, 'seed')} and {_many(records, 'record')}"
    what = f"a run of {_many(size, 'parameter')}, {counts}"
    require_memory(needed, what, LOWER)


def room_for_lane(
    problem: Problem, dynamics: Dynamics, schedule: Sequence[Every], worth: float
) -> int:
    """Bytes that one lane works with, at least: its states, what probes carry, a measurement.

    Args:
        problem: What is trained.
        dynamics: What moves the parameters.
        schedule: What is measured.
        worth: Bytes far below which measurements are not traced to see what they take.
    """
    state = eqx.filter_eval_shape(lambda key: _first(problem, dynamics, key), jax.random.key(0))
    memories = [eqx.filter_eval_shape(started, s.probe, problem, state.params) for s in schedule]
    room = 2 * bytes_of(state) + bytes_of(memories)
    if 1000 * room > worth:
        room += max(_work(problem, dynamics, schedule, state, memories))
    return room


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _first(problem: Problem, dynamics: Dynamics, key: Any) -> State:
    return state_at_start(dynamics, problem, problem.init(key))


def _work(
    problem: Problem, dynamics: Dynamics, schedule: Sequence[Every], state: State, memories: Any
) -> list[int]:
    moment = Moment(jnp.asarray(0), jax.random.key(0), ())
    found = [working_memory(lambda p: jax.grad(problem.objective)(p), state.params)]
    for scheduled, memory in zip(schedule, memories, strict=True):

        def measure(params: Any, memory: Any, state: State, probe: Any = scheduled.probe) -> Any:
            at = moment._replace(process=state.memory)
            reading, ahead = answered(probe, problem, params, memory, at)
            return reading, ahead

        found.append(working_memory(measure, state.params, memory, state))
    if isinstance(dynamics, Discrete):
        step = working_memory(lambda s: dynamics.step(problem, s, jax.random.key(0))[0], state)
        found.append(step + bytes_of(_drawn(problem, dynamics, state)))
    return found


def _drawn(problem: Problem, dynamics: Discrete, state: State) -> Any:
    """The random numbers of a block of steps, which a lane holds while it takes them."""
    block = dynamics.block(problem, state.params)
    if block == 0:
        return ()
    return eqx.filter_eval_shape(
        lambda params, key: dynamics.draws(problem, params, key, block),
        state.params,
        jax.random.key(0),
    )
