"""The lines and points that a series draws: its variables chosen, fanned out and flattened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from thalweg.core.errors import InputError, require, unknown
from thalweg.report.number import show
from thalweg.report.spec import Scalar, Series

REPLICATES = ("seed", "draw")  # dimensions whose values differ by chance alone


@dataclass(frozen=True)
class Line:
    """One line of a series: what it is called and its values, all of one length.

    Attributes:
        name: The series' label and the value of `each`.
        shown: The value of `each` alone, in words; "" without `each`.
        value: The value of `each` (None without).
        x: Horizontal values, numbers or text.
        y: Vertical values.
        error: Errors of y; empty if none are stored.
    """

    name: str
    shown: str
    value: Scalar | None
    x: np.ndarray
    y: np.ndarray
    error: np.ndarray


def lines(series: Series, data: xr.Dataset) -> list[Line]:
    """The lines of a series, one per value of `each`.

    Raises:
        InputError: If a variable, dimension or label is not in the dataset, or more than one
            dimension is left.
    """
    for name in (series.y, series.x, series.error):
        known = [*data.variables, *data.dims]
        require(not name or name in known, unknown(name, map(str, known), "variable"))
    keys = {"x": series.x, "y": series.y} | ({"error": series.error} if series.error else {})
    chosen = xr.Dataset({key: _variable(data, name) for key, name in keys.items()})
    for dim, value in series.select.items():
        chosen = _select(chosen, dim, value, series.data)
    require(
        chosen["y"].dtype.kind in "biuf",
        f"{series.y!r} of {series.data!r} holds text; only x may, as categories.",
    )
    label = series.label or str(data[series.y].attrs.get("long_name", series.y))
    if not series.each:
        return [Line(label, "", None, *_values(chosen, series))]
    require(series.each in chosen.dims, unknown(series.each, map(str, chosen.dims), "dimension"))
    found = []
    for position, (value, shown) in enumerate(fan(series, chosen)):
        # "mode, mode 1" says one thing twice.
        named = series.label and not shown.startswith(f"{series.label} ")
        name = f"{series.label}, {shown}" if named else shown
        values = _values(chosen.isel({series.each: position}), series)
        found.append(Line(name, shown, value, *values))
    return found


def fan(series: Series, data: xr.Dataset) -> Iterator[tuple[Scalar, str]]:
    """Each value of the dimension `each`, as it is stored and in words."""
    for position in range(data.sizes.get(series.each, 0)):
        one = data[series.each][position].item() if series.each in data.coords else position
        yield one, one if isinstance(one, str) else f"{series.each} {show(one)}"


def _variable(data: xr.Dataset, name: str) -> xr.DataArray:
    """A variable under no name of its own, so that x may be the very coordinate of y."""
    if name in data.variables:
        source = data[name]
    else:
        source = xr.DataArray(np.arange(data.sizes[name]), dims=name)
    require(
        not np.issubdtype(source.dtype, np.complexfloating),
        f"variable {name!r} is complex; store its real and imaginary parts to draw them.",
    )
    return source.rename(None)


def _select(data: xr.Dataset, dim: str, value: Scalar, name: str) -> xr.Dataset:
    require(dim in data.dims, unknown(dim, map(str, data.dims), f"dimension of {name!r}"))
    if dim not in data.coords:
        size = data.sizes[dim]
        require(
            isinstance(value, int) and -size <= value < size,
            f"dimension {dim!r} of {name!r} has no position {value!r}; it has {size}.",
        )
        return data.isel({dim: value})
    nearest = np.issubdtype(data[dim].dtype, np.floating)
    try:
        return data.sel({dim: value}, method="nearest" if nearest else None)
    except (KeyError, TypeError, ValueError) as error:
        labels = ", ".join(str(label) for label in data[dim].values[:12])
        raise InputError(
            f"coordinate {dim!r} of {name!r} has no label {value!r}; it has {labels}."
        ) from error


def _values(data: xr.Dataset, series: Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and error over the one dimension that is left."""
    require(
        len(data.dims) <= 1,
        f"{series.y!r} over {series.x!r} of {series.data!r} has the dimensions "
        f"{', '.join(map(str, data.dims))}; use select or each until one is left.",
    )
    size = next(iter(data.sizes.values()), 1)
    x, y = (np.broadcast_to(data[key].values, (size,)) for key in ("x", "y"))
    error = data["error"].values if "error" in data else np.empty(0)
    return x, y, np.broadcast_to(error, (size,)) if error.ndim == 0 else error
