"""Natural gradient with exact matrices and its flow: closed forms, brute force, their stability."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import thalweg as tw
from thalweg.dynamics import natural_gradient_descent, natural_gradient_flow
from thalweg.dynamics.natural_gradient.exact import MATRICES, metric_price

DRAWN = np.random.default_rng(3)
X = DRAWN.normal(size=(5, 3)) * [1.0, 4.0, 0.3]
Y = DRAWN.normal(size=(5, 2))


def line(reduction: str = "mean") -> tw.problems.Supervised:
    return tw.problems.supervised(tw.models.linear([]), (X, Y), reduction=reduction)


def best() -> np.ndarray:
    return np.linalg.lstsq(X, Y, rcond=None)[0].T.ravel()


def softmax() -> tw.problems.Supervised:
    labels = np.array([0, 1, 2, 0, 1])
    return tw.problems.supervised(tw.models.mlp([2], "tanh"), (X, labels), "cross-entropy")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_on_least_squares_errors_shrink_alike_in_all_directions(reduction: str) -> None:
    """F is the Hessian there: theta - theta* falls by 1 - eta a step, along the flow as exp(-t)."""
    problem, eta = line(reduction), 0.25
    start = problem.init(jax.random.key(1))
    begun = np.asarray(ravel_pytree(start)[0]) - best()
    steps = tw.run(problem, natural_gradient_descent(eta, 0.0), until=1.0, records=4, start=start)
    for k, theta in enumerate(steps.parameters[0].values):
        np.testing.assert_allclose(theta - best(), (1 - eta) ** k * begun, atol=1e-10)
    flow = natural_gradient_flow(0.0, error=1e-6)
    path = tw.run(problem, flow, until=1.0, records=1, start=start)
    end = path.parameters[0, -1].values - best()
    exact = np.exp(-1.0) * begun
    assert np.linalg.norm(end - exact) <= 5 * float(path.dataset["path_error"][0, -1]) + 1e-12
    np.testing.assert_allclose(end, exact, atol=1e-5)


@pytest.mark.parametrize("matrix", ["fisher", "gauss-newton"])
def test_the_step_is_that_of_brute_force(matrix: str) -> None:
    """F example by example, class by class, in NumPy."""
    problem, lam, eta = softmax(), 0.03, 0.2
    start = problem.init(jax.random.key(0))
    theta, unravel = ravel_pytree(start)

    def outputs(flat: jax.Array) -> jax.Array:
        return problem.model.apply(unravel(flat), jnp.asarray(X))

    J = np.asarray(jax.jacfwd(outputs)(theta))
    z = np.asarray(outputs(theta))
    F = np.zeros((theta.size, theta.size))
    for i in range(len(X)):
        p = np.exp(z[i] - z[i].max())
        p /= p.sum()
        for c in range(3):  # targets drawn from the model
            g = J[i].T @ (p - np.eye(3)[c])
            F += p[c] * np.outer(g, g) / len(X)
    gradient = np.asarray(ravel_pytree(jax.grad(problem.objective)(start))[0])
    exact = theta - eta * np.linalg.solve(F + lam * np.eye(theta.size), gradient)
    steps = natural_gradient_descent(eta, lam, matrix)
    after, _ = steps.step(problem, steps.init(problem, start), jax.random.key(0))
    np.testing.assert_allclose(ravel_pytree(after.params)[0], exact, rtol=1e-9, atol=1e-12)
    assert int(after.evaluations) == 1 + int(np.ceil((1 + 4 * theta.size) / 3))


def test_of_kronecker_factors_it_is_their_solution() -> None:
    problem, lam = softmax(), 0.05
    start = problem.init(jax.random.key(0))
    factored = tw.curvature.kronecker_fisher(problem, start, damping=lam)
    gradient = ravel_pytree(jax.grad(problem.objective)(start))[0]
    theta = ravel_pytree(start)[0]
    steps = natural_gradient_descent(0.5, lam, "kronecker")
    after, _ = steps.step(problem, steps.init(problem, start), jax.random.key(0))
    exact = theta - 0.5 * factored.solve(gradient)
    np.testing.assert_allclose(ravel_pytree(after.params)[0], exact, rtol=1e-8)
    assert metric_price("kronecker", problem, start) == 1 + 3


@pytest.mark.thorough
def test_along_newtons_flow_the_gradient_keeps_its_direction() -> None:
    def bent(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.cosh(x)) + 0.5 * (x[0] - 2 * x[1]) ** 2

    start = jnp.asarray([1.5, -1.0, 0.4])
    problem = tw.problems.Function(bent, start=start)
    flow = natural_gradient_flow(0.0, "hessian", error=1e-7)
    end = tw.run(problem, flow, until=2.0, records=1).parameters[0, -1].values
    first = jax.grad(bent)(start)
    np.testing.assert_allclose(jax.grad(bent)(jnp.asarray(end)), np.exp(-2.0) * first, rtol=1e-4)


@pytest.mark.thorough
def test_it_follows_its_flow_and_is_stable_as_its_matrix_says(tmp_path: Path) -> None:
    problem = softmax()
    params = problem.init(jax.random.key(0))
    gaps = []
    for eta in (0.2, 0.1):
        steps = natural_gradient_descent(eta, 0.05)
        flow = steps.limit(problem, params)
        one = tw.run(problem, steps, until=1.0, records=5, start=params)
        two = tw.run(problem, flow, until=1.0, records=5, start=params)
        gaps.append(float(tw.distance(one, two)["distance"].max()))
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.25)  # of first order
    found = tw.diagnose(problem, steps, until=1.0, records=5, start=params, out=tmp_path / "run")
    assert found.comparison.flow == "the natural gradient flow"
    assert not found.comparison.apart
    assert found.comparison.regime == "on the flow"
    M = MATRICES["fisher"][0](problem, params, jnp.asarray(0.05))
    H = tw.curvature.hessian(problem, params).dense()
    exact = np.linalg.eigvals(np.linalg.solve(M, H)).real.max()
    measured = found.descent.dataset["preconditioned_sharpness"].values[0, 0]
    assert measured == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: natural_gradient_descent(0.0), "step size came as 0.0"),
        (lambda: natural_gradient_descent(0.1, -1.0), "damping came as -1.0"),
        (lambda: natural_gradient_descent(0.1, matrix="fishr"), "Did you mean 'fisher'?"),
        (lambda: natural_gradient_flow(0.1, error=2.0), "error came as 2.0"),
        (
            lambda: tw.run(bowl(3), natural_gradient_descent(0.1), until=1.0, records=1),
            "give a problem made by `supervised`",
        ),
        (
            lambda: tw.run(
                bowl(2001), natural_gradient_descent(0.1, matrix="hessian"), until=1.0, records=1
            ),
            "give at most 2,000, or take kfac",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(call, words: str) -> None:
    with pytest.raises(tw.InputError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def bowl(p: int) -> tw.problems.Function:
    return tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(p))
