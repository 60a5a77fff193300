"""Where in a traceback a user's own code is: what failed there is theirs to mend."""

from __future__ import annotations

import functools
import itertools
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

_ROOTS = (Path(__file__).resolve().parents[1], Path(sysconfig.get_path("stdlib")).resolve())


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
