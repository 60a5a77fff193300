"""A small run of both dynamics into a folder, for tests that kill it.

    python killed_run.py FOLDER [KILL_AT]

With KILL_AT the process kills itself (SIGKILL) at that many calls of the function that replaces
files: before it, in the middle of writing, or after it, in turn.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

import thalweg as tw
from thalweg.driver import chunks as driver
from thalweg.trajectory import store

RECORDS = 12


def problem() -> tw.problems.Supervised:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(10, 3))
    targets = np.tanh(inputs @ rng.normal(size=(3, 2)))
    return tw.problems.supervised(tw.models.mlp([4], "tanh"), (inputs, targets))


def options() -> dict[str, Any]:
    return {
        "until": 6.0,
        "records": RECORDS,
        "seeds": [0, 3],
        "probes": [tw.probes.sharpness(recheck=5), tw.every(3, tw.probes.smallest_eigenvalue(5))],
        "progress": False,
    }


DYNAMICS = {"descent": tw.gradient_descent(0.1), "flow": tw.gradient_flow(1e-5)}


def go(folder: Path) -> None:
    for name, dynamics in DYNAMICS.items():
        tw.run(problem(), dynamics, out=folder / f"{name}.zarr", **options())


def kill_at(count: int) -> None:
    calls, replace = 0, store.replace

    def watched(path: Path, content: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == count and count % 3 == 1:
            path.with_name(path.name + ".partial").write_bytes(content[: len(content) // 2])
        if calls != count or count % 3 == 2:
            replace(path, content)
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)

    store.replace = watched


if __name__ == "__main__":
    driver.COMMIT_SECONDS = 0.0
    if len(sys.argv) > 2:
        kill_at(int(sys.argv[2]))
    print("ready", flush=True)
    go(Path(sys.argv[1]))
