"""HTML from a run folder: one page per run, one index over many. Nothing is computed again."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from thalweg.core.errors import InputError, require
from thalweg.report.draw import draw_stored
from thalweg.report.export import export_data
from thalweg.report.formula import typeset
from thalweg.report.number import show
from thalweg.report.spec import VERDICTS, Page
from thalweg.report.store import PAGE_FILE, PathLike, open_data, read_page

SYMBOLS = {"reproduced": "✓", "not reproduced": "✕", "not run": "○"}
INDEX_TITLE = "<title>All runs – thalweg</title>"
TONE_SYMBOLS = {"good": "✓", "warn": "△", "bad": "✕", "neutral": "○"}


def build(folder: PathLike, root: PathLike | None = None) -> Path:
    """Render `index.html` and the data export of a run folder, from what is stored in it.

    Args:
        folder: A run folder: `page.json` and the Zarr groups that it names.
        root: The folder that holds the shared `assets/` and the index over all runs; the run
            folder itself if not given, which can then be moved and sent as it is.

    Returns:
        The path of the page.

    Raises:
        InputError: If `page.json` or a dataset is missing or damaged.
    """
    folder = Path(folder)
    page = read_page(folder)
    figures = [(figure, draw_stored(figure, folder)) for figure in page.figures]
    home = folder if root is None else Path(root)
    script = _link(_plotly_script(home), folder) if figures else ""
    text = _template("page.html").render(
        page=page,
        tally=_tally(page),
        figures=figures,
        datasets=[_dataset(folder, name) for name in page.data_names()],
        script=script,
        index=_link(home / "index.html", folder) if root is not None else "",
    )
    return _write(folder / "index.html", text)


def build_index(root: PathLike) -> Path:
    """Render `index.html` over all run folders below a folder, sorted by path.

    A run that has no page yet is built; one that cannot be read is listed with the reason. An
    `index.html` that is not such an index is left alone.

    Returns:
        The path of the index.

    Raises:
        InputError: If the folder does not exist.
    """
    root = Path(root)
    require(root.is_dir(), f"{root} is not a folder; give the one that holds the run folders.")
    index = root / "index.html"
    if index.is_file() and INDEX_TITLE not in index.read_text(encoding="utf-8", errors="replace"):
        return index
    rows: list[dict[str, Any]] = []
    for stored in sorted(root.rglob(PAGE_FILE)):
        folder = stored.parent
        if folder == root:
            continue
        row: dict[str, Any] = {"name": folder.relative_to(root).as_posix()}
        rows.append(row)
        try:
            page = read_page(folder)
            path = folder / "index.html"
            built = path if path.is_file() else build(folder, root)
            row |= {"page": page, "tally": _tally(page), "link": _link(built, root)}
        except InputError as error:
            row["problem"] = str(error).replace(f"{root}{os.sep}", "")
    total: Counter[str] = sum((row["tally"] for row in rows if "tally" in row), Counter())
    return _write(index, _template("index.html").render(rows=rows, total=total))


def _tally(page: Page) -> Counter[str]:
    return Counter(claim.verdict for claim in page.claims)


def _dataset(folder: Path, name: str) -> dict[str, Any]:
    data = open_data(folder, name)
    files = [
        {"link": _link(path, folder), "kind": kind, "size": _size(path.stat().st_size)}
        for path in export_data(folder, name)
        for kind in ("CSV" if path.suffix == ".csv" else "NetCDF",)
    ]
    sizes = " × ".join(f"{dim} {size}" for dim, size in data.sizes.items()) or "one value each"
    return {
        "name": name,
        "sizes": sizes,
        "variables": list(map(str, data.data_vars)),
        "files": files,
    }


def _size(count: int) -> str:
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def _plotly_script(home: Path) -> Path:
    """Plotly's script as it lies in the installed package, written once under `assets/`."""
    from plotly.offline import get_plotlyjs

    path = home / "assets" / "plotly.min.js"
    text = get_plotlyjs()
    if not path.is_file() or path.stat().st_size != len(text.encode()):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, text)
    return path


def _link(target: Path, start: Path) -> str:
    return Path(os.path.relpath(target, start)).as_posix()


def _write(path: Path, text: str) -> Path:
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
    return path


def _prose(text: str) -> Markup:
    """Escaped text in which `code` between backticks is set as code, formulas as MathML."""
    pieces = re.split(r"`([^`]+)`", text)  # text and code in turn
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if i % 2 else typeset(piece)
        for i, piece in enumerate(pieces)
    )


@lru_cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("thalweg.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"show": show, "prose": _prose}
    environment.globals |= {
        "symbols": SYMBOLS,
        "tone_symbols": TONE_SYMBOLS,
        "verdicts": VERDICTS,
        "version": importlib.metadata.version("thalweg"),
    }
    return environment.get_template(name)
