"""Normalised gradient descent against the formula, and where plain gradients are gone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.dynamics.normalised import inverse_root_steps, normalised_descent
from thalweg.problems import Function
from thalweg.problems.linear_classification import linear_classifier

X = np.array([(0.5, 1.5), (2, 0.25), (2.5, 1)])
KEY = jax.random.key(0)


def steps(dynamics, problem, count):
    state = dynamics.init(problem, problem.init(KEY))
    for _ in range(count):
        state, info = dynamics.step(problem, state, KEY)
    return state, info


@pytest.mark.parametrize("by", ["gradient", "loss"])
def test_steps_by_the_formula(by):
    problem = linear_classifier(X, start=[0.1, -0.2])
    w = np.array([0.1, -0.2])
    for k in range(4):
        u = X @ w
        g, loss = -(1 / (1 + np.exp(u))) @ X, np.sum(np.log1p(np.exp(-u)))
        w = w - 0.3 / np.sqrt(k + 1) * g / (np.linalg.norm(g) if by == "gradient" else loss)
    state, info = steps(normalised_descent(inverse_root_steps(0.3), by), problem, 4)
    np.testing.assert_allclose(state.params, w, rtol=1e-12)
    assert float(info.loss) == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("by", ["gradient", "loss"])
def test_bare_functions_by_the_formula(by):
    problem = Function(lambda x: 2 + x @ x, jnp.array([3.0, 4.0]))
    state, info = steps(normalised_descent(0.5, by), problem, 1)
    length = 5.0 - 0.5 if by == "gradient" else 5.0 - 0.5 * 10 / 27
    np.testing.assert_allclose(state.params, length * np.array([0.6, 0.8]), rtol=1e-14)
    assert float(info.loss) == pytest.approx(27)


def test_a_negative_objective_can_be_followed_by_its_gradient():
    problem = Function(lambda x: x @ x - 100, jnp.array([3.0, 4.0]))
    state, _ = steps(normalised_descent(1.0), problem, 1)
    np.testing.assert_allclose(state.params, [2.4, 3.2], rtol=1e-14)


def test_no_step_where_the_gradient_is_zero():
    problem = Function(lambda x: x @ x, jnp.zeros(2))
    state, _ = steps(normalised_descent(0.5), problem, 1)
    np.testing.assert_array_equal(state.params, 0)


@pytest.mark.parametrize("by", ["gradient", "loss"])
def test_goes_on_where_loss_and_gradient_underflow(by):
    problem = linear_classifier([(1.0, 0.0), (2.0, 1.0)], "exponential", [1000.0, 0.0])
    assert float(problem.objective(problem.start)) == 0
    state, _ = steps(normalised_descent(0.5, by), problem, 1)
    np.testing.assert_allclose(state.params, [1000.5, 0])  # g/f = g/|g| = -(1, 0)
    assert int(state.result) == 0


def test_clock_is_the_sum_of_step_sizes():
    dynamics = normalised_descent(inverse_root_steps(0.3))
    sums = np.cumsum(0.3 / np.sqrt(np.arange(1, 11)))
    np.testing.assert_allclose(dynamics.clock(np.array([1, 10])), sums[[0, 9]])
    run = tw.run(linear_classifier(X), dynamics, times=dynamics.clock(np.array([1, 10])))
    np.testing.assert_array_equal(run.dataset["step"].values[0], [1, 10])
    np.testing.assert_allclose(run.dataset["time"].values, sums[[0, 9]])
    np.testing.assert_allclose(normalised_descent(0.2).clock(np.array([5])), [1.0])


def test_margin_comes_faster_than_by_descent():
    dynamics = normalised_descent(inverse_root_steps(0.3), by="loss")
    state, _ = steps(dynamics, linear_classifier(X, "exponential"), 300)
    w = np.asarray(state.params)
    best = np.linalg.norm(np.linalg.solve(X[:2], [1, 1])) ** -1
    assert best - np.min(X @ w) / np.linalg.norm(w) < 0.03


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: normalised_descent(0.1, "norm"), "unknown normalisation"),
        (lambda: normalised_descent(-0.1), "step size"),
        (lambda: inverse_root_steps(0.0), "positive"),
    ],
)
def test_bad_input(call, word):
    with pytest.raises(InputError, match=word):
        call()
