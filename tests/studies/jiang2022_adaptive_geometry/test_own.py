"""What is particular to the study of adaptive geometry: its optimisers, training twice."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from thalweg.problems import Function
from thalweg.studies.jiang2022_adaptive_geometry import linear, network


def test_the_optimisers_are_those_of_the_paper():
    """V <- mu V + g, W <- W - eta V; Adam with bias correction and epsilon outside the root."""
    d, target = 4, np.array([1.0, -2.0, 0.5, 3.0])
    problem = Function(lambda w: jnp.sum((w**2 - target) ** 2), np.full(d, 0.3))

    def steps(name):
        dynamics = linear.optimiser(name, d, epsilon=1e-2)
        state = dynamics.init(problem, problem.start)
        for _ in range(5):
            state = dynamics.step(problem, state, jax.random.key(0))[0]
        return np.asarray(state.params)

    w, V = np.full(d, 0.3), np.zeros(d)
    for _ in range(5):
        V = 0.9 * V + 4 * w * (w**2 - target)
        w = w - 0.001 * V
    np.testing.assert_allclose(steps("SGD with momentum"), w, rtol=1e-13)
    w, m, v = np.full(d, 0.3), np.zeros(d), np.zeros(d)
    for t in range(1, 6):
        g = 4 * w * (w**2 - target)
        m, v = 0.9 * m + 0.1 * g, 0.9 * v + 0.1 * g**2
        w = w - 5e-4 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-2)
    np.testing.assert_allclose(steps("Adam"), w, rtol=1e-12)


def test_the_network_has_its_own_step_sizes():
    one, seven = (network.optimiser("SGD with momentum", seed) for seed in (1, 7))
    assert float(one.step_size) == 0.1
    assert float(seven.step_size) == 0.05
    assert float(network.optimiser("Adam", 7).step_size) == 5e-4
    assert isinstance(one.transform, optax.GradientTransformationExtraArgs)


def test_training_to_the_matched_steps_is_the_same_run(results):
    """Both runs of a start pass the same losses, to the bit."""
    data = results["X2"].isel(seed=0)
    for name in data["optimiser"].values:
        one = data.sel(optimiser=name)
        at = one["loss"].sel(step=one["matched_step"]).values
        np.testing.assert_array_equal(at, one["matched_loss"].values)
