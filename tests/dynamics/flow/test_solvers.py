"""Every solver of gradient flow: on a stiff quadratic of known path, and in its own precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.dynamics import FLOW_SOLVERS
from thalweg.problems import Function


@pytest.mark.parametrize("solver", FLOW_SOLVERS)
def test_flow_solvers_follow_a_stiff_quadratic(solver: str) -> None:
    """x' = -Lambda x has x(t) = e^{-Lambda t} x(0)."""
    eigenvalues = jnp.asarray([50.0, 3.0, 0.2, -0.1])
    problem = Function(lambda x: 0.5 * jnp.sum(eigenvalues * x**2), start=jnp.ones(4))
    times = [0.0, 0.3, 2.0, 7.0]
    flow = tw.run(problem, tw.gradient_flow(1e-8, solver), times=times)
    exact = np.exp(-np.asarray(times)[:, None] * np.asarray(eigenvalues))
    error = np.linalg.norm(flow.parameters[0].values - exact, axis=1)
    reported = flow.dataset["path_error"][0].values
    np.testing.assert_array_equal(flow.dataset["time"].values, times)
    assert np.all(error < 1e-4)
    assert np.all(error[1:] <= 5 * reported[1:] + 1e-13)


@pytest.mark.parametrize("name", FLOW_SOLVERS)
def test_flow_solvers_rest_on_no_implicit_conversion(name: str) -> None:
    net = tw.models.mlp([5, 4])
    problem = tw.problems.digits(net, samples=20, precision="float32")
    flow = tw.gradient_flow(1e-4, name)
    params = problem.init(jax.random.key(0))
    with jax.numpy_dtype_promotion("strict"):
        state = jax.eval_shape(lambda p: flow.init(problem, p), params)
        jax.eval_shape(lambda s: flow.advance(problem, s, jnp.asarray(1.0), jnp.asarray(9)), state)
