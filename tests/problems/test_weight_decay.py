"""Weight decay: its formula, and how it lets unbalanced layers forget their difference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.problems.linear_targets import DeepLinear
from thalweg.problems.weight_decay import Decayed

W1, W2 = (jnp.asarray(w) for w in np.random.default_rng(0).normal(size=(2, 3, 3)))


def test_objective():
    plain = DeepLinear(jnp.eye(3), draw=lambda key: [W1, W2])
    problem = Decayed(plain, 0.2)
    params = problem.init(jax.random.key(0))
    square = np.sum(np.asarray(W1) ** 2) + np.sum(np.asarray(W2) ** 2)
    expected = float(plain.objective(params)) + 0.1 * square
    assert float(problem.objective(params)) == pytest.approx(expected, rel=1e-14)
    assert problem.smooth
    assert problem.describe()["weight_decay"] == 0.2


def test_the_difference_of_layers_decays_at_twice_the_rate():
    """W_2^T W_2 - W_1 W_1^T = e^{-2 lambda t} times its start, on gradient flow."""
    problem = Decayed(DeepLinear(jnp.eye(3), draw=lambda key: [W1, W2]), 0.3)
    flow = tw.run(problem, tw.gradient_flow(1e-9), times=[0.0, 0.7])
    a, b = np.moveaxis(flow.parameters[0].values.reshape(2, 2, 3, 3), 1, 0)
    gap = np.swapaxes(b, -1, -2) @ b - a @ np.swapaxes(a, -1, -2)
    np.testing.assert_allclose(gap[1], np.exp(-2 * 0.3 * 0.7) * gap[0], atol=1e-7)


def test_bad_input_is_told():
    for bad in (-1.0, jnp.asarray(-1), np.nan, np.inf):
        with pytest.raises(tw.InputError, match="from 0 on"):
            Decayed(DeepLinear(jnp.eye(2)), bad)
