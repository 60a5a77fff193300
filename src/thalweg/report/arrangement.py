"""Where panels, titles, legends and tick labels of a figure stand at a width, in pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from thalweg.report.text import as_text, broken, text_width
from thalweg.report.ticks import SIZE, Span, log_ticks

WIDTHS = (290, 330, 360, 480, 640, 760, 870)  # the page takes the widest that has room
NARROWEST = 290  # of a panel that stands beside another
PLOT, RESIDUAL, BETWEEN = 250, 76, 28  # heights: of a plot, the one beneath, the gap
LEFT, RIGHT, FOOT = 74, 12, 58  # room for the labels of the axes
TOOLBAR = 30  # above the first row, where the page's toolbar stands
TITLE, AXIS, LEGEND = 13, 13, 12  # sizes of the fonts
UPRIGHT = 110  # how long a line of a word that stands upright may be
SWATCH = 46  # what Plotly needs for an entry besides its text

Legend = tuple[list[list[int]], list[float], float, list[list[str]]]


@dataclass
class Frame:
    """What is to be arranged of one panel.

    Attributes:
        suffix: Of its axes, as "2" in "x2".
        title: With its letter.
        x_label: Of its horizontal axis.
        y_label: Of its vertical axis.
        residual: Suffix of the axes beneath; "" if there are none.
        entries: `(position of the trace, text)` of its legend.
        log: Exponents at the ends of its logarithmic axes, by the axis' name in the layout.
        words: What stands along its horizontal axis instead of numbers.
    """

    suffix: str
    title: str
    x_label: str = ""
    y_label: str = ""
    residual: str = ""
    entries: list[tuple[int, str]] = field(default_factory=list)
    log: dict[str, Span] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)


def arrange(frames: list[Frame], width: float, columns: int = 0) -> dict[str, Any]:
    """The arrangement of a figure's panels at a width.

    Args:
        frames: Its panels.
        width: Of the figure, in pixels.
        columns: How many panels stand side by side; as many as have room if not given, or half.

    Returns:
        `width`, `height`; `layout`, to be laid over the figure's, key by key; `titles`, as
        annotations; `legends`, the legend of each entry; `names`, its text in lines (both by
        position of the trace).
    """
    count = len(frames)
    columns = columns or _columns(count, width)
    cell = width / columns
    deep = max(len(broken(frame.y_label, AXIS, PLOT)) for frame in frames)
    before = LEFT + 16 * (deep - 1)
    layout: dict[str, Any] = {}
    made: dict[str, Any] = {"titles": [], "legends": {}, "names": {}, "layout": layout}
    boxes: list[tuple[Frame, float, float, float, float]] = []
    top = float(TOOLBAR)
    for start in range(0, count, columns):
        row = frames[start : start + columns]
        legends = [_legend(frame, cell - RIGHT) for frame in row]
        titles = [broken(frame.title, TITLE, cell - RIGHT, bold=True) for frame in row]
        heads = [
            17 * len(title) * any(title) + legend[2]
            for title, legend in zip(titles, legends, strict=True)
        ]
        beneath = (RESIDUAL + BETWEEN) * any(frame.residual for frame in row)
        plot = top + max(heads) + 8
        foot = plot + PLOT + beneath
        for place, (frame, title, legend) in enumerate(zip(row, titles, legends, strict=True)):
            left = place * cell
            made["titles"].append((left, top, title))
            _place_legend(made, frame, legend, left, top + 17 * len(title) * any(title))
            boxes.append((frame, left + before, left + cell - RIGHT, plot, foot))
        below = [broken(frame.x_label, AXIS, cell - before - RIGHT) for frame in row]
        words = max(_words(frame.words, cell - before - RIGHT)[1] for frame in row)
        top = foot + FOOT + 16 * (max(map(len, below)) - 1) + words
    made |= {"width": width, "height": top}
    for frame, left, right, plot, foot in boxes:
        _place_axes(layout, frame, (left / width, right / width), plot, foot, top)
        lowest = f"xaxis{frame.residual or frame.suffix}"
        layout[lowest] |= _words(frame.words, right - left)[0]
        layout[lowest]["title"] = _label(frame.x_label, right - left)
        layout[f"yaxis{frame.suffix}"]["title"] = _label(frame.y_label, PLOT)
        for name, span in frame.log.items():
            upright = name.startswith("y")
            tall = foot - plot - (RESIDUAL + BETWEEN if frame.residual else 0)
            ticks = log_ticks(span, tall if upright else right - left, upright)
            layout.setdefault(name, {}).update(ticks)
            if frame.residual and not upright:
                layout[f"xaxis{frame.residual}"] |= ticks
    for name in [key for key in layout if key.startswith("legend")]:
        layout[name]["x"] /= width
        layout[name]["y"] = 1 - layout[name]["y"] / top
    made["titles"] = [
        _title(text, left / width, 1 - above / top)
        for left, above, text in made["titles"]
        if any(text)
    ]
    return made


def _words(words: list[str], room: float) -> tuple[dict[str, Any], float]:
    """Words along an axis as Plotly's ticks, and the height that they take beyond a line.

    They are broken between words, and stand upright where one is wider than its place.
    """
    if not words or all(map(_is_number, words)):  # which Plotly takes for numbers
        return {}, 0.0
    place = room / len(words) - 6
    texts = [broken(word, SIZE, place) for word in words]
    upright = any(text_width(line, SIZE) > place for text in texts for line in text)
    if upright:
        texts = [broken(word, SIZE, UPRIGHT) for word in words]
        height = max(text_width(line, SIZE) for text in texts for line in text)
    else:
        height = 1.3 * SIZE * max(map(len, texts))
    ticks = {
        "tickmode": "array",
        "tickvals": words,
        "ticktext": ["<br>".join(map(as_text, text)) for text in texts],
        "tickangle": -90 if upright else 0,
    }
    return ticks, max(0.0, height - 1.3 * SIZE)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _columns(count: int, width: float) -> int:
    if width >= NARROWEST * count:
        return count
    return math.ceil(count / 2) if width >= 2 * NARROWEST else 1


def _legend(frame: Frame, room: float) -> Legend:
    """Columns of entries with their widths, the height, and each entry's lines of text."""
    texts = [broken(text, LEGEND, room - SWATCH) for _, text in frame.entries]
    if not texts:
        return [], [], 0.0, []
    sizes = [SWATCH + max(text_width(line, LEGEND) for line in text) for text in texts]
    for across in range(min(len(texts), 5), 0, -1):
        columns = [list(range(len(texts)))[at::across] for at in range(across)]
        widths = [max(sizes[i] for i in column) for column in columns]
        if sum(widths) <= room or across == 1:
            break
    height = max(sum(_entry_height(texts[i]) for i in column) for column in columns)
    return columns, widths, height + 10, texts


def _entry_height(text: list[str]) -> float:
    return max(16.0, 1.3 * LEGEND * len(text)) + 3


def _place_legend(
    made: dict[str, Any], frame: Frame, legend: Legend, left: float, above: float
) -> None:
    """A legend per column: one of several columns Plotly makes as wide as the figure."""
    columns, widths, _, texts = legend
    for column, wide in zip(columns, widths, strict=True):
        number = 1 + sum(name.startswith("legend") for name in made["layout"])
        name = "legend" if number == 1 else f"legend{number}"
        made["layout"][name] = {
            "x": left,
            "y": above,
            "xref": "paper",
            "yref": "paper",
            "xanchor": "left",
            "yanchor": "top",
            "orientation": "v",
            "font": {"size": LEGEND},
            "bgcolor": "rgba(0,0,0,0)",
            "tracegroupgap": 0,
            "traceorder": "normal",  # grouped entries would be set apart and moved
        }
        left += wide
        for i in column:
            trace = frame.entries[i][0]
            made["names"][trace] = "<br>".join(map(as_text, texts[i]))
            made["legends"][trace] = name


def _place_axes(
    layout: dict[str, Any], frame: Frame, across: Span, plot: float, foot: float, height: float
) -> None:
    x, y = f"xaxis{frame.suffix}", f"yaxis{frame.suffix}"
    bottom = foot
    if frame.residual:
        bottom = foot - RESIDUAL - BETWEEN
        thin = [1 - foot / height, 1 - (foot - RESIDUAL) / height]
        layout[f"xaxis{frame.residual}"] = {"domain": list(across)}
        layout[f"yaxis{frame.residual}"] = {"domain": thin}
    layout[x] = {"domain": list(across)}
    layout[y] = {"domain": [1 - bottom / height, 1 - plot / height]}


def _label(text: str, room: float) -> dict[str, Any]:
    lines = "<br>".join(map(as_text, broken(text, AXIS, room)))
    return {"text": lines, "standoff": 6, "font": {"size": AXIS}}


def _title(lines: list[str], x: float, y: float) -> dict[str, Any]:
    return {
        "text": "<br>".join(f"<b>{as_text(line)}</b>" for line in lines if line),
        "xref": "paper",
        "yref": "paper",
        "x": x,
        "y": y,
        "xanchor": "left",
        "yanchor": "top",
        "align": "left",
        "showarrow": False,
        "font": {"size": TITLE},
        "borderpad": 0,
    }
