"""Matplotlib's settings for a figure that fits a column of a paper."""

from __future__ import annotations

import contextlib
from typing import Any

from thalweg.core.errors import choose, require, unknown
from thalweg.report.colours import PALETTE
from thalweg.report.matplotlib_drawing import require_matplotlib

# Inches of one column and of the whole text, from the venues' own LaTeX classes.
VENUES: dict[str, tuple[float, float]] = {
    "icml": (3.25, 6.75),
    "neurips": (5.5, 5.5),
    "iclr": (5.5, 5.5),
    "aistats": (3.25, 6.75),
    "jmlr": (6.0, 6.0),
    "ieee": (3.5, 7.16),
    "nature": (3.5, 7.2),
}
RATIO = 0.68  # height over width of a picture in one column
COLUMNS = (1, 2)


class Settings(dict[str, Any]):
    """Matplotlib's settings, which hold within `with`, or for the session after `use`."""

    def __enter__(self) -> Settings:
        """Set them."""
        from matplotlib import rc_context

        self._held = contextlib.ExitStack()
        settings: Any = dict(self)
        self._held.enter_context(rc_context(settings))
        return self

    def __exit__(self, *exit_: Any) -> None:
        """Set back what was there."""
        self._held.close()

    def use(self) -> None:
        """Set them for the rest of the session."""
        from matplotlib import rcParams

        settings: Any = dict(self)
        rcParams.update(settings)


def paper(columns: int = 1, venue: str = "icml", *, font: float = 8.0) -> Settings:
    """Settings for figures of a paper: as wide as its columns, in letters that can be read there.

    Files are vectors whose fonts are embedded as TrueType (type 42), which publishers ask for;
    colours are told apart by colour-blind eyes. No LaTeX and no browser is needed.

    Args:
        columns: 1 or 2: how many columns of the paper the figure goes over.
        venue: A name in `style.VENUES`, which holds the widths in inches.
        font: Size of the letters in points; legends and ticks are a little smaller.

    Returns:
        A dictionary of matplotlib's settings: `with paper(): ...` sets them for a while,
        `paper().use()` for the session.

    Raises:
        InputError: If the venue is unknown, an argument does not fit, or matplotlib is not
            installed.

    Examples:
        >>> from matplotlib import pyplot as plt
        >>> with tw.style.paper(columns=2, venue="icml"):
        ...     figure, ax = plt.subplots()
        >>> float(figure.get_figwidth())
        6.75
    """
    require_matplotlib()
    widths = choose(venue, VENUES, "venue")
    require(columns in COLUMNS, unknown(str(columns), map(str, COLUMNS), "number of columns"))
    require(0 < font < 100, f"font came as {font}; give a size in points, as 8")
    from matplotlib.rcsetup import cycler

    width = widths[columns - 1]
    height = RATIO * min(width, 4.0)
    return Settings(
        {
            "figure.figsize": (width, round(height, 3)),
            "figure.dpi": 150,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 300,
            "savefig.bbox": None,  # a tight box would not be as wide as the column
            "pdf.fonttype": 42,
            "ps.fonttype": 42,
            "font.size": font,
            "axes.titlesize": font,
            "axes.labelsize": font,
            "xtick.labelsize": 0.88 * font,
            "ytick.labelsize": 0.88 * font,
            "legend.fontsize": 0.94 * font,
            "axes.linewidth": 0.6,
            "lines.linewidth": 1.1,
            "lines.markersize": 4.0,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "axes.prop_cycle": cycler(color=PALETTE),
        }
    )
