"""The race: optimisers, each tuned over one grid, at equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require
from thalweg.core.memory import bytes_of, require_memory
from thalweg.driver.block import Horizon, program_key, stacked_lanes
from thalweg.driver.layout import lanes_for, seed_labels
from thalweg.driver.progress import Meter, watched
from thalweg.driver.spending import Spent, spend
from thalweg.oracles.in_words import as_oracle
from thalweg.oracles.oracle import Oracle
from thalweg.problems import Problem
from thalweg.problems.in_words import problem as problem_in_words
from thalweg.storage.datasets import open_dataset, save_dataset
from thalweg.storage.files import StoreError
from thalweg.storage.lock import LOCK, locked
from thalweg.sweeps.contestants import Contestant, contestants, price_of
from thalweg.sweeps.folder import Folder, in_common
from thalweg.sweeps.grid import values_of
from thalweg.sweeps.prices import priced
from thalweg.sweeps.race_page import Race
from thalweg.sweeps.race_result import drawn_up
from thalweg.sweeps.tuning import chosen
from thalweg.trajectory.provenance import command_line, fingerprint

GRID = "1e-4:10:11log"
BUDGET = 200
SEEDS = 3
RECORDS = 100
MOST_LANES, LARGEST = 64, 1e9  # lanes side by side, and bytes that they may work with
CRITERIA = ("final", "goal")


class RaceFolder(Folder):
    """The results of a race on disk: a data set for each optimiser."""

    index = "race.json"
    what = "race"
    patterns = ("race-*",)


def race(
    problem: Any = "digits",
    optimisers: Any = None,
    *,
    grid: Any = GRID,
    budget: float = BUDGET,
    seeds: int | Sequence[int] = SEEDS,
    records: int = RECORDS,
    goal: float | None = None,
    by: str | None = None,
    oracle: Oracle | str | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: bool | None = None,
) -> Race:
    """Race optimisers against each other: loss against gradients and against CPU seconds.

    Each is tried at every value of one grid, from the same starts, until it has spent one budget,
    and is shown at its best. Costs are in gradients of the whole objective: a value counts a third,
    a Hessian product two, gradients of b of n examples b/n. What diverges is part of the result.

    Args:
        problem: A `Problem`, or what `tw.problem` takes alone, as "digits" or a path.
        optimisers: Names with commas, as "gd, momentum(momentum=0.95), adam"; "all"; by default gd,
            momentum, nesterov, adam, rmsprop, lbfgs, and kfac where the loss allows it. One whose
            learning rate stands in its brackets, as adam(0.001), is not tuned. In Python a list of
            names and dynamics, too.
        grid: Values of what is tuned, the learning rate as a rule: 0.01,0.1,1, or 1e-4:10:11log on
            a logarithm. In Python a list of numbers, too.
        budget: Gradients that each has, at each value of the grid.
        seeds: How many initialisations.
        records: How many times to look at the loss.
        goal: A loss; by default the one that the first optimiser has reached at the end, for
            every seed.
        by: What is best: final, the lowest loss at the end of the budget, or goal, the fewest
            gradients to the goal; goal by default where one is given.
        oracle: What steps see of the problem, as minibatch(32); all of it by default.
        out: The run folder, which goes on where it was stopped; in Python nothing is kept without
            one.
        fresh: Start again even if the folder holds another race.
        progress: Show progress; by default a bar on a terminal, elsewhere a few lines.

    Returns:
        The race: `str`, `plot`, `dataset`, `rows`, and `page` with a folder.

    Raises:
        InputError: On any argument that does not fit, or if no optimiser suits the problem.

    Cost: for each optimiser the budget times the grid times the seeds, and five paths to time it.

    Examples:
        >>> bowl = tw.problems.Quadratic([1.0, 9.0], slope=[0.0, 0.0], start=[1.0, 1.0])
        >>> found = tw.race(bowl, "gd, momentum", grid=[0.05, 0.1, 0.2, 0.4], budget=40, seeds=1)
        >>> [row["optimiser"] for row in found.rows()]  # from the best to the worst
        ['gd', 'momentum']
        >>> found.rows()[0]["setting"]  # 2/(L + mu) = 0.2
        0.2
    """
    if not isinstance(problem, Problem):
        problem = problem_in_words(problem)
    return raced(
        problem, optimisers, command_line(), "", grid=grid, budget=budget, seeds=seeds,
        records=records, goal=goal, by=by, oracle=oracle, out=out, fresh=fresh,
        progress=progress,
    )  # fmt: skip


def raced(
    problem: Problem,
    optimisers: Any,
    command: str,
    data: str,
    *,
    grid: Any,
    budget: float,
    seeds: int | Sequence[int],
    records: int,
    goal: float | None,
    by: str | None,
    oracle: Oracle | str | None,
    out: str | Path | None,
    fresh: bool,
    progress: bool | None,
) -> Race:
    """`race` of a problem; its page says the command given, and what the data are called."""
    values, labels = _grid(grid), tuple(seed_labels(seeds))
    require(
        not misfit(budget, float) and 1 <= budget <= 1e9,
        f"budget came as {told(budget)}; give at least 1 gradient, at most 1e9",
    )
    require(
        not misfit(records, int) and records >= 2,
        f"records came as {told(records)}; give a whole number from 2 on",
    )
    require(
        goal is None or (not misfit(goal, float) and abs(goal) < np.inf),
        f"goal came as {told(goal)}; give a loss, as in 0.1",
    )
    by = ("final" if goal is None else "goal") if by is None else by
    require(by in CRITERIA, f"by came as {told(by)}; give final or goal")
    seen = None if oracle is None else as_oracle(oracle)
    taking = contestants(optimisers, problem, values, seen, float(budget))
    most = max(len(each.members) for each in taking) * len(labels)
    require_memory(64.0 * most * records * len(taking), "the race", "lower records or seeds")
    marks = np.linspace(0.0, float(budget), int(records) + 1)
    require(out is None or not Path(out).is_file(), f"out came as {out}, a file; give a folder")
    common = in_common(problem, Horizon(None, None, int(records)), (), None, False)
    common |= {"budget": float(budget)}
    folder = None if out is None else RaceFolder(Path(out), common)
    found: dict[str, xr.Dataset] = {}
    with (
        nullcontext() if folder is None else locked(folder.path / LOCK, folder.path),
        watched("race", progress) as meter,
        nullcontext() if folder is None else folder.opened(fresh),
    ):
        if folder is not None:
            folder.begin()
        running = [each for each in taking if not each.refused]
        for index, each in enumerate(running):
            place = None if folder is None else folder.path / f"{_name(folder, each, labels)}.zarr"
            if place is not None and place.exists():
                found[each.name] = _read(place, each.name)
                continue
            told_of = Portion(meter, index, len(running), each.name)
            found[each.name] = _followed(problem, each, labels, marks, told_of)
            if place is not None:
                save_dataset(found[each.name].assign_attrs(stored_as=place.stem), place)
        made = Race(**vars(drawn_up(problem, taking, found, labels, float(budget), goal, by)))
        if folder is None:
            return made
        return made.kept(folder.path, command, data)


class Portion:
    """The meter of one optimiser's part of a race."""

    def __init__(self, meter: Meter, index: int, count: int, name: str) -> None:
        """`index` of `count`, from 0."""
        self._meter, self._index, self._count, self._name = meter, index, count, name

    def update(self, fraction: float, text: str = "") -> None:
        """The fraction of this part."""
        done = (self._index + fraction) / self._count
        said = f"{self._name}, {self._index + 1} of {self._count}"
        self._meter.update(done, f"{said}{', ' if text else ''}{text}")


def _grid(grid: Any) -> np.ndarray:
    """The values that are tried, ascending."""
    if isinstance(grid, str):
        return values_of(grid, "grid=")
    try:
        values = np.atleast_1d(np.asarray(grid, np.float64))
    except (TypeError, ValueError):
        values = np.asarray([np.nan])
    require(
        not isinstance(grid, bool)
        and values.ndim == 1
        and values.size > 0
        and bool(np.all(np.isfinite(values) & (values > 0)))
        and len(np.unique(values)) == len(values),
        f"grid came as {told(grid)}; give different positive numbers, as [0.01, 0.1], or text as "
        f'"{GRID}"',
    )
    return np.sort(values)


def _read(place: Path, name: str) -> xr.Dataset:
    """The results of an optimiser that lie in the folder."""
    try:
        found = open_dataset(place).load()
        if (stored := found.attrs.pop("stored_as", place.stem)) != place.stem:
            raise StoreError(f"{place} holds {stored}, the results of others")
        return found
    except StoreError as error:
        raise StoreError(
            f"{error}; delete {place} and give the same command to race {name} again: the others "
            "are kept"
        ) from error


def _name(folder: Folder, each: Contestant, labels: tuple[int, ...]) -> str:
    """Of the data set of an optimiser, from all that decides its numbers."""
    settings = [value if value == value else None for value in each.settings]
    decides = {
        "common": folder.common,
        "members": [member.describe() for member in each.members],
        "tuned": each.tuned, "settings": settings, "seeds": list(labels),
    }  # fmt: skip
    return f"race-{fingerprint(decides)}"


def _followed(
    problem: Problem, each: Contestant, labels: tuple[int, ...], marks: np.ndarray, meter: Portion
) -> xr.Dataset:
    """All settings and seeds of an optimiser, and what one path at its best takes."""
    price = price_of(each.members[0], problem)
    shape = (len(each.members), len(labels), len(marks))
    whole = {name: np.zeros(shape) for name in Spent._fields}
    parts = list(_parts(problem, each, labels))
    for done, lanes in enumerate(parts):
        meter.update(0.9 * done / len(parts), f"{len(each.members)} settings")
        rows = _lanes(problem, each, lanes, labels, marks, price)
        for lane, (setting, seed) in enumerate(lanes):
            for name, values in rows._asdict().items():
                whole[name][setting, seed] = np.asarray(values)[lane]
    dims = ("setting", "seed", "record")
    table = xr.Dataset(
        {
            **{name: (dims, values) for name, values in whole.items()},
            "result": (dims, whole["result"].astype(np.int32)),
            "value": ("setting", np.asarray(each.settings)),
        },
        {"seed": list(labels), "record": marks},
    )  # fmt: skip
    best = chosen(whole["loss"][:, :, -1])
    at = max(best.place, 0)
    meter.update(0.9, "timing")
    timed = priced(problem, each.members[at], labels[0], float(marks[-1]), price)
    cost, steps = (float(whole[name][at, 0, -1]) for name in ("cost", "steps"))
    # The path takes one step more than what is shown, the one that would exceed the budget.
    done_cost = cost * (steps + 1) / steps if steps else float("nan")
    table.attrs = {
        "tuned": each.tuned, "price": price, "seconds": timed.seconds,
        "seconds_error": timed.error, "seconds_per_gradient": timed.seconds / done_cost,
        "seconds_per_step": timed.seconds / (steps + 1),
        "compiling": timed.compiling, "state_bytes": timed.state_bytes,
    }  # fmt: skip
    return table


def _parts(
    problem: Problem, each: Contestant, labels: tuple[int, ...]
) -> list[list[tuple[int, int]]]:
    """Lanes (setting, seed) that share a program, as many as fit side by side."""
    kinds: list[tuple[Any, list[int]]] = []
    for index, member in enumerate(each.members):
        key = program_key(member)
        alike = [group for known, group in kinds if known == key]
        if alike:
            alike[0].append(index)
        else:
            kinds.append((key, [index]))
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    state = jax.eval_shape(lambda params: each.members[0].init(problem, params), shapes)
    most = int(max(1, min(MOST_LANES, LARGEST // (8 * max(bytes_of(state), 1)))))
    parts = []
    for _, group in kinds:
        lanes = [(setting, seed) for setting in group for seed in range(len(labels))]
        count = -(-len(lanes) // most)
        size = -(-len(lanes) // count)
        parts += [lanes[i : i + size] for i in range(0, len(lanes), size)]
    return parts


def _lanes(
    problem: Problem, each: Contestant, lanes: list[tuple[int, int]], labels: tuple[int, ...],
    marks: np.ndarray, price: float,
) -> Spent:  # fmt: skip
    members = [each.members[setting] for setting, _ in lanes]
    same = all(member is members[0] for member in members)
    dynamics: Any = members[0] if same else stacked_lanes(members)
    keys = jax.vmap(jax.random.key)(jnp.asarray([labels[seed] for _, seed in lanes]))
    how = lanes_for(problem, len(lanes))
    return spend(problem, dynamics, keys, jnp.asarray(marks), jnp.asarray(price), how)


__all__ = ["race", "raced"]
