"""Landings off the special cases: sums over examples, several outputs, few examples."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import thalweg as tw
from thalweg.core.result import Result
from thalweg.models import linear, mlp
from thalweg.problems import supervised

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(5, 4)), RNG.normal(size=(5, 3))


@pytest.mark.thorough
@pytest.mark.parametrize("model", [linear([6]), mlp([9], "tanh")], ids=["linear", "tanh"])
def test_a_sum_over_examples_is_the_same_flow_in_another_time(model):
    """n times the objective: the same path, hence the same limit, from the same start."""
    ends = []
    for reduction in ("mean", "sum"):
        problem = supervised(model, (X, Y), reduction=reduction)
        start = problem.init(jax.random.key(1))
        limit = tw.flow_limit(problem, start, error=1e-7)
        assert limit.result == Result.OK
        ends.append(np.asarray(ravel_pytree(limit.params)[0]))
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-6)


@pytest.mark.thorough
def test_a_sum_over_more_examples_than_outputs_ends_at_least_squares():
    """One matrix: where the flow ends is the least-squares solution nearest to the start."""
    x = np.vstack([X, X[:2] + 1, X[3:] - 2])  # nine examples that no matrix fits
    y = RNG.normal(size=(9, 3))
    problem = supervised(linear([]), (x, y), reduction="sum")
    start = problem.init(jax.random.key(2))
    limit = tw.flow_limit(problem, start, error=1e-8)
    best = np.linalg.lstsq(x, y, rcond=None)[0].T
    np.testing.assert_allclose(limit.params[0]["weight"], best, atol=1e-7)
    few = supervised(linear([]), (X[:3], Y[:3]), reduction="sum")  # a line of solutions
    start = few.init(jax.random.key(3))
    limit = tw.flow_limit(few, start, error=1e-8)
    W = np.asarray(start[0]["weight"])
    nearest = W + (Y[:3].T - W @ X[:3].T) @ np.linalg.pinv(X[:3].T)
    np.testing.assert_allclose(limit.params[0]["weight"], nearest, atol=1e-7)
