"""Where records go: memory, or a Zarr group that survives being killed at any moment.

A store on disk is two neighbours: `<name>.zarr`, the labelled arrays, and `<name>.resume`, the
state from which the run goes on. Records are written first, then the checkpoint, then the commit
mark that names both; every file is replaced atomically. A process killed between any two of
these leaves the store at its last commit mark. Every file carries a checksum or its digest stands
in another: what was damaged or lost since is told by name.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr
import zarr

from thalweg.storage import arrays, whose
from thalweg.storage.datasets import as_dataset
from thalweg.storage.files import SEAL, StoreError, replace, sealed, unsealed, writing
from thalweg.storage.lock import locked

FORMAT = 2  # raised whenever an older version would misread what a newer one writes
RECORDS_PER_CHUNK = 64
FILL = {"f": np.nan, "i": -1, "u": 0, "b": False}
LOCK = "lock"
AXES = ("seed", "time")  # the leading dimensions: lanes, and records
_OWN = re.compile(rf"{LOCK}|(commit\.json|state-\d+\.npz)(\.[\w-]+)?(\.partial)?")  # in `.resume`


_REMEDY = (
    "what is left of its points can be read with xarray.open_zarr (missing ones are NaN), so give "
    "another path, or ask for a fresh run (fresh=True)"
)


def is_native(dtype: np.dtype) -> bool:
    """Whether a type is NumPy's own, which can be kept, not one of an extension, as bfloat16 is.

    A type that was pickled equals NumPy's but is not the same object, and calls itself foreign:
    what another process has sent must be asked by its class.
    """
    return np.dtype(dtype.type).isbuiltin == 1


class OtherRunError(StoreError):
    """A store of another run than the one asked for, or written by another version."""


class Variable(NamedTuple):
    """One recorded quantity: dims are those of its store, ("seed", "time"), and then its own."""

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
        self,
        variables: Sequence[Variable],
        coords: Mapping[str, Any],
        attrs: Mapping[str, Any],
        axes: tuple[str, str] = AXES,
    ) -> None:
        """Room for every record, filled with NaN (-1 for whole numbers)."""
        self._variables, self._axes = list(variables), axes
        seeds, times = (len(_coordinate(n, coords[n])[1]) for n in axes)
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
            v.name: ((*self._axes, *v.dims), self._arrays[v.name], v.attrs) for v in self._variables
        }
        dataset = xr.Dataset(data, coords=self._coords, attrs=self._attrs)
        return dataset.isel({self._axes[1]: slice(0, self._count)})


class ZarrStore(Store):
    """Records in a Zarr group on disk, with checkpoints and an atomic commit mark."""

    def __init__(self, path: Path, axes: tuple[str, str] = AXES) -> None:
        """A store at `path`, which ends in .zarr and need not exist yet."""
        self.path, self._axes = path, axes
        self.resume = path.with_suffix(".resume")
        self._group: zarr.Group | None = None
        self._digests = whose.Digests()

    @property
    def mark(self) -> Path:
        """The commit mark."""
        return self.resume / whose.MARK

    def exists(self) -> bool:
        """Whether a store was created here to its end, damaged since or not."""
        return self.mark.exists() or any(self.resume.glob("state-*.npz"))

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else writes here as long as this is open; refused if somebody does already."""
        return locked(self.resume / LOCK, self.path)

    def foreign(self) -> bool:
        """Whether something that no store of ours has left is at its place."""
        if self.resume.is_dir():
            return not all(_OWN.fullmatch(file.name) for file in self.resume.iterdir())
        return self.resume.exists() or (self.path.exists() and not self._bare())

    def _bare(self) -> bool:
        """Whether a folder or group without content is there.

        Zarr writes in a thread of its own, which makes the group after Ctrl-C has tidied up.
        """
        files = list(self.path.iterdir()) if self.path.is_dir() else [self.path]
        bare = {"attributes": {}, "node_type": "group", "zarr_format": 3}
        try:
            return all(f.name == "zarr.json" and json.loads(f.read_bytes()) == bare for f in files)
        except (OSError, ValueError):
            return False

    def create(
        self, variables: Sequence[Variable], coords: Mapping[str, Any], attrs: Mapping[str, Any]
    ) -> None:
        """Lay out the arrays, then commit zero records; what was here is deleted.

        Killed in between, it leaves the store that was here, a damaged store or none.
        """
        with writing(self.path), zarr.config.set(arrays.WHOLE_CHUNKS):
            self.resume.mkdir(parents=True, exist_ok=True)
            for leftover in sorted(self.resume.iterdir(), reverse=True):  # the mark last
                if leftover.name != LOCK:
                    leftover.unlink()
            if self.path.exists():
                shutil.rmtree(self.path)
            seeds, times = (len(_coordinate(n, coords[n])[1]) for n in self._axes)
            group = zarr.open_group(self.path, mode="w", zarr_format=3)
            group.attrs.update({key: _jsonable(value) for key, value in attrs.items()})
            for name, coord in coords.items():
                dims, values, meta = _coordinate(name, coord)
                values = np.asarray(values)
                if values.dtype.kind == "U":  # Zarr has no settled format for a fixed length
                    values = values.astype(np.dtypes.StringDType())
                array = group.create_array(
                    name,
                    data=values,
                    dimension_names=dims,
                    fill_value=None,
                    compressors=arrays.COMPRESSORS,
                )
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
                    dimension_names=(*self._axes, *v.dims),
                    compressors=arrays.COMPRESSORS,
                )
                array.attrs.update(v.attrs)
            arrays.seal(self.path)
            self._digests = whose.Digests()
            self._mark({"records": 0, "checkpoint": None})

    def write(self, first: int, records: Mapping[str, np.ndarray]) -> None:
        with writing(self.path), zarr.config.set(arrays.WHOLE_CHUNKS):
            if self._group is None:
                self._group = zarr.open_group(self.path, mode="r+", zarr_format=3)
                arrays.clear_partials(self.path)
            records = dict(records)
            for name, values in records.items():
                array = self._group.get(name)
                if not isinstance(array, zarr.Array):  # removed while the run was going on
                    raise StoreError(self._told([f"{name}/zarr.json"]))
                records[name] = values = np.asarray(values, array.dtype)
                if first % array.chunks[1]:  # a chunk is completed that has records already
                    self._present({name: array}, first)
                try:
                    array[:, first : first + values.shape[1]] = values
                except (ValueError, RuntimeError) as error:  # of codecs, about what is there
                    raise StoreError(
                        f"{self.path / name} was damaged while the run was going on "
                        f"({arrays.in_one_line(error)}); give the same command to see how far"
                    ) from error
            self._digests.extend(first, records)

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
                    "digests": self._digests.plain(count),
                }
            )
            for old in self.resume.glob("state-*.npz"):
                if old.name != name:
                    old.unlink()
            for leftover in self.resume.glob("*.partial"):  # of a writer that was killed
                leftover.unlink()

    def committed(self) -> dict[str, Any]:
        """The commit mark.

        Raises:
            StoreError: If it is damaged.
            OtherRunError: If another version wrote the store in another format.
        """
        lost = (
            f"{self.mark} is missing or damaged; the recorded points are still in {self.path} "
            "(unwritten ones are NaN), so give another path, or ask for a fresh run (fresh=True)"
        )
        try:
            mark = json.loads(self.mark.read_bytes())
            count, written = int(mark["records"]), mark.get("format", 0)
            if SEAL in mark or written not in (0, 1):  # versions before checksums
                mark = unsealed(self.mark)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise StoreError(lost) from None  # among them that of `unsealed`
        if written != FORMAT:
            raise OtherRunError(
                f"{self.path} is of store format {written}, this version writes format {FORMAT}; "
                f"its {count} recorded points can be read with xarray.open_zarr, so give another "
                "path, or ask for a fresh run (fresh=True) to replace it"
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
            "path, or ask for a fresh run (fresh=True)"
        )

    def dataset(self) -> xr.Dataset:
        """All committed records, read lazily; none of their files is missing.

        Raises:
            StoreError: If the store is missing or damaged.
        """
        mark = self.committed()
        self._present(self._arrays(), mark["records"])
        try:
            dataset = as_dataset(self.path)
        except StoreError as error:
            self.check()  # names the file
            raise StoreError(f"{error}; {_REMEDY}") from error
        dataset.attrs.update(mark.get("note", {}))
        return dataset.isel({self._axes[1]: slice(0, mark["records"])})

    def check(self, variables: Sequence[str] = ()) -> None:
        """Read every committed chunk once, so that checksums and digests are compared.

        Args:
            variables: Names that must be there.

        Raises:
            StoreError: If a variable or a chunk is missing, damaged or another's: which file.
        """
        mark, found = self.committed(), self._arrays()
        lost = [f"{name}/zarr.json" for name in variables if name not in found]
        self._digests, bad, displaced = whose.read_through(self.path, found, mark, self._axes[1])
        self._refuse(lost + bad)
        if displaced:
            raise StoreError(
                f"{arrays.told_displaced(self.path, displaced)}; put back what was there, give "
                "another path, or ask for a fresh run (fresh=True)"
            )

    def _arrays(self) -> dict[str, zarr.Array]:
        """The arrays by name, their metadata checked."""
        try:
            group = arrays.opened(self.path)
        except StoreError as error:
            raise StoreError(f"{error}; {_REMEDY}") from error
        return dict(group.arrays()) if isinstance(group, zarr.Group) else {}

    def _present(self, found: Mapping[str, zarr.Array], count: int) -> None:
        """Refuse to go on without the files of the first `count` records."""
        files = (
            arrays.chunk_file(self.path, array, place)
            for array in found.values()
            for place in arrays.chunks(array, {self._axes[1]: count})
        )
        self._refuse([f.relative_to(self.path).as_posix() for f in files if not f.is_file()])

    def _refuse(self, lost: Sequence[str]) -> None:
        if lost:
            raise StoreError(self._told(lost))

    def _told(self, lost: Sequence[str]) -> str:
        return f"{self.path} has missing or damaged files ({arrays.file_names(lost)}); {_REMEDY}"

    def _mark(self, mark: dict[str, Any]) -> None:
        replace(self.mark, sealed({"format": FORMAT, "axis": self._axes[1]} | mark))


def _coordinate(name: str, coord: Any) -> tuple[tuple[str, ...], Any, dict[str, Any]]:
    if isinstance(coord, tuple):
        dims, values, *meta = coord
        dims = (dims,) if isinstance(dims, str) else tuple(dims)
        return dims, values, dict(meta[0]) if meta else {}
    return (name,), coord, {}


def _jsonable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | dict) else str(value)
