"""Layers as products: balanced factors, unchanged functions, and the end-to-end rule inside."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.models.overparametrisation import Overparametrised, balanced_factors
from thalweg.theory.linear_nets.end_to_end import end_to_end_field

X = jnp.asarray(np.random.default_rng(0).normal(size=(7, 5)))
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("shape", "N", "widths"), [((3, 4), 3, (3, 7)), ((4, 2), 2, 2), ((2, 2), 1, ())]
)
def test_factors_are_balanced_and_multiply_to_the_matrix(shape, N, widths):
    W = np.random.default_rng(1).normal(size=shape)
    factors = jax.jit(lambda W: balanced_factors(W, N, widths, KEY))(W)
    product = np.eye(shape[1])
    for factor in factors:
        product = np.asarray(factor) @ product
    np.testing.assert_allclose(product, W, atol=1e-13)
    for low, top in pairwise(factors):
        np.testing.assert_allclose(top.T @ top, low @ low.T, atol=1e-13)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layers", "split"), [(None, [0, 1, 2]), ((1,), [1])])
def test_the_function_at_the_start_is_the_nets_own(bias, layers, split):
    net = tw.models.mlp([6, 4], "tanh", bias=bias)
    deep = Overparametrised(net, 3, layers)
    own = net.init(KEY, (5,), 2, jnp.float64)
    params = deep.init(KEY, (5,), 2, jnp.float64)
    assert [j for j, layer in enumerate(params) if "factors" in layer] == split
    np.testing.assert_allclose(deep.apply(params, X), net.apply(own, X), atol=1e-13)
    np.testing.assert_allclose(deep.features(params, X), net.features(own, X), atol=1e-13)
    assert deep.smooth
    assert not Overparametrised(tw.models.mlp([3], "relu")).smooth


def test_a_small_step_on_the_factors_is_the_end_to_end_rule():
    """-d/dt of the product while its factors descend is the rule on the net's own gradient."""
    net = tw.models.mlp([4], "tanh")
    deep = Overparametrised(net, 2, (0,), width=6)
    params = deep.init(KEY, (5,), 2, jnp.float64)

    def loss(params):
        return jnp.sum(deep.apply(params, X) ** 4)

    gradient = jax.grad(loss)(params)
    _, moved = jax.jvp(deep.collapsed, (params,), (gradient,))
    own = deep.collapsed(params)
    plain = jax.grad(lambda p: jnp.sum(net.apply(p, X) ** 4))(own)
    expected = end_to_end_field(own[0]["weight"], plain[0]["weight"], 2)
    np.testing.assert_allclose(moved[0]["weight"], expected, rtol=1e-9)
    np.testing.assert_allclose(moved[1]["weight"], plain[1]["weight"], rtol=1e-9)


def test_it_trains():
    problem = tw.problems.digits(Overparametrised(tw.models.mlp([4])), samples=20)
    done = tw.run(problem, tw.gradient_descent(0.1), until=1.0, records=3)
    loss = done.dataset["loss"][0].values
    assert loss[-1] < loss[0]


def test_bad_input_is_told():
    with pytest.raises(tw.InputError, match="layers 0 to 1"):
        Overparametrised(tw.models.mlp([4]), 2, (2,))
    with pytest.raises(tw.InputError, match="at least 1"):
        Overparametrised(tw.models.mlp([4]), 0)
    with pytest.raises(tw.InputError, match="at least one factor"):
        balanced_factors(jnp.ones((2, 2)), 0, (), KEY)
    with pytest.raises(tw.InputError, match="give 2"):
        balanced_factors(jnp.ones((2, 2)), 3, (2,), KEY)
    with pytest.raises(tw.InputError, match="cannot carry"):
        balanced_factors(jnp.ones((2, 2)), 2, 1, KEY)
