"""The spectral density against that of dense eigenvalues."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import thalweg as tw
from thalweg.core.result import Result
from thalweg.core.sampling import form_factor
from thalweg.curvature import Matrix, hessian, jacobian, spectral_density
from thalweg.problems import supervised

KEY = jax.random.key(2)
P = 200


def symmetric(spectrum):
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(len(spectrum),) * 2))[0]
    return Matrix(jnp.asarray(Q * np.asarray(spectrum) @ Q.T))


def truth(spectrum, grid, width):
    """phi(t) = 1/p sum_i N(t; lambda_i, width^2), by SciPy."""
    return norm.pdf(np.asarray(grid)[:, None], spectrum, float(width)).mean(axis=1)


SPECTRA = {
    "even": np.linspace(-1, 1, P),
    "semicircle": np.sin(np.linspace(-np.pi / 2, np.pi / 2, P)),
    "rank five": np.r_[np.zeros(P - 5), 1, 2, 3, 4, 5.0],
    "two values": np.r_[np.ones(P // 2), -np.ones(P // 2)],
    "zero": np.zeros(P),
}


FIRST = ("even", "rank five")


@pytest.mark.parametrize(
    "name", [s if s in FIRST else pytest.param(s, marks=pytest.mark.slow) for s in SPECTRA]
)
def test_the_density_lies_in_its_band(name):
    """Within 5 standard errors at every point, an error that is no excuse; and of integral 1."""
    spectrum = SPECTRA[name]
    width = 0.1
    found = spectral_density(symmetric(spectrum), KEY, probes=20, depth=60, width=width)
    exact = truth(spectrum, found.grid, width)
    assert found.result == Result.OK
    assert np.all(np.abs(found.value - exact) <= 5 * found.error + 1e-3 * exact.max())
    assert np.max(found.error) <= 0.1 * exact.max()
    assert np.trapezoid(found.value, found.grid) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(np.sum(found.weights, axis=1), 1, atol=1e-12)


@pytest.mark.slow
def test_the_standard_error_is_that_of_repeated_runs():
    A = symmetric(SPECTRA["even"])
    grid = jnp.asarray([-0.5, 0.0, 0.9])
    runs = [
        spectral_density(A, jax.random.key(i), probes=20, depth=60, grid=grid, width=0.1)
        for i in range(60)
    ]
    spread = np.std([r.value for r in runs], axis=0, ddof=1)
    said = np.sqrt(np.mean(np.square([r.error for r in runs]), axis=0))
    # Wider than the spread by what few probes cannot tell.
    np.testing.assert_allclose(said, form_factor(20) * spread, rtol=0.3)


def test_a_quadrature_has_the_moments_of_every_probe():
    """A quadrature of depth m is exact for z^T A^j z, j < 2 m."""
    A = symmetric(SPECTRA["semicircle"])
    found = spectral_density(A, KEY, probes=2, depth=8, width=0.1)
    draw, _ = jax.random.split(jax.random.split(KEY, 2)[0])
    z = np.asarray(jax.random.normal(draw, (P,)))
    z = z / np.linalg.norm(z)
    for j in range(16):
        moment = z @ np.linalg.matrix_power(np.asarray(A.values), j) @ z
        assert np.sum(found.weights[0] * found.nodes[0] ** j) == pytest.approx(moment, abs=1e-13)


@pytest.mark.thorough
def test_a_net_and_its_layer():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 6)), rng.integers(0, 4, 30)
    problem = supervised(tw.models.mlp([10], "tanh"), (x, labels), precision="float32")
    params = problem.init(KEY)
    with jax.numpy_dtype_promotion("strict"):
        operator = hessian(problem, params, lambda path: path == "0.weight")
        found = spectral_density(operator, KEY, probes=100, depth=60)
    assert found.value.dtype == np.float32
    value, error = (np.asarray(part, float) for part in (found.value, found.error))
    spectrum = np.linalg.eigvalsh(np.asarray(operator.dense(), float))
    exact = truth(spectrum, found.grid, found.width)
    assert np.all(np.abs(value - exact) <= 5 * error + 1e-3 * exact.max())


def test_misfits_are_sentences_and_bad_matrices_are_coded():
    A = symmetric(SPECTRA["even"])
    for bad in ({"probes": 1}, {"depth": 0}, {"width": 0.0}):
        with pytest.raises(tw.InputError, match=next(iter(bad))):
            spectral_density(A, KEY, **bad)
    problem = supervised(tw.models.linear([]), (np.ones((3, 2)), np.ones((3, 1))))
    with pytest.raises(tw.InputError, match="not symmetric"):
        spectral_density(jacobian(problem, problem.init(KEY)), KEY)
    broken = Matrix(A.values.at[0, 0].set(jnp.nan))
    assert spectral_density(broken, KEY, width=0.1).result == Result.NONFINITE
