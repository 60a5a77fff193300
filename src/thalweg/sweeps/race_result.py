"""What a race found: one data set, a table, sentences, and where they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from thalweg.core.result import Result
from thalweg.problems import Problem
from thalweg.report.number import MISSING, show
from thalweg.sweeps.contestants import Contestant, settings_told
from thalweg.sweeps.tuning import chosen, first_at, level_with_best, median_error

PRICES = (
    "Costs are in gradients of the whole objective: a value counts a third, a Hessian product two, "
    "gradients of b of n examples b/n, values of them a third of that. Looks at the loss between "
    "are not counted."
)

MOST_NAMED = 4  # optimisers or settings in a sentence that are level with the best
MOST_NOTES = 6  # paragraphs of notes


@dataclass(frozen=True)
class RaceRecords:
    """Optimisers at equal cost, each at the best of its settings.

    Attributes:
        dataset: Dims (optimiser, setting, seed, record): `loss`, `cost` (unit: gradient), `steps`,
            `gradients`, `values`, `result`; by optimiser `best` (a position, -1 for none), `setting
            _value`, prices in seconds and bytes; by optimiser and seed `cost_to_goal` and its
            error, what the records leave open.
        problem: What was trained.
        budget: Gradients that each had.
        goal: The loss of `cost_to_goal`.
        by: "final" or "goal".
        refused: Who did not take part, and why.
        folder: The run folder; None for memory.
        page: Its page.
    """

    dataset: xr.Dataset
    problem: Problem
    budget: float
    goal: float
    by: str
    refused: tuple[tuple[str, str], ...] = ()
    folder: Path | None = None
    page: Path | None = None

    def rows(self) -> list[dict[str, Any]]:
        """The table, from the best optimiser to the worst.

        Of each: `optimiser`, `tuned`, `setting`, `final_loss`, `to_goal` (gradients) and
        `seconds_to_goal` with errors, `per_step` (gradients) and `seconds_per_step`, `compiling`
        (seconds), `state_bytes`, `trials`, `diverged` (runs), `level` (whether it is not told apart
        from the best) and `notes`.
        """
        table = self.dataset
        made = [self._row(i) for i in range(table.sizes["optimiser"])]
        score, error = (np.asarray([row[n] for row in made]) for n in ("score", "score_error"))
        equal = level_with_best(score, error, table.sizes["seed"])
        order = np.argsort(np.where(np.isfinite(score), score, np.inf), kind="stable")
        return [made[i] | {"level": bool(equal[i])} for i in order]

    def _row(self, i: int) -> dict[str, Any]:
        table = self.dataset.isel(optimiser=i)
        count, best = int(table["trials"]), int(table["best"])
        at = max(best, 0)
        final = table["loss"].values[at, :, -1]
        to, open_ = table["cost_to_goal"].values, table["cost_to_goal_error"].values
        arrived = int(np.isfinite(to).sum())
        whole = arrived == len(to)
        to_error = float(np.hypot(np.median(open_), median_error(to))) if whole else float("inf")
        per, per_error = (
            float(table[n]) for n in ("seconds_per_gradient", "seconds_per_gradient_error")
        )
        median = float(np.median(to)) if whole else float("inf")
        cost, steps = (float(np.median(table[n].values[at, :, -1])) for n in ("cost", "steps"))
        lost = table["result"].values[:count, :, -1] >= int(Result.NONFINITE)
        lost = lost | ~np.isfinite(table["loss"].values[:count, :, -1])
        ended = float(np.median(final)) if np.isfinite(final).all() else float("inf")
        row = {
            "optimiser": str(table["optimiser"].values),
            "tuned": str(table["tuned"].values),
            "setting": float(table["value"].values[at]) if best >= 0 else float("nan"),
            "final_loss": ended,
            "final_loss_error": float(median_error(final)),
            "to_goal": median,
            "to_goal_error": to_error,
            "arrived": arrived,
            "seconds_to_goal": median * per,
            "seconds_to_goal_error": float(np.hypot(to_error * per, median * per_error)),
            "per_step": cost / steps if steps else float("nan"),
            "seconds_per_step": float(table["seconds_per_step"]),
            "compiling": float(table["compiling"]),
            "state_bytes": int(table["state_bytes"]),
            "trials": count,
            "diverged": int(lost.sum()),
        }
        by_final = self.by == "final"
        score = row["final_loss"] if by_final else median
        error = row["final_loss_error"] if by_final else to_error
        return row | {"score": score, "score_error": error, "notes": self._notes(table, row, cost)}

    def _notes(self, table: xr.Dataset, row: dict[str, Any], cost: float) -> tuple[str, ...]:
        count, what = row["trials"], row["tuned"].replace("_", " ")
        settings, told = table["value"].values[:count], []
        best = _choice(table, self.by, self.goal, count)
        if best.place >= 0 and cost == 0:  # all settings stand at the start
            return (f"took no step: its first costs more than the budget of {self.budget:g}",)
        if best.place < 0 and row["diverged"] == count * table.sizes["seed"]:
            told.append(f"diverges at every {what or 'try'}; lower the grid")
        elif best.place < 0 and self.by == "final":
            told.append(f"diverges at every {what or 'try'} for some seed; lower the grid")
        elif best.place < 0:
            told.append("reaches the goal at no setting for every seed")
        if best.edge:
            other = "smallest" if best.edge == "lower" else "largest"
            told.append(f"best at the edge of the grid, its {other} {what}: widen")
        if best.ties:
            told.append(f"{what} {_one_of([settings[k] for k in best.ties])} would do as well")
        if best.place >= 0 and 0 < cost < 0.5 * self.budget:
            told.append(f"spent {cost:.3g} of {self.budget:g} gradients: its next step costs more")
        return tuple(told)

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        rows = self.rows()
        first = rows[0]
        if not np.isfinite(first["score"]):
            seeds = self.dataset.sizes["seed"]
            some = any(row["diverged"] < row["trials"] * seeds for row in rows)
            which = f"every optimiser diverges{' for some seed at each setting' if some else ''}"
            if self.by == "goal":
                which = f"no optimiser reaches the loss {self.goal:.4g} for every seed"
            return f"Within {self.budget:g} gradients {which}."
        tied = _beside([row["optimiser"] for row in rows[1:] if row["level"]])
        if self.by == "final":
            return (
                f"After {self.budget:g} gradients {first['optimiser']} is lowest{tied}: loss "
                f"{number_told(first['final_loss'], first['final_loss_error'])}."
            )
        return (
            f"{first['optimiser']} is first at the loss {self.goal:.4g}{tied}: after "
            f"{number_told(first['to_goal'], first['to_goal_error'])} gradients."
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is to be said beside the table."""
        rows, told = self.rows(), []
        timed = [row for row in rows if np.isfinite(row["seconds_to_goal"])]
        if timed:
            fast = min(timed, key=lambda row: row["seconds_to_goal"])
            names = ("seconds_to_goal", "seconds_to_goal_error")
            taken, error = (np.array([row[name] for row in timed]) for name in names)
            level = level_with_best(taken, error, self.dataset.sizes["seed"])
            near = [timed[i]["optimiser"] for i in np.flatnonzero(level) if timed[i] is not fast]
            told.append(
                f"In CPU seconds {fast['optimiser']} is first at the loss {self.goal:.4g}"
                f"{_beside(near)}, after "
                f"{number_told(fast['seconds_to_goal'], fast['seconds_to_goal_error'])} s, "
                "compiling not counted "
                f"({fast['compiling']:.2g} s)."
            )
        told += _notes_told(rows)
        told += [f"{name} does not take part: {why}." for name, why in self.refused]
        grids = {
            row["optimiser"]: settings_told(self._settings(row["optimiser"]))
            for row in rows if row["trials"] > 1
        }  # fmt: skip
        few = [row["optimiser"] for row in rows if row["trials"] == 1]
        if grids:
            told.append(f"Each was tried at {next(iter(grids.values()))} of what is tuned.")
        if few:
            told.append(f"Nothing was tuned of {', '.join(few)}.")
        seeds = self.dataset.sizes["seed"]
        if seeds == 1:
            told.append("One seed: errors are what the records leave open alone.")
        elif bool((np.ptp(self.dataset["loss"].values[:, :, :, 0], axis=2) == 0).all()):
            told.append("All seeds begin at the same parameters.")
        return (*told, PRICES, "Each is tuned on the seeds that are shown.")

    def _settings(self, name: str) -> Sequence[float]:
        row = self.dataset.sel(optimiser=name)
        return [float(v) for v in row["value"].values[: int(row["trials"])]]

    def __str__(self) -> str:
        """The result, a line for each optimiser, and what is to be said beside."""
        lines = [self.sentence]
        for row in self.rows():
            at = "" if row["setting"] != row["setting"] else f" at {row['setting']:.3g}"
            lines.append(f"{row['optimiser']}{at}: loss {row['final_loss']:.4g}")
        return "\n".join([*lines, *self.sentences, *self._where()])

    __repr__ = __str__

    def _where(self) -> tuple[str, ...]:
        return () if self.page is None else (f"Page: {self.page}",)


def drawn_up(
    problem: Problem,
    taking: Sequence[Contestant],
    found: dict[str, xr.Dataset],
    labels: tuple[int, ...],
    budget: float,
    goal: float | None,
    by: str,
) -> RaceRecords:
    """The race from the data sets of its optimisers."""
    names = [each.name for each in taking if not each.refused]
    most = max(found[name].sizes["setting"] for name in names)
    padded = [found[name].pad(setting=(0, most - found[name].sizes["setting"])) for name in names]
    dims = ("optimiser", "setting", "seed", "record")
    words = {
        "loss": ("loss", "loss on all examples"), "cost": ("gradient", "gradients spent"),
        "steps": ("1", "steps"), "gradients": ("1", "gradients, a Hessian product being two"),
        "values": ("1", "values beside gradients"), "result": ("1", "result code"),
    }  # fmt: skip
    table: dict[str, Any] = {}
    for name, (unit, about) in words.items():
        values = np.stack([each[name].values for each in padded])
        table[name] = (dims, values, {"units": unit, "long_name": about})
    table["value"] = (dims[:2], np.stack([each["value"].values for each in padded]))
    table["trials"] = (dims[0], [found[name].sizes["setting"] for name in names])
    for name in ("tuned", "seconds_per_gradient", "seconds_per_step", "compiling", "state_bytes"):
        table[name] = (dims[0], [found[n].attrs[name] for n in names])
    share = [found[n].attrs["seconds_error"] / found[n].attrs["seconds"] for n in names]
    each = np.asarray(share) * np.asarray(table["seconds_per_gradient"][1])
    table["seconds_per_gradient_error"] = (dims[0], each)
    made = xr.Dataset(
        table,
        {"optimiser": names, "seed": list(labels), "record": found[names[0]]["record"].values},
    )
    if goal is None:
        goal = _reached(made)
    best, to, error = [], [], []
    for i in range(len(names)):
        row = made.isel(optimiser=i)
        choice = _choice(row, by, goal, int(row["trials"]))
        at = max(choice.place, 0)
        cost, open_ = first_at(row["loss"].values[at], row["cost"].values[at], goal)
        best.append(choice.place)
        to.append(cost)
        error.append(open_)
    meta = {"units": "gradient", "long_name": "gradients to the goal"}
    made = made.assign(
        best=("optimiser", best),
        cost_to_goal=(("optimiser", "seed"), np.stack(to), meta),
        cost_to_goal_error=(("optimiser", "seed"), np.stack(error), meta),
    )
    refused = tuple((each.name, each.refused) for each in taking if each.refused)
    return RaceRecords(made, problem, budget, float(goal), by, refused)


def _choice(row: xr.Dataset, by: str, goal: float, count: int) -> Any:
    """The best setting of an optimiser."""
    loss = row["loss"].values[:count]
    if by == "final":
        return chosen(loss[:, :, -1])
    return chosen(first_at(loss, row["cost"].values[:count], goal)[0])


def _reached(made: xr.Dataset) -> float:
    """What the first optimiser that stays finite has reached at its best, for every seed."""
    for i in range(made.sizes["optimiser"]):
        row = made.isel(optimiser=i)
        final = row["loss"].values[: int(row["trials"]), :, -1]
        best = chosen(final)
        if best.place >= 0:
            return float(final[best.place].max())
    return float("nan")


def _one_of(values: Sequence[float]) -> str:
    """Settings of which any one will do, in a sentence."""
    shown = [f"{value:.3g}" for value in values]
    if len(shown) > MOST_NAMED:
        shown = [*shown[: MOST_NAMED - 1], f"{len(shown) - MOST_NAMED + 1} others"]
    before = f"{', '.join(shown[:-1])} or " if len(shown) > 1 else ""
    return f"{before}{shown[-1]}"


def _beside(names: Sequence[str]) -> str:
    """Who is not told apart from the first, in a sentence."""
    if not names:
        return ""
    shown = list(names)
    if len(names) > MOST_NAMED:
        shown = [*names[: MOST_NAMED - 1], f"{len(names) - MOST_NAMED + 1} others"]
    before = f"{', '.join(shown[:-1])} and " if len(shown) > 1 else ""
    return f", not told apart from {before}{shown[-1]}"


def _notes_told(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Each note once, behind the optimisers that it is about; many of them in one paragraph."""
    about: dict[str, list[str]] = {}
    for row in rows:
        for note in row["notes"]:
            about.setdefault(note, []).append(row["optimiser"])
    told = [f"{', '.join(names)}: {note}" for note, names in about.items()]
    return [f"{note}." for note in told] if len(told) <= MOST_NOTES else [f"{'; '.join(told)}."]


def number_told(value: float, error: float) -> str:
    """A number with its error, where seeds or records leave one; a dash for what is not finite."""
    if not np.isfinite(value):
        return MISSING
    return show(value, error) if 0 < error < np.inf else f"{value:.4g}"
