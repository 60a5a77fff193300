"""The page of a race: curves over gradients and seconds, and the table of costs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from thalweg.core.doors import guarded
from thalweg.report import (
    Figure,
    Level,
    Number,
    Page,
    Panel,
    Series,
    TextTable,
    build,
    build_index,
    write_page,
)
from thalweg.report.notebook import card, plot_figure
from thalweg.report.number import show
from thalweg.storage.datasets import save_dataset
from thalweg.storage.files import ReadOnlyError, writing
from thalweg.sweeps.race_result import PRICES, RaceRecords, number_told
from thalweg.trajectory.provenance import versions

CURVES, TABLE = "curves", "race"
ABOVE = 1.5  # times the highest loss at the start: what is above is not drawn
MOST_DRAWN = 9  # optimisers that a picture has room for


@guarded("plot")
class Race(RaceRecords):
    """Optimisers at equal cost, each at the best of its settings: see `RaceRecords`."""

    def plot(self, what: str = "race", ax: Any = None, *, panel: str = "") -> Any:
        """Draw the loss against gradients and CPU seconds with matplotlib.

        Args:
            what: "race".
            ax: Axes to draw in, one for each panel; new ones by default.
            panel: "a", gradients, or "b", seconds; both by default.

        Returns:
            The axes: of one panel itself, of several an array.

        Raises:
            InputError: If there is no such figure, axes of another number came, or matplotlib is
                not installed.
        """
        return plot_figure([race_figure(self)], {CURVES: race_curves(self)}, what, ax, panel)

    def _repr_html_(self) -> str:
        """What a notebook shows: who was best, and the curves."""
        shown = (*self.sentences, *self._where())
        return card(
            "Race", self.sentence, "neutral", list(race_numbers(self)), race_figure(self),
            {CURVES: race_curves(self)}, shown,
        )  # fmt: skip

    def kept(self, folder: Path, command: str, data: str) -> Race:
        """The same, with its page in a folder; without one where that is read-only."""
        try:
            page = keep_race(self, folder, command, data)
        except ReadOnlyError:  # all were raced before: the result stands
            page = None
        return dataclasses.replace(self, folder=folder, page=page)


def race_curves(found: RaceRecords) -> xr.Dataset:
    """Each optimiser at its best: the median over seeds, and half the range of them as its error.

    What is far above the start is left out, as it would set the axis; a loss that has fallen to 0
    but for rounding of the start is that rounding, which a logarithmic axis can show.
    """
    table = found.dataset
    names = [row["optimiser"] for row in found.rows()][:MOST_DRAWN]
    top = ABOVE * float(np.nanmax(table["loss"].values[:, 0, :, 0]))
    floor = _floor(found)
    loss, band, cost, seconds = [], [], [], []
    for name in names:
        row = table.sel(optimiser=name)
        at = max(int(row["best"]), 0)
        values = row["loss"].values[at]
        middle = np.median(values, axis=0)
        with np.errstate(invalid="ignore"):
            half = np.ptp(values, axis=0) / 2
        shown = np.isfinite(middle) & (middle <= top)
        middle = np.where(np.abs(middle) < floor, floor, middle)
        loss.append(np.where(shown, middle, np.nan))
        band.append(np.where(shown & np.isfinite(half), half, 0.0))
        spent = np.median(row["cost"].values[at], axis=0)
        cost.append(spent)
        seconds.append(spent * float(row["seconds_per_gradient"]))
    dims = ("optimiser", "record")
    return xr.Dataset(
        {
            "loss": (dims, np.stack(loss), {"units": "loss", "long_name": "loss, median"}),
            "loss_error": (dims, np.stack(band), {"units": "loss", "long_name": "half the range"}),
            "cost": (dims, np.stack(cost), {"units": "gradient", "long_name": "gradients spent"}),
            "seconds": (dims, np.stack(seconds), {"units": "s", "long_name": "CPU seconds"}),
        },
        {"optimiser": names, "record": np.arange(len(cost[0]))},
    )


def _floor(found: RaceRecords) -> float:
    """What rounding of the loss at the start leaves in doubt of a loss."""
    start = found.dataset["loss"].values[:, 0, :, 0]
    return float(np.finfo(start.dtype).eps * np.nanmax(np.abs(start), initial=0.0))


def race_figure(found: RaceRecords) -> Figure:
    """Loss against gradients, and against seconds."""
    seeds = found.dataset.sizes["seed"]
    positive = bool(np.nanmin(race_curves(found)["loss"].values, initial=np.inf) > 0)
    mark = (Level(found.goal, "goal"),) if np.isfinite(found.goal) else ()

    def panel(x: str, label: str) -> Panel:
        error = "loss_error" if seeds > 1 else ""
        drawn = Series(CURVES, "loss", x, each="optimiser", error=error)
        return Panel((drawn,), x_label=label, y_label="loss", y_log=positive, levels=mark)

    band = "; bands are half the range over seeds" if seeds > 1 else ""
    many = found.dataset.sizes["optimiser"]
    some = f" The best {MOST_DRAWN} of {many} are drawn." if many > MOST_DRAWN else ""
    if bool(np.any(race_curves(found)["loss"] == _floor(found))):
        some += f" Losses below {_floor(found):.1g}, the rounding of the start's, are drawn there."
    drawn_losses = race_curves(found)["loss"].values
    above = (
        f" Losses above {ABOVE:g} times that of the start are not drawn."
        if bool(np.any(np.isnan(drawn_losses)))
        else ""
    )
    return Figure(
        "race",
        "Each optimiser at its best setting",
        f"The median over {seeds} seed{'s' if seeds > 1 else ''}{band}. Seconds are CPU seconds of "
        f"one path alone, in proportion to its gradients, compiling not counted.{some}{above}",
        (panel("cost", "gradients spent"), panel("seconds", "CPU seconds")),
    )


def race_numbers(found: RaceRecords) -> tuple[Number, ...]:
    """The numbers of the best."""
    first = found.rows()[0]
    setting = first["setting"]
    shown = [Number("best", first["optimiser"])]
    if setting == setting:
        shown.append(Number(f"its {first['tuned'].replace('_', ' ')}", setting))
    shown += [
        Number("final loss", first["final_loss"], first["final_loss_error"]),
        Number("gradients to goal", first["to_goal"], first["to_goal_error"],
               note=f"loss {found.goal:.4g}"),
        Number("seconds to goal", first["seconds_to_goal"], first["seconds_to_goal_error"],
               "s", "CPU, compiling not counted"),
        Number("budget", found.budget, unit="gradients", note="of each, at each setting"),
    ]  # fmt: skip
    return tuple(number for number in shown if _finite(number.value))


def keep_race(found: RaceRecords, folder: Path, command: str, data: str) -> Path:
    """Write data sets and page into a folder, and build it."""
    save_dataset(race_curves(found), folder / f"{CURVES}.zarr")
    stored = found.dataset.assign_attrs(goal=found.goal, budget=found.budget, by=found.by)
    save_dataset(stored, folder / f"{TABLE}.zarr")
    with writing(folder):
        write_page(race_page(found, command, data), folder)
        page = build(folder)
    build_index(folder.resolve().parent)
    return page


def race_page(found: RaceRecords, command: str, data: str) -> Page:
    """What the page says besides the stored data."""
    about = found.problem.describe()
    what = about.get("model", about.get("kind", "the problem"))
    on = f" on {about['examples']} examples" if "examples" in about else ""
    on += f" of {data}" if data else ""
    return Page(
        title=f"Race of optimisers{f': {data}' if data else ''}",
        kind="comparison",
        question=(
            f"Which optimiser trains {' '.join(str(what).split())}{on} best with "
            f"{found.budget:g} gradients, each tuned over one grid?"
        ),
        verdict=found.sentence,
        numbers=race_numbers(found),
        paragraphs=found.sentences,
        figures=(race_figure(found),),
        tables=(cost_table(found),),
        provenance={
            **{f"problem: {k}": v for k, v in about.items() if isinstance(v, str | int | float)},
            **{f"version of {k}": v for k, v in versions().items()},
        },
        command=command,
        datasets=(CURVES, TABLE),
        source="D. Choi et al., On Empirical Comparisons of Optimizers for Deep Learning, 2019, "
        "arXiv:1910.05446",
    )


def cost_table(found: RaceRecords) -> TextTable:
    """The table of costs: a row for each optimiser, from the best to the worst."""
    goal = f"the loss {found.goal:.4g}" if np.isfinite(found.goal) else "which there is none of"
    return TextTable(
        "What each costs",
        (
            "optimiser", "best at", "final loss", "gradients", "seconds", "a step",
            "ms a step", "compile, s", "state, kB", "diverged",
        ),
        tuple(_cells(row, found) for row in found.rows()),
        f"Gradients and seconds of the CPU are those to the goal, {goal}; then "
        "the gradients of a step. Behind ± is the standard error of the median over seeds, with "
        "what the records leave open. Compiling takes less where a program was kept from an "
        "earlier call. State is what a step carries to the next beside the parameters. " + PRICES,
    )  # fmt: skip


def _cells(row: dict[str, Any], found: RaceRecords) -> tuple[str, ...]:
    seeds = found.dataset.sizes["seed"]
    return (
        row["optimiser"],
        at_best(row),
        number_told(row["final_loss"], row["final_loss_error"]),
        to_goal(row, seeds),
        number_told(row["seconds_to_goal"], row["seconds_to_goal_error"]),
        f"{row['per_step']:.3g}",
        f"{1e3 * row['seconds_per_step']:.3g}",
        f"{row['compiling']:.2g}",
        show(row["state_bytes"] / 1e3),
        f"{row['diverged']} of {row['trials'] * seeds}",
    )


def at_best(row: dict[str, Any]) -> str:
    """The best setting in words."""
    if row["setting"] != row["setting"]:
        return "–" if row["tuned"] else "as it is"
    return f"{row['tuned'].replace('_', ' ')} {row['setting']:.3g}"


def to_goal(row: dict[str, Any], seeds: int) -> str:
    """Gradients to the goal, or how many seeds reached it."""
    if not np.isfinite(row["to_goal"]):
        return f"not reached ({row['arrived']} of {seeds} seeds)"
    return number_told(row["to_goal"], row["to_goal_error"])


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or bool(np.isfinite(value))
