"""Oracles from a line of text, as the command line takes them: `label_noise(0.1, law=sign)`."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import typing
from collections.abc import Callable
from typing import Any

from thalweg.core.errors import InputError, require, unknown
from thalweg.oracles.oracle import Oracle

FORM = "write a name with its numbers, as label_noise(0.1) or minibatch(32, replace=True)"


def as_oracle(given: Oracle | str) -> Oracle:
    """An oracle as it is, or the one that a text names.

    A text calls a function of `thalweg.oracles` by its name, with `-` for `_` if one likes. What
    stands in brackets are numbers, true and false, words, and other oracles, as
    `surrogate(minibatch(32), scale=0.5)`. Nothing else is evaluated.

    Raises:
        InputError: If the text is not of that form, the function is unknown, or it refuses what
            stands in brackets.
    """
    if isinstance(given, Oracle):
        return given
    try:
        tree = ast.parse(re.sub(r"(?<=[a-z])-(?=[a-z])", "_", given.strip()), mode="eval").body
        return _made(tree)
    except InputError as error:
        raise InputError(f"oracle={given!r}: {error}") from error
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise InputError(f"oracle={given!r} cannot be read; {FORM}") from None


@functools.cache
def makers() -> dict[str, Callable[..., Oracle]]:
    """The functions of the room that make oracles, by name."""
    from thalweg import oracles as room

    functions = {name: getattr(room, name) for name in room.__all__}
    return {
        name: function
        for name, function in functions.items()
        if inspect.isfunction(function)
        and issubclass(typing.get_type_hints(function).get("return", object), Oracle)
    }


def _made(tree: ast.expr) -> Oracle:
    """The oracle that an expression calls for."""
    called = tree.func if isinstance(tree, ast.Call) else tree
    if not isinstance(called, ast.Name):
        raise ValueError
    require(called.id in makers(), unknown(called.id, makers(), "oracle"))
    maker = makers()[called.id]
    given: list[Any] = []
    named: dict[str, Any] = {}
    if isinstance(tree, ast.Call):
        given = [_value(each) for each in tree.args]
        named = {each.arg or "**": _value(each.value) for each in tree.keywords}
    takes = inspect.signature(maker)
    try:
        takes.bind(*given, **named)
    except TypeError:
        told = ", ".join(str(p.replace(annotation=p.empty)) for p in takes.parameters.values())
        raise InputError(f"{called.id} takes ({told})") from None
    try:
        return maker(*given, **named)
    except InputError as error:
        # Its own argument is meant, not the option of the command that has the same name.
        names = "|".join(map(re.escape, takes.parameters))
        words = re.sub(rf"\b({names})\b", lambda m: m[0].replace("_", " "), str(error))
        raise InputError(words) from error


def _value(tree: ast.expr) -> Any:
    """A number, a truth value, a word or an oracle."""
    if isinstance(tree, ast.Call) or (isinstance(tree, ast.Name) and tree.id in makers()):
        return _made(tree)
    if isinstance(tree, ast.Name):
        return {"true": True, "false": False}.get(tree.id, tree.id)
    return ast.literal_eval(tree)
