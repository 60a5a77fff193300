"""What a sweep shows: a variable of all its members along training time."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.core.errors import require, unknown
from thalweg.report import Figure, Number, Panel, Series
from thalweg.report.notebook import card
from thalweg.sweeps.beyond import cut_off, staying
from thalweg.sweeps.records import SweepRecords
from thalweg.trajectory.pictures import SPREAD, axis_label, clock_label, require_clock

SWEEP = "sweep"
DIGITS = 3  # of a member's label in a legend, if they tell them apart


def sweep_picture(
    sweep: SweepRecords, what: str, seed: int | None, log: bool | None, clock: str = "time"
) -> tuple[Figure, xr.Dataset]:
    """A variable of all members over time, and the dataset that the figure draws from.

    Raises:
        InputError: See `Sweep.plot`.
    """
    data, dim = sweep.dataset, sweep.members.dim
    drawable = [str(v) for v in data if set(data[v].dims) == {dim, "seed", "record"}]
    measured = [v for v in drawable if f"{v}_result" in drawable]
    require(what in drawable, unknown(what, measured, "variable of this sweep"))
    seed = sweep.seeds[0] if seed is None else seed
    require(
        seed in sweep.seeds,
        f"seed came as {seed}; the sweep has {', '.join(map(str, sweep.seeds))}",
    )
    require_clock(data, clock, (dim, "record"), "sweep")
    data = data.sel(seed=[seed])
    stay = staying(data["loss"].values, sweep.diverged[:, [sweep.seeds.index(seed)]])
    known = data[what].values[stay] if stay.any() else data[what].values
    known = known[np.isfinite(known)]
    if log is None:
        log = bool(known.size and known.min() > 0 and known.max() > SPREAD * known.min())
    wanted = [name for name in (what, f"{what}_error") if name in data]
    chosen = data[wanted].reset_coords(
        [c for c in data.coords if c not in (dim, "seed", "record", "time", clock)], drop=True
    )
    chosen, marks = cut_off(chosen, wanted[0], stay, log, wanted[0])
    words, short = dim.replace("_", " "), _short(sweep, dim)
    chosen = chosen.drop_vars(dim, errors="ignore").rename({dim: words})
    chosen = chosen.assign_coords({words: short})
    error = f"{what}_error" if f"{what}_error" in data else ""
    series = Series(SWEEP, what, clock, each=words, select={"seed": seed}, error=error)
    panel = Panel(
        (series,), x_label=clock_label(data[clock]), y_label=axis_label(data[what]), y_log=log,
        levels=marks,
    )  # fmt: skip
    title = f"{what.replace('_', ' ')} of all members, seed {seed}"
    return Figure("picture", title, "", (panel,)), chosen


def sweep_card(sweep: SweepRecords) -> str:
    """What ran and what diverged, with the loss of all members."""
    first, *notes = str(sweep).split("\n")
    lost = sweep.diverged
    numbers = [
        Number("members", len(sweep.members.dynamics)),
        Number("seeds", len(sweep.seeds)),
        Number("diverged", int(lost.sum()), note=f"of {lost.size} runs"),
        Number("time", round(sweep.seconds, 2), unit="s", note="compiling not counted"),
    ]
    figure, data = sweep_picture(sweep, "loss", None, None)
    return card(
        "Sweep", first, "warn" if lost.any() else "neutral", numbers, figure, {SWEEP: data}, notes
    )


def _short(sweep: SweepRecords, dim: str) -> np.ndarray:
    """The members' labels in few digits, if these tell them apart; else what they are called."""
    labels = sweep.members.labels.get(dim)
    if labels is not None and len(sweep.members.labels) == 1:
        short = np.asarray([float(f"{value:.{DIGITS}g}") for value in labels])
        return short if len(np.unique(short)) == len(labels) else np.asarray(labels)
    return np.asarray([sweep.members.told(i) for i in range(len(sweep.members.dynamics))])
