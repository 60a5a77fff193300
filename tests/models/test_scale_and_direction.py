"""Weight normalisation of vectors and nets: the same functions, other coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.models import ConvNet, Convolution, linear, mlp
from thalweg.models.scale_and_direction import (
    ScaledDirection,
    on_sphere,
    scaled_direction,
    unit_directions,
    weight_norm,
    weight_normalised,
)
from thalweg.problems import supervised

X = jax.random.normal(jax.random.key(3), (6, 5))


@pytest.mark.parametrize("shape", [(7,), (4, 3), (4, 2, 3, 3)])
def test_scale_and_direction_of_what_was_given(shape):
    x = jax.random.normal(jax.random.key(0), shape)
    rows = len(shape) > 1
    pair = scaled_direction(x, rows=rows)
    assert pair.scale.shape == shape[: len(shape) > 1]
    by_row = np.asarray(x).reshape(4, -1) if rows else np.asarray(x)[None]
    np.testing.assert_allclose(jnp.ravel(pair.scale), np.linalg.norm(by_row, axis=1), rtol=1e-14)
    np.testing.assert_allclose(weight_norm(pair), x, rtol=1e-13)
    np.testing.assert_allclose(on_sphere(pair), x, rtol=1e-13)
    longer = pair._replace(direction=3 * pair.direction)
    np.testing.assert_allclose(weight_norm(longer), x, rtol=1e-13)
    np.testing.assert_allclose(on_sphere(longer), 3 * x, rtol=1e-13)


def test_the_derivative_is_tangential():
    """dx/dw = (g/||w||)(I - u u^T), dx/dg = u."""
    w, g = jnp.asarray([1.0, -2.0, 0.5]), jnp.asarray(1.7)
    found = jax.jacobian(weight_norm)(ScaledDirection(g, w))
    length = np.linalg.norm(w)
    u = np.asarray(w) / length
    np.testing.assert_allclose(found.scale, u, rtol=1e-14)
    tangential = 1.7 / length * (np.eye(3) - np.outer(u, u))
    np.testing.assert_allclose(found.direction, tangential, atol=1e-15)
    np.testing.assert_allclose(unit_directions(w), u, rtol=1e-15)


@pytest.mark.parametrize("sphere", [False, True])
def test_a_net_starts_as_itself(sphere):
    net = mlp([4, 3], "tanh")
    model = weight_normalised(net, sphere=sphere)
    key = jax.random.key(1)
    params, plain = model.init(key, (5,), 2), net.init(key, (5,), 2)
    np.testing.assert_allclose(model.apply(params, X), net.apply(plain, X), atol=1e-14)
    for layer, own in zip(params, plain, strict=True):
        assert isinstance(layer["weight"], ScaledDirection)
        lengths = np.linalg.norm(layer["weight"].direction, axis=1)
        np.testing.assert_allclose(lengths, 1, rtol=1e-14)
        np.testing.assert_array_equal(layer["bias"], own["bias"])
    back = model.plain(params)
    assert jax.tree.structure(back) == jax.tree.structure(plain)


def test_a_convolution_has_one_scale_per_kernel():
    net = ConvNet((Convolution(3, 2),), (), "tanh")
    model = weight_normalised(net)
    images = jax.random.normal(jax.random.key(2), (4, 1, 6, 6))
    params = model.init(jax.random.key(0), (1, 6, 6), 2)
    pairs = jax.tree.leaves(params, is_leaf=lambda n: isinstance(n, ScaledDirection))
    pairs = [p for p in pairs if isinstance(p, ScaledDirection)]
    assert [p.scale.shape for p in pairs] == [p.direction.shape[:1] for p in pairs]
    expected = net.apply(net.init(jax.random.key(0), (1, 6, 6), 2), images)
    np.testing.assert_allclose(model.apply(params, images), expected, atol=1e-13)


def test_it_is_a_model_like_others():
    for name in ("tanh", "relu"):
        net = mlp([4], name)
        assert weight_normalised(net).smooth == net.smooth
    model = weight_normalised(linear([]))
    assert model.separable
    params = model.init(jax.random.key(0), (5,), 1, jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    with pytest.raises(InputError, match="last"):
        model.features(params, X)
    problem = supervised(model, (np.asarray(X), np.ones((6, 1))), reduction="sum")
    params = problem.init(jax.random.key(0))
    (pair,) = (layer["weight"] for layer in params)
    residual = np.asarray(X) @ np.asarray(weight_norm(pair))[0] - 1
    assert float(problem.objective(params)) == pytest.approx(0.5 * residual @ residual)
