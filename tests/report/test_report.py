"""Pages, exports and figures against the data and the text they were made from."""

from __future__ import annotations

import ast
import dataclasses
import html
import json
import math
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from report_example import NASTY, descent, fill, modes, page, scaling

import thalweg.report
from thalweg.core.errors import InputError
from thalweg.report import (
    ClaimRow,
    Figure,
    Level,
    Number,
    Page,
    Panel,
    Series,
    build,
    build_index,
    draw,
    export_data,
    export_figures,
    open_data,
    read_page,
    write_page,
)
from thalweg.report.drawing import draw_stored
from thalweg.report.formula import typeset
from thalweg.report.number import show
from thalweg.report.thin import LIMIT, thin
from thalweg.storage.datasets import save_dataset
from thalweg.storage.files import sealed

EXAMPLES = {"modes": modes, "descent": descent, "scaling": scaling}


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "runs" / "saxe", page())


def drawn(*panels: Panel, **data: xr.Dataset) -> dict[str, Any]:
    made = data or {name: make() for name, make in EXAMPLES.items()}
    return draw(Figure("f", "t", "c", panels), made.__getitem__)


# --- specification ------------------------------------------------------------------------


def test_page_survives_json() -> None:
    there = json.dumps(page().to_json(), allow_nan=False)
    assert Page.from_json(json.loads(there)) == page()


@given(st.floats(allow_nan=True) | st.text() | st.none() | st.integers())
def test_every_quantity_survives_json(value: Any) -> None:
    number = Number("x", value)
    back = Number.from_json(json.loads(json.dumps(number.to_json(), allow_nan=False)))
    same = math.isnan(back.value) if isinstance(value, float) and math.isnan(value) else None
    assert same or back == number


def test_array_scalars_become_numbers_and_arrays_are_refused() -> None:
    assert Number("x", np.float32(0.5)).to_json()["value"] == 0.5
    assert type(Number("x", np.int64(3)).to_json()["value"]) is int
    with pytest.raises(InputError, match="store arrays in a dataset"):
        Number("x", np.ones(3)).to_json()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Series("a", "y", style="lines"), "Did you mean 'line'"),
        (lambda: Series("../a", "y"), "names a file"),
        (lambda: Level(1.0, axis="z"), "Allowed: x, y"),
        (lambda: Figure("f", "t", "c", []), "0 panels"),
        (lambda: Figure("f", "t", "c", [Panel([])] * 5), "5 panels"),
        (lambda: Figure("a b", "t", "c", [Panel([])]), "names a file"),
        (lambda: ClaimRow("C1", "s", "exact", "failed"), "unknown verdict"),
        (lambda: Page("t", "study", "q", "v", verdict_tone="great"), "unknown verdict_tone"),
        (lambda: Page("t", "study", "q", "v", paragraphs="one text"), "must be a list of str"),
        (lambda: Page("t", "study", "q", "v", figures=[Panel([])]), "must hold Figure"),
        (lambda: Page("t", "study", "q", "v", figures=page().figures * 2), "share the name"),
    ],
)
def test_wrong_specifications_are_refused_with_a_sentence(make: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        make()


def test_datasets_are_named_once_each_in_order() -> None:
    assert dataclasses.replace(page(), datasets=["scaling"]).data_names() == (
        "scaling",
        "modes",
        "descent",
    )


# --- store --------------------------------------------------------------------------------


def test_written_page_is_read_back(tmp_path: Path) -> None:
    write_page(page(), tmp_path / "new" / "folder")
    assert read_page(tmp_path / "new" / "folder") == page()
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["page.json"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "does not exist"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ("7", "is damaged"),
        ("null", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ('{"title": "t", "kind": "study", "question": "", "verdict": ""}', "is damaged"),
        ('{"title": "t"}', "lacks its key 'kind'"),
        ('{"title": "t", "kind": "study", "question": "", "verdict": "", "claim": []}', "'claims'"),
        ('{"title": "t", "kind": "study", "question": "", "verdict": "", "figures": 3}', "list of"),
    ],
)
def test_damaged_page_is_told(tmp_path: Path, text: str | None, told: str) -> None:
    if text is not None:
        whole = text.encode() if told == "is damaged" else sealed(json.loads(text))
        (tmp_path / "page.json").write_bytes(whole)
    with pytest.raises(InputError, match=told):
        build(tmp_path)


def test_missing_and_damaged_data_are_told(run_folder: Path) -> None:
    (run_folder / "descent.zarr" / "zarr.json").write_text("{")
    with pytest.raises(InputError, match=r"descent\.zarr/zarr\.json is damaged"):
        build(run_folder)
    shutil.rmtree(run_folder / "descent.zarr")
    with pytest.raises(InputError, match=r"descent\.zarr does not exist"):
        build(run_folder)


def test_a_damaged_chunk_is_told(run_folder: Path) -> None:
    for chunk in (run_folder / "modes.zarr" / "theory" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(chunk.read_bytes()[:10])
    with pytest.raises(InputError, match=r"modes\.zarr has missing or damaged files \(theory/c/"):
        build(run_folder)


def test_data_without_checksums_are_refused(run_folder: Path) -> None:
    shutil.rmtree(run_folder / "modes.zarr")
    modes().to_zarr(run_folder / "modes.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(InputError, match=r"modes\.zarr/zarr\.json has no checksums"):
        build(run_folder)


def test_a_page_stored_before_a_field_was_added_still_opens(tmp_path: Path) -> None:
    old = page().to_json()
    late = {f.name for f in dataclasses.fields(ClaimRow)} - {"falsified_by"}
    old["claims"] = [{key: claim[key] for key in late} for claim in old["claims"]]
    (tmp_path / "page.json").write_bytes(sealed(old))
    kept = tuple(dataclasses.replace(claim, falsified_by="") for claim in page().claims)
    assert read_page(tmp_path) == dataclasses.replace(page(), claims=kept)


# --- numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.123456, 0.00123, "0.1235 ± 0.0012"),
        (1.5, 1e-12, "1.5 ± 1×10⁻¹²"),
        (20.0312, 0.04, "20.031 ± 0.040"),
        (20.0, 0.0999, "20.00 ± 0.10"),
        (-3.4e-7, 2e-8, "(−3.40 ± 0.20)×10⁻⁷"),
        (1234.5, 120.0, "1234 ± 120"),
        (0.001, 5.0, "0.0 ± 5.0"),
        (2.0, 0.0, "2 ± 0"),
        (1e-9, None, "1×10⁻⁹"),
        (math.pi, None, "3.1416"),
        (1234567, None, "1\u202f234\u202f567"),
        (math.nan, None, "NaN"),
        (-math.inf, 1.0, "−∞ ± 1"),
        (None, None, "–"),
        (True, None, "yes"),
        ("edge", None, "edge"),
        ("edge", 0.5, "edge ± 0.5"),
    ],
)
def test_numbers_are_printed_to_their_error(value: Any, error: Any, text: str) -> None:
    assert show(value, error) == text


@given(
    st.floats(-1e12, 1e12, allow_subnormal=False),
    st.floats(1e-9, 1e9, allow_subnormal=False),
)
def test_printed_value_is_within_a_tenth_of_the_error(value: float, error: float) -> None:
    text = (
        show(value, error).replace("−", "-").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    )
    inner, _, power = text.partition(")×10")
    scale = 10.0 ** int(power) if power else 1.0
    if "×" in inner or error <= 1e-6 * abs(value):
        return
    shown = [float(part.strip("( ")) * scale for part in inner.split("±")]
    assert abs(shown[0] - value) <= 0.1 * error * (1 + 1e-6)
    assert abs(shown[1] - error) <= 0.05 * error * (1 + 1e-6)


# --- thinning -----------------------------------------------------------------------------


def test_short_lines_are_left_alone() -> None:
    assert np.array_equal(thin(np.arange(LIMIT), np.ones(LIMIT)), np.arange(LIMIT))


@pytest.mark.parametrize("log", [False, True])
def test_thinning_keeps_every_column_extreme_and_the_ends(log: bool) -> None:
    x = np.geomspace(1e-3, 1e3, 50_000) if log else np.linspace(-5, 5, 50_000)
    y = np.random.default_rng(0).standard_cauchy(x.size)
    kept = thin(x, y, log=log)
    assert kept.size <= LIMIT
    assert np.all(np.diff(kept) > 0)
    assert kept[0] == 0
    assert kept[-1] == x.size - 1
    along = np.log10(x) if log else x
    column = np.minimum((along - along[0]) / (along[-1] - along[0]) * 500, 499).astype(int)
    for place in range(500):
        here, left = y[column == place], y[kept][column[kept] == place]
        assert left.min() == here.min()
        assert left.max() == here.max()


def test_thinning_leaves_gaps_open() -> None:
    x, y = np.arange(20_000.0), np.ones(20_000)
    y[7_000:9_000] = np.nan
    kept = thin(x, y)
    assert np.isnan(y[kept]).sum() == 1
    assert kept.size <= LIMIT + 1


def test_a_line_that_turns_back_is_strided() -> None:
    angle = np.linspace(0, 20, 9_999)
    kept = thin(np.cos(angle), np.sin(angle))
    assert kept[0] == 0
    assert kept[-1] == 9_998
    assert kept.size == LIMIT


# --- drawing ------------------------------------------------------------------------------


def test_figures_are_valid_plotly(run_folder: Path) -> None:
    for figure in page().figures:
        go.Figure(draw(figure, lambda name: open_data(run_folder, name)))


def test_a_label_that_is_the_dimension_is_not_said_twice():
    def names(label):
        made = drawn(Panel([Series("modes", "strength", label=label, each="mode")]))
        return {trace["name"] for trace in made["data"]}

    assert names("mode") == names("")
    assert names("net") == {f"net, {name}" for name in names("")}


def test_a_fan_draws_each_stored_line_with_its_gap() -> None:
    made = drawn(Panel([Series("modes", "strength", each="mode")]))
    stored = modes()
    assert len(made["data"]) == 3
    for trace, mode in zip(made["data"], stored.mode.values, strict=True):
        assert trace["name"] == f"mode {mode}"
        truth = stored.strength.sel(mode=mode).values
        values = np.array([np.nan if v is None else v for v in trace["y"]])
        np.testing.assert_allclose(values, truth, rtol=1e-8)
        np.testing.assert_allclose(trace["x"], stored.time, rtol=1e-8)


def test_theory_shares_the_colours_of_measurement_mode_by_mode() -> None:
    made = drawn(page().figures[0].panels[0])["data"]
    # Without the residuals beneath and the two swatches of the legend.
    lines = [t for t in made if "fill" not in t and t["yaxis"] == "y" and t["x"] != [None]]
    colours = [trace["line"]["color"] for trace in lines]
    assert len(lines) == 6
    assert colours[:3] == colours[3:]
    assert len(set(colours)) == 3
    said = [t["name"] for t in made if t["showlegend"]]
    assert said == ["mode 1", "mode 2", "mode 3", "measured", "theory"]


def test_seeds_share_one_colour_and_one_entry() -> None:
    made = drawn(Panel([Series("descent", "loss", label="gd", each="seed")]))["data"]
    assert len({trace["line"]["color"] for trace in made}) == 1
    assert [trace["name"] for trace in made] == [
        "gd (4 seeds)",
        *(f"gd, seed {i}" for i in (1, 2, 3)),
    ]


def test_many_values_have_distinct_colours_of_a_ramp() -> None:
    data = xr.Dataset({"y": (("k", "time"), np.ones((20, 3)))}, coords={"time": [0.0, 1.0, 2.0]})
    made = drawn(Panel([Series("a", "y", each="k")]), a=data)["data"]
    assert len({trace["line"]["color"] for trace in made}) == 20
    assert made[0]["line"]["color"] == "#440154"
    assert sum(trace["showlegend"] for trace in made) == 8


def test_band_is_y_plus_and_minus_error_split_at_gaps() -> None:
    panel = Panel([Series("modes", "strength", select={"mode": 2}, error="strength_error")])
    band, _ = drawn(panel)["data"]
    stored = modes().sel(mode=2)
    low, high = stored.strength - stored.strength_error, stored.strength + stored.strength_error
    pieces = " ".join("." if v is None else "x" for v in band["y"]).split(".")
    assert [piece.count("x") for piece in pieces] == [300, 440, 0]
    np.testing.assert_allclose(band["y"][:150], high[:150], rtol=1e-8)
    np.testing.assert_allclose(band["y"][150:300], low[:150][::-1], rtol=1e-8)


def test_error_bars_are_the_stored_errors() -> None:
    panel = Panel(
        [Series("scaling", "distance", x="width", error="distance_error", style="points")]
    )
    (trace,) = drawn(panel)["data"]
    np.testing.assert_allclose(trace["error_y"]["array"], scaling().distance_error, rtol=1e-8)


def test_only_drawing_is_thinned_and_it_is_said() -> None:
    made = drawn(Panel([Series("descent", "loss", select={"seed": 0})]))
    assert made["layout"]["meta"]["thinned"]
    assert len(made["data"][0]["x"]) <= LIMIT
    assert not drawn(page().figures[0].panels[0])["layout"]["meta"]["thinned"]


def test_selection_is_exact_for_labels_and_nearest_for_reals() -> None:
    (trace,) = drawn(Panel([Series("modes", "theory", x="mode", select={"time": 5.013})]))["data"]
    truth = modes().theory.sel(time=5.013, method="nearest")
    np.testing.assert_allclose(trace["y"], truth, rtol=1e-8)
    with pytest.raises(InputError, match="no label 7; it has 1, 2, 3"):
        drawn(Panel([Series("modes", "theory", select={"mode": 7})]))


@pytest.mark.parametrize(
    ("series", "told"),
    [
        (Series("modes", "stregth"), "Did you mean 'strength'"),
        (Series("modes", "theory", x="tme"), "Did you mean 'time'"),
        (Series("modes", "theory", error="none"), "unknown variable"),
        (Series("modes", "theory"), "use select or each"),
        (Series("modes", "theory", each="seed"), "unknown dimension"),
        (Series("modes", "theory", select={"seed": 0}), "unknown dimension"),
        (Series("scaling", "spectrum", x="index", select={"index": 99}), "no position 99"),
    ],
)
def test_what_is_not_in_the_data_is_told(series: Series, told: str) -> None:
    with pytest.raises(InputError, match=told):
        drawn(Panel([series]))


def test_levels_stand_at_their_value_on_any_axis() -> None:
    levels = [Level(("modes", "threshold"), "stored"), Level(0.1, "number", axis="x")]
    panel = Panel([Series("modes", "theory", each="mode")], levels=levels, x_log=True)
    layout = drawn(panel)["layout"]
    assert (layout["shapes"][0]["y0"], layout["shapes"][0]["y1"]) == (2.0, 2.0)
    assert (layout["shapes"][1]["x0"], layout["shapes"][1]["x1"]) == (0.1, 0.1)
    assert layout["annotations"][1]["x"] == -1.0
    with pytest.raises(InputError, match="wants one value"):
        drawn(Panel([], levels=[Level(("modes", "theory"))]))


def test_a_figure_is_strict_json_whatever_is_stored() -> None:
    time = np.array([0.0, 1.0, np.nan, 3.0])
    y = np.array([np.inf, -np.inf, 1.0, 0.0])
    data = xr.Dataset({"y": ("k", y), "x": ("k", time), "never": ((), np.inf)})
    levels = [Level(("a", "never")), Level(0.0), Level(math.nan, axis="x")]
    panel = Panel([Series("a", "y", x="x", error="y")], levels=levels, y_log=True)
    made = drawn(panel, a=data)
    json.dumps(made, allow_nan=False)
    assert made["layout"]["shapes"] == []
    # On a logarithmic axis a zero lies infinitely far below: a gap, as what is not finite.
    assert made["data"][-1]["y"] == [None, None, 1.0, None]


def test_complex_values_are_refused() -> None:
    data = xr.Dataset({"y": ("time", np.ones(3) * 1j)}, coords={"time": [0.0, 1.0, 2.0]})
    with pytest.raises(InputError, match="complex"):
        drawn(Panel([Series("a", "y")]), a=data)


# --- pages --------------------------------------------------------------------------------


class Text(HTMLParser):
    """The tags and the visible text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for key, value in attrs if key in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_says_everything_it_was_given(run_folder: Path) -> None:
    text = Text(build(run_folder).read_text()).text
    what = page()
    said = [what.title, what.verdict, what.source, what.command, "3.25 min", *what.deviates]
    said += [claim.statement for claim in what.claims]
    said += [claim.source for claim in what.claims]
    said += [show(number.value, number.error, number.unit) for number in what.numbers]
    said += [figure.caption for figure in what.figures]
    said += [str(value) for value in what.provenance.values()]
    said += ["2 reproduced", "1 not reproduced", "1 not run", "5 claims"]
    said += ["1 reproduced at reduced scale", "Would be falsified by: a slope of log distance"]
    for sentence in said:  # formulas in the letters that they are set in
        assert sentence in text or Text(str(typeset(sentence))).text in text
    assert text.index(what.verdict) < text.index("Distance at equal time") < text.index("Figure 1")


def test_nothing_given_becomes_markup(tmp_path: Path) -> None:
    plain = dataclasses.replace(page(), figures=page().figures[:1])
    words = {f.name: NASTY for f in dataclasses.fields(Page) if f.type == "str"}
    words |= {"kind": "study", "verdict_tone": "bad"}
    panel = Panel(
        [Series("modes", "theory", label=NASTY, each="mode", group=NASTY)],
        NASTY,
        NASTY,
        NASTY,
        levels=[Level(1.0, NASTY)],
    )
    nasty = dataclasses.replace(
        plain,
        **words,
        numbers=[Number(NASTY, NASTY, NASTY, NASTY, NASTY)],
        paragraphs=[NASTY, f"`{NASTY}`"],
        figures=[Figure("modes", NASTY, NASTY, [panel])],
        claims=[ClaimRow(NASTY, NASTY, "exact", "not run", *[NASTY] * 6)],
        deviates=[NASTY],
        provenance={NASTY: NASTY},
    )
    source = build(fill(tmp_path / "a", nasty)).read_text()
    calm = build(fill(tmp_path / "b", plain)).read_text()
    tags = Text(source).tags
    assert "img" not in tags
    assert tags.count("script") == Text(calm).tags.count("script")
    assert "<script>window" not in source
    assert NASTY not in source
    build_index(tmp_path)
    assert "img" not in Text((tmp_path / "index.html").read_text()).tags
    traces = drawn(panel)
    said = traces["data"][0]["name"].replace("<br>", " ")
    assert html.escape(NASTY, quote=False) in said
    assert "<script>" not in json.dumps(traces)


def test_page_links_to_files_beside_it_only(run_folder: Path) -> None:
    source = build(run_folder).read_text()
    links = [link for link in Text(source).links if link != "data:,"]
    assert "assets/plotly.min.js" in links
    for link in links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in source
        else:
            assert "://" not in link
            assert (run_folder / link).is_file()


def test_runs_below_a_root_share_one_script(run_folder: Path) -> None:
    root = run_folder.parent
    source = build(run_folder, root).read_text()
    assert 'src="../assets/plotly.min.js"' in source
    assert 'href="../index.html"' in source
    assert (root / "assets" / "plotly.min.js").stat().st_size > 1_000_000
    assert not (run_folder / "assets").exists()


def test_building_twice_gives_the_same_page(run_folder: Path) -> None:
    first = build(run_folder).read_bytes()
    assert build(run_folder).read_bytes() == first


def test_a_page_without_figures_needs_no_script(tmp_path: Path) -> None:
    write_page(Page("Empty", "comparison", "", "Nothing was asked."), tmp_path)
    assert "<script" not in build(tmp_path).read_text()
    assert not (tmp_path / "assets").exists()


def test_figure_data_in_the_page_is_the_drawn_figure(run_folder: Path) -> None:
    source = build(run_folder).read_text()
    made = draw_stored(page().figures, run_folder)
    for figure, drawn in zip(page().figures, made, strict=True):
        start = source.index(f'id="drawn-{figure.name}">') + len(f'id="drawn-{figure.name}">')
        stored = json.loads(source[start : source.index("</script>", start)])
        assert stored == drawn


def test_index_lists_every_run_with_its_verdict(run_folder: Path) -> None:
    root = run_folder.parent
    fill(root / "other # 2", dataclasses.replace(page(), title="Second", claims=()))
    fill(root / "deeper" / "third", dataclasses.replace(page(), title="Third", claims=()))
    (root / "broken").mkdir()
    (root / "broken" / "page.json").write_text("{")
    seen = Text(build_index(root).read_text())
    for words in ("3 runs", page().title, "Second", "2 reproduced", "Cannot be read", "3.25 min"):
        assert words in seen.text
    assert str(root) not in seen.text
    assert "Third" not in seen.text  # only what lies directly in the folder
    for link in ("saxe/index.html", "other%20%23%202/index.html"):
        assert link in seen.links
        assert (root / unquote(link)).is_file()


def test_index_of_nothing(tmp_path: Path) -> None:
    assert "No run folder" in build_index(tmp_path).read_text()
    assert build_index(tmp_path / "none") is None


def test_an_index_is_never_an_error(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = run_folder.parent
    (root / "loop").symlink_to(root / "loop")
    (root / "dangling").symlink_to(root / "gone")
    (root / os.fsdecode(b"\xff")).mkdir()
    fill(root / os.fsdecode(b"\xfe"), dataclasses.replace(page(), title="Undecodable"))
    (root / "hostile" / "page.json").mkdir(parents=True)
    index = build_index(root)
    assert "Undecodable" in index.read_text()
    seen = Text(index.read_text())
    assert "%FE/index.html" in seen.links
    # A folder that vanishes between the listing and the look, one that may not be looked at.
    gone = [Path(root / "gone"), run_folder]
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["thalweg.report.page"], "_run_folders", lambda _: gone)
        assert page().title in build_index(root).read_text()
        is_file = Path.is_file

        def forbidden(path: Path) -> bool:
            if path.parent == run_folder:
                raise PermissionError(13, "Permission denied")
            return is_file(path)

        patch.setattr(Path, "is_file", forbidden)
        assert build_index(root) is not None
    index.unlink()
    index.mkdir()
    assert build_index(root) is None
    assert build_index("/proc/self") is None
    assert build_index("/") is None


# --- export -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_csv_holds_every_stored_value(run_folder: Path, name: str) -> None:
    path = export_data(run_folder, name)[0]
    # Read as text: not every parser of tables gives the nearest float64, Python's does.
    table, stored = pd.read_csv(path, dtype=str, keep_default_na=False), EXAMPLES[name]()
    assert len(table) == sum(variable.size for variable in stored.data_vars.values())
    for key, variable in stored.data_vars.items():
        rows = table[table.variable == key]
        np.testing.assert_array_equal(numbers(rows.value), variable.values.ravel())
        places = np.meshgrid(*(variable[dim].values for dim in variable.dims), indexing="ij")
        for dim, place in zip(variable.dims, places, strict=True):
            np.testing.assert_array_equal(numbers(rows[dim]), place.ravel())
        unit = variable.attrs.get("units", "")
        assert set(rows.unit) == {unit}


def numbers(column: pd.Series) -> list[float]:
    return [float(text) if text else math.nan for text in column]


def test_large_data_is_written_in_pieces_without_loss(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [export_data(run_folder, name)[0].read_bytes() for name in EXAMPLES]
    monkeypatch.setattr("thalweg.report.export.ROWS_AT_ONCE", 7)
    for name, before in zip(("modes", "scaling"), (whole[0], whole[2]), strict=True):
        assert export_data(run_folder, name)[0].read_bytes() == before


def test_netcdf_holds_the_stored_dataset(run_folder: Path) -> None:
    pytest.importorskip("h5netcdf")
    pytest.importorskip("h5py")
    for name, make in EXAMPLES.items():
        path = export_data(run_folder, name)[1]
        with xr.open_dataset(path, engine="h5netcdf") as data:
            xr.testing.assert_equal(data, make())
            assert set(data.attrs) == set(make().attrs)


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_exports_do_not_wait_for_who_has_the_file_open(run_folder: Path, mode: str) -> None:
    """A notebook that reads it, or a run beside this one whose index builds this page, too."""
    pytest.importorskip("h5netcdf")
    h5py = pytest.importorskip("h5py")
    path = export_data(run_folder, "descent")[1]
    program = (
        "import sys, h5py\n"
        f"file = h5py.File({str(path)!r}, {mode!r})\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
        "print(*file['loss'][...].ravel()[:3])\n"
    )
    command = [sys.executable, "-c", program]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    data = descent()
    before = data["loss"].values.ravel()[:3].tolist()
    data["loss"] = 2 * data["loss"]
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        save_dataset(data, run_folder / "descent.zarr")
        assert export_data(run_folder, "descent")[1] == path
        read, _ = other.communicate()
    assert [float(x) for x in read.split()] == before  # what it had open is as it was
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["loss"][...], data["loss"].values)
    assert not list(path.parent.glob("*.partial"))


def test_what_is_in_the_way_of_an_export_is_said(run_folder: Path) -> None:
    target = run_folder / "data"
    target.write_text("a file")
    with pytest.raises(InputError, match=r"a file of that name is in the way \(.*data\)\. What it"):
        export_data(run_folder, "descent")
    target.unlink()
    (target / "descent.csv").mkdir(parents=True)
    with pytest.raises(InputError, match=r"a folder of that name is in the way\. What it is made"):
        export_data(run_folder, "descent")
    assert [file.name for file in target.iterdir()] == ["descent.csv"]


def test_complex_values_reach_netcdf_in_parts(tmp_path: Path) -> None:
    pytest.importorskip("h5netcdf")
    pytest.importorskip("h5py")
    values = np.array([1 + 2j, 3 - 4j])
    save_dataset(xr.Dataset({"z": ("k", values)}), tmp_path / "a.zarr")
    csv, netcdf = export_data(tmp_path, "a")
    with xr.open_dataset(netcdf, engine="h5netcdf") as data:
        np.testing.assert_array_equal(data.z_real + 1j * data.z_imag, values)
    assert [complex(value) for value in pd.read_csv(csv).value] == values.tolist()


def test_figure_export_is_made_or_refused_with_a_sentence(run_folder: Path) -> None:
    with pytest.raises(InputError, match="unknown figure format 'gif'"):
        export_figures(run_folder, ["gif"])


# --- the package --------------------------------------------------------------------------


def test_stored_pages_are_read_without_what_draws_them() -> None:
    """A list of studies reads pages; it must not wait for Plotly, pandas or xarray."""
    source = Path(thalweg.report.__file__).parents[1]
    program = (
        "import sys, types; root = sys.modules['thalweg'] = types.ModuleType('thalweg');"
        f"root.__path__ = [{str(source)!r}]; import thalweg.report; thalweg.report.read_page;"
        "heavy = {'numpy', 'pandas', 'xarray', 'plotly', 'jinja2'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert set(thalweg.report._LATE) < set(thalweg.report.__all__)
    for name in thalweg.report.__all__:
        assert getattr(thalweg.report, name)


def test_report_imports_nothing_of_thalweg_but_errors_and_no_jax() -> None:
    folder = Path(thalweg.report.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                assert name.split(".")[0] not in ("jax", "jaxlib", "equinox", "diffrax", "optax")
                if name.split(".")[0] == "thalweg":
                    assert name.startswith(
                        ("thalweg.report", "thalweg.core.errors", "thalweg.storage")
                    ), path
