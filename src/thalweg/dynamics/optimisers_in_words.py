"""Optimisers from a line of text: `adam`, `adam(0.001)`, `momentum(0.1, momentum=0.95)`."""

from __future__ import annotations

import ast
import re
from typing import Any, NamedTuple

from thalweg.core.errors import InputError, require

FORM = "write a name with its numbers, as adam(0.001) or momentum(0.1, momentum=0.95)"
_WORDS = re.compile(r"\s*(?P<name>[^(),=]+?)\s*(?:\((?P<given>.*)\))?\s*", re.DOTALL)


class Named(NamedTuple):
    """An optimiser by name.

    Attributes:
        name: As it was typed.
        learning_rate: What came first in the brackets; None where nothing did.
        parameters: What came by name.
    """

    name: str
    learning_rate: float | None
    parameters: dict[str, Any]


def named_in(text: str) -> Named:
    """The name and the numbers in a text; nothing else is evaluated.

    Args:
        text: A name, with brackets behind it the learning rate and parameters by name.

    Raises:
        InputError: If it is not of that form.

    Examples:
        >>> from thalweg.dynamics.optimisers_in_words import named_in
        >>> named_in("momentum(0.1, momentum=0.95)")
        Named(name='momentum', learning_rate=0.1, parameters={'momentum': 0.95})
    """
    found = _WORDS.fullmatch(text)
    if found is None:
        raise InputError(f"the optimiser {text!r} cannot be read; {FORM}")
    try:
        called = ast.parse(f"f({found['given'] or ''})", mode="eval").body
        assert isinstance(called, ast.Call)
        given = [ast.literal_eval(each) for each in called.args]
        named = {str(each.arg): ast.literal_eval(each.value) for each in called.keywords}
        assert len(named) == len(called.keywords)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, AssertionError):
        raise InputError(f"the optimiser {text!r} cannot be read; {FORM}") from None
    if "learning_rate" in named:
        given.append(named.pop("learning_rate"))
    require(len(given) <= 1, f"the optimiser {text!r} has more than one learning rate; {FORM}")
    require("None" not in named, f"the optimiser {text!r} cannot be read; {FORM}")
    return Named(found["name"], given[0] if given else None, named)


def split(text: str) -> list[str]:
    """The optimisers of a list with commas, those in brackets left alone.

    Examples:
        >>> from thalweg.dynamics.optimisers_in_words import split
        >>> split("gd, momentum(0.1, momentum=0.95),adam")
        ['gd', 'momentum(0.1, momentum=0.95)', 'adam']
    """
    parts, depth = [""], 0
    for c in text:
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts]
