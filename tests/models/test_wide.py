"""Wide nets against their formulas written out example by example in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg import InputError
from thalweg.dynamics import gradient_descent
from thalweg.kernels import normalisation
from thalweg.models import TwoLayerNet, WideNet
from thalweg.models.wide import ARCHITECTURES
from thalweg.problems import supervised

M, H, C_RES = 7, 3, 0.5


def data(architecture):
    shape = (4, 2, 5) if architecture == "convolutional-resnet" else (4, 5)
    return np.random.default_rng(0).normal(size=shape)


def by_hand(architecture, params, x):
    """One example; pixels in columns."""
    c_s, r = float(normalisation("softplus")), C_RES / (H * np.sqrt(M))
    *hidden, a = (np.asarray(layer["weight"]) for layer in params)

    def windows(h):
        if architecture != "convolutional-resnet":
            return h
        columns = []
        for pixel in range(h.shape[1]):
            places = [pixel - 1, pixel, pixel + 1]
            inside = [0 <= p < h.shape[1] for p in places]
            window = [h[:, p] if ok else 0 * h[:, 0] for p, ok in zip(places, inside, strict=True)]
            columns.append(np.concatenate(window))
        return np.stack(columns, axis=1)

    h = x if x.ndim == 2 else x[:, None]
    for level, W in enumerate(hidden, 1):
        new = np.logaddexp(0, W @ windows(h))
        dense = level == 1 or architecture == "fully-connected"
        h = np.sqrt(c_s / M) * new if dense else h + r * new
    return a @ h.T.reshape(-1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_forward_maps(architecture):
    x = data(architecture)
    net = WideNet(architecture, M, H, c_res=C_RES)
    params = net.init(jax.random.key(0), x.shape[1:], 2)
    expected = [by_hand(architecture, params, one) for one in x]
    assert np.allclose(net.apply(params, jnp.asarray(x)), expected, rtol=1e-13)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_weight_starts_standard_normal(architecture):
    shape = data(architecture).shape[1:]
    params = WideNet(architecture, 120, 3).init(jax.random.key(1), shape, 1)
    last = params[1]["weight"]
    columns = 360 if architecture == "convolutional-resnet" else 120
    assert last.shape == (120, columns)
    flat = np.concatenate([np.ravel(layer["weight"]) for layer in params])
    assert abs(np.mean(flat)) < 4 / np.sqrt(flat.size)
    assert abs(np.mean(flat**2) - 1) < 4 * np.sqrt(2 / flat.size)


@pytest.mark.parametrize("activation", ["softplus", "tanh", "erf", "relu", "gelu"])
def test_the_scale_is_that_of_the_population(activation):
    net = WideNet("fully-connected", 11, 2, activation)
    assert np.isclose(float(net.scale(2)) ** 2, float(normalisation(activation)) / 11, rtol=1e-13)


def test_convolutions_of_one_pixel_are_a_residual_net():
    x = jnp.asarray(data("resnet"))
    plain, pixel = WideNet("resnet", M, H), WideNet("convolutional-resnet", M, H, window=1)
    params = plain.init(jax.random.key(2), (5,), 1)
    assert np.allclose(pixel.apply(params, x[:, :, None]), plain.apply(params, x), rtol=1e-14)


def test_single_precision_stays():
    x = jnp.asarray(data("resnet"), jnp.float32)
    net = WideNet("resnet", M, H)
    params = net.init(jax.random.key(0), (5,), 1, jnp.float32)
    with jax.numpy_dtype_promotion("strict"):
        assert net.apply(params, x).dtype == jnp.float32


def test_two_layers():
    x, net = data("resnet"), TwoLayerNet(9)
    params = net.init(jax.random.key(0), (5,), 1)
    W, a = (np.asarray(layer["weight"]) for layer in params)
    assert set(np.unique(a)) == {-1.0, 1.0}
    expected = np.maximum(x @ W.T, 0) @ a.T / 3
    assert np.allclose(net.apply(params, jnp.asarray(x)), expected, rtol=1e-14)
    others = net.init(jax.random.key(1), (5,), 1)[1]["weight"]
    assert not np.array_equal(a, others)


def test_the_signs_of_two_layers_stay_while_the_first_is_trained():
    problem = supervised(TwoLayerNet(9), (data("resnet"), np.ones((4, 1))), reduction="sum")
    dynamics, start = gradient_descent(0.1), problem.init(jax.random.key(0))
    state = dynamics.init(problem, start)
    for _ in range(3):
        state, _ = dynamics.step(problem, state, jax.random.key(0))
    assert np.array_equal(state.params[1]["weight"], start[1]["weight"])
    assert not np.allclose(state.params[0]["weight"], start[0]["weight"])


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("resnett", 3, 2), {}, "Did you mean 'resnet'"),
        (("resnet", 3, 1), {}, "at least 2"),
        (("resnet", 0, 2), {}, "width"),
        (("resnet", 3, 2), {"c_res": 0.0}, "c_res"),
        (("resnet", 3, 2), {"window": 2}, "odd"),
        (("resnet", 3, 2), {"activation": "tahn"}, "tanh"),
    ],
)
def test_bad_arguments_are_told(arguments, options, says):
    with pytest.raises(InputError, match=says):
        WideNet(*arguments, **options)


def test_images_are_asked_for():
    with pytest.raises(InputError, match="channels, pixels"):
        WideNet("convolutional-resnet", 3, 2).init(jax.random.key(0), (5,), 1)
    with pytest.raises(InputError, match="width"):
        TwoLayerNet(0)
