"""What a notebook shows of a result: its verdict, a few numbers and a small picture; and `.plot`.

The HTML stands alone: no script, no style sheet, nothing fetched; all text is escaped. The picture
is an image within it, on white, so that it can be read on light and dark pages alike.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from markupsafe import Markup

from thalweg.core.errors import InputError, require, unknown
from thalweg.report.spec import Figure, Number, Page

TILES = 6  # numbers of a card
PANELS = 2  # of its picture
TONES = {"good": ("#2e8b57", "✓"), "warn": ("#c77700", "△"), "bad": ("#c0392b", "✕")}
NEUTRAL = ("#7a8288", "○")
SMALL = {
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.3,
    "svg.hashsalt": "thalweg",
}

_BOX = (
    '<div style="border:1px solid rgba(128,128,128,.4);border-left:4px solid {edge};'
    "border-radius:6px;padding:.6em .9em;max-width:56em;line-height:1.4;"
    'font-family:system-ui,sans-serif">'
)
_TITLE = '<div style="opacity:.75;font-size:.9em">{}</div>'
_VERDICT = (
    '<div style="margin:.2em 0 .5em;font-weight:600"><span style="color:{}">{}</span> {}</div>'
)
_TILE = (
    '<div style="border:1px solid rgba(128,128,128,.3);border-radius:5px;padding:.25em .6em">'
    '<div style="opacity:.75;font-size:.8em">{}</div><div style="font-weight:600">{}</div>'
    '<div style="opacity:.75;font-size:.8em">{}</div></div>'
)
_PICTURE = (
    '<img alt="{}" src="data:image/svg+xml;base64,{}" style="background:#fff;border-radius:4px;'
    'max-width:100%;margin-top:.6em;display:block"/>'
)
_NOTE = '<div style="opacity:.85;font-size:.9em;margin-top:.4em">{}</div>'


def card(
    title: str,
    verdict: str,
    tone: str = "neutral",
    numbers: Sequence[Number] = (),
    figure: Figure | None = None,
    data: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """A result as a piece of HTML.

    Args:
        title: What it is of.
        verdict: The answer in a sentence.
        tone: "good", "warn", "bad" or "neutral".
        numbers: Key numbers with errors and units; the first six are shown.
        figure: What is drawn small, two panels of it at most, if matplotlib is installed.
        data: The figure's datasets by name.
        notes: Further sentences.
    """
    from thalweg.report.number import show

    edge, symbol = TONES.get(tone, NEUTRAL)
    tiles = [
        Markup(_TILE).format(it.label, show(it.value, it.error, it.unit), it.note)
        for it in numbers[:TILES]
    ]
    parts = [Markup(_BOX).format(edge=edge), Markup(_TITLE).format(title)]
    parts.append(Markup(_VERDICT).format(edge, symbol, verdict))
    if tiles:
        row = Markup('<div style="display:flex;flex-wrap:wrap;gap:.5em">{}</div>')
        parts.append(row.format(Markup("").join(tiles)))
    image = small_picture(figure, data or {}) if figure is not None else ""
    if image and figure is not None:
        parts.append(Markup(_PICTURE).format(figure.title, image))
    parts += [Markup(_NOTE).format(note) for note in notes]
    return str(Markup("").join([*parts, Markup("</div>")]))


def page_card(page: Page, data: Mapping[str, Any], notes: Sequence[str] = ()) -> str:
    """The card of a page: its verdict, its numbers and its first figure."""
    figure = page.figures[0] if page.figures else None
    return card(page.title, page.verdict, page.verdict_tone, page.numbers, figure, data, notes)


def small_picture(figure: Figure, data: Mapping[str, Any]) -> str:
    """The first panels of a figure as SVG in base64; "" without matplotlib, or with nothing in it.

    What is drawn does not depend on the settings of the session.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return ""
    from matplotlib import style

    from thalweg.report.matplotlib_drawing import draw_canvas

    panels = tuple(replace(panel, residual=False) for panel in figure.panels[:PANELS])
    figure = replace(figure, panels=panels)
    settings: Any = SMALL | {"figure.figsize": (3.8 * len(panels), 2.6)}
    held = io.BytesIO()
    with style.context(["default", settings]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that a font lacks
        try:
            canvas = draw_canvas(figure, data.__getitem__)
        except InputError:
            return ""
        canvas.savefig(held, format="svg", metadata={"Date": None})
    return base64.b64encode(held.getvalue()).decode()


def plot_figure(
    figures: Sequence[Figure], data: Mapping[str, Any], what: str, ax: Any = None, panel: str = ""
) -> Any:
    """Draw one of several figures, or one of its panels, with matplotlib.

    Args:
        figures: Those there are.
        data: Their datasets by name.
        what: The name of the figure.
        ax: Axes to draw in, one for each panel; new ones on a new canvas by default.
        panel: The letter of a panel, "a" for the first; all of them by default.

    Returns:
        The axes: of one panel itself, of several an array.

    Raises:
        InputError: If there is no such figure or panel, axes of another number came, or matplotlib
            is not installed.
    """
    from thalweg.report.matplotlib_drawing import draw_panels

    names = [figure.name for figure in figures]
    require(what in names, unknown(what, names, "picture"))
    figure = figures[names.index(what)]
    letters = "abcd"[: len(figure.panels)]
    require(not panel or panel in letters, unknown(panel, letters, f"panel of {what!r}"))
    chosen = [letters.index(panel)] if panel else []
    drawn = draw_panels(figure, data.__getitem__, _axes(ax), chosen)
    return drawn[0] if len(drawn) == 1 else np.array(drawn)


def _axes(ax: Any) -> list[Any] | None:
    if ax is None:
        return None
    given = list(np.ravel(np.asarray(ax, dtype=object)))
    for one in given:
        require(
            hasattr(one, "plot") and hasattr(one, "set_xscale"),
            f"ax came as {'an' if type(one).__name__[0] in 'aeiou' else 'a'} {type(one).__name__}; "
            "give matplotlib axes, as plt.subplots()[1]",
        )
    return given
