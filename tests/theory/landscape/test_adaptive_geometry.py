"""Closed forms of the two-layer linear net against autodiff, flows of its linearisation, SciPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, special, stats

import thalweg as tw
from thalweg.curvature.diagonal_ratio import max_over_median
from thalweg.theory.landscape import adaptive_geometry as theory


def net(seed, d=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(d, d)), rng.normal(size=(1, d)), rng.normal(size=d)


@pytest.mark.parametrize("white", [True, False])
def test_diagonals_are_those_of_autodiff(white):
    W1, W2, a = net(0)
    X = np.random.default_rng(1).normal(size=(6, 9))
    correlation = np.eye(6) if white else X @ X.T / 9

    def loss(W1, W2):
        E = W2 @ W1 - a[None]
        return jnp.sum((E @ correlation) * E) / 2

    dense = jax.hessian(loss, (0, 1))(W1, W2)
    found = theory.two_layer_diagonals(W1, W2, None if white else jnp.asarray(correlation))
    first = np.einsum("ijij->ij", dense[0][0])
    second = np.einsum("ijij->ij", dense[1][1])[0]
    np.testing.assert_allclose(found.first, first, rtol=1e-12)
    np.testing.assert_allclose(found.second, second, rtol=1e-12)


def test_ratios_for_whitened_inputs_are_those_of_the_whole_diagonals():
    W1, W2, _ = net(2)
    both = [float(max_over_median(jnp.ravel(d))) for d in theory.two_layer_diagonals(W1, W2)]
    np.testing.assert_allclose(theory.white_ratios(W1, W2), both, rtol=1e-13)


def test_the_growing_vector_is_what_the_linearised_flow_amplifies():
    """W_1' = W_2^T a, W_2' = a W_1^T, solved by the exponential of its matrix."""
    W1, W2, a = net(3)
    size = np.linalg.norm(a)
    p, w = W1 @ a / size, W2[0]
    t = 12 / size
    rate = size * np.kron([[0.0, 1.0], [1.0, 0.0]], np.eye(6))
    later = linalg.expm(rate * t) @ np.concatenate([p, w])
    z = np.asarray(theory.growing_vector(W1, W2, a))
    np.testing.assert_allclose(later[6:], z * np.exp(12) / 2, rtol=1e-7)
    ratio = later[6:] ** 2
    expected = ratio.max() / np.median(ratio)
    assert float(theory.predicted_ratio(W1, W2, a)) == pytest.approx(expected, rel=1e-6)


def test_the_mean_ratio_of_nine_units_by_quadrature():
    """E max/median by the density of the fifth of nine and the largest of the four above it.

    With z = chi, F its distribution: E max(x_1..x_4 | x > m) = m + integral_m^inf (1 - G^4) dx for
    G = (F(x) - F(m))/(1 - F(m)).
    """
    z = np.linspace(1e-4, 8, 1601)
    tail = special.erfc(z / np.sqrt(2))
    density = 630 * ((1 - tail) * tail) ** 4 * np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2)
    above = np.triu(1 - (1 - tail[None] / tail[:, None]) ** 4)
    above[np.diag_indices(len(z))] /= 2  # the first trapezium has half its weight
    largest = z**2 + above @ (2 * z) * (z[1] - z[0])
    assert np.trapezoid(density, z) == pytest.approx(1, abs=1e-6)
    exact = np.trapezoid(density * largest / z**2, z)
    found = theory.expected_ratio(9, 40_000)
    assert abs(found.value - exact) <= 4 * found.error


def test_batches_do_not_change_the_mean():
    whole, parts = (theory.expected_ratio(10, 300, 4, batch=size) for size in (300, 70))
    np.testing.assert_allclose(whole, parts, rtol=1e-13)


def test_the_leading_term():
    median = stats.norm.ppf(0.75) ** 2  # P(|z| <= median^(1/2)) = 1/2
    np.testing.assert_allclose(theory.CHI_SQUARE_MEDIAN, median, rtol=1e-12)
    assert theory.asymptotic_ratio(100) == pytest.approx(2 * np.log(100) / median)
    excess = [theory.asymptotic_ratio(d) / theory.expected_ratio(d).value - 1 for d in (100, 1000)]
    assert excess[0] == pytest.approx(1 / 6, abs=0.02)
    assert 0 < excess[1] < excess[0]


def test_singular_vectors_of_a_known_matrix():
    u, v = np.array([3.0, 1.0, 1.0, 1.0]), np.array([1.0, -1.0, 1.0])
    other = np.array([0.0, 1.0, -1.0, 0.0])
    right = np.array([1.0, 1.0, 0.0])
    W = np.outer(u, v) + 0.5 * np.outer(other, right)
    sizes = [np.linalg.norm(u) * np.linalg.norm(v), 0.5 * np.linalg.norm(other) * np.sqrt(2)]
    found = theory.singular_vector_uniformity(jnp.asarray(W))
    np.testing.assert_allclose(found, (sizes[1] / sizes[0], 9, 1), rtol=1e-12)
    row = theory.singular_vector_uniformity(jnp.asarray(v[None]))
    np.testing.assert_allclose(row, (0, 1, 1), atol=1e-15)


def test_bad_input_is_told():
    with pytest.raises(tw.InputError, match="at least 8"):
        theory.expected_ratio(3)
    with pytest.raises(tw.InputError, match="give an array of shape"):
        theory.singular_vector_uniformity(jnp.ones(3))
