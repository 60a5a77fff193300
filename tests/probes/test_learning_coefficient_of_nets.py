"""The local learning coefficient of trained nets, against brute force and their quadratic model."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.flatten_util import ravel_pytree

import thalweg as tw
from thalweg.core.result import Result


def two_weights(w: Any) -> Any:
    """A net of two weights, v tanh(u x), on examples that it does not fit exactly."""
    x = jnp.linspace(-2.0, 2.0, 9)
    return jnp.mean((w[1] * jnp.tanh(w[0] * x) - jnp.sin(x)) ** 2) / 2


@pytest.mark.thorough
def test_a_trained_net_of_two_weights_against_brute_force() -> None:
    """Gibbs means by summing over a grid, at temperatures at which its valley is bent."""
    problem = tw.problems.Function(two_weights, start=jnp.array([1.0, 1.0]))
    found = scipy.optimize.minimize(
        jax.jit(two_weights), problem.start, jac=jax.jit(jax.grad(two_weights)), tol=1e-12
    )
    best, side = jnp.asarray(found.x), np.linspace(-6.0, 6.0, 1201)
    x = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    rise = np.asarray(jax.jit(jax.vmap(two_weights))(best + x)) - found.fun
    for t, g in ((5.0, 1.0), (100.0, 1.0), (100.0, 30.0)):
        weight = np.exp(-t * rise - g / 2 * np.sum(x**2, axis=1))
        exact = t * np.sum(rise * weight) / np.sum(weight)
        quadratic = 0.5 * sum(
            t * h / (t * h + g) for h in np.linalg.eigvalsh(jax.hessian(two_weights)(best))
        )
        probe = tw.probes.learning_coefficient(t, g, draws=3200)
        value, error, result = tw.measure(problem, best, probe)
        assert result == Result.OK
        assert abs(value - exact) < 3 * error
        if (t, g) == (100.0, 1.0):
            assert abs(exact - quadratic) > 3 * error  # the quadratic model would not do


@pytest.mark.thorough
def test_a_net_held_closely_has_the_coefficient_of_its_quadratic_model() -> None:
    """1,510 weights at a point where descent was stopped, the slope there included."""
    problem = tw.problem("digits", samples=64, model="mlp:20")
    theta, unravel = ravel_pytree(problem.init(jax.random.key(0)))
    slope = jax.jit(jax.value_and_grad(lambda w: problem.objective(unravel(w))))
    theta = jnp.asarray(
        scipy.optimize.minimize(
            slope, theta, jac=True, method="L-BFGS-B", options={"maxiter": 25}
        ).x
    )
    h, V = np.linalg.eigh(np.asarray(tw.curvature.hessian(problem, unravel(theta)).dense()))
    t, g = 2000.0, 1000.0
    stiff, along = t * h + g, V.T @ np.asarray(slope(theta)[1])
    shift = -t * along / stiff
    exact = float(np.sum(t * (along * shift + h * shift**2 / 2) + t * h / stiff / 2))
    probe = tw.probes.learning_coefficient(t, g, draws=80)
    value, error, result = tw.measure(problem, unravel(theta), probe)
    assert result == Result.OK
    assert abs(value - exact) < 3 * error + 0.05 * abs(exact)  # what is not quadratic
    assert error < 0.1 * abs(exact)
