"""Many dynamics and seeds at once: one labelled data set, on disk or in memory, on any machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax

from thalweg.core.doors import guarded
from thalweg.core.errors import require
from thalweg.core.memory import require_memory
from thalweg.core.tree import Params, size
from thalweg.driver.block import Horizon
from thalweg.driver.layout import (
    require_paths_apart,
    schedule_of,
    seed_labels,
    start_as_drawn,
)
from thalweg.driver.progress import watched
from thalweg.models.spiking.surrogates import takes_surrogates
from thalweg.probes.probe import Every, ProbeLike
from thalweg.problems.problem import Problem
from thalweg.report.notebook import plot_figure
from thalweg.storage.lock import LOCK, locked
from thalweg.sweeps.folder import Folder, in_common
from thalweg.sweeps.members import members_of
from thalweg.sweeps.page import RegimeMap
from thalweg.sweeps.pictures import SWEEP, sweep_card, sweep_picture
from thalweg.sweeps.plan import Lanes, Place, block_of, planned
from thalweg.sweeps.records import SweepRecords
from thalweg.sweeps.regime_map import map_regimes
from thalweg.sweeps.work import Task, working

# Of a map's flow, for each seed. It would go as far in time as the largest step, which on a stiff
# net takes hours; what it tells of small steps it tells early.
MOST_GRADIENTS = 30_000


@guarded("plot", "regimes")
class Sweep(SweepRecords):
    """Runs of many dynamics from the same starts, each on its own clock: see `SweepRecords`."""

    def plot(
        self,
        what: str = "loss",
        ax: Any = None,
        *,
        seed: int | None = None,
        log: bool | None = None,
        clock: str = "time",
    ) -> Any:
        """Draw a variable of all members along training time with matplotlib, dark to light.

        The map of regimes draws itself as well: `sweep.regimes().plot()`.

        Args:
            what: A measured variable, as "sharpness".
            ax: Axes to draw in; new ones by default.
            seed: Which seed; the first by default.
            log: Whether the vertical axis is logarithmic; by default where values are positive and
                spread over a factor of 30.
            clock: The horizontal axis: "time", or another clock of its members, as "slow_time".

        Returns:
            The axes.

        Raises:
            InputError: If there is no such variable, seed or clock, or matplotlib is not installed.
        """
        figure, data = sweep_picture(self, what, seed, log, clock)
        return plot_figure([figure], {SWEEP: data}, figure.name, ax)

    def _repr_html_(self) -> str:
        """What a notebook shows: what ran, what diverged, the loss of all members."""
        return sweep_card(self)

    def regimes(
        self,
        eps: float = 0.05,
        *,
        flow_error: float | None = None,
        flow_solver: str = "auto",
        most_gradients: int = MOST_GRADIENTS,
        progress: bool | None = None,
    ) -> RegimeMap:
        """In which regime each run is, beside the flow that it discretises, and where they meet.

        The regimes are those of `tw.compare`, and so are the flows: each member's own limit, as the
        preconditioned flow of Adam, or gradient flow, at equal loss where no limit is known.
        Members of one flow share it: gradient flow is followed once for each seed, to the times of
        all members. In a folder flows are kept beside the sweep.

        Args:
            eps: Distance, relative to the way the flow travels, that still counts as following it.
            flow_error: Wanted error of the flow's path, relative to the norm of the parameters; by
                default 1e-4, and 1e-3 for nets with kinks.
            flow_solver: A name in `thalweg.dynamics.FLOW_SOLVERS`.
            most_gradients: Gradients of a seed after which the flow ends where it is; runs that go
                on longer are "undecided" unless their own course tells their regime.
            progress: Show a bar; None shows it on a terminal, and elsewhere a few lines.

        Raises:
            InputError: If an argument does not fit, or the parameters were not recorded.
        """
        found = map_regimes(self, eps, flow_error, flow_solver, most_gradients, progress)
        return RegimeMap(**vars(found))


def sweep(
    problem: Problem,
    dynamics: Any,
    *,
    seeds: int | Sequence[int] = 1,
    until: float | None = None,
    steps: int | None = None,
    records: int = 40,
    probes: ProbeLike | Iterable[ProbeLike | Every] | None = None,
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
    steps and nothing else. On CPUs all but the smallest problems take one lane after the other in
    it, as `run` does with seeds; elsewhere lanes go side by side. What diverges stops by itself and
    holds up no other.

    Args:
        problem: What is trained.
        dynamics: A list of dynamics in steps; or a function that makes one, whose arguments come
            as lists, as `sweep(problem, tw.gradient_descent, step_size=[0.1, 0.2], ...)`.
        seeds: How many seeds (0, 1, ...), or which. All members of a seed start alike.
        until: Training time of the last record, the same for all members;
        steps: or how many steps each of them takes, whatever its training time.
        records: How many records after the one at time zero, evenly spaced; fewer where a member
            takes fewer steps.
        probes: What to measure at each record, as `run` takes it; the loss always. By default the
            eigenvalue that the rule of stability of every member asks for, the sharpness where
            there is no such one; none of nets with surrogate gradients, which have no Hessian.
        start: Parameters that all start from instead.
        parameters: Whether to record the flat parameters, needed for distances.
        out: A folder, or None to keep the records in memory. What is there of the same sweep is
            not run again: a sweep that was killed goes on to the same bits, further members and
            seeds are added.
        fresh: Delete what is in the folder and start again.
        client: A `distributed.Client`: its workers share the blocks of the sweep. One that dies
            is replaced; while there is none the sweep says so and waits. With `out` they write
            there themselves, so that they must see the folder.
        workers: Instead of a client, how many processes of this machine (from a script, under
            `if __name__ == "__main__":`).
        progress: Show a bar; None shows it on a terminal, and elsewhere a few lines.
        grid: Lists of values for the arguments of a function; several make their product.

    Returns:
        The sweep. Each lane is that of `tw.run` with the member and the seed: bit for bit where
        lanes go one after the other, to rounding where they go side by side (rounding grows along
        paths that are unstable). The bits do not depend on who did the work.

    Raises:
        InputError: If an argument does not fit, or all seeds would be one path.
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
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    for member in members.dynamics:
        require_paths_apart(problem, member, list(labels))
        # What a dynamics or its oracle refuses it refuses at once.
        jax.eval_shape(lambda params, member=member: member.init(problem, params), shapes)
    start = start_as_drawn(problem, start)
    if probes is None:
        probes = _decisive(problem, shapes, members.dynamics)
    probes = tuple(schedule_of(probes)[0])
    if out is None:
        _require_records(problem, sum(counts) * len(labels), len(probes), parameters)
    wanted = [Place(mark, seed) for mark in members.prints for seed in labels]
    require(out is None or not Path(out).is_file(), f"out came as {out}, a file; give a folder")
    folder = None
    if out is not None:
        folder = Folder(Path(out), in_common(problem, horizon, probes, start, parameters))
    with (
        nullcontext() if folder is None else locked(folder.path / LOCK, folder.path),
        working(client, workers) as work,
        watched("sweep", progress) as meter,
        nullcontext() if folder is None else folder.opened(fresh),
    ):
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


def _decisive(problem: Problem, shapes: Params, members: Sequence[Any]) -> tuple[str, ...]:
    """The eigenvalue that decides stability, by the name of its probe."""
    if takes_surrogates(problem.objective, shapes):
        return ()  # no Hessian of the loss is at hand
    asked = {member.stability(problem, shapes).eigenvalue for member in members}
    return tuple(asked) if len(asked) == 1 and all(asked) else ("sharpness",)


def _require_records(problem: Problem, records: int, probes: int, parameters: bool) -> None:
    """Refuse records that do not fit into memory."""
    drawn = jax.eval_shape(problem.init, jax.random.key(0))
    row = 24 * (1 + probes) + (8 * size(drawn) if parameters else 0)
    require_memory(
        float(records) * row,
        f"a sweep of {records:,} records of {size(drawn):,} parameters in memory",
        "give out=, a folder, or lower the members, the seeds or the records",
    )
