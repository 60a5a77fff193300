"""Finished data sets on disk: a sealed Zarr folder each, written whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from thalweg.storage import arrays, whose
from thalweg.storage.files import StoreError, unsealed, writing


def save_dataset(dataset: xr.Dataset, path: Path) -> None:
    """Write a finished data set as a sealed Zarr folder, whole or not at all.

    Raises:
        StoreError: If the file system refuses.
    """
    unfinished, old = path.with_suffix(".unfinished"), path.with_suffix(".old")
    with writing(path), zarr.config.set(arrays.WHOLE_CHUNKS):
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (unfinished, old):
            shutil.rmtree(leftover, ignore_errors=True)
        portable = _portable(dataset)
        checked = {name: {"compressors": arrays.COMPRESSORS} for name in portable.variables}
        portable.to_zarr(unfinished, mode="w", zarr_format=3, consolidated=False, encoding=checked)
        arrays.seal(unfinished)
        if path.exists():
            path.rename(old)
        unfinished.rename(path)
        shutil.rmtree(old, ignore_errors=True)


def _portable(dataset: xr.Dataset) -> xr.Dataset:
    """With text of any length in place of fixed-width text, which Zarr 3 does not specify."""
    text = {name: v.astype(object) for name, v in dataset.variables.items() if v.dtype.kind == "U"}
    return dataset.drop_encoding().assign({str(name): v for name, v in text.items()})


def open_dataset(path: Path) -> xr.Dataset:
    """A data set on disk, every chunk checked, its values read when used.

    Args:
        path: What `save_dataset` wrote; or a run, of which the committed records are read.

    Raises:
        StoreError: If a file of it is missing, damaged, or not what was written there: which.
    """
    if not path.is_dir():
        raise StoreError(f"{path} does not exist")
    group = arrays.opened(path)
    if isinstance(group, zarr.Array):
        raise StoreError(f"{path} is one array, not a data set")
    found, committed = dict(group.arrays()), path.with_suffix(".resume") / whose.MARK
    mark = unsealed(committed) if committed.exists() else {}
    if "axis" not in mark:  # not a run, or one that an older version wrote
        mark, axis, whole = {"records": 0}, "", slice(None)
    else:
        axis, whole = mark["axis"], slice(mark["records"])
    _, lost, displaced = whose.read_through(path, found, mark, axis)
    if lost:
        raise StoreError(f"{path} has missing or damaged files ({arrays.file_names(lost)})")
    if displaced:
        raise StoreError(arrays.told_displaced(path, displaced))
    data = as_dataset(path)
    return data.isel({axis: whole}) if axis else data


def as_dataset(path: Path) -> xr.Dataset:
    """The arrays of a sealed Zarr folder under their labels, unchecked, in order of their names.

    Raises:
        StoreError: If they do not make a data set.
    """
    try:
        # Units are for people: xarray shall not turn "days" into its own dates.
        data = xr.open_dataset(
            path, engine="zarr", consolidated=False, zarr_format=3, decode_times=False,
            decode_timedelta=False,
        )  # fmt: skip
        text = {
            str(name): (coord.dims, np.array(coord.values.tolist()), coord.attrs)
            for name, coord in data.coords.items()
            if coord.dtype.kind == "T"
        }
        data = data.assign_coords(text)
        # A folder is listed in any order; the same run shall give the same page and export.
        variables, coords = (
            {str(key): part[key].variable for key in sorted(part, key=str)}
            for part in (data.data_vars, data.coords)
        )
        attrs = {key: value for key, value in data.attrs.items() if key != arrays.SEAL}
        return xr.Dataset(variables, coords, attrs)
    except Exception as error:  # xarray and Zarr raise many kinds
        raise StoreError(
            f"{path} cannot be read as a data set ({arrays.in_one_line(error)})"
        ) from error
