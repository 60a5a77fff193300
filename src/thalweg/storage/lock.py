"""One process at a time in a folder: a lock that the kernel takes back when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from thalweg.core.errors import require
from thalweg.storage.files import StoreError, writing

LOCK = ".lock"  # the file of a run folder that tells who is at work in it

# Where nobody can create a file nobody can write, and some network disks have no locks to give.
_NO_LOCKS = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def is_lock(file: Path) -> bool:
    """Whether a file of a folder is its lock, which anybody may have left."""
    return file.name == LOCK


def require_own(folder: Path, mark: str, begun: Callable[[Path], bool] = is_lock) -> None:
    """Refuse a folder that holds other things than runs of one kind; a new one passes.

    Args:
        folder: It need not be there.
        mark: What every folder of that kind holds, a name or a pattern of names.
        begun: Which files may be left where such a run was only begun.

    Raises:
        InputError: If it holds anything else and no mark.
        StoreError: If it cannot be looked into.
    """
    with writing(folder):
        others = folder.is_dir() and not all(map(begun, folder.iterdir()))
        own = not others or any(folder.glob(mark))
    require(own, f"{folder} is in use for other things; give a new folder, or an empty one")


@contextlib.contextmanager
def locked(file: Path, place: Path) -> Iterator[None]:
    """Hold a place alone while the body runs; folders that are missing are made.

    The lock is the operating system's (`flock`), held on a file that is deleted afterwards. One
    that a killed process left behind holds nobody up. On a read-only disk nothing is locked.

    Args:
        file: The file that is locked.
        place: What it stands for, as told to whoever comes second.

    Raises:
        StoreError: If another process or thread holds the place: who, where and since when.
    """
    with writing(place):
        made = [folder for folder in file.parents if not folder.exists()]
        lock = FileLock(file, timeout=0, thread_local=False)
        try:
            _acquire(lock, file)
        except Timeout:
            raise StoreError(
                f"{place} is in use by {_holder(file)}; wait until that is done, or give another "
                "place"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
    try:
        yield
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):
                file.unlink()  # before it is released: whoever waits for it looks again
            with contextlib.suppress(OSError):
                lock.release()
        if place in made or not place.exists():  # else what was made belongs to it by now
            for folder in made:
                with contextlib.suppress(OSError):  # those that hold nothing
                    folder.rmdir()


def _acquire(lock: FileLock, file: Path) -> None:
    for attempt in range(10):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
            break
        except FileNotFoundError:  # whoever came before has just tidied up the folder
            if attempt == 9:
                raise
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"process": os.getpid(), "host": platform.node(), "since": since}
    with contextlib.suppress(OSError):  # on a full disk the lock holds without a name
        file.write_text(json.dumps(holder))


def _holder(file: Path) -> str:
    """Who holds a lock, as far as it can be told."""
    try:
        told = json.loads(file.read_text())
        process, host, since = told["process"], told["host"], told["since"]
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
    mine = " (this one)" if (process, host) == (os.getpid(), platform.node()) else ""
    return f"process {process}{mine} on {host} since {since}"
