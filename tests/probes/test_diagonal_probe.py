"""R_med along a run, on coordinates that stay the same."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.hessian_product import dense_hessian
from thalweg.curvature.diagonal_ratio import sampled_coordinates
from thalweg.probes import diagonal_ratio
from thalweg.problems import Function


def test_along_a_run_against_the_dense_hessian():
    x = np.random.default_rng(0).normal(size=(12, 4))
    problem = tw.problems.supervised(tw.models.mlp([5], "tanh"), (x, np.sin(x[:, :2])))
    probe = diagonal_ratio(count=7, draw=3)
    run = tw.run(problem, tw.gradient_descent(0.2), until=2.0, records=4, probes=[probe], seeds=2)
    start = problem.init(jax.random.key(0))
    coordinates = sampled_coordinates(start, 7, 3)
    _, unravel = jax.flatten_util.ravel_pytree(start)
    dense = jax.jit(lambda theta: dense_hessian(problem.objective, unravel(theta)))
    for seed in range(2):
        for record in range(5):
            theta = jnp.asarray(run.parameters.values[seed, record])
            entries = unravel(jnp.diagonal(dense(theta)))
            for block, path in enumerate(("0.weight", "1.weight")):
                size = np.abs(np.ravel(entries[block]["weight"])[coordinates[path]])
                measured = run.dataset["diagonal_ratio"].values[seed, record, block]
                assert measured == pytest.approx(size.max() / np.median(size), rel=1e-9)
    assert np.all(run.dataset["diagonal_ratio_result"] == 0)


def test_a_block_of_zeros_is_infinite_and_no_divergence():
    problem = Function(lambda p: jnp.sum(p["W"][0] ** 2), {"W": jnp.ones((3, 2))})
    reading = tw.measure(problem, problem.start, diagonal_ratio())
    assert reading.value == np.inf
    assert (float(reading.error[0]), int(reading.result)) == (0, 0)


def test_bad_counts_are_told():
    with pytest.raises(tw.InputError, match="at least 1"):
        diagonal_ratio(count=0)
