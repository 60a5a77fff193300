"""Nets with skips and normalisation against their formulas, and their special cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.models import MLP, ConvResNet, ResidualMLP, activation, parse_model
from thalweg.models.normalisation import EPSILON
from thalweg.problems import supervised

KEY = jax.random.key(3)
X = np.random.default_rng(0).normal(size=(7, 5))
IMAGES = np.random.default_rng(1).normal(size=(4, 2, 8, 6))


def shaken(params):
    """Parameters away from their start, where biases and shifts are zero."""
    leaves, shape = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(9), len(leaves))
    return shape.unflatten(
        [
            leaf + 0.1 * jax.random.normal(k, leaf.shape)
            for k, leaf in zip(keys, leaves, strict=True)
        ]
    )


def test_a_residual_net_is_its_formula():
    model = ResidualMLP((4, 4, 4), "tanh", skip=0.7, branch=0.5)
    params = shaken(model.init(KEY, (5,), 2))
    w = [np.asarray(layer["weight"]) for layer in params]
    b = [np.asarray(layer["bias"]) for layer in params]
    z = 0.5 * np.tanh(X @ w[0].T + b[0])  # the width changes: nothing skips
    for j in (1, 2):
        z = 0.5 * np.tanh(z @ w[j].T + b[j]) + 0.7 * z
    assert np.allclose(model.features(params, X), z, atol=1e-14)
    assert np.allclose(model.apply(params, X), z @ w[3].T + b[3], atol=1e-14)


def test_without_a_skip_it_is_the_plain_net():
    plain = MLP((4, 4), "tanh", initialiser="he-normal")
    model = ResidualMLP((4, 4), "tanh", skip=0.0)
    params = model.init(KEY, (5,), 2)
    assert jax.tree.all(jax.tree.map(np.array_equal, params, plain.init(KEY, (5,), 2)))
    assert np.array_equal(model.apply(params, X), plain.apply(params, X))


def test_dense_skips_show_every_layer_all_earlier_ones():
    model = ResidualMLP((3, 2), "relu", join="concatenate", bias=False)
    params = model.init(KEY, (5,), 2)
    w = [np.asarray(layer["weight"]) for layer in params]
    assert [m.shape for m in w] == [(3, 5), (2, 8), (2, 10)]
    z = np.concatenate([np.maximum(X @ w[0].T, 0), X], axis=1)
    z = np.concatenate([np.maximum(z @ w[1].T, 0), z], axis=1)
    assert np.allclose(model.apply(params, X), z @ w[2].T, atol=1e-14)


def test_without_a_readout_the_last_layer_is_the_output():
    model = ResidualMLP((5, 5), "abs", bias=False, readout=False)
    params = model.init(KEY, (5,), 5)
    z = X
    for layer in params:
        z = np.abs(z @ np.asarray(layer["weight"]).T) + z
    assert np.allclose(model.apply(params, X), z, atol=1e-14)
    with pytest.raises(InputError, match="last hidden layer has 5 units and 3 outputs"):
        model.init(KEY, (5,), 3)


def test_normalised_units_have_the_moments_of_their_scale_and_shift():
    model = ResidualMLP((6,), "linear", skip=0.0, normalised=True)
    params = shaken(model.init(KEY, (5,), 2))
    z = np.asarray(model.features(params, X))
    scale, shift = (np.asarray(params[0][k]) for k in ("scale", "shift"))
    raw = X @ np.asarray(params[0]["weight"]).T
    shrunk = np.sqrt(raw.var(0) / (raw.var(0) + EPSILON))
    assert np.allclose(z.mean(0), shift, atol=1e-13)
    assert np.allclose(z.std(0), np.abs(scale) * shrunk, atol=1e-13)


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize(
    ("model", "x"),
    [
        (ResidualMLP((6, 6), "tanh", normalised=True), X),
        (ConvResNet(((3, 1), (4, 2)), (5,), "tanh"), IMAGES),
    ],
)
def test_fixed_moments_make_examples_independent(model, x):
    params = shaken(model.init(KEY, x.shape[1:], 2))
    fixed = model.at_moments_of(params, x)
    whole = model.apply(params, x)
    assert not model.separable
    assert fixed.separable
    assert np.allclose(fixed.apply(params, x), whole, atol=1e-12)
    assert np.allclose(fixed.apply(params, x[:2]), whole[:2], atol=1e-12)
    assert np.abs(model.apply(params, x[:2]) - whole[:2]).max() > 1e-3
    with pytest.raises(InputError, match="depend on the whole batch"):
        supervised(model, (x, np.zeros((len(x), 2))), microbatch=2)
    supervised(fixed, (x, np.zeros((len(x), 2))), microbatch=2)


def correlated(z, kernel, stride):
    """Cross-correlation with zero padding, by its sum."""
    k = kernel.shape[-1]
    z = np.pad(z, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(z, (k, k), (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("ncyxab,ocab->noyx", windows, kernel)


def test_a_residual_convolutional_net_is_its_formula():
    model = ConvResNet(((3, 1), (4, 1)), (5,), "tanh", skip=0.8, normalised=False)
    params = shaken(model.init(KEY, IMAGES.shape[1:], 2))
    w = [np.asarray(layer["weight"]) for layer in params]
    b = [np.asarray(layer["bias"]) for layer in params]

    def convolved(z, j, stride=1):
        return correlated(z, w[j], stride) + b[j][:, None, None]

    z = np.tanh(convolved(IMAGES, 0))
    z = np.tanh(convolved(np.tanh(convolved(z, 1)), 2) + 0.8 * z)
    h = convolved(np.tanh(convolved(z, 3, 2)), 4)
    z = np.tanh(h + 0.8 * convolved(z, 5, 2))
    features = np.tanh(z.mean((2, 3)) @ w[6].T + b[6])
    assert np.allclose(model.features(params, IMAGES), features, atol=1e-13)
    assert np.allclose(model.apply(params, IMAGES), features @ w[7].T + b[7], atol=1e-13)
    assert [m.shape for m in w[:6]] == [
        (3, 2, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (4, 3, 3, 3), (4, 4, 3, 3), (4, 3, 1, 1)
    ]  # fmt: skip


def test_a_resnet_18_has_the_known_number_of_parameters():
    model = parse_model("resnet:64x2-128x2-256x2-512x2", "relu")
    shapes = jax.eval_shape(lambda k: model.init(k, (3, 32, 32), 10, jnp.float32), KEY)
    # The count of the net for CIFAR in common use, with its normalisations and the last bias.
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 11_173_962


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("mlp-bn:4-4", X),
        ("residual:4-4", X),
        ("residual-bn:4-4", X),
        ("dense-skip:4-4", X),
        ("resnet:3x1-4x1/5", IMAGES),
    ],
)
def test_every_form_trains(text, x):
    problem = supervised(parse_model(text, "tanh"), (x, np.ones((len(x), 2))))
    params = problem.init(KEY)
    gradient = jax.grad(problem.objective)(params)
    assert jax.tree.all(jax.tree.map(lambda g: bool(jnp.all(jnp.isfinite(g))), gradient))
    features = problem.model.features(params, x)
    last = params[-1]
    assert np.allclose(problem.outputs(params), features @ last["weight"].T + last["bias"][None])


@pytest.mark.parametrize("text", ["residual:", "residual:4-x", "resnet:16y2", "resnet:0x2"])
def test_malformed_models_are_refused_in_a_sentence(text):
    with pytest.raises(InputError, match="is not of the form"):
        parse_model(text)


def test_activations_with_a_number():
    z = np.linspace(-3, 3, 61)
    assert np.allclose(activation("leaky-relu:0.1").function(z), np.where(z > 0, z, 0.1 * z))
    assert activation("leaky-relu:0.1").slopes == (1.0, 0.1)
    soft = activation("softplus:100").function(z)
    assert np.allclose(soft, np.logaddexp(0, 100 * z) / 100, atol=1e-15)
    assert np.abs(soft - np.maximum(z, 0)).max() <= np.log(2) / 100 + 1e-15
    assert activation("softplus:100").function is activation("softplus:100").function
    for wrong in ("softplus:-1", "softplus:x", "leaky-relu:nan"):
        with pytest.raises(InputError, match="number"):
            activation(wrong)
    with pytest.raises(InputError, match="activation with a number 'tanh'"):
        activation("tanh:2")
