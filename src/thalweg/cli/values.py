"""What an option takes on the command line, read in our words."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any


class RefusedValueError(Exception):
    """What an option cannot take, in a sentence.

    No `ValueError`: those Typer tells in words of its own.
    """


def reader_of(kind: Any, flag: str) -> Callable[[Any], Any] | None:
    """What reads the values of an option, of its type; None where any text is one.

    Args:
        kind: The type, as `int | None`.
        flag: The option, as "--seeds".
    """
    kinds = [k for k in (typing.get_args(kind) or (kind,)) if k is not type(None)]
    read = READERS.get(kinds[0]) if len(kinds) == 1 else None
    if read is None:
        return None

    def reader(value: Any) -> Any:
        return read(value, flag)

    reader.__name__ = kinds[0].__name__.lower()  # which the help shows
    return reader


def _whole(value: Any, flag: str) -> int:
    try:
        return int(value)
    except (ValueError, OverflowError):
        said = f"{flag} came as {value!r}; give a whole number, as 100"
        raise RefusedValueError(said) from None


def _number(value: Any, flag: str) -> float:
    try:
        number = float(value)
    except ValueError:
        said = f"{flag} came as {value!r}; give a number, as 0.1 or 1e-3"
        raise RefusedValueError(said) from None
    if math.isinf(number) and "inf" not in str(value).lower():
        raise RefusedValueError(f"{flag} came as {value}, beyond 1.8e308, the largest; give less")
    return number


def _path(value: Any, flag: str) -> Path:
    if not str(value).strip():
        raise RefusedValueError(f"{flag} came without a path; give one, or leave {flag} out")
    return Path(value)


READERS: dict[Any, Callable[[Any, str], Any]] = {int: _whole, float: _number, Path: _path}
