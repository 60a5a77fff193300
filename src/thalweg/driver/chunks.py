"""The compiled chunks of a run, and the loop that strings them together.

Between chunks, and only there: probes, the store, progress, checks for divergence, Ctrl-C.
Randomness comes from keys that are functions of (seed, step) and (seed, record), so a resumed
run gives the same bits as one never interrupted.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from thalweg.core.errors import InputError
from thalweg.core.result import Result
from thalweg.core.tracebacks import failed_callback, is_interruption, told_function
from thalweg.driver.expense import Expense
from thalweg.driver.lanes import (
    Each,
    advance_to,
    flat_of_lanes,
    of_any_lane,
    readings_of,
    take_large_steps,
    take_steps,
    together,
    told_by,
    variable_names,
)
from thalweg.driver.progress import Meter
from thalweg.dynamics.dynamics import Continuous, Discrete, Dynamics, State
from thalweg.probes.probe import Every
from thalweg.problems.problem import Problem
from thalweg.storage.files import StoreError
from thalweg.trajectory.store import Store, ZarrStore, is_native

CHUNK_SECONDS = 0.5  # how long the loop may be deaf to Ctrl-C
COMMIT_SECONDS = 2.0  # how much work a kill may cost
PROCESS = ("step", "evaluations", "result")  # what is told of a lane that has ended, too


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a sentence on how to go on."""


class Marks(NamedTuple):
    """When to record: training times, and the step counts behind them for discrete dynamics.

    Attributes:
        times: (records,), or (lanes, records) where each lane has a clock of its own.
        steps: The same shape; None for continuous dynamics, whose lanes share their times.
        counts: How many of the records are each lane's own, (lanes,), where lanes have clocks of
            their own; behind them its marks repeat the last.
    """

    times: np.ndarray
    steps: np.ndarray | None
    counts: np.ndarray | None = None

    @property
    def records(self) -> int:
        """How many there are."""
        return self.times.shape[-1]

    def time(self, record: int) -> float:
        """The training time of a record, the latest of all lanes."""
        return float(np.max(self.times[..., record]))


class Progress(NamedTuple):
    """How far a run is. Replaced as a whole, so that Ctrl-C never meets one half done.

    Attributes:
        states: The dynamics at the last record.
        memories: The probes' memories after it.
        next: The number of records taken.
        pending: The last of them, not yet in the store.
    """

    states: State
    memories: tuple[Any, ...]
    next: int
    pending: tuple[Mapping[str, np.ndarray], ...]


class Loop:
    """One run in progress.

    Args:
        problem: What is trained.
        dynamics: What moves the parameters, of all lanes or of each.
        schedule: What to measure, and how often.
        marks: When to record.
        keys: One key per lane.
        lanes: How lanes share the machine: see `over_lanes`.
        blank: The row of a record at which nothing is measured, by variable, (lane, ...).
        store: Where records go.
        at: Where the run stands before record 0; see `resume`.
        probes: Those of the schedule as they measure, where they differ from lane to lane.
    """

    def __init__(
        self,
        problem: Problem,
        dynamics: Dynamics | Each,
        schedule: Sequence[Every],
        marks: Marks,
        keys: Array,
        lanes: str,
        blank: Mapping[str, np.ndarray],
        store: Store,
        at: Progress,
        probes: Sequence[Any] = (),
    ) -> None:
        self.problem, self.dynamics, self.schedule = problem, dynamics, schedule
        self.kind: Dynamics = of_any_lane(dynamics)
        self.probes = tuple(probes) or tuple(s.probe for s in schedule)
        self.groups = together(schedule)
        self.marks, self.keys, self.lanes = marks, keys, lanes
        self.blank, self.store, self.at = blank, store, at
        self.seconds, self.pace = 0.0, 16

    def resume(self, store: ZarrStore) -> None:
        """Go on from the store's last commit."""
        mark, leaves = store.committed(), store.state()
        if leaves is None:
            return
        like, structure = jax.tree.flatten((self.at.states, self.at.memories))
        if [_bare(a).shape for a in like] != [b.shape for b in leaves]:
            raise StoreError(
                f"the checkpoint of {store.path} is of another shape of run; ask for a fresh run "
                "(fresh=True)"
            )
        arrays = [typed(b, a) for a, b in zip(like, leaves, strict=True)]
        states, memories = jax.tree.unflatten(structure, arrays)
        self.at = Progress(states, memories, mark["records"], ())
        self.seconds = mark["note"]["seconds"]

    @property
    def over(self) -> bool:
        """Whether every mark is recorded, or every seed has ended before."""
        if self.at.next == self.marks.records:
            return True
        ended = _ended(self.at.states)
        if self.marks.counts is not None:
            ended |= self.marks.counts <= self.at.next
        return bool(ended.all())

    def go(self, meter: Meter) -> None:
        """Record every mark that is left."""
        report, expense = meter.update, Expense(self.kind.name, meter.note)
        count, last = self.marks.records, max(self.marks.time(-1), 1e-300)
        begun = flushed = clock.perf_counter()
        spent = self.seconds
        try:
            while not self.over:
                states = self.advance(
                    lambda t: report(t / last, f"training time {t:.4g} of {last:.4g}"), expense
                )
                self.record(states)
                taken = self.at.next
                report(self.marks.time(taken - 1) / last, f"record {taken} of {count}")
                now = clock.perf_counter()
                self.seconds = spent + now - begun
                if self.over or now - flushed > COMMIT_SECONDS:
                    self.flush()
                    flushed = clock.perf_counter()
        except BaseException as error:
            if not is_interruption(error):
                if failed_callback(error) is not None:  # what was recorded before is good
                    self.flush()
                raise
            self.flush()
            where = f"training time {self.marks.time(max(self.at.next - 1, 0)):g}"
            safe = isinstance(self.store, ZarrStore)
            raise Interrupted(
                f"stopped at {where}; "
                + ("give the same command to go on" if safe else "nothing was stored")
            ) from None

    def advance(self, report: Callable[[float], None], expense: Expense) -> State:
        """From the last record to the next mark, in chunks that let Ctrl-C in."""
        states, goal, kind = self.at.states, self.at.next, self.kind
        if isinstance(kind, Discrete):
            take = take_large_steps if kind.long_to_compile else take_steps
            left = self._left(states)
            while np.any(left > 0):
                chunk = np.asarray(np.minimum(left, self.pace))
                begun = clock.perf_counter()
                states = take(self.problem, self.dynamics, states, self.keys, chunk, self.lanes)
                jax.block_until_ready(states)
                self.set_pace(clock.perf_counter() - begun, int(np.max(chunk)))
                left = left - chunk
                report(float(np.max(states.time)))
            self._require_counted(states)
        else:
            assert isinstance(kind, Continuous)
            # Arrays, as numbers would be compiled in.
            until, last = (np.asarray(self.marks.times[i]) for i in (goal, -1))
            while not bool(np.all(_arrived(states, until))):
                begun, before = clock.perf_counter(), np.asarray(states.step)
                states, expected = advance_to(
                    self.problem,
                    self.dynamics,
                    states,
                    until,
                    last,
                    np.asarray(self.pace),
                    self.lanes,
                )
                steps = int(np.max(np.asarray(states.step) - before))
                seconds = clock.perf_counter() - begun
                self.set_pace(seconds, steps)
                report(float(jnp.min(states.time)))
                spent, end = states.evaluations, float(last)
                expense.tell(states.time, spent, expected, seconds, end, kind.most)
        return states

    def _left(self, states: State) -> np.ndarray:
        """Steps to the next mark: of all lanes, or of each that has a clock of its own.

        A lane of its own that has diverged takes none.
        """
        assert self.marks.steps is not None
        target, here = self.marks.steps[..., self.at.next], np.asarray(states.step)
        if self.marks.counts is None:
            return np.asarray(target - here[0])
        return np.where(_ended(states), 0, target - here)

    def _require_counted(self, states: State) -> None:
        """Refuse steps that do not count as one each: records would be of other steps than told."""
        assert self.marks.steps is not None
        target, there = self.marks.steps[..., self.at.next], np.asarray(states.step)
        wrong = (there != target) & ~_ended(states)
        if np.any(wrong):
            assert isinstance(self.kind, Discrete)
            raise InputError(
                f"{told_function(self.kind.step)} counts {there[wrong][0]} steps where "
                f"{np.broadcast_to(target, there.shape)[wrong][0]} were taken; let it return "
                "state.step + 1"
            )

    def set_pace(self, seconds: float, steps: int) -> None:
        """How many steps the next chunk takes, after one of so many in so much time."""
        wanted = CHUNK_SECONDS * max(steps, 1) / seconds
        self.pace = int(np.clip(wanted, 1, 4 * self.pace))

    def record(self, states: State) -> None:
        """Measure what is due at this mark and keep it for the next flush."""
        at = self.at
        going = self._going()
        row: dict[str, Any] = {
            **self.blank,
            "step": states.step,
            "evaluations": states.evaluations,
            "result": states.result,
        }
        row |= told_by(self.problem, self.dynamics, states, self.lanes)
        if "parameters" in self.blank:
            row["parameters"] = flat_of_lanes(states.params)
        memories = list(at.memories)
        for group in (g for g in self.groups if at.next % g.period == 0):
            readings, renewed = readings_of(
                group,
                self.problem,
                self.probes,
                states,
                at.memories,
                np.asarray(at.next),
                self.keys,
                self.lanes,
                going,
            )
            for i, reading, memory in zip(group.places, readings, renewed, strict=True):
                row |= dict(zip(variable_names(self.schedule[i].probe), reading, strict=True))
                memories[i] = memory
        kept = {name: np.asarray(value, self.blank[name].dtype) for name, value in row.items()}
        if isinstance(self.kind, Continuous):
            kept = _known(kept, _reached(states, self.marks.times[at.next]))
        elif going is not None:
            kept = _passed_over(kept, self.blank, going)
        self.at = Progress(states, tuple(memories), at.next + 1, (*at.pending, kept))

    def _going(self) -> np.ndarray | None:
        """Which lanes with clocks of their own have this record, and have not ended before it."""
        if self.marks.counts is None:
            return None
        return (self.marks.counts > self.at.next) & ~_ended(self.at.states)

    def flush(self) -> None:
        """Write what is pending, then commit it with the state behind it."""
        at = self.at
        if not at.pending:
            return
        rows = {name: np.stack([row[name] for row in at.pending], axis=1) for name in self.blank}
        self.store.write(at.next - len(at.pending), rows)
        leaves = [_bare(leaf) for leaf in jax.tree.leaves((at.states, at.memories))]
        note = {"seconds": self.seconds, "finished": self.over}
        self.store.commit(at.next, leaves, note)
        self.at = at._replace(pending=())


def _bare(leaf: Array) -> np.ndarray:
    """A leaf of a state as an array of NumPy's own types, the only ones that can be kept."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return array if is_native(array.dtype) else array.view(f"u{array.dtype.itemsize}")


def typed(bare: np.ndarray, like: Array) -> Array:
    """The leaf that `_bare` took apart, of the kind of another."""
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(bare), impl=jax.random.key_impl(like))
    return jnp.asarray(bare if is_native(like.dtype) else bare.view(like.dtype), like.dtype)


def _ended(states: State) -> np.ndarray:
    """Whether a seed goes no further: it has diverged, or used up what it may."""
    return np.asarray(states.result) >= Result.STEP_LIMIT


def _reached(states: State, until: ArrayLike) -> np.ndarray:
    # As the solver compares, for which numbers below the least normal one are zero.
    return np.asarray(states.time >= jnp.asarray(until))


def _arrived(states: State, until: ArrayLike) -> np.ndarray:
    return _reached(states, until) | _ended(states)


def _known(row: dict[str, np.ndarray], there: np.ndarray) -> dict[str, np.ndarray]:
    """A record without the values of seeds that ended before it: nothing is known of them."""
    known = {}
    for name, value in row.items():
        seeds = there.reshape(-1, *[1] * (value.ndim - 1))
        if value.dtype.kind == "f":
            value = np.where(seeds, value, np.asarray(np.nan, value.dtype))
        elif name.endswith("_result"):
            value = np.where(seeds, value, np.maximum(value, row["result"]))
        known[name] = value
    return known


def _passed_over(
    row: dict[str, np.ndarray], blank: Mapping[str, np.ndarray], going: np.ndarray
) -> dict[str, np.ndarray]:
    """A record in which nothing is said of lanes that ended before it, but how they ended."""
    told = {}
    for name, value in row.items():
        lanes = going.reshape(-1, *[1] * (value.ndim - 1))
        other = blank[name]
        if name.endswith("_result"):
            other = np.maximum(other, row["result"])
        told[name] = value if name in PROCESS else np.where(lanes, value, other)
    return {name: value.astype(blank[name].dtype) for name, value in told.items()}
