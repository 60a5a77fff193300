"""What the last layer sees, and starts that leave it at zero or are given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from thalweg.core.errors import InputError
from thalweg.models import WideNet, linear, mlp
from thalweg.models.last_layer import affine_layer, affine_matrix, last_layer_inputs
from thalweg.models.starts import given_start, zero_last_start

X = jax.random.normal(jax.random.key(3), (6, 5))


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_are_a_times_v(bias):
    net = mlp((7, 4), "tanh", bias=bias)
    params = net.init(jax.random.key(0), (5,), 3)
    last = params[-1] | ({"bias": jnp.asarray([1.0, -2.0, 3.0])} if bias else {})
    params = [*params[:-1], last]
    A = last_layer_inputs(net, params, X)
    V = affine_matrix(last)
    assert A.shape == (6, 4 + bias)
    assert V.shape == (4 + bias, 3)
    if bias:
        np.testing.assert_array_equal(affine_layer(V)["bias"], last["bias"])
        np.testing.assert_array_equal(affine_layer(np.asarray(V))["weight"], last["weight"])
    np.testing.assert_allclose(A @ V, net.apply(params, X), atol=1e-14)


def test_a_zero_last_layer_gives_zero_and_random_biases():
    net = mlp((300, 400), "softplus:100", initialiser="he-normal")
    model = zero_last_start(net, 0.1)
    params = model.init(jax.random.key(1), (5,), 2)
    assert not np.any(model.apply(params, X))
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(params[-1]))
    biases = np.concatenate([np.asarray(layer["bias"]) for layer in params[:-1]])
    assert stats.kstest(biases, stats.norm(0, 0.1).cdf).pvalue > 1e-3
    weights = np.asarray(params[1]["weight"]).ravel()
    assert stats.kstest(weights, stats.norm(0, np.sqrt(2 / 300)).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(model.features(params, X), net.features(params, X))
    assert model.smooth
    assert model.separable


def test_a_given_start_is_that_start_for_every_key():
    net = mlp((4,), "relu")
    params = net.init(jax.random.key(0), (5,), 2)
    model = given_start(net, params)
    for seed in range(2):
        drawn = model.init(jax.random.key(seed), (5,), 2, jnp.float32)
        assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {jnp.dtype("float32")}
        for a, b in zip(jax.tree.leaves(drawn), jax.tree.leaves(params), strict=True):
            np.testing.assert_array_equal(a, b.astype(jnp.float32))
    np.testing.assert_array_equal(model.apply(params, X), net.apply(params, X))
    assert not model.smooth


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="biases"):
        zero_last_start(mlp((3,)), -1.0)
    for net in (linear((3,)), WideNet("fully-connected", 4, 2)):
        with pytest.raises(InputError, match="give an mlp"):
            zero_last_start(net).init(jax.random.key(0), (5,), 1)
