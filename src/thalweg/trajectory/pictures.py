"""What a trajectory shows: a variable along training time, as the description of a figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thalweg.core.errors import require, unknown
from thalweg.core.result import Result
from thalweg.dynamics.stability import StabilityRule
from thalweg.report import Figure, Level, Number, Panel, Series

RUN = "run"
TIME = "training time"
SPREAD = 30.0  # largest over smallest value from which on an axis is logarithmic
FAR = 5.0  # a threshold so many times above the data would press the curves flat
MOST_LINES = 64
SEEDS = ("lines", "median")
PROCESS = ("result", "step", "evaluations")


def picture(
    data: xr.Dataset,
    run: str,
    rule: StabilityRule | None,
    what: str,
    seeds: str,
    log: bool | None,
    label: str,
    clock: str,
    select: dict[str, Any],
) -> tuple[Figure, xr.Dataset]:
    """A variable of a trajectory over time, and the dataset that the figure draws from.

    Args:
        data: All of the trajectory.
        run: Its name.
        rule: Of its stability, if it told one.
        what: See `Trajectory.plot`, as all that follow.
        seeds: How they are drawn.
        log: Whether the vertical axis is logarithmic.
        label: Of the legend.
        clock: The horizontal axis.
        select: Values of dimensions.

    Raises:
        InputError: See `Trajectory.plot`.
    """
    drawable = [str(v) for v in data if "time" in data[v].dims and data[v].dtype.kind in "iuf"]
    plain = [v for v in drawable if not v.endswith(("_result", "_error")) and v not in PROCESS]
    require(what in drawable, unknown(what, plain, "variable of this run"))
    require(seeds in SEEDS, unknown(seeds, SEEDS, "way to draw seeds"))
    require_clock(data, clock, ("time",), "run")
    variable = data[what]
    over = [str(dim) for dim in variable.dims if dim != "time"]
    for dim in select:
        require(dim in over, unknown(dim, over, f"dimension of {what!r}"))
    chosen = {dim: _first(data, dim) for dim in over if data.sizes[dim] == 1} | select
    left = [dim for dim in over if dim not in chosen]
    require(
        len(left) <= 1,
        f"{what!r} has the dimensions {' and '.join(left)} besides time; choose of all but one, as "
        f"plot({what!r}, {', '.join(f'{dim}={_first(data, dim)!r}' for dim in left[:-1])})",
    )
    each = left[0] if left else ""
    require(
        not each or data.sizes[each] <= MOST_LINES,
        f"{what!r} has {data.sizes.get(each, 0)} values along {each}, too many to draw; choose "
        f"one, as plot({what!r}, {each}=0)",
    )
    name = label or run
    middle = each == "seed" and seeds == "median"
    drawn = data
    if middle:
        drawn, series = _median(data, what, chosen, name, clock)
    else:
        error = f"{what}_error" if f"{what}_error" in data else ""
        named = name if each in ("", "seed") else label
        line = Series(RUN, what, clock, label=named, select=chosen, each=each, error=error)
        series = (line,)
    values = variable.values[np.isfinite(variable.values)]
    if log is None:
        log = bool(values.size and values.min() > 0 and values.max() > SPREAD * values.min())
    levels = (*_threshold(data[what], rule), *_ends(data, chosen.get("seed"), clock))
    panel = Panel(
        series, x_label=clock_label(data[clock]), y_label=axis_label(variable), y_log=log,
        levels=levels,
    )  # fmt: skip
    return Figure("picture", f"{_words(what)} of {run}", "", (panel,)), drawn


def require_clock(data: xr.Dataset, clock: str, dims: tuple[str, ...], of: str) -> None:
    """Refuse a horizontal axis that is no clock of the records.

    Raises:
        InputError: If there is no coordinate of that name along these dimensions.
    """
    known = [str(c) for c in data.coords if data[c].dims == dims and data[c].attrs.get("units")]
    known = ["time", *(c for c in known if c != "time")]
    require(clock in known, unknown(clock, known, f"clock of this {of}"))


def clock_label(clock: xr.DataArray) -> str:
    """A clock and its unit, as the horizontal axis says them."""
    if clock.name == "time":
        return TIME
    unit = unit_of(clock)
    return f"{clock.attrs['long_name']}{f' ({unit})' if unit else ''}"


def run_tiles(data: xr.Dataset) -> list[Number]:
    """What a card says of a trajectory."""
    last = float(data["time"].values[-1])
    shown = [
        Number("training time", last, note=f"{data.sizes['time']} records"),
        Number("seeds", int(data.sizes["seed"])),
    ]
    for name in ("loss", "accuracy", "sharpness", "smallest_eigenvalue"):
        if name in data and (number := _at_the_end(data, name)) is not None:
            shown.append(number)
    if "evaluations" in data:
        spent = int(data["evaluations"].values[:, -1].max())
        shown.append(Number("gradients", spent, note="measuring not counted"))
    return shown


def axis_label(variable: xr.DataArray) -> str:
    """A variable's name and unit, as an axis says it."""
    unit = unit_of(variable)
    word = _words(str(variable.name))
    return f"{word} ({unit})" if unit and unit != word else word


def unit_of(variable: xr.DataArray) -> str:
    """The unit of a variable as it is printed; "" if it has none."""
    unit = str(variable.attrs.get("units", ""))
    return "" if unit == "1" else unit.replace("^2", "²").replace("^3", "³")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _first(data: xr.Dataset, dim: str) -> Any:
    return data[dim].values[0].item() if dim in data.coords else 0


def _median(
    data: xr.Dataset, what: str, chosen: dict[str, Any], name: str, clock: str
) -> tuple[xr.Dataset, tuple[Series, ...]]:
    """The median over seeds, between the lowest and the highest of each time."""
    values = data[what]
    count = data.sizes["seed"]
    ends = {"median": values.median("seed"), "low": values.min("seed"), "high": values.max("seed")}
    table = xr.Dataset({f"{what}_{end}": it for end, it in ends.items()})
    here: dict[str, Any] = {"x": clock, "select": chosen, "group": name}
    middle = Series(RUN, f"{what}_median", label=f"{name}, median of {count} seeds", **here)
    edges = [
        Series(RUN, f"{what}_{end}", label=f"{name}, lowest and highest", style="dash", **here)
        for end in ("low", "high")
    ]
    return table, (middle, *edges)


def _threshold(variable: xr.DataArray, rule: StabilityRule | None) -> tuple[Level, ...]:
    """The line of stability, where the variable is what it is about and comes near it."""
    if rule is None or not rule.known or rule.eigenvalue != variable.name:
        return ()
    values = variable.values
    top = np.max(values[np.isfinite(values)], initial=0.0)
    if not rule.threshold < FAR * top:
        return ()
    formula = rule.formula
    short = formula[:1] in ("2", "(") and len(formula) < 48
    return (Level(float(rule.threshold), formula if short else "threshold"),)


def _ends(data: xr.Dataset, seed: Any, clock: str) -> tuple[Level, ...]:
    """Where the run, or the first of its seeds, left the finite numbers."""
    codes = [data[v] for v in ("result", "loss_result") if v in data]
    lost = np.logical_or.reduce([(code == int(Result.NONFINITE)).values for code in codes])
    labels = data["seed"].values
    lost = lost[[seed is None or label == seed for label in labels]]
    if not lost.any():
        return ()
    count, first = int(lost.any(axis=1).sum()), int(np.argmax(lost.any(axis=0)))
    told = "diverged" if len(lost) == 1 else f"{count} of {len(lost)} seeds diverged, from here on"
    return (Level(float(data[clock].values[first]), told, axis="x"),)


def _at_the_end(data: xr.Dataset, name: str) -> Number | None:
    """The last value: its mean and standard error over seeds, its own error if there is but one."""
    if set(data[name].dims) != {"seed", "time"}:
        return None
    known = np.isfinite(data[name].values).any(axis=0)
    if not known.any():
        return None
    at = int(np.flatnonzero(known)[-1])
    last = data[name].values[:, at]
    unit = unit_of(data[name])
    unit = "" if unit == name else unit
    note = f"at training time {data['time'].values[at]:.4g}"
    label = f"{_words(name)} at the end" if known[-1] else f"last known {_words(name)}"
    if len(last) > 1:
        good = last[np.isfinite(last)]
        error = float(good.std(ddof=1) / np.sqrt(len(good))) if len(good) > 1 else None
        return Number(label, float(good.mean()), error, unit, f"mean of {len(good)} seeds, {note}")
    error = float(data[f"{name}_error"].values[0, at]) if f"{name}_error" in data else None
    return Number(label, float(last[0]), error or None, unit, note)
