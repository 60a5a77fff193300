"""What a file is by its first bytes, where that is not what its name says."""

from __future__ import annotations

import re

from thalweg.core.errors import InputError

_FIRST_BYTES = (
    (rb"\x1f\x8b", "compressed with gzip", "unpack it", ()),
    (rb"BZh\d1AY", "compressed with bzip2", "unpack it", ()),
    (rb"\xfd7zXZ", "compressed with xz", "unpack it", ()),
    (rb"PK\x03\x04.{4,60}(\[Content_Types|_rels/)", "an Excel workbook", "save a sheet as CSV", ()),
    (rb"\xd0\xcf\x11\xe0", "an Excel workbook", "save a sheet as CSV", ()),
    (rb"PK\x03\x04", "a zip archive", "unpack it, or name one of NumPy .npz", (".npz",)),
    (rb"PAR1", "in the Parquet format", "name it .parquet", (".parquet",)),
    (rb"\x93NUMPY", "one array of NumPy's", "save inputs and targets with numpy.savez", (".npz",)),
    (rb"\x89HDF", "in the HDF5 format", "save its arrays with numpy.savez", ()),
    (rb"SQLite format 3", "a database of SQLite", "save a table as CSV", ()),
    (rb"%PDF-", "a PDF document", "save its table as CSV", ()),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|\?xml)", "a web page or XML", "fetch the data", ()),
    (rb"version https://git-lfs", "a pointer of Git LFS", "fetch the file with git lfs pull", ()),
    (rb"(\xef\xbb\xbf)?\s*(\[\s*)?\{\s*\"", "JSON", "save a table as CSV", ()),
)  # fmt: skip


def require_as_named(content: bytes, name: str, ending: str) -> None:
    """Refuse a file of another kind than its ending says.

    Args:
        content: Its bytes.
        name: The beginning of the sentence.
        ending: As ".csv".

    Raises:
        InputError: What the file is, and what to do.
    """
    for first, what, do, endings in _FIRST_BYTES:
        if re.match(first, content[:200], re.IGNORECASE | re.DOTALL):
            if ending not in endings:
                raise InputError(f"{name}: the file is {what}, not a {ending[1:]} file; {do}.")
            return
