"""Computes a stored kernel, and kills itself without warning at the block of the given number."""

import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import shapes

shapes.check_shapes("thalweg")  # as the test: they must be the same net

import thalweg  # noqa: E402, F401  (switches float64 on)
from thalweg.kernels import stored  # noqa: E402
from thalweg.models import mlp  # noqa: E402
from thalweg.problems import supervised  # noqa: E402


def example():
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(6, 4)), rng.normal(size=(6, 2)))
    problem = supervised(mlp([6], "tanh"), data)
    return problem, problem.init(jax.random.key(0))


if __name__ == "__main__":
    path, last = sys.argv[1], int(sys.argv[2])
    calls, evaluate = [], stored.evaluate

    def dying(*arguments):
        calls.append(1)
        if len(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return evaluate(*arguments)

    stored.evaluate = dying
    problem, params = example()
    stored.tangent_kernel_to_zarr(problem, params, path, block=2)
