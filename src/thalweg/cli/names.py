"""The names of all lists, kept between commands: a shell that completes a word waits for them.

They are read off the sources of the package, which takes a second for all lists. What was read lies
beside the compiled programs and holds while no source has another size or time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from thalweg.core.errors import InputError
from thalweg.storage.files import replace, sealed, unsealed
from thalweg.storage.programs import programs_folder

FILE = "names.json"
PACKAGE = Path(__file__).parents[1]


def names(lists: Sequence[str], read: Callable[[str], list[str]]) -> dict[str, list[str]]:
    """The names of each of these lists: as they were kept, or read now and kept.

    Args:
        lists: Which.
        read: Reads the names of one.
    """
    folder = programs_folder()
    if folder is None:
        return {of: read(of) for of in lists}
    sources = _sources()
    kept = _kept(folder / FILE, sources)
    missing = {of: read(of) for of in lists if of not in kept}
    if missing:
        # Of two processes that write at once one is lost, and what it read is read again.
        content = sealed({"sources": sources, "lists": kept | missing})
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(folder / FILE, content)
    return {of: missing[of] if of in missing else kept[of] for of in lists}


def _kept(file: Path, sources: str) -> dict[str, Any]:
    """What was kept from these sources; nothing where the file is missing or damaged."""
    with contextlib.suppress(OSError, InputError):
        content = unsealed(file)
        if content.get("sources") == sources:
            return dict(content["lists"])
    return {}


def _sources() -> str:
    """A digest of where the sources are, and of the size and time of each."""
    told = hashlib.sha256(str(PACKAGE).encode())
    for path, stat in sorted(_files(str(PACKAGE)), key=lambda found: found[0]):
        told.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return told.hexdigest()


def _files(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                yield entry.path, entry.stat()
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from _files(entry.path)
