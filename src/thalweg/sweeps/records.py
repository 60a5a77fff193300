"""What a sweep recorded: one data set over all members, and the run of each of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from thalweg.comparison.regime import capital
from thalweg.core.doors import guarded
from thalweg.core.errors import require
from thalweg.core.result import Result
from thalweg.core.tree import Params
from thalweg.driver.block import Horizon
from thalweg.driver.chunks import PROCESS
from thalweg.driver.layout import clocks_of
from thalweg.dynamics.dynamics import Discrete
from thalweg.problems.problem import Problem
from thalweg.sweeps.members import Members
from thalweg.trajectory import Trajectory
from thalweg.trajectory.provenance import digest, fingerprint
from thalweg.trajectory.store import FILL

LARGE = "parameters"  # of each lane and record a whole vector: kept in the blocks


@guarded("member")
@dataclass(frozen=True, eq=False)
class SweepRecords:
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
        own; one that has diverged NaN and the code NONFINITE. Further clocks of the members
        (`slow_time`, `decay_time`, `passes`) are coordinates beside `time`. A recorded variable
        called as what differs, as the damping that K-FAC went on with, is `damping_recorded`.
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
            data[self._called(name)] = ((dim, "seed", "record", *like.dims[2:]), whole, like.attrs)
        clocks: dict[str, tuple[Any, dict[int, np.ndarray]]] = {}
        clocks["time"] = ({"long_name": "training time", "units": "step size"}, {})
        for member in range(len(counts)):
            times, further = self._clocks(member)
            clocks["time"][1][member] = times
            for name, (_, values, meta) in further.items():
                clocks.setdefault(name, (meta, {}))[1][member] = values
        labels = {str(k): v for k, v in first.coords.items() if "lane" not in v.dims}
        coords = {k: v for k, v in labels.items() if k not in ("record", "time")}
        coords |= self.members.coords | {
            "seed": np.asarray(self.seeds),
            "record": np.arange(most),
        }
        for name, (meta, of) in clocks.items():
            values = np.full((len(counts), most), np.nan)
            for member, told in of.items():
                values[member, : len(told)] = told
            coords[name] = ((dim, "record"), values, meta)
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
        further = self._clocks(index)[1]
        whole = whole.assign_coords(
            {n: (d, v[: max(going)], meta) for n, (d, v, meta) in further.items()}
        )
        whole.attrs = self._attributes(index, places[0])
        return Trajectory(whole)

    def _called(self, name: str) -> str:
        """A recorded variable's name beside what differs."""
        base, _, kind = (
            name.rpartition("_") if name.endswith(("_error", "_result")) else (name, "", "")
        )
        own = f"{base}_recorded" if base in self.members.coords else base
        return f"{own}_{kind}" if kind else own

    def _count(self, index: int) -> int:
        return self.horizon.marks(self.members.dynamics[index]).records

    def _clocks(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Training times of a member's records, and its further clocks."""
        dynamics = self.members.dynamics[index]
        marks = self.horizon.marks(dynamics)
        return marks.times, clocks_of(self.problem, dynamics, marks)

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
            f"{capital(self.dataset.attrs['dynamics'])}: {told}, {seeds}, "
            f"{self.dataset.sizes['record']} records each at most."
        ]
        if lost.any():
            which = [self.members.told(int(i)) for i in np.flatnonzero(lost.any(axis=1))]
            shown = ", ".join(which[:4]) + (f" and {len(which) - 4} more" if which[4:] else "")
            lines.append(f"{int(lost.sum())} of {lost.size} runs diverged: of {shown}.")
        else:
            lines.append("No run diverged.")
        return "\n".join(lines)

    __repr__ = __str__


def _ended(lane: xr.Dataset) -> np.ndarray:
    """At which records a lane has ended."""
    return lane["result"].values >= int(Result.STEP_LIMIT)
