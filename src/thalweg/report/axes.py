"""Axes and reference lines of a figure, in Plotly's terms."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.report.spec import Level
from thalweg.report.text import as_text

INK, GRID, RULE = "#22292f", "#e6e3dc", "#8a9096"
FONT = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"


def base_layout() -> dict[str, Any]:
    """What all figures share. Without margins a place on the paper is a place in the figure."""
    return {
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0, "autoexpand": False},
        "hovermode": "closest",
        "hoverlabel": {"namelength": -1},
        "shapes": [],
        "annotations": [],
    }


def axis(log: bool, anchor: str) -> dict[str, Any]:
    """One axis; its label comes with the arrangement."""
    return {
        "tickfont": {"size": 11},
        "type": "log" if log else "-",
        "exponentformat": "power",
        "anchor": anchor,
        "zeroline": False,
        "showline": True,
        "linecolor": RULE,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": RULE,
        "gridcolor": GRID,
    }


def level_line(level: Level, value: float, suffix: str) -> dict[str, Any]:
    """A dotted line across the panel at a value."""
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


def level_label(level: Level, value: float, suffix: str, log: bool) -> dict[str, Any]:
    """The label above the left end of a horizontal line, or right of the foot of a vertical one.

    Curves of training rise or fall from the left and settle on their level at the right.
    """
    other = "y" if level.axis == "x" else "x"
    return {
        "text": as_text(level.label),
        f"{level.axis}ref": level.axis + suffix,
        f"{other}ref": f"{other}{suffix} domain",
        # Plotly places annotations, unlike shapes, by the exponent on a logarithmic axis.
        level.axis: float(np.log10(value)) if log else value,
        other: 0.02,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 12, "color": "#454d53"},
        "bgcolor": "rgba(255,255,255,0.75)",
        "borderpad": 1,
    }


def residual_axes(above: dict[str, Any], suffix: str) -> dict[str, Any]:
    """The axes of the thin panel beneath another, which takes over the other's x labels."""
    y = axis(False, f"x{suffix}")
    y |= {"nticks": 4, "zeroline": True, "zerolinecolor": RULE}
    return {f"xaxis{suffix}": above | {"anchor": f"y{suffix}"}, f"yaxis{suffix}": y}


def residual_label(suffix: str, sides: set[tuple[str, str]], relative: bool) -> dict[str, Any]:
    """The name of the thin panel's vertical axis, above it: turned, it would be longer than it.

    Args:
        suffix: Of its axes.
        sides: The labels of what was measured and of its theory, of all lines.
        relative: Whether the difference is relative.
    """
    return {
        "text": as_text(residual_name(sides, relative)),
        "xref": f"x{suffix} domain",
        "yref": f"y{suffix} domain",
        "x": 0,
        "y": 1,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 11},
    }


def residual_name(sides: set[tuple[str, str]], relative: bool) -> str:
    """What the thin panel shows, by the labels of what was measured and of its theory."""
    one, other = sides.copy().pop() if len(sides) == 1 else ("", "")
    if not (one and other and len(one) + len(other) < 28):
        one, other = "measured", "theory"
    return f"{one} ÷ {other} − 1" if relative else f"{one} − {other}"


def nothing(suffix: str) -> dict[str, Any]:
    """What stands in a panel whose series hold no value that could be drawn."""
    return {
        "text": "no values to draw",
        "xref": f"x{suffix} domain",
        "yref": f"y{suffix} domain",
        "x": 0.5,
        "y": 0.5,
        "showarrow": False,
    }
