"""How large a file becomes when it is read, from its headers alone."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from thalweg.core.errors import InputError
from thalweg.core.memory import require_memory

TEXT = 3  # times its size: the text itself, its columns as text, its columns as numbers


def require_unfolded(place: Path) -> None:
    """Refuse a file that does not fit into memory, before it is read.

    Args:
        place: A file ending in .npz, .parquet, or one of text.

    Raises:
        InputError: If it would need more memory than there is, or an array of an archive claims
            to be larger than the archive says.
    """
    size = {".npz": _archive, ".parquet": _parquet}.get(place.suffix.lower(), _text)(place)
    require_memory(
        size, f"{str(place)!r}, unfolded,", "give a file with fewer rows or columns in it"
    )


def _text(place: Path) -> int:
    return TEXT * place.stat().st_size


def _archive(place: Path) -> int:
    """The arrays of an archive; what is damaged in another way is told by whoever reads it."""
    total = place.stat().st_size
    try:
        with zipfile.ZipFile(place) as archive:
            for member in archive.infolist():
                total += max(member.file_size, _claimed(archive, member, place))
    except InputError:
        raise
    except Exception:  # zipfile and NumPy raise many kinds on damaged files
        pass
    return total


def _claimed(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path) -> int:
    """Bytes of an array by its own header, 0 if there is none."""
    if not member.filename.endswith(".npy"):
        return 0
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            return 0
        shape, _, dtype = readers[version](file)
    count = dtype.itemsize * math.prod(shape)
    if not dtype.hasobject and count > member.file_size:
        raise InputError(
            f"{str(place)!r}: the array {member.filename} claims {count} bytes and the archive "
            f"holds {member.file_size} for it; the file is damaged"
        )
    return count


def _parquet(place: Path) -> int:
    """Eight bytes for a value; what cannot be read is told by whoever reads it."""
    try:
        import pyarrow.parquet as parquet

        told = parquet.read_metadata(place)
        return place.stat().st_size + 8 * int(told.num_rows) * int(told.num_columns)
    except Exception:  # not installed, or one of many kinds on damaged files
        return place.stat().st_size
