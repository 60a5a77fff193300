"""Probes of scale-invariant training against the dense Hessian at w/||w||, and along a run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.hessian_product import dense_hessian

DRAWN = np.random.default_rng(4)
PROBLEM = tw.problems.NormalisedRegression(
    DRAWN.normal(size=(5, 8)), DRAWN.normal(size=5), norm=3.0
)


def test_spherical_sharpness_is_that_of_the_dense_hessian_at_any_length():
    w = PROBLEM.init(jax.random.key(0))
    theta = w / jnp.linalg.norm(w)
    top = np.linalg.eigvalsh(dense_hessian(PROBLEM.objective, theta))[-1]
    probe = tw.probes.spherical_sharpness(1e-8)
    for c in (1.0, 0.01, 50.0):
        reading = tw.measure(PROBLEM, c * w, probe)
        np.testing.assert_allclose(reading.value, top, rtol=1e-8)
        assert float(reading.error) >= abs(float(reading.value) - top) - 1e-12 * top
    at_w = np.linalg.eigvalsh(dense_hessian(PROBLEM.objective, w))[-1]
    np.testing.assert_allclose(at_w, top / 9, rtol=1e-8)


def test_along_a_run_the_rate_is_that_of_its_dynamics():
    eta, decay = 0.2, 0.5
    descent = tw.dynamics.decayed_descent(eta, decay)
    path = tw.run(
        PROBLEM, descent, until=2.0, records=5, probes="effective-learning-rate", progress=False
    )
    squares = np.sum(path.parameters.values[0] ** 2, axis=1)
    rate = path.dataset["effective_learning_rate"][0]
    np.testing.assert_allclose(rate, eta / (1 - eta * decay) / squares, rtol=1e-14)
    plain = tw.run(
        PROBLEM, tw.gradient_descent(eta), until=2.0, records=2,
        probes="effective-learning-rate", progress=False,
    )  # fmt: skip
    squares = np.sum(plain.parameters.values[0] ** 2, axis=1)
    np.testing.assert_allclose(plain.dataset["effective_learning_rate"][0], eta / squares)
    with pytest.raises(tw.InputError, match="needs a step size"):
        tw.measure(PROBLEM, PROBLEM.init(jax.random.key(0)), "effective-learning-rate")
    with pytest.raises(tw.InputError, match="positive step size"):
        tw.probes.effective_learning_rate(0.5, 3.0)


def test_the_defect_sees_what_is_not_scale_invariant():
    def defect(problem, params):
        return float(tw.measure(problem, params, "scale-invariance-defect").value)

    assert defect(PROBLEM, PROBLEM.init(jax.random.key(0))) == 0.0
    decayed = tw.problems.Decayed(PROBLEM, 1e-3)
    assert defect(decayed, PROBLEM.init(jax.random.key(0))) > 1e-3
    quartic = tw.problems.Function(lambda x: jnp.sum(x**4), start=jnp.ones(3))
    assert defect(quartic, quartic.start) == 1 - 1 / 16
