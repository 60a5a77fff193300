"""Errors that a user can act on: one sentence saying what came, what is allowed, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """Bad input, told in one sentence; the command line prints it and exits with code 2."""


def choose(name: str, table: Mapping[str, T], what: str) -> T:
    """Look a name up in a registry.

    Args:
        name: The name the user gave.
        table: The registry.
        what: What the registry holds, in the singular ("activation").

    Raises:
        InputError: If the name is unknown; the sentence names the nearest right one.
    """
    if name in table:
        return table[name]
    raise InputError(unknown(name, table, what))


def unknown(name: str, allowed: Iterable[str], what: str) -> str:
    """The sentence that says a name is unknown, with the nearest right one and all allowed ones.

    Of a name that is known there is nothing to say, and looking for the nearest would take long.
    """
    allowed = list(allowed)
    if name in allowed:
        return ""
    near = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}.{hint} Allowed: {', '.join(allowed)}."


def reason(error: Exception) -> str:
    """The first line of another's error, to be told within a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def require(condition: bool, sentence: str) -> None:
    """Raise `InputError(sentence)` unless the condition holds."""
    if not condition:
        raise InputError(sentence)
