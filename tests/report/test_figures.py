"""Figures are right by construction: letters, legends, ranges, colours, residuals, labels."""

from __future__ import annotations

import json
import math
from itertools import combinations
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.report import Figure, Level, Panel, Series, draw
from thalweg.report.arrangement import WIDTHS
from thalweg.report.colours import PALETTE, RAMPS, Colours, colour_distance
from thalweg.report.text import broken, text_width
from thalweg.report.ticks import log_range, log_ticks


def decay(rates: tuple[float, ...] = (0.1, 0.5, 2.0), points: int = 41) -> xr.Dataset:
    """exp(-rate t) with what Euler's method makes of it at step 1e-4: rate² t/2 · 1e-4 less."""
    time = np.linspace(0.0, 4.0, points)
    rate = np.array(rates)[:, None]
    theory = np.exp(-rate * time)
    return xr.Dataset(
        {
            "theory": (("rate", "time"), theory),
            "measured": (("rate", "time"), theory * (1 - 0.5e-4 * rate**2 * time)),
            "error": (("rate", "time"), 1e-5 * theory),
            "elsewhere": (("rate", "later"), np.exp(-rate * np.linspace(0.5, 3.5, 13))),
        },
        coords={"rate": list(rates), "time": time, "later": np.linspace(0.5, 3.5, 13)},
    )


def made(*panels: Panel, caption: str = "", **data: xr.Dataset) -> dict[str, Any]:
    figure = Figure("f", "Title", caption, panels)
    drawn = draw(figure, (data or {"decay": decay()}).__getitem__)
    json.dumps(drawn, allow_nan=False)
    go.Figure(drawn)
    return drawn


def pair(**options: Any) -> Panel:
    one = Series("decay", "measured", each="rate", label="Euler", group="g", error="error")
    other = Series("decay", "theory", each="rate", label="flow", group="g", style="dash")
    return Panel([one, other], **({"title": "Decay", "x_label": "t", "y_label": "y"} | options))


# --- letters ------------------------------------------------------------------------------


def test_panels_have_letters_in_titles_and_captions_if_there_are_several() -> None:
    two = made(pair(caption="It falls."), pair(caption="So does this."), caption="Both.")
    titles = [note["text"] for note in two["layout"]["annotations"]]
    assert titles[:2] == ["<b>(a) Decay</b>", "<b>(b) Decay</b>"]
    assert two["layout"]["meta"]["caption"].startswith("Both. (a) It falls. (b) So does this.")
    one = made(pair(caption="It falls."), caption="One.")
    assert one["layout"]["annotations"][0]["text"] == "<b>Decay</b>"
    assert one["layout"]["meta"]["caption"].startswith("One. It falls.")


@pytest.mark.parametrize(
    ("panels", "caption", "told"),
    [
        (2, "Left: a. Right: b.", "(a): a. (b): b."),
        (3, "Left and middle: a. Right: b.", "(a), (b): a. (c): b."),
        (2, "Left: a. Middle: b.", "(a): a. Middle: b."),
        (1, "Left: a.", "Left: a."),
        (2, "The right singular vectors: a.", "The right singular vectors: a."),
    ],
)
def test_places_of_older_captions_become_letters(panels: int, caption: str, told: str) -> None:
    assert Figure("f", "t", caption, [Panel([])] * panels).whole_caption() == told


# --- legends ------------------------------------------------------------------------------


def said(drawn: dict[str, Any], suffix: str = "") -> list[str]:
    return [t["name"] for t in drawn["data"] if t["showlegend"] and t["yaxis"] == f"y{suffix}"]


def test_each_panel_has_a_legend_of_its_own_series() -> None:
    flow = Panel([Series("decay", "theory", select={"rate": 2.0}, label=text) for text in "PQ"])
    drawn = made(pair(), flow)
    colours = ["rate 0.1", "rate 0.5", "rate 2"]
    assert said(drawn) == [*colours, "Euler", "flow"]
    assert said(drawn, "2") == ["P", "Q"]
    for arrangement in drawn["layout"]["meta"]["arrangements"]:
        legends = [{}, {}]
        for trace, legend in zip(drawn["data"], arrangement["legends"], strict=True):
            if trace["showlegend"]:
                legends[trace["yaxis"] == "y2"][legend] = arrangement["layout"][legend]
        assert not legends[0].keys() & legends[1].keys()
        left = [place["x"] for place in legends[1].values()]
        axis = [arrangement["layout"][f"xaxis{suffix}"]["domain"] for suffix in ("", "2")]
        if axis[0] != axis[1]:  # side by side
            assert axis[0][1] < min(left) < axis[1][1]


def test_one_series_under_a_clear_label_needs_no_legend() -> None:
    series = Series("decay", "theory", select={"rate": 2.0}, label="flow")
    assert said(made(Panel([series], y_label="y"))) == []
    assert said(made(Panel([series]))) == ["flow"]


def test_theories_of_several_groups_are_named_once() -> None:
    series = [
        Series(
            "decay",
            y,
            select={"rate": rate},
            label=f"rate {rate:g}{suffix}",
            group=f"rate {rate:g}",
            style=style,
        )
        for rate in (0.1, 0.5)
        for y, suffix, style in (("measured", "", "points"), ("theory", ", exact", "dash"))
    ]
    drawn = made(Panel(series))
    assert said(drawn) == ["rate 0.1", "rate 0.5", "exact"]
    (swatch,) = (t for t in drawn["data"] if t["x"] == [None])
    assert swatch["line"]["color"] not in {
        t["line"]["color"] for t in drawn["data"] if "line" in t and t is not swatch
    }


def test_long_entries_are_broken_and_stay_in_their_panel() -> None:
    label = "a label so long that no panel on a phone has room for it in one line"
    panel = Panel(
        [
            Series("decay", y, select={"rate": 0.1}, label=f"{y}, {label}")
            for y in ("theory", "measured")
        ]
    )
    phone = made(panel)["layout"]["meta"]["arrangements"][0]
    lines = [line for name in phone["names"].values() for line in name.split("<br>")]
    assert len(lines) > 2
    assert max(text_width(line, 12) for line in lines) + 46 < WIDTHS[0]


@given(st.text(max_size=60), st.floats(20, 400))
def test_breaking_keeps_every_word(text: str, room: float) -> None:
    lines = broken(text, 12, room)
    assert " ".join(lines) == text
    assert all(" " not in line or text_width(line, 12) <= room for line in lines)


# --- ranges -------------------------------------------------------------------------------


def test_panels_of_one_quantity_share_its_range_and_others_do_not() -> None:
    short = Series("decay", "elsewhere", x="later", select={"rate": 2.0})
    drawn = made(pair(), Panel([short], x_label="t"), Panel([short], x_label="step"))
    axes = [drawn["layout"][f"xaxis{suffix}"] for suffix in ("", "2", "3")]
    assert axes[1]["matches"] == "x"
    assert "matches" not in axes[2]
    assert axes[0]["range"] == axes[1]["range"] == pytest.approx([-0.08, 4.08])
    assert axes[2]["range"] == pytest.approx([0.44, 3.56])


@pytest.mark.parametrize(
    ("across", "each"), [([0, 1, 2], True), ([0, 20, 40], False), ([0.0, 1.0, 2.0], False)]
)
def test_whole_numbers_have_a_tick_each_where_they_are_few(across: list, each: bool) -> None:
    data = xr.Dataset({"risk": ("order", [3.0, 2.0, 1.0])}, {"order": across})
    axis = made(Panel((Series("d", "risk", "order"),)), d=data)["layout"]["xaxis"]
    assert (axis.get("dtick") == 1) == each


@pytest.mark.parametrize("words", [["a", "b"], ["0 knots, 0 inside"] * 7, ["unbreakable-name"] * 9])
def test_words_along_an_axis_stand_clear_of_each_other_and_of_its_label(words: list[str]) -> None:
    words = [f"{word}{at}" for at, word in enumerate(words)]
    data = xr.Dataset({"count": ("case", np.arange(len(words)) * 1.0)}, {"case": words})
    numbers = data.assign_coords(case=np.arange(len(words)) * 1.0)
    panel = Panel((Series("d", "count", "case", style="points"),), x_label="case")
    drawn, plain = made(panel, d=data), made(panel, d=numbers)
    both = [it["layout"]["meta"]["arrangements"] for it in (drawn, plain)]
    for words_at, numbers_at in zip(*both, strict=True):
        axis = words_at["layout"]["xaxis"]
        lines = [text.split("<br>") for text in axis["ticktext"]]
        assert [" ".join(text) for text in lines] == words == axis["tickvals"]
        wide = max(text_width(line, 11) for text in lines for line in text)
        tall = 14 * max(map(len, lines))
        place = (axis["domain"][1] - axis["domain"][0]) * words_at["width"] / len(words)
        across, deep = (tall, wide) if axis["tickangle"] else (wide, tall)
        assert across < place
        assert words_at["layout"]["height"] - numbers_at["layout"]["height"] >= deep - 16


def test_logarithms_share_a_range_too_and_gaps_do_not_stretch_it() -> None:
    data = decay()
    data["measured"][:, 30:] = np.nan
    panels = [
        Panel([Series("decay", y, select={"rate": 2.0})], x_label="t", x_log=True)
        for y in ("measured", "measured")
    ]
    axes = made(*panels, decay=data)["layout"]
    assert axes["xaxis"]["range"] == axes["xaxis2"]["range"]
    assert axes["xaxis"]["range"][1] < math.log10(3.5)


# --- colours ------------------------------------------------------------------------------

# What protanopes and deuteranopes see of linear red, green and blue (Machado et al., 2009).
EYES = {
    "all cones": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def linear(colour: str) -> np.ndarray:
    part = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def seen(colour: str, eye: Any) -> str:
    light = np.clip(np.array(eye) @ linear(colour), 0, 1)
    part = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(value * 255):02X}" for value in part)


@pytest.mark.parametrize(
    ("eye", "least"), [("all cones", 0.11), ("no red", 0.07), ("no green", 0.07)]
)
def test_colours_are_told_apart_by_all_eyes(eye: str, least: float) -> None:
    pairs = combinations([seen(colour, EYES[eye]) for colour in PALETTE], 2)
    assert min(colour_distance(one, other) for one, other in pairs) > least


def test_colours_stand_out_on_white() -> None:
    def contrast(colour: str) -> float:
        return 1.05 / (float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05)

    assert min(map(contrast, PALETTE)) >= 3
    for ramp in RAMPS:
        shades = [contrast(colour) for colour in ramp]
        assert shades == sorted(shades, reverse=True)
        assert shades[-1] >= 2


def figures(*panels: list[Series]) -> list[Figure]:
    return [Figure(f"f{i}", "t", "c", [Panel(series)]) for i, series in enumerate(panels)]


def test_a_meaning_has_one_colour_on_the_page_and_two_have_two() -> None:
    names = ["flow", "descent", "Adam", "SGD", "c = 1", "momentum"]
    pages = figures(
        [Series("decay", "theory", label=name) for name in names[:3]],
        [Series("decay", "theory", label=name) for name in reversed(names)],
        [Series("decay", "theory", label="anything", group="flow")],
    )
    colours = Colours(pages, {"decay": decay()}.__getitem__)
    chosen = [colours.of(Series("decay", "theory", label=name)) for name in names]
    assert len(set(chosen)) == len(names)
    assert colours.of(pages[2].panels[0].series[0]) == chosen[0]
    again = Colours(pages, {"decay": decay()}.__getitem__)
    assert [again.of(Series("decay", "theory", label=name)) for name in names] == chosen


def test_a_value_has_its_colour_whether_fanned_out_or_named() -> None:
    fan = Series("decay", "theory", each="rate", label="flow")
    named = [Series("decay", "theory", label=f"rate{sign}0.00005") for sign in (" ", " = ", "=")]
    named.append(Series("decay", "theory", group="rate 5×10⁻⁵"))
    data = decay(rates=(5e-5, 0.5, 2.0))
    colours = Colours(figures([fan], named), {"decay": data}.__getitem__)
    assert {colours.of(it) for it in named} == {colours.of(fan, "rate 5×10⁻⁵")}


def test_ordered_values_take_a_ramp_in_order_of_value_not_of_appearance() -> None:
    named = [Series("decay", "theory", label=f"η = {value:g}") for value in (0.1, 1e-4, 10.0, 0.01)]
    colours = Colours(figures(named), {"decay": decay()}.__getitem__)
    chosen = {series.label: colours.of(series) for series in named}
    light = [
        float(linear(chosen[f"η = {value}"]) @ [0.2126, 0.7152, 0.0722])
        for value in ("0.0001", "0.01", "0.1", "10")
    ]
    assert light == sorted(light)
    assert chosen["η = 0.0001"] == RAMPS[0][0]
    assert chosen["η = 10"] == RAMPS[0][-1]


def test_two_families_of_a_figure_take_two_ramps() -> None:
    series = [
        Series("decay", "theory", label=f"{name}, d = {d}")
        for name in ("SGD", "Adam")
        for d in (16, 64, 128)
    ]
    colours = Colours(figures(series), {"decay": decay()}.__getitem__)
    assert len({colours.of(it) for it in series}) == 6


@given(st.lists(st.integers(0, 30), min_size=1, max_size=24, unique=True))
def test_no_figure_shows_one_colour_for_two_meanings(numbers: list[int]) -> None:
    words = [Series("decay", "theory", label=f"thing{chr(97 + number)}") for number in numbers]
    fan = Series("decay", "theory", each="rate")
    colours = Colours(figures(words[:3], [*words, fan]), {"decay": decay()}.__getitem__)
    shown = [colours.of(it) for it in words] + [
        colours.of(fan, f"rate {v}") for v in ("0.1", "0.5", "2")
    ]
    if len(words) <= 2 * len(PALETTE):
        assert len(set(shown)) == len(shown)


def test_fans_that_meet_in_one_panel_in_one_style_are_kept_apart() -> None:
    two = [Series("decay", y, each="rate", label=y) for y in ("theory", "measured")]
    colours = Colours(figures(two), {"decay": decay()}.__getitem__)
    assert len({colours.of(it, f"rate {v}") for it in two for v in ("0.1", "0.5", "2")}) == 6


# --- residuals ----------------------------------------------------------------------------


def beneath(drawn: dict[str, Any]) -> list[dict[str, Any]]:
    return [t for t in drawn["data"] if t["yaxis"] == "y2" and "fill" not in t]


def test_what_coincides_has_its_difference_beneath() -> None:
    drawn = made(pair())
    stored = decay()
    assert len(beneath(drawn)) == 3
    for trace, rate in zip(beneath(drawn), stored.rate.values, strict=True):
        truth = (stored.measured - stored.theory).sel(rate=rate)
        np.testing.assert_allclose(trace["y"], truth, rtol=1e-7, atol=1e-18)
        above = next(t for t in drawn["data"] if t["name"] == f"rate {rate:g}")
        assert trace["line"]["color"] == above["line"]["color"]
    layout = drawn["layout"]
    assert layout["xaxis2"]["matches"] == "x"
    assert layout["xaxis2"]["title"]["text"] == "t"
    assert not layout["xaxis"]["showticklabels"]
    assert "Euler − flow" in [note["text"] for note in layout["annotations"]]
    assert "beneath shows the difference" in layout["meta"]["caption"]
    low, high = layout["yaxis2"]["domain"]
    assert 0 < low < high < layout["yaxis"]["domain"][0]


def test_on_a_logarithm_the_difference_is_relative() -> None:
    drawn = made(pair(y_log=True))
    stored = decay()
    for trace, rate in zip(beneath(drawn), stored.rate.values, strict=True):
        np.testing.assert_allclose(
            trace["y"], -0.5e-4 * rate**2 * stored.time, rtol=1e-6, atol=1e-15
        )
    assert "Euler ÷ flow − 1" in [note["text"] for note in drawn["layout"]["annotations"]]
    assert "relative difference" in drawn["layout"]["meta"]["caption"]


def apart() -> xr.Dataset:
    data = decay()
    return data.assign(measured=data.measured + 0.02)


def two_theories() -> list[Series]:
    return [Series("decay", "theory", each="rate", group="g", style="dash"), *pair().series]


@pytest.mark.parametrize(
    ("panel", "data"),
    [
        (pair(residual=False), decay()),
        (pair(), apart()),
        (Panel(two_theories()), decay()),
        (Panel([Series("decay", "measured", each="rate")]), decay()),
        (pair(), decay(points=1)),
        (pair(), decay() * np.nan),
    ],
    ids=["unwanted", "apart", "two theories", "no theory", "one point", "nothing"],
)
def test_no_difference_is_shown_where_none_is_wanted_or_known(
    panel: Panel, data: xr.Dataset
) -> None:
    assert "yaxis2" not in made(panel, decay=data)["layout"]


def other_grid(points: int) -> tuple[Panel, dict[str, xr.Dataset]]:
    panel = Panel(
        [
            Series("decay", "elsewhere", x="later", each="rate", group="g", style="points"),
            Series("fine", "theory", each="rate", group="g", style="dash"),
        ]
    )
    shift = decay().assign(elsewhere=decay().elsewhere + 1e-3)
    return panel, {"decay": shift, "fine": decay(points=points)}


def test_other_grids_are_compared_within_the_range_if_interpolation_is_good_enough() -> None:
    panel, data = other_grid(points=4001)
    drawn = made(panel, **data)
    assert len(beneath(drawn)) == 3
    for trace in beneath(drawn):
        np.testing.assert_allclose(trace["y"], 1e-3, atol=1e-6)
    panel, data = other_grid(points=6)  # straight lines between six points err by far more
    assert len(beneath(made(panel, **data))) == 0


def test_a_theory_is_not_continued_beyond_its_range() -> None:
    panel, data = other_grid(points=4001)
    data["fine"] = data["fine"].isel(time=slice(0, 2001))  # to t = 2
    for trace in beneath(made(panel, **data)):
        assert max(trace["x"]) <= 2.0


# --- logarithmic axes ---------------------------------------------------------------------


def value_of(text: str) -> float:
    factor, _, power = text.replace("−", "-").removesuffix("</sup>").partition("10<sup>")
    if not power:
        return float(factor)
    return float(factor.removesuffix("×") or 1) * 10.0 ** int(power)


@given(
    st.floats(-12, 9),
    st.floats(0.02, 40),
    st.sampled_from([(250, True), (180, False), (350, False), (780, False)]),
)
def test_every_logarithmic_axis_has_labels_that_do_not_touch(
    low: float, width: float, axis: tuple[float, bool]
) -> None:
    pixels, upright = axis
    span = (low, low + width)
    ticks = log_ticks(span, pixels, upright)
    assert len(ticks["tickvals"]) >= 2
    assert len(ticks["tickvals"]) <= 26
    at = [(math.log10(v) - low) / width * pixels for v in ticks["tickvals"]]
    assert -1e-6 * pixels <= min(at)
    assert max(at) <= pixels * (1 + 1e-6)
    size = [
        11.0 if upright else text_width(text.replace("<sup>", "").replace("</sup>", ""), 10)
        for text in ticks["ticktext"]
    ]
    for i in range(len(at) - 1):
        assert at[i + 1] - at[i] >= (size[i] + size[i + 1]) / 2
    told = [value_of(text) for text in ticks["ticktext"]]
    np.testing.assert_allclose(told, ticks["tickvals"], rtol=1e-5)


def test_powers_are_preferred_and_written_short() -> None:
    assert log_ticks((-8.2, 0.1), 250, True)["ticktext"][0] == "10<sup>−8</sup>"
    assert log_ticks((0.9, 3.1), 250, True)["ticktext"] == ["10", "100", "1000"]


def test_error_bars_do_not_stretch_a_logarithm_and_zeros_do_not_count() -> None:
    values = np.array([0.0, -1.0, 0.1, 1.0, 10.0])
    data = xr.Dataset({"y": ("k", values), "e": ("k", 2 * np.abs(values)), "x": ("k", values)})
    panel = Panel([Series("a", "y", x="x", error="e", style="points")], x_log=True, y_log=True)
    drawn = made(panel, a=data)
    assert drawn["data"][0]["y"] == [None, None, 0.1, 1.0, 10.0]
    low, high = drawn["layout"]["yaxis"]["range"]
    assert math.log10(0.1 / 3) - 0.2 < low < math.log10(0.1 / 3)
    assert math.log10(30) < high < math.log10(30) + 0.2
    assert log_range([np.array([0.0, -1.0, np.nan])]) is None


# --- whatever is stored -------------------------------------------------------------------


def shapes() -> dict[str, xr.Dataset]:
    names = np.array(["tanh", "ReLU", "a rather long name"])
    return {
        "nothing": xr.Dataset({"y": ("k", np.full(3, np.nan)), "x": ("k", np.arange(3.0))}),
        "point": xr.Dataset({"y": ("k", [1e300]), "x": ("k", [0.0])}),
        "huge": xr.Dataset({"y": ("k", [1e-300, 1.0, 1e300]), "x": ("k", [-1e300, 0, 1e300])}),
        "names": xr.Dataset({"y": ("x", [1.0, 2.0, 0.0])}, coords={"x": names}),
        "empty": xr.Dataset({"y": ("k", np.empty(0)), "x": ("k", np.empty(0))}),
        "truth": xr.Dataset({"y": ("k", [True, False]), "x": ("k", [1, 2])}),
    }


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", shapes())
def test_any_data_in_any_number_of_panels_makes_a_figure(name: str, log: bool, count: int) -> None:
    levels = [Level(1.0, "one"), Level(0.0, "zero", axis="x")]
    series = [
        Series(name, "y", x="x", label=f"series {i}", style=s)
        for i, s in enumerate(("line", "points", "dash"))
    ]
    numbers = log and name != "names"
    panel = Panel(series, "Title", "x", "y", numbers, log, levels if numbers else levels[:1])
    drawn = made(*[panel] * count, **shapes())
    layout = drawn["layout"]
    texts = [note["text"] for note in layout["annotations"]]
    nothing = name in ("nothing", "empty") or (log and name == "point")  # at x = 0
    assert ("no values to draw" in texts) == nothing
    if nothing:
        assert said(drawn)[0] == "series 0 (no values)"
    if name == "names":
        assert "matches" not in layout.get("xaxis2", {})
    for arrangement in layout["meta"]["arrangements"]:
        boxes = [
            arrangement["layout"][f"{a}axis{i or ''}"]["domain"]
            for i in (0, 2, 3, 4)[:count]
            for a in "xy"
        ]
        assert all(0 <= low < high <= 1 for low, high in boxes)


def test_text_on_the_vertical_axis_is_refused() -> None:
    data = xr.Dataset({"y": ("k", ["a", "b"]), "x": ("k", [1, 2])})
    with pytest.raises(InputError, match="holds text; only x may"):
        made(Panel([Series("a", "y", x="x")]), a=data)
