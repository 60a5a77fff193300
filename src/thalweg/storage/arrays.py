"""Zarr folders in which every damaged or missing file is noticed, and that can run no code.

Each chunk ends in a checksum (Zarr's crc32c codec), which every reader checks. The metadata of all
arrays, and the chunks that are there by then, are sealed by digests in the attributes of the root:
an intact chunk in the place of another is noticed, too. Before Zarr opens anything, its
`zarr.json` are read here: format 3, plain types and plain codecs only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from thalweg.storage.files import StoreError, digest_of

COMPRESSORS = (ZstdCodec(level=0), Crc32cCodec())
# A chunk that was written is a file, whatever it holds: so a missing file is a lost chunk.
WHOLE_CHUNKS = {"array.write_empty_chunks": True}
SEAL = "thalweg_seal"
_CODECS = {"bytes", "vlen-utf8", "zstd", "crc32c"}
_TYPES = re.compile(r"bool|u?int(8|16|32|64)|b?float(16|32|64)|complex(64|128)|string")
_METADATA = "zarr.json"


def seal(path: Path) -> None:
    """Put digests of a Zarr folder into the attributes of its root.

    Of all metadata, and of the chunks of every array that has some: these are final from now on.
    """
    file = path / _METADATA
    root = json.loads(file.read_bytes())
    arrays = {
        child.parent.name: _digest(child.read_bytes())
        for child in sorted(path.glob(f"*/{_METADATA}"))
    }
    written = {name: told for name in arrays if (told := _content(path / name))}
    root["attributes"].pop(SEAL, None)
    seals = {"root": digest_of(root), "arrays": arrays, "chunks": written}
    root["attributes"][SEAL] = seals
    file.write_text(json.dumps(root, indent=1))


def opened(path: Path) -> zarr.Group | zarr.Array:
    """A sealed Zarr folder, for reading.

    Raises:
        StoreError: If metadata are missing or damaged, were never sealed, or ask for a type or a
            codec that is not among the few which are written here.
    """
    for name in _intact_arrays(path):
        _read_metadata(path / name / _METADATA, ("array",))
    try:
        return zarr.open(path, mode="r", zarr_format=3, use_consolidated=False)
    except Exception as error:  # Zarr raises many kinds
        raise StoreError(
            f"{path} cannot be read as a Zarr folder ({in_one_line(error)})"
        ) from error


def lost_chunks(path: Path, array: zarr.Array, places: Iterable[tuple[int, ...]]) -> list[str]:
    """Files of chunks that are missing or do not match their checksum, relative to the folder.

    Args:
        path: The Zarr folder.
        array: It, or one of its arrays.
        places: Chunks that must be there.
    """
    return [
        chunk.relative_to(path).as_posix()
        for place in places
        if not _readable(chunk := chunk_file(path, array, place), array, place)
    ]


def clear_partials(path: Path) -> None:
    """Delete what a Zarr that was killed has left; for who holds the lock of the folder."""
    for leftover in path.rglob("*.partial"):
        leftover.unlink()


def sealed_chunks(path: Path) -> dict[str, bool]:
    """Whether the chunks of an array are those that were sealed, for arrays that had some."""
    seals = json.loads((path / _METADATA).read_bytes())["attributes"][SEAL]
    written = seals.get("chunks", {})  # folders of older versions have none
    return {name: _content(path / name) == told for name, told in written.items()}


def told_displaced(path: Path, names: Iterable[str]) -> str:
    """What is to be said of arrays that hold other chunks than were written."""
    files = file_names(f"{name}/c" for name in names)
    return f"{path} holds intact files that were not written there ({files})"


def chunk_file(path: Path, array: zarr.Array, place: tuple[int, ...]) -> Path:
    """Where a chunk lies."""
    return path / array.path / array.metadata.encode_chunk_key(place)


def chunks(array: zarr.Array, used: Mapping[str, int] | None = None) -> Iterator[tuple[int, ...]]:
    """The places of all chunks of an array, as far as dimensions are used."""
    dims = getattr(array.metadata, "dimension_names", None) or ("",) * array.ndim
    sides = [min(n, (used or {}).get(d, n)) for d, n in zip(dims, array.shape, strict=True)]
    return product(*(range(-(-n // c)) for n, c in zip(sides, array.chunks, strict=True)))


def file_names(files: Iterable[str]) -> str:
    """Names of files, a few of them."""
    files = sorted(files)
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return ", ".join(files[:3]) + more


def in_one_line(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _readable(file: Path, array: zarr.Array, place: tuple[int, ...]) -> bool:
    try:
        return file.is_file() and array.blocks[place] is not None
    except Exception:  # codecs raise many kinds on damaged files
        return False


def _intact_arrays(path: Path) -> list[str]:
    """The names of all arrays in a sealed folder."""
    root = _read_metadata(path / _METADATA)
    try:
        seals = root["attributes"].pop(SEAL)
        whole, arrays = seals["root"], dict(seals["arrays"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StoreError(
            f"{path / _METADATA} has no checksums: another version of thalweg wrote it, or "
            "something else did"
        ) from None
    there = {file.parent.name: file for file in path.glob(f"*/{_METADATA}")}
    bad = [] if whole == digest_of(root) else [_METADATA]
    for name in sorted({*arrays, *there}):
        if name not in there or _digest_of_file(there[name]) != arrays.get(name):
            bad.append(f"{name}/{_METADATA}")
    if bad:
        raise StoreError(f"{path} has missing or damaged files ({file_names(bad)})")
    return list(arrays)


def _read_metadata(file: Path, kinds: tuple[str, ...] = ("array", "group")) -> dict[str, Any]:
    """A `zarr.json`, refused unless Zarr can open it without running anything it brings."""
    try:
        content = json.loads(file.read_bytes())
        form, kind = content["zarr_format"], content["node_type"]
        array = kinds[kinds.index(kind)] == "array"
        codecs = [codec["name"] for codec in content["codecs"]] if array else []
        dtype = str(content["data_type"]) if array else "bool"
    except FileNotFoundError:
        raise StoreError(f"{file} is missing, so nothing can be read beside it") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise StoreError(f"{file} is damaged: it does not describe a Zarr array or group") from None
    strange = [str(name) for name in codecs if name not in _CODECS]
    strange += [] if _TYPES.fullmatch(dtype) else [dtype]
    strange += [] if form == 3 else [f"Zarr format {form}"]
    if strange:
        raise StoreError(
            f"{file} asks for {', '.join(strange)}, which is not opened here: thalweg writes and "
            "reads Zarr format 3 with plain numbers and text"
        )
    return content


def _content(folder: Path) -> str:
    """A digest of the chunks of an array, and where each lies; empty if there are none."""
    # Files that the system puts beside them, as .DS_Store, are none of ours.
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and (file.name.isdigit() or file.name == "c")
    )
    each = {file.relative_to(folder).as_posix(): _digest_of_file(file) for file in files}
    return digest_of(each) if each else ""


def _digest_of_file(file: Path) -> str:
    try:
        return _digest(file.read_bytes())
    except OSError:  # a folder in its place, or a bad disk
        return ""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
