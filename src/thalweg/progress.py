"""A progress line with an estimate of the time left; silent where nobody watches."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Meter(Protocol):
    """What the driver tells while it works."""

    def update(self, fraction: float, text: str) -> None:
        """The fraction done and a few words."""

    def close(self) -> None:
        """The work is over."""


class Silent:
    """Says nothing."""

    def update(self, fraction: float, text: str) -> None:
        """Ignore."""

    def close(self) -> None:
        """Ignore."""


class Bar:
    """A bar on standard error."""

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
        self._progress.start()

    def update(self, fraction: float, text: str) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=fraction, text=text)

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()


class watched:  # noqa: N801  (reads as a statement: with watched(title, show) as meter: ...)
    """A meter that is closed whatever happens.

    Args:
        title: What is being done.
        show: True or False; None shows a bar on a terminal only.
    """

    def __init__(self, title: str, show: bool | None) -> None:
        """See the class."""
        visible = sys.stderr.isatty() if show is None else show
        self._meter: Meter = Bar(title) if visible else Silent()

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
