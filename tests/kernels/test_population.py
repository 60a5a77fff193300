"""Population Gram matrices against averages over finite nets, and what Du et al. prove of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quadrants import expected

from thalweg import InputError
from thalweg.kernels import (
    normalisation,
    population_gram,
    tangent_kernel,
    two_layer_relu_gram,
)
from thalweg.models import Applied
from thalweg.problems import supervised

ARCHITECTURES = ["fully-connected", "resnet", "convolutional-resnet"]
C_RES, WINDOW = 0.5, 3


def unit(shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape)
    return x / np.sqrt(np.sum(x**2, axis=tuple(range(1, x.ndim)), keepdims=True))


def vectors():
    return unit((6, 5))


def images():
    return unit((3, 2, 4))


def net(architecture, depth, width, activation, inputs):
    """The forward maps E1-E3 of the paper, every entry standard normal."""
    c_s = float(normalisation("softplus")) if activation is jax.nn.softplus else None
    c_s = c_s or float(1 / np.mean(np.tanh(np.random.default_rng(0).normal(size=10**6)) ** 2))
    pixels = architecture == "convolutional-resnet"
    q = WINDOW if pixels else 1
    first = q * inputs[0]

    def init(key):
        keys = jax.random.split(key, depth + 1)
        shapes = [(width, first)] + [(width, q * width)] * (depth - 1)
        W = {f"W{h}": jax.random.normal(keys[h], s) for h, s in enumerate(shapes, 1)}
        return {**W, "a": jax.random.normal(keys[0], (width, *inputs[1:]))}

    def seen(x):
        if not pixels:
            return x
        padded = jnp.pad(x, ((0, 0), (1, 1)))
        return jnp.concatenate([padded[:, s : s + x.shape[1]] for s in range(3)])

    def one(params, x):
        h = jnp.sqrt(c_s / width) * activation(params["W1"] @ seen(x))
        for level in range(2, depth + 1):
            z = activation(params[f"W{level}"] @ seen(h))
            if architecture == "fully-connected":
                h = jnp.sqrt(c_s / width) * z
            else:
                h = h + C_RES / (depth * jnp.sqrt(1.0 * width)) * z
        return jnp.sum(params["a"] * h)[None]

    return Applied(lambda params, x: jax.vmap(lambda one_x: one(params, one_x))(x), init)


@pytest.mark.parametrize(
    ("architecture", "x", "width", "nets"),
    [
        ("fully-connected", vectors(), 128, 60),
        ("resnet", vectors(), 128, 60),
        pytest.param("convolutional-resnet", images(), 200, 40, marks=pytest.mark.slow),
    ],
)
def test_averages_over_finite_nets_come_near(architecture, x, width, nets):
    """The mean of G^(H) lies within 3 rms / sqrt(nets) of K^(H), in Frobenius norm."""
    depth = 3
    model = net(architecture, depth, width, jax.nn.softplus, x.shape[1:])
    problem = supervised(model, (x, np.zeros((len(x), 1))))

    def gram(key):
        params = problem.init(key)
        return tangent_kernel(problem, params, where=f"W{depth}", outputs="trace")

    grams = np.asarray(jax.lax.map(gram, jax.random.split(jax.random.key(0), nets)))
    truth = population_gram(architecture, x, depth, c_res=C_RES, window=WINDOW).gram.value
    rms = np.sqrt(np.mean(np.sum((grams - truth) ** 2, axis=(1, 2))))
    assert np.linalg.norm(grams.mean(axis=0) - truth) <= 3 * rms / np.sqrt(nets)
    assert rms < 0.4 * np.linalg.norm(truth)


def test_the_normalisation_is_one_over_the_second_moment():
    second = expected(lambda u, v: np.logaddexp(0, u) ** 2 + 0 * v, 1.0, 0.0, 1.0)
    assert np.isclose(normalisation("softplus"), 1 / second, rtol=1e-12)
    assert np.isclose(normalisation("relu"), 2, rtol=1e-14)
    assert np.isclose(normalisation("linear"), 1, rtol=1e-14)


def test_one_level_follows_the_formulas_by_integrals():
    x, c_s = vectors()[:2], float(normalisation("softplus"))
    rho = x[0] @ x[1]

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    both = expected(lambda u, v: np.logaddexp(0, u) * np.logaddexp(0, v), 1, rho, 1)
    slopes = expected(lambda u, v: sigmoid(u) * sigmoid(v), 1, rho, 1)
    one = population_gram("fully-connected", x, 1)
    assert np.isclose(one.gram.value[0, 1], c_s * rho * slopes, rtol=1e-11)
    two = population_gram("fully-connected", x, 2)
    assert np.isclose(two.levels[1].value[0, 1], c_s * both, rtol=1e-11)
    residual = population_gram("resnet", x, 3, c_res=C_RES)
    mean = expected(lambda u, v: np.logaddexp(0, u) + 0 * v, 1, 0, 1)
    assert np.isclose(residual.levels[1].value[0, 1], c_s * both, rtol=1e-11)
    k, r = c_s * both, C_RES / 3
    again = expected(lambda u, v: np.logaddexp(0, u) * np.logaddexp(0, v), 1, k, 1)
    level = k + 2 * r * np.sqrt(c_s) * mean**2 + r**2 * again
    assert np.isclose(residual.levels[2].value[0, 1], level, rtol=1e-11)


@pytest.mark.parametrize("depth", [4, 6])
@pytest.mark.parametrize("c_res", [0.5, 1.7])
def test_deep_residual_levels_follow_the_recursion_by_integrals(depth, c_res):
    """Every level, written out anew for two inputs of norms 0.8 and 1.3, where b_i differ."""
    x = vectors()[:2] * np.array([[0.8], [1.3]])
    c_s, r = float(normalisation("softplus")), c_res / depth

    def soft(z):
        return np.logaddexp(0, z)

    def both(K, i, j, f):
        if i == j:  # u = v
            return expected(lambda u, v: f(u) ** 2 + 0 * v, K[i, i], 0.0, 1.0)
        return expected(lambda u, v: f(u) * f(v), K[i, i], K[i, j], K[j, j])

    def matrix(K, f):
        return np.array([[both(K, i, j, f) for j in range(2)] for i in range(2)])

    def means(K):
        return np.array([expected(lambda u, v: soft(u) + 0 * v, K[i, i], 0, 1) for i in range(2)])

    K = x @ x.T
    b = np.sqrt(c_s) * means(K)  # the mean activation of every neuron, kept up to date
    levels = [K, c_s * matrix(K, soft)]
    for _ in range(2, depth):
        K, e = levels[-1], means(levels[-1])
        levels.append(K + r * (np.outer(b, e) + np.outer(e, b)) + r**2 * matrix(K, soft))
        b = b + r * e
    found = population_gram("resnet", x, depth, c_res=c_res)
    assert len(found.levels) == depth
    for level, truth in zip(found.levels, levels, strict=True):
        np.testing.assert_allclose(level.value, truth, rtol=1e-10)
    top = levels[-1]
    gram = r**2 * top * matrix(top, lambda z: 1 / (1 + np.exp(-z)))
    np.testing.assert_allclose(found.gram.value, gram, rtol=1e-10)


def test_convolutions_of_one_pixel_are_a_residual_net():
    x = vectors()
    for depth in (2, 5):
        plain = population_gram("resnet", x, depth)
        pixel = population_gram("convolutional-resnet", x[:, :, None], depth, window=1)
        assert np.allclose(pixel.gram.value, plain.gram.value, rtol=1e-12)
    pixel = population_gram("convolutional-resnet", x[:, :, None], 3, window=1)
    assert pixel.levels[2].value.shape == (6, 1, 6, 1)


def test_norms_stay_one_through_fully_connected_levels():
    for level in population_gram("fully-connected", vectors(), 4).levels:
        assert np.allclose(np.diag(level.value), 1, atol=1e-12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equal_inputs_make_lambda_zero_vanish(architecture):
    x = images() if architecture == "convolutional-resnet" else vectors()
    doubled = np.concatenate([x, x[:1]])
    gram = population_gram(architecture, doubled, 3)
    assert abs(gram.smallest.value) <= min(1e-12, float(gram.smallest.error))
    assert population_gram(architecture, x, 3).smallest.value > 1e-5


def test_opposite_inputs_are_fatal_to_odd_activations_only():
    x = np.concatenate([vectors(), -vectors()[:1]])
    odd = population_gram("fully-connected", x, 3, "tanh")
    assert abs(odd.smallest.value) <= max(1e-12, float(odd.smallest.error))
    axes = np.concatenate([np.eye(4), -np.eye(4)[:1]])
    assert np.allclose(np.linalg.eigvalsh(two_layer_relu_gram(axes).value), 0.5, atol=1e-12)


def test_the_two_layer_gram_is_the_average_over_neurons():
    x = vectors()
    w = np.random.default_rng(0).normal(size=(200_000, 5))
    active = (w @ x.T >= 0).astype(float)
    average = x @ x.T * (active.T @ active) / len(w)
    assert np.max(np.abs(average - two_layer_relu_gram(x).value)) < 5e-3
    angle = np.arccos(np.clip(x @ x.T, -1, 1))
    formula = x @ x.T * (np.pi - angle) / (2 * np.pi)
    assert np.allclose(two_layer_relu_gram(x).value, formula, atol=1e-8)


def test_lambda_zero_falls_geometrically_with_depth_but_for_residual_nets_as_a_power():
    """Du et al. on depth: widths exponential in it against polynomial."""
    for seed in (0, 1):
        x = unit((6, 5), seed)
        dense = [population_gram("fully-connected", x, H).smallest.value for H in (2, 3, 4)]
        ratios = np.array(dense[1:]) / np.array(dense[:-1])
        assert np.all((ratios >= 0.30) & (ratios <= 0.33))
        residual = [H**2 * population_gram("resnet", x, H).smallest.value for H in (2, 3, 4)]
        assert np.max(residual) / np.min(residual) < 1.1


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("dense", vectors(), 2), {}, "architecture"),
        (("resnet", vectors(), 1), {}, "at least 2"),
        (("convolutional-resnet", vectors(), 2), {}, "channels"),
        (("convolutional-resnet", images(), 2), {"window": 2}, "odd"),
        (("resnet", vectors(), 2), {"c_res": 0.0}, "c_res"),
    ],
)
def test_bad_arguments_are_told(arguments, options, says):
    with pytest.raises(InputError, match=says):
        population_gram(*arguments, **options)
