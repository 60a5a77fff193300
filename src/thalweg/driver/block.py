"""A block of a sweep: lanes of one kind of dynamics, each on a clock of its own, in one program.

`run` is the case of one dynamics; here each lane has a dynamics and a seed. A block depends on
nothing but its arguments, so that it can be worked on in any process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.memory import require_memory, short_of_memory
from thalweg.core.tree import Params
from thalweg.driver.chunks import Loop, Marks, Progress
from thalweg.driver.footprint import LOWER, require_room
from thalweg.driver.lanes import Each, start_probes, start_states
from thalweg.driver.layout import (
    arrays_in,
    blank_record,
    clocked,
    lanes_for,
    marks_of,
    recorded_variables,
    schedule_of,
    start_as_drawn,
)
from thalweg.driver.progress import Meter
from thalweg.driver.recorded import opened_store, store_at
from thalweg.dynamics.dynamics import Discrete, Dynamics
from thalweg.dynamics.stability import stated_rule
from thalweg.probes.probe import Every
from thalweg.problems.problem import Problem
from thalweg.trajectory.provenance import digest, provenance
from thalweg.trajectory.store import ZarrStore

AXES = ("lane", "record")


class Horizon(NamedTuple):
    """How long every member of a sweep runs, and when it records.

    Attributes:
        until: Training time of the last record, the same for all members;
        steps: or how many steps each of them takes.
        records: How many records after the first, evenly spaced; fewer where there are fewer steps.
    """

    until: float | None
    steps: int | None
    records: int

    def marks(self, dynamics: Dynamics) -> Marks:
        """The records of one member.

        Raises:
            InputError: If there are none, or it is not a dynamics in steps.
        """
        require(
            isinstance(dynamics, Discrete),
            f"{dynamics.name} has no steps; a sweep takes dynamics in steps, as gradient_descent",
        )
        assert isinstance(dynamics, Discrete)
        if self.steps is None:
            return marks_of(dynamics, self.until, self.records, None)
        require(self.steps >= 1, f"steps came as {self.steps}; give at least 1")
        require(self.records >= 1, f"records came as {self.records}; give at least 1")
        require_memory(64.0 * self.records, f"the list of {self.records} records", "give fewer")
        places = np.linspace(0, self.steps, min(self.records, self.steps) + 1)
        steps = np.unique(np.round(places).astype(np.int64))
        return Marks(clocked(dynamics, steps), steps)


class Block(NamedTuple):
    """Lanes that share a program: what a process works on at a time.

    Attributes:
        members: The dynamics of each lane, of one kind: they differ in arrays alone.
        seeds: The seed of each lane.
    """

    members: tuple[Dynamics, ...]
    seeds: tuple[int, ...]


def stacked_lanes(modules: Sequence[Any]) -> Each:
    """Modules of one kind as one, for each lane."""
    sides = [eqx.partition(module, eqx.is_array) for module in modules]
    return Each(eqx.combine(tree.stacked([arrays for arrays, _ in sides]), sides[0][1]))


def program_key(module: Any) -> tuple[Any, ...]:
    """What modules must have in common to share a program: all but the values of their arrays."""
    arrays, rest = eqx.partition(module, eqx.is_array)
    shapes = [(a.shape, str(a.dtype)) for a in jax.tree.leaves(arrays)]
    leaves, structure = jax.tree.flatten(rest)
    return tuple(shapes), structure, tuple(leaves)


def measuring(schedule: Sequence[Every], members: Sequence[Dynamics]) -> tuple[Any, ...]:
    """The probes as they measure along each lane's dynamics: one for all lanes, or one for each."""
    found: list[Any] = []
    for scheduled in schedule:
        along = [scheduled.probe.along(member) for member in members]
        same = all(probe is scheduled.probe for probe in along)
        found.append(scheduled.probe if same else stacked_lanes(along))
    return tuple(found)


def marks_of_lanes(horizon: Horizon, members: Sequence[Dynamics]) -> tuple[Marks, np.ndarray]:
    """The records of all lanes, and their times with NaN behind each lane's own."""
    own = [horizon.marks(member) for member in members]
    counts = np.asarray([marks.records for marks in own])
    most = int(counts.max())

    def padded(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.repeat(values[-1:], most - len(values))])

    steps = np.stack([padded(np.asarray(marks.steps)) for marks in own])
    times = np.stack([padded(marks.times) for marks in own])
    known = np.where(np.arange(most) < counts[:, None], times, np.nan)
    return Marks(times, steps, counts), known


def run_block(
    problem: Problem,
    block: Block,
    horizon: Horizon,
    probes: Any,
    start: Params | None,
    parameters: bool,
    path: Path | None,
    meter: Meter,
) -> xr.Dataset:
    """Follow every lane of a block, or go on where its store stands.

    Args:
        problem: What is trained.
        block: The lanes.
        horizon: How long, and when to record.
        probes: What to measure, as `run` takes it.
        start: Parameters that every lane starts from instead of its seed's own.
        parameters: Whether to record the flat parameters.
        path: Where records go, ending in `.zarr`; None keeps them in memory.
        meter: Is told how far it is.

    Returns:
        Dims (lane, record), `time` over both. A lane that diverges takes no further steps, and the
        others go on: behind the record at which it shows, its values are NaN and its codes say so.

    Raises:
        InputError: If something does not fit, as for `run`.
    """
    members, seeds = block
    schedule, asked = schedule_of(probes)
    marks, times = marks_of_lanes(horizon, members)
    lanes = lanes_for(problem, len(seeds))
    # The data of a store stay on disk; those of a block in memory are counted by the sweep.
    require_room(
        problem, members[0], schedule, len(seeds), marks.records,
        lanes=lanes, kept=0, parameters=parameters,
    )  # fmt: skip
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    each, probing = stacked_lanes(members), measuring(schedule, members)
    with jax.default_matmul_precision("highest"), short_of_memory(LOWER):
        states = start_states(problem, each, keys, lanes, start_as_drawn(problem, start))
        bad = sorted({s for s, r in zip(seeds, np.asarray(states.result), strict=True) if r})
        require(
            not bad,
            f"the objective is not finite at the start of seed {bad}; check the data's "
            "scale and the initialiser",
        )
        memories = start_probes(problem, probing, states.params, lanes)
        going = np.ones(len(seeds), bool)
        variables = recorded_variables(
            problem, each, schedule, probing, states, memories, keys, lanes, parameters, going
        )
        coords, attrs = _labels(problem, block, times, asked, states.params, parameters)
        place = None if path is None else store_at(path, False, AXES)
        attrs |= {} if place is None else {"block": place.path.stem}
        at = Progress(states, memories, 0, ())
        blank = blank_record(variables, len(seeds))
        with place.locked() if place else nullcontext():
            store, done = opened_store(place, False, variables, coords, attrs, AXES)
            loop = Loop(
                problem, each, schedule, marks, keys, lanes, blank, store, at, probing
            )  # fmt: skip
            if done and isinstance(store, ZarrStore):
                loop.resume(store)
            loop.go(meter)
            return labelled(store.dataset())


def labelled(dataset: xr.Dataset) -> xr.Dataset:
    """The data set of a block with what labels its lanes as coordinates, read from disk or not."""
    return dataset.set_coords(["time", "seed"])


def _labels(
    problem: Problem,
    block: Block,
    times: np.ndarray,
    asked: list[str],
    starts: Params,
    parameters: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Coordinates and attributes of a block's data set."""
    first, members = block.members[0], {id(m): m for m in block.members}
    drawn = tree.lane(starts, 0)
    told = {
        key: {
            "describe": member.describe(),
            "doubts": list(member.doubts(problem)),
            "stability": stated_rule(member, problem, drawn).plain()
            if isinstance(member, Discrete)
            else None,
            "limit": member.told_limit(problem, drawn) if isinstance(member, Discrete) else None,
        }
        for key, member in members.items()
    }
    configuration = {
        "problem": problem.describe()
        | {"digest": digest(*arrays_in(problem)), "start": digest(*arrays_in(starts))},
        "dynamics": [told[id(member)]["describe"] for member in block.members],
        "probes": asked,
        "seeds": list(block.seeds),
        "records": digest(times),
        "parameters recorded": parameters,
        "precision": str(jax.tree.leaves(starts)[0].dtype),
    }
    coords: dict[str, Any] = {
        "lane": np.arange(len(block.seeds)),
        "record": np.arange(times.shape[1]),
        "seed": ("lane", np.asarray(block.seeds)),
        "time": (AXES, times, {"long_name": "training time", "units": "step size"}),
    }
    coords |= {s.dim: np.asarray(s.labels) for s in first.recorded(problem) if s.labels}
    attrs = {
        "dynamics": first.name,
        "lanes": json.dumps([told[id(member)] for member in block.members], default=str),
        "provenance": json.dumps(provenance(configuration), default=str),
    }
    return coords, attrs
