"""The over-parametrised linear model: its loss, and the trace of its Hessian in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.problems import fitted_trace, linear_weights, over_parametrised_linear

RNG = np.random.default_rng(0)
Z, U, V = RNG.normal(size=(3, 5)), RNG.normal(size=5), RNG.normal(size=5)
PARAMS = {"u": jnp.asarray(U), "v": jnp.asarray(V)}


def test_the_loss_is_that_of_linear_regression():
    y = RNG.normal(size=3)
    problem = over_parametrised_linear(Z, y)
    np.testing.assert_allclose(linear_weights(PARAMS), U**2 - V**2)
    expected = np.mean((Z @ (U**2 - V**2) - y) ** 2) / 2
    assert float(problem.objective(PARAMS)) == pytest.approx(expected, rel=1e-13)


def test_the_trace_at_an_exact_fit_is_that_of_the_hessian():
    problem = over_parametrised_linear(Z, Z @ (U**2 - V**2))
    trace = jnp.trace(tw.curvature.hessian(problem, PARAMS).dense())
    assert abs(float(fitted_trace(problem, PARAMS)) - float(trace)) < 1e-10


def test_the_start_is_the_scale():
    start = over_parametrised_linear(Z, np.ones(3), 0.5).init(jax.random.key(0))
    assert set(start) == {"u", "v"}
    assert all(np.all(leaf == 0.5) for leaf in start.values())


@pytest.mark.parametrize(
    ("y", "scale", "said"), [(np.ones(2), 1.0, "give"), (np.ones(3), 0.0, "scale came as 0")]
)
def test_what_does_not_fit_is_said(y, scale, said):
    with pytest.raises(tw.InputError, match=said):
        over_parametrised_linear(Z, y, scale)
