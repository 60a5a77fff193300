"""Axes, titles and reference lines of a figure, in Plotly's terms."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from thalweg.report.spec import Figure, Level, Panel

INK, GRID = "#22292f", "#e6e3dc"
FONT = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"


def base_layout(figure: Figure) -> dict[str, Any]:
    """The layout of a figure with its panels side by side and no data."""
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


def _panel_title(panel: Panel, suffix: str) -> dict[str, Any]:
    return {
        "text": f"<b>{as_text(panel.title)}</b>",
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
        "title": {"text": as_text(label), "standoff": 8, "font": {"size": 13}},
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


def log_ticks(traces: list[dict[str, Any]], axis: str, name: str) -> dict[str, Any]:
    """Label the decades alone where there are several of them."""
    values = [v for t in traces if t[f"{axis}axis"] == name for v in t[axis]]
    drawn = [v for v in values if isinstance(v, (int, float)) and v > 0]
    several = bool(drawn) and max(drawn) / min(drawn) >= 30
    return {"minorloglabels": "none"} if several else {}


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


def as_text(text: str) -> str:
    """Text that Plotly, which reads a little HTML, shows as it is."""
    return html.escape(text, quote=False)
