"""Whose records are: a checksum says that a chunk is intact, not that it was written there.

The commit mark of a run carries a digest of every recorded array, over its values in the order of
records, so that it can be extended without reading what is there. What is written once has its
digest in the seal of the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from thalweg.storage import arrays

MARK = "commit.json"  # beside a run, in `<name>.resume`: how many records are final, and digests


class Digests:
    """SHA-256 of recorded arrays, extended record by record."""

    def __init__(self, count: int = 0, hashes: Mapping[str, Any] | None = None) -> None:
        """Those of `count` records, by name of the array."""
        self.count, self._hashes = count, dict(hashes or {})

    def extend(self, first: int, records: Mapping[str, np.ndarray]) -> None:
        """Add records (seed, record, ...) that begin at position `first`."""
        if first != self.count:  # something was written twice, or left out
            self.count = -1
            return
        for name, values in records.items():
            self._hashes.setdefault(name, hashlib.sha256()).update(_in_order(values))
            self.count = first + values.shape[1]

    def plain(self, count: int) -> dict[str, str]:
        """The digests of so many records by name; nothing if there are others."""
        return {n: h.hexdigest() for n, h in self._hashes.items()} if count == self.count else {}


def read_through(
    path: Path, found: Mapping[str, zarr.Array], mark: Mapping[str, Any], axis: str
) -> tuple[Digests, list[str], list[str]]:
    """Every chunk of the records that a commit mark names, read once.

    Args:
        path: The Zarr folder.
        found: Its arrays by name.
        mark: The commit mark; one of an older version has no digests.
        axis: The dimension of records.

    Returns:
        The digests, to be extended; the files that are missing or damaged; the arrays that hold
        other values than were recorded, though all their files are intact.
    """
    count, known = mark["records"], mark.get("digests", {})
    hashes: dict[str, Any] = {}
    lost: list[str] = []
    displaced: list[str] = []
    sealed = arrays.sealed_chunks(path)
    for name, array in found.items():
        same = sealed.get(name, False)  # as they were, and so intact: read once
        with contextlib.suppress(Exception):  # codecs raise many kinds on damaged files
            if name in known:
                hashes[name], step = hashlib.sha256(), array.chunks[1]
                for first in range(0, count, step):
                    values = np.asarray(array[:, first : min(first + step, count)])
                    hashes[name].update(_in_order(values))
                same = hashes[name].hexdigest() == known[name] and sealed.get(name, True)
        if not same:  # a missing file reads as if nothing had been written
            bad = arrays.lost_chunks(path, array, arrays.chunks(array, {axis: count}))
            lost += bad
            displaced += [name] if (name in known or name in sealed) and not bad else []
    return Digests(count if known or not count else -1, hashes), lost, displaced


def _in_order(values: np.ndarray) -> bytes:
    """Values (seed, record, ...) in the order of records."""
    return np.ascontiguousarray(np.moveaxis(values, 1, 0)).tobytes()
