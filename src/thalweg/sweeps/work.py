"""Who works on the blocks of a sweep: this process, or the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from thalweg.core.errors import InputError, require
from thalweg.core.tree import Params
from thalweg.driver.block import Block, Horizon, run_block
from thalweg.driver.progress import Meter, Silent
from thalweg.problems.problem import Problem

LOOK = 5.0  # seconds after which a client that waits is asked whether it is still connected
PATIENCE = 60.0  # seconds in which nobody works and nobody will, after which a sweep gives up
EXTRA = "a cluster needs Dask: pip install 'thalweg[dask]'"


class Task(NamedTuple):
    """A block and all that it takes: pure data, to be sent to any process.

    Attributes:
        problem: What is trained.
        block: The lanes.
        horizon: How long, and when to record.
        probes: What to measure.
        start: Parameters to start from, None for the seeds' own.
        parameters: Whether to record the flat parameters.
        path: The block's store; None to bring the records back.
    """

    problem: Problem
    block: Block
    horizon: Horizon
    probes: Any
    start: Params | None
    parameters: bool
    path: Path | None


class PieceMeter:
    """A meter of one of several pieces of work."""

    def __init__(self, meter: Meter, index: int, count: int) -> None:
        """`index` of `count` pieces, from 0."""
        self._meter, self._index, self._count = meter, index, count

    def update(self, fraction: float, text: str) -> None:
        """The fraction of this piece."""
        done = (self._index + min(max(fraction, 0.0), 1.0)) / self._count
        self._meter.update(done, f"block {self._index + 1} of {self._count}, {text}")

    def note(self, sentence: str) -> None:
        """What is to be read now and to stay."""
        self._meter.note(sentence)

    def close(self) -> None:
        """The whole is closed, not the part."""


ALONE = (
    "The sweep waits: the Dask cluster has no worker. It begins when one comes, as from a queue or "
    "from `dask worker` with the address of the scheduler; Ctrl-C ends it."
)
REMEDY = (
    "give workers more memory, as distributed.LocalCluster(memory_limit='2GB'): one takes some 400 "
    "MB before it trains anything; with out= the sweep goes on where its blocks were left"
)


def work_on(task: Task, meter: Meter | None = None) -> xr.Dataset | None:
    """Work on a block to its end; its records, or None if its store has them."""
    found = run_block(*task, Silent() if meter is None else meter)
    return found if task.path is None else None


def unpacked_work(packed: bytes) -> xr.Dataset | None:
    """`work_on` of a task in a worker.

    It comes as bytes, so that this module is there before its arrays are: in a process that meets
    JAX's arrays before `thalweg`, those of float64 would become float32.
    """
    from distributed.protocol import pickle

    return work_on(pickle.loads(packed))


def in_turn(tasks: Sequence[Task], meter: Meter) -> Iterator[xr.Dataset | None]:
    """The blocks one after the other, here."""
    for index, task in enumerate(tasks):
        yield work_on(task, PieceMeter(meter, index, len(tasks)))


def on_cluster(tasks: Sequence[Task], meter: Meter, client: Any) -> Iterator[xr.Dataset | None]:
    """The blocks on the workers of a Dask client, in the order of the tasks.

    A block whose worker dies is given to another by Dask's scheduler; on disk it goes on where the
    dead one has left it. If work on one block fails, what waits is called off. Where there is no
    worker yet, as in a queue that has not begun, it says so at once and waits.

    Raises:
        InputError: If worker after worker dies, on one block or before it has one, if all workers
            are paused for want of memory, or the scheduler is gone.
    """
    import distributed
    from distributed.protocol import pickle

    packed = [pickle.dumps(task) for task in tasks]
    futures: list[Any] = []
    alive = time.monotonic()
    try:
        alone = not client.scheduler_info()["workers"]
        if alone:
            meter.note(ALONE)
        futures += [client.submit(unpacked_work, content, pure=False) for content in packed]
        while waiting := [future for future in futures if not future.done()]:
            with contextlib.suppress(distributed.TimeoutError):  # then look whether all is well
                distributed.wait(waiting, LOOK, "FIRST_COMPLETED")
            require(client.status == "running", "the client is not connected")
            count = sum(future.done() for future in futures)
            meter.update(count / len(tasks), f"block {count} of {len(tasks)}")
            nobody = not client.scheduler_info()["workers"]
            if nobody and not alone:
                meter.note(ALONE)
            alone = nobody
            stands = _standing_still(client)
            alive = alive if stands else time.monotonic()
            require(time.monotonic() - alive < PATIENCE, f"{stands}; {REMEDY}")
            failed = [future for future in futures if future.status == "error"]
            if failed:
                _reraise(failed[0], distributed.KilledWorker)
        yield from client.gather(futures)
    except Exception as error:
        if client.status == "running" and not any(future.cancelled() for future in futures):
            raise
        raise InputError(
            "the scheduler of the Dask cluster is gone; give the call again with a client that is "
            "connected: with out= it goes on where the blocks were left"
        ) from error
    finally:
        if client.status == "running":
            client.cancel([future for future in futures if not future.done()])


def _standing_still(client: Any) -> str:
    """Why nobody works on anything and nobody is going to; empty if somebody may."""
    cluster, workers = client.cluster, client.scheduler_info()["workers"].values()
    if not workers:
        # A cluster of one's own lists whom it starts again; of another one we do not know.
        coming = cluster is None or getattr(cluster, "_adaptive", None) or cluster.workers
        return "" if coming else "all workers of the Dask cluster have died"
    for worker in workers:
        counts = worker["metrics"].get("task_counts") or {}
        if worker["status"] != "paused" or counts.get("executing"):
            return ""
    used, most = (max(found) / 1e6 for found in zip(*map(_memory, workers), strict=True))
    return (
        f"all workers of the Dask cluster are paused, as one takes {used:.0f} MB of the "
        f"{most:.0f} MB that it may"
    )


def _memory(worker: Any) -> tuple[int, int]:
    return worker["metrics"]["memory"], worker["memory_limit"]


def _reraise(future: Any, killed: type[Exception]) -> None:
    try:
        future.result()
    except killed as error:
        raise InputError(
            f"workers died one after the other on one block of the sweep ({error}); lower the "
            "seeds, the records or the width of the model, or give workers more memory"
        ) from error


@contextlib.contextmanager
def working(
    client: Any, workers: int | None
) -> Iterator[Callable[[Sequence[Task], Meter], Iterator[xr.Dataset | None]]]:
    """How tasks are worked on: here, on a client's cluster, or on one of this machine.

    Args:
        client: A `distributed.Client`, or None.
        workers: How many processes of this machine; None for this one alone.

    Raises:
        InputError: If both are given, or Dask is not installed.
    """
    require(client is None or workers is None, "client and workers came both; give one of them")
    require(workers is None or workers >= 1, f"workers came as {workers}; give at least 1")
    if client is None and workers is None:
        yield in_turn
        return
    try:
        import distributed
    except ImportError as error:
        raise InputError(EXTRA) from error
    if client is not None:
        require(
            isinstance(client, distributed.Client) and not client.asynchronous,
            f"client came as {type(client).__name__}; give a distributed.Client, not an "
            "asynchronous one",
        )
        yield lambda tasks, meter: on_cluster(tasks, meter, client)
        return
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as own,
    ):
        yield lambda tasks, meter: on_cluster(tasks, meter, own)
