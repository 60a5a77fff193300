"""How far a run is, with an estimate of the time left: a bar, or a few lines in a log."""

from __future__ import annotations

import functools
import html
import sys
import time as clock
from types import TracebackType
from typing import Any, Protocol

import jax
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

FIRST_LINE = 5.0  # seconds before the first line where there is no terminal
FURTHER = 1.4  # times the seconds of a line, before the next
COLUMNS = 79  # of a line
REDRAWN = 0.2  # seconds between two pictures of a bar in a notebook


class Meter(Protocol):
    """What the driver tells while it works."""

    def update(self, fraction: float, text: str) -> None:
        """The fraction done and a few words."""

    def note(self, sentence: str) -> None:
        """What is to be read now and to stay."""

    def close(self) -> None:
        """The work is over."""


class Silent:
    """Says nothing."""

    def update(self, fraction: float, text: str) -> None:
        """Ignore."""

    def note(self, sentence: str) -> None:
        """Ignore."""

    def close(self) -> None:
        """Ignore."""


class Lines:
    """Lines on standard error, ever rarer: some ten in the first minutes, some twenty in a day.

    Args:
        title: What is being done.
    """

    def __init__(self, title: str) -> None:
        """See the class."""
        self._title, self._begun, self._next = title, clock.monotonic(), FIRST_LINE

    def update(self, fraction: float, text: str) -> None:
        """A line, if one is due: how far it is, and what is left once a tenth is done."""
        spent, done = clock.monotonic() - self._begun, min(max(fraction, 0.0), 1.0)
        if spent < self._next or done == 1:
            return
        self._next = FURTHER * spent
        line = f"{self._title}: {100 * done:.0f} %"
        end = f", {spent:.0f} s"
        end += f", {duration(spent * (1 - done) / done)} left" if done >= 0.1 else ""
        for part in filter(None, text.split(", ")):
            if len(line) + len(part) + len(end) + 2 <= COLUMNS:
                line += f", {part}"
        self.note(line + end)

    def note(self, sentence: str) -> None:
        """One line."""
        print(sentence, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ignore."""


class Bar:
    """A bar on standard error; while JAX compiles, it says so."""

    def __init__(self, title: str) -> None:
        """`title` stands before the bar."""
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task(title, total=1.0, text="")
        self._text = ""
        self._progress.start()
        _shown.append(self)
        _listen()

    def update(self, fraction: float, text: str) -> None:
        """Move the bar."""
        self._text = text
        self._progress.update(self._task, completed=fraction, text=text)

    def compiling(self, begun: bool) -> None:
        """JAX begins to compile, or has ended."""
        self._progress.update(self._task, text=_compiling() if begun else self._text)

    def note(self, sentence: str) -> None:
        """A line above the bar."""
        self._progress.console.print(sentence, markup=False, highlight=False)

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()
        _shown.remove(self)


class Cell:
    """A bar beneath the cell of a notebook, in plain HTML: no widget need be installed.

    Args:
        title: What is being done.
        shell: IPython's display module.
    """

    def __init__(self, title: str, shell: Any) -> None:
        """See the class."""
        self._title, self._begun, self._drawn = title, clock.monotonic(), 0.0
        self._fraction, self._text = 0.0, ""
        self._place = shell.display(self._bundle(""), raw=True, display_id=True)
        _shown.append(self)
        _listen()

    def update(self, fraction: float, text: str) -> None:
        """Move the bar, some times a second."""
        self._fraction, self._text = fraction, text
        if clock.monotonic() - self._drawn > REDRAWN:
            self._show(text)

    def compiling(self, begun: bool) -> None:
        """JAX begins to compile, or has ended."""
        self._show(_compiling() if begun else self._text)

    def note(self, sentence: str) -> None:
        """A line beneath the cell that stays."""
        print(sentence, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        self._place.update({"text/plain": "", "text/html": ""}, raw=True)
        _shown.remove(self)

    def _show(self, text: str) -> None:
        self._drawn = clock.monotonic()
        self._place.update(self._bundle(text), raw=True)

    def _bundle(self, text: str) -> dict[str, str]:
        """What is shown now, as text and as HTML."""
        spent, done = clock.monotonic() - self._begun, min(max(self._fraction, 0.0), 1.0)
        left = f", {duration(spent * (1 - done) / done)} left" if 0.02 < done < 1 else ""
        line = f"{self._title}: {100 * done:.0f} % {text}, {spent:.0f} s{left}".replace(" ,", ",")
        bar = f'<progress value="{done:.3f}" max="1"></progress>'
        return {"text/plain": line, "text/html": f"{bar} {html.escape(line)}"}


_shown: list[Bar | Cell] = []


def _notebook() -> Any:
    """IPython's display module where a notebook shows what is displayed; else None."""
    ipython = sys.modules.get("IPython")  # nobody else has a notebook, and we need not import it
    shell = ipython.get_ipython() if ipython is not None else None
    return ipython.display if ipython is not None and hasattr(shell, "kernel") else None


def _compiling() -> str:
    """The words for the time in which JAX compiles."""
    return f"compiling{' (kept for next time)' if _folder() else ''}"


def _folder() -> str | None:
    """Where JAX keeps what it compiles, if it does."""
    return jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]


@functools.cache
def _listen() -> None:
    """Hear from now on when JAX compiles: after a program is lowered, until it can be run."""
    begun, ended = "jaxpr_to_mlir_module_duration", "backend_compile_duration"

    def heard(event: str, duration_secs: float, **_: str | int) -> None:
        if event.endswith((begun, ended)):
            for bar in _shown:
                bar.compiling(event.endswith(begun))

    jax.monitoring.register_event_duration_secs_listener(heard)


def count(number: float) -> str:
    """Two digits of a number, as "3,200,000"."""
    if number >= 1e12:
        return f"{number:.1e}"
    return f"{float(f'{number:.2g}'):,.0f}"


def duration(seconds: float) -> str:
    """Seconds in words, as "about 3 min"."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"about {count(seconds / size)} {unit}"
    return f"about {max(seconds, 1):.0f} s"


class watched:  # noqa: N801  (reads as a statement: with watched(title, show) as meter: ...)
    """A meter that is closed whatever happens.

    Args:
        title: What is being done.
        show: True or False; None shows a bar on a terminal or in a notebook, a few lines
            elsewhere, and notes everywhere.
    """

    def __init__(self, title: str, show: bool | None) -> None:
        """See the class."""
        notebook = _notebook() if show is not False else None
        visible = sys.stderr.isatty() if show is None else show
        self._meter: Meter
        if notebook is not None:
            self._meter = Cell(title, notebook)
        else:
            self._meter = Bar(title) if visible else Silent() if show is False else Lines(title)

    def __enter__(self) -> Meter:
        """The meter."""
        return self._meter

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the meter."""
        self._meter.close()
