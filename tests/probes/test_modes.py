"""Mode strengths against NumPy, and the growing part against the linearised flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from thalweg.core.errors import InputError
from thalweg.models import linear, mlp
from thalweg.probes import measure
from thalweg.probes.modes import growing_strengths, mode_strengths
from thalweg.problems import supervised
from thalweg.problems.data.hierarchical import hierarchical_dataset
from thalweg.problems.linear_targets import DeepLinear, deep_linear_params

TREE = hierarchical_dataset(2)


@pytest.mark.parametrize("hidden", [[], [6], [6, 5]])
def test_a_linear_net_by_its_product(hidden):
    problem = supervised(linear(hidden), (TREE.inputs, TREE.targets), "squared-error")
    params = problem.init(jax.random.key(0))
    W = np.linalg.multi_dot([np.eye(7), *[p["weight"] for p in reversed(params)]])
    expected = np.diag(TREE.U.T @ W @ TREE.V)
    probe = mode_strengths(TREE.U, TREE.V)
    for case in (problem, DeepLinear(TREE.targets.T)):
        reading = measure(case, params, probe)
        np.testing.assert_allclose(reading.value, expected, atol=1e-13)
        assert reading.result == 0


def test_a_tanh_net_by_its_outputs():
    problem = supervised(mlp([6], "tanh"), (TREE.inputs, TREE.targets), "squared-error")
    params = problem.init(jax.random.key(1))
    W, V = params[0]["weight"], params[1]["weight"]
    expected = np.diag(TREE.U.T @ np.asarray(V @ np.tanh(W)) @ TREE.V)
    np.testing.assert_allclose(
        measure(problem, params, mode_strengths(TREE.U, TREE.V)).value, expected, atol=1e-13
    )


def test_growing_strengths_are_what_the_linearised_flow_leaves():
    """Near zero d(a, b)/dt = s (b, a); the strength at late times is growing * e^{2st}."""
    rng, s, t = np.random.default_rng(0), TREE.singular_values, 9.0
    lower, upper = rng.normal(size=(3, 4)), rng.normal(size=(7, 3))
    a, b = lower @ TREE.V, upper.T @ TREE.U
    late = []
    for j in range(4):
        moved = expm(np.array([[0, s[j] * t], [s[j] * t, 0]])) @ np.stack([a[:, j], b[:, j]])
        late.append(moved[0] @ moved[1] / np.exp(2 * s[j] * t))
    params = deep_linear_params([lower, upper])
    found = measure(DeepLinear(TREE.targets.T), params, growing_strengths(TREE.U, TREE.V))
    np.testing.assert_allclose(found.value, late, rtol=1e-6)


def test_growing_strengths_need_one_hidden_layer():
    params = deep_linear_params([np.eye(2)] * 3)
    with pytest.raises(InputError, match="one hidden layer"):
        measure(DeepLinear(jnp.eye(2)), params, growing_strengths(np.eye(2), np.eye(2)))
