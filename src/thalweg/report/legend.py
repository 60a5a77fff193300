"""What the legend of one panel says: a line per colour, a line per style, and nothing twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from thalweg.report.colours import Colours
from thalweg.report.lines import REPLICATES, Line
from thalweg.report.spec import Panel, Series

MOST = 8  # entries of one fan; of more values some are named


@dataclass(frozen=True)
class Entry:
    """One line of a legend.

    Attributes:
        text: What it says.
        series: Position of the series that it stands for.
        line: Position of the line whose colour it shows; None for a style whatever the colour.
    """

    text: str
    series: int
    line: int | None


def legend_entries(panel: Panel, drawn: list[list[Line]], colours: Colours) -> list[Entry]:
    """The legend of a panel; empty if the axes say it all.

    Where one series repeats the colours of another (theory behind measurement), colours are named
    once and the two styles once each, in grey.

    Args:
        panel: The panel.
        drawn: The lines of each of its series.
        colours: Of the page.
    """
    repeats = [_repeats(panel, drawn, colours, at) for at in range(len(drawn))]
    short = Counter(
        (_short(series), series.style)
        for series, again in zip(panel.series, repeats, strict=True)
        if again
    )
    found: dict[tuple[str, str, str], Entry] = {}
    styles: dict[tuple[str, str], Entry] = {}
    for at, (series, lines) in enumerate(zip(panel.series, drawn, strict=True)):
        fanned = bool(series.each) and series.each not in REPLICATES
        twin = fanned and any(
            other.each == series.each and other.style != series.style and at != place
            for place, other in enumerate(panel.series)
            if repeats[at] or repeats[place]
        )
        if repeats[at] and (fanned or short[_short(series), series.style] > 1):
            if _short(series):
                styles.setdefault((_short(series), series.style), Entry(_short(series), at, None))
            continue
        if twin and series.label and series.label != series.each:
            styles.setdefault((series.label, series.style), Entry(series.label, at, None))
        for number in _spoken(series, lines):
            text = _text(series, lines, number, twin)
            key = (text, series.style, colours.of(series, lines[number].shown))
            found.setdefault(key, Entry(text, at, number))
    whole = [*found.values(), *styles.values()]
    plain = len(whole) == 1 and panel.y_label and panel.series[whole[0].series].each == ""
    return [] if plain else whole


def _repeats(panel: Panel, drawn: list[list[Line]], colours: Colours, at: int) -> bool:
    """Whether an earlier series of another style has all colours of this one."""
    series = panel.series[at]
    before = {
        colours.meaning(other, line.shown)
        for other, lines in zip(panel.series[:at], drawn, strict=False)
        for line in lines
        if other.style != series.style and other.label != series.label
    }
    here = {colours.meaning(series, line.shown) for line in drawn[at]}
    return bool(here) and here <= before


def _short(series: Series) -> str:
    """The label without its group before it: "depth 1, formula" is the formula of depth 1."""
    return series.label.removeprefix(series.group).removeprefix(", ") or series.label


def _spoken(series: Series, lines: list[Line]) -> list[int]:
    """The lines of a series that are named: all, the first of replicates, some of very many."""
    if series.each in REPLICATES:
        return [0][: len(lines)]
    return sorted({round(at) for at in np.linspace(0, len(lines) - 1, min(len(lines), MOST))})


def _text(series: Series, lines: list[Line], number: int, twin: bool) -> str:
    line = lines[number]
    empty = (
        "" if any(np.isfinite(np.asarray(it.y, float)).any() for it in lines) else " (no values)"
    )
    if series.each not in REPLICATES:
        here = np.isfinite(np.asarray(line.y, float)).any()
        return (line.shown if twin else line.name) + ("" if here else " (no values)")
    if len(lines) == 1:
        return line.name + empty
    count = f"{len(lines)} {series.each}s"
    name = series.label or series.y
    return (count if name == series.each else f"{name} ({count})") + empty
