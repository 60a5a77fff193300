"""Files that are written whole or not at all, and JSON that carries its own checksum."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thalweg.core.errors import InputError

SEAL = "checksum"  # the key under which sealed JSON keeps the digest of everything else


_PARTIAL = re.compile(r"\.([0-9a-f]{8})-(\d+)-\d+\.partial$")  # host and process of a writer


_IN_THE_WAY = (errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY, errno.ENOTDIR)
AGAIN = "Points recorded so far are safe; mend this and give the same command to go on"


class StoreError(InputError):
    """A store that cannot be read or written, told in one sentence."""


class ReadOnlyError(StoreError):
    """A place where nothing may be written; what is there can be read."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write a file under, which takes its place when the body has written it.

    Whoever reads the file meanwhile keeps what was there, and two who write it at once do not meet.
    What writers that were killed have left in the folder is deleted.

    Raises:
        OSError: If the file system refuses; nothing is left behind, as after any other error.
    """
    # A name of its own for each writer: two processes, or threads, may write one file.
    writer = f"{_host()}-{os.getpid()}-{threading.get_native_id()}"
    partial = path.with_name(f"{path.name}.{writer}.partial")
    sweep_away(path.parent)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def sweep_away(folder: Path) -> None:
    """Delete the files in a folder whose writers were killed; what cannot be deleted stays."""
    with contextlib.suppress(OSError):
        for file in folder.glob("*.partial"):
            if (left := _PARTIAL.search(file.name)) and _is_over(file, left[1], int(left[2])):
                with contextlib.suppress(OSError):
                    file.unlink()


def _is_over(file: Path, host: str, process: int) -> bool:
    """Whether a process is gone; where that cannot be asked, whether its file rests for a day."""
    try:
        if host != _host() or os.name != "posix":  # elsewhere a signal 0 is none to be sent
            return time.time() - file.stat().st_mtime > 86_400
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is there, but another user's; or the file has just been put in its place
        return False
    return False


def _host() -> str:
    """This machine in a name of a file. Containers that share a disk differ in theirs."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: If the file system refuses; nothing is left behind.
    """
    with replacing(path) as partial:
        partial.write_bytes(content)


def digest_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of JSON data, whatever the order of keys and the white space."""
    plain = json.dumps(content, sort_keys=True, ensure_ascii=True).encode()
    return hashlib.sha256(plain).hexdigest()


def sealed(content: Mapping[str, Any]) -> bytes:
    """JSON data with its own digest as the last key, as text."""
    plain = json.loads(json.dumps(content))  # what will be read back: keys as text, no tuples
    whole = plain | {SEAL: digest_of(plain)}
    return (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def unsealed(path: Path) -> dict[str, Any]:
    """The JSON data that `sealed` made into the text of a file.

    Raises:
        OSError: If the file cannot be read.
        StoreError: If it is not what was written, or was written without a checksum.
    """
    try:
        content = json.loads(path.read_bytes())
        intact = content.pop(SEAL, None) == digest_of(content)
    except (ValueError, TypeError, AttributeError, RecursionError):
        intact = False
    if not intact:
        raise StoreError(f"{path} is damaged: its content does not match its checksum")
    return content


class writing:  # noqa: N801  (reads as a statement: with writing(path): ...)
    """Turn the operating system's refusals into a sentence."""

    def __init__(self, path: Path, again: str = AGAIN) -> None:
        """`path` is what the sentence names; how it goes on is what the sentence ends with."""
        self._path, self._again = path, again

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Translate an `OSError`; let everything else pass."""
        if not isinstance(error, OSError):
            return
        reasons = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EFBIG: "a file would become larger than this process may write",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "permission is denied",
            errno.EPERM: "permission is denied",
            errno.ENOTDIR: "a part of the path is a file, not a folder",
            errno.EEXIST: "a file of that name is in the way",
            errno.EISDIR: "a folder of that name is in the way",
            errno.ENOTEMPTY: "a folder of that name is in the way",
            errno.ENOENT: "the folder was removed meanwhile, or none can be made there",
            errno.ELOOP: "a symbolic link of the path leads back to itself",
        }
        reason = reasons.get(error.errno or 0, error.strerror or str(error))
        at = error.filename2 or error.filename
        if error.errno in _IN_THE_WAY and at and Path(str(at)) != self._path:
            reason += f" ({at})"
        forbidden = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
        raise (ReadOnlyError if forbidden else StoreError)(
            f"cannot write to {self._path}: {reason}. {self._again}"
        ) from error
