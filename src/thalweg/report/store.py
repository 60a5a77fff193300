"""The run folder: `page.json` and one Zarr folder `<name>.zarr` per dataset, all with checksums."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.core.errors import InputError, require
from thalweg.report.spec import Page, check_name
from thalweg.storage.files import StoreError, replace, sealed, unsealed, writing

if TYPE_CHECKING:
    import xarray as xr

PAGE_FILE = "page.json"
LARGEST = 64_000_000  # bytes of a page that is read; those of studies have some 100,000
AGAIN = "give the command of the run again"
PathLike = str | os.PathLike[str]


def write_page(page: Page, folder: PathLike) -> Path:
    """Store a page as `page.json` in its run folder, replacing an older one as a whole.

    Returns:
        The path of the file.

    Raises:
        InputError: If the folder cannot be written.

    Examples:
        >>> from thalweg import report
        >>> page = report.Page("A bowl", "study", "Does it decay?", "It does.")
        >>> report.write_page(page, "bowl").name
        'page.json'
    """
    target = Path(folder) / PAGE_FILE
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        replace(target, sealed(page.to_json()))
    return target


def read_page(folder: PathLike) -> Page:
    """The page stored in a run folder.

    Raises:
        InputError: If `page.json` is missing, damaged, or does not describe a page.

    Examples:
        >>> from thalweg import report
        >>> page = report.Page("A bowl", "study", "Does it decay?", "Yes.")
        >>> written = report.write_page(page, "bowl")
        >>> report.read_page("bowl").verdict
        'Yes.'
    """
    path = Path(folder) / PAGE_FILE
    require(path.is_file(), f"{path} does not exist; a run folder with a finished run has one.")
    size = path.stat().st_size
    require(size <= LARGEST, f"{path} has {size} bytes, which is no page; {AGAIN}.")
    try:
        return Page.from_json(unsealed(path))
    except StoreError as error:
        raise InputError(f"{error}; {AGAIN}.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not describe a page: {error}") from error


def open_data(folder: PathLike, name: str) -> xr.Dataset:
    """A dataset of a run folder, every chunk checked, its values read from disk when used.

    Raises:
        InputError: If a file of it is missing or damaged.

    Examples:
        >>> from thalweg import report
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> place = "bowl-run/descent.zarr"
        >>> path = tw.run(bowl, tw.gradient_descent(0.5), until=1.0, records=2, out=place)
        >>> report.open_data("bowl-run", "descent")["loss"].values.tolist()
        [[0.5, 0.125, 0.03125]]
    """
    from thalweg.storage.datasets import open_dataset  # half a second, and a list reads pages only

    check_name(name, "dataset")
    path = Path(folder) / f"{name}.zarr"
    require(path.is_dir(), f"{path} does not exist; the page asks for the dataset {name!r}.")
    try:
        return open_dataset(path)
    except StoreError as error:
        raise InputError(f"{error}; {AGAIN}.") from error
