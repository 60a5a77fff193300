"""What a notebook shows is escaped, stands alone, and says the numbers it was given."""

from __future__ import annotations

import base64
import importlib.util
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure as Canvas
from report_example import NASTY

from thalweg.core.errors import InputError
from thalweg.report import Figure, Number, Panel, Series
from thalweg.report.notebook import card, plot_figure

DATA = {"d": xr.Dataset({"loss": ("time", [4.0, 1.0])}, {"time": [0.0, 1.0]})}
SERIES = Series("d", "loss", label=NASTY)


class Reader(HTMLParser):
    """The tags and the text of a piece of HTML; every tag that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def whole(**options):
    figure = Figure("f", NASTY, "", [Panel([SERIES, SERIES], NASTY, NASTY)])
    numbers = [Number(NASTY, 0.123456, 0.00123, "s", NASTY), Number("bad", NASTY)]
    return card(NASTY, NASTY, "bad", numbers, figure, DATA, [NASTY], **options)


def test_a_card_is_escaped_and_stands_alone() -> None:
    text = whole()
    seen = Reader(text)
    assert {tag for tag, _ in seen.tags} == {"div", "span", "img"}
    assert seen.text.count(NASTY) == 6
    assert "0.1235 ± 0.0012 s" in seen.text
    assert all(set(attrs) <= {"style", "alt", "src"} for _, attrs in seen.tags)
    (image,) = (attrs for tag, attrs in seen.tags if tag == "img")
    assert image["alt"] == NASTY
    start, _, body = (image["src"] or "").partition(",")
    assert start == "data:image/svg+xml;base64"
    picture = ElementTree.fromstring(base64.b64decode(body))
    assert not [it for it in picture.iter() if it.tag.endswith(("script", "}image", "}a"))]
    links = {v for it in picture.iter() for k, v in it.attrib.items() if k.endswith("href")}
    assert all(link.startswith("#") for link in links)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)


def test_text_has_the_colour_of_the_notebook() -> None:
    """So that it can be read on light and dark; the picture brings its own white."""
    seen = Reader(whole())
    for tag, attrs in seen.tags:
        style = attrs.get("style") or ""
        assert not re.search(r"(?<!-)color:#[0-9a-f]+", style) or tag == "span"
        assert ("background" in style) == (tag == "img")


def test_without_matplotlib_a_card_has_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    seen = Reader(whole())
    assert {tag for tag, _ in seen.tags} == {"div", "span"}
    assert "0.1235 ± 0.0012 s" in seen.text


def test_one_panel_gives_axes_and_several_an_array() -> None:
    panels = [Panel([SERIES]), Panel([SERIES])]
    figures = [Figure("two", "t", "", panels), Figure("one", "t", "", panels[:1])]
    axes = Canvas().subplots(1, 2)
    assert (plot_figure(figures, DATA, "two", axes) == axes).all()
    assert plot_figure(figures, DATA, "two", axes[0], "b") is axes[0]
    assert plot_figure(figures, DATA, "one", axes[:1]) is axes[0]
    np.testing.assert_array_equal(axes[1].lines[0].get_ydata(), [4.0, 1.0])
    for options, told in (
        (("three",), "unknown picture 'three'"),
        (("one", None, "b"), "unknown panel of 'one' 'b'"),
        (("two", axes[0]), "1 axes came for the 2 panels of 'two'; give one for each, or choose"),
        (("one", 3), "ax came as an int; give matplotlib axes"),
    ):
        with pytest.raises(InputError, match=re.escape(told)):
            plot_figure(figures, DATA, *options)
