"""Pages from stored results alone: verdict, numbers, figures, claims, data. Imports no JAX."""

from thalweg.report.drawing import draw
from thalweg.report.export import export_data, export_figures
from thalweg.report.page import build, build_index
from thalweg.report.spec import ClaimPart, ClaimRow, Figure, Level, Number, Page, Panel, Series
from thalweg.report.store import open_data, read_page, write_page

__all__ = [
    "ClaimPart",
    "ClaimRow",
    "Figure",
    "Level",
    "Number",
    "Page",
    "Panel",
    "Series",
    "build",
    "build_index",
    "draw",
    "export_data",
    "export_figures",
    "open_data",
    "read_page",
    "write_page",
]
