"""HTML from a run folder: one page per run, one index over many. Nothing is computed again."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from thalweg.core.errors import InputError
from thalweg.report.drawing import draw_stored
from thalweg.report.export import export_data
from thalweg.report.formula import typeset
from thalweg.report.number import show
from thalweg.report.spec import VERDICTS, Page
from thalweg.report.store import PAGE_FILE, PathLike, open_data, read_page
from thalweg.storage.files import replace

SYMBOLS = dict(zip(VERDICTS, "✓◐✕○", strict=True))
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

    Examples:
        >>> from thalweg import report
        >>> page = report.Page("A bowl", "study", "Does it decay?", "Yes.")
        >>> written = report.write_page(page, "bowl")
        >>> report.build("bowl").name
        'index.html'
    """
    folder = Path(folder)
    page = read_page(folder)
    figures = list(zip(page.figures, draw_stored(page.figures, folder), strict=True))
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


def build_index(root: PathLike) -> Path | None:
    """Render `index.html` over the run folders that lie directly in a folder, sorted by name.

    A run that has no page yet is built; one that cannot be read is listed with the reason. An
    `index.html` that is not such an index is left alone. The index is an extra of the run at hand:
    a folder that cannot be listed or written is no error.

    Returns:
        The path of the index; None if there is none, or it is not one of ours.

    Examples:
        >>> from thalweg import report
        >>> page = report.Page("A bowl", "study", "Does it decay?", "Yes.")
        >>> written = report.write_page(page, "runs/bowl")
        >>> report.build_index("runs").as_posix()
        'runs/index.html'
    """
    root = Path(root)
    index = root / "index.html"
    try:
        if root == root.parent or not _ours(index):  # the disk itself is nobody's to fill
            return None
        return _write(index, _index(root, _run_folders(root)))
    except OSError:
        return None


def _ours(index: Path) -> bool:
    if not index.exists():
        return True
    return index.is_file() and INDEX_TITLE in index.read_text(encoding="utf-8", errors="replace")


def _run_folders(root: Path) -> list[Path]:
    """The folders directly in a folder that hold a page; what cannot be looked at holds none."""
    found = []
    for child in sorted(root.iterdir()):
        with contextlib.suppress(OSError):
            if (child / PAGE_FILE).is_file():
                found.append(child)
    return found


def _index(root: Path, folders: list[Path]) -> str:
    rows: list[dict[str, Any]] = []
    for folder in folders:
        row: dict[str, Any] = {"name": folder.name}
        rows.append(row)
        try:
            page = read_page(folder)
            path = folder / "index.html"
            built = path if path.is_file() else build(folder, root)
            row |= {"page": page, "tally": _tally(page), "link": _link(built, root)}
        except (InputError, OSError) as error:
            row["problem"] = str(error).replace(f"{root}{os.sep}", "")
    total: Counter[str] = sum((row["tally"] for row in rows if "tally" in row), Counter())
    return _template("index.html").render(rows=rows, total=total)


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
    return quote(os.fsencode(Path(os.path.relpath(target, start)).as_posix()))


def _write(path: Path, text: str) -> Path:
    replace(path, text.encode("utf-8", "replace"))
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
