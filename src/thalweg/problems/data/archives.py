"""Examples from NumPy's `.npz` archives."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.core.archives import damaged_part
from thalweg.core.errors import InputError, require
from thalweg.problems.data.tables import no_such
from thalweg.problems.data.text_labels import one_line, shortlist

KEY_PAIRS = (("x", "y"), ("X", "y"), ("inputs", "targets"))


def read_archive(
    content: bytes,
    name: str,
    target: str | Sequence[str] | None,
    inputs: str | Sequence[str] | None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs and targets of an archive, by their keys or by the usual ones."""
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # NumPy and zipfile raise many kinds on damaged files
        raise InputError(
            f"{name}: not a NumPy archive ({one_line(error)}); save it with np.savez."
        ) from None
    require(
        isinstance(archive, np.lib.npyio.NpzFile),
        f"{name}: one bare array; save inputs and targets by np.savez(path, x=, y=).",
    )
    try:
        damaged = damaged_part(io.BytesIO(content))
    except Exception:  # many kinds; whoever reads the array tells which
        damaged = None
    require(
        damaged is None,
        f"{name}: {damaged} is not as its checksum says, so that the file is damaged; save it "
        "again, or put it back from a copy.",
    )
    keys = archive.files
    holds = f"it holds {shortlist(keys)}"
    pairs = [pair for pair in KEY_PAIRS if set(pair) <= set(keys)]
    found = pairs[0] if len(pairs) == 1 else (None, None)
    x_key = _key(inputs, keys, name) or found[0] or _only(keys, [x for x, _ in KEY_PAIRS])
    y_key = _key(target, keys, name) or found[1] or _only(keys, [y for _, y in KEY_PAIRS])
    if x_key is None or y_key is None:
        raise InputError(
            f"{name}: {holds}; name one pair x and y, X and y, or inputs and targets, "
            "or give inputs= and target=."
        )
    require(x_key != y_key, f"{name}: inputs and target are both {x_key!r}; {holds}.")
    return _member(archive, x_key, name), _member(archive, y_key, name)


def _key(wanted: str | Sequence[str] | None, keys: list[str], name: str) -> str | None:
    if wanted is None:
        return None
    if not isinstance(wanted, str):
        require(len(wanted) == 1, f"{name}: give one array's key, not {len(wanted)}.")
        wanted = wanted[0]
    require(wanted in keys, f"{name}: {no_such(wanted, keys, 'array')}")
    return wanted


def _only(keys: list[str], allowed: Iterable[str]) -> str | None:
    present = set(allowed) & set(keys)
    return present.pop() if len(present) == 1 else None


def _member(archive: Any, key: str, name: str) -> NDArray[Any]:
    try:
        array = archive[key]
    except Exception as error:  # pickled objects, damaged members, unknown compression
        raise InputError(
            f"{name}: array {key!r} cannot be read ({one_line(error)}); save plain arrays."
        ) from None
    require(
        isinstance(array, np.ndarray),
        f"{name}: {key!r} is not an array; save plain arrays with np.savez.",
    )
    return array
