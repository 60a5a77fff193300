"""Infinite-width kernels against integrals, closed forms, and averages over wide nets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quadrants import expected
from scipy.special import erf

from thalweg import InputError, Result
from thalweg.kernels import (
    Covariance,
    arc_cosine_kernel,
    expectations,
    gaussian_mean,
    infinite_width_kernels,
    tangent_kernel,
)
from thalweg.models import mlp
from thalweg.problems import supervised

X = np.random.default_rng(0).normal(size=(4, 3))
PAIR = Covariance(*(jnp.asarray([value]) for value in (1.3, -0.5, 0.7)))

FUNCTIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0)),
    "leaky-relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "linear": (lambda z: z, np.ones_like),
    "sin": (np.sin, np.cos),
    "erf": (erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2))),
    "tanh": (np.tanh, lambda z: np.cosh(z) ** -2),
    "softplus": (lambda z: np.logaddexp(0, z), lambda z: 1 / (1 + np.exp(-z))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_expectations_are_the_integrals(name):
    function, slope = FUNCTIONS[name]
    for moments in (PAIR, PAIR._replace(cross=-PAIR.cross)):
        numbers = [float(m[0]) for m in moments]
        got = expectations(name, moments)
        product = expected(lambda u, v: function(u) * function(v), *numbers)
        slopes = expected(lambda u, v: slope(u) * slope(v), *numbers)
        assert np.isclose(got.product[0], product, rtol=1e-11, atol=1e-13)
        assert np.isclose(got.slopes[0], slopes, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["relu", "leaky-relu", "tanh", "softplus", "linear"])
def test_means_are_the_integrals(name):
    function = FUNCTIONS[name][0]
    mean = expected(lambda u, v: function(u) + 0 * v, 1.3, 0.0, 1.0)
    assert np.isclose(gaussian_mean(name, jnp.asarray(1.3)), mean, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("name", "function"), [("sin", jnp.sin), ("erf", jax.scipy.special.erf)])
def test_closed_forms_agree_with_quadrature_through_layers(name, function):
    options = {"depth": 2, "weight_variance": 1.3, "bias_variance": 0.2}
    closed = infinite_width_kernels(X, activation=name, **options)
    drawn = infinite_width_kernels(X, activation=function, nodes=80, **options)
    for one, other in zip(closed, drawn, strict=True):
        off = np.abs(one.value - other.value)
        assert np.all(off <= one.error + other.error)


def test_the_error_of_quadrature_covers_the_distance_to_many_nodes():
    truth = infinite_width_kernels(X, depth=2, activation="tanh", nodes=240)
    for nodes in (24, 48):
        few = infinite_width_kernels(X, depth=2, activation="tanh", nodes=nodes)
        for one, other in zip(few, truth, strict=True):
            assert np.allclose(one.value, one.value.T, rtol=1e-13, atol=1e-14)
            assert np.all(np.abs(one.value - other.value) <= one.error)


def test_a_deep_linear_net_has_a_closed_form():
    depth, weight = 3, 1.7
    kernels = infinite_width_kernels(X, depth=depth, activation="linear", weight_variance=weight)
    gram = weight ** (depth + 1) * X @ X.T / 3
    assert np.allclose(kernels.nngp.value, gram, rtol=1e-12)
    assert np.allclose(kernels.tangent.value, (depth + 1) * gram, rtol=1e-12)


def test_without_hidden_layers_both_are_the_gram_matrix():
    kernels = infinite_width_kernels(X, X[:2], depth=0, activation="relu", bias_variance=0.3)
    for reading in kernels:
        assert np.allclose(reading.value, X @ X[:2].T / 3 + 0.3, rtol=1e-13)


def test_one_relu_layer_is_made_of_arc_cosine_kernels():
    """Theta = (s_w^2/2)(k_1 + x.x' k_0) in units where x has variance x.x/d."""
    z = X / np.sqrt(3)
    kernels = infinite_width_kernels(X, depth=1, activation="relu", weight_variance=2.0)
    k0, k1 = (arc_cosine_kernel(np.sqrt(2) * z, order=n).value for n in (0, 1))
    assert np.allclose(kernels.nngp.value, k1, rtol=1e-13)
    assert np.allclose(kernels.tangent.value, k1 + 2 * z @ z.T * k0, rtol=1e-13)


def test_relu_with_variance_two_keeps_norms():
    kernels = infinite_width_kernels(X, depth=5, activation="relu", weight_variance=2.0)
    squares = 2 * np.sum(X**2, axis=1) / 3
    assert np.allclose(np.diag(kernels.nngp.value), squares, rtol=1e-13)
    assert np.allclose(np.diag(kernels.tangent.value), 6 * squares, rtol=1e-13)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_one_set_of_examples_is_two_equal_sets(activation):
    once = infinite_width_kernels(X, depth=2, activation=activation, bias_variance=0.1)
    twice = infinite_width_kernels(X, X, depth=2, activation=activation, bias_variance=0.1)
    for one, two in zip(once, twice, strict=True):
        assert np.all(np.abs(one.value - two.value) <= one.error + two.error)
        assert two.result == Result.OK


def test_examples_that_agree_cost_the_tangent_kernel_of_relu_half_of_the_digits():
    """A correlation of 1 that rounding moves by 1e-16 moves S by 1e-8, and the error says so."""
    doubled = np.concatenate([X, X])
    kernels = infinite_width_kernels(doubled, depth=3, activation="relu", weight_variance=2.0)
    truth = infinite_width_kernels(X, depth=3, activation="relu", weight_variance=2.0)
    off = np.abs(kernels.tangent.value[:4, 4:] - truth.tangent.value)
    assert np.all(off <= kernels.tangent.error[:4, 4:] + truth.tangent.error)
    assert np.max(kernels.tangent.error) < 1e-5


@pytest.mark.parametrize("order", [0, 1, 2])
def test_arc_cosine_kernels_are_their_integrals(order):
    x, y = X[0], X[1]
    integral = expected(
        lambda u, v: 2 * np.where((u > 0) & (v > 0), (u * v) ** order, 0), x @ x, x @ y, y @ y
    )
    kernel = arc_cosine_kernel(x[None], y[None], order)
    assert np.isclose(kernel.value[0, 0], integral, rtol=1e-11)


def ntk_parametrised(problem, params, weight_variance, bias_variance):
    """The tangent kernel by standard normal parameters, from that by weights s_w W / sqrt(d)."""
    weights = tangent_kernel(problem, params, layers=True, where="*/weight", outputs="trace")
    biases = tangent_kernel(problem, params, where="*/bias", outputs="trace")
    wide = [layer["weight"].shape[1] for layer in params]
    scaled = [weight_variance / d * weights[str(j)] for j, d in enumerate(wide)]
    return (sum(scaled) + bias_variance * biases) / problem.targets.shape[1]


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_averages_over_wide_nets_come_near(activation):
    """Means over nets of width 256 lie within 4.5 standard errors and the bias of order 1/width."""
    weight, bias, width, k, nets = 1.5, 0.3, 256, 8, 60
    gain = float(np.sqrt(weight))
    model = mlp([width, width], activation, initialiser="gaussian", gain=gain)
    problem = supervised(model, (X, np.zeros((4, k))))

    @jax.jit
    def one(key):
        params = problem.init(key)
        for j, layer in enumerate(params):
            draw = jax.random.normal(jax.random.fold_in(key, 100 + j), layer["bias"].shape)
            layer["bias"] = jnp.sqrt(bias) * draw
        f = problem.outputs(params)
        return f @ f.T / k, ntk_parametrised(problem, params, weight, bias)

    samples = jax.lax.map(one, jax.random.split(jax.random.key(0), nets))
    kernels = infinite_width_kernels(
        X, depth=2, activation=activation, weight_variance=weight, bias_variance=bias
    )
    for sample, reading in zip(samples, kernels, strict=True):
        mean = np.mean(sample, axis=0)
        spread = np.std(sample, axis=0, ddof=1) / np.sqrt(nets)
        scale = float(np.max(reading.value))
        assert np.all(np.abs(mean - reading.value) <= 4.5 * spread + scale / width)
        assert np.max(spread) < 0.15 * scale


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"activation": "rely"}, "Did you mean 'relu'"),
        ({"depth": -1}, "depth"),
        ({"weight_variance": -1.0}, "variances"),
        ({"activation": jnp.tanh, "nodes": 1}, "nodes"),
        ({"x2": np.ones((2, 7))}, "must agree"),
        ({"x1": np.ones(3)}, "give"),
    ],
)
def test_bad_arguments_are_told(options, says):
    with pytest.raises(InputError, match=says):
        infinite_width_kernels(**{"x1": X, "depth": 1, "activation": "relu", **options})
    with pytest.raises(InputError, match="order"):
        arc_cosine_kernel(X, order=3)
