"""NumPy's archives, held against their own checksums."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO


def damaged_part(archive: Path | IO[bytes]) -> str | None:
    """The first part of a zip archive that is not as its checksum says, None if there is none.

    NumPy reads as many bytes as the header of an array asks for, and a checksum is compared where a
    part is read to its end: a header that a flipped bit makes smaller passes unseen.

    Raises:
        Exception: Of many kinds, if the archive cannot be read at all.
    """
    with zipfile.ZipFile(archive) as parts:
        return parts.testzip()
