"""A command from a function: its options are the parameters, its help is the docstring."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from thalweg.cli.catalogue import completing
from thalweg.cli.group import Command
from thalweg.cli.values import reader_of
from thalweg.core.errors import InputError

QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""  # as repr() quotes


class DerivedCommand(Command):
    """A command that is made of a function when it is called or its help is asked for, not before.

    Its callback makes the function, as `taking` gives it; the help it is registered with is the
    line in the list of commands.
    """

    _derived = False

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """The context of a call or of its help, for which the function must be known."""
        self.derive()
        return super().make_context(*args, **kwargs)

    def derive(self) -> None:
        """Take over the function, its parameters and its whole help."""
        if self._derived or self.callback is None:
            return
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command()(self.callback())
        made = typer.main.get_command(single)
        self.callback, self.params, self.help = made.callback, made.params, made.help
        self._derived = True


def taking(
    parameters: list[inspect.Parameter], summary: str, call: Callable[..., None]
) -> Callable[..., None]:
    """A function fit for Typer.

    Args:
        parameters: Its argument and its options: see `parameters_of` and `option`.
        summary: What its help says above them.
        call: What is called with them, by name.
    """
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    call.__doc__ = summary
    return call


def parameters_of(
    function: Callable[..., Any],
    argument: str = "",
    leave_out: Collection[str] = (),
    panel: str | None = None,
    flags: Mapping[str, str] = MappingProxyType({}),
) -> list[inspect.Parameter]:
    """The function's parameters as Typer reads them: one argument, the rest options.

    Args:
        function: A public function with type hints and a Google-style docstring.
        argument: The parameter that needs no flag, if any.
        leave_out: Parameters that are no options.
        panel: The heading in the help under which the options stand.
        flags: For a parameter, its flags, where these are not made of its name: see `option`.

    Raises:
        InputError: If a parameter has no line in the docstring.
    """
    hints = typing.get_type_hints(function)
    told = argument_help(function)
    derived = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in leave_out:
            continue
        if name not in told:
            raise InputError(f"{function.__name__}: the docstring says nothing of {name}")
        hint, words = _typed(hints[name], parameter.default), _without_python(told[name])
        if name == argument:
            complete = completing(name)
            noted: Any = Annotated[hint, typer.Argument(help=words, autocompletion=complete)]
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            derived.append(
                inspect.Parameter(name, kind, default=parameter.default, annotation=noted)
            )
        else:
            derived.append(option(name, hint, parameter.default, words, panel, flags.get(name, "")))
    return derived


def option(
    name: str, kind: Any, default: Any, told: str, panel: str | None = None, flags: str = ""
) -> inspect.Parameter:
    """An option as Typer reads it.

    Args:
        name: The parameter.
        kind: Its type.
        default: Its default.
        told: Its help.
        panel: The heading in the help under which it stands.
        flags: Other flags than the one made of its name, with commas.
    """
    given = tuple(f"--{flag}" for flag in flags.split(",") if flag)
    reader = reader_of(kind, (given or (f"--{name.replace('_', '-')}",))[0])
    made = typer.Option(
        *given, help=told, rich_help_panel=panel, autocompletion=completing(name), parser=reader,
        metavar=reader and f"<{reader.__name__}>",
    )  # fmt: skip
    noted: Any = Annotated[kind, made]
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=noted)


def _without_python(words: str) -> str:
    """The help of a parameter without its last part where that is for Python alone."""
    return re.sub(r"[;.] [Ii]n Python .*", ".", words)


def _typed(hint: Any, default: Any) -> Any:
    """What a command takes for a parameter: where Python gives objects, a command names them."""
    if hint is Any:
        return str | None if default is None else str
    inside = [part for part in typing.get_args(hint) if part is not type(None)]
    return Path | None if Path in inside else hint


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
        start = re.match(r" {4}\*{0,2}(\w+): (.*)", line)
        if start:
            name = start.group(1)
            told[name] = start.group(2)
        elif name and line.strip():
            told[name] += " " + line.strip()
    return told


def as_options(sentence: str, names: Collection[str]) -> str:
    """A sentence in Python's words in those of the command line.

    `name=` becomes `--name`, `name='value'` and `name="value"` become `--name value`, `name=True`
    and `name=False` become `--name` and `--no-name`, `long_name` alone becomes `--long-name`, and
    so does the `name` that a sentence begins with before "came". What stands in quotes is the
    user's and stays.

    Args:
        sentence: As `InputError` brings it.
        names: The parameters that are options.
    """
    start = re.match(r"[a-z]+(?: [a-z]+)+(?= came )", sentence)  # as "step size came as 0"
    name = start[0].replace(" ", "_") if start else ""
    if start and name in names:
        sentence = f"--{name.replace('_', '-')}{sentence[start.end() :]}"

    def word(found: re.Match[str]) -> str:
        name, equals, value = found["name"], found["equals"], found["value"]
        subject = found.start() == 0 and found.string[found.end() :].startswith(" came ")
        if name not in names or not (equals or "_" in name or subject):
            return found[0]
        flag = name.replace("_", "-")
        if value in ("True", "False"):
            return f"--{'' if value == 'True' else 'no-'}{flag}"
        return f"--{flag} {shlex.quote(ast.literal_eval(value))}" if value else f"--{flag}"

    return re.sub(
        r"(?<![\w.'\"-])(?P<name>[a-z_][a-z_0-9]*)(?:(?P<equals>=)(?P<value>True\b|False\b|"
        rf"{QUOTED})?)?(?!\w)|{QUOTED}",
        lambda found: word(found) if found["name"] else found[0],
        sentence,
    )
