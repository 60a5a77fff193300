"""Many dynamics and seeds at once: one labelled data set, on disk or in memory, on any machine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from thalweg.core.errors import require
from thalweg.core.memory import require_memory
from thalweg.core.result import Result
from thalweg.core.tree import Params, size
from thalweg.driver.block import Horizon
from thalweg.driver.chunks import PROCESS
from thalweg.driver.layout import schedule_of, seed_labels
from thalweg.driver.progress import watched
from thalweg.dynamics.dynamics import Discrete
from thalweg.dynamics.flow.gradient_flow import MOST_GRADIENTS
from thalweg.probes.probe import Every, ProbeLike
from thalweg.problems.problem import Problem
from thalweg.storage.lock import locked
from thalweg.sweeps.folder import LOCK, Folder, in_common
from thalweg.sweeps.members import Members, members_of
from thalweg.sweeps.plan import Lanes, Place, block_of, planned
from thalweg.sweeps.work import Task, working
from thalweg.trajectory import Trajectory
from thalweg.trajectory.provenance import digest, fingerprint
from thalweg.trajectory.store import FILL

if TYPE_CHECKING:
    from thalweg.sweeps.regime_map import RegimeMap

LARGE = "parameters"  # of each lane and record a whole vector: kept in the blocks


@dataclass(frozen=True, eq=False)
class Sweep:
    """Runs of many dynamics from the same starts, each on its own clock.

    Attributes:
        problem: What was trained.
        members: The dynamics, and what differs between them.
        seeds: The seeds.
        blocks: The records as they were made, dims (lane, record), with the flat parameters.
        places: Which block and lane of it a member's seed is, by (member, seed).
        horizon: How long each ran, and when it recorded.
        start: Parameters that all started from, None for the seeds' own.
        folder: Where they are stored, None for memory.
    """

    problem: Problem
    members: Members
    seeds: tuple[int, ...]
    blocks: tuple[xr.Dataset, ...]
    places: dict[tuple[int, int], tuple[int, int]]
    horizon: Horizon
    start: Params | None
    folder: Path | None

    @cached_property
    def dataset(self) -> xr.Dataset:
        """Everything but the flat parameters, in one data set.

        Dims (what differs, seed, record, ...); the first is called as what differs between the
        members, "step_size" for example, or "member" if that is more than one number. `time` is a
        coordinate over members and records. Beside each measured variable `v` stand `v_error` and
        `v_result`. A member with fewer records than others has NaN (-1, NOT_MEASURED) behind its
        own; one that has diverged NaN and the code NONFINITE.
        """
        counts = [self._count(member) for member in range(len(self.members.dynamics))]
        most, dim = max(counts), self.members.dim
        shape = (len(counts), len(self.seeds), most)
        first = self.blocks[0]
        names = [str(name) for name in first.data_vars if name != LARGE]
        data: dict[str, Any] = {}
        for name in names:
            like = first[name]
            blank = Result.NOT_MEASURED if name.endswith("_result") else FILL[like.dtype.kind]
            whole = np.full((*shape, *like.shape[2:]), blank, like.dtype)
            for b, block in enumerate(self.blocks):
                values, codes = block[name].values, block["result"].values
                for (member, seed), (own, lane) in self.places.items():
                    if own != b:
                        continue
                    row = whole[member, self.seeds.index(seed)]
                    count = min(counts[member], values.shape[1])
                    row[:count] = values[lane, :count]
                    if count < counts[member]:  # all lanes of the block had ended
                        late = row[count : counts[member]]
                        late[...] = row[count - 1] if name in PROCESS else late
                        if name.endswith("_result"):
                            late[...] = np.maximum(late, codes[lane, count - 1])
            data[name] = ((dim, "seed", "record", *like.dims[2:]), whole, like.attrs)
        time = np.full((len(counts), most), np.nan)
        for member, count in enumerate(counts):
            time[member, :count] = self.horizon.marks(self.members.dynamics[member]).times
        labels = {str(k): v for k, v in first.coords.items() if "lane" not in v.dims}
        coords = {k: v for k, v in labels.items() if k not in ("record", "time")}
        meta = {"long_name": "training time", "units": "step size"}
        coords |= self.members.coords | {
            "seed": np.asarray(self.seeds),
            "record": np.arange(most),
            "time": ((dim, "record"), time, meta),
        }
        attrs = {"dynamics": first.attrs["dynamics"], "seconds": self.seconds}
        return xr.Dataset(data, coords, attrs)

    @property
    def seconds(self) -> float:
        """What stepping and measuring took, without compiling where programs were kept."""
        return sum(float(block.attrs.get("seconds", 0.0)) for block in self.blocks)

    @property
    def diverged(self) -> np.ndarray:
        """Whether each member left the finite numbers, by seed, shape (members, seeds)."""
        codes = (self.dataset[v].values for v in ("result", "loss_result"))
        return np.logical_or.reduce([(c == Result.NONFINITE).any(axis=-1) for c in codes])

    def member(self, index: int) -> Trajectory:
        """The run of one member, as `run` gives it.

        Args:
            index: Its position; the coordinates of `dataset` say which is where.

        Raises:
            InputError: If there is none.
        """
        count = len(self.members.dynamics)
        require(
            -count <= index < count, f"there are {count} members, none at {index}; count from 0"
        )
        index %= count
        records = self._count(index)
        places = [self.places[index, seed] for seed in self.seeds]
        lanes = [self.blocks[b].isel(lane=lane, record=slice(0, records)) for b, lane in places]
        # A record belongs to a lane that had not ended by the one before.
        going = [int(np.argmax(c) + 1) if (c := _ended(lane)).any() else records for lane in lanes]
        lanes = [lane.isel(record=slice(0, max(going))) for lane in lanes]
        whole = xr.concat(
            [lane.reset_coords(["lane", "seed"], drop=True) for lane in lanes],
            xr.DataArray(list(self.seeds), dims="seed", name="seed"),
            data_vars="all", coords="minimal", compat="override", join="exact",
        )  # fmt: skip
        time = lanes[0]["time"]
        whole = whole.drop_vars(["time", "record"]).rename(record="time")
        whole = whole.assign_coords(time=("time", time.values, time.attrs))
        whole.attrs = self._attributes(index, places[0])
        return Trajectory(whole)

    def regimes(
        self,
        eps: float = 0.05,
        *,
        flow_error: float | None = None,
        flow_solver: str = "auto",
        most_gradients: int = MOST_GRADIENTS,
        progress: bool | None = None,
    ) -> RegimeMap:
        """In which regime each run is, beside gradient flow, and where the regimes meet.

        The regimes are those of `tw.compare`. Gradient flow is followed once for each seed, to the
        times of all members; in a folder it is kept beside the sweep.

        Args:
            eps: Distance, relative to the way the flow travels, that still counts as following it.
            flow_error: Wanted error of the flow's path, relative to the norm of the parameters; by
                default 1e-4, and 1e-3 for nets with kinks.
            flow_solver: A name in `thalweg.dynamics.FLOW_SOLVERS`.
            most_gradients: Gradients of a seed after which the flow ends where it is.
            progress: Show a bar; None shows it on a terminal only.

        Raises:
            InputError: If an argument does not fit, or the parameters were not recorded.
        """
        from thalweg.sweeps.regime_map import map_regimes

        return map_regimes(self, eps, flow_error, flow_solver, most_gradients, progress)

    def _count(self, index: int) -> int:
        return self.horizon.marks(self.members.dynamics[index]).records

    def _attributes(self, index: int, place: tuple[int, int]) -> dict[str, Any]:
        """Those of a run of this member."""
        block, lane = self.blocks[place[0]], place[1]
        own = json.loads(block.attrs["lanes"])[lane]
        record = json.loads(block.attrs["provenance"])
        marks = self.horizon.marks(self.members.dynamics[index])
        record["configuration"] |= {
            "dynamics": own["describe"],
            "seeds": list(self.seeds),
            "records": digest(marks.times),
        }
        record["configuration"]["problem"].pop("start", None)
        record["fingerprint"] = fingerprint(record["configuration"])
        attrs = {
            "dynamics": self.members.dynamics[index].name,
            "doubts": own["doubts"],
            "provenance": json.dumps(record),
            "finished": True,
        }
        if LARGE in block and isinstance(self.members.dynamics[index], Discrete):
            attrs["stability"] = json.dumps(own["stability"])
            attrs["limit"] = json.dumps(own["limit"])
        return attrs

    def __str__(self) -> str:
        """What ran, and what diverged, in a few sentences."""
        lost, count = self.diverged, len(self.members.dynamics)
        spans = [
            f"{name.replace('_', ' ')} {values.min():.4g} to {values.max():.4g}"
            for name, values in self.members.labels.items()
            if len(values) > 1
        ]
        told = f"{count} member{'' if count == 1 else 's'}"
        told += f" ({', '.join(spans)})" if spans else ""
        seeds = f"{len(self.seeds)} seed{'' if len(self.seeds) == 1 else 's'}"
        lines = [
            f"{self.dataset.attrs['dynamics'].capitalize()}: {told}, {seeds}, "
            f"{self.dataset.sizes['record']} records each at most."
        ]
        if lost.any():
            which = [self.members.told(int(i)) for i in np.flatnonzero(lost.any(axis=1))]
            shown = ", ".join(which[:4]) + (f" and {len(which) - 4} more" if which[4:] else "")
            lines.append(f"{int(lost.sum())} of {lost.size} runs diverged: of {shown}.")
        else:
            lines.append("No run diverged.")
        return "\n".join(lines)


def sweep(
    problem: Problem,
    dynamics: Any,
    *,
    seeds: int | Sequence[int] = 1,
    until: float | None = None,
    steps: int | None = None,
    records: int = 40,
    probes: ProbeLike | Iterable[ProbeLike | Every] = ("sharpness",),
    start: Params | None = None,
    parameters: bool = True,
    out: str | Path | None = None,
    fresh: bool = False,
    client: Any = None,
    workers: int | None = None,
    progress: bool | None = None,
    **grid: Any,
) -> Sweep:
    """Follow many dynamics from the same starts at once, and measure along the way.

    Members that differ in numbers alone share one compiled program: a further step size costs its
    steps and nothing else. Small problems take all members side by side, problems that keep the
    processor busy one lane after the other, as `run` does with seeds. What diverges stops by
    itself and holds up no other.

    Args:
        problem: What is trained.
        dynamics: A list of dynamics in steps; or a function that makes one, whose arguments come
            as lists, as `sweep(problem, tw.gradient_descent, step_size=[0.1, 0.2], ...)`.
        seeds: How many seeds (0, 1, ...), or which. All members of a seed start alike.
        until: Training time of the last record, the same for all members;
        steps: or how many steps each of them takes, whatever its training time.
        records: How many records after the one at time zero, evenly spaced; fewer where a member
            takes fewer steps.
        probes: What to measure at each record, as `run` takes it; the loss always.
        start: Parameters that all start from instead.
        parameters: Whether to record the flat parameters, needed for distances.
        out: A folder, or None to keep the records in memory. What is there of the same sweep is
            not run again: a sweep that was killed goes on to the same bits, further members and
            seeds are added.
        fresh: Delete what is in the folder and start again.
        client: A `distributed.Client`: its workers share the blocks of the sweep. One that dies
            is replaced. With `out` they write there themselves, so that they must see the folder.
        workers: Instead of a client, how many processes of this machine (from a script, under
            `if __name__ == "__main__":`).
        progress: Show a bar; None shows it on a terminal only.
        grid: Lists of values for the arguments of a function; several make their product.

    Returns:
        The sweep. Each lane is that of `tw.run` with the member and the seed: bit for bit where
        lanes go one after the other, to rounding where they go side by side (rounding grows along
        paths that are unstable). The bits do not depend on who did the work.

    Raises:
        InputError: If an argument does not fit.
        OtherRunError: If `out` holds another sweep.
        Interrupted: On Ctrl-C; what was recorded is safe.

    Cost: the steps and measurements of all lanes; one compilation for each kind of dynamics. Side
    by side, members of different numbers of steps cost as many as the one of the most.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> found = tw.sweep(bowl, tw.gradient_descent, step_size=[0.5, 1.0], steps=2, records=2)
        >>> found.dataset["loss"].sel(seed=0, step_size=0.5).values.tolist()  # x = 1, 1/2, 1/4
        [0.5, 0.125, 0.03125]
        >>> found.dataset["time"].values.tolist()
        [[0.0, 0.5, 1.0], [0.0, 1.0, 2.0]]
    """
    require((until is None) != (steps is None), "give either until or steps, not both or neither")
    members = members_of(dynamics, grid)
    labels, horizon = tuple(seed_labels(seeds)), Horizon(until, steps, records)
    counts = [horizon.marks(member).records for member in members.dynamics]
    probes = tuple(schedule_of(probes)[0])
    if out is None:
        _require_records(problem, sum(counts) * len(labels), len(probes), parameters)
    wanted = [Place(mark, seed) for mark in members.prints for seed in labels]
    common = in_common(problem, horizon, probes, start, parameters)
    require(out is None or not Path(out).is_file(), f"out came as {out}, a file; give a folder")
    folder = None if out is None else Folder(Path(out), common)
    with (
        nullcontext() if folder is None else locked(folder.path / LOCK, folder.path),
        working(client, workers) as work,
        watched("sweep", progress) as meter,
    ):
        if folder is not None:
            folder.open(fresh)
        held: list[Lanes] = []
        if folder is not None:
            held = [lanes for lanes in folder.blocks if set(lanes) & set(wanted)]
            known = set(members.prints)
            # One that is not finished, of members that nobody asks for now, stays as it is.
            held = [
                lanes for lanes in held
                if {lane.member for lane in lanes} <= known or folder.read(lanes) is not None
            ]  # fmt: skip
        there = {place for lanes in held for place in lanes}
        missing = [place for place in wanted if place not in there]
        added = planned(problem, members, missing, horizon, probes)
        if folder is not None:
            folder.add(added)
        blocks = [*held, *added]
        found = {i: None if folder is None else folder.read(b) for i, b in enumerate(blocks)}
        todo = [i for i, records in found.items() if records is None]
        tasks = [
            Task(
                problem, block_of(blocks[i], members), horizon, probes, start, parameters,
                None if folder is None else folder.place(blocks[i]),
            )
            for i in todo
        ]  # fmt: skip
        for i, made in zip(todo, work(tasks, meter), strict=True):
            found[i] = folder.read(blocks[i]) if made is None and folder is not None else made
    index = {place: (b, lane) for b, lanes in enumerate(blocks) for lane, place in enumerate(lanes)}
    places = {
        (member, seed): index[Place(mark, seed)]
        for member, mark in enumerate(members.prints)
        for seed in labels
    }
    finished = tuple(block for block in found.values() if block is not None)
    return Sweep(
        problem,
        members,
        labels,
        finished,
        places,
        horizon,
        start,
        None if folder is None else folder.path,
    )


def _ended(lane: xr.Dataset) -> np.ndarray:
    """At which records a lane has ended."""
    return lane["result"].values >= int(Result.STEP_LIMIT)


def _require_records(problem: Problem, records: int, probes: int, parameters: bool) -> None:
    """Refuse records that do not fit into memory."""
    import jax

    drawn = jax.eval_shape(problem.init, jax.random.key(0))
    row = 24 * (1 + probes) + (8 * size(drawn) if parameters else 0)
    require_memory(
        float(records) * row,
        f"a sweep of {records:,} records of {size(drawn):,} parameters in memory",
        "give out=, a folder, or lower the members, the seeds or the records",
    )
