"""Tables kept in a folder, each with what it is known by: read back while that is the same."""

from __future__ import annotations

import contextlib
import json
from hashlib import sha256
from pathlib import Path

import xarray as xr

from thalweg.storage.datasets import open_dataset, save_dataset
from thalweg.storage.files import StoreError, digest_of, replace, sealed, unsealed, writing

NOTE = ".done.json"  # written last: what the table beside it is known by, and what it took


def keep_table(folder: Path | None, name: str, key: str, data: xr.Dataset, seconds: float) -> None:
    """Write a table into a folder; None keeps nothing.

    Raises:
        StoreError: If the file system refuses.
    """
    if folder is None:
        return
    place = folder / f"{name}.zarr"
    save_dataset(data, place)
    with writing(folder):
        told = {"key": key, "seconds": seconds, "table": _digest(place)}
        replace(folder / f"{name}{NOTE}", sealed(told))


def kept_table(folder: Path | None, name: str, key: str) -> tuple[xr.Dataset, float] | None:
    """A table that was kept and the seconds it took; None if it is not there, or another one.

    Raises:
        StoreError: If it is damaged: which file, and what to delete.
    """
    if folder is None:
        return None
    note = folder / f"{name}{NOTE}"
    if not note.exists():
        return None
    try:
        if json.loads(note.read_bytes())["key"] != key:
            return None
        told, place = unsealed(note), folder / f"{name}.zarr"
        data = open_dataset(place).load()
        if told["table"] != _digest(place):
            raise StoreError(f"{place} is intact, but not the table that was stored here")
        return data, float(told["seconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = error if isinstance(error, StoreError) else f"{note} is damaged"
        raise StoreError(f"{why}; delete {note} to run this experiment again") from error


def _digest(place: Path) -> str:
    """A digest of a stored table: chunks know their own checksum, but not whose they are."""
    files = (f for f in sorted(place.rglob("*")) if f.is_file() and not f.name.startswith("."))
    content = {f.relative_to(place).as_posix(): sha256(f.read_bytes()).hexdigest() for f in files}
    return digest_of(content)


def took_before(folder: Path | None, name: str, key: str) -> float | None:
    """Seconds that a table took when it was last made here; 0 if it need not be made again."""
    if folder is None:
        return None
    try:
        note = json.loads((folder / f"{name}{NOTE}").read_bytes())
        return 0.0 if note["key"] == key else float(note["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # what is damaged, `kept_table` tells


def seconds_kept(folder: Path | None, key: str) -> float:
    """Seconds that all tables of a folder that are known by a key took."""
    total = 0.0
    for note in folder.glob(f"*{NOTE}") if folder is not None else ():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = unsealed(note)
            total += float(told["seconds"]) if told["key"] == key else 0.0
    return total
