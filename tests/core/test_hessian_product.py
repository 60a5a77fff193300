"""Hessian products against matrices known by hand, by finite differences and by brute force."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.hessian_product import dense_hessian, hessian_product

KEY = jax.random.key(3)


@pytest.mark.parametrize("loss", ["squared-error", "cross-entropy"])
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_products_are_the_dense_hessian(loss, activation):
    x = np.random.default_rng(0).normal(size=(10, 4))
    targets = np.arange(10) % 3 if loss == "cross-entropy" else np.sin(x[:, :2])
    problem = tw.problems.supervised(tw.models.mlp([3], activation), (x, targets), loss)
    params = jax.tree.map(lambda p: p + 0.1, problem.init(KEY))
    dense = jax.jit(lambda p: dense_hessian(problem.objective, p))(params)
    assert np.allclose(dense, dense.T, atol=1e-13)
    vectors = jax.random.normal(KEY, (5, len(dense)))
    products = jax.jit(lambda p: jax.vmap(hessian_product(problem.objective, p))(vectors))(params)
    assert np.allclose(products, vectors @ dense, atol=1e-12)
    # Central differences of the gradient, an independent way to the same matrix.
    theta, unravel = jax.flatten_util.ravel_pytree(params)
    gradient = jax.jit(jax.grad(lambda flat: problem.objective(unravel(flat))))
    h = 1e-5
    for v, product in zip(vectors[:2], products[:2], strict=True):
        slope = (gradient(theta + h * v) - gradient(theta - h * v)) / (2 * h)
        assert np.allclose(slope, product, atol=1e-7)


def test_a_hessian_by_hand_on_a_tree():
    """f = a^2 b + sin(c_0) c_1, in the order of ravel_pytree."""
    params = {"a": jnp.asarray(2.0), "b": jnp.asarray(-1.0), "c": jnp.asarray([0.3, 5.0])}

    def f(p):
        return p["a"] ** 2 * p["b"] + jnp.sin(p["c"][0]) * p["c"][1]

    sin, cos = np.sin(0.3), np.cos(0.3)
    expected = np.array([[-2.0, 4.0, 0, 0], [4.0, 0, 0, 0], [0, 0, -5 * sin, cos], [0, 0, cos, 0]])
    assert np.allclose(dense_hessian(f, params), expected, atol=1e-15)
    product = hessian_product(f, params)
    assert np.allclose([product(v) for v in jnp.eye(4)], expected, atol=1e-15)


def test_float32_stays_float32():
    params = jnp.ones(3, jnp.float32)
    product = hessian_product(lambda x: jnp.sum(x**4), params)
    assert product(params).dtype == jnp.float32
    assert dense_hessian(lambda x: jnp.sum(x**4), params).dtype == jnp.float32


def test_the_gauss_newton_limit_of_least_squares():
    """For a model linear in its parameters the Hessian is X^T X / n, whatever the parameters."""
    x = np.random.default_rng(0).normal(size=(9, 4))
    problem = tw.problems.supervised(tw.models.linear([]), (x, np.zeros((9, 1))))
    params = problem.init(KEY)
    assert np.allclose(dense_hessian(problem.objective, params), x.T @ x / 9, atol=1e-14)
