"""Descent of scale-invariant objectives against the identities that hold at every step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.hessian_product import dense_hessian
from thalweg.dynamics import decayed_descent, sharpness_reduction_flow, spherical_rmsprop
from thalweg.problems import Decayed, NormalisedCompletion, NormalisedRegression, observed_entries
from thalweg.theory.limits.sharpness_reduction import (
    Circle,
    effective_rate,
    next_inverse_square,
    normalised_target,
)

ETA, LAMBDA = 0.3, 0.2
DRAWN = np.random.default_rng(3)
X, Y = DRAWN.normal(size=(5, 9)), DRAWN.normal(size=5) + 2.0


def regression() -> NormalisedRegression:
    return NormalisedRegression(X, Y, 1.7)


def completion() -> NormalisedCompletion:
    truth = DRAWN.normal(size=(4, 1)) @ DRAWN.normal(size=(1, 3))
    return NormalisedCompletion(observed_entries(jax.random.key(1), truth, 8), 3, 1.3)


def flat(params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


@pytest.mark.parametrize("make", [regression, completion])
def test_the_direction_is_projected_descent_and_the_norm_a_scheduler(make):
    """E1 and E2, step by step, and gradients orthogonal to the parameters."""
    problem, descent = make(), decayed_descent(ETA, LAMBDA)
    slope, key = jax.jit(jax.grad(problem.objective)), jax.random.key(0)
    step = jax.jit(lambda state: descent.step(problem, state, key)[0])
    state = descent.init(problem, problem.init(jax.random.key(2)))
    for _ in range(20):
        w, after = state.params, step(state)
        norm = np.linalg.norm(flat(w))
        theta = jax.tree.map(lambda x, n=norm: x / n, w)
        g = flat(slope(theta))
        assert abs(g @ flat(theta)) < 1e-14 * max(1, np.linalg.norm(g))
        rate = effective_rate(ETA, LAMBDA, norm**2)
        moved = flat(theta) - rate * g
        later = flat(after.params)
        np.testing.assert_allclose(
            later / np.linalg.norm(later), moved / np.linalg.norm(moved), rtol=0, atol=1e-14
        )
        inverse = effective_rate(ETA, LAMBDA, later @ later) ** -2.0
        expected = next_inverse_square(rate, g @ g, ETA * LAMBDA)
        np.testing.assert_allclose(inverse, expected, rtol=1e-13)
        state = after


def test_it_is_descent_on_the_decayed_objective():
    problem = tw.problems.supervised(tw.models.mlp([3], "tanh"), (X, Y))
    options = {"until": 20 * ETA, "records": 4, "progress": False}
    one = tw.run(problem, decayed_descent(ETA, LAMBDA), **options)
    other = tw.run(Decayed(problem, LAMBDA), tw.gradient_descent(ETA), **options)
    np.testing.assert_allclose(one.parameters, other.parameters, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(one.dataset["decay_time"], LAMBDA * one.dataset["time"], rtol=1e-14)
    assert float(one.dataset["loss"][0, -1]) < float(other.dataset["loss"][0, -1])
    plain = tw.run(problem, decayed_descent(ETA, 0.0), **options)
    descent = tw.run(problem, tw.gradient_descent(ETA), **options)
    np.testing.assert_array_equal(plain.parameters, descent.parameters)


def test_the_null_space_shrinks_by_the_decay_alone():
    problem = regression()
    path = tw.run(problem, decayed_descent(ETA, LAMBDA), until=40 * ETA, records=8, progress=False)
    projector = normalised_target(X, Y).flattest.null_projector
    w = path.parameters.values[0]
    steps = path.dataset["step"].values[0]
    shrunk = w @ projector / (1 - ETA * LAMBDA) ** steps[:, None]
    np.testing.assert_allclose(shrunk, np.broadcast_to(shrunk[0], shrunk.shape), atol=1e-12)


def test_the_sharpness_of_a_minimum_is_that_of_the_closed_form():
    """E7: K ||w_lin||^2 and the rank n - 2, at random minima."""
    target, problem = normalised_target(X, Y), regression()
    for seed in range(3):
        drawn = np.random.default_rng(seed).normal(size=9)
        w_lin = target.flattest.descent_limit(drawn)
        theta = w_lin / np.linalg.norm(w_lin)
        assert float(problem.objective(theta)) < 1e-28
        np.testing.assert_allclose(problem.regressor(7.0 * theta), w_lin, rtol=1e-12, atol=1e-13)
        values = np.linalg.eigvalsh(dense_hessian(problem.objective, jnp.asarray(theta)))
        np.testing.assert_allclose(values[-1], target.sharpness(w_lin), rtol=1e-12)
        assert np.sum(values > 1e-10 * values[-1]) == 5 - 2


def test_the_scheduler_on_the_sphere_keeps_its_equations():
    problem, eta, C, v = regression(), 0.05, 3.0, 0.7
    dynamics = spherical_rmsprop(eta, C, v)
    slope = jax.jit(jax.grad(problem.objective))
    state = dynamics.init(problem, problem.init(jax.random.key(0)))
    for _ in range(10):
        theta = np.asarray(state.params)
        g = np.asarray(slope(theta))
        after = dynamics.step(problem, state, jax.random.key(0))[0]
        moved = theta - eta / np.sqrt(v) * g
        np.testing.assert_allclose(after.params, moved / np.linalg.norm(moved), atol=1e-14)
        v = (1 - C * eta**2) * v + C * eta**2 * g @ g
        np.testing.assert_allclose(after.memory, v, rtol=1e-13)
        state = after
    assert dynamics.clocks(problem)["slow_time"].of(np.array([4])) == pytest.approx(4 * eta**2)


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("averaging", [2.0, 1.0])
def test_on_the_circle_the_flow_is_that_of_one_angle(averaging):
    """Against SciPy's integrator of the angle, with the error that it states, and order four."""
    problem, circle = tw.problems.circle_of_minima(3.0), Circle(3.0)
    problem = tw.problems.Function(problem.function, jnp.array([np.cos(1.3), np.sin(1.3), 0.0]))
    expected = circle.angles(1.3, np.linspace(0, 2.4, 4), averaging)
    errors = []
    for step in (0.2, 0.1):
        flow = sharpness_reduction_flow(step, averaging)
        path = tw.run(problem, flow, until=2.4, records=3, progress=False)
        d = path.dataset.isel(seed=0)
        theta = path.parameters.values[0]
        off = np.abs(np.arctan2(theta[:, 1], theta[:, 0]) - expected)
        told = d["path_error"].values
        assert (off[1:] < 4 * told[1:]).all()
        assert (told[1:] < 20 * off[1:]).all()
        errors.append(off[-1])
        np.testing.assert_allclose(d["largest_eigenvalue"], circle.sharpness(expected), rtol=1e-3)
        assert (d["rank"] == 1).all()
    assert 8 < errors[0] / errors[1] < 40


@pytest.mark.thorough
def test_in_normalised_regression_the_tangent_decays_exponentially():
    """E8, a closed form that knows nothing of the flow's code."""
    target, problem = normalised_target(X, Y), regression()
    path = tw.run(problem, sharpness_reduction_flow(0.1), until=2.0, records=2, progress=False)
    d = path.dataset.isel(seed=0)
    regressors = [np.asarray(problem.regressor(w)) for w in path.parameters.values[0]]
    tangent = target.tangent(regressors)
    np.testing.assert_allclose(tangent, tangent[0] * np.exp(-d["time"].values), rtol=1e-4)
    np.testing.assert_allclose(d["log_slope"], 2 * tangent, rtol=1e-9)
    np.testing.assert_allclose(d["largest_eigenvalue"], target.sharpness(regressors), rtol=1e-9)
    assert (d["result"] == 0).all()
    assert (d["rank"] == 3).all()


def test_where_two_eigenvalues_coincide_it_says_so():
    """L = |theta_3|^2 + |theta_4|^2: the largest is double, and has no gradient."""

    def double(w):
        return jnp.sum(w[2:] ** 2) / jnp.sum(w**2)

    problem = tw.problems.Function(double, start=jnp.array([1.0, 0.5, 0.0, 0.0]))
    path = tw.run(problem, sharpness_reduction_flow(), until=0.1, records=1, progress=False)
    assert int(path.dataset["result"][0, -1]) == tw.Result.NOT_CONVERGED


@pytest.mark.slow
def test_where_two_eigenvalues_cross_it_says_so_from_there_on():
    """Across the circle 1 + 3 sin^2 of the angle and 2.5: the larger falls, no step ends on 2.5."""

    def valley(w):
        x = w / jnp.linalg.norm(w)
        return ((1 + 3 * x[1] ** 2) * x[2] ** 2 + 2.5 * x[3] ** 2) / 2

    start = jnp.array([np.cos(1.3), np.sin(1.3), 0.0, 0.0])
    times = np.linspace(0, 2.4, 7)
    sharpness = Circle(3.0).sharpness(Circle(3.0).angles(1.3, times))
    problem = tw.problems.Function(valley, start=start)
    path = tw.run(problem, sharpness_reduction_flow(0.1), until=2.4, records=6, progress=False)
    d = path.dataset.isel(seed=0)
    before = sharpness > 2.5
    assert 2 < before.sum() < 6
    assert (d["result"].values[before] == tw.Result.OK).all()
    np.testing.assert_allclose(d["largest_eigenvalue"].values[before], sharpness[before], rtol=1e-3)
    assert (d["result"].values[~before] == tw.Result.NOT_CONVERGED).all()


@pytest.mark.slow
def test_a_step_too_long_to_be_stable_is_told():
    """Near phi = 0 the angle falls at the rate b: Runge-Kutta's path does for b h < 2.78 alone."""
    problem = tw.problems.circle_of_minima(60.0)
    problem = tw.problems.Function(problem.function, jnp.array([np.cos(0.05), np.sin(0.05), 0.0]))
    for step, result in ((0.02, tw.Result.OK), (0.1, tw.Result.NOT_CONVERGED)):
        flow = sharpness_reduction_flow(step)
        path = tw.run(problem, flow, until=0.8, records=1, progress=False)
        assert int(path.dataset["result"][0, -1]) == result


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: decayed_descent(0.5, 2.0), "turn the weights round"),
        (lambda: decayed_descent(0.5, -1.0), "weight_decay came as -1.0"),
        (lambda: spherical_rmsprop(0.1, 0.0), "averaging came as 0.0"),
        (lambda: spherical_rmsprop(1.0, 2.0), "not below 1"),
        (lambda: sharpness_reduction_flow(0.0), "step came as 0.0"),
        (lambda: sharpness_reduction_flow(rank_tolerance=2.0), "rank_tolerance came as 2.0"),
    ],
)
def test_bad_numbers_are_refused(wrong, words):
    with pytest.raises(tw.InputError, match=words):
        wrong()


def test_an_objective_of_another_scale_is_refused():
    bowl = tw.problems.Function(lambda x: jnp.sum(x**2), start=jnp.ones(3))
    with pytest.raises(tw.InputError, match="does not change with the scale"):
        tw.run(bowl, sharpness_reduction_flow(), until=1.0, records=1, progress=False)
