"""GroupRMSprop by a loop in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.dynamics import optax_dynamics
from thalweg.dynamics.grouped_rmsprop import group_rmsprop
from thalweg.problems import Function


@pytest.mark.parametrize(("decay", "epsilon"), [(0.99, 1e-6), (0.6, 0.05)])
def test_it_is_rmsprop_of_the_whole_gradient(decay, epsilon):
    scale = np.array([1.0, 3.0, 0.1])
    problem = Function(
        lambda p: 0.5 * jnp.sum(scale[:2] * p["a"] ** 2) + 0.05 * p["b"] ** 2,
        start={"a": jnp.array([1.0, -0.5]), "b": jnp.array(2.0)},
    )
    dynamics = optax_dynamics(group_rmsprop(0.01, decay, epsilon), 0.01)
    state = dynamics.init(problem, problem.init(jnp.zeros(2, jnp.uint32)))
    x, v = np.array([1.0, -0.5, 2.0]), 0.0
    for k in range(1, 30):
        state, _ = dynamics.step(problem, state, jnp.zeros(2, jnp.uint32))
        g = scale * x
        v = decay * v + (1 - decay) * g @ g
        x = x - 0.01 * g / (np.sqrt(v / (1 - decay**k)) + epsilon)
    np.testing.assert_allclose(np.r_[state.params["a"], state.params["b"]], x, rtol=1e-12)
    assert float(state.time) == pytest.approx(0.29)
