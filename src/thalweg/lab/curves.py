"""Panels of the usual kind in one call: a variable over another, fanned out, beside theory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from thalweg.report.spec import Figure, Panel, Scalar, Series
from thalweg.trajectory.pictures import unit_of


def series(
    data: str,
    y: str,
    *,
    over: str = "time",
    each: str = "",
    only: Sequence[Scalar] = (),
    at: Mapping[str, Scalar] | None = None,
    theory: bool | str = False,
    label: str = "",
    named: str = "",
    style: str = "line",
    error: str = "",
) -> tuple[Series, ...]:
    """The lines of one variable of a stored table; arguments as for `curves`."""
    at = dict(at or {})
    wanted = f"{y}_theory" if theory is True else theory or ""
    lines: list[Series] = []
    for value in only or (None,):
        name, place, fan = label, at, each
        if value is not None:
            shown = f"{value:g}" if isinstance(value, int | float) else str(value)
            plain = isinstance(value, str)
            name = ", ".join(
                filter(None, (label, shown if plain else f"{named or each} = {shown}"))
            )
            place, fan = {**at, each: value}, ""
        common: dict[str, Any] = {"data": data, "x": over, "select": place, "each": fan}
        group = name or y
        lines.append(Series(y=y, label=name, style=style, error=error, group=group, **common))
        if wanted:
            words = f"{name}, theory" if name else "theory"
            lines.append(Series(y=wanted, label=words, style="dash", group=group, **common))
    return tuple(lines)


def curves(
    data: str,
    y: str | Sequence[str],
    *,
    over: str = "time",
    each: str = "",
    only: Sequence[Scalar] = (),
    at: Mapping[str, Scalar] | None = None,
    theory: bool | str = False,
    labels: Mapping[str, str] | None = None,
    named: str = "",
    style: str = "line",
    error: str = "",
    more: Sequence[Series] = (),
    log: str = "",
    **panel: Any,
) -> Panel:
    """The usual panel: one or several variables of a stored table over another.

    Args:
        data: The experiment.
        y: The variable, or several that share an axis.
        over: The variable or label on the horizontal axis.
        each: A dim fanned out into one line per value.
        only: Of that dim these values alone.
        at: Where the other dims are held.
        theory: Draw `<y>_theory` dashed in the same colour, or the variable of this name.
        labels: Legend text by variable; their words by default.
        named: What the values of `only` are called in the legend; the dim's name by default.
        style: "line", "points", "dash" or "steps".
        error: The variable drawn around y.
        more: Further series of the panel.
        log: Which axes are logarithmic: "x", "y" or "xy".
        **panel: Further fields of `Panel`: title, levels, y_label, ... Labels of the axes are the
            words and units of the stored variables where none are given.

    Returns:
        The panel.

    Examples:
        >>> from thalweg.lab.curves import curves
        >>> panel = curves("X1", "loss", each="depth", theory=True, log="y")
        >>> [(line.y, line.style) for line in panel.series]
        [('loss', 'line'), ('loss_theory', 'dash')]
    """
    names = [y] if isinstance(y, str) else list(y)
    lines = [
        line
        for name in names
        for line in series(
            data, name, over=over, each=each, only=only, at=at, theory=theory,
            label=(labels or {}).get(name, ""), named=named, style=style, error=error,
        )
    ]  # fmt: skip
    return Panel(series=(*lines, *more), x_log="x" in log, y_log="y" in log, **panel)


def labelled(figure: Figure, tables: Mapping[str, xr.Dataset]) -> Figure:
    """A figure whose axes without a label say the words and the unit of what is drawn there first.

    Args:
        figure: The figure.
        tables: What it draws, by experiment.
    """
    return replace(figure, panels=tuple(_labelled(panel, tables) for panel in figure.panels))


def present(figure: Figure, tables: Mapping[str, xr.Dataset]) -> Figure | None:
    """A figure without the lines whose labels a smaller scale has left out; None if none is left.

    Args:
        figure: The figure.
        tables: What it draws, by experiment.
    """
    panels = []
    for panel in figure.panels:
        lines = tuple(line for line in panel.series if _there(line, tables[line.data]))
        if lines:
            panels.append(replace(panel, series=lines))
    return replace(figure, panels=tuple(panels)) if panels else None


def _there(line: Series, table: xr.Dataset) -> bool:
    """Whether a table has every label that a line is drawn at; of real numbers the nearest does."""
    return all(
        dim not in table.coords
        or np.issubdtype(table[dim].dtype, np.floating)
        or value in table[dim].values
        for dim, value in line.select.items()
    )


def _labelled(panel: Panel, tables: Mapping[str, xr.Dataset]) -> Panel:
    first = panel.series[0]
    return replace(
        panel,
        x_label=panel.x_label or _told(tables[first.data], first.x),
        y_label=panel.y_label or _told(tables[first.data], first.y),
    )


def _told(table: xr.Dataset, name: str) -> str:
    if name not in table.variables:
        return name
    unit, words = unit_of(table[name]), str(table[name].attrs.get("long_name", name))
    return f"{words} ({unit})" if unit else words
