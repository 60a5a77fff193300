"""What is particular to the study: its units, and the motor's drift."""

import jax.numpy as jnp
import numpy as np

from thalweg.dynamics import limiting_drift
from thalweg.problems import fitted_trace, over_parametrised_linear
from thalweg.studies.li2021_zero_loss import ensembles, sparse
from thalweg.theory.limits.valleys import valley_drift


def test_the_trace_is_told_for_a_loss_without_one_half():
    inputs = sparse.draws_of(2)
    rng = np.random.default_rng(0)
    params = {k: rng.normal(size=(2, 1, 60)) for k in "uv"}
    told = sparse.seen(inputs, params)["trace"][:, 0]
    for draw in range(2):
        problem = over_parametrised_linear(inputs.Z[draw], inputs.y[draw])
        own = fitted_trace(problem, {k: jnp.asarray(v[draw, 0]) for k, v in params.items()})
        np.testing.assert_allclose(told[draw], 2 * own, rtol=1e-12)


def test_the_problem_of_a_lane_is_that_of_the_library():
    inputs = sparse.draws_of(1)
    params = {"u": jnp.linspace(0, 1, 60), "v": jnp.linspace(1, 2, 60)}
    whole = over_parametrised_linear(inputs.Z[0], inputs.y[0])
    gap = np.asarray(inputs.Z[0]) @ np.asarray(params["u"] ** 2 - params["v"] ** 2) - inputs.y[0]
    np.testing.assert_allclose(whole.objective(params), np.mean(np.square(gap)) / 2, rtol=1e-12)
    assert sparse.problems(inputs).inputs.shape == (1, 30, 60)


def test_noise_of_the_valley_is_its_hessian():
    z = jnp.array([0.7, 0.0])
    factor = ensembles.across(z)
    np.testing.assert_allclose(factor @ factor.T, jnp.diag(jnp.array([0.0, 1.49])), atol=1e-15)
    drift = limiting_drift(ensembles.VALLEY, z, factor).total[0]
    slope = ensembles.log_slope(np.array(0.7))
    np.testing.assert_allclose(drift, valley_drift([slope], [1.49]), rtol=1e-12)
