"""How wide a text will stand, and where to break it, before there is a screen to ask."""

from __future__ import annotations

import html
from collections.abc import Callable

# Widths of the characters from space to tilde in Helvetica and the fonts cut to its measure (Arial,
# Liberation Sans), in thousandths of the font's size.
_WIDTHS = (
    "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 "
    "556 556 556 278 278 584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 "
    "722 778 667 778 722 667 611 722 667 944 667 667 611 278 278 278 469 556 333 556 556 500 556 "
    "556 278 556 556 222 222 500 222 833 556 556 556 556 333 500 278 556 500 722 500 500 500 334 "
    "260 334 584"
)
_WIDTH = {chr(32 + i): int(width) / 1000 for i, width in enumerate(_WIDTHS.split())}
_OTHER = 0.62  # Greek and mathematics


def text_width(text: str, size: float, bold: bool = False) -> float:
    """The width of one line in pixels; a little more rather than less."""
    return sum(_WIDTH.get(sign, _OTHER) for sign in text) * size * (1.1 if bold else 1.03)


def drawn_width(text: str, size: float, bold: bool = False) -> float:
    """The width of one line in points in matplotlib's font, which can be wider than Helvetica."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def broken(
    text: str,
    size: float,
    room: float,
    bold: bool = False,
    width: Callable[[str, float, bool], float] = text_width,
) -> list[str]:
    """The text in lines, broken between words so that each fits the room if its words do."""
    rows: list[str] = []
    for word in text.split(" "):
        longer = f"{rows[-1]} {word}" if rows else word
        if rows and width(longer, size, bold) <= room:
            rows[-1] = longer
        else:
            rows.append(word)
    return rows


def as_text(text: str) -> str:
    """Text that Plotly, which reads a little HTML, shows as it is."""
    return html.escape(text, quote=False)
