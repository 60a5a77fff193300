"""What a run records and where it begins: lanes, marks, variables, the row of a blank record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg import probes as probe_shelf
from thalweg.core import tree
from thalweg.core.arguments import misfit, several, told
from thalweg.core.digest import identity
from thalweg.core.errors import require
from thalweg.core.memory import require_memory
from thalweg.core.result import Result
from thalweg.core.tracebacks import told_function
from thalweg.core.tree import Params
from thalweg.driver.chunks import Marks
from thalweg.driver.lanes import Each, of_any_lane, readings_of, together, told_by, variable_names
from thalweg.dynamics.dynamics import Continuous, Discrete, Dynamics, State
from thalweg.models import Network
from thalweg.probes.probe import Every, Probe, ProbeLike, as_probe
from thalweg.problems.problem import Problem
from thalweg.trajectory.store import FILL, Variable, is_native

# From this many parameters times examples on lanes go one after the other on CPUs: side by side
# each waits for the slowest eigenvalue, and products of stacked matrices are slower.
BUSY = 2_000

LABELS = ("seed", "time", "lane", "record")  # of records, in runs and sweeps
_WORD = re.compile(r"\w+([ .+-]+\w+)*")


def schedule_of(probes: ProbeLike | Iterable[ProbeLike | Every]) -> tuple[list[Every], list[str]]:
    """What is measured and how often, the loss always; and each in words for the record of a run.

    Raises:
        InputError: If two probes have one name.
    """
    schedule = [p if isinstance(p, Every) else Every(as_probe(p), 1) for p in several(probes)]
    if not any(s.probe.name == "loss" for s in schedule):
        schedule.insert(0, Every(probe_shelf.loss(), 1))
    names = [s.probe.name for s in schedule]
    for name, dims in ((s.probe.name, s.probe.dims) for s in schedule):
        require(
            isinstance(name, str) and _WORD.fullmatch(name) is not None,
            f"the name of a probe came as {told(name)}; give a word, as largest_entry",
        )
        words = isinstance(dims, tuple) and all(isinstance(dim, str) for dim in dims)
        require(
            words and len(set(dims)) == len(dims) and all(map(_WORD.fullmatch, dims)),
            f"the dims of the probe {name} came as {told(dims)}; give a tuple of different words, "
            'as ("layer",), or () for one number',
        )
    require(len(set(names)) == len(names), f"two probes have one name: {', '.join(names)}")
    asked = [f"{s.probe!r} every {s.period}, digest {identity(s.probe)}" for s in schedule]
    return schedule, asked


def start_as_drawn(problem: Problem, start: Params | None) -> Params | None:
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


def marks_of(
    dynamics: Dynamics,
    until: float | None,
    records: int,
    times: Sequence[float] | np.ndarray | None,
) -> Marks:
    """The records of a run, from the times that were asked for."""
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
    counts = [dynamics.steps_until(float(t)) for t in times]
    for count in counts:
        require(
            not misfit(count, int),
            f"{told_function(dynamics.steps_until)} gave {told(count)}; let it return a whole "
            "number of steps",
        )
    steps = np.unique(counts)
    require(
        int(steps[-1]) >= 1 or times[-1] == 0,
        f"training time {times[-1]:g} is shorter than one step; ask for a longer run",
    )
    return Marks(clocked(dynamics, steps), steps)


def clocked(dynamics: Discrete, steps: np.ndarray) -> np.ndarray:
    """The training times of counts of steps.

    Raises:
        InputError: If the dynamics' clock gives anything but numbers that do not fall, one each.
    """
    times = dynamics.clock(steps)
    whole = not misfit(times, np.typing.ArrayLike) and np.shape(times) == steps.shape
    require(
        whole and bool(np.all(np.isfinite(times)) and np.all(np.diff(times) >= 0)),
        f"{told_function(dynamics.clock)} gave {told(times)} for {told(steps)}"
        + (" with entries that fall or are not finite" if whole else "")
        + "; let it return training times that do not fall, one for each count of steps",
    )
    return np.asarray(times, np.float64)


def clocks_of(
    problem: Problem, dynamics: Dynamics, marks: Marks, dims: str | tuple[str, str] = "time"
) -> dict[str, Any]:
    """The further clocks of a dynamics as coordinates of the records."""
    if not isinstance(dynamics, Discrete) or marks.steps is None:
        return {}
    return {
        name: (dims, clock.of(marks.steps), {"long_name": clock.about, "units": clock.unit})
        for name, clock in dynamics.clocks(problem).items()
    }


def seed_labels(seeds: int | Sequence[int]) -> list[int]:
    """The seeds by number, from how many or which."""
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


def require_paths_apart(problem: Problem, dynamics: Dynamics, labels: list[int]) -> None:
    """Refuse seeds that would all be one path, of a network that brings its weights.

    Raises:
        InputError: If there is more than one, and the dynamics draws nothing either.
    """
    model = getattr(problem, "model", None)
    fixed = isinstance(model, Network) and model.init_function is None
    require(
        len(labels) == 1 or not fixed or getattr(dynamics, "random", False),
        f"seeds came as {len(labels)}, and {model!r} begins each of them at its own weights, from "
        "which the same path is taken each time; give seeds=1, or a network that draws its weights",
    )


def lanes_for(problem: Problem, count: int) -> str:
    """How so many lanes share the machine: see `over_lanes`."""
    if count == 1:
        return "single"
    busy = work_of(problem) > BUSY
    return "map" if busy and jax.default_backend() == "cpu" else "vmap"


def work_of(problem: Problem) -> int:
    """Parameters times examples, which a gradient takes time in proportion to."""
    params = jax.eval_shape(problem.init, jax.random.key(0))
    examples = getattr(problem, "inputs", np.zeros(1)).shape[0]
    return tree.size(params) * int(examples)


def recorded_variables(
    problem: Problem,
    dynamics: Dynamics | Each,
    schedule: Sequence[Every],
    probes: Sequence[Probe | Each],
    states: State,
    memories: Any,
    keys: Array,
    lanes: str,
    parameters: bool,
    going: np.ndarray | None = None,
) -> list[Variable]:
    """What is recorded of every lane: its name, shape, type, unit and meaning."""
    # Shapes are read off the programs of the first record, so that these are traced once.
    process: Dynamics = of_any_lane(dynamics)
    whole = np.dtype(np.int64)
    variables = [
        Variable("step", (), (), whole, {"units": "1", "long_name": "steps taken"}),
        Variable("evaluations", (), (), whole, {"units": "1", "long_name": "gradient evaluations"}),
        Variable("result", (), (), np.dtype(np.int8), {"long_name": "result code of the run"}),
    ]
    if isinstance(process, Continuous):
        meta = {"units": "parameter", "long_name": "estimated global error of the path"}
        variables.append(Variable("path_error", (), (), np.dtype(np.float64), meta))
    told = eqx.filter_eval_shape(told_by, problem, dynamics, states, lanes)
    for s in process.recorded(problem):
        dims, shape = ((s.dim,) if s.dim else ()), told[s.name].shape[1:]
        meta = {"units": s.unit, "long_name": s.about}
        variables.append(Variable(s.name, dims, shape, np.dtype(told[s.name].dtype), meta))
    first = tree.lane(states.params, 0)
    if parameters:
        kind = np.dtype(jax.eval_shape(tree.flatten, first).dtype)
        meta = {"units": "parameter", "long_name": "flat parameters"}
        variables.append(Variable("parameters", ("parameter",), (tree.size(first),), kind, meta))
    found: dict[int, Any] = {}
    for group in together(schedule):
        readings, _ = readings_of(
            group, problem, probes, states, memories, np.asarray(0), keys, lanes, going, shapes=True
        )
        found |= dict(zip(group.places, readings, strict=True))
    for i, probe in enumerate(map(of_any_lane, probes)):
        reading = found[i]
        value, error, code = variable_names(probe)
        meta = {"units": probe.unit, "long_name": value.replace("_", " ")}
        kind, kind_of_error = (np.dtype(part.dtype) for part in reading[:2])
        shape = reading.value.shape[1:]
        of_error = meta | {"long_name": f"error of {value}"}
        variables += [
            Variable(value, probe.dims, shape, kind, meta),
            Variable(error, probe.dims, shape, kind_of_error, of_error),
            Variable(code, (), (), np.dtype(np.int8), {"long_name": f"result code of {value}"}),
        ]
    clocks = process.clocks(problem) if isinstance(process, Discrete) else {}
    _require_apart(variables, {*LABELS, *clocks})
    # bfloat16 and its like are recorded as float32, which holds them exactly.
    return [
        v._replace(dtype=np.dtype(v.dtype.type if is_native(v.dtype) else np.float32))
        for v in variables
    ]


def _require_apart(variables: Sequence[Variable], labels: set[str]) -> None:
    """Refuse two recorded quantities, or a quantity and a dimension, under one name.

    Raises:
        InputError: Also if a dimension has two lengths.
    """
    lengths: dict[str, tuple[int, str]] = {}
    for v in variables:
        for dim, length in zip(v.dims, v.shape, strict=True):
            known, whose = lengths.setdefault(dim, (length, v.name))
            require(
                known == length and dim not in labels,
                f"{v.name} has the dimension {dim!r} of length {length}, which stands for "
                + ("the records of a run" if dim in labels else f"{known} in {whose}")
                + "; name it otherwise in the probe's dims",
            )
    names = [v.name for v in variables]
    for name in names:
        require(
            names.count(name) == 1 and name not in labels and name not in lengths,
            f"{name!r} would name two things in the record of this run; call the probe otherwise",
        )


def blank_record(variables: list[Variable], lanes: int) -> dict[str, np.ndarray]:
    """A record at which nothing was measured."""
    return {
        v.name: np.full(
            (lanes, *v.shape),
            int(Result.NOT_MEASURED) if v.name.endswith("_result") else FILL[v.dtype.kind],
            v.dtype,
        )
        for v in variables
    }


def arrays_in(module: Any) -> list[np.ndarray]:
    """All arrays of a module or tree, random keys by their data."""

    def plain(leaf: Any) -> np.ndarray:
        key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if key else leaf)

    return [plain(leaf) for leaf in jax.tree.leaves(eqx.filter(module, eqx.is_array))]
