"""Sweeps on a Dask cluster: the numbers of one process to the bit, whoever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import thalweg as tw
from thalweg.driver import chunks
from thalweg.sweeps import plan, work

distributed = pytest.importorskip("distributed", reason="Dask is not installed: thalweg[dask]")
dask = pytest.importorskip("dask")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SIZES = (0.3, 0.1, 0.05, 0.4, 0.2, 0.15)


def problem() -> tw.problems.Supervised:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(10, 3))
    targets = np.tanh(inputs @ rng.normal(size=(3, 2)))
    return tw.problems.supervised(tw.models.mlp([4], "tanh"), (inputs, targets))


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MOST_LANES", 2)


def go(**options: Any) -> tw.Sweep:
    return tw.sweep(
        problem(), tw.gradient_descent, step_size=SIZES, steps=40_000, records=20, seeds=[0, 3],
        probes=["sharpness"], progress=False, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def reference() -> xr.Dataset:
    before, plan.MOST_LANES = plan.MOST_LANES, 2
    try:
        return go().dataset
    finally:
        plan.MOST_LANES = before


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def same(found: xr.Dataset, reference: xr.Dataset) -> None:
    assert set(found.variables) == set(reference.variables)
    for name in reference.variables:
        assert found[name].values.tobytes() == reference[name].values.tobytes(), name


def test_records_come_back_to_the_bit(client: Any, reference: xr.Dataset) -> None:
    found = go(client=client)
    assert len(found.blocks) == len(SIZES)
    same(found.dataset, reference)


def commit_often() -> None:
    chunks.COMMIT_SECONDS = -1.0


def kill_who_holds_a_block(out: Path, killed: list[int]) -> None:
    """Kill a worker in the middle of a block: after its first commit, before its last."""
    until = time.monotonic() + 300
    while time.monotonic() < until and not killed:
        for mark in out.glob("block-*.resume/commit.json"):
            try:
                taken = json.loads(mark.read_bytes())["records"]
                holder = json.loads((mark.parent / "lock").read_text())["process"]
            except (OSError, ValueError, KeyError):
                continue
            if 2 <= taken <= 15 and not killed:
                os.kill(holder, signal.SIGKILL)
                killed.append(holder)
        time.sleep(0.002)


def test_a_worker_is_killed_and_the_sweep_goes_on(
    client: Any, reference: xr.Dataset, tmp_path: Path
) -> None:
    before = set(client.run(os.getpid).values())
    client.run(commit_often)
    killed: list[int] = []
    out = tmp_path / "sweep"
    watcher = threading.Thread(target=kill_who_holds_a_block, args=(out, killed))
    watcher.start()
    found = go(client=client, out=out)
    watcher.join()
    assert killed
    assert killed[0] in before
    assert killed[0] != os.getpid()
    same(found.dataset, reference)
    # What the workers wrote is what a process alone reads, without a step.
    same(go(out=out).dataset, reference)


def test_what_a_worker_refuses_is_told(client: Any) -> None:
    def broken(x: Any) -> Any:
        return x[0] / 0.0

    bad = tw.problems.Function(broken, start=np.ones(2))
    with pytest.raises(tw.InputError, match="not finite at the start"):
        tw.sweep(bad, [tw.gradient_descent(0.1)], steps=5, probes=(), client=client)


SCHEDULER = """
import time, distributed
cluster = distributed.LocalCluster(
    n_workers=1, processes=False, protocol="tcp", dashboard_address=None
)
print(cluster.scheduler_address, flush=True)
time.sleep(600)
"""


def test_a_scheduler_that_is_gone_is_told() -> None:
    """Its process is killed in the middle of a block; a second sweep finds none."""

    def slow(x: Any) -> Any:
        time.sleep(60)
        return jnp.sum(x**2)

    sleeper = tw.problems.Function(slow, start=np.ones(2))
    alone = subprocess.Popen([sys.executable, "-c", SCHEDULER], stdout=subprocess.PIPE, text=True)
    try:
        assert alone.stdout is not None
        client = distributed.Client(alone.stdout.readline().strip())
        threading.Timer(3.0, alone.kill).start()
        for _ in range(2):
            with pytest.raises(tw.InputError, match="the scheduler of the Dask cluster is gone"):
                tw.sweep(sleeper, [tw.gradient_descent(0.1)], steps=5, probes=(), client=client)
        client.close()
    finally:
        alone.kill()
        alone.wait()


@pytest.mark.parametrize(
    ("limit", "pause", "sentence"),
    [
        ("50MB", 0.8, "all workers of the Dask cluster have died; give workers more memory"),
        (
            "4GB",
            0.01,
            r"all workers of the Dask cluster are paused, as one takes \d+ MB of the 4000",
        ),
    ],
    ids=["killed", "paused"],
)
def test_workers_without_memory_end_a_sweep(
    limit: str, pause: float, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare worker is above the first limit, and is killed until the cluster starts no more."""
    monkeypatch.setattr(work, "PATIENCE", 12.0)
    monkeypatch.setattr(work, "LOOK", 1.0)
    bowl = tw.problems.Function(lambda x: jnp.sum(x**2), start=np.ones(2))
    with (
        dask.config.set({"distributed.worker.memory.pause": pause}),
        distributed.LocalCluster(
            n_workers=1, processes=True, memory_limit=limit, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(tw.InputError, match=sentence),
    ):
        tw.sweep(bowl, [tw.gradient_descent(0.1)], steps=5, probes=(), client=client)


def test_workers_of_this_machine(reference: xr.Dataset) -> None:
    same(go(workers=2).dataset, reference)


def test_only_a_client_is_a_client() -> None:
    with pytest.raises(tw.InputError, match=r"client came as int; give a distributed.Client"):
        go(client=3)


def test_a_cluster_without_a_worker_is_told_at_once_and_waited_for(
    reference: xr.Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "LOOK", 0.5)
    with (
        distributed.LocalCluster(
            n_workers=0, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster.scheduler_address) as client,  # which knows of no cluster
    ):
        threading.Timer(3.0, cluster.scale, (1,)).start()
        found = tw.sweep(
            problem(), tw.gradient_descent, step_size=SIZES, steps=40_000, records=20,
            seeds=[0, 3], probes=["sharpness"], client=client,
        )  # fmt: skip
    assert capsys.readouterr().err.count("the Dask cluster has no worker") == 1
    xr.testing.assert_equal(found.dataset, reference)
