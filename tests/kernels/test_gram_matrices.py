"""Gram matrices of layers against Jacobians by JAX and counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg import InputError
from thalweg.kernels import last_layer_gram, layer_grams, pattern_change, two_layer_gram
from thalweg.models import TwoLayerNet, WideNet
from thalweg.models.wide import ARCHITECTURES
from thalweg.problems import supervised


def problem_of(model, shape):
    x = np.random.default_rng(0).normal(size=shape)
    return supervised(model, (x, np.zeros((shape[0], 1))), reduction="sum")


def jacobians(problem, params):
    """One (n, parameters) matrix for each layer."""
    J = jax.jacrev(lambda p: problem.outputs(p)[:, 0])(params)
    return [np.asarray(layer["weight"]).reshape(len(problem.inputs), -1) for layer in J]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("activation", ["softplus", "tanh"])
def test_formula_and_layers_are_those_of_the_jacobian(architecture, activation):
    shape = (3, 2, 4) if architecture == "convolutional-resnet" else (4, 5)
    problem = problem_of(WideNet(architecture, 8, 3, activation), shape)
    params = problem.init(jax.random.key(0))
    expected = np.stack([J @ J.T for J in jacobians(problem, params)])
    grams = layer_grams(problem, params)
    assert np.allclose(grams.layers, expected, rtol=1e-12)
    assert np.allclose(grams.total, expected.sum(0), rtol=1e-12)
    last = last_layer_gram(problem.model, params, problem.inputs)
    assert np.allclose(last, expected[2], rtol=1e-12)


def test_the_formula_of_one_hidden_layer():
    problem = problem_of(WideNet("fully-connected", 8, 1), (4, 5))
    params = problem.init(jax.random.key(0))
    J = jacobians(problem, params)[0]
    assert np.allclose(last_layer_gram(problem.model, params, problem.inputs), J @ J.T, rtol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_two_layers(activation):
    problem = problem_of(TwoLayerNet(30, activation), (4, 5))
    params = problem.init(jax.random.key(0))
    first, last = jacobians(problem, params)
    gram = two_layer_gram(params[0]["weight"], problem.inputs, activation)
    assert np.allclose(gram, first @ first.T, rtol=1e-12)
    assert np.all(last == 0)


def test_relu_pairs_are_counted():
    rng = np.random.default_rng(1)
    w, x = rng.normal(size=(50, 3)), rng.normal(size=(4, 3))
    on = w @ x.T >= 0
    both = np.array([[np.mean(on[:, i] & on[:, j]) for j in range(4)] for i in range(4)])
    assert np.allclose(two_layer_gram(jnp.asarray(w), jnp.asarray(x)), x @ x.T * both, rtol=1e-13)


def test_pattern_changes_are_counted():
    w, x = jnp.asarray([[1.0, 0.0], [0.0, 1.0]]), jnp.eye(2)
    turned = w.at[1].set(jnp.asarray([-1.0, 1.0]))
    assert float(pattern_change(turned, w, x)) == 0.25
    assert float(pattern_change(2 * w, w, x)) == 0


def test_several_outputs_are_refused():
    net = WideNet("fully-connected", 8, 2)
    params = net.init(jax.random.key(0), (5,), 2)
    with pytest.raises(InputError, match="of the net with one output"):
        last_layer_gram(net, params, jnp.ones((3, 5)))
