"""Spectra of products and Jacobians against NumPy, and the growth of anisotropy with depth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.core.spectra import activity, jacobian_spectrum, layer_product, product_spectrum
from thalweg.models.initialisers import INITIALISERS


def square_layers(name, width, depth, seed):
    keys = jax.random.split(jax.random.key(seed), depth)
    return [INITIALISERS[name](key, (width, width)) for key in keys]


def test_product_order_and_spectrum():
    rng = np.random.default_rng(0)
    W1, W2, W3 = rng.normal(size=(4, 3)), rng.normal(size=(6, 4)), rng.normal(size=(2, 6))
    product = W3 @ W2 @ W1
    np.testing.assert_allclose(layer_product([W1, W2, W3]), product, rtol=1e-13)
    spectrum = product_spectrum([jnp.asarray(W) for W in (W1, W2, W3)])
    gram = np.linalg.eigvalsh(product @ product.T)[::-1]
    np.testing.assert_allclose(spectrum, np.sqrt(gram), rtol=1e-10)


def test_an_empty_product_is_refused():
    with pytest.raises(InputError, match="at least one"):
        product_spectrum([])


@pytest.mark.parametrize("depth", [1, 5, 20, 100])
def test_orthogonal_products_stay_isometric(depth):  # C9
    spectrum = product_spectrum(square_layers("orthogonal", 200, depth, seed=depth))
    np.testing.assert_allclose(spectrum, 1.0, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_gaussian_products_become_anisotropic(seed):  # C9
    spectrum = product_spectrum(square_layers("gaussian", 200, 20, seed))
    median = float(jnp.median(spectrum))
    assert 2**-10 / 1.5 < median < 2**-10 * 1.5
    assert spectrum[-1] < 1e-14
    assert 3 < spectrum[0] < 10
    assert 0.7 < jnp.mean(spectrum**2) < 1.3
    deep = product_spectrum(square_layers("gaussian", 200, 100, seed))
    assert jnp.median(deep) < 1e-12


def test_jacobian_of_a_linear_net_is_its_product():
    weights = square_layers("gaussian", 12, 3, 0)
    weights[-1] = weights[-1][:5]

    def apply(weights, x):
        return layer_product(weights) @ x.ravel()

    x = jnp.arange(12.0).reshape(3, 4)
    got = jacobian_spectrum(apply, weights, x)  # fewer outputs than inputs
    np.testing.assert_allclose(got, product_spectrum(weights), rtol=1e-12)
    back = jacobian_spectrum(lambda w, z: layer_product(w).T @ z, weights, jnp.ones(5))
    np.testing.assert_allclose(back, product_spectrum(weights), rtol=1e-12)


def test_jacobian_against_finite_differences():
    W = np.random.default_rng(0).normal(size=(4, 3))
    x, h = np.array([0.3, -0.2, 0.5]), 1e-5
    columns = [(np.tanh(W @ (x + e)) - np.tanh(W @ (x - e))) / (2 * h) for e in h * np.eye(3)]
    expected = np.linalg.svd(np.stack(columns, axis=1), compute_uv=False)
    got = jacobian_spectrum(lambda w, z: jnp.tanh(w @ z), jnp.asarray(W), jnp.asarray(x))
    np.testing.assert_allclose(got, expected, rtol=1e-8)


def test_activity_of_every_layer():
    rng = np.random.default_rng(1)
    W1, W2, x = rng.normal(size=(4, 3)), rng.normal(size=(5, 4)), rng.normal(size=(7, 3))
    first = np.tanh(0.8 * x @ W1.T)
    second = np.tanh(0.8 * first @ W2.T)
    weights = [jnp.asarray(W1), jnp.asarray(W2)]
    got = activity(weights, 0.8, jnp.asarray(x))
    np.testing.assert_allclose(got, [np.mean(first**2), np.mean(second**2)], rtol=1e-13)
    single = activity(weights, 0.8, jnp.asarray(x[0]))
    np.testing.assert_allclose(single, [np.mean(first[0] ** 2), np.mean(second[0] ** 2)])


def test_linear_orthogonal_activity_is_constant():
    weights = square_layers("orthogonal", 30, 4, 0)
    x = jax.random.normal(jax.random.key(1), (30,))
    got = activity(weights, 1.0, x, activation=lambda z: z)
    np.testing.assert_allclose(got, jnp.mean(x**2), rtol=1e-12)


def test_spectra_compile():
    weights = square_layers("gaussian", 6, 3, 0)
    plain = product_spectrum(weights)
    np.testing.assert_allclose(jax.jit(product_spectrum)(weights), plain, rtol=1e-12)


def test_stacked_weights_give_the_same_activity():
    keys = jax.random.split(jax.random.key(5), 7)
    weights = jnp.stack([jax.random.normal(k, (6, 6)) for k in keys])
    x = jax.random.normal(jax.random.key(6), (3, 6))
    np.testing.assert_allclose(
        activity(weights, 0.9, x), activity(list(weights), 0.9, x), rtol=1e-13
    )
