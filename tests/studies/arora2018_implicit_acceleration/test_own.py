"""What is particular to the study of implicit acceleration: its baselines, data and starts."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.problems import Function
from thalweg.studies.arora2018_implicit_acceleration import exact, regression


def test_the_baselines_are_those_of_the_paper():
    target = np.array([1.0, -2.0, 0.5])
    problem = Function(lambda w: jnp.sum((w - target) ** 4), np.full(3, 0.3))

    def steps(dynamics):
        state = dynamics.init(problem, jnp.asarray(problem.start))
        for _ in range(4):
            state = dynamics.step(problem, state, None)[0]
        return state.params

    w, total = np.full(3, 0.3), np.zeros(3)
    for _ in range(4):
        g = 4 * (w - target) ** 3
        total = total + g**2
        w = w - 0.2 * g / np.sqrt(total + 1e-8)
    np.testing.assert_allclose(steps(regression.adagrad(jnp.asarray(0.2))), w, rtol=1e-13)
    w, slopes, moves = np.full(3, 0.3), np.zeros(3), np.zeros(3)
    for _ in range(4):
        g = 4 * (w - target) ** 3
        slopes = 0.95 * slopes + 0.05 * g**2
        move = np.sqrt(moves + 1e-6) / np.sqrt(slopes + 1e-6) * g
        moves = 0.95 * moves + 0.05 * move**2
        w = w - 3.0 * move
    np.testing.assert_allclose(steps(regression.adadelta(jnp.asarray(3.0))), w, rtol=1e-12)


def test_data_and_starts():
    X, y, direction = regression.sample(0)
    assert X.shape == (300, 32)
    scales = np.linalg.svd(X, compute_uv=False) / np.sqrt(300)
    np.testing.assert_allclose(scales[:8] * np.arange(1, 9), 1, atol=0.2)
    assert y.mean() == pytest.approx(0, abs=1e-14)
    assert y.std() == pytest.approx(1)
    start = regression.balanced(0.01 * direction, 3)
    norms = [np.linalg.norm(layer["weight"]) for layer in start]
    np.testing.assert_allclose(norms, 0.01 ** (1 / 3))
    np.testing.assert_allclose(exact.whole(start)[0], 0.01 * direction)
