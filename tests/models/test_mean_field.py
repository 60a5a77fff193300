"""The mean-field net, its noise and its knots, against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.driver.path import paths
from thalweg.problems.weight_decay import Decayed
from thalweg.theory.mean_field.gibbs import gibbs_net


def test_a_step_is_that_of_the_particles():
    """theta_i <- (1 - 2 lambda s) theta_i - 2 s mean_j (f - y)_j grad sigma(x_j, theta_i)."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 1)), rng.normal(size=(5, 1))
    theta, lam, s = rng.normal(size=(7, 3)), 0.3, 0.05
    net = tw.models.MeanFieldNet(7)
    problem = Decayed(tw.problems.supervised(net, (x, y)), lam)
    descent = tw.gradient_descent(2 * s)
    state = descent.init(problem, net.from_neurons(jnp.asarray(theta)))
    after, _ = descent.step(problem, state, jax.random.key(0))
    a, w, b = theta.T
    before = x * w + b  # (5, 7)
    misfit = np.mean(a * np.maximum(before, 0), axis=1) - y[:, 0]
    on = (before > 0) * misfit[:, None]
    slope = np.stack(
        [
            np.mean(np.maximum(before, 0) * misfit[:, None], axis=0),
            np.mean(on * a * x, axis=0),
            np.mean(on * a, axis=0),
        ],
        axis=1,
    )
    expected = (1 - 2 * lam * s) * theta - 2 * s * slope
    np.testing.assert_allclose(net.neurons(after.params), expected, rtol=1e-12, atol=1e-13)
    loss = np.mean(misfit**2) / 2 + lam / 14 * np.sum(theta**2)
    np.testing.assert_allclose(problem.objective(net.from_neurons(jnp.asarray(theta))), loss)


def test_several_inputs_and_outputs():
    net = tw.models.MeanFieldNet(4)
    rng = np.random.default_rng(1)
    theta, x = rng.normal(size=(4, 2 + 3 + 1)), rng.normal(size=(5, 3))
    a, w, b = theta[:, :2], theta[:, 2:5], theta[:, 5]
    params = net.from_neurons(jnp.asarray(theta), outputs=2)
    expected = np.maximum(x @ w.T + b, 0) @ a / 4
    np.testing.assert_allclose(net.apply(params, jnp.asarray(x)), expected, rtol=1e-12)
    np.testing.assert_allclose(net.neurons(params), theta, rtol=1e-14)


def test_a_start_is_of_standard_normal_neurons():
    net = tw.models.MeanFieldNet(20_000)
    theta = np.asarray(net.neurons(net.init(jax.random.key(0), (1,), 1)))
    np.testing.assert_allclose(np.cov(theta.T), np.eye(3), atol=0.05)


@pytest.mark.parametrize(("convention", "variance"), [("gibbs", 4.0), ("paper", 2.0)])
def test_noise_of_a_neuron(convention, variance):
    """Without data the step is theta + sqrt(variance s/beta) g."""
    s, beta, N = 0.02, 5.0, 4000
    flat = tw.problems.Function(lambda p: 0.0 * jnp.sum(p), start=jnp.zeros(3 * N))
    noise = tw.oracles.particle_noise(beta, 2 * s, N, convention)
    descent = tw.gradient_descent(2 * s, oracle=noise)
    state = descent.init(flat, flat.start)
    after, _ = descent.step(flat, state, jax.random.key(1))
    theta = np.sqrt(N) * np.asarray(after.params)
    np.testing.assert_allclose(np.var(theta), variance * s / beta, rtol=0.05)


@pytest.mark.thorough
def test_particles_sample_the_gibbs_law():
    """1,000 neurons on two points, against the infinitely wide net."""
    s, beta, N = 0.005, 20.0, 1000
    x, y = np.array([[-10.0], [10.0]]), np.array([[2.0], [2.0]])
    net = tw.models.MeanFieldNet(N)
    problem = Decayed(tw.problems.supervised(net, (x, y)), 1.0)
    descent = tw.gradient_descent(2 * s, oracle=tw.oracles.particle_noise(beta, 2 * s, N))
    start = net.init(jax.random.key(0), (1,), 1)

    def observe(problem, state):
        theta = net.neurons(state.params)
        return jnp.append(jnp.mean(jnp.sum(theta**2, 1)), net.apply(state.params, x)[:, 0])

    found = paths(descent, problem, start, 10, 500, observe, jax.random.key(1), over=[])
    energy, *outputs = np.asarray(found.seen)[100:].mean(axis=0)
    exact = gibbs_net(x[:, 0], y[:, 0], 1.0, beta)
    np.testing.assert_allclose(energy, sum(exact.second_moments), atol=0.02)
    np.testing.assert_allclose(outputs, exact.predictor(x[:, 0]), atol=0.01)
    assert abs(energy - sum(gibbs_net(x[:, 0], y[:, 0], 1.0, 2 * beta).second_moments)) > 0.03


def test_knots_of_a_net_are_those_of_its_function():
    rng = np.random.default_rng(2)
    net = tw.models.mlp([6], "relu")
    params = net.init(jax.random.key(0), (1,), 1)
    params[0]["bias"] = jnp.asarray(rng.normal(size=6))
    fine = np.linspace(-4, 4, 3001)
    by_grid = tw.models.function_knots(
        lambda x: np.asarray(net.apply(params, jnp.asarray(x[:, None])))[:, 0], fine, heavy=1e-6
    )
    by_neurons = tw.models.net_knots(params, -4.0, 4.0, together=0.0)
    assert len(by_neurons.at) > 2
    np.testing.assert_allclose(by_grid.at, by_neurons.at, atol=1e-8)
    np.testing.assert_allclose(by_grid.slope_change, by_neurons.slope_change, atol=1e-8)


def test_light_neurons_and_upright_ones_are_no_knots():
    theta = [[1.0, 1.0, 0.0], [1e-5, 1.0, -1.0], [3.0, 0.0, 2.0], [1.0, -1.0, 0.001]]
    net = tw.models.MeanFieldNet(4)
    knots = tw.models.net_knots(net.from_neurons(jnp.asarray(theta)), -2.0, 2.0)
    np.testing.assert_allclose(knots.at, [0.0005], atol=1e-6)
    np.testing.assert_allclose(knots.slope_change, [2 / 4], rtol=1e-12)
    np.testing.assert_allclose(knots.spread, [0.001], rtol=1e-9)


def test_straight_lines_have_no_knots():
    assert len(tw.models.function_knots(lambda x: 1e3 * x - 7, np.linspace(-1, 1, 99)).at) == 0
    upright = tw.models.MeanFieldNet(1).from_neurons(jnp.array([[1.0, 0.0, 1.0]]))
    assert len(tw.models.net_knots(upright).at) == 0


def test_knots_of_gaps_by_hand():
    found = tw.models.knots_of_gaps([-5, -1, 0.2, 0.205, 3.0], [-1.0, 0.0, 2.0, 3.0], 0.001)
    assert found.total.tolist() == [1, 2, 1]
    assert found.interior.tolist() == [0, 2, 0]


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: tw.models.MeanFieldNet(0), "width came as"),
        (lambda: tw.models.MeanFieldNet(2).from_neurons(jnp.ones((3, 3))), "theta came with"),
        (lambda: tw.oracles.particle_noise(1.0, 0.1, 0), "width came as"),
        (lambda: tw.oracles.particle_noise(0.0, 0.1, 3), "inverse_temperature came as"),
        (lambda: tw.oracles.particle_noise(1.0, 0.1, 3, "printed"), "convention"),
        (lambda: tw.models.net_knots([{"weight": jnp.ones((2, 2))}]), "one hidden layer"),
        (lambda: tw.models.function_knots(lambda x: x, [0.0, 1.0]), "grid came as"),
        (
            lambda: tw.models.function_knots(lambda x: x[1:], [0.0, 1.0, 2.0]),
            "the function came with",
        ),
        (lambda: tw.models.knots_of_gaps([0.0], [1.0, 0.0]), "x came as"),
    ],
)
def test_bad_input(call, word):
    with pytest.raises(InputError, match=word):
        call()
