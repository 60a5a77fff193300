"""The page of a map of regimes: the map over what differs, and all members over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from thalweg.comparison.regime import REGIMES
from thalweg.core.doors import guarded
from thalweg.core.errors import require
from thalweg.report import (
    Figure,
    Level,
    Number,
    Page,
    Panel,
    Series,
    build,
    write_page,
)
from thalweg.report.notebook import card, plot_figure
from thalweg.storage.datasets import save_dataset
from thalweg.storage.files import writing
from thalweg.sweeps.beyond import cut_off, shown
from thalweg.sweeps.regime_map import RegimeTable
from thalweg.trajectory.provenance import command_line

MAP, PATHS = "map", "paths"
TIME = "training time (sum of step sizes)"
HELP = (
    "Between the largest value of the grid up to which it holds for every seed, and the smallest "
    "at which it holds for none. A finer grid narrows it; seeds that differ keep it wide."
)
DIGITS = 3  # of a member's label in a legend, if they tell them apart


@guarded("page", "plot")
class RegimeMap(RegimeTable):
    """The regimes of a sweep, and their page: see `RegimeTable`."""

    def page(self, folder: str | Path | None = None, data: str = "", command: str = "") -> Path:
        """Write the page of the map, and return its path.

        Args:
            folder: Where; by default that of the sweep.
            data: What the data are called on the page.
            command: The command that makes the page again; that of this process by default.

        Raises:
            InputError: If there is no folder.
        """
        place = self.sweep.folder if folder is None else Path(folder)
        require(place is not None, "the sweep is in memory; give a folder for its page")
        assert place is not None
        return write_map(self, place, data, command)

    def plot(self, what: str = "map", ax: Any = None, *, panel: str = "") -> Any:
        """Draw the map, or another figure of its page, with matplotlib.

        Args:
            what: "map" (each run a point, coloured by its regime), "sharpness" or "paths" (all
                members over time), as far as it was measured.
            ax: Axes to draw in, one for each panel; new ones by default.
            panel: The letter of a single panel, as "a"; all by default.

        Returns:
            The axes: of one panel itself, of several an array.

        Raises:
            InputError: If there is no such figure, axes of another number came, or matplotlib is
                not installed.
        """
        return plot_figure(_figures(self), self._drawn, what, ax, panel)

    def _repr_html_(self) -> str:
        """What a notebook shows: where the regimes meet, and the map."""
        first, *others = self.sentences or ("Every member is judged by itself.",)
        return card(
            "The map of regimes", first, "neutral", _numbers(self), _figures(self)[0], self._drawn,
            others,
        )  # fmt: skip

    @property
    def _drawn(self) -> dict[str, xr.Dataset]:
        """The datasets of the figures by name."""
        return {MAP: _points(self), PATHS: _paths(self)}


def write_map(found: RegimeTable, folder: Path, data: str, command: str = "") -> Path:
    """Write data sets and page into a folder, and build it; the path of the page."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    save_dataset(_points(found), folder / f"{MAP}.zarr")
    save_dataset(_paths(found), folder / f"{PATHS}.zarr")
    with writing(folder):
        write_page(map_page(found, data, command), folder)
        return build(folder)


def map_page(found: RegimeTable, data: str, command: str = "") -> Page:
    """What the page says besides the stored data; `data` names what was trained on."""
    sweep, sentences = found.sweep, found.sentences
    about = sweep.problem.describe()
    name = sweep.members.dynamics[0].name
    what = about.get("model", about.get("kind", "the problem"))
    on = f" on {about['examples']} examples" if "examples" in about else ""
    on += f" of {data}" if data else ""
    seeds = f"{len(sweep.seeds)} seeds" if len(sweep.seeds) > 1 else "one seed"
    return Page(
        title=f"The map of regimes: {name}{f', {data}' if data else ''}",
        kind="comparison",
        question=(
            f"In which regime is {name} at each of {len(sweep.members.dynamics)} values of the "
            f"{found.quantity}, trained with {what}{on}, {seeds}?"
        ),
        verdict=sentences[0] if sentences else "Every member is judged by itself.",
        numbers=tuple(_numbers(found)),
        paragraphs=sentences[1:],
        figures=tuple(_figures(found)),
        provenance=_provenance(found, about),
        command=command or command_line(),
        datasets=(MAP, PATHS),
        source=(
            "J. Cohen et al., Gradient Descent on Neural Networks Typically Occurs at the Edge of "
            "Stability, ICLR 2021; A. Lewkowycz et al., The large learning rate phase of deep "
            "learning, 2020; O. Elkabetz and N. Cohen, Continuous vs. Discrete Optimization of "
            "Deep Neural Networks, NeurIPS 2021"
        ),
        minutes=round(sweep.seconds / 60, 2),
    )


def _points(found: RegimeTable) -> xr.Dataset:
    """The table with a dimension of regimes, each run in its own, so that colours tell them."""
    table = found.table
    runs = table.stack(run=table["regime"].dims)
    names = [name for name in REGIMES if bool((runs["regime"] == name).any())]
    columns = {}
    stays = (runs["regime"] != "divergent").values
    for name in [str(n) for n in table.data_vars if table[n].dtype.kind == "f"]:
        # Runs that diverge do not set the axis of the others: see `_points_mark`.
        drawn = shown(runs[name].values[:, None], stays, True)
        kinds = [(name, runs[name].values)]
        kinds += [(f"{name}_shown", drawn.values[:, 0])] if drawn.mark else []
        for called, values in kinds:
            each = [np.where(runs["regime"] == regime, values, np.nan) for regime in names]
            columns[called] = (("regime", "run"), np.stack(each), table[name].attrs)
    labels = {
        key: ("run", runs[key].values)
        for key in (*found.sweep.members.labels, "seed")
        if key in runs.coords
    }
    position = np.repeat(np.arange(table.sizes[found.sweep.members.dim]), table.sizes["seed"])
    return xr.Dataset(columns, {"regime": names, "position": ("run", position)} | labels)


def _points_mark(found: RegimeTable, name: str) -> tuple[str, tuple[Level, ...]]:
    """What a panel of the map draws, and the mark at which runs that diverge end."""
    table = found.table.stack(run=found.table["regime"].dims)
    stays = (table["regime"] != "divergent").values
    mark = shown(table[name].values[:, None], stays, True).mark
    return (f"{name}_shown" if mark else name), mark


def _paths(found: RegimeTable) -> xr.Dataset:
    """Loss and curvature of all members over time, and the eigenvalue over its threshold."""
    return _paths_and_marks(found)[0]


def _paths_and_marks(found: RegimeTable) -> tuple[xr.Dataset, dict[str, tuple[Level, ...]]]:
    """The same, each as it is drawn as well, and the marks at which members that diverge end."""
    data, sweep = found.sweep.dataset, found.sweep
    rules = [sweep.member(i).stability for i in range(len(sweep.members.dynamics))]
    kept = [name for name in ("loss", "sharpness") if name in data]
    kept += [f"{name}_error" for name in kept]
    chosen = data[[name for name in kept if name in data]].copy()
    eigenvalues = {rule.eigenvalue for rule in rules if rule is not None and rule.known}
    if len(eigenvalues) == 1 and (name := eigenvalues.pop()) in data:
        threshold = xr.DataArray(
            [np.nan if rule is None else rule.threshold for rule in rules], dims=sweep.members.dim
        )
        meta = {"units": "1", "long_name": f"{name.replace('_', ' ')} over its threshold"}
        chosen["stability"] = (data[name] / threshold).assign_attrs(meta)
        chosen["stability_error"] = (data[f"{name}_error"] / threshold).assign_attrs(meta)
    for name, values in sweep.members.labels.items():
        short = np.asarray([float(f"{value:.{DIGITS}g}") for value in values])
        if len(np.unique(short)) == len(values):
            chosen = chosen.assign_coords({name: (sweep.members.dim, short)})
    stay, marks = (found.table["regime"] != "divergent").values, {}
    for name in [n for n in ("loss", "sharpness", "stability") if n in chosen]:
        chosen, marks[name] = cut_off(chosen, name, stay, True)
    return chosen, marks


def _numbers(found: RegimeTable) -> list[Number]:
    seeds = f"over {len(found.sweep.seeds)} seeds" if len(found.sweep.seeds) > 1 else "one seed"
    shown = []
    for each in found.boundaries:
        low, high = each.bracket
        value = f"{low:.3g} to {high:.3g}"
        if not np.isfinite(high):
            value = f"above {low:.3g}" if low > 0 else "not known"
        elif low <= 0:
            value = f"below {high:.3g}"
        label = f"largest {found.quantity} that {each.name}"
        shown.append(Number(label, value, note=seeds, help=HELP))
    return shown


def _figures(found: RegimeTable) -> list[Figure]:
    quantity, sweep = found.quantity, found.sweep
    labels = sweep.members.labels
    x = sweep.members.dim if len(labels) == 1 else "position"
    log = len(labels) == 1 and bool((labels[sweep.members.dim] > 0).all())
    here: dict[str, Any] = {"x_label": quantity if len(labels) == 1 else "member", "x_log": log}

    def points(name: str, error: str = "") -> tuple[Series, ...]:
        drawn = marked[name][0]
        return (Series(MAP, drawn, x, each="regime", style="points", error=error),)

    names = ("share_of_way", "final_loss", "largest_stability")
    marked = {name: _points_mark(found, name) for name in names}

    ends = [
        Level(each.bracket[0], "all seeds follow", axis="x")
        for each in found.boundaries[:1]
        if each.bracket[0] > 0
    ]
    judged = bool(np.isfinite(found.table["largest_stability"].values).any())
    panels = [
        Panel(
            points("share_of_way", "share_of_way_error"), f"Distance from {found.flow}",
            y_label="share of the whole way", y_log=True,
            levels=(Level(found.eps, f"eps = {found.eps:g}"), *ends, *marked[names[0]][1]), **here,
        ),
        Panel(
            points("final_loss"), "Loss at the end", y_label="loss", y_log=True,
            levels=marked["final_loss"][1], **here,
        ),
    ]  # fmt: skip
    if judged:
        panels.append(
            Panel(
                points("largest_stability", "largest_stability_error"),
                "Largest curvature over its threshold", y_label="eigenvalue / threshold",
                y_log=True, levels=(Level(1.0, "threshold"), *marked[names[2]][1]), **here,
            )
        )  # fmt: skip
    figures = [
        Figure(
            "map",
            "The map of regimes",
            "Each point is one run, coloured by its regime. (a) Largest distance from "
            f"{found.flow} at equal {'loss' if found.apart else 'training time'}, over the "
            "farthest that the flow travels; below the line a run counts as following it. (b) Loss "
            "at the end; runs that diverged have none."
            + (
                " (c) Largest curvature met, over the threshold of stability of the run."
                if judged
                else ""
            ),
            tuple(panels),
        )
    ]
    seed = sweep.seeds[0]
    each: dict[str, Any] = {"each": sweep.members.dim, "select": {"seed": seed}}
    options: dict[str, Any] = {"x_label": TIME, "x_log": True, "y_log": True}
    said = f"Seed {seed}, each member on its own clock, from dark (small {quantity}) to light. "
    paths, marks = _paths_and_marks(found)
    drawn = {name: f"{name}_shown" if mark else name for name, mark in marks.items()}
    if "sharpness" in paths:
        figures.append(
            Figure(
                "sharpness",
                "Sharpness over time",
                said + "Members that follow the flow lie on one curve.",
                (
                    Panel(
                        (
                            Series(
                                PATHS, drawn["sharpness"], error=f"{drawn['sharpness']}_error",
                                **each,
                            ),
                        ),
                        y_label="loss/parameter²", levels=marks["sharpness"], **options,
                    ),
                ),
            )
        )  # fmt: skip
    over = [
        Panel(
            (Series(PATHS, drawn["loss"], **each),), "Loss", y_label="loss", levels=marks["loss"],
            **options,
        )
    ]  # fmt: skip
    if "stability" in paths:
        over.append(
            Panel(
                (Series(PATHS, drawn["stability"], **each),), "Curvature over its threshold",
                y_label="eigenvalue / threshold",
                levels=(Level(1.0, "threshold"), *marks["stability"]), **options,
            )
        )  # fmt: skip
    figures.append(
        Figure(
            "paths",
            "All members over time",
            said + "Where the curvature reaches its threshold a member leaves the flow.",
            tuple(over),
        )
    )
    return figures


def _provenance(found: RegimeTable, about: dict[str, Any]) -> dict[str, Any]:
    sweep = found.sweep
    record = sweep.member(0).provenance
    horizon = sweep.horizon
    flows = list({id(flow): flow for flow in found.flows}.values())
    flow = flows[0].provenance["configuration"]["dynamics"]
    spent = sum(float(each.dataset.attrs.get("seconds", 0.0)) for each in flows)
    return {
        "started": record["started"],
        "seconds of the sweep with measurements": round(sweep.seconds, 2),
        "seconds of the flows": round(spent, 2),
        "flows": str(len(flows)),
        "seeds": ", ".join(map(str, sweep.seeds)),
        **{k: str(v) for k, v in horizon._asdict().items() if v is not None},
        **{
            f"swept: {k}": ", ".join(f"{x:.6g}" for x in v) for k, v in sweep.members.labels.items()
        },
        **{f"flow: {k}": str(v) for k, v in flow.items()},
        **{f"problem: {k}": str(v) for k, v in about.items() if k != "data"},
        **{
            f"data: {k}": str(v)
            for k, v in (about["data"].items() if isinstance(about.get("data"), dict) else ())
        },
        **{f"version of {k}": v for k, v in record["versions"].items()},
        **{k: str(v) for k, v in record["platform"].items()},
    }
