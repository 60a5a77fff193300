"""How the benchmarks take time: one thread unless asked, contestants in turn, medians."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits


def options(description: str | None) -> argparse.Namespace:
    """`--quick` for a smoke run, `--threads` for all contestants alike."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run; its numbers mean little")
    parser.add_argument("--threads", type=int, default=1, help="threads for everybody (1)")
    return parser.parse_args()


def limit_threads(count: int) -> None:
    """Bind the process to so many processors; XLA sizes its pools by this when it first computes.

    Only Linux can do so; elsewhere everybody uses what they find. BLAS and PyTorch are told as
    well: their threads would spin for one another on a processor that they have to share.
    """
    threadpool_limits(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-count:]))


def clock_for(threads: int) -> Callable[[], float]:
    """Seconds of processor time for one thread, which other programs disturb least; else wall."""
    return time.process_time if threads == 1 else time.perf_counter


def interleaved(
    contestants: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds that each contestant takes, A B C A B C ..., after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, work in contestants.items():
            begun = clock()
            work()
            if turn:
                seconds[name].append(clock() - begun)
    return seconds


def noise(seconds: list[float]) -> float:
    """Half the spread of repeated times over their median."""
    return (max(seconds) - min(seconds)) / (2 * statistics.median(seconds))


def show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table, first column to the left, numbers to the right."""
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    here = Console()
    # A file has no width: cells of wide tables were broken over lines there.
    Console(width=max(130, here.width) if here.is_terminal else 1000).print(table)


def machine(threads: int) -> str:
    """What the numbers were taken on, for the head of a table."""
    import jax

    clock = "processor time" if threads == 1 else "wall time"
    found = f"{platform.machine()}, Python {platform.python_version()}, JAX {jax.__version__}"
    return f"{found}, {threads} thread(s), {clock}"
