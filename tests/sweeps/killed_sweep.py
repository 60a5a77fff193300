"""A small sweep into a folder, for tests that kill it.

    python killed_sweep.py FOLDER [KILL_AT]

The numbers of the whole sweep are left in FOLDER.npz. With KILL_AT the process kills itself
at that many files: see `killing.kill_at`.
"""

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


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from killing import kill_at

        kill_at(int(sys.argv[2]), store, folders)
    found = go(Path(sys.argv[1])).dataset
    values = {str(name): found[name].values for name in found.variables}
    np.savez(f"{sys.argv[1]}.npz", **values)
