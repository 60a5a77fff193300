"""What commands share: flags that are answered at once, and the help that lists the commands."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from thalweg.cli import layout
from thalweg.cli.streams import screen


class _WithoutPydantic:
    """Parameters whose values Typer need not convert; it does by Pydantic, dear to import.

    Its import takes a third of `thalweg list`. Text stays as it came, and flags that are answered
    at once, as --help, are off rather than None where nobody gave them.
    """

    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)  # type: ignore[misc]
        for each in params:
            if getattr(each, "is_flag", False) and not each.expose_value and each.default is None:
                each.default = False
            kind = getattr(each, "type_descriptor", None)  # of newer versions of Typer
            if getattr(kind, "annotation", None) is str and each.nargs == 1 and not each.multiple:
                vars(each).setdefault("process_value", partial(_text, each, each.process_value))
        return params


def _text(parameter: Any, convert: Callable[..., Any], ctx: Any, value: Any) -> Any:
    """Text as it is; what is missing or may be no Unicode is for Typer to refuse."""
    fits = value.isascii() if isinstance(value, str) else not parameter.required
    return value if fits and parameter.callback is None else convert(ctx, value)


class Command(_WithoutPydantic, TyperCommand):
    """One command."""


class Commands(_WithoutPydantic, TyperGroup):
    """All commands. Their list is made here: Typer's own imports a reader of Markdown for it."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print usage, options and commands with a line on each."""
        console = screen()
        console.print(Text(self.get_usage(ctx)))
        console.print()
        layout.paragraph(console, self.help or "")
        options = [each.get_help_record(ctx) for each in self.get_params(ctx)]
        known = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        commands = [each for each in known if each is not None and not each.hidden]
        told = [(each.name or "", _first_of(each.help)) for each in commands]
        for heading, rows in (("Options", [row for row in options if row]), ("Commands", told)):
            console.print(Text(f"\n{heading}", "bold"))
            layout.named(console, rows)


def _first_of(text: str | None) -> str:
    """The first paragraph, in one line."""
    return " ".join((text or "").split("\n\n")[0].split())
