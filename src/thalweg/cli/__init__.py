"""The command line: each command is one public function of the library."""

from thalweg.cli.commands import app, main

__all__ = ["app", "main"]
