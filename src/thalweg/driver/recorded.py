"""Follow a dynamics on a problem and measure along the way, on disk or in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from thalweg import probes as probe_shelf
from thalweg.core import tree
from thalweg.core.arguments import misfit, several, told
from thalweg.core.digest import identity
from thalweg.core.errors import InputError, require
from thalweg.core.memory import require_memory, short_of_memory
from thalweg.core.result import Result
from thalweg.core.tree import Params
from thalweg.driver.chunks import (
    Interrupted,
    Loop,
    Marks,
    Progress,
    readings_at,
    start_probes,
    start_states,
    told_by,
    variable_names,
)
from thalweg.driver.footprint import LOWER, require_room
from thalweg.driver.progress import watched
from thalweg.dynamics import optax_dynamics
from thalweg.dynamics.dynamics import Continuous, Discrete, Dynamics, State
from thalweg.probes.probe import Every, ProbeLike, as_probe
from thalweg.problems.problem import Problem
from thalweg.storage.files import StoreError, writing
from thalweg.trajectory.provenance import digest, provenance
from thalweg.trajectory.store import (
    FILL,
    MemoryStore,
    OtherRunError,
    Store,
    Variable,
    ZarrStore,
)
from thalweg.trajectory.trajectory import Trajectory

# Above this many parameters times examples one seed keeps the machine busy by itself.
BUSY = 200_000
# What the digests of a configuration stand for.
DIGESTS = {"digest": "data", "start": "initial parameters", "records": "times of the records"}


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
        progress: Show a bar; None shows it on a terminal only.

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
    schedule = [p if isinstance(p, Every) else Every(as_probe(p), 1) for p in several(probes)]
    if not any(s.probe.name == "loss" for s in schedule):
        schedule.insert(0, Every(probe_shelf.loss(), 1))
    names = [s.probe.name for s in schedule]
    require(len(set(names)) == len(names), f"two probes have one name: {', '.join(names)}")
    marks = _marks(dynamics, until, records, times)
    labels = _labels(seeds)
    keys = jax.vmap(jax.random.key)(jnp.asarray(labels))
    lanes = _lanes(problem, len(labels))
    place = None if out is None else _place(out, fresh)
    asked = [f"{s.probe!r} every {s.period}, digest {identity(s.probe)}" for s in schedule]
    schedule = [Every(s.probe.along(dynamics), s.period) for s in schedule]
    require_room(
        problem, dynamics, schedule, len(labels), len(marks.times),
        lanes=lanes, kept=out is None, parameters=parameters,
    )  # fmt: skip

    with jax.default_matmul_precision("highest"), short_of_memory(LOWER):
        states = start_states(problem, dynamics, keys, lanes, _given(problem, start))
        bad_start = [s for s, r in zip(labels, np.asarray(states.result), strict=True) if r]
        require(
            not bad_start,
            f"the objective is not finite at the start of seed {bad_start}; check the data's "
            "scale and the initialiser",
        )
        memories = start_probes(problem, tuple(s.probe for s in schedule), states.params, lanes)
        variables = _variables(
            problem, dynamics, schedule, states, memories, keys, lanes, parameters
        )
        record_of = provenance(
            {
                "problem": problem.describe()
                | {"digest": digest(*_arrays(problem)), "start": digest(*_arrays(states.params))},
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
        coords |= {s.dim: np.asarray(s.labels) for s in dynamics.recorded(problem) if s.labels}
        attrs = {
            "dynamics": dynamics.name,
            "doubts": list(dynamics.doubts(problem)),
            "provenance": json.dumps(record_of, default=str),
        }
        if isinstance(dynamics, Discrete) and parameters:  # what a comparison will judge by
            rule = dynamics.stability(problem, tree.lane(states.params, 0))
            attrs["stability"] = json.dumps(rule.plain())
        at = Progress(states, memories, 0, ())
        blank = _blank(variables, len(labels))
        with place.locked() if place else nullcontext():
            store, done = _open(place, fresh, variables, coords, attrs)
            loop = Loop(problem, dynamics, schedule, marks, keys, lanes, blank, store, at)
            if done and isinstance(store, ZarrStore):
                loop.resume(store)
            with watched(dynamics.name, progress) as meter:
                loop.go(meter)
            return Trajectory(store.dataset())


def _given(problem: Problem, start: Params | None) -> Params | None:
    """A start as arrays, of the shapes that the problem draws."""
    if start is None:
        return None
    drawn = jax.eval_shape(problem.init, jax.random.key(0))
    shapes = [
        (str(jax.tree.structure(t)), [np.shape(a) for a in jax.tree.leaves(t)])
        for t in (start, drawn)
    ]
    require(
        shapes[0] == shapes[1],
        f"start came as {shapes[0][0]} of shapes {shapes[0][1]}; the problem draws "
        f"{shapes[1][0]} of shapes {shapes[1][1]}: give parameters as problem.init does",
    )
    return jax.tree.map(lambda a, like: jnp.asarray(a, like.dtype), start, drawn)


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
        require_memory(64.0 * records, f"the list of {records} records", "give fewer")
        times = np.linspace(0.0, until, records + 1)
    require(
        not misfit(times, np.typing.ArrayLike),
        f"times came as {told(times)}; give a list of numbers, as [0.0, 1.0]",
    )
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
    if not misfit(seeds, int):
        count = int(seeds)  # type: ignore[arg-type]
        require_memory(64.0 * count, f"the list of {count} seeds", "give fewer")
        labels = list(range(count))
    else:
        several_given = list(seeds)  # type: ignore[arg-type]
        whole = not any(misfit(seed, int) for seed in several_given)
        labels = [int(seed) for seed in several_given] if whole else []
    require(
        len(labels) > 0 and len(set(labels)) == len(labels) and min(labels) >= 0,
        f"seeds came as {told(seeds)}; give how many (at least 1), or different numbers from 0 on",
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


def _variables(
    problem: Problem,
    dynamics: Dynamics,
    schedule: Sequence[Every],
    states: State,
    memories: Any,
    keys: Array,
    lanes: str,
    parameters: bool,
) -> list[Variable]:
    # Shapes are read off the programs of the first record, so that these are traced once.
    whole = np.dtype(np.int64)
    variables = [
        Variable("step", (), (), whole, {"units": "1", "long_name": "steps taken"}),
        Variable("evaluations", (), (), whole, {"units": "1", "long_name": "gradient evaluations"}),
        Variable("result", (), (), np.dtype(np.int8), {"long_name": "result code of the run"}),
    ]
    if isinstance(dynamics, Continuous):
        meta = {"units": "parameter", "long_name": "estimated global error of the path"}
        variables.append(Variable("path_error", (), (), np.dtype(np.float64), meta))
    told = eqx.filter_eval_shape(told_by, problem, dynamics, states, lanes)
    for s in dynamics.recorded(problem):
        dims, shape = ((s.dim,) if s.dim else ()), told[s.name].shape[1:]
        meta = {"units": s.unit, "long_name": s.about}
        variables.append(Variable(s.name, dims, shape, np.dtype(told[s.name].dtype), meta))
    first = tree.lane(states.params, 0)
    if parameters:
        kind = np.dtype(jax.eval_shape(tree.flatten, first).dtype)
        meta = {"units": "parameter", "long_name": "flat parameters"}
        variables.append(Variable("parameters", ("parameter",), (tree.size(first),), kind, meta))
    probes = tuple(scheduled.probe for scheduled in schedule)
    readings, _ = eqx.filter_eval_shape(
        readings_at, problem, probes, states, memories, np.asarray(0), keys, lanes
    )
    for probe, reading in zip(probes, readings, strict=True):
        value, error, code = variable_names(probe)
        meta = {"units": probe.unit, "long_name": value.replace("_", " ")}
        kind = np.dtype(reading.value.dtype)
        shape = reading.value.shape[1:]
        variables += [
            Variable(value, probe.dims, shape, kind, meta),
            Variable(error, probe.dims, shape, kind, meta | {"long_name": f"error of {value}"}),
            Variable(code, (), (), np.dtype(np.int8), {"long_name": f"result code of {value}"}),
        ]
    # bfloat16 and its like are recorded as float32, which holds them exactly.
    return [
        v if v.dtype.isbuiltin == 1 else v._replace(dtype=np.dtype(np.float32)) for v in variables
    ]


def _blank(variables: list[Variable], seeds: int) -> dict[str, np.ndarray]:
    """A record at which nothing was measured."""
    return {
        v.name: np.full(
            (seeds, *v.shape),
            int(Result.NOT_MEASURED) if v.name.endswith("_result") else FILL[v.dtype.kind],
            v.dtype,
        )
        for v in variables
    }


def _place(out: str | Path, fresh: bool) -> ZarrStore:
    """The store at a path that is free for one, or holds one already."""
    path = Path(out)
    require(path.suffix == ".zarr", f"out came as {path}; give a path that ends in .zarr")
    store = ZarrStore(path)
    with writing(path):
        require(
            (store.exists() and not fresh) or not store.foreign(),
            f"{path} (or {store.resume.name} beside it) exists and is not a store of ours; "
            "give another path",
        )
    return store


def _open(
    store: ZarrStore | None,
    fresh: bool,
    variables: list[Variable],
    coords: dict[str, Any],
    attrs: dict[str, Any],
) -> tuple[Store, bool]:
    """A store, and whether it already holds (a part of) this very run."""
    if store is None:
        return MemoryStore(variables, coords, attrs), False
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
                f"{path} has lost its provenance; give another path, or ask for a fresh run"
            ) from None
        asked = json.loads(attrs["provenance"])
        if fingerprint != asked["fingerprint"]:
            raise OtherRunError(
                f"{path} holds another run ({'; '.join(_changes(old, asked['configuration']))}); "
                "give another path, or ask for a fresh run to replace it"
            )
        store.check([v.name for v in variables])
    return store, True


def _changes(old: Any, new: Any, name: str = "") -> list[str]:
    """What differs between two configurations, as "step_size 0.1, now 0.2"."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**new, **old} if old.get(key) != new.get(key)]
        return [text for key in keys for text in _changes(old.get(key), new.get(key), key)]
    told = [str(value) for value in (old, new)]
    if name in DIGESTS or max(map(len, told)) > 200:
        return [f"other {DIGESTS.get(name, name)}"]
    return [f"{name} {told[0]}, now {told[1]}"]


def _arrays(module: Any) -> list[np.ndarray]:
    def plain(leaf: Any) -> np.ndarray:
        key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if key else leaf)

    return [plain(leaf) for leaf in jax.tree.leaves(eqx.filter(module, eqx.is_array))]


__all__ = ["InputError", "Interrupted", "run"]
