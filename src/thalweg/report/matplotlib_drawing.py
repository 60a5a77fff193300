"""A figure in matplotlib's axes, for notebooks and papers, from what the page draws.

Matplotlib is an extra and is imported where it is used; nothing here needs a browser or a screen.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.core.errors import require
from thalweg.report.axes import GRID, residual_name
from thalweg.report.colours import Colours, Open
from thalweg.report.drawing import NEUTRAL
from thalweg.report.lines import Line
from thalweg.report.resolved import Resolved, band, each_count, resolve, sharing
from thalweg.report.spec import Figure, Level
from thalweg.report.text import broken, drawn_width
from thalweg.report.ticks import SIZE, Span, linear_range, log_range, log_ticks, tick_texts
from thalweg.report.traces import has_lonely

Axes = Any  # matplotlib's, of which nothing is known where it is not installed
Canvas = Any

INSTALL = "matplotlib is not installed; install it with \"pip install 'thalweg[plot]'\""
PANEL = (4.2, 3.1)  # inches of a panel, unless matplotlib's settings say how large a figure is
NARROWEST = 2.2  # inches of a panel beside another
LARGEST = 307.0  # exponent of an end of a logarithmic axis
THIN = 0.32  # height of a panel of differences, of that above it
MOST_INSIDE, INSIDE = 4, 0.75  # entries of a legend among the lines, and its part of the width
SMALL = 0.9  # of titles and legends, of the size in matplotlib's settings
STYLES = {"line": "-", "dash": (0, (4, 3)), "steps": "-", "points": "none"}


def draw_canvas(figure: Figure, find: Open, colours: Colours | None = None) -> Canvas:
    """A figure on a canvas of its own, as large as matplotlib's settings say.

    Args:
        figure: What to draw.
        find: Gives the dataset of a name.
        colours: Those of the page that the figure stands on; its own if not given.

    Returns:
        Matplotlib's figure, which no window shows; `savefig` writes it.

    Raises:
        InputError: As `draw`, and if matplotlib is not installed.

    Examples:
        >>> import xarray as xr
        >>> from thalweg.report import Figure, Panel, Series, draw_canvas
        >>> data = xr.Dataset({"loss": ("time", [4.0, 1.0])}, {"time": [0.0, 1.0]})
        >>> figure = Figure("decay", "Decay", "The loss.", (Panel((Series("bowl", "loss"),)),))
        >>> canvas = draw_canvas(figure, lambda name: data)
        >>> canvas.axes[0].lines[0].get_ydata().tolist()
        [4.0, 1.0]
    """
    require_matplotlib()
    from matplotlib import figure as matplotlib_figure

    colours = colours or Colours([figure], find)
    panels = [resolve(figure, index, find, colours) for index in range(len(figure.panels))]
    canvas = matplotlib_figure.Figure(layout="constrained")
    _fill(canvas, panels, colours)
    return canvas


def draw_panels(
    figure: Figure, find: Open, axes: Sequence[Axes] | None = None, panels: Sequence[int] = ()
) -> list[Axes]:
    """Panels of a figure in axes that are there, or on a new canvas that a notebook shows.

    Args:
        figure: What to draw.
        find: Gives the dataset of a name.
        axes: One for each panel; what is there stays, and its colours are not taken again.
        panels: Positions of the panels wanted; all by default.

    Returns:
        The axes, one for each panel.

    Raises:
        InputError: As `draw_canvas`, and if there are more or fewer axes than panels.
    """
    require_matplotlib()
    chosen = list(panels) or list(range(len(figure.panels)))
    taken = {colour for ax in axes or () for colour in _colours(ax)}
    colours = Colours([figure], find, taken)
    shown = [resolve(figure, index, find, colours) for index in chosen]
    if axes is None:
        from matplotlib import pyplot

        return _fill(pyplot.figure(layout="constrained"), shown, colours)
    require(
        len(axes) == len(shown),
        f"{len(axes)} axes came for the {len(shown)} panels of {figure.name!r}; give one for each"
        + (", or choose one panel by its letter" if len(shown) > 1 else ""),
    )
    for ax, panel in zip(axes, shown, strict=True):
        _panel(ax, panel, colours)
    return list(axes)


def require_matplotlib() -> None:
    """Raise in a sentence if matplotlib is not installed."""
    require(importlib.util.find_spec("matplotlib") is not None, INSTALL)


def _fill(canvas: Any, panels: list[Resolved], colours: Colours) -> list[Axes]:
    """Lay panels out on an empty canvas and draw them, ranges shared; their axes."""
    from matplotlib import rcParams, rcParamsDefault

    wanted = tuple(rcParams["figure.figsize"])
    plain = wanted == tuple(rcParamsDefault["figure.figsize"])
    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    if not plain:
        columns = min(columns, max(1, int(wanted[0] / NARROWEST)))
    rows = -(-len(panels) // columns)
    width = PANEL[0] * columns if plain else wanted[0]
    height = PANEL[1] if plain else min(wanted[1], 0.75 * width / columns)
    long = [len(it.legend) > MOST_INSIDE for it in panels]
    height += 0.25 * height * max(map(bool, (it.residuals for it in panels)))
    height += max(long) * 0.2 * max(map(len, (it.legend for it in panels))) / 2
    canvas.set_size_inches(width, height * rows)
    grid = canvas.add_gridspec(rows, columns)
    drawn = []
    for at, panel in enumerate(panels):
        place, foot = grid[divmod(at, columns)], None
        if panel.residuals:
            inner = place.subgridspec(2, 1, height_ratios=[1, THIN], hspace=0.02)
            ax = canvas.add_subplot(inner[0])
            foot = canvas.add_subplot(inner[1], sharex=ax)
        else:
            ax = canvas.add_subplot(place)
        drawn.append(ax)
        ax.set_ymargin(0)  # `_reach` sets it; above a loss that filled the floats is no room
        _panel(ax, panel, colours, foot)
        _house(ax)
        _reach(ax, panel)
        size = _points("xtick.labelsize")
        if sum(drawn_width(f"{word}  ", size) for word in panel.words()) > _width(ax):
            ax.tick_params(axis="x", labelrotation=90)
        if panel.residuals:
            _residuals(ax, foot, panel, colours)
    for together, span in sharing(panels):
        if span is not None:
            for at in together:
                drawn[at].set_xlim(*_ends(span, panels[at].panel.x_log))
                if each_count(panels, together, span):
                    drawn[at].locator_params(axis="x", integer=True)
    return drawn


def _panel(ax: Axes, shown: Resolved, colours: Colours, foot: Any = None) -> None:
    """Lines, levels, labels and legend of one panel; `foot`: the axes beneath it, if any."""
    panel = shown.panel
    named = any(not str(line.get_label()).startswith("_") for line in ax.lines)
    if panel.x_log:
        _log_axis(ax, "x")
    if panel.y_log:
        _log_axis(ax, "y")
    said = shown.names()
    alone = sum(1 for _ in shown.drawn) == 1
    for series, line, at, number in shown.drawn:
        colour = colours.of(series, line.shown)
        # A line without a legend keeps its name, so that another drawn over it can be told apart.
        name = said.get((at, number), line.name if alone else "")
        _line(ax, line, series.style, colour, panel.y_log, shown.is_faint(at), name)
    for entry in shown.legend:
        if entry.line is None:
            style = panel.series[entry.series].style
            nothing = np.array([np.nan])
            blank = Line(entry.text, "", None, nothing, nothing, np.empty(0))
            _line(ax, blank, style, NEUTRAL, False, False, entry.text)
    for level, value in shown.levels:
        _level(ax, level, value)
    if shown.empty:
        ax.text(
            0.5, 0.5, "no values to draw", transform=ax.transAxes, ha="center", va="center"
        )  # fmt: skip
    if shown.title:
        size = _points("axes.titlesize") * SMALL
        title = "\n".join(broken(shown.title, size, _width(ax), True, drawn_width))
        ax.set_title(title, loc="left", fontsize=size, fontweight="bold", parse_math=False)
    if panel.x_label:
        ax.set_xlabel(panel.x_label, parse_math=False)
    if panel.y_label:
        tall = 0.65 * _height(ax)
        rows = broken(panel.y_label, _points("axes.labelsize"), tall, False, drawn_width)
        ax.set_ylabel("\n".join(rows), parse_math=False)
    if shown.legend or named:
        _legend(ax, foot)


def _line(ax: Axes, line: Line, style: str, colour: str, log: bool, faint: bool, name: str) -> None:
    """A line or points, with the band or the bars of its error; `log`: whether y is logarithmic."""
    from matplotlib import rcParams

    wide = rcParams["lines.linewidth"] * (0.6 if faint else 1.0)
    look: dict[str, Any] = {"color": colour, "alpha": 0.7 if faint else None}
    if line.error.size and style in ("line", "dash"):
        low, high = band(line, log)
        good = np.isfinite(low) & np.isfinite(high)
        ax.fill_between(line.x, low, high, where=good, color=colour, alpha=0.16, linewidth=0)
    elif line.error.size:
        bars = np.where(np.isfinite(line.error), np.abs(line.error), np.nan)
        ax.errorbar(
            line.x, line.y, yerr=bars, fmt="none", ecolor=colour, elinewidth=0.6 * wide,
            capsize=1.5, label="_bars",
        )  # fmt: skip
    # A value between two gaps has no line to be seen by.
    dots = style == "points" or has_lonely(line.y)
    size = rcParams["lines.markersize"] * (0.7 if style == "points" else 0.5)
    ax.plot(
        line.x, line.y, linestyle=STYLES[style], linewidth=wide, label=_label(name),
        marker="o" if dots else "", markersize=size, markeredgewidth=0,
        drawstyle="steps-post" if style == "steps" else "default", **look,
    )  # fmt: skip


def _level(ax: Axes, level: Level, value: float) -> None:
    """A dotted line across the panel, and its label above the left end or beside the foot."""
    from matplotlib import rcParams

    ink = rcParams["text.color"]
    look: dict[str, Any] = {"color": ink, "linewidth": 0.8, "linestyle": (0, (1, 2)), "zorder": 3}
    flat = level.axis == "y"
    (ax.axhline if flat else ax.axvline)(value, label="_level", **look)
    if not level.label:
        return
    place = (0.02, value) if flat else (value, 0.02)
    ax.annotate(
        level.label, place, xytext=(0, 2) if flat else (3, 0), textcoords="offset points",
        xycoords=ax.get_yaxis_transform() if flat else ax.get_xaxis_transform(),
        ha="left", va="bottom", color=ink, fontsize="small", parse_math=False, zorder=4,
        bbox={"facecolor": ax.get_facecolor(), "alpha": 0.7, "edgecolor": "none", "pad": 0.8},
    )  # fmt: skip


def _legend(ax: Axes, foot: Any = None) -> None:
    """The legend of all that is named in the axes: among the lines if short, else beneath.

    Args:
        ax: The axes.
        foot: The lowest axes of the panel, under which a long legend stands; `ax` if not given.
    """
    from matplotlib.transforms import ScaledTranslation

    handles, labels = ax.get_legend_handles_labels()
    size, room = _points("legend.fontsize") * SMALL, _width(ax)
    widest = max((drawn_width(label, size) for label in labels), default=0.0) + 3 * size
    inside = len(labels) <= MOST_INSIDE and widest <= INSIDE * room
    place: dict[str, Any] = {"loc": "best", "framealpha": 0.8}
    if not inside:
        foot = foot or ax
        # Beneath the labels of the axis, whatever the height of the axes.
        down = _points("xtick.labelsize") + _points("axes.labelsize") + 14
        under = foot.transAxes + ScaledTranslation(0, -down / 72, foot.figure.dpi_scale_trans)
        columns = min(len(labels), 3, max(1, int(room / widest)))
        place = {"loc": "upper left", "bbox_to_anchor": (0.0, 0.0), "bbox_transform": under}
        place |= {"ncols": columns, "borderaxespad": 0.0}
    room -= 3 * size
    words = ["\n".join(broken(label, size, room, False, drawn_width)) for label in labels]
    legend = (foot if not inside else ax).legend(
        handles, words, fontsize=size, handlelength=1.8, frameon=inside, **place
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _width(ax: Axes) -> float:
    """The width of axes, in points."""
    return float(ax.get_window_extent().width * 72 / ax.figure.dpi)


def _height(ax: Axes) -> float:
    """The height of axes, in points."""
    return float(ax.get_window_extent().height * 72 / ax.figure.dpi)


def _points(setting: str) -> float:
    """A size of font of matplotlib's settings, in points."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    sizes: Any = rcParams
    return float(FontProperties(size=sizes[setting]).get_size_in_points())


def _house(ax: Axes) -> None:
    """Two sides and a faint grid, as on the page."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)


def _reach(ax: Axes, shown: Resolved) -> None:
    """The vertical range: all values and levels, a margin beyond, room for a label on top."""
    log = shown.panel.y_log
    span = (log_range if log else linear_range)(shown.reach("y"))
    if span is None:
        return
    low, high = span
    if not log:
        low, high = low - 0.03 * (high - low), high + 0.03 * (high - low)
    top = [value for level, value in shown.levels if level.axis == "y" and level.label]
    highest = max((np.log10(value) if log else value for value in top), default=-np.inf)
    high = max(high, highest + 0.13 * (high - low))
    ax.set_ylim(*_ends((low, high), log))


def _ends(span: Span, log: bool) -> Span:
    """The ends of an axis from those of its range, which are exponents on a logarithm.

    A loss that diverged fills the floats; matplotlib refuses ends beyond them.
    """
    return (10.0 ** max(span[0], -LARGEST), 10.0 ** min(span[1], LARGEST)) if log else span


def _residuals(ax: Axes, beneath: Any, shown: Resolved, colours: Colours) -> None:
    """The thin panel of differences under its panel, which hands it the horizontal labels."""
    for series, line in shown.residuals:
        _line(beneath, line, series.style, colours.of(series, line.shown), False, False, "")
    beneath.axhline(0.0, color=NEUTRAL, linewidth=0.6, label="_level")
    beneath.set_xlabel(ax.get_xlabel(), parse_math=False)
    ax.set_xlabel("")
    ax.tick_params(axis="x", labelbottom=False, which="both")
    name = residual_name(shown.sides, shown.panel.y_log)
    beneath.set_title(name, loc="left", fontsize="small", parse_math=False, pad=2)
    beneath.locator_params(axis="y", nbins=3)
    beneath.ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
    _house(beneath)


def _log_axis(ax: Axes, which: str) -> None:
    """A logarithmic axis with the labels that the page chooses, two or more whatever its range."""
    from matplotlib.ticker import Formatter, Locator, NullFormatter

    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    axis = ax.xaxis if which == "x" else ax.yaxis

    class Places(Locator):
        def __init__(self, minor: bool) -> None:
            self.minor = minor

        def __call__(self) -> Any:
            return self.tick_values(*sorted(axis.get_view_interval()))

        def tick_values(self, vmin: float, vmax: float) -> Any:
            if not 0 < vmin < vmax < np.inf:
                return []
            span: Span = (float(np.log10(vmin)), float(np.log10(vmax)))
            # In the page's pixels, in which a label is SIZE high.
            letter = _points(f"{which}tick.labelsize") * ax.figure.dpi / 72
            box = ax.get_window_extent()
            length = (box.width if which == "x" else box.height) * SIZE / letter
            ticks = log_ticks(span, length, upright=which == "y")
            return ticks["minor"]["tickvals"] if self.minor else ticks["tickvals"]

    class Words(Formatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return _math(tick_texts([x])[0])

        def format_ticks(self, values: Any) -> list[str]:
            return [_math(text) for text in tick_texts([float(value) for value in values])]

    axis.set_major_locator(Places(minor=False))
    axis.set_minor_locator(Places(minor=True))
    axis.set_major_formatter(Words())
    axis.set_minor_formatter(NullFormatter())


def _math(text: str) -> str:
    """A label with its power raised: the page's in HTML, matplotlib's in its own way."""
    base, _, power = text.removesuffix("</sup>").partition("<sup>")
    return (
        f"${base.replace('×', chr(92) + 'times')}^{{{power.replace('−', '-')}}}$" if power else base
    )


def _label(name: str) -> str:
    """A name as a label: matplotlib takes those that begin with a low line for no name."""
    if not name:
        return "_unnamed"
    return f" {name}" if name.startswith("_") else name


def _colours(ax: Axes) -> set[str]:
    """The colours of the named lines in axes, as "#0072B2"."""
    from matplotlib.colors import to_hex

    return {
        to_hex(line.get_color()).upper()
        for line in ax.lines
        if not str(line.get_label()).startswith("_")
    }
