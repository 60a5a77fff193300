"""Compiled programs, kept from one process to the next: a folder that is bounded and expendable.

Before JAX compiles a program it asks a cache for it, by a key of all that the program depends on.
JAX's own folder either grows without end or reads a time stamp of every program at each write, and
stops for good at the first that is missing; a damaged program stays damaged. Here each program
carries a checksum over its key and itself, is written whole or not at all, and may vanish at any
time: whatever is wrong with the folder, the program is compiled as if there were none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

from thalweg.core.errors import require

SWITCH = "THALWEG_CACHE"
OFF = ("off", "0", "")
LARGEST = 256_000_000  # bytes; a diagnosis keeps about one million, a study several
LOOKS = 16  # a process looks at the folder again for every such part of the bound that it wrote
_SEAL = 32  # bytes of SHA-256


def programs_folder() -> Path | None:
    """Where programs are kept unless told otherwise; None where that is switched off.

    The environment variable THALWEG_CACHE names the folder, or is `off`; else it is
    `thalweg/compiled` in the user's folder for such things.
    """
    told = os.environ.get(SWITCH)
    if told is not None:
        return None if told in OFF else Path(told)
    home = os.path.expanduser("~")
    usual = f"{home}/Library/Caches" if sys.platform == "darwin" else f"{home}/.cache"
    named = os.environ.get("XDG_CACHE_HOME", "")
    return Path(named if os.path.isabs(named) else usual) / "thalweg" / "compiled"


def keep_programs(
    folder: Path | str | None = None,
    *,
    largest: int = LARGEST,
    tell: Callable[[str], None] = warnings.warn,
) -> Path | None:
    """Keep what JAX compiles from now on, for this process and later ones; the command does so.

    A program is some ten kilobytes; reading one takes milliseconds where compiling takes up to
    seconds. Whoever can write to the folder can have code of theirs run, so it should be your own.

    Args:
        folder: Where; by default what `programs_folder` says.
        largest: Bytes that the folder may hold; those not used for longest go first.
        tell: Called once at most, with a sentence, if the folder cannot be used.

    Returns:
        The folder. None if it is switched off or cannot be used, or if JAX has a folder already,
        as by JAX_COMPILATION_CACHE_DIR, which is left as it is.

    Raises:
        InputError: If `largest` is not positive.

    Example:
        >>> from thalweg.storage.programs import keep_programs
        >>> folder = keep_programs("compiled")  # doctest: +SKIP
    """
    require(largest > 0, f"largest came as {largest}; give a positive number of bytes")
    import jax
    from jax._src import compilation_cache  # JAX has no public door for a cache of one's own

    place = Path(folder) if folder is not None else programs_folder()
    theirs = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if place is None or theirs:
        return None
    if not hasattr(compilation_cache, "_cache"):
        tell(f"compiled programs are not kept: JAX {jax.__version__} has no place for that")
        return None
    programs = Programs(place, largest, tell)
    if not programs.usable():
        return None
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # files without a bound
    compilation_cache._cache = programs  # type: ignore[assignment]
    compilation_cache._cache_initialized = True
    return place


class Programs:
    """A cache as JAX asks for one: `get` and `put`, neither of which ever fails."""

    def __init__(
        self, folder: Path, largest: int = LARGEST, tell: Callable[[str], None] = warnings.warn
    ) -> None:
        """The cache in a folder of at most so many bytes; `tell` hears once what is wrong."""
        self._path = folder  # JAX looks at this name
        self._largest = largest
        self._tell: Callable[[str], None] | None = tell
        self._unseen = 0  # bytes that may be written before the folder is looked at
        self._writes = True

    def usable(self) -> bool:
        """Whether the folder is there, or can be made, and takes files."""
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._path):
                return True
        except OSError as error:
            self._refused(error)
            return False

    def get(self, key: str) -> bytes | None:
        """The program of a key; None if it is not there, or not as it was written."""
        file = self._file(key)
        try:
            content = file.read_bytes()
        except OSError:
            return None
        program = content[:-_SEAL]
        if content[-_SEAL:] != _seal(key, program):
            with contextlib.suppress(OSError):
                file.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(file)  # used just now
        return program

    def put(self, key: str, value: bytes) -> None:
        """Keep a program, whole or not at all, and let go of those not used for longest."""
        size = len(value) + _SEAL
        if not self._writes or size > self._largest:
            return
        partial = ""
        try:
            with tempfile.NamedTemporaryFile(
                dir=self._path, suffix=".partial", delete=False
            ) as file:
                partial = file.name
                file.write(value + _seal(key, value))
            self._make_room(size)
            os.replace(partial, self._file(key))
        except OSError as error:
            self._writes = False  # a full disk does not become emptier by trying
            self._refused(error)
            with contextlib.suppress(OSError):
                os.unlink(partial)

    def held(self) -> tuple[int, int]:
        """How many programs the folder holds, and their bytes."""
        files = self._files()
        return len(files), sum(size for _, size, _ in files)

    def clear(self) -> None:
        """Delete all programs, and nothing else that lies in the folder."""
        for _, _, file in self._files():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)
        self._unseen = 0

    def _make_room(self, size: int) -> None:
        """Let go of programs until one of a size has room; what is being written counts."""
        if size <= self._unseen:
            self._unseen -= size
            return
        files = sorted(self._files())
        total = sum(each for _, each, _ in files)
        # A tenth more than is needed, so that the next programs need not look again.
        aim = self._largest if total <= self._largest else 0.9 * self._largest
        for _, each, file in files[:-1]:
            if total <= aim:
                break
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                os.unlink(file)
            total -= each
        # Other processes write meanwhile: each of them at most this much beyond the bound.
        self._unseen = min(self._largest - total, self._largest // LOOKS)

    def _files(self) -> list[tuple[float, int, str]]:
        """When each program was last used, its bytes and its path; half-written ones as well."""
        found = []
        with contextlib.suppress(OSError), os.scandir(self._path) as entries:
            for entry in entries:
                if entry.name.endswith((".program", ".partial")):
                    with contextlib.suppress(FileNotFoundError):
                        stat = entry.stat()
                        found.append((stat.st_mtime, stat.st_size, entry.path))
        return found

    def _file(self, key: str) -> Path:
        name = hashlib.sha256(f"{_machine()}\0{key}".encode()).hexdigest()[:40]
        return self._path / f"{name}.program"

    def _refused(self, error: OSError) -> None:
        if self._tell is not None:
            self._tell(
                f"compiled programs cannot be kept in {self._path} ({error.strerror or error}), so "
                f"each start compiles them again; {SWITCH} names another folder, or is off"
            )
            self._tell = None


def _seal(key: str, program: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + program).digest()


@cache
def _machine() -> str:
    """What this processor can do: a home may be shared by machines whose programs are not."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return f"{platform.machine()} {platform.processor()}"
