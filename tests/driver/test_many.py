"""Many step sizes at once are the same as one after the other."""

import jax.numpy as jnp
import numpy as np

import thalweg as tw
from thalweg.driver.many import over_grid, steps_to
from thalweg.problems.closed_form import Quadratic

PROBLEM = Quadratic([1.0, 3.0], [0.0, 0.0], [1.0, -2.0])


def distance(problem, params):
    return jnp.max(jnp.abs(params))


def test_losses_are_those_of_the_closed_form():
    """On a quadratic z_i(k) = (1 - eta h_i)^k z_i(0); the last rate diverges."""
    rates, steps = np.array([0.1, 0.5, 1.0]), 6
    found = over_grid(tw.gradient_descent, jnp.asarray(rates), PROBLEM, PROBLEM.start, steps)
    k = np.arange(steps + 1)[:, None]
    z = (1 - rates[:, None, None] * np.array([1.0, 3.0])) ** k * np.array([1.0, -2.0])
    np.testing.assert_allclose(found, (z**2 @ [1.0, 3.0]) / 2, rtol=1e-12, atol=1e-15)
    seen = over_grid(
        tw.gradient_descent, jnp.asarray(rates), PROBLEM, PROBLEM.start, steps, distance
    )
    np.testing.assert_allclose(seen, np.max(np.abs(z), axis=-1), rtol=1e-12)


def test_steps_to():
    curves = np.array([[4.0, 2.0, 1.0, 3.0], [4.0, np.nan, np.inf, 4.0], [1.0, 5.0, 0.0, 0.0]])
    np.testing.assert_array_equal(steps_to(curves, 1.0), [2, 4, 0])
    np.testing.assert_array_equal(steps_to(curves, [3.0, 4.0, 0.5]), [1, 0, 2])
