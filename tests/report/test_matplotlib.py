"""What matplotlib draws is the description: same data, bands, levels, letters, colours, labels."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot, rc_context
from matplotlib.figure import Figure as Canvas
from report_example import DATA, fill, page

from thalweg.core.errors import InputError
from thalweg.report import Figure, Level, Panel, Series, draw, draw_canvas, export_figures
from thalweg.report.matplotlib_drawing import draw_panels

NASTY = "a $b_1$ <script> & _c"


def data() -> xr.Dataset:
    """Two decaying modes of three seeds, unevenly spaced, with a gap, zeros and an error."""
    time = np.array([0.0, 1.0, 2.5, 4.0, 7.0])
    values = np.exp(-np.array([0.3, 0.9])[:, None, None] * time) * np.array([1, 2, 3])[:, None]
    values[1, 2, 3] = np.nan
    values[0, 0, 4] = 0.0
    return xr.Dataset(
        {
            "loss": (("mode", "seed", "time"), values),
            "loss_error": (("mode", "seed", "time"), 0.3 * np.nan_to_num(values)),
            "top": ((), 2.5),
        },
        {"mode": [1, 2], "seed": [0, 1, 2], "time": time},
    )


def drawn(*panels: Panel) -> list[Any]:
    canvas = draw_canvas(Figure("f", "t", "", panels), lambda name: data())
    canvas.canvas.draw()
    return list(canvas.axes)


def curves(ax: Any) -> list[Any]:
    """The lines that are data: no levels, no caps of error bars."""
    names = [(line, str(line.get_label())) for line in ax.lines]
    return [line for line, name in names if name not in ("_level", "_nolegend_")]


LINE = {"select": {"seed": 1}, "each": "mode", "error": "loss_error"}


@pytest.mark.parametrize("style", ["line", "dash", "points", "steps"])
def test_lines_carry_exactly_what_is_stored(style: str) -> None:
    (ax,) = drawn(Panel([Series("d", "loss", style=style, **LINE)]))
    known = data().sel(seed=1)
    for line, mode in zip(
        [it for it in curves(ax) if len(it.get_xdata()) == 5], (1, 2), strict=True
    ):
        np.testing.assert_array_equal(line.get_xdata(), known["time"])
        np.testing.assert_array_equal(line.get_ydata(), known["loss"].sel(mode=mode))
        assert (line.get_marker() == "o") == (style == "points")
        assert line.is_dashed() == (style == "dash")
        assert (line.get_drawstyle() == "steps-post") == (style == "steps")


def test_a_band_is_the_value_plus_and_minus_its_error_and_has_the_gap() -> None:
    (ax,) = drawn(Panel([Series("d", "loss", error="loss_error", select={"seed": 2, "mode": 2})]))
    known = data().sel(seed=2, mode=2)
    low, high = (known["loss"] + sign * known["loss_error"] for sign in (-1, 1))
    corners = np.concatenate([path.vertices for path in ax.collections[0].get_paths()])
    seen = np.isfinite(known["loss"].values)
    for time, ends in zip(known["time"].values, np.stack([low, high], 1), strict=True):
        here = corners[corners[:, 0] == time, 1]
        if np.isfinite(ends).all():
            assert here.min() == ends[0]
            assert here.max() == ends[1]
        else:
            assert not here.size
    assert seen.sum() == 4


def test_bars_are_the_stored_errors() -> None:
    (ax,) = drawn(
        Panel(
            [Series("d", "loss", style="points", error="loss_error", select={"seed": 1, "mode": 1})]
        )
    )
    known = data().sel(seed=1, mode=1)
    ends = np.array(ax.collections[0].get_segments())[:, :, 1]
    np.testing.assert_allclose(ends[:, 0], known["loss"] - known["loss_error"], rtol=1e-15)
    np.testing.assert_allclose(ends[:, 1], known["loss"] + known["loss_error"], rtol=1e-15)


def test_levels_stand_at_their_values_within_sight() -> None:
    levels = [
        Level(("d", "top"), "2/η"), Level(3.0, "half way", axis="x"), Level(0.0, "never"),
        Level(float("nan")),
    ]  # fmt: skip
    (ax,) = drawn(Panel([Series("d", "loss", **LINE)], y_log=True, levels=levels))
    places = [line for line in ax.lines if line.get_label() == "_level"]
    assert [line.get_ydata()[0] for line in places[:1]] == [2.5]
    assert [line.get_xdata()[0] for line in places[1:]] == [3.0]
    assert [text.get_text() for text in ax.texts] == ["2/η", "half way"]
    box = ax.get_window_extent()
    for text in ax.texts:
        ends = text.get_window_extent()
        assert box.y0 <= ends.y0 <= ends.y1 <= box.y1


def test_panels_have_letters_and_share_the_range_of_one_quantity() -> None:
    short = Series("d", "loss", select={"seed": 0, "mode": 1})
    both = [Panel([Series("d", "loss", **LINE)], "A", "t"), Panel([short], "B", "t", y_log=True)]
    one, two = drawn(*both)
    assert [ax.get_title(loc="left") for ax in (one, two)] == ["(a) A", "(b) B"]
    assert one.get_xlim() == two.get_xlim()
    (alone,) = drawn(Panel([short], "B"))
    assert alone.get_title(loc="left") == "B"


def test_a_zero_is_a_gap_on_a_logarithm_which_has_labels_enough() -> None:
    (ax,) = drawn(Panel([Series("d", "loss", select={"seed": 0, "mode": 1})], y_log=True))
    assert np.isnan(curves(ax)[0].get_ydata()[-1])
    low, high = ax.get_ylim()
    seen = [t for t in ax.get_yticklabels() if low <= t.get_position()[1] <= high and t.get_text()]
    assert len(seen) >= 3


def test_the_words_of_an_axis_are_within_the_picture() -> None:
    label = "smallest eigenvalue (loss/parameter²)"
    panel = Panel([Series("d", "loss", x="t")], y_label=label)
    run = xr.Dataset({"loss": ("t", [1.0, 2.0])}, {"t": [0.0, 1.0]})
    with rc_context({"figure.figsize": (2.4, 1.8)}):
        canvas = draw_canvas(Figure("f", "t", "", [panel]), lambda name: run)
    canvas.draw_without_rendering()
    (ax,) = canvas.axes
    assert ax.get_ylabel().replace("\n", " ") == label
    box = ax.yaxis.label.get_window_extent()
    assert 0 <= box.y0 < box.y1 <= canvas.bbox.height
    assert box.x0 >= 0


def test_a_loss_that_filled_the_floats_can_be_drawn() -> None:
    run = xr.Dataset({"loss": ("t", [1e-3, 1e4, 1.7e308])}, {"t": [0.0, 1.0, 2.0]})
    panel = Panel([Series("d", "loss", x="t")], y_log=True, levels=[Level(1e308, "high")])
    (ax,) = draw_canvas(Figure("f", "t", "", [panel]), lambda name: run).axes
    low, high = ax.get_ylim()
    assert 0 < low < 1e-3 < 1e306 < high < np.inf


def test_colours_and_legend_are_those_of_the_page() -> None:
    for figure in page().figures:
        stored = {name: DATA[name]() for name in figure.data_names()}
        plotly = draw(figure, stored.__getitem__)
        canvas = draw_canvas(figure, stored.__getitem__)
        said = {
            text.get_text().replace("\n", " ")
            for ax in canvas.axes
            if ax.get_legend()
            for text in ax.get_legend().get_texts()
        }
        shown = (t["name"].replace("<br>", " ") for t in plotly["data"] if t["showlegend"])
        assert said == set(shown)
        hers = {t["line"]["color"].upper() for t in plotly["data"] if "color" in t.get("line", {})}
        hers |= {t["marker"]["color"].upper() for t in plotly["data"] if "marker" in t}
        ours = {str(it.get_color()).upper() for ax in canvas.axes for it in curves(ax)}
        assert ours == hers


def test_what_coincides_has_its_difference_beneath() -> None:
    figure = page().figures[0]
    stored = {name: DATA[name]() for name in figure.data_names()}
    above, beneath, _ = draw_canvas(figure, stored.__getitem__).axes
    assert above.get_shared_x_axes().joined(above, beneath)
    assert beneath.get_title(loc="left") == "measured − theory"
    (line,) = curves(beneath)  # the weakest mode alone lies near enough to its theory
    rest = stored["modes"]["strength"] - stored["modes"]["theory"]
    np.testing.assert_array_equal(line.get_ydata(), rest.sel(mode=3))


def test_text_of_any_kind_is_text() -> None:
    series = [
        Series("d", "loss", label=f"{NASTY}{i}", select={"seed": i, "mode": 1}) for i in (0, 1)
    ]
    (ax,) = drawn(
        Panel(series, f"{NASTY} $", f"_{NASTY}", "$\\frac$", levels=[Level(1.0, "$\\bad$")])
    )
    assert ax.get_title(loc="left") == f"{NASTY} $"
    said = [text.get_text().replace("\n", " ") for text in ax.get_legend().get_texts()]
    assert said == [f"{NASTY}{i}" for i in (0, 1)]


def test_a_long_legend_stays_within_the_figure() -> None:
    """Matplotlib's own font is wider than the page's, by which lines were broken."""
    words = "gradient descent with noise on labels, median of 3 seeds"
    series = [Series("d", "loss", label=words, select={"seed": 0, "mode": 1})]
    series.append(Series("d", "loss", label="other", select={"seed": 1, "mode": 1}))
    for font in (7, 10, 16):
        with rc_context({"legend.fontsize": font}):
            canvas = draw_canvas(Figure("f", "t", "", [Panel(series)]), lambda name: data())
            canvas.canvas.draw()
        legend = canvas.axes[0].get_legend()
        assert words in [text.get_text().replace("\n", " ") for text in legend.get_texts()]
        assert legend.get_window_extent().x1 <= canvas.bbox.x1


def test_axes_that_are_given_keep_what_is_there() -> None:
    canvas = Canvas()
    ax = canvas.subplots()
    ax.set_xlim(-3, 20)
    figure = Figure("f", "t", "", [Panel([Series("d", "loss", select={"seed": 0, "mode": 1})])])
    assert draw_panels(figure, lambda name: data(), [ax]) == [ax]
    first = ax.lines[0]
    draw_panels(figure, lambda name: data(), [ax])
    assert ax.lines[0] is first
    assert ax.lines[1].get_color() != first.get_color()
    assert len(ax.get_legend().get_texts()) == 2
    assert ax.get_xlim() == (-3, 20)
    with pytest.raises(InputError, match="2 axes came for the 1 panels of 'f'; give one for each"):
        draw_panels(figure, lambda name: data(), [ax, ax])


def test_a_new_canvas_is_one_that_a_notebook_shows() -> None:
    pyplot.close("all")  # what other tests of this process left open
    with rc_context({"figure.figsize": (3.25, 2.4)}):
        panel = Panel([Series("d", "loss", **LINE)], x_label="t")
        axes = draw_panels(Figure("f", "t", "", [panel] * 2), lambda name: data())
    (number,) = pyplot.get_fignums()
    canvas = pyplot.figure(number)
    assert [ax.figure for ax in axes] == [canvas] * 2
    assert canvas.get_figwidth() == 3.25  # the panels stand below one another
    assert axes[0].get_position().y0 > axes[1].get_position().y1
    pyplot.close(canvas)


def test_files_are_vectors_with_their_fonts_and_the_same_each_time(tmp_path: Path) -> None:
    what = page()
    folder = fill(tmp_path, type(what)("t", "study", "q", "v", figures=what.figures[2:]))
    pdf, svg, png = export_figures(folder, ["pdf", "svg", "png"])
    text = pdf.read_bytes()
    assert text.startswith(b"%PDF")
    assert b"/FontFile2" in text  # TrueType, as type 42 keeps it
    assert b"/Subtype /Type3" not in text
    assert re.search(rb"<svg ", svg.read_bytes())
    assert png.read_bytes().startswith(b"\x89PNG")
    before = text, svg.read_bytes()
    assert (export_figures(folder, ["pdf"])[0].read_bytes(), svg.read_bytes()) == before


def test_without_matplotlib_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'thalweg\[plot\]'"):
        draw_canvas(Figure("f", "t", "", [Panel([])]), lambda name: data())
