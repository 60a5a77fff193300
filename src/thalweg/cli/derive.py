"""A command from a function: its options are the parameters, its help is the docstring."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

from thalweg.core.errors import InputError


def parameters_of(function: Callable[..., Any], argument: str) -> list[inspect.Parameter]:
    """The function's parameters as Typer reads them: one argument, the rest options.

    Args:
        function: A public function with type hints and a Google-style docstring.
        argument: The parameter that needs no flag.

    Raises:
        InputError: If a parameter has no line in the docstring.
    """
    hints = typing.get_type_hints(function)
    told = argument_help(function)
    derived = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in told:
            raise InputError(f"{function.__name__}: the docstring says nothing of {name}")
        kind: Any = typer.Argument if name == argument else typer.Option
        hint: Any = Annotated[hints[name], kind(help=told[name])]
        derived.append(
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD
                if name == argument
                else inspect.Parameter.KEYWORD_ONLY,
                default=parameter.default,
                annotation=hint,
            )
        )
    return derived


def summary_of(function: Callable[..., Any]) -> str:
    """The docstring up to its first section."""
    text = inspect.getdoc(function) or ""
    return re.split(r"\n(?:Args|Returns|Raises):", text)[0].strip()


def argument_help(function: Callable[..., Any]) -> dict[str, str]:
    """The `Args` section of a docstring, one text per parameter."""
    text = inspect.getdoc(function) or ""
    found = re.search(r"\nArgs:\n(.*?)(?:\n\S|\Z)", text, re.DOTALL)
    if found is None:
        return {}
    told: dict[str, str] = {}
    name = ""
    for line in found.group(1).splitlines():
        start = re.match(r" {4}(\w+): (.*)", line)
        if start:
            name = start.group(1)
            told[name] = start.group(2)
        elif name and line.strip():
            told[name] += " " + line.strip()
    return told
