"""Lines, points and bands as Plotly's traces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from thalweg.report.lines import Line
from thalweg.report.resolved import band
from thalweg.report.text import as_text


def line_traces(
    line: Line, style: str, colour: str, log: bool, faint: bool = False
) -> Iterator[dict[str, Any]]:
    """A line, behind it its band if it has one; `log`: whether y is logarithmic."""
    if line.error.size and style in ("line", "dash"):
        yield _band(line, colour, log)
    yield _trace(style, line.x, line.y, line.error, colour, faint)


def swatch(style: str, colour: str) -> dict[str, Any]:
    """A trace without a point, for a line of the legend."""
    nowhere = np.array([np.nan])
    return _trace(style, nowhere, nowhere, np.empty(0), colour, False) | {"hoverinfo": "skip"}


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
        if has_lonely(y):
            trace |= {"mode": "lines+markers", "marker": {"color": colour, "size": 4}}
    if faint:
        trace["opacity"] = 0.7
    if error.size and style in ("points", "steps"):
        trace["error_y"] = {"type": "data", "array": _list(error), "thickness": 1, "width": 3}
    return trace


def has_lonely(y: np.ndarray) -> bool:
    """Whether a value stands between two gaps."""
    drawn = np.concatenate([[False], np.isfinite(y), [False]])
    return bool(np.any(drawn[1:-1] & ~drawn[:-2] & ~drawn[2:]))


def _band(line: Line, colour: str, log: bool) -> dict[str, Any]:
    """The strip y - error to y + error: one closed outline per stretch without a gap."""
    low, high = band(line, log)
    x = line.x
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
