"""A figure as Plotly's JSON, from its specification and the stored data. No pixels here."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from thalweg.core.errors import InputError
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
from thalweg.report.lines import Line
from thalweg.report.resolved import Resolved, each_count, resolve, sharing
from thalweg.report.spec import Figure, Series
from thalweg.report.store import PathLike, open_data
from thalweg.report.text import as_text
from thalweg.report.thin import thin
from thalweg.report.ticks import log_range
from thalweg.report.traces import line_traces, swatch

NEUTRAL = "#5a6268"  # of a legend's line that stands for a style whatever the colour


@dataclass
class _Sheet:
    """What is drawn so far of one figure."""

    figure: Figure
    colours: Colours
    traces: list[dict[str, Any]] = field(default_factory=list)
    layout: dict[str, Any] = field(default_factory=base_layout)
    frames: list[Frame] = field(default_factory=list)
    thinned: bool = False


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
    sheet = _Sheet(figure, colours or Colours([figure], find))
    panels = [resolve(figure, index, find, sheet.colours) for index in range(len(figure.panels))]
    for index, shown in enumerate(panels):
        _panel(sheet, index, shown)
    _share_ranges(sheet, panels)
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
    with reading(figures, folder) as find:
        colours = Colours(figures, find)
        return [draw(figure, find, colours) for figure in figures]


@contextlib.contextmanager
def reading(figures: Sequence[Figure], folder: PathLike) -> Iterator[Open]:
    """What gives the datasets of a run folder by name, and a sentence where they cannot be read."""
    try:
        yield functools.cache(functools.partial(open_data, folder))
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        names = dict.fromkeys(name for figure in figures for name in figure.data_names())
        raise InputError(
            f"the data of the figures ({', '.join(names)}) in {folder} cannot be read ({error}); "
            "run the study again."
        ) from error


def _panel(sheet: _Sheet, index: int, shown: Resolved) -> None:
    panel, suffix = shown.panel, str(index + 1) if index else ""
    sheet.layout[f"xaxis{suffix}"] = axis(panel.x_log, f"y{suffix}")
    sheet.layout[f"yaxis{suffix}"] = axis(panel.y_log, f"x{suffix}")
    frame = Frame(suffix, shown.title, panel.x_label, panel.y_label, words=shown.words())
    sheet.frames.append(frame)
    said = shown.names()
    for series, line, at, number in shown.drawn:
        _line(sheet, index, series, line, suffix, faint=shown.is_faint(at))
        if (at, number) in said:
            sheet.traces[-1]["showlegend"] = True
            frame.entries.append((len(sheet.traces) - 1, said[at, number]))
    for entry in shown.legend:
        if entry.line is None:
            style = panel.series[entry.series].style
            group = {"legendgroup": as_text(f"{index}: {entry.text}"), "showlegend": True}
            sheet.traces.append(swatch(style, NEUTRAL) | _axes(suffix) | group | {"name": ""})
            frame.entries.append((len(sheet.traces) - 1, entry.text))
    for level, value in shown.levels:
        sheet.layout["shapes"].append(level_line(level, value, suffix))
        if level.label:
            log = panel.x_log if level.axis == "x" else panel.y_log
            sheet.layout["annotations"].append(level_label(level, value, suffix, log))
    if shown.empty:
        sheet.layout["annotations"].append(nothing(suffix))
    if shown.residuals:
        _residuals(sheet, index, shown)
    span_y = log_range(shown.reach("y"))
    if panel.y_log and span_y:
        frame.log[f"yaxis{suffix}"] = span_y
        sheet.layout[f"yaxis{suffix}"]["range"] = list(span_y)


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


def _residuals(sheet: _Sheet, index: int, shown: Resolved) -> None:
    """A thin pair of axes beneath a panel for the lines that lie on their theory."""
    frame = sheet.frames[index]
    taken = sum(bool(it.residual) for it in sheet.frames)
    frame.residual = str(len(sheet.figure.panels) + taken + 1)
    for series, line in shown.residuals:
        _line(sheet, index, series, line, frame.residual)
    above = sheet.layout[f"xaxis{frame.suffix}"]
    sheet.layout |= residual_axes(above, frame.residual)
    above["showticklabels"] = False
    label = residual_label(frame.residual, shown.sides, shown.panel.y_log)
    sheet.layout["annotations"].append(label)


def _share_ranges(sheet: _Sheet, panels: list[Resolved]) -> None:
    """One range for panels of one horizontal quantity; what is beneath follows its panel."""
    for together, span in sharing(panels):
        first = sheet.frames[together[0]].suffix
        for frame in (sheet.frames[at] for at in together):
            beneath = [frame.residual] if frame.residual else []
            for suffix in (frame.suffix, *beneath):
                it = sheet.layout[f"xaxis{suffix}"]
                it |= {"range": list(span)} if span else {}
                it |= {"matches": f"x{first}"} if suffix != first else {}
            if panels[together[0]].panel.x_log and span:
                frame.log[f"xaxis{frame.suffix}"] = span
            if each_count(panels, together, span):
                ticks = {"tickmode": "linear", "tick0": 0, "dtick": 1}
                for suffix in (frame.suffix, *beneath):
                    sheet.layout[f"xaxis{suffix}"] |= ticks


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
