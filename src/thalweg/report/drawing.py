"""A figure as Plotly's JSON, from its specification and the stored data. No pixels here."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from thalweg.core.errors import InputError, require, unknown
from thalweg.report.arrangement import WIDTHS, Frame, arrange
from thalweg.report.axes import (
    axis,
    base_layout,
    level_label,
    level_line,
    nothing,
    residual_axes,
    residual_label,
)
from thalweg.report.colours import Colours, Open
from thalweg.report.legend import legend_entries
from thalweg.report.lines import REPLICATES, Line, lines
from thalweg.report.residual import pairs, residual
from thalweg.report.spec import Figure, Level, Panel, Series
from thalweg.report.store import PathLike, open_data
from thalweg.report.text import as_text
from thalweg.report.thin import thin
from thalweg.report.ticks import linear_range, log_range
from thalweg.report.traces import line_traces, swatch

NEUTRAL = "#5a6268"  # of a legend's line that stands for a style whatever the colour


@dataclass
class _Sheet:
    """What is drawn so far of one figure."""

    figure: Figure
    find: Open
    colours: Colours
    traces: list[dict[str, Any]] = field(default_factory=list)
    layout: dict[str, Any] = field(default_factory=base_layout)
    frames: list[Frame] = field(default_factory=list)
    reach: dict[str, list[np.ndarray]] = field(default_factory=dict)  # numbers by axis, as "y2"
    thinned: bool = False

    def include(self, axis: str, values: np.ndarray) -> None:
        if values.dtype.kind in "iuf":
            self.reach.setdefault(axis, []).append(np.asarray(values, float))


def draw(figure: Figure, find: Open, colours: Colours | None = None) -> dict[str, Any]:
    """A figure as a Plotly figure (`data`, `layout`) of plain lists and numbers.

    Args:
        figure: What to draw.
        find: Gives the dataset of a name.
        colours: Those of the page that the figure stands on; its own if not given.

    Returns:
        Plotly's JSON, arranged as for print; `layout.meta` holds `caption` (the whole of it),
        `thinned` (whether points were left out), `panels` (how many) and `arrangements` (by width,
        from which the page's script takes its own).

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
    sheet = _Sheet(figure, find, colours or Colours([figure], find))
    for index, panel in enumerate(figure.panels):
        _panel(sheet, index, panel)
    _share_ranges(sheet)
    columns = min(len(figure.panels), 3) if len(figure.panels) != 4 else 2
    print_ = _arranged(sheet, 420.0 * columns + 80, columns)
    layout = {name: value for name, value in sheet.layout.items() if name != "annotations"}
    for name, value in print_["layout"].items():
        layout[name] = layout.get(name, {}) | value if isinstance(value, dict) else value
    data = [
        trace | {"legend": legend, "name": print_["names"].get(str(at), trace["name"])}
        for at, (trace, legend) in enumerate(zip(sheet.traces, print_["legends"], strict=True))
    ]
    layout["showlegend"] = bool(print_["names"])
    layout["meta"] = {
        "caption": _caption(sheet),
        "thinned": sheet.thinned,
        "panels": len(figure.panels),
        "arrangements": [_arranged(sheet, width) for width in WIDTHS],
    }
    return {"data": data, "layout": layout}


def draw_stored(figures: Sequence[Figure], folder: PathLike) -> list[dict[str, Any]]:
    """`draw` for the figures of one page with the datasets of its run folder.

    Raises:
        InputError: Also if a dataset is missing or damaged.
    """
    find = functools.cache(functools.partial(open_data, folder))
    try:
        colours = Colours(figures, find)
        return [draw(figure, find, colours) for figure in figures]
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        names = dict.fromkeys(name for figure in figures for name in figure.data_names())
        raise InputError(
            f"the data of the figures ({', '.join(names)}) in {folder} cannot be read ({error}); "
            "run the study again."
        ) from error


def _panel(sheet: _Sheet, index: int, panel: Panel) -> None:
    suffix = str(index + 1) if index else ""
    sheet.layout[f"xaxis{suffix}"] = axis(panel.x_log, f"y{suffix}")
    sheet.layout[f"yaxis{suffix}"] = axis(panel.y_log, f"x{suffix}")
    title = f"{sheet.figure.letter(index)} {panel.title}".strip()
    frame = Frame(suffix, title, panel.x_label, panel.y_label)
    sheet.frames.append(frame)
    drawn = [
        [_drawable(line, panel) for line in lines(series, sheet.find(series.data))]
        for series in panel.series
    ]
    legend = legend_entries(panel, drawn, sheet.colours)
    said = {(entry.series, entry.line): entry.text for entry in legend}
    for at, (series, fan) in enumerate(zip(panel.series, drawn, strict=True)):
        faint = series.each in REPLICATES and len(fan) > 2
        for number, line in enumerate(fan):
            _line(sheet, index, series, line, suffix, faint=faint)
            if (at, number) in said:
                sheet.traces[-1]["showlegend"] = True
                frame.entries.append((len(sheet.traces) - 1, said[at, number]))
    for entry in legend:
        if entry.line is None:
            style = panel.series[entry.series].style
            group = {"legendgroup": as_text(f"{index}: {entry.text}"), "showlegend": True}
            sheet.traces.append(swatch(style, NEUTRAL) | _axes(suffix) | group | {"name": ""})
            frame.entries.append((len(sheet.traces) - 1, entry.text))
    _levels(sheet, panel, suffix)
    values = [line.y[np.isfinite(line.y)] for fan in drawn for line in fan]
    if not any(these.size for these in values):
        sheet.layout["annotations"].append(nothing(suffix))
    elif panel.residual:
        _residuals(sheet, index, drawn, np.concatenate(values))
    span_y = log_range(sheet.reach.get(f"y{suffix}", []))
    if panel.y_log and span_y:
        frame.log[f"yaxis{suffix}"] = span_y
        sheet.layout[f"yaxis{suffix}"]["range"] = list(span_y)


def _drawable(line: Line, panel: Panel) -> Line:
    """The line with gaps where an axis has no place: at and below zero on a logarithm.

    A zero lies infinitely far below: a gap, not a plunge.
    """
    y = np.asarray(line.y, float)
    if panel.y_log:
        y = np.where(y > 0, y, np.nan)
    if panel.x_log and line.x.dtype.kind in "iuf":
        y = np.where(line.x > 0, y, np.nan)
        return replace(line, x=np.where(line.x > 0, line.x, np.nan), y=y)
    return replace(line, y=y)


def _line(
    sheet: _Sheet, index: int, series: Series, line: Line, suffix: str, faint: bool = False
) -> None:
    """The traces of a line, thinned; a residual stands in the panel of its line."""
    panel = sheet.figure.panels[index]
    own = suffix == (str(index + 1) if index else "")
    kept = thin(line.x, line.y, log=panel.x_log)
    sheet.thinned |= kept.size < line.y.size
    error = line.error[kept] if line.error.size else line.error
    line = replace(line, x=line.x[kept], y=line.y[kept], error=error)
    log = panel.y_log and own
    meaning = sheet.colours.meaning(series, line.shown)
    group = {"legendgroup": as_text(f"{index}: {meaning}"), "showlegend": False}
    colour = sheet.colours.of(series, line.shown)
    for trace in line_traces(line, series.style, colour, log, faint):
        sheet.traces.append(trace | _axes(suffix) | group | {"name": as_text(line.name)})
    seen = np.isfinite(line.y)
    sheet.include(f"x{suffix}", line.x[seen])
    sheet.include(f"y{suffix}", line.y[seen])
    if line.error.size:
        with np.errstate(invalid="ignore"):  # inf - inf is a gap like any other
            low, high = line.y - line.error, line.y + line.error
        # A logarithm ends below the smallest value; no error bar makes it reach far under it.
        sheet.include(f"y{suffix}", np.maximum(low, line.y / 3) if log else low)
        sheet.include(f"y{suffix}", high)


def _residuals(sheet: _Sheet, index: int, drawn: list[list[Line]], values: np.ndarray) -> None:
    """A thin pair of axes beneath a panel for the lines that lie on their theory."""
    panel, frame = sheet.figure.panels[index], sheet.frames[index]
    flat = [(series, line) for series, fan in zip(panel.series, drawn, strict=True) for line in fan]
    meant = [(sheet.colours.meaning(series, line.shown), series.style) for series, line in flat]
    span = (float(values.min()), float(values.max()))
    sides = set()
    for at, other in pairs(meant):
        (series, measured), (prediction, theory) = flat[at], flat[other]
        rest = residual(measured, theory, span, panel.x_log, panel.y_log)
        if rest is None:
            continue
        if not frame.residual:
            taken = sum(bool(it.residual) for it in sheet.frames)
            frame.residual = str(len(sheet.figure.panels) + taken + 1)
        sides.add((series.label, prediction.label))
        line = replace(measured, x=rest.x, y=rest.y, error=rest.error)
        _line(sheet, index, series, line, frame.residual)
    if frame.residual:
        above = sheet.layout[f"xaxis{frame.suffix}"]
        sheet.layout |= residual_axes(above, frame.residual)
        above["showticklabels"] = False
        label = residual_label(frame.residual, sides, panel.y_log)
        sheet.layout["annotations"].append(label)


def _share_ranges(sheet: _Sheet) -> None:
    """One range for panels of one horizontal quantity; what is beneath follows its panel."""
    alike: dict[tuple[str, bool, str], list[Frame]] = {}
    for panel, frame in zip(sheet.figure.panels, sheet.frames, strict=True):
        numbers = f"x{frame.suffix}" in sheet.reach
        alone = "" if panel.x_label and numbers else f"x{frame.suffix}"
        alike.setdefault((panel.x_label, panel.x_log, alone), []).append(frame)
    for (_, log, _), frames in alike.items():
        parts = [part for it in frames for part in sheet.reach.get(f"x{it.suffix}", [])]
        span = log_range(parts) if log else linear_range(parts)
        first = frames[0].suffix
        for frame in frames:
            beneath = [frame.residual] if frame.residual else []
            for suffix in (frame.suffix, *beneath):
                it = sheet.layout[f"xaxis{suffix}"]
                it |= {"range": list(span)} if span else {}
                it |= {"matches": f"x{first}"} if suffix != first else {}
            if log and span:
                frame.log[f"xaxis{frame.suffix}"] = span


def _arranged(sheet: _Sheet, width: float, columns: int = 0) -> dict[str, Any]:
    """An arrangement as the page's script takes it."""
    made = arrange(sheet.frames, width, columns)
    layout = made["layout"] | {
        "annotations": [*made["titles"], *sheet.layout["annotations"]],
        "width": made["width"],
        "height": made["height"],
    }
    groups = {sheet.traces[at]["legendgroup"]: name for at, name in made["legends"].items()}
    legends = [
        made["legends"].get(at, groups.get(trace["legendgroup"], "legend"))
        for at, trace in enumerate(sheet.traces)
    ]
    names = {str(at): name for at, name in made["names"].items()}
    return {"width": width, "layout": layout, "legends": legends, "names": names}


def _caption(sheet: _Sheet) -> str:
    """The figure's caption, and what the thin panels are."""
    words = [sheet.figure.whole_caption()]
    for log, said in ((False, "difference"), (True, "relative difference")):
        places = [
            sheet.figure.letter(index)
            for index, (panel, frame) in enumerate(
                zip(sheet.figure.panels, sheet.frames, strict=True)
            )
            if frame.residual and panel.y_log == log
        ]
        if places:
            where = f" {', '.join(places)}" if places[0] else ""
            words.append(f"The thin panel beneath{where} shows the {said} of what coincides.")
    return " ".join(word for word in words if word)


def _axes(suffix: str) -> dict[str, str]:
    return {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}


def _levels(sheet: _Sheet, panel: Panel, suffix: str) -> None:
    for level in panel.levels:
        value = _level_value(level, sheet.find)
        log = panel.x_log if level.axis == "x" else panel.y_log
        if not np.isfinite(value) or (log and value <= 0):
            continue
        sheet.include(level.axis + suffix, np.array([value]))
        sheet.layout["shapes"].append(level_line(level, value, suffix))
        if level.label:
            sheet.layout["annotations"].append(level_label(level, value, suffix, log))


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
