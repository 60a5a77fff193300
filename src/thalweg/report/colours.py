"""A colour per meaning: one for all figures of a page, and never one for two things in a figure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import combinations

import numpy as np
import xarray as xr

from thalweg.report.lines import REPLICATES, fan
from thalweg.report.spec import Figure, Panel, Series

# Okabe and Ito's palette without what is too light for a line on white, then what lies farthest
# from it to the eye, colour-blind ones included, at a contrast of three or more.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#3B3B3B",
    "#8F400F",
    "#3A96D8",
    "#550475",
    "#A42778",
)
# From dark to light, for values in an order: viridis and inferno without their light ends, and
# three more that change their hue on the way.
RAMPS = (
    ("#440154", "#3B528B", "#21918C", "#4BAF55"),
    ("#1B0C41", "#781C6D", "#CF4446", "#E8862F"),
    ("#0B1740", "#1F4FA8", "#2E8FCC", "#3FB0AE"),
    ("#2E1A00", "#7A3B00", "#A8740A", "#A5A02E"),
    ("#3A0036", "#8A1C7C", "#C14F8F", "#E0848F"),
)
CLOSE = 0.16  # in OKLab: colours nearer than this are hard to tell apart as points

_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_PLAIN = str.maketrans("−⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "--0123456789", "\u202f")  # as `show` writes numbers
_LAST = re.compile(rf"(.*\S)(?:\s|\s?=\s?)({_NUMBER})")
_FIRST = re.compile(rf"({_NUMBER})\s(\S.*)")

Open = Callable[[str], xr.Dataset]
Ordered = tuple[str, float]


class Colours:
    """The colours of a page's figures, from what their series mean.

    A series means its group, else its label, else its variable; a line of a fan means its value, as
    "depth 3", wherever on the page it comes: two fans over one dimension share colours unless
    they stand in one panel in one style. Values in an order ("depth 1", "depth 2", `c = 0.1`) take
    a ramp from dark to light; all else a palette, in the order of the page. What stands there
    already has the colours `taken`, which are not used again while there are others.
    """

    def __init__(self, figures: Sequence[Figure], find: Open, taken: Collection[str] = ()) -> None:
        self._apart = {
            dim for figure in figures for panel in figure.panels for dim in _clashing(panel)
        }
        self._chosen: dict[str, str] = {}
        order: dict[str, Ordered | None] = {}
        beside: dict[str, set[str]] = defaultdict(set)
        for figure in figures:
            here = dict(
                meaning
                for panel in figure.panels
                for series in panel.series
                for meaning in self._meanings(series, find(series.data))
            )
            order |= here
            for text in here:
                beside[text] |= here.keys() - {text}
        self._ramps(order, beside)
        for text in order:
            if text not in self._chosen:
                self._chosen[text] = self._free(
                    {self._chosen.get(it, "") for it in beside[text]} | set(taken)
                )

    def of(self, series: Series, shown: str = "") -> str:
        """The colour of a series, or of its line for a value of `each`."""
        return self._chosen[self.meaning(series, shown)]

    def meaning(self, series: Series, shown: str = "") -> str:
        """What a line stands for, in the words that decide its colour."""
        name = series.group or series.label or series.y
        if shown and series.each not in REPLICATES:
            name = f"{name}, {shown}" if series.each in self._apart else shown
        place = _ordered(name)
        return f"{place[0]} {place[1]:g}" if place else name

    def _meanings(self, series: Series, data: xr.Dataset) -> Iterator[tuple[str, Ordered | None]]:
        shown = [words for _, words in fan(series, data)] if series.each not in REPLICATES else []
        for words in shown or [""]:
            text = self.meaning(series, words)
            yield text, _ordered(text)

    def _ramps(self, order: dict[str, Ordered | None], beside: dict[str, set[str]]) -> None:
        families: dict[str, list[str]] = defaultdict(list)
        for text, place in order.items():
            if place is not None and np.isfinite(place[1]):
                families[place[0]].append(text)
        taken: dict[str, int] = {}
        ordered = {stem: texts for stem, texts in families.items() if len(texts) > 1}
        # The longest first: viridis keeps most values apart.
        for stem, texts in sorted(ordered.items(), key=lambda family: -len(family[1])):
            near = {other for text in texts for other in beside[text]}
            met = [taken[other] for other in taken if near & set(ordered[other])]
            used = list(taken.values())
            taken[stem] = min(range(len(RAMPS)), key=lambda it: (met.count(it), used.count(it), it))
            texts.sort(key=lambda text: order[text][1])  # type: ignore[index]
            for position, text in enumerate(texts):
                self._chosen[text] = _along(RAMPS[taken[stem]], position / (len(texts) - 1))

    def _free(self, around: set[str]) -> str:
        """The first colour that nothing beside it has or comes near, if possible unused so far."""
        used = list(self._chosen.values())
        shades = (_along((colour, "#000000"), 0.4) for colour in PALETTE)
        open_ = [c for c in (*PALETTE, *shades) if c not in around] or list(PALETTE)
        around = around - {""}
        return min(
            open_,
            key=lambda c: (
                any(colour_distance(c, other) < CLOSE for other in around),
                used.count(c),
                c not in PALETTE,
            ),
        )


def colour_distance(one: str, other: str) -> float:
    """How far two colours are apart to the eye: Euclidean in OKLab, black and white 1 apart."""
    return float(np.linalg.norm(_oklab(one) - _oklab(other)))


def _clashing(panel: Panel) -> Iterator[str]:
    """Dimensions over which two fans of a panel could not be told apart by their style."""
    fans = [it for it in panel.series if it.each and it.each not in REPLICATES]
    for one, other in combinations(fans, 2):
        names = [it.group or it.label or it.y for it in (one, other)]
        if one.each == other.each and one.style == other.style and names[0] != names[1]:
            yield one.each


def _ordered(text: str) -> Ordered | None:
    """The quantity and the value in a label as "depth 3", "c = 0.1" or "8 units"."""
    text = text.translate(_PLAIN).replace("×10", "e")
    if found := _LAST.fullmatch(text):
        stem, number = found.groups()
    elif found := _FIRST.fullmatch(text):
        number, stem = found.groups()
    else:
        return None
    return stem.rstrip(" ="), float(number)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def _along(stops: Sequence[str], place: float) -> str:
    values, at = np.array([_rgb(stop) for stop in stops]), np.linspace(0, 1, len(stops))
    return "#" + "".join(f"{round(np.interp(place, at, values[:, i])):02X}" for i in range(3))


def _oklab(colour: str) -> np.ndarray:
    """Ottosson's perceptual coordinates of an sRGB colour (2020)."""
    scaled = _rgb(colour) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    opponents = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.array(opponents) @ np.cbrt(np.array(cones) @ linear)
