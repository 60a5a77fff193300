"""What measuring costs: gradient descent with the sharpness every 10 steps, and without.

Both runs stop at the same marks and record the loss there. The products are counted by repeating
the probe on the recorded parameters.
"""

from __future__ import annotations

import statistics
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from timing import clock_for, interleaved, limit_threads, machine, noise, options, show

import thalweg as tw
from thalweg.core import tree
from thalweg.core.lanczos import track_largest

STEP_SIZE, EVERY = 0.1, 10


def problem(precision: str) -> tw.problems.Problem:
    model = tw.models.mlp([64, 64], "tanh")
    return tw.problems.digits(model, "cross-entropy", samples=500, precision=precision)


def descent(
    problem: tw.problems.Problem, records: int, seeds: int, measured: bool
) -> tw.Trajectory:
    return tw.run(
        problem,
        tw.gradient_descent(STEP_SIZE),
        until=records * EVERY * STEP_SIZE,
        records=records,
        probes=[tw.probes.sharpness()] if measured else [],
        seeds=seeds,
        progress=False,
    )
