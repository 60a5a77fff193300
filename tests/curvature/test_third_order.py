"""Gradients of curvature against finite differences of dense Hessians."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import thalweg as tw
from thalweg.core.hessian_product import dense_hessian
from thalweg.core.result import Result
from thalweg.curvature import hessian, sharpness_gradient, third_derivative, trace_gradient
from thalweg.models import ConvNet, Convolution
from thalweg.problems import Function, supervised

KEY = jax.random.key(6)
RNG = np.random.default_rng(0)


def dense_net(microbatch=None):
    data = RNG.normal(size=(12, 3)), np.arange(12) % 3
    return supervised(tw.models.mlp([4], "tanh"), data, microbatch=microbatch)


def conv_net():
    images = RNG.normal(size=(6, 1, 5, 5))
    model = ConvNet((Convolution(2, 3, padding=1),), (3,), "softplus", bias=True)
    return supervised(model, (images, RNG.normal(size=(6, 2))))


NETS = {"dense": dense_net, "convolutional": conv_net}


def differences(problem, params, of, count=8, h=1e-4):
    """Fourth-order central differences of a function of the dense Hessian, along random lines."""
    theta, unravel = ravel_pytree(params)
    measured = jax.jit(lambda t: of(dense_hessian(problem.objective, unravel(t))))
    lines = RNG.normal(size=(count, theta.size)) / np.sqrt(theta.size)

    def slope(d):
        far, near = (
            (measured(theta + s * h * d) - measured(theta - s * h * d)) / (2 * s * h)
            for s in (2, 1)
        )
        return (4 * near - far) / 3

    return lines, np.array([slope(d) for d in lines])


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["dense", pytest.param("convolutional", marks=pytest.mark.slow)])
def test_gradients_against_finite_differences(name):
    problem = NETS[name]()
    params = jax.tree.map(lambda p: p + 0.1, problem.init(KEY))
    found = sharpness_gradient(problem, params, KEY)
    assert found.result == Result.OK
    lines, slopes = differences(problem, params, lambda H: jnp.linalg.eigvalsh(H)[-1])
    np.testing.assert_allclose(lines @ found.gradient, slopes, rtol=1e-6, atol=1e-8)
    H = np.asarray(hessian(problem, params).dense())
    top = np.linalg.eigvalsh(H)[::-1][:2]
    assert found.value == pytest.approx(top[0])
    assert found.gap == pytest.approx(top[0] - top[1])
    assert found.angle < 1e-6
    total = trace_gradient(problem, params, KEY, method="exact")
    assert np.all(total.error == 0)
    lines, slopes = differences(problem, params, jnp.trace)
    np.testing.assert_allclose(lines @ total.value, slopes, rtol=1e-6, atol=1e-8)
    sampled = trace_gradient(problem, params, KEY, samples=40)
    off = np.abs(sampled.value - total.value)
    assert np.all(off <= 5 * sampled.error + 1e-10)
    assert np.mean(off <= 2 * sampled.error + 1e-10) > 0.85


def test_a_block_of_the_hessian():
    """The gradient of a layer's sharpness in all parameters."""
    problem = dense_net()
    params = jax.tree.map(lambda p: p + 0.1, problem.init(KEY))
    where = [{"weight": True, "bias": False}, False]
    inside = np.concatenate(
        [np.full(p.size, w) for p, w in zip(
            jax.tree.leaves(params), jax.tree.leaves(jax.tree.broadcast(where, params)), strict=True
        )]
    )  # fmt: skip
    block = np.flatnonzero(inside)
    found = sharpness_gradient(problem, params, KEY, where=where)
    lines, slopes = differences(
        problem, params, lambda H: jnp.linalg.eigvalsh(H[jnp.ix_(block, block)])[-1]
    )
    assert found.gradient.shape == inside.shape
    np.testing.assert_allclose(lines @ found.gradient, slopes, rtol=1e-6, atol=1e-8)
    total = trace_gradient(problem, params, KEY, where=where, method="exact")
    lines, slopes = differences(problem, params, lambda H: jnp.trace(H[jnp.ix_(block, block)]))
    np.testing.assert_allclose(lines @ total.value, slopes, rtol=1e-6, atol=1e-8)


def test_microbatches_change_rounding_only():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(12, 3)), np.arange(12) % 3
    whole, parts = (supervised(tw.models.mlp([4], "tanh"), data, microbatch=m) for m in (None, 5))
    params = whole.init(KEY)
    a, b = (trace_gradient(p, params, KEY, samples=12) for p in (whole, parts))
    np.testing.assert_allclose(a.value, b.value, rtol=1e-10, atol=1e-12)


def test_a_cubic_by_hand():
    """f = (3 x^2 y + y^2) / 2: H = [[3 y, 3 x], [3 x, 1]], at (0, 1) lambda = 3 with v = e_x."""
    problem = Function(lambda z: (3 * z[0] ** 2 * z[1] + z[1] ** 2) / 2, np.array([0.0, 1.0]))
    found = sharpness_gradient(problem, problem.start, KEY)
    assert found.value == pytest.approx(3)
    np.testing.assert_allclose(found.gradient, [0, 3], atol=1e-12)
    np.testing.assert_allclose(
        trace_gradient(problem, problem.start, KEY, method="exact").value, [0, 3], atol=1e-12
    )


def test_a_multiple_eigenvalue_has_no_gradient_and_says_so():
    problem = Function(lambda z: jnp.sum(z**2) + jnp.prod(z), np.zeros(4))
    assert sharpness_gradient(problem, jnp.zeros(4), KEY).result == Result.NOT_CONVERGED
    quartic = Function(lambda z: jnp.sum(z**4), np.ones(3))
    bad = sharpness_gradient(quartic, jnp.asarray([1.0, jnp.nan, 1.0]), KEY)
    assert bad.result == Result.NONFINITE


def test_no_implicit_conversion_and_misfits():
    problem = Function(lambda z: jnp.sum(z**4), np.arange(1, 4, dtype=np.float32))
    with jax.numpy_dtype_promotion("strict"):
        found = sharpness_gradient(problem, problem.init(KEY), KEY)
        total = trace_gradient(problem, problem.init(KEY), KEY)
    assert found.gradient.dtype == total.value.dtype == np.float32
    np.testing.assert_allclose(found.gradient, [0, 0, 72], atol=1e-4)
    np.testing.assert_allclose(total.value, [24, 48, 72], atol=1e-4)
    with pytest.raises(tw.InputError, match="unknown method"):
        trace_gradient(problem, problem.init(KEY), KEY, method="hutchinsen")
    with pytest.raises(tw.InputError, match="samples"):
        trace_gradient(problem, problem.init(KEY), KEY, samples=9)
    with pytest.raises(tw.InputError, match="one parameter"):
        sharpness_gradient(Function(jnp.sin, np.float64(1.0)), jnp.asarray(1.0), KEY)


def test_the_third_derivative_is_symmetric_and_that_of_the_dense_hessian():
    problem = Function(lambda x: jnp.sum(jnp.tanh(x) ** 3) * x[0] + x[1] ** 2 * x[2], jnp.ones(3))
    theta, (u, v, w) = jnp.array([0.3, -0.7, 0.4]), jnp.asarray(RNG.normal(size=(3, 3)))
    tensor = jax.jacfwd(lambda t: dense_hessian(problem.objective, t))(theta)
    found = third_derivative(problem, theta, u, v)
    np.testing.assert_allclose(found, np.einsum("ijk,j,k->i", tensor, u, v), rtol=1e-12)
    np.testing.assert_allclose(found, third_derivative(problem, theta, v, u), rtol=1e-12)
    moved = third_derivative(problem, theta, w, v)
    np.testing.assert_allclose(w @ found, u @ moved, rtol=1e-12)  # in all three arguments
