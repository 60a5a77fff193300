"""Levenberg-Marquardt against the normal equations, SciPy, and what it must do on either side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.driver.interpolation import (
    _net,
    interpolation_residuals,
    interpolation_threshold,
)
from thalweg.dynamics.damped_gauss_newton import damped_step, least_squares, levenberg_marquardt
from thalweg.models import mlp
from thalweg.problems import supervised
from thalweg.problems.data.random_labels import random_data


def one(theta, example):
    x, y = example
    return jnp.stack([jnp.tanh(x @ theta[:3]) - y, 0.1 * jnp.sin(theta[3] * x[0])])


X = np.random.default_rng(0).standard_normal((5, 3))
EXAMPLES = (jnp.asarray(X), jnp.asarray([0.3, -0.5, 0.9, 0.1, -0.2]))
THETA = jnp.asarray([0.4, -1.0, 0.2, 0.7])


def everything(theta):
    return np.asarray(jax.vmap(one, (None, 0))(jnp.asarray(theta), EXAMPLES)).ravel()


def test_a_step_solves_the_normal_equations():
    damping = 0.3
    J = np.asarray(jax.jacfwd(lambda t: jax.vmap(one, (None, 0))(t, EXAMPLES).ravel())(THETA))
    r = everything(THETA)
    expected = THETA - np.linalg.solve(J.T @ J + damping * np.eye(4), J.T @ r)
    went = damped_step(one, EXAMPLES, THETA, jnp.asarray(damping))
    np.testing.assert_allclose(went.theta, expected, atol=1e-13)
    assert float(went.damping) == pytest.approx(damping / 5)
    assert float(went.square) == pytest.approx(np.sum(everything(expected) ** 2))
    assert int(went.tries) == 1


def test_damping_rises_until_the_residuals_fall():
    """r = arctan theta far out: an undamped step overshoots to where |r| is larger."""

    def steep(theta, _):
        return jnp.arctan(theta)

    start = jnp.asarray([3.0])
    went = damped_step(steep, jnp.zeros(1), start, jnp.asarray(1e-6), tries=20)
    assert int(went.tries) > 1
    final = 1e-6 * 4.0 ** (int(went.tries) - 1)
    slope = 1 / 10
    np.testing.assert_allclose(
        went.theta[0], 3 - slope * np.arctan(3) / (slope**2 + final), rtol=1e-12
    )
    assert float(went.damping) == pytest.approx(final / 5)
    stuck = damped_step(steep, jnp.zeros(1), start, jnp.asarray(1e-6), tries=2)
    assert float(stuck.theta[0]) == 3.0
    assert float(stuck.damping) == pytest.approx(16e-6)


def test_more_residuals_than_parameters_ends_where_scipy_does():
    fit = least_squares(one, EXAMPLES, THETA)
    found = optimize.least_squares(
        everything, np.asarray(THETA), method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    assert float(fit.mean_square) == pytest.approx(2 * found.cost / 10, rel=1e-9)
    np.testing.assert_allclose(fit.theta[:3], found.x[:3], atol=1e-6)


def test_fewer_residuals_than_parameters_end_at_zero():
    fit = least_squares(
        lambda t, e: (jnp.tanh(e[0] @ t[:3]) + t[3:] @ t[3:] * e[0][:1] - e[1])[:1],
        jax.tree.map(lambda a: a[:2], EXAMPLES),
        jnp.ones(8) * 0.3,
    )
    assert float(fit.mean_square) < 1e-18
    assert int(fit.steps) < 100


def test_as_a_dynamics_it_fits_and_its_clock_counts_steps():
    problem = supervised(mlp((8,), "tanh"), random_data(10, 3, "gaussian", seed=1))
    run = tw.run(problem, levenberg_marquardt(), until=60.0, records=60)
    loss = run.dataset["loss"].values[0]
    assert np.all(np.diff(loss) <= 0)
    assert loss[-1] < 1e-18
    np.testing.assert_array_equal(run.dataset["step"].values[0], np.arange(61))
    np.testing.assert_array_equal(run.dataset["evaluations"].values[0], np.arange(61))
    assert np.all((run.dataset["damping"] >= 1e-12) & (run.dataset["damping"] <= 1e8))


def test_a_step_of_the_dynamics_is_the_step():
    problem = supervised(mlp((4,), "tanh"), random_data(6, 3, "gaussian", seed=2))
    params = problem.init(jax.random.key(0))
    theta, unravel = jax.flatten_util.ravel_pytree(params)
    J = np.asarray(jax.jacrev(lambda t: problem.outputs(unravel(t)).ravel())(theta))
    r = np.asarray(problem.outputs(params) - problem.targets).ravel()
    moved = theta - np.linalg.solve(J.T @ J + np.eye(theta.size), J.T @ r)
    dynamics = levenberg_marquardt()
    after, _ = dynamics.step(problem, dynamics.init(problem, params), jax.random.key(0))
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(after.params)[0], moved, atol=1e-12)


def test_other_problems_are_refused():
    labels = supervised(mlp((4,)), random_data(20, 3, 2), "cross-entropy")
    with pytest.raises(InputError, match="least squares"):
        tw.run(labels, levenberg_marquardt(), until=1.0)


def test_padding_changes_nothing():
    """The padded net is the net of its width."""
    rng = np.random.default_rng(5)
    most, width, size = 6, 4, 3
    theta, x = rng.standard_normal(5 * most + 1), rng.standard_normal(size)
    v, b, w, c = theta[:most], theta[most : 2 * most], theta[2 * most : -1], theta[-1]
    W = w.reshape(most, size)[:width]
    expected = c + v[:width] @ np.tanh(W @ x / np.sqrt(size) + b[:width]) / np.sqrt(width)
    got = _net(jnp.asarray(theta), jnp.asarray(x), jnp.asarray(float(width)), most)
    assert float(got) == pytest.approx(expected, rel=1e-14)


def test_residuals_fall_from_no_fit_to_a_fit():
    sets = [random_data(10, 3, "gaussian", seed=s) for s in range(2)]
    residual = interpolation_residuals(
        np.stack([s.inputs for s in sets]),
        np.stack([s.targets[:, 0] for s in sets]),
        [1, 4],
        2,
        jax.random.key(0),
        steps=80,
    )
    assert residual.shape == (2, 2)
    assert np.all(residual[0] > 1e-4)  # 6 parameters, 10 labels
    assert np.all(residual[1] < 1e-18)  # 21 parameters
    with pytest.raises(InputError, match="at least 1"):
        interpolation_residuals(np.zeros((1, 2, 1)), np.zeros((1, 2)), [0], 1, jax.random.key(0))


def test_the_threshold_is_the_first_with_half():
    assert interpolation_threshold([11, 21, 31], [0, 0.5, 1]) == 21
    assert np.isnan(interpolation_threshold([11, 21], [0, 0.25]))
