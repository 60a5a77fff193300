"""A small run of both dynamics into a folder, for tests that kill it.

    python killed_run.py FOLDER [KILL_AT]

With KILL_AT the process kills itself at that many files: see `killing.kill_at`.
"""

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


if __name__ == "__main__":
    driver.COMMIT_SECONDS = 0.0
    if len(sys.argv) > 2:
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from killing import kill_at

        kill_at(int(sys.argv[2]), store)
    print("ready", flush=True)
    go(Path(sys.argv[1]))
