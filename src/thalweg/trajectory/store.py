"""Where records go: memory, or a Zarr group that survives being killed at any moment.

A store on disk is two neighbours: `<name>.zarr`, the labelled arrays, and `<name>.resume`, the
state from which the run goes on. Records are written first, then the checkpoint, then the commit
mark that names both; every file is replaced atomically. A process killed between any two of
these leaves the store at its last commit mark.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr
import zarr

from thalweg.core.errors import InputError

FORMAT = 1  # raised whenever an older version would misread what a newer one writes
RECORDS_PER_CHUNK = 64
FILL = {"f": np.nan, "i": -1, "u": 0, "b": False}
_OWN = re.compile(r"(commit\.json|state-\d+\.npz)(\.partial)?")  # all that `.resume` holds
# A chunk that was written is a file, whatever it holds: so a missing file is a lost chunk.
_WHOLE_CHUNKS = {"array.write_empty_chunks": True}


class StoreError(InputError):
    """A store that cannot be read or written, told in one sentence."""


class OtherRunError(StoreError):
    """A store of another run than the one asked for, or written by another version."""


class Variable(NamedTuple):
    """One recorded quantity: dims are ("seed", "time", *dims)."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attrs: dict[str, Any]


class Store(Protocol):
    """What the driver asks of a store."""

    def write(self, first: int, records: Mapping[str, np.ndarray]) -> None:
        """Put records (seed, record, ...) at positions first, first + 1, ..."""

    def commit(self, count: int, leaves: Sequence[np.ndarray], note: dict[str, Any]) -> None:
        """The first `count` records and the state behind them are final."""

    def dataset(self) -> xr.Dataset:
        """All committed records."""


class MemoryStore(Store):
    """Records in memory, gone with the process."""

    def __init__(
        self, variables: Sequence[Variable], coords: Mapping[str, Any], attrs: Mapping[str, Any]
    ) -> None:
        """Room for every record, filled with NaN (-1 for whole numbers)."""
        self._variables = list(variables)
        seeds, times = (len(_coordinate(n, coords[n])[1]) for n in ("seed", "time"))
        self._arrays = {
            v.name: np.full((seeds, times, *v.shape), FILL[v.dtype.kind], v.dtype)
            for v in variables
        }
        self._coords, self._attrs, self._count = dict(coords), dict(attrs), 0

    def write(self, first: int, records: Mapping[str, np.ndarray]) -> None:
        for name, values in records.items():
            self._arrays[name][:, first : first + values.shape[1]] = values

    def commit(self, count: int, leaves: Sequence[np.ndarray], note: dict[str, Any]) -> None:
        self._count = count
        self._attrs.update(note)

    def dataset(self) -> xr.Dataset:
        data = {
            v.name: (("seed", "time", *v.dims), self._arrays[v.name], v.attrs)
            for v in self._variables
        }
        dataset = xr.Dataset(data, coords=self._coords, attrs=self._attrs)
        return dataset.isel(time=slice(0, self._count))


class ZarrStore(Store):
    """Records in a Zarr group on disk, with checkpoints and an atomic commit mark."""

    def __init__(self, path: Path) -> None:
        """A store at `path`, which ends in .zarr and need not exist yet."""
        self.path = path
        self.resume = path.with_suffix(".resume")
        self._group: zarr.Group | None = None

    @property
    def mark(self) -> Path:
        """The commit mark."""
        return self.resume / "commit.json"

    def exists(self) -> bool:
        """Whether a store was created here to its end, damaged since or not."""
        return self.mark.exists() or any(self.resume.glob("state-*.npz"))

    def foreign(self) -> bool:
        """Whether something that no store of ours has left is at its place."""
        if self.resume.is_dir():
            return not all(_OWN.fullmatch(file.name) for file in self.resume.iterdir())
        empty = self.path.is_dir() and not any(self.path.iterdir())
        return self.resume.exists() or (self.path.exists() and not empty)

    def create(
        self, variables: Sequence[Variable], coords: Mapping[str, Any], attrs: Mapping[str, Any]
    ) -> None:
        """Lay out the arrays, then commit zero records; what was here is deleted.

        Killed in between, it leaves the store that was here, a damaged store or none.
        """
        with writing(self.path), zarr.config.set(_WHOLE_CHUNKS):
            self.resume.mkdir(parents=True, exist_ok=True)
            for leftover in sorted(self.resume.iterdir(), reverse=True):  # the mark last
                leftover.unlink()
            if self.path.exists():
                shutil.rmtree(self.path)
            seeds, times = (len(_coordinate(n, coords[n])[1]) for n in ("seed", "time"))
            group = zarr.open_group(self.path, mode="w", zarr_format=3)
            group.attrs.update({key: _jsonable(value) for key, value in attrs.items()})
            for name, coord in coords.items():
                dims, values, meta = _coordinate(name, coord)
                values = np.asarray(values)
                if values.dtype.kind == "U":  # Zarr has no settled format for a fixed length
                    values = values.astype(np.dtypes.StringDType())
                array = group.create_array(name, data=values, dimension_names=dims, fill_value=None)
                array.attrs.update(meta)
            for v in variables:
                wide = int(np.prod(v.shape, dtype=np.int64)) > 1024
                per_chunk = 1 if wide else min(times, RECORDS_PER_CHUNK)
                array = group.create_array(
                    v.name,
                    shape=(seeds, times, *v.shape),
                    chunks=(1 if wide else seeds, per_chunk, *v.shape),
                    dtype=v.dtype,
                    fill_value=FILL[v.dtype.kind],
                    dimension_names=("seed", "time", *v.dims),
                )
                array.attrs.update(v.attrs)
            self._mark({"records": 0, "checkpoint": None})

    def write(self, first: int, records: Mapping[str, np.ndarray]) -> None:
        with writing(self.path), zarr.config.set(_WHOLE_CHUNKS):
            if self._group is None:
                self._group = zarr.open_group(self.path, mode="r+")
            for name, values in records.items():
                array = self._group[name]
                assert isinstance(array, zarr.Array)
                array[:, first : first + values.shape[1]] = values

    def commit(self, count: int, leaves: Sequence[np.ndarray], note: dict[str, Any]) -> None:
        with writing(self.path):
            buffer = io.BytesIO()
            named: dict[str, Any] = {f"leaf_{i}": leaf for i, leaf in enumerate(leaves)}
            np.savez(buffer, **named)
            content = buffer.getvalue()
            name = f"state-{count}.npz"
            replace(self.resume / name, content)
            self._mark(
                {
                    "records": count,
                    "checkpoint": name,
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "note": note,
                }
            )
            for old in self.resume.glob("state-*.npz"):
                if old.name != name:
                    old.unlink()

    def committed(self) -> dict[str, Any]:
        """The commit mark.

        Raises:
            StoreError: If it is damaged.
            OtherRunError: If another version wrote the store in another format.
        """
        try:
            mark = json.loads(self.mark.read_text())
            count, written = int(mark["records"]), mark.get("format", 0)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise StoreError(
                f"{self.mark} is missing or damaged; the recorded points are still in {self.path} "
                "(unwritten ones are NaN), so give another path, or ask for a fresh run"
            ) from None
        if written != FORMAT:
            raise OtherRunError(
                f"{self.path} is of store format {written}, this version writes format {FORMAT}; "
                f"its {count} recorded points can be read with xarray.open_zarr, so give another "
                "path, or ask for a fresh run to replace it"
            )
        return mark

    def state(self) -> list[np.ndarray] | None:
        """The leaves of the last checkpoint, or None before the first.

        Raises:
            StoreError: If the checkpoint is missing or damaged.
        """
        mark = self.committed()
        if mark["checkpoint"] is None:
            return None
        path = self.resume / mark["checkpoint"]
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == mark["sha256"]:
                with np.load(io.BytesIO(content), allow_pickle=False) as saved:
                    return [saved[f"leaf_{i}"] for i in range(len(saved.files))]
        except (OSError, ValueError, KeyError):
            pass
        raise StoreError(
            f"the checkpoint {path} is missing or damaged, so the run cannot go on; its "
            f"{mark['records']} recorded points are still readable in {self.path}: give another "
            "path, or ask for a fresh run"
        )

    def dataset(self) -> xr.Dataset:
        """All committed records, read lazily.

        Raises:
            StoreError: If the store is missing or damaged.
        """
        mark = self.committed()
        try:
            dataset = xr.open_zarr(self.path, consolidated=False, chunks=None)
            texts = {
                str(name): (coord.dims, np.array(coord.values.tolist()), coord.attrs)
                for name, coord in dataset.coords.items()
                if coord.dtype.kind == "T"
            }
            dataset = dataset.assign_coords(texts)
        except Exception as error:
            raise StoreError(
                f"{self.path} cannot be read as a Zarr group ({_one_line(error)}); give another "
                "path, or ask for a fresh run"
            ) from error
        dataset.attrs.update(mark.get("note", {}))
        return dataset.isel(time=slice(0, mark["records"]))

    def check(self, variables: Sequence[str] = ()) -> None:
        """Read every committed chunk once: Zarr would take a lost one for unwritten points.

        Args:
            variables: Names that must be there.

        Raises:
            StoreError: If a variable or a chunk is missing or damaged.
        """
        count = self.committed()["records"]
        group = zarr.open_group(self.path, mode="r")
        arrays = dict(group.arrays())
        lost = [name for name in variables if name not in arrays]
        lost += [name for name, array in arrays.items() if not _intact(self.path, array, count)]
        if lost:
            raise StoreError(
                f"{self.path} has lost or damaged files of {', '.join(sorted(lost))}; what is left "
                "of its points can be read with xarray.open_zarr (lost ones are NaN), so give "
                "another path, or ask for a fresh run"
            )

    def _mark(self, mark: dict[str, Any]) -> None:
        replace(self.mark, json.dumps({"format": FORMAT} | mark, indent=1).encode())


def _intact(path: Path, array: zarr.Array, count: int) -> bool:
    """Whether every chunk of an array that holds committed records is there and readable."""
    dims = getattr(array.metadata, "dimension_names", None) or ()
    used = [
        min(side, count) if name == "time" else side
        for name, side in zip(dims, array.shape, strict=True)
    ]
    places = product(*(range(-(-u // c)) for u, c in zip(used, array.chunks, strict=True)))
    try:
        return all(
            (path / array.path / array.metadata.encode_chunk_key(place)).is_file()
            and array.blocks[place] is not None
            for place in places
        )
    except Exception:  # codecs raise many kinds on damaged files
        return False


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


class writing:  # noqa: N801  (reads as a statement: with writing(path): ...)
    """Turn the operating system's refusals into a sentence."""

    def __init__(self, path: Path) -> None:
        """`path` is what the sentence names."""
        self._path = path

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Translate an `OSError`; let everything else pass."""
        if not isinstance(error, OSError):
            return
        reasons = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "permission is denied",
            errno.EPERM: "permission is denied",
            errno.ENOTDIR: "a part of the path is a file, not a folder",
            errno.EEXIST: "a file of that name is in the way",
        }
        reason = reasons.get(error.errno or 0, str(error))
        raise StoreError(
            f"cannot write to {self._path}: {reason}. Points recorded so far are safe; "
            "mend this and give the same command to go on"
        ) from error


def _coordinate(name: str, coord: Any) -> tuple[tuple[str, ...], Any, dict[str, Any]]:
    if isinstance(coord, tuple):
        dims, values, *meta = coord
        dims = (dims,) if isinstance(dims, str) else tuple(dims)
        return dims, values, dict(meta[0]) if meta else {}
    return (name,), coord, {}


def _jsonable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | dict) else str(value)


def save_dataset(dataset: xr.Dataset, path: Path) -> None:
    """Write a finished data set as a Zarr group, whole or not at all.

    Raises:
        StoreError: If the file system refuses.
    """
    unfinished, old = path.with_suffix(".unfinished"), path.with_suffix(".old")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (unfinished, old):
            shutil.rmtree(leftover, ignore_errors=True)
        _portable(dataset).to_zarr(unfinished, mode="w", zarr_format=3, consolidated=False)
        if path.exists():
            path.rename(old)
        unfinished.rename(path)
        shutil.rmtree(old, ignore_errors=True)


def _portable(dataset: xr.Dataset) -> xr.Dataset:
    """With text of any length in place of fixed-width text, which Zarr 3 does not specify."""
    text = {name: v.astype(object) for name, v in dataset.variables.items() if v.dtype.kind == "U"}
    return dataset.assign({str(name): v for name, v in text.items()})


def open_dataset(path: Path) -> xr.Dataset:
    """A data set that `save_dataset` wrote, in memory.

    Raises:
        StoreError: If it is missing or damaged.
    """
    try:
        with xr.open_dataset(path, engine="zarr", consolidated=False) as dataset:
            return dataset.load()
    except Exception as error:
        raise StoreError(f"{path} cannot be read as a data set: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
