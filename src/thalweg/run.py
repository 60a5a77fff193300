"""The only loop: advance to a mark, measure, record, commit.

A Python loop over compiled chunks. Between chunks, and only there: probes, the store, progress,
checks for divergence, Ctrl-C. Randomness comes from keys that are functions of (seed, step) and
(seed, record), so a resumed run gives the same bits as one never interrupted.
"""

from __future__ import annotations

import json
import time as clock
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thalweg import probes as probe_shelf
from thalweg.core import tree
from thalweg.core.errors import InputError, require
from thalweg.core.result import Reading, Result, tree_finite
from thalweg.dynamics.dynamics import Continuous, Discrete, Dynamics, State
from thalweg.probes.probe import Every, Moment, Probe
from thalweg.problems.problem import Problem
from thalweg.progress import watched
from thalweg.trajectory.provenance import digest, provenance
from thalweg.trajectory.store import MemoryStore, OtherRun, Store, StoreError, Variable, ZarrStore
from thalweg.trajectory.trajectory import Trajectory

CHUNK_SECONDS = 0.5  # how long the loop may be deaf to Ctrl-C
COMMIT_SECONDS = 2.0  # how much work a kill may cost
SOLVER_STEPS = 200  # solver steps per call of a continuous dynamics
# Above this many parameters times examples one seed keeps the machine busy by itself.
BUSY = 200_000


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a sentence on how to go on."""


class Marks(NamedTuple):
    """When to record: training times, and the step counts behind them for discrete dynamics."""

    times: np.ndarray
    steps: np.ndarray | None


def run(
    problem: Problem,
    dynamics: Dynamics,
    until: float | None = None,
    *,
    records: int = 100,
    times: Sequence[float] | np.ndarray | None = None,
    probes: Iterable[Probe | Every] = (),
    seeds: int | Sequence[int] = 1,
    parameters: bool = True,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: bool | None = None,
) -> Trajectory:
    """Follow a dynamics on a problem and measure along the way.

    Args:
        problem: What is trained.
        dynamics: What moves the parameters.
        until: Training time of the last record (training time = sum of step sizes).
        records: How many records after the one at time zero, evenly spaced.
        times: Instead of `until` and `records`, the training times to record at. Discrete
            dynamics record at the nearest step.
        probes: What to measure at each record; the loss is always measured.
        seeds: How many seeds (0, 1, ...), or which. Each draws its own start.
        parameters: Whether to record the flat parameters, needed for distances.
        out: A path ending in `.zarr`, or None to keep the records in memory. If a run with the
            same configuration is there, it goes on where that one stopped, to the same bits.
        fresh: Delete a run that is at `out` and start again.
        progress: Show a bar; None shows it on a terminal only.

    Returns:
        The trajectory. A divergence is data: its records carry the code NONFINITE, and the
        records after every seed has diverged are absent.

    Raises:
        InputError: If an argument does not fit.
        OtherRun: If `out` holds a run of another configuration.
        Interrupted: On Ctrl-C; what was recorded is safe.
    """
    schedule = [p if isinstance(p, Every) else Every(p, 1) for p in probes]
    if not any(s.probe.name == "loss" for s in schedule):
        schedule.insert(0, Every(probe_shelf.loss(), 1))
    names = [s.probe.name for s in schedule]
    require(len(set(names)) == len(names), f"two probes have one name: {', '.join(names)}")
    marks = _marks(dynamics, until, records, times)
    labels = _labels(seeds)
    keys = jax.vmap(jax.random.key)(jnp.asarray(labels))
    lanes = _lanes(problem, len(labels))

    with jax.default_matmul_precision("highest"):
        states = _start(problem, dynamics, keys, lanes)
        bad_start = [s for s, r in zip(labels, np.asarray(states.result), strict=True) if r]
        require(
            not bad_start,
            f"the objective is not finite at the start of seed {bad_start}; check the data's "
            "scale and the initialiser",
        )
        memories = _start_probes(problem, tuple(s.probe for s in schedule), states.params, lanes)
        variables = _variables(problem, dynamics, schedule, states, memories, parameters)
        record_of = provenance(
            {
                "problem": problem.describe()
                | {"digest": digest(*_arrays(problem)), "start": digest(*_arrays(states.params))},
                "dynamics": dynamics.describe(),
                "probes": [f"{s.probe!r} every {s.period}" for s in schedule],
                "seeds": labels,
                "records": digest(marks.times),
                "parameters recorded": parameters,
                "precision": str(jax.tree.leaves(states.params)[0].dtype),
            }
        )
        coords = {
            "seed": np.asarray(labels),
            "time": ("time", marks.times, {"long_name": "training time", "units": "step size"}),
        }
        attrs = {"dynamics": dynamics.name, "provenance": json.dumps(record_of, default=str)}
        store, done = _open(out, fresh, variables, coords, attrs, record_of["fingerprint"])
        loop = _Loop(problem, dynamics, schedule, marks, keys, lanes, parameters, store)
        loop.resume(states, memories, done)
        with watched(dynamics.name, progress) as meter:
            loop.go(meter.update)
    return Trajectory(store.dataset())


class _Loop:
    """One run in progress."""

    def __init__(
        self,
        problem: Problem,
        dynamics: Dynamics,
        schedule: Sequence[Every],
        marks: Marks,
        keys: Array,
        lanes: str,
        parameters: bool,
        store: Store,
    ) -> None:
        self.problem, self.dynamics, self.schedule = problem, dynamics, schedule
        self.marks, self.keys, self.lanes = marks, keys, lanes
        self.parameters, self.store = parameters, store
        self.pending: list[dict[str, np.ndarray]] = []
        self.seconds, self.pace = 0.0, 16

    def resume(self, states: State, memories: Any, done: bool) -> None:
        """Start at record 0, or where the store's checkpoint stands."""
        self.states, self.memories, self.next, self.over = states, memories, 0, False
        if not done:
            return
        assert isinstance(self.store, ZarrStore)
        mark, leaves = self.store.committed(), self.store.state()
        if leaves is None:
            return
        like, structure = jax.tree.flatten((states, memories))
        if len(like) != len(leaves):
            raise StoreError(f"the checkpoint of {self.store.path} is of another shape of run")
        leaves = [jnp.asarray(b, a.dtype) for a, b in zip(like, leaves, strict=True)]
        self.states, self.memories = jax.tree.unflatten(structure, leaves)
        self.next = mark["records"]
        self.seconds = mark["note"]["seconds"]
        self.over = mark["note"]["finished"]

    def go(self, report: Callable[[float, str], None]) -> None:
        """Record every mark that is left."""
        count, last = len(self.marks.times), max(float(self.marks.times[-1]), 1e-300)
        begun = flushed = clock.perf_counter()
        spent = self.seconds
        try:
            while self.next < count and not self.over:
                states = self.advance(
                    lambda t: report(t / last, f"training time {t:.4g} of {last:.4g}")
                )
                self.record(states)
                report(
                    float(self.marks.times[self.next - 1]) / last,
                    f"record {self.next} of {count}",
                )
                now = clock.perf_counter()
                self.seconds = spent + now - begun
                self.over = self.next == count or bool(
                    (np.asarray(states.result) >= Result.NONFINITE).all()
                )
                if self.over or now - flushed > COMMIT_SECONDS:
                    self.flush()
                    flushed = clock.perf_counter()
        except KeyboardInterrupt:
            self.flush()
            where = f"training time {self.marks.times[max(self.next - 1, 0)]:g}"
            safe = isinstance(self.store, ZarrStore)
            raise Interrupted(
                f"stopped at {where}; "
                + ("give the same command to go on" if safe else "nothing was stored")
            ) from None

    def advance(self, report: Callable[[float], None]) -> State:
        """From the last record to the next mark, in chunks that let Ctrl-C in."""
        states, goal = self.states, self.next
        if isinstance(self.dynamics, Discrete):
            assert self.marks.steps is not None
            target = int(self.marks.steps[goal])
            here = int(states.step[0])
            while here < target:
                chunk = min(self.pace, target - here)
                begun = clock.perf_counter()
                states = _steps(self.problem, self.dynamics, states, self.keys, jnp.asarray(chunk), self.lanes)
                jax.block_until_ready(states)
                per_step = (clock.perf_counter() - begun) / chunk
                self.pace = int(np.clip(CHUNK_SECONDS / per_step, 1, 4 * self.pace))
                here += chunk
                report(float(states.time[0]))
        else:
            assert isinstance(self.dynamics, Continuous)
            until = jnp.asarray(self.marks.times[goal])
            while not bool(np.all(_arrived(states, until))):
                states = _follow(self.problem, self.dynamics, states, until, self.lanes)
                report(float(jnp.min(states.time)))
        return states

    def record(self, states: State) -> None:
        """Measure what is due at this mark and keep it for the next flush."""
        due = [i for i, s in enumerate(self.schedule) if self.next % s.period == 0]
        active = tuple(self.schedule[i].probe for i in due)
        readings, renewed = _measure(
            self.problem,
            active,
            states.params,
            tuple(self.memories[i] for i in due),
            jnp.asarray(self.next),
            self.keys,
            self.lanes,
        )
        row = {"step": states.step, "evaluations": states.evaluations, "result": states.result}
        if isinstance(self.dynamics, Continuous):
            row["path_error"] = _path_errors(self.dynamics, states, self.lanes)
        if self.parameters:
            row["parameters"] = _flat(states.params)
        for probe, reading in zip(active, readings, strict=True):
            row |= dict(zip(_names(probe), reading, strict=True))
        for i, scheduled in enumerate(self.schedule):
            if i not in due:
                missing = np.full(states.step.shape, int(Result.NOT_MEASURED))
                row[_names(scheduled.probe)[2]] = missing
        self.pending.append({name: np.asarray(value) for name, value in row.items()})
        memories = list(self.memories)
        for i, memory in zip(due, renewed, strict=True):
            memories[i] = memory
        self.states, self.memories = states, tuple(memories)
        self.next += 1

    def flush(self) -> None:
        """Write what is pending, then commit it with the state behind it."""
        if not self.pending:
            return
        first = self.next - len(self.pending)
        if any(set(row) != set(self.pending[0]) for row in self.pending):
            # Probes on a slower schedule leave gaps: write row by row.
            for i, row in enumerate(self.pending):
                self.store.write(first + i, {k: v[:, None] for k, v in row.items()})
        else:
            stacked = {
                k: np.stack([row[k] for row in self.pending], axis=1) for k in self.pending[0]
            }
            self.store.write(first, stacked)
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves((self.states, self.memories))]
        note = {"seconds": self.seconds, "finished": self.over}
        self.store.commit(self.next, leaves, note)
        self.pending = []


def _over_seeds(function: Callable[..., Any], lanes: str, *arguments: Any) -> Any:
    """Apply a function of one seed to arguments with a leading seed axis."""
    if lanes == "vmap":
        return jax.vmap(function)(*arguments)
    if lanes == "map":
        return jax.lax.map(lambda packed: function(*packed), arguments)
    result = function(*(tree.lane(a, 0) for a in arguments))
    return jax.tree.map(lambda leaf: leaf[None], result)


@eqx.filter_jit
def _start(problem: Problem, dynamics: Dynamics, keys: Array, lanes: str) -> State:
    def one(key: Array) -> State:
        params = problem.init(jax.random.fold_in(key, 0))
        state = dynamics.init(problem, params)
        bad = jnp.maximum(tree_finite(params), tree_finite(problem.objective(params)))
        return state._replace(result=jnp.maximum(state.result, bad))

    return _over_seeds(one, lanes, keys)


@eqx.filter_jit
def _start_probes(problem: Problem, probes: tuple[Probe, ...], params: Any, lanes: str) -> Any:
    return _over_seeds(lambda p: tuple(probe.start(problem, p) for probe in probes), lanes, params)


@eqx.filter_jit
def _steps(
    problem: Problem, dynamics: Discrete, states: State, keys: Array, count: Array, lanes: str
) -> State:
    def one(state: State, key: Array) -> State:
        key = jax.random.fold_in(key, 1)

        def body(_: Array, state: State) -> State:
            return dynamics.step(problem, state, jax.random.fold_in(key, state.step))[0]

        return jax.lax.fori_loop(0, count, body, state)

    return _over_seeds(one, lanes, states, keys)


@eqx.filter_jit
def _follow(
    problem: Problem, dynamics: Continuous, states: State, until: Array, lanes: str
) -> State:
    def one(state: State) -> State:
        return dynamics.advance(problem, state, until, jnp.asarray(SOLVER_STEPS))

    return _over_seeds(one, lanes, states)


def _arrived(states: State, until: Array) -> np.ndarray:
    return np.asarray(states.time >= until) | np.asarray(states.result >= Result.NONFINITE)


@eqx.filter_jit
def _measure(
    problem: Problem,
    probes: tuple[Probe, ...],
    params: Any,
    memories: tuple[Any, ...],
    record: Array,
    keys: Array,
    lanes: str,
) -> tuple[tuple[Reading, ...], tuple[Any, ...]]:
    def one(params: Any, memories: tuple[Any, ...], key: Array) -> Any:
        key = jax.random.fold_in(jax.random.fold_in(key, 2), record)
        pairs = [
            probe.measure(problem, params, memory, Moment(record, jax.random.fold_in(key, i)))
            for i, (probe, memory) in enumerate(zip(probes, memories, strict=True))
        ]
        return tuple(r for r, _ in pairs), tuple(m for _, m in pairs)

    return _over_seeds(one, lanes, params, memories, keys)


@eqx.filter_jit
def _path_errors(dynamics: Continuous, states: State, lanes: str) -> Array:
    return _over_seeds(dynamics.path_error, lanes, states)


@jax.jit
def _flat(params: Any) -> Array:
    return jax.vmap(tree.flatten)(params)


def _marks(
    dynamics: Dynamics,
    until: float | None,
    records: int,
    times: Sequence[float] | np.ndarray | None,
) -> Marks:
    require((until is None) != (times is None), "give either until or times, not both or neither")
    if times is None:
        assert until is not None
        require(
            bool(np.isfinite(until)) and until > 0,
            f"until came as {until}; give a positive training time",
        )
        require(records >= 1, f"records came as {records}; give at least 1")
        times = np.linspace(0.0, until, records + 1)
    times = np.asarray(times, np.float64)
    require(
        times.ndim == 1 and times.size > 0 and bool(np.all(np.isfinite(times))),
        "times must be a list of finite numbers",
    )
    require(
        bool(np.all(np.diff(times) > 0)) and times[0] >= 0,
        "times must increase, starting at zero or later",
    )
    if not isinstance(dynamics, Discrete):
        return Marks(times, None)
    steps = np.unique([dynamics.steps_until(float(t)) for t in times])
    require(
        int(steps[-1]) >= 1 or times[-1] == 0,
        f"training time {times[-1]:g} is shorter than one step; ask for a longer run",
    )
    return Marks(dynamics.clock(steps), steps)


def _labels(seeds: int | Sequence[int]) -> list[int]:
    labels = list(range(seeds)) if isinstance(seeds, int) else [int(s) for s in seeds]
    require(
        len(labels) > 0 and len(set(labels)) == len(labels) and min(labels) >= 0,
        f"seeds came as {seeds}; give how many (at least 1), or different numbers from 0 on",
    )
    return labels


def _lanes(problem: Problem, count: int) -> str:
    """How many seeds share the machine: see `_over_seeds`."""
    if count == 1:
        return "single"
    params = jax.eval_shape(problem.init, jax.random.key(0))
    examples = getattr(problem, "inputs", np.zeros(1)).shape[0]
    busy = tree.size(params) * examples > BUSY
    return "map" if busy and jax.default_backend() == "cpu" else "vmap"


def _names(probe: Probe) -> tuple[str, str, str]:
    return probe.name, f"{probe.name}_error", f"{probe.name}_result"


def _variables(
    problem: Problem,
    dynamics: Dynamics,
    schedule: Sequence[Every],
    states: State,
    memories: Any,
    parameters: bool,
) -> list[Variable]:
    whole = np.dtype(np.int64)
    variables = [
        Variable("step", (), (), whole, {"units": "1", "long_name": "steps taken"}),
        Variable(
            "evaluations", (), (), whole, {"units": "1", "long_name": "gradient evaluations"}
        ),
        Variable("result", (), (), np.dtype(np.int8), {"long_name": "result code of the run"}),
    ]
    if isinstance(dynamics, Continuous):
        meta = {"units": "parameter", "long_name": "estimated global error of the path"}
        variables.append(Variable("path_error", (), (), np.dtype(np.float64), meta))
    first = tree.lane(states.params, 0)
    if parameters:
        kind = np.dtype(jax.eval_shape(tree.flatten, first).dtype)
        meta = {"units": "parameter", "long_name": "flat parameters"}
        variables.append(
            Variable("parameters", ("parameter",), (tree.size(first),), kind, meta)
        )
    moment = Moment(jnp.asarray(0), jax.random.key(0))
    for scheduled, memory in zip(schedule, memories, strict=True):
        probe = scheduled.probe
        reading, _ = eqx.filter_eval_shape(
            probe.measure, problem, first, tree.lane(memory, 0), moment
        )
        value, error, code = _names(probe)
        meta = {"units": probe.unit, "long_name": value.replace("_", " ")}
        kind = np.dtype(reading.value.dtype)
        shape = reading.value.shape
        variables += [
            Variable(value, probe.dims, shape, kind, meta),
            Variable(error, probe.dims, shape, kind, meta | {"long_name": f"error of {value}"}),
            Variable(code, (), (), np.dtype(np.int8), {"long_name": f"result code of {value}"}),
        ]
    return variables


def _open(
    out: str | Path | None,
    fresh: bool,
    variables: list[Variable],
    coords: dict[str, Any],
    attrs: dict[str, Any],
    fingerprint: str,
) -> tuple[Store, bool]:
    """A store, and whether it already holds (a part of) this very run."""
    if out is None:
        return MemoryStore(variables, coords, attrs), False
    path = Path(out)
    require(path.suffix == ".zarr", f"out came as {path}; give a path that ends in .zarr")
    store = ZarrStore(path)
    if fresh or not store.exists():
        require(
            not path.exists() or not any(path.iterdir()) or store.resume.exists(),
            f"{path} exists and is not a store of ours; give another path",
        )
        store.create(variables, coords, attrs)
        return store, False
    try:
        stored = json.loads(store.dataset().attrs["provenance"])
    except (KeyError, ValueError):
        raise StoreError(f"{path} has lost its provenance; delete it to start again") from None
    if stored["fingerprint"] != fingerprint:
        raise OtherRun(
            f"{path} holds a run of another configuration ({_changed(stored, attrs)}); "
            "give another path, or ask for a fresh run to replace it"
        )
    return store, True


def _changed(stored: dict[str, Any], attrs: dict[str, Any]) -> str:
    old, new = stored["configuration"], json.loads(attrs["provenance"])["configuration"]
    names = [name for name in new if json.dumps(new[name], default=str) != json.dumps(old.get(name), default=str)]
    return "different " + ", ".join(names)


def _arrays(module: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(module, eqx.is_array))]


__all__ = ["InputError", "Interrupted", "run"]
