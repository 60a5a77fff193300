"""The run folder: `page.json` and one Zarr group `<name>.zarr` per dataset."""

from __future__ import annotations

import json
import os
from pathlib import Path

import xarray as xr

from thalweg.core.errors import InputError, require
from thalweg.report.spec import Page, check_name

PAGE_FILE = "page.json"
PathLike = str | os.PathLike[str]


def write_page(page: Page, folder: PathLike) -> Path:
    """Store a page as `page.json` in its run folder, replacing an older one as a whole.

    Returns:
        The path of the file.
    """
    target = Path(folder) / PAGE_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(page.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    unfinished = target.with_suffix(".json.part")
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(target)
    return target


def read_page(folder: PathLike) -> Page:
    """The page stored in a run folder.

    Raises:
        InputError: If `page.json` is missing, is not JSON, or does not describe a page.
    """
    path = Path(folder) / PAGE_FILE
    require(path.is_file(), f"{path} does not exist; a run folder with a finished run has one.")
    try:
        return Page.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is damaged ({error}); run the study again.") from error
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not describe a page: {error}") from error


def open_data(folder: PathLike, name: str) -> xr.Dataset:
    """A dataset of a run folder, its values read from disk only when used.

    Raises:
        InputError: If the Zarr group is missing or damaged.
    """
    check_name(name, "dataset")
    path = Path(folder) / f"{name}.zarr"
    require(path.is_dir(), f"{path} does not exist; the page asks for the dataset {name!r}.")
    try:
        data = xr.open_dataset(path, engine="zarr", consolidated=False)
        # A folder is listed in any order; the same run shall give the same page and export.
        variables, coords = (
            {str(key): part[key].variable for key in sorted(part, key=str)}
            for part in (data.data_vars, data.coords)
        )
        return xr.Dataset(variables, coords, data.attrs)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}); run the study again.") from error
