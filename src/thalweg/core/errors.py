"""Errors that a user can act on: one sentence saying what came, what is allowed, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from thalweg.core.aliases import ALIASES, plainly

T = TypeVar("T")


class InputError(ValueError):
    """Bad input, told in one sentence; the command line prints it and exits with code 2."""


def choose(name: str, table: Mapping[str, T], what: str) -> T:
    """Look a name up in a registry, by its key or by what else people type for it.

    Args:
        name: The name the user gave.
        table: The registry.
        what: What the registry holds, in the singular ("activation").

    Raises:
        InputError: If the name is unknown, or may mean several; the sentence names the nearest
            right one, or all of these.
    """
    return table[key_of(name, table, what)]


def key_of(name: str, keys: Collection[str], what: str) -> str:
    """The key that a name means: itself, or that of an alias; case and underscores are no matter.

    Args:
        name: The name the user gave.
        keys: All there are.
        what: What they are, in the singular, as in `thalweg.core.aliases`.

    Raises:
        InputError: As of `choose`.
    """
    if name in keys:
        return name
    if isinstance(name, str):
        plain = plainly(name)
        means = [key for key in ALIASES.get(what, {}).get(plain, (plain,)) if key in keys]
        if len(means) > 1:
            raise InputError(f"{what} {name!r} may be {' or '.join(means)}; give one of these.")
        if means:
            return means[0]
    raise InputError(unknown(name, keys, what))


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
    """The first line of another's error, to be told within a sentence; what it announces, too."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        return f"{lines[0]} {lines[1].lstrip('*- ').rstrip(';,')}"
    return lines[0] if lines else type(error).__name__


def require(condition: bool, sentence: str) -> None:
    """Raise `InputError(sentence)` unless the condition holds."""
    if not condition:
        raise InputError(sentence)
