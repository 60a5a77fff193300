"""What a figure's panels show, resolved against the stored data: all that a drawer needs to know.

The page's drawer (Plotly) and that of notebooks and papers (matplotlib) both draw from here, so
that lines, colours, legends, levels and differences are the same in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from thalweg.core.errors import require, unknown
from thalweg.report.colours import Colours, Open
from thalweg.report.legend import Entry, legend_entries
from thalweg.report.lines import REPLICATES, Line, lines
from thalweg.report.residual import pairs, residual
from thalweg.report.spec import Figure, Level, Panel, Series
from thalweg.report.ticks import Span, linear_range, log_range

MOST_COUNTS = 6  # steps of one, each with its tick


@dataclass(frozen=True)
class Resolved:
    """One panel with its data.

    Attributes:
        panel: What it was made from.
        title: With its letter, if the figure has several panels.
        fans: The lines of each of its series, with gaps where an axis has no place.
        legend: What its legend says; nothing if the axes say it all.
        levels: Its reference lines that have a place, with their values.
        residuals: What the thin panel beneath shows, with the series that was measured; nothing if
            there is to be none.
        sides: The labels of what was measured and of its theory, of all residuals.
    """

    panel: Panel
    title: str
    fans: list[list[Line]]
    legend: list[Entry]
    levels: list[tuple[Level, float]]
    residuals: list[tuple[Series, Line]]
    sides: set[tuple[str, str]]

    @property
    def drawn(self) -> Iterator[tuple[Series, Line, int, int]]:
        """Every line with its series and the positions of both."""
        for at, (series, fan) in enumerate(zip(self.panel.series, self.fans, strict=True)):
            for number, line in enumerate(fan):
                yield series, line, at, number

    @property
    def empty(self) -> bool:
        """Whether no series holds a value that could be drawn."""
        return not any(np.isfinite(line.y).any() for fan in self.fans for line in fan)

    def is_faint(self, series: int) -> bool:
        """Whether a series is of so many replicates that each is drawn thin."""
        return self.panel.series[series].each in REPLICATES and len(self.fans[series]) > 2

    def names(self) -> dict[tuple[int, int | None], str]:
        """The legend's text by the positions of series and line."""
        return {(entry.series, entry.line): entry.text for entry in self.legend}

    def numeric(self) -> bool:
        """Whether the horizontal axis holds numbers."""
        return any(line.x.dtype.kind in "iuf" for fan in self.fans for line in fan)

    def words(self) -> list[str]:
        """What stands along the horizontal axis where it holds no numbers, in its order."""
        if self.numeric():
            return []
        return list(dict.fromkeys(str(x) for fan in self.fans for line in fan for x in line.x))

    def counts(self) -> bool:
        """Whether the horizontal axis holds whole numbers alone, as depths and orders are."""
        across = [line.x for fan in self.fans for line in fan]
        return bool(across) and all(x.dtype.kind in "iu" for x in across)

    def reach(self, axis: str) -> list[np.ndarray]:
        """The numbers that an axis, "x" or "y", has to have room for."""
        parts = [np.array([value]) for level, value in self.levels if level.axis == axis]
        for fan in self.fans:
            for line in fan:
                across, up = extent(line, self.panel.y_log)
                parts += [across] if axis == "x" else up
        return [part for part in parts if part.dtype.kind in "iuf"]


def resolve(figure: Figure, index: int, find: Open, colours: Colours) -> Resolved:
    """A panel of a figure with its data.

    Raises:
        InputError: If a variable, dimension or label is not in its dataset, a series has more than
            one dimension left, or a level's variable more than one value.
    """
    panel = figure.panels[index]
    fans = [
        [_drawable(line, panel) for line in lines(series, find(series.data))]
        for series in panel.series
    ]
    legend = legend_entries(panel, fans, colours)
    levels = []
    for level in panel.levels:
        value = _level_value(level, find)
        log = panel.x_log if level.axis == "x" else panel.y_log
        if np.isfinite(value) and not (log and value <= 0):
            levels.append((level, value))
    rests, sides = _residuals(panel, fans, colours) if panel.residual else ([], set())
    title = f"{figure.letter(index)} {panel.title}".strip()
    return Resolved(panel, title, fans, legend, levels, rests, sides)


def sharing(panels: Sequence[Resolved]) -> list[tuple[list[int], Span | None]]:
    """Which panels share one horizontal range, as they show one quantity, and its ends.

    The ends are exponents on a logarithm, None where there is no number.
    """
    alike: dict[tuple[str, bool, int], list[int]] = {}
    for at, it in enumerate(panels):
        alone = -1 if it.panel.x_label and it.numeric() else at
        alike.setdefault((it.panel.x_label, it.panel.x_log, alone), []).append(at)
    found: list[tuple[list[int], Span | None]] = []
    for (_, log, _), together in alike.items():
        parts = [part for at in together for part in panels[at].reach("x")]
        found.append((together, log_range(parts) if log else linear_range(parts)))
    return found


def each_count(panels: Sequence[Resolved], together: Sequence[int], span: Span | None) -> bool:
    """Whether every whole number has its tick on the range that panels share: there are few."""
    whole = all(panels[at].counts() and not panels[at].panel.x_log for at in together)
    return whole and span is not None and span[1] - span[0] <= MOST_COUNTS


def extent(line: Line, log: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """Where a line lies across, and up with its errors; `log`: whether y is logarithmic."""
    seen = np.isfinite(line.y)
    up = [line.y[seen]]
    if line.error.size:
        with np.errstate(invalid="ignore"):  # inf - inf is a gap like any other
            low, high = line.y - line.error, line.y + line.error
        # A logarithm ends below the smallest value; no error bar makes it reach far under it.
        up += [np.maximum(low, line.y / 3) if log else low, high]
    return line.x[seen], up


def band(line: Line, log: bool) -> tuple[np.ndarray, np.ndarray]:
    """The lower and the upper edge of y ± error, on a logarithm cut a decade under the values."""
    with np.errstate(invalid="ignore"):  # inf - inf is a gap like any other
        low, high = line.y - line.error, line.y + line.error
    if log and np.any(line.y > 0):
        low = np.maximum(low, np.min(line.y[line.y > 0]) / 10)
    return low, high


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


def _residuals(
    panel: Panel, fans: list[list[Line]], colours: Colours
) -> tuple[list[tuple[Series, Line]], set[tuple[str, str]]]:
    """How far lines lie from the theory that they coincide with, and what both are called."""
    values = np.concatenate([np.empty(0), *(it.y[np.isfinite(it.y)] for fan in fans for it in fan)])
    rests: list[tuple[Series, Line]] = []
    sides: set[tuple[str, str]] = set()
    if not values.size:
        return rests, sides
    flat = [(series, it) for series, fan in zip(panel.series, fans, strict=True) for it in fan]
    meant = [(colours.meaning(series, it.shown), series.style) for series, it in flat]
    span = (float(values.min()), float(values.max()))
    for at, other in pairs(meant):
        (series, measured), (prediction, theory) = flat[at], flat[other]
        rest = residual(measured, theory, span, panel.x_log, panel.y_log)
        if rest is not None:
            sides.add((series.label, prediction.label))
            rests.append((series, replace(measured, x=rest.x, y=rest.y, error=rest.error)))
    return rests, sides


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
