"""The command line: each command is one public function of the library."""

from __future__ import annotations

import sys
from typing import Any

from thalweg.cli.ending import end

__all__ = ["app", "main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input is one sentence and exit code 2."""
    try:
        from thalweg.cli import commands
    except KeyboardInterrupt:  # before anything is there that could say so better
        print("thalweg: stopped; give the same command to go on.", file=sys.stderr)
        end(130)
    commands.main(arguments)


def __getattr__(name: str) -> Any:
    """The commands, for those who build on them."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from thalweg.cli.commands import app

    return app
