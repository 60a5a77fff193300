"""Where in a traceback a user's own code is: what failed there is theirs to mend."""

from __future__ import annotations

import functools
import inspect
import itertools
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

_ROOTS = (Path(__file__).resolve().parents[1], Path(sysconfig.get_path("stdlib")).resolve())
# What compiled programs call back fails with no traceback but one in words.
_CALLED_BACK = re.compile("error calling callback|^Above is the stack outside of JIT")
_STEP = re.compile(
    r'^ *File "(?P<file>[^"\n]+)", line (?P<line>\d+).*\n(?: {4,}.*\n)*', re.MULTILINE
)


def own_place(error: BaseException) -> tuple[str, int] | None:
    """File and line of the last step in a user's code on the way to an error, or None.

    Of an error that was raised from another, the other's, if it went through theirs.

    Examples:
        >>> from thalweg.core.tracebacks import own_place
        >>> try:
        ...     {}["missing"]
        ... except KeyError as error:
        ...     own_place(error)[1]
        2
    """
    found, seen = None, set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        places = [
            (step.tb_frame.f_code.co_filename, step.tb_lineno)
            for step in _steps(link.__traceback__)
            if _is_own(step.tb_frame.f_code.co_filename)
        ]
        found = places[-1] if places else found
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return found


def failed_callback(error: BaseException) -> str | None:
    """What a compiled program called back and failed, in a sentence; None of any other error.

    So a user's `jax.pure_callback`, `jax.debug.callback` and `equinox.error_if` fail: the program
    is stopped, and what they said is in words among those of the runtime, as is the line.

    Examples:
        >>> import jax
        >>> from thalweg.core.tracebacks import failed_callback
        >>> def host(x):
        ...     raise OSError("the sensor is off")
        >>> try:
        ...     float(jax.jit(lambda x: jax.pure_callback(host, x, x))(1.0))
        ... except Exception as error:
        ...     failed_callback(error)
        'a function that the compiled program calls failed as it ran: OSError: the sensor is off'
    """
    text = f"{error}\n"
    if isinstance(error, KeyboardInterrupt) or not _CALLED_BACK.search(text):
        return None
    steps = list(_STEP.finditer(text))
    words = text[steps[-1].end() :] if steps else text
    what = next((line.strip() for line in words.splitlines() if line.strip()), "")
    what = re.sub(r"^(\w+\.)*_?(?=[A-Z])", "", what)
    stopped = what.startswith("EquinoxRuntimeError")
    place = (_place_in(_told_by_equinox()) if stopped else None) or _place_in(text)
    if place is None:
        return f"a function that the compiled program calls failed as it ran: {what}"
    return f"{told_place(*place)}: {what}"


def _place_in(text: str) -> tuple[str, int] | None:
    """The last step in a user's code behind ours; a script that calls us stands before."""
    place = None
    for step in _STEP.finditer(text):
        if Path(step["file"]).is_relative_to(_ROOTS[0]):
            place = None
        elif _is_own(step["file"]):
            place = step["file"], int(step["line"])
    return place


def _told_by_equinox() -> str:
    """Where the `error_if` that fired last was traced, which only Equinox remembers."""
    told = getattr(sys.modules.get("equinox._jit"), "last_error_info", None) or ("", ())
    return "".join(piece for piece in reversed(told[1]) if isinstance(piece, str))


def is_interruption(error: BaseException) -> bool:
    """Whether an error is Ctrl-C, also where it came in what a compiled program called back."""
    return isinstance(error, KeyboardInterrupt) or (
        re.search("^KeyboardInterrupt", str(error), re.MULTILINE) is not None
        and failed_callback(error) is not None
    )


def told_place(file: str, line: int | None) -> str:
    """File and line in words, the file as seen from the folder that one works in."""
    if Path(file).is_absolute() and Path(file).is_relative_to(Path.cwd()):
        file = str(Path(file).relative_to(Path.cwd()))
    return f"{file}, line {line}" if line else file


def told_function(function: Any) -> str:
    """A function of a user's in words: its name, and where it stands if that is known.

    Examples:
        >>> from thalweg.core.tracebacks import told_function
        >>> told_function(len)
        'len'
    """
    plain = inspect.unwrap(getattr(function, "__func__", function))
    name = str(getattr(plain, "__qualname__", type(plain).__name__)).rpartition("<locals>.")[2]
    code = getattr(plain, "__code__", None)
    if code is None:
        return name
    return f"{name} ({told_place(code.co_filename, code.co_firstlineno)})"


def without_ours(error: BaseException) -> None:
    """Take our steps out of the traceback of an error that a user's code raised, but the first.

    An error of ours keeps them all.
    """
    steps = list(_steps(error.__traceback__))
    own = [n for n, step in enumerate(steps) if _is_own(step.tb_frame.f_code.co_filename)]
    if not own:
        return
    theirs = [step for step in steps[1 : own[-1]] if _is_own(step.tb_frame.f_code.co_filename)]
    kept = [steps[0], *theirs, *steps[own[-1] :]]
    for step, after in itertools.pairwise(kept):
        step.tb_next = after


def _steps(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


@functools.cache
def _is_own(filename: str) -> bool:
    """Whether a file is neither ours nor of Python and what is installed beside it."""
    if filename.startswith("<"):  # made as a program runs; of these a notebook's cells are theirs
        return filename.startswith(("<ipython", "<stdin"))
    path = Path(filename).resolve()
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return not installed and not any(path.is_relative_to(root) for root in _ROOTS)
