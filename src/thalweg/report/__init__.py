"""Pages from stored results alone: verdict, numbers, figures, claims, data. Imports no JAX.

Records and stored pages are at hand at once; what draws and builds, with Plotly, pandas, xarray and
Jinja behind it, is loaded when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from thalweg.report.spec import (
    ClaimPart,
    ClaimRow,
    Figure,
    Level,
    Number,
    Page,
    Panel,
    Series,
    TextTable,
)
from thalweg.report.store import open_data, read_page, write_page

if TYPE_CHECKING:
    from thalweg.report.drawing import draw
    from thalweg.report.export import export_data, export_figures
    from thalweg.report.matplotlib_drawing import draw_canvas
    from thalweg.report.page import build, build_index

_LATE = {
    "draw": "drawing",
    "draw_canvas": "matplotlib_drawing",
    "export_data": "export",
    "export_figures": "export",
    "build": "page",
    "build_index": "page",
}

__all__ = [
    "ClaimPart",
    "ClaimRow",
    "Figure",
    "Level",
    "Number",
    "Page",
    "Panel",
    "Series",
    "TextTable",
    "build",
    "build_index",
    "draw",
    "draw_canvas",
    "export_data",
    "export_figures",
    "open_data",
    "read_page",
    "write_page",
]


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
