"""A figure as Plotly's JSON, from its specification and the stored data. No pixels here."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from thalweg.core.errors import InputError, require, unknown
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
INK, GRID = "#22292f", "#e6e3dc"
FONT = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"

Open = Callable[[str], xr.Dataset]
Colours = dict[tuple[str, Scalar | None], str]
Lines = list[tuple[str, Scalar | None, xr.Dataset]]


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
    """
    colours: Colours = {}
    named: set[tuple[str, str]] = set()
    joined: dict[tuple[str, str], bool] = {}
    layout = _layout(figure)
    traces: list[dict[str, Any]] = []
    thinned = False
    for index, panel in enumerate(figure.panels):
        suffix = str(index + 1) if index else ""
        axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        for series in panel.series:
            lines = _lines(series, find(series.data))
            # A second fan in the colours of a first (theory behind measurement) has one entry.
            again = bool(series.each and series.label) and _coloured(series, lines, colours)
            joint = joined.setdefault((series.label, series.style), again)
            _colour(series, lines, colours)
            for number, (name, value, data) in enumerate(lines):
                x, y, error = (_values(data, key) for key in ("x", "y", "error"))
                kept = thin(x, y, log=panel.x_log)
                thinned |= kept.size < y.size
                x, y, error = x[kept], y[kept], error[kept] if error.size else error
                colour = colours[_key(series, value)]
                entry = _legend(series, lines, number)
                if joint:
                    name, entry = series.label, series.label if number == 0 else ""
                fresh = bool(entry) and (entry, series.style) not in named
                named.add((entry, series.style))
                if error.size and series.style in ("line", "dash"):
                    traces.append(axes | _band(x, y, error, colour, entry or name, panel.y_log))
                trace = _trace(series.style, x, y, error, colour, faint=_faint(series, lines))
                traces.append(
                    axes
                    | trace
                    | {"name": _safe(entry if fresh else name), "showlegend": fresh}
                    | {"legendgroup": _safe(entry or name)}
                )
        for level in panel.levels:
            value = _level_value(level, find)
            layout["shapes"].append(_level_line(level, value, suffix))
            if level.label:
                layout["annotations"].append(_level_label(level, value, suffix, panel))
        for axis, log in (("x", panel.x_log), ("y", panel.y_log)):
            if log:
                layout[f"{axis}axis{suffix}"] |= _log_ticks(traces, axis, axis + suffix)
    entries = [trace["name"] for trace in traces if trace["showlegend"]]
    layout["showlegend"] = len(entries) > 1
    legend = entries if len(entries) > 1 else []
    layout["meta"] = {"thinned": thinned, "panels": len(figure.panels), "legend": legend}
    return {"data": traces, "layout": layout}


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
        name = f"{series.label}, {shown}" if series.label else shown
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
    x: np.ndarray, y: np.ndarray, error: np.ndarray, colour: str, group: str, log: bool
) -> dict[str, Any]:
    """The strip y - error to y + error: one closed outline per stretch without a gap."""
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
        "legendgroup": _safe(group),
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
    return [_safe(str(value)) for value in values.tolist()]


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


def _level_line(level: Level, value: float, suffix: str) -> dict[str, Any]:
    other = "y" if level.axis == "x" else "x"
    return {
        "type": "line",
        f"{level.axis}ref": level.axis + suffix,
        f"{other}ref": f"{other}{suffix} domain",
        f"{level.axis}0": value,
        f"{level.axis}1": value,
        f"{other}0": 0,
        f"{other}1": 1,
        "layer": "above",
        "line": {"color": INK, "width": 1.25, "dash": "2px,3px"},
    }


def _level_label(level: Level, value: float, suffix: str, panel: Panel) -> dict[str, Any]:
    """The label above the left end of a horizontal line, or right of the foot of a vertical one.

    Curves of training rise or fall from the left and settle on their level at the right.
    """
    log = panel.x_log if level.axis == "x" else panel.y_log
    other = "y" if level.axis == "x" else "x"
    return {
        "text": _safe(level.label),
        f"{level.axis}ref": level.axis + suffix,
        f"{other}ref": f"{other}{suffix} domain",
        # Plotly places annotations, unlike shapes, by the exponent on a logarithmic axis.
        level.axis: float(np.log10(value)) if log and value > 0 else value,
        other: 0.02,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 12, "color": "#454d53"},
        "bgcolor": "rgba(255,255,255,0.75)",
        "borderpad": 1,
    }


def _log_ticks(traces: list[dict[str, Any]], axis: str, name: str) -> dict[str, Any]:
    """Label the decades alone where there are several of them."""
    values = [v for t in traces if t[f"{axis}axis"] == name for v in t[axis]]
    drawn = [v for v in values if isinstance(v, (int, float)) and v > 0]
    several = bool(drawn) and max(drawn) / min(drawn) >= 30
    return {"minorloglabels": "none"} if several else {}


def _layout(figure: Figure) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 64, "r": 16, "t": 36, "b": 56},
        "hovermode": "closest",
        "hoverlabel": {"namelength": -1},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "yanchor": "bottom",
            "y": 1.1,
            "font": {"size": 12},
            "tracegroupgap": 0,
        },
        "shapes": [],
        "annotations": [],
    }
    # Side by side, with a fifth of a panel between for the next one's labels; the page's script
    # arranges the panels anew to the width it finds.
    width = 1 / (1.2 * len(figure.panels) - 0.2)
    for index, panel in enumerate(figure.panels):
        suffix = str(index + 1) if index else ""
        left = 1.2 * index * width
        layout[f"xaxis{suffix}"] = _axis(panel.x_label, panel.x_log, f"y{suffix}")
        layout[f"xaxis{suffix}"]["domain"] = [left, min(1.0, left + width)]
        layout[f"yaxis{suffix}"] = _axis(panel.y_label, panel.y_log, f"x{suffix}")
        if panel.title:
            layout["annotations"].append(_panel_title(panel, suffix))
    return layout


def _panel_title(panel: Panel, suffix: str) -> Mapping[str, Any]:
    return {
        "text": f"<b>{_safe(panel.title)}</b>",
        "xref": f"x{suffix} domain",
        "yref": f"y{suffix} domain",
        "x": 0,
        "y": 1,
        "xanchor": "left",
        "yanchor": "bottom",
        "yshift": 6,
        "showarrow": False,
        "font": {"size": 13},
    }


def _axis(label: str, log: bool, anchor: str) -> dict[str, Any]:
    return {
        "title": {"text": _safe(label), "standoff": 8, "font": {"size": 13}},
        # Plotly draws a power of ten a quarter larger than asked.
        "tickfont": {"size": 10 if log else 12},
        "type": "log" if log else "-",
        "exponentformat": "power",
        "anchor": anchor,
        "automargin": True,
        "zeroline": False,
        "showline": True,
        "linecolor": "#8a9096",
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "#8a9096",
        "gridcolor": GRID,
    }


def _safe(text: str) -> str:
    """Text that Plotly, which reads a little HTML, shows as it is."""
    return html.escape(text, quote=False)
