"""A figure as Plotly's JSON, from its specification and the stored data. No pixels here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from thalweg.core.errors import InputError, require, unknown
from thalweg.report.axes import as_text, base_layout, level_label, level_line, log_ticks
from thalweg.report.number import show
from thalweg.report.spec import Figure, Level, Panel, Scalar, Series
from thalweg.report.store import PathLike, open_data
from thalweg.report.thin import thin

# Okabe and Ito's palette without its yellow, which is too light for a line on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
# Viridis without its light end, for a dimension with more values than the palette has colours.
RAMP = ("#440154", "#3b528b", "#21918c", "#5ec962")
REPLICATES = ("seed",)
LEGEND_ENTRIES = 8

Open = Callable[[str], xr.Dataset]
Colours = dict[tuple[str, Scalar | None], str]
Lines = list[tuple[str, Scalar | None, xr.Dataset]]


@dataclass
class _Shared:
    """What the series of one figure have in common."""

    colours: Colours = field(default_factory=dict)
    entries: set[tuple[str, str]] = field(default_factory=set)
    joint: dict[tuple[str, str], bool] = field(default_factory=dict)
    thinned: bool = False


def draw(figure: Figure, find: Open) -> dict[str, Any]:
    """A figure as a Plotly figure (`data`, `layout`) of plain lists and numbers.

    Args:
        figure: What to draw.
        find: Gives the dataset of a name.

    Returns:
        Plotly's JSON; `layout.meta` holds `thinned` (whether points were left out),
        `panels` (how many) and `legend` (its entries' texts), which the page's script reads.

    Raises:
        InputError: If a variable, dimension or label is not in its dataset, or a series has
            more than one dimension left.

    Examples:
        >>> import xarray as xr
        >>> from thalweg.report import Figure, Panel, Series, draw
        >>> data = xr.Dataset({"loss": ("time", [4.0, 1.0])}, {"time": [0.0, 1.0]})
        >>> figure = Figure("decay", "Decay", "The loss.", (Panel((Series("bowl", "loss"),)),))
        >>> draw(figure, lambda name: data)["data"][0]["y"]
        [4.0, 1.0]
    """
    shared = _Shared()
    whole = base_layout(figure)
    traces: list[dict[str, Any]] = []
    for index, panel in enumerate(figure.panels):
        suffix = str(index + 1) if index else ""
        axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        for series in panel.series:
            lines = _lines(series, find(series.data))
            traces += [axes | trace for trace in _traces(series, lines, panel, shared)]
        for level in panel.levels:
            value = _level_value(level, find)
            log = panel.x_log if level.axis == "x" else panel.y_log
            if not np.isfinite(value) or (log and value <= 0):
                continue
            whole["shapes"].append(level_line(level, value, suffix))
            if level.label:
                whole["annotations"].append(level_label(level, value, suffix, log))
        for axis, log in (("x", panel.x_log), ("y", panel.y_log)):
            if log:
                whole[f"{axis}axis{suffix}"] |= log_ticks(traces, axis, axis + suffix)
    entries = [trace["name"] for trace in traces if trace["showlegend"]]
    legend = entries if len(entries) > 1 else []
    whole["showlegend"] = bool(legend)
    whole["meta"] = {"thinned": shared.thinned, "panels": len(figure.panels), "legend": legend}
    return {"data": traces, "layout": whole}


def draw_stored(figure: Figure, folder: PathLike) -> dict[str, Any]:
    """`draw` with the datasets of a run folder.

    Raises:
        InputError: Also if a dataset is missing or damaged.
    """
    try:
        return draw(figure, functools.cache(functools.partial(open_data, folder)))
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"the data of figure {figure.name!r} ({', '.join(figure.data_names())}) in {folder} "
            f"cannot be read ({error}); run the study again."
        ) from error


def _traces(
    series: Series, lines: Lines, panel: Panel, shared: _Shared
) -> Iterator[dict[str, Any]]:
    """The lines of a series, each behind its band if it has one."""
    # A second fan in the colours of a first (theory behind measurement) has one legend entry.
    again = bool(series.each and series.label) and _coloured(series, lines, shared.colours)
    joint = shared.joint.setdefault((series.label, series.style), again)
    _colour(series, lines, shared.colours)
    for number, (name, value, data) in enumerate(lines):
        x, y, error = (_values(data, key) for key in ("x", "y", "error"))
        if panel.y_log:  # a zero lies infinitely far below: a gap, not a plunge
            y = np.where(np.asarray(y, float) > 0, y, np.nan)
        kept = thin(x, y, log=panel.x_log)
        shared.thinned |= kept.size < y.size
        x, y, error = x[kept], y[kept], error[kept] if error.size else error
        colour = shared.colours[_key(series, value)]
        entry = _legend(series, lines, number)
        if joint:
            name, entry = series.label, series.label if number == 0 else ""
        fresh = bool(entry) and (entry, series.style) not in shared.entries
        shared.entries.add((entry, series.style))
        group = {"legendgroup": as_text(entry or name)}
        if error.size and series.style in ("line", "dash"):
            yield _band(x, y, error, colour, panel.y_log) | group
        line = _trace(series.style, x, y, error, colour, faint=_faint(series, lines))
        yield line | group | {"name": as_text(entry if fresh else name), "showlegend": fresh}


def _lines(series: Series, data: xr.Dataset) -> Lines:
    """One (name, value of `each`, dataset with one-dimensional x, y, error) per trace."""
    for name in (series.y, series.x, series.error):
        known = [*data.variables, *data.dims]
        require(not name or name in known, unknown(name, map(str, known), "variable"))
    keys = {"x": series.x, "y": series.y} | ({"error": series.error} if series.error else {})
    chosen = xr.Dataset({key: _variable(data, name) for key, name in keys.items()})
    for dim, value in series.select.items():
        chosen = _select(chosen, dim, value, series.data)
    label = series.label or str(data[series.y].attrs.get("long_name", series.y))
    if not series.each:
        return [(label, None, _flat(chosen, series))]
    require(series.each in chosen.dims, unknown(series.each, map(str, chosen.dims), "dimension"))
    lines: Lines = []
    for position in range(chosen.sizes[series.each]):
        one = chosen.isel({series.each: position})
        value = one[series.each].item() if series.each in one.coords else position
        shown = value if isinstance(value, str) else f"{series.each} {show(value)}"
        # "mode, mode 1" says one thing twice.
        named = series.label and not shown.startswith(f"{series.label} ")
        name = f"{series.label}, {shown}" if named else shown
        lines.append((name, value, _flat(one, series)))
    return lines


def _variable(data: xr.Dataset, name: str) -> xr.DataArray:
    """A variable under no name of its own, so that x may be the very coordinate of y."""
    if name in data.variables:
        source = data[name]
    else:
        source = xr.DataArray(np.arange(data.sizes[name]), dims=name)
    require(
        not np.issubdtype(source.dtype, np.complexfloating),
        f"variable {name!r} is complex; store its real and imaginary parts to draw them.",
    )
    return source.rename(None)


def _select(data: xr.Dataset, dim: str, value: Scalar, name: str) -> xr.Dataset:
    require(dim in data.dims, unknown(dim, map(str, data.dims), f"dimension of {name!r}"))
    if dim not in data.coords:
        size = data.sizes[dim]
        require(
            isinstance(value, int) and -size <= value < size,
            f"dimension {dim!r} of {name!r} has no position {value!r}; it has {size}.",
        )
        return data.isel({dim: value})
    nearest = np.issubdtype(data[dim].dtype, np.floating)
    try:
        return data.sel({dim: value}, method="nearest" if nearest else None)
    except (KeyError, TypeError, ValueError) as error:
        labels = ", ".join(str(label) for label in data[dim].values[:12])
        raise InputError(
            f"coordinate {dim!r} of {name!r} has no label {value!r}; it has {labels}."
        ) from error


def _flat(data: xr.Dataset, series: Series) -> xr.Dataset:
    require(
        len(data.dims) <= 1,
        f"{series.y!r} over {series.x!r} of {series.data!r} has the dimensions "
        f"{', '.join(map(str, data.dims))}; use select or each until one is left.",
    )
    return data if data.dims else data.expand_dims("point")


def _values(data: xr.Dataset, key: str) -> np.ndarray:
    if key not in data:
        return np.empty(0)
    size = next(iter(data.sizes.values()))
    return np.broadcast_to(data[key].values, (size,))


def _key(series: Series, value: Scalar | None) -> tuple[str, Scalar | None]:
    alike = series.each in REPLICATES
    return series.group or series.label or series.y, None if alike else value


def _coloured(series: Series, lines: Lines, colours: Colours) -> bool:
    return all(_key(series, value) in colours for _, value, _ in lines)


def _colour(series: Series, lines: Lines, colours: Colours) -> None:
    """Give every line that has none yet a colour: the next of the palette, or one of the ramp."""
    keys = list(dict.fromkeys(_key(series, value) for _, value, _ in lines))
    for position, key in enumerate(keys):
        if len(keys) > len(PALETTE):
            colours.setdefault(key, _ramp(position / (len(keys) - 1)))
        else:
            colours.setdefault(key, PALETTE[len(colours) % len(PALETTE)])


def _ramp(place: float) -> str:
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in RAMP])
    at = np.linspace(0, 1, len(RAMP))
    return "#" + "".join(f"{round(np.interp(place, at, stops[:, i])):02x}" for i in range(3))


def _legend(series: Series, lines: Lines, number: int) -> str:
    """The legend's text of a line; "" if a neighbour speaks for it."""
    if not series.each or len(lines) == 1:
        return lines[number][0]
    if series.each in REPLICATES:
        return f"{series.label or series.y} ({len(lines)} {series.each}s)" if number == 0 else ""
    spoken = np.linspace(0, len(lines) - 1, min(len(lines), LEGEND_ENTRIES)).round()
    return lines[number][0] if number in spoken else ""


def _faint(series: Series, lines: Lines) -> bool:
    return series.each in REPLICATES and len(lines) > 2


def _trace(
    style: str, x: np.ndarray, y: np.ndarray, error: np.ndarray, colour: str, faint: bool
) -> dict[str, Any]:
    trace: dict[str, Any] = {"type": "scatter", "x": _list(x), "y": _list(y)}
    if style == "points":
        trace |= {"mode": "markers", "marker": {"color": colour, "size": 6}}
    else:
        line = {"color": colour, "width": 1.25 if faint else 2}
        line |= {"dash": "5px,4px"} if style == "dash" else {}
        line |= {"shape": "hv"} if style == "steps" else {}
        trace |= {"mode": "lines", "line": line}
        # A value between two gaps has no line to be seen by.
        if _has_lonely(y):
            trace |= {"mode": "lines+markers", "marker": {"color": colour, "size": 4}}
    if faint:
        trace["opacity"] = 0.7
    if error.size and style in ("points", "steps"):
        trace["error_y"] = {"type": "data", "array": _list(error), "thickness": 1, "width": 3}
    return trace


def _has_lonely(y: np.ndarray) -> bool:
    drawn = np.concatenate([[False], np.isfinite(y), [False]])
    return bool(np.any(drawn[1:-1] & ~drawn[:-2] & ~drawn[2:]))


def _band(
    x: np.ndarray, y: np.ndarray, error: np.ndarray, colour: str, log: bool
) -> dict[str, Any]:
    """The strip y - error to y + error: one closed outline per stretch without a gap."""
    with np.errstate(invalid="ignore"):  # inf - inf is a gap like any other
        low, high = y - error, y + error
    if log and np.any(y > 0):
        # A logarithm ends below the smallest value; the band is cut a decade under it.
        low = np.maximum(low, np.min(y[y > 0]) / 10)
    outline_x: list[Any] = []
    outline_y: list[Any] = []
    for start, stop in _stretches(np.isfinite(low) & np.isfinite(high)):
        part = slice(start, stop)
        outline_x += [*_list(x[part]), *_list(x[part])[::-1], None]
        outline_y += [*_list(high[part]), *_list(low[part])[::-1], None]
    return {
        "type": "scatter",
        "x": outline_x,
        "y": outline_y,
        "mode": "lines",
        "fill": "toself",
        "fillcolor": _translucent(colour, 0.16),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _stretches(good: np.ndarray) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(int)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _translucent(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def _list(values: np.ndarray) -> list[Any]:
    """Values as JSON: a gap for what is not finite, nine digits (a screen shows four)."""
    if values.dtype.kind in "iu":
        return values.tolist()
    if values.dtype.kind == "f":
        return [float(f"{v:.9g}") if np.isfinite(v) else None for v in values.tolist()]
    return [as_text(str(value)) for value in values.tolist()]


def _level_value(level: Level, find: Open) -> float:
    if not isinstance(level.value, tuple):
        return float(level.value)
    name, variable = level.value
    data = find(name)
    require(variable in data.variables, unknown(variable, map(str, data.variables), "variable"))
    require(
        data[variable].size == 1,
        f"the level {level.label!r} wants one value, {variable!r} of {name!r} has the sizes "
        f"{dict(data[variable].sizes)}.",
    )
    return float(data[variable].item())
