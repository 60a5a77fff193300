"""A small sweep into a folder, for tests that kill it.

    python killed_sweep.py FOLDER [KILL_AT]

The numbers of the whole sweep are left in FOLDER.npz. With KILL_AT the process kills itself
(SIGKILL) at that many calls of the function that replaces files: before it, in the middle of
writing, or after it, in turn.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

import thalweg as tw
from thalweg.driver import chunks
from thalweg.sweeps import folder as folders
from thalweg.sweeps import plan
from thalweg.trajectory import store

SIZES = (0.3, 0.1, 0.05, 0.4, 0.2)


def problem() -> tw.problems.Supervised:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(10, 3))
    targets = np.tanh(inputs @ rng.normal(size=(3, 2)))
    return tw.problems.supervised(tw.models.mlp([4], "tanh"), (inputs, targets))


def options(**changes: Any) -> dict[str, Any]:
    return {
        "step_size": SIZES,
        "until": 20.0,
        "records": 6,
        "seeds": [0, 3],
        "probes": ["gradient_norm"],
        "progress": False,
    } | changes


def go(out: Path | None, **changes: Any) -> tw.Sweep:
    plan.MOST_LANES = 4  # several blocks
    chunks.COMMIT_SECONDS = -1.0  # every record is committed
    return tw.sweep(problem(), tw.gradient_descent, out=out, **options(**changes))


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

    store.replace = folders.replace = watched


if __name__ == "__main__":
    if len(sys.argv) > 2:
        kill_at(int(sys.argv[2]))
    found = go(Path(sys.argv[1])).dataset
    values = {str(name): found[name].values for name in found.variables}
    np.savez(f"{sys.argv[1]}.npz", **values)
