"""Follow a dynamics on a problem and measure along the way, on disk or in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from thalweg.core import tree
from thalweg.core.errors import InputError, require
from thalweg.core.memory import short_of_memory
from thalweg.core.tree import Params
from thalweg.driver.changes import changes_between
from thalweg.driver.chunks import Interrupted, Loop, Progress
from thalweg.driver.footprint import LOWER, require_room
from thalweg.driver.lanes import start_probes, start_states
from thalweg.driver.layout import (
    arrays_in,
    blank_record,
    clocks_of,
    lanes_for,
    marks_of,
    recorded_variables,
    require_paths_apart,
    schedule_of,
    seed_labels,
    start_as_drawn,
)
from thalweg.driver.progress import watched
from thalweg.dynamics import optax_dynamics
from thalweg.dynamics.dynamics import Discrete, Dynamics
from thalweg.dynamics.stability import stated_rule
from thalweg.probes.probe import Every, ProbeLike
from thalweg.problems.problem import Problem
from thalweg.storage.files import StoreError, writing
from thalweg.trajectory.provenance import digest, provenance
from thalweg.trajectory.store import AXES, MemoryStore, OtherRunError, Store, Variable, ZarrStore
from thalweg.trajectory.trajectory import Trajectory


def run(
    problem: Problem,
    dynamics: Dynamics | optax.GradientTransformation,
    until: float | None = None,
    *,
    records: int = 100,
    times: Sequence[float] | np.ndarray | None = None,
    probes: ProbeLike | Iterable[ProbeLike | Every] = (),
    seeds: int | Sequence[int] = 1,
    start: Params | None = None,
    parameters: bool = True,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: bool | None = None,
) -> Trajectory:
    """Follow a dynamics on a problem and measure along the way.

    Args:
        problem: What is trained.
        dynamics: What moves the parameters; an Optax optimiser whose learning rate can be read
            off it (`optax.inject_hyperparams`) as it is, others by `optax_dynamics`.
        until: Training time of the last record (training time = sum of step sizes).
        records: How many records after the one at time zero, evenly spaced.
        times: Instead of `until` and `records`, the training times to record at. Discrete
            dynamics record at the nearest step.
        probes: What to measure at each record, one or several: probes, `every(...)`, or names as
            "sharpness"; the loss is always measured.
        seeds: How many seeds (0, 1, ...), or which. Each draws its own start.
        start: Parameters that every seed starts from instead, of the structure and shapes that
            the problem draws.
        parameters: Whether to record the flat parameters, needed for distances.
        out: A path ending in `.zarr`, or None to keep the records in memory. If a run with the
            same configuration is there, it goes on where that one stopped, to the same bits.
        fresh: Delete a run that is at `out` and start again.
        progress: Show a bar; None shows it on a terminal, and elsewhere a few lines.

    Returns:
        The trajectory. A divergence is data: its records carry the code NONFINITE, and the
        records after every seed has diverged are absent.

    Raises:
        InputError: If an argument does not fit.
        OtherRunError: If `out` holds a run of another configuration.
        Interrupted: On Ctrl-C; what was recorded is safe.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> path = tw.run(bowl, tw.gradient_descent(0.1), until=1.0, records=1, probes="sharpness")
        >>> bool(np.isclose(path.dataset["loss"].values[0, -1], 0.5 * 0.9**20))
        True
        >>> round(float(path.dataset["sharpness"][0, -1]), 6)
        1.0
    """
    if isinstance(dynamics, optax.GradientTransformation):
        dynamics = optax_dynamics(dynamics)
    schedule, asked = schedule_of(probes)
    marks = marks_of(dynamics, until, records, times)
    labels = seed_labels(seeds)
    require_paths_apart(problem, dynamics, labels)
    keys = jax.vmap(jax.random.key)(jnp.asarray(labels))
    lanes = lanes_for(problem, len(labels))
    place = None if out is None else store_at(out, fresh)
    schedule = [Every(s.probe.along(dynamics), s.period) for s in schedule]
    require_room(
        problem, dynamics, schedule, len(labels), len(marks.times),
        lanes=lanes, kept=len(labels) if out is None else 0, parameters=parameters,
    )  # fmt: skip

    with jax.default_matmul_precision("highest"), short_of_memory(LOWER):
        states = start_states(problem, dynamics, keys, lanes, start_as_drawn(problem, start))
        bad_start = [s for s, r in zip(labels, np.asarray(states.result), strict=True) if r]
        require(
            not bad_start,
            f"the objective is not finite at the start of seed {bad_start}; check the data's "
            "scale and the initialiser",
        )
        measuring = tuple(s.probe for s in schedule)
        memories = start_probes(problem, measuring, states.params, lanes)
        variables = recorded_variables(
            problem, dynamics, schedule, measuring, states, memories, keys, lanes, parameters
        )
        record_of = provenance(
            {
                "problem": problem.describe()
                | {
                    "digest": digest(*arrays_in(problem)),
                    "start": digest(*arrays_in(states.params)),
                },
                "dynamics": dynamics.describe(),
                "probes": asked,
                "seeds": labels,
                "records": digest(marks.times),
                "parameters recorded": parameters,
                "precision": str(jax.tree.leaves(states.params)[0].dtype),
            }
        )
        coords: dict[str, Any] = {
            "seed": np.asarray(labels),
            "time": ("time", marks.times, {"long_name": "training time", "units": "step size"}),
        }
        coords |= clocks_of(problem, dynamics, marks)
        coords |= {s.dim: np.asarray(s.labels) for s in dynamics.recorded(problem) if s.labels}
        attrs = {
            "dynamics": dynamics.name,
            "doubts": list(dynamics.doubts(problem)),
            "provenance": json.dumps(record_of, default=str),
        }
        if isinstance(dynamics, Discrete) and parameters:  # what a comparison will judge by
            drawn = tree.lane(states.params, 0)
            attrs["stability"] = json.dumps(stated_rule(dynamics, problem, drawn).plain())
            attrs["limit"] = json.dumps(dynamics.told_limit(problem, drawn))
        at = Progress(states, memories, 0, ())
        blank = blank_record(variables, len(labels))
        with place.locked() if place else nullcontext():
            store, done = opened_store(place, fresh, variables, coords, attrs)
            loop = Loop(problem, dynamics, schedule, marks, keys, lanes, blank, store, at)
            if done and isinstance(store, ZarrStore):
                loop.resume(store)
            with watched(dynamics.name, progress) as meter:
                loop.go(meter)
            return Trajectory(store.dataset())


def store_at(out: str | Path, fresh: bool, axes: tuple[str, str] = AXES) -> ZarrStore:
    """The store at a path that is free for one, or holds one already."""
    path = Path(out)
    require(path.suffix == ".zarr", f"out came as {path}; give a path that ends in .zarr")
    store = ZarrStore(path, axes)
    with writing(path):
        require(
            (store.exists() and not fresh) or not store.foreign(),
            f"{path} (or {store.resume.name} beside it) exists and is not a store of ours; "
            "give another path",
        )
    return store


def opened_store(
    store: ZarrStore | None,
    fresh: bool,
    variables: list[Variable],
    coords: dict[str, Any],
    attrs: dict[str, Any],
    axes: tuple[str, str] = AXES,
) -> tuple[Store, bool]:
    """A store, and whether it already holds (a part of) this very run."""
    if store is None:
        return MemoryStore(variables, coords, attrs, axes), False
    path = store.path
    with writing(path):
        if fresh or not store.exists():
            store.create(variables, coords, attrs)
            return store, False
        try:
            stored = json.loads(store.dataset().attrs["provenance"])
            old, fingerprint = stored["configuration"], stored["fingerprint"]
        except (KeyError, TypeError, json.JSONDecodeError):
            raise StoreError(
                f"{path} has lost its provenance; give another path, or ask for a fresh run "
                "(fresh=True)"
            ) from None
        asked = json.loads(attrs["provenance"])
        if fingerprint != asked["fingerprint"]:
            changes = "; ".join(changes_between(old, asked["configuration"]))
            raise OtherRunError(
                f"{path} holds another run ({changes}); "
                "give another path, or ask for a fresh run (fresh=True) to replace it"
            )
        store.check([v.name for v in variables])
    return store, True


__all__ = ["InputError", "Interrupted", "run"]
