"""Data sets as netCDF files, which know fewer kinds of values and attributes than we do."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from thalweg.core.errors import require
from thalweg.storage.arrays import in_one_line
from thalweg.storage.files import StoreError, replacing, writing

AS_JSON = "attributes_in_json"  # names the attributes that are JSON, so that they are read back
NEEDED = ("h5netcdf", "h5py")


def save_netcdf(dataset: xr.Dataset, path: Path) -> Path:
    """Write a data set as a netCDF file, whole or not at all.

    Raises:
        InputError: If h5netcdf is not installed, or the path names no file.
        StoreError: If the file system refuses.
    """
    _require_netcdf()
    require(bool(path.name), f"path came as {str(path)!r}; give that of a file, as run.nc")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            write_netcdf(portable(dataset, told=True), partial)
    return path


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write what `portable` made.

    Raises:
        OSError: If the file system refuses, which HDF5 tells in a way of its own.
    """
    try:
        dataset.to_netcdf(path, engine="h5netcdf")
    except (RuntimeError, OSError) as error:
        said = re.search(r"errno = (\d+)", str(error))
        if said is None:
            raise
        raise OSError(int(said[1]), os.strerror(int(said[1]))) from error


def open_netcdf(path: Path) -> xr.Dataset:
    """A data set that `save_netcdf` wrote, its attributes as they were.

    Raises:
        InputError: If h5netcdf is not installed.
        StoreError: If it cannot be read.
    """
    _require_netcdf()
    try:
        with xr.open_dataset(
            path, engine="h5netcdf", decode_times=False, decode_timedelta=False
        ) as file:
            data = file.load()
        for attrs in (data.attrs, *(v.attrs for v in data.variables.values())):
            for name in json.loads(attrs.pop(AS_JSON, "[]")):
                attrs[name] = json.loads(attrs[name])
        return data.drop_encoding()
    except Exception as error:  # xarray and h5py raise many kinds
        raise StoreError(f"{path} cannot be read as netCDF ({in_one_line(error)})") from error


def portable(data: xr.Dataset, told: bool = False) -> xr.Dataset:
    """The dataset with only what netCDF can hold: complex numbers in parts, attributes as text.

    Args:
        data: The dataset.
        told: Whether an attribute names those that became text, so that they can be read back.
    """
    data = data.drop_encoding()
    for name in [str(name) for name in data.data_vars]:
        variable = data[name]
        if np.issubdtype(variable.dtype, np.complexfloating):
            parts = {f"{name}_real": variable.real, f"{name}_imag": variable.imag}
            data = data.drop_vars(name).assign(parts)
    data.attrs = _attributes(data.attrs, told)
    for variable in (*data.data_vars.values(), *data.coords.values()):
        variable.attrs = _attributes(variable.attrs, told)
    return data


def _attributes(attrs: Mapping[Any, Any], told: bool) -> dict[str, Any]:
    plain = {
        str(key): value
        for key, value in attrs.items()
        if isinstance(value, (str, int, float)) and not isinstance(value, bool)
    }
    coded = {str(k): json.dumps(v, default=_plain) for k, v in attrs.items() if str(k) not in plain}
    return plain | coded | ({AS_JSON: json.dumps(sorted(coded))} if coded and told else {})


def _plain(value: Any) -> Any:
    """A value that JSON does not know: arrays and their scalars as lists and numbers, else text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _require_netcdf() -> None:
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    require(
        not lacking,
        f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed; install "
        "with \"pip install 'thalweg[netcdf]'\"",
    )
