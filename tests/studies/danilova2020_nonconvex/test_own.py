"""What is particular to the study: its closed forms, its costs, its functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.studies.danilova2020_nonconvex import functions, sums


def test_closed_forms_are_those_of_the_specification():
    quoted = {
        "SPIDER": [1.45, 2.78, 5.45, 10.8],
        "PAGE": [1.50, 2.83, 5.50, 10.8],
        "SVRG": [0.44, 0.71, 1.12, 1.78],
    }
    for name, values in quoted.items():
        found = [sums.speed_up(name, m) for m in (64, 256, 1024, 4096)]
        np.testing.assert_allclose(found, values, rtol=1.5e-2)


def test_cost_is_read_off_at_the_first_small_gradient():
    norm = np.array([[1.0, 4e-3, 1.0], [1.0, 0.5, 0.1]])
    spent = np.array([[0.0, 7.0, 9.0], [0.0, 1.0, 2.0]])
    np.testing.assert_array_equal(sums.cost_to(norm, spent), [7.0, np.nan])


def test_functions_have_the_constants_that_are_said():
    f = functions.cubic(0)
    second = jax.vmap(jax.grad(jax.grad(functions._phi)))(jnp.linspace(-9.0, 9.0, 101))
    t = np.linspace(-9, 9, 101)
    np.testing.assert_allclose(second, np.sqrt(1 + t**2) - 1, atol=1e-9)
    low = np.linalg.eigvalsh(np.asarray(jax.hessian(f.objective)(jnp.zeros(8))))
    assert low[0] == pytest.approx(-0.5)
    cosh = functions.cosh(5)
    third = jax.vmap(jax.grad(jax.grad(jnp.tanh)))(jnp.linspace(-3.0, 3.0, 2001))
    assert float(jnp.abs(third).max()) == pytest.approx(functions.COSH_HESSIAN_LIPSCHITZ, rel=1e-4)
    H = np.asarray(jax.hessian(cosh.objective)(jnp.zeros(5)))
    np.testing.assert_allclose(H, np.eye(5), atol=1e-12)
