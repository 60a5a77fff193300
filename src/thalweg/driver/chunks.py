"""The compiled chunks of a run, and the loop that strings them together.

Between chunks, and only there: probes, the store, progress, checks for divergence, Ctrl-C.
Randomness comes from keys that are functions of (seed, step) and (seed, record), so a resumed
run gives the same bits as one never interrupted.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from thalweg.core import tree
from thalweg.core.result import Reading, Result, tree_finite
from thalweg.core.tree import Params
from thalweg.driver.progress import Expense, Meter
from thalweg.dynamics.dynamics import Continuous, Discrete, Dynamics, State
from thalweg.probes.probe import Every, Moment, Probe
from thalweg.problems.problem import Problem
from thalweg.storage.files import StoreError
from thalweg.trajectory.store import Store, ZarrStore

CHUNK_SECONDS = 0.5  # how long the loop may be deaf to Ctrl-C
COMMIT_SECONDS = 2.0  # how much work a kill may cost


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a sentence on how to go on."""


class Marks(NamedTuple):
    """When to record: training times, and the step counts behind them for discrete dynamics."""

    times: np.ndarray
    steps: np.ndarray | None


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
        dynamics: What moves the parameters.
        schedule: What to measure, and how often.
        marks: When to record.
        keys: One key per seed.
        lanes: How seeds share the machine: see `_over_seeds`.
        blank: The row of a record at which nothing is measured, by variable, (seed, ...).
        store: Where records go.
        at: Where the run stands before record 0; see `resume`.
    """

    def __init__(
        self,
        problem: Problem,
        dynamics: Dynamics,
        schedule: Sequence[Every],
        marks: Marks,
        keys: Array,
        lanes: str,
        blank: Mapping[str, np.ndarray],
        store: Store,
        at: Progress,
    ) -> None:
        self.problem, self.dynamics, self.schedule = problem, dynamics, schedule
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
                f"the checkpoint of {store.path} is of another shape of run; ask for a fresh run"
            )
        arrays = [_typed(b, a) for a, b in zip(like, leaves, strict=True)]
        states, memories = jax.tree.unflatten(structure, arrays)
        self.at = Progress(states, memories, mark["records"], ())
        self.seconds = mark["note"]["seconds"]

    @property
    def over(self) -> bool:
        """Whether every mark is recorded, or every seed has ended before."""
        ended = bool(_ended(self.at.states).all())
        return self.at.next == len(self.marks.times) or ended

    def go(self, meter: Meter) -> None:
        """Record every mark that is left."""
        report, expense = meter.update, Expense(self.dynamics.name, meter.note)
        count, last = len(self.marks.times), max(float(self.marks.times[-1]), 1e-300)
        begun = flushed = clock.perf_counter()
        spent = self.seconds
        try:
            while not self.over:
                states = self.advance(
                    lambda t: report(t / last, f"training time {t:.4g} of {last:.4g}"), expense
                )
                self.record(states)
                taken = self.at.next
                report(float(self.marks.times[taken - 1]) / last, f"record {taken} of {count}")
                now = clock.perf_counter()
                self.seconds = spent + now - begun
                if self.over or now - flushed > COMMIT_SECONDS:
                    self.flush()
                    flushed = clock.perf_counter()
        except KeyboardInterrupt:
            self.flush()
            where = f"training time {self.marks.times[max(self.at.next - 1, 0)]:g}"
            safe = isinstance(self.store, ZarrStore)
            raise Interrupted(
                f"stopped at {where}; "
                + ("give the same command to go on" if safe else "nothing was stored")
            ) from None

    def advance(self, report: Callable[[float], None], expense: Expense) -> State:
        """From the last record to the next mark, in chunks that let Ctrl-C in."""
        states, goal = self.at.states, self.at.next
        if isinstance(self.dynamics, Discrete):
            assert self.marks.steps is not None
            target = int(self.marks.steps[goal])
            here = int(np.asarray(states.step)[0])
            while here < target:
                chunk = min(self.pace, target - here)
                begun = clock.perf_counter()
                states = _steps(
                    self.problem, self.dynamics, states, self.keys, np.asarray(chunk), self.lanes
                )
                jax.block_until_ready(states)
                self.set_pace(clock.perf_counter() - begun, chunk)
                here += chunk
                report(float(np.asarray(states.time)[0]))
        else:
            assert isinstance(self.dynamics, Continuous)
            # Arrays, as numbers would be compiled in.
            until, last = (np.asarray(self.marks.times[i]) for i in (goal, -1))
            while not bool(np.all(_arrived(states, until))):
                begun, before = clock.perf_counter(), np.asarray(states.step)
                states, expected = _follow(
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
                most = self.dynamics.most
                expense.tell(states.evaluations, expected, seconds, float(last), most)
        return states

    def set_pace(self, seconds: float, steps: int) -> None:
        """How many steps the next chunk takes, after one of so many in so much time."""
        wanted = CHUNK_SECONDS * max(steps, 1) / seconds
        self.pace = int(np.clip(wanted, 1, 4 * self.pace))

    def record(self, states: State) -> None:
        """Measure what is due at this mark and keep it for the next flush."""
        at = self.at
        due = [i for i, s in enumerate(self.schedule) if at.next % s.period == 0]
        active = tuple(self.schedule[i].probe for i in due)
        readings, renewed = readings_at(
            self.problem,
            active,
            states,
            tuple(at.memories[i] for i in due),
            np.asarray(at.next),
            self.keys,
            self.lanes,
        )
        row: dict[str, Any] = {
            **self.blank,
            "step": states.step,
            "evaluations": states.evaluations,
            "result": states.result,
        }
        row |= told_by(self.problem, self.dynamics, states, self.lanes)
        if "parameters" in self.blank:
            row["parameters"] = _flat(states.params)
        for probe, reading in zip(active, readings, strict=True):
            row |= dict(zip(variable_names(probe), reading, strict=True))
        memories = list(at.memories)
        for i, memory in zip(due, renewed, strict=True):
            memories[i] = memory
        kept = {name: np.asarray(value, self.blank[name].dtype) for name, value in row.items()}
        if isinstance(self.dynamics, Continuous):
            kept = _known(kept, _reached(states, self.marks.times[at.next]))
        self.at = Progress(states, tuple(memories), at.next + 1, (*at.pending, kept))

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
    return array if array.dtype.isbuiltin == 1 else array.view(f"u{array.dtype.itemsize}")


def _typed(bare: np.ndarray, like: Array) -> Array:
    """The leaf that `_bare` took apart, of the kind of another."""
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(bare), impl=jax.random.key_impl(like))
    return jnp.asarray(bare if like.dtype.isbuiltin == 1 else bare.view(like.dtype), like.dtype)


def _over_seeds(function: Callable[..., Any], lanes: str, *arguments: Any) -> Any:
    """Apply a function of one seed to arguments with a leading seed axis."""
    if lanes == "vmap":
        return jax.vmap(function)(*arguments)
    if lanes == "map":
        return jax.lax.map(lambda packed: function(*packed), arguments)
    result = function(*(tree.lane(a, 0) for a in arguments))
    return jax.tree.map(lambda leaf: leaf[None], result)


@eqx.filter_jit
def start_states(
    problem: Problem, dynamics: Dynamics, keys: Array, lanes: str, given: Params | None
) -> State:
    """Draw each seed's parameters, if none are given, and put the dynamics at time zero."""

    def one(key: Array) -> State:
        params = problem.init(jax.random.fold_in(key, 0)) if given is None else given
        state = dynamics.init(problem, params)
        bad = jnp.maximum(tree_finite(params), tree_finite(problem.objective(params)))
        return state._replace(result=jnp.maximum(state.result, bad))

    return _over_seeds(one, lanes, keys)


@eqx.filter_jit
def start_probes(problem: Problem, probes: tuple[Probe, ...], params: Any, lanes: str) -> Any:
    """The probes' memories before the first record, with a leading seed axis."""
    return _over_seeds(lambda p: tuple(probe.start(problem, p) for probe in probes), lanes, params)


@eqx.filter_jit
def _steps(
    problem: Problem, dynamics: Discrete, states: State, keys: Array, count: ArrayLike, lanes: str
) -> State:
    def one(state: State, key: Array) -> State:
        key = jax.random.fold_in(key, 1)

        def body(_: Array, state: State) -> State:
            return dynamics.step(problem, state, jax.random.fold_in(key, state.step))[0]

        return jax.lax.fori_loop(0, count, body, state)

    return _over_seeds(one, lanes, states, keys)


@eqx.filter_jit
def _follow(
    problem: Problem,
    dynamics: Continuous,
    states: State,
    until: ArrayLike,
    last: ArrayLike,
    most_steps: ArrayLike,
    lanes: str,
) -> tuple[State, Array]:
    """Towards a mark, and the gradients expected up to the last."""

    def one(state: State) -> tuple[State, Array]:
        state = dynamics.advance(problem, state, jnp.asarray(until), jnp.asarray(most_steps))
        return state, dynamics.expected(problem, state, jnp.asarray(last))

    return _over_seeds(one, lanes, states)


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


@eqx.filter_jit
def readings_at(
    problem: Problem,
    probes: tuple[Probe, ...],
    states: State,
    memories: tuple[Any, ...],
    record: ArrayLike,
    keys: Array,
    lanes: str,
) -> tuple[tuple[Reading, ...], tuple[Any, ...]]:
    """What the probes read at a record, and their memories after it, with a leading seed axis."""

    def one(state: State, memories: tuple[Any, ...], key: Array) -> Any:
        key = jax.random.fold_in(jax.random.fold_in(key, 2), record)
        pairs = []
        for i, (probe, memory) in enumerate(zip(probes, memories, strict=True)):
            moment = Moment(jnp.asarray(record), jax.random.fold_in(key, i), state.memory)
            pairs.append(probe.measure(problem, state.params, memory, moment))
        return tuple(r for r, _ in pairs), tuple(m for _, m in pairs)

    return _over_seeds(one, lanes, states, memories, keys)


@eqx.filter_jit
def told_by(problem: Problem, dynamics: Dynamics, states: State, lanes: str) -> dict[str, Array]:
    """What the dynamics tells of itself, with a leading seed axis."""

    def one(state: State) -> dict[str, Array]:
        told = dynamics.statistics(problem, state)
        if isinstance(dynamics, Continuous):
            told["path_error"] = dynamics.path_error(problem, state)
        return told

    return _over_seeds(one, lanes, states)


@jax.jit
def _flat(params: Any) -> Array:
    return jax.vmap(tree.flatten)(params)


def variable_names(probe: Probe) -> tuple[str, str, str]:
    """Names of a probe's value, error and result code in the data set."""
    return probe.name, f"{probe.name}_error", f"{probe.name}_result"
