"""The pages in a real browser, from disk: drawn, quiet, and as wide as the window."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from report_example import fill, page

from thalweg.report import build, build_index

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium or chromedriver is missing"),
]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("site")
    build(fill(root / "saxe", page()), root)
    build(fill(root / "alone", page()))
    build_index(root)
    return root


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    home = tmp_path_factory.mktemp("profile")
    (home / "downloads").mkdir()
    for flag in (*FLAGS, f"--user-data-dir={home}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(home / "downloads")}
    )
    driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
    driver.downloads = home / "downloads"
    yield driver
    driver.quit()


def visit(browser: Any, path: Path, size: tuple[int, int]) -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(path.as_uri())
    drawn = (
        "return [...document.querySelectorAll('.plot')].every("
        "p => p.querySelector('.main-svg') && p.layout.width)"
    )
    WebDriverWait(browser, 40).until(lambda it: it.execute_script(drawn))


def scheme(browser: Any, name: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": name}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def keep(browser: Any, name: str) -> None:
    """Save the whole page as a picture, if someone wants to look (THALWEG_SHOTS=folder)."""
    if folder := os.environ.get("THALWEG_SHOTS"):
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", ["index.html", "saxe/index.html", "alone/index.html"])
def test_page_is_drawn_without_errors_and_fits(
    browser: Any, site: Path, path: str, size: str
) -> None:
    visit(browser, site / path, SIZES[size])
    keep(browser, f"{path.replace('/', '-')}-{size}")
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    wide = "return [document.scrollingElement.scrollWidth, innerWidth]"
    scroll, inner = browser.execute_script(wide)
    assert inner == SIZES[size][0]
    assert scroll <= inner
    assert browser.execute_script("return window.pwned") is None
    if path == "index.html":
        return
    plots = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].map(p => ({"
        "lines: p.querySelectorAll('.scatterlayer .trace').length, data: p.data.length,"
        "paths: p.querySelectorAll('.scatterlayer path.js-line, .scatterlayer path.point').length,"
        "svg: p.querySelector('.main-svg').getBoundingClientRect().width,"
        "box: p.getBoundingClientRect().width}))"
    )
    assert len(plots) == len(page().figures)
    for plot in plots:
        assert plot["lines"] == plot["data"] > 0
        assert plot["paths"] > 0
        assert plot["svg"] <= plot["box"] + 0.5


@pytest.mark.parametrize("size", SIZES)
def test_no_cell_is_narrow_and_nothing_scrolls_sideways(
    browser: Any, site: Path, size: str
) -> None:
    """Six times the font size is room for a word; a column of letters is not read."""
    visit(browser, site / "saxe/index.html", SIZES[size])
    cells = browser.execute_script(
        "return [...document.querySelectorAll('tbody th, tbody td')].map(c => ["
        "c.textContent, c.clientWidth / parseFloat(getComputedStyle(c).fontSize), c.scrollWidth,"
        "c.clientWidth])"
    )
    assert len(cells) > 40
    narrow = [text for text, wide, _, _ in cells if wide < 6]
    assert narrow == [] or size == "desktop"  # there a short word may have a narrow column
    assert [text for text, _, inner, outer in cells if inner > outer + 1] == []
    if size == "phone":
        inside = (
            "return [...document.querySelectorAll('main *:not(pre):not(pre *)')].filter(e => "
            "getComputedStyle(e).position != 'absolute' && !e.closest('.plot') && "
            "!e.closest('.unseen') && !e.closest('thead') && "
            "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
        )
        assert browser.execute_script(inside) == []
        cards = (
            "return [...document.querySelectorAll('td[data-label]:not(.statement)')]"
            ".map(c => c.children.length)"
        )
        assert max(browser.execute_script(cards)) <= 1  # beside the name of the column
        tall = "return document.querySelector('.provenance').getBoundingClientRect().height"
        assert browser.execute_script(tall) < 1500


def test_formulas_are_set(browser: Any, site: Path) -> None:
    visit(browser, site / "saxe/index.html", SIZES["desktop"])
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('.claims math')].map(m => ["
        "m.textContent, m.getBoundingClientRect().width, m.querySelectorAll('msub, msup').length])"
    )
    texts = [text for text, _, _ in boxes]
    assert "L(k)≤(1−ηλ0/2)kL(0)" in texts
    assert all(wide > 5 for _, wide, _ in boxes)
    assert max(scripts for _, _, scripts in boxes) == 2


def test_help_is_there_on_request(browser: Any, site: Path) -> None:
    visit(browser, site / "saxe/index.html", SIZES["phone"])
    shown = "return document.querySelector('.help p').checkVisibility()"
    assert not browser.execute_script(shown)
    browser.execute_script("document.querySelector('.help summary').click()")
    assert browser.execute_script(shown)


CONTRAST = """
const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
const linear = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const ground = e => {
  for (; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length == 3 || colour[3] > 0) return colour;
  }
};
return [...document.querySelectorAll('body *')].filter(e => !e.closest('.plot') &&
  !['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(e.tagName) &&
  [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim())).map(e => {
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    return [e.textContent.slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
"""


@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("path", ["index.html", "saxe/index.html"])
def test_text_stands_out_by_day_and_by_night(
    browser: Any, site: Path, path: str, name: str
) -> None:
    """The contrast that accessibility guidelines ask of small text, 4.5, everywhere."""
    scheme(browser, name)
    try:
        visit(browser, site / path, SIZES["desktop"])
        keep(browser, f"{path.replace('/', '-')}-{name}")
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, ground[4:-1].split(", "))) < 60) == (name == "dark")
        found = browser.execute_script(CONTRAST)
        assert len(found) > 10
        assert [pair for pair in found if pair[1] < 4.5] == []
    finally:
        scheme(browser, "light")


@pytest.mark.parametrize("size", SIZES)
def test_panels_do_not_overlap_and_stack_on_a_phone(browser: Any, site: Path, size: str) -> None:
    visit(browser, site / "saxe/index.html", SIZES[size])
    domains = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].map(p => "
        "Object.keys(p._fullLayout).filter(k => /^xaxis/.test(k)).map(k => "
        "[p._fullLayout[k].domain, p._fullLayout[k.replace('x', 'y')].domain]))"
    )
    assert domains
    for panels in domains:
        for index, (x, y) in enumerate(panels):
            for other_x, other_y in panels[:index]:
                beside = x[0] >= other_x[1] or other_x[0] >= x[1]
                below = y[0] >= other_y[1] or other_y[0] >= y[1]
                assert beside or below
        columns = {round(x[0], 6) for x, _ in panels}
        if size == "phone":
            assert len(columns) == 1
        else:
            assert len(columns) == min(len(panels), 2)


BOXES = """
const box = e => (({ left, top, right, bottom }) => [left, top, right, bottom])(
  e.getBoundingClientRect());
const all = (p, what) => [...p.querySelectorAll(what)].filter(e => e.textContent.trim());
return [...document.querySelectorAll('.plot')].map(p => {
  const at = box(p), layout = p._fullLayout;
  const axes = Object.keys(layout).filter(k => /^xaxis/.test(k)).map(k => {
    const x = layout[k], y = layout[k.replace('x', 'y')];
    return [at[0] + x._offset, at[1] + y._offset, at[0] + x._offset + x._length,
      at[1] + y._offset + y._length];
  });
  const legends = p.data.filter(t => t.showlegend).map(t => {
    const name = t.name.replaceAll('<br>', '');
    const texts = [...p.querySelectorAll('.' + t.legend + ' .traces text')];
    const [left, ...rest] = box(texts.find(e => e.textContent == name));
    return { panel: t.xaxis, name, box: [left - 36, ...rest] };
  });
  return {
    frame: at, axes, legends,
    toolbar: [...p.querySelectorAll('.modebar-group')].map(box),
    titles: all(p, '.annotation[data-index] text').slice(0, layout.meta.panels).map(box),
    labels: all(p, '[class$=title]').filter(e => /^[xy]\\d*title$/.test(e.classList)).map(box),
    ticks: ['x', 'y'].flatMap(w => [...p.querySelectorAll(`[class*=${w}axislayer-above]`)])
      .map(g => all(g, 'text').map(box)),
    log: Object.keys(layout).filter(k => /^[xy]axis/.test(k) && layout[k].type == 'log' &&
      layout[k].showticklabels !== false).map(k => layout[k].tickvals.length),
  };
});
"""


def apart(one: list[float], other: list[float], room: float = 0.0) -> bool:
    return (
        one[2] <= other[0] + room
        or other[2] <= one[0] + room
        or one[3] <= other[1] + room
        or other[3] <= one[1] + room
    )


@pytest.mark.parametrize("size", SIZES)
def test_nothing_of_a_figure_stands_on_anything_else(browser: Any, site: Path, size: str) -> None:
    """Legends above their panel, clear of curves, titles and toolbar; labels of each other."""
    visit(browser, site / "saxe/index.html", SIZES[size])
    figures = browser.execute_script(BOXES)
    assert len(figures) == len(page().figures)
    assert sum(len(figure["legends"]) for figure in figures) > 8
    for figure in figures:
        left, top, right, bottom = figure["frame"]
        fixed = [*figure["axes"], *figure["toolbar"], *figure["titles"]]
        words = [entry["box"] for entry in figure["legends"]]
        assert len(figure["toolbar"]) == 2
        for number, legend in enumerate(figure["legends"]):
            box, own = legend["box"], figure["axes"][int(legend["panel"][1:] or 1) - 1]
            others = [*fixed, *figure["labels"], *words[:number]]
            assert all(apart(box, other, 1) for other in others), legend
            assert left <= box[0]
            assert box[2] <= min(right, own[2] + 13), legend
            assert own[1] - 120 < box[3] <= own[1]  # just above its own panel
        for box in figure["titles"]:
            assert all(apart(box, other, 1) for other in [*figure["axes"], *figure["toolbar"]])
        ticks = [tick for axis in figure["ticks"] for tick in axis]
        assert len(ticks) > 8
        assert len(figure["labels"]) >= 4
        for number, box in enumerate(figure["labels"]):
            assert left <= box[0] <= box[2] <= right
            assert top <= box[1] <= box[3] <= bottom
            others = [*figure["axes"], *figure["labels"][:number], *ticks]
            assert all(apart(box, other, 1) for other in others)
        for axis in figure["ticks"]:
            assert all(apart(a, b) for i, a in enumerate(axis) for b in axis[:i])
        assert all(count >= 2 for count in figure["log"])


def test_zooming_keeps_panels_of_one_quantity_together_and_logarithms_labelled(
    browser: Any, site: Path
) -> None:
    visit(browser, site / "saxe/index.html", SIZES["desktop"])
    browser.execute_script(
        "const p = document.querySelector('[data-figure=modes]');"
        "Plotly.relayout(p, {'xaxis.range': [1, 3]});"
        "const q = document.querySelector('[data-figure=edge]');"
        "Plotly.relayout(q, {'yaxis.range': [-0.32, -0.28]});"
    )
    ranges = (
        "return ['xaxis', 'xaxis2', 'xaxis3'].map(k => "
        "document.querySelector('[data-figure=modes]')._fullLayout[k].range)"
    )
    assert browser.execute_script(ranges) == [[1, 3]] * 3  # both panels and the residual
    labels = (
        "return [...document.querySelectorAll('[data-figure=edge] .ytick text')]"
        ".filter(e => e.textContent.trim()).length"
    )
    WebDriverWait(browser, 10).until(lambda it: it.execute_script(labels) >= 2)


def test_page_follows_the_window(browser: Any, site: Path) -> None:
    visit(browser, site / "saxe/index.html", SIZES["desktop"])
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    narrow = "return [...document.querySelectorAll('.plot')].every(p => p.layout.width <= 390)"
    WebDriverWait(browser, 20).until(lambda it: it.execute_script(narrow))


def test_figures_are_saved_as_svg_and_png(browser: Any, site: Path) -> None:
    visit(browser, site / "alone/index.html", SIZES["desktop"])
    behave = {"behavior": "allow", "downloadPath": str(browser.downloads)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", behave)
    for kind, start in {"svg": b"<svg", "png": b"\x89PNG"}.items():
        script = f"document.querySelector('[data-save={kind}][data-of=modes]').click()"
        browser.execute_script(script)
        path = browser.downloads / f"modes.{kind}"
        WebDriverWait(browser, 40).until(lambda _, path=path: path.is_file())
        assert path.read_bytes().startswith(start)


def test_copy_button_says_what_it_did(browser: Any, site: Path) -> None:
    visit(browser, site / "saxe/index.html", SIZES["desktop"])
    browser.execute_script("document.querySelector('[data-copy]').click()")
    said = "return document.querySelector('[data-copy]').textContent"
    WebDriverWait(browser, 10).until(lambda it: it.execute_script(said) != "Copy")
    chosen = browser.execute_script("return String(getSelection())")
    assert chosen.strip() == page().command


def test_headings_are_in_order_and_figures_are_named(browser: Any, site: Path) -> None:
    visit(browser, site / "saxe/index.html", SIZES["desktop"])
    levels = browser.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    images = [n for n in tree if n["role"]["value"] == "image" and n["name"]["value"]]
    names = json.dumps([n["name"]["value"] for n in images])
    for figure in page().figures:
        assert figure.title in names
