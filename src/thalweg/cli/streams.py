"""Standard output and error as they are found: closed, full, or unable to write a tick."""

from __future__ import annotations

import _thread
import codecs
import contextlib
import logging
import os
import re
import sys
import threading
from typing import Any, TextIO, cast

from rich.console import Console

from thalweg.core.errors import InputError

_PLAIN = {"•": "*", "✓": "+", "✗": "x", "–": "-", "…": "...", "−": "-", "±": "+-", "×": "x",
          "∞": "inf", "\u202f": " "}  # fmt: skip
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def prepare() -> None:
    """Let no character stop a command, and give a stream that is closed somewhere to go."""
    codecs.register_error("plain", _plain)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # A file opened later must not become number 1 or 2, which libraries write to.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="plain")
    sys.unraisablehook = _unraisable
    for name in ("debugging", "callback"):  # a callback that fails is told once, in a sentence
        logging.getLogger(f"jax._src.{name}").setLevel(logging.CRITICAL)


def _unraisable(told: Any) -> None:
    """Hand on a Ctrl-C that came where nothing can be raised, as while memory is tidied up."""
    if not isinstance(told.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(told)
        return
    again = threading.Timer(0.05, _thread.interrupt_main)  # once this has been left
    again.daemon = True
    with contextlib.suppress(RuntimeError):  # at the very end no thread can begin
        again.start()


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Signs that a stream cannot write, in characters that every stream can."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    raised = re.sub("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda found: "^" + found[0].translate(_RAISED), text)
    return "".join(_PLAIN.get(c, c if c.isascii() else "?") for c in raised), error.end


class Output:
    """Standard output, whose refusals are sentences."""

    def __init__(self) -> None:
        """Standard output as it is now."""
        self._stream: TextIO = sys.stdout

    def write(self, text: str) -> int:
        """Write, or say why not."""
        with _refusals():
            return self._stream.write(text)

    def flush(self) -> None:
        """Flush, or say why not."""
        with _refusals():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def screen() -> Console:
    """Where a command writes what it found."""
    return Console(file=cast(TextIO, Output()), highlight=False, soft_wrap=True)


def complain(sentence: str) -> None:
    """A sentence on standard error."""
    text = " ".join(sentence.split()).rstrip(".")  # one line, whatever the user's names hold
    with contextlib.suppress(OSError):  # where nobody can be told, the exit code tells
        print(f"thalweg: {text}.", file=sys.stderr, flush=True)


def keep_programs() -> None:
    """Keep what JAX compiles for the next command; where that fails, say so."""
    from thalweg.storage import programs

    programs.keep_programs(tell=complain)


def settle() -> None:
    """Leave nothing that the interpreter would stumble over when it closes the streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _refusals:  # noqa: N801  (reads as a statement)
    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise InputError(
                f"standard output cannot be written ({error.strerror or error}); what a run found "
                "is in its folder, and the same command prints it again"
            ) from error
