"""Stored data and figures in the formats that other tools read: CSV, NetCDF, SVG, PNG, PDF."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from thalweg.core.errors import InputError, require, unknown
from thalweg.report.colours import Colours
from thalweg.report.drawing import reading
from thalweg.report.matplotlib_drawing import draw_canvas, require_matplotlib
from thalweg.report.store import AGAIN, PathLike, open_data, read_page
from thalweg.storage.arrays import in_one_line
from thalweg.storage.files import replacing, writing
from thalweg.storage.netcdf import portable, write_netcdf

FORMATS = ("svg", "png", "pdf")
# Type 42 keeps letters as letters, which publishers ask for; a salt keeps names in files the same.
EMBEDDED: Any = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.hashsalt": "thalweg"}
UNDATED: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
ROWS_AT_ONCE = 500_000
EXPORTED = "What it is made from is safe; mend this and export it again"


def export_data(folder: PathLike, name: str) -> list[Path]:
    """Write a dataset as `data/<name>.csv` and, with h5netcdf and h5py, as `data/<name>.nc`.

    The CSV is in long format: one row per value, with the columns `variable`, `unit`, every
    dimension, every further coordinate, and `value` in full precision. Nothing is thinned.

    Returns:
        The paths written.

    Raises:
        InputError: If the dataset is missing or damaged, or a file cannot be written.

    Examples:
        >>> from thalweg import report
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> place = "bowl-run/descent.zarr"
        >>> path = tw.run(bowl, tw.gradient_descent(0.5), until=1.0, records=2, out=place)
        >>> report.export_data("bowl-run", "descent")[0].as_posix()
        'bowl-run/data/descent.csv'
    """
    data = open_data(folder, name)
    target = Path(folder) / "data"
    paths = [target / f"{name}.csv"]
    if all(importlib.util.find_spec(module) for module in ("h5netcdf", "h5py")):
        paths.append(target / f"{name}.nc")
    for path, write in zip(paths, (_write_csv, _write_netcdf), strict=False):
        try:
            with writing(path, again=EXPORTED):
                target.mkdir(exist_ok=True)
                with replacing(path) as partial:
                    write(data, partial)
        except InputError:
            raise
        except (RuntimeError, ValueError, KeyError) as error:  # of codecs and formats
            raise InputError(
                f"dataset {name!r} of {folder} cannot be exported ({in_one_line(error)}); {AGAIN}"
            ) from error
    return paths


def export_figures(folder: PathLike, formats: Iterable[str] = FORMATS) -> list[Path]:
    """Write every figure of a run folder as `figures/<name>.<format>`, at paper quality.

    Matplotlib draws them, without a browser, in the colours of the page and as large as its
    settings say: within `tw.style.paper()` they fit a column. Fonts are embedded, and the same data
    give the same files.

    Returns:
        The paths written.

    Raises:
        InputError: If a format is unknown or matplotlib is not installed.

    Examples:
        >>> from thalweg import report
        >>> page = report.Page("A bowl", "study", "Does it decay?", "Yes.")
        >>> written = report.write_page(page, "bowl")
        >>> report.export_figures("bowl", ["svg"])  # the page has none
        []
    """
    formats = tuple(formats)
    for kind in formats:
        require(kind in FORMATS, unknown(kind, FORMATS, "figure format"))
    require_matplotlib()
    from matplotlib import rc_context

    folder = Path(folder)
    figures = read_page(folder).figures
    paths = []
    with reading(figures, folder) as find, rc_context(EMBEDDED):
        colours = Colours(figures, find)
        for figure in figures:
            canvas = draw_canvas(figure, find, colours)
            for kind in formats:
                paths.append(path := folder / "figures" / f"{figure.name}.{kind}")
                with writing(path, again=EXPORTED):
                    path.parent.mkdir(exist_ok=True)
                    with replacing(path) as partial:
                        canvas.savefig(partial, format=kind, dpi=300, metadata=UNDATED.get(kind))
    return paths


def _write_netcdf(data: xr.Dataset, path: Path) -> None:
    write_netcdf(portable(data), path)


def _write_csv(data: xr.Dataset, path: Path) -> None:
    dims = [str(dim) for dim in data.dims]
    further = [str(name) for name in data.coords if name not in data.dims]
    columns = list(dict.fromkeys(["variable", "unit", *dims, *further, "value"]))
    pd.DataFrame(columns=columns).to_csv(path, index=False)
    for name, variable in data.data_vars.items():
        for block in _blocks(variable):
            unit = str(variable.attrs.get("units", ""))
            frame = _frame(block).assign(variable=str(name), unit=unit)
            frame.reindex(columns=columns).to_csv(path, mode="a", header=False, index=False)


def _blocks(variable: xr.DataArray) -> Iterator[xr.DataArray]:
    """A variable in pieces along its first dimension, so that a large one fits into memory."""
    if not variable.dims or variable.size <= ROWS_AT_ONCE:
        yield variable
        return
    dim = variable.dims[0]
    step = max(1, ROWS_AT_ONCE * variable.sizes[dim] // variable.size)
    for start in range(0, variable.sizes[dim], step):
        block = variable.isel({dim: slice(start, start + step)})
        if dim not in variable.coords:
            block = block.assign_coords({dim: np.arange(start, start + block.sizes[dim])})
        yield block


def _frame(block: xr.DataArray) -> pd.DataFrame:
    if not block.dims:
        values = {str(name): [coord.item()] for name, coord in block.coords.items()}
        return pd.DataFrame(values | {"value": [block.item()]})
    return block.rename(None).to_dataframe(name="value").reset_index()
