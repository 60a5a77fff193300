"""Deep linear targets against the squared error over examples, and NumPy's decompositions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.models import linear
from thalweg.problems import supervised
from thalweg.problems.data import images
from thalweg.problems.linear_targets import (
    DeepLinear,
    deep_linear_params,
    modes_of,
    random_modes,
    scalar_chain,
    whitened_modes,
)


def test_second_moments_stand_for_the_examples():
    X, Y = (
        np.random.default_rng(0).normal(size=(30, 6)),
        np.random.default_rng(1).normal(size=(30, 4)),
    )
    whole = supervised(linear([5, 7]), (X, Y), "squared-error", reduction="sum")
    T = np.linalg.lstsq(X, Y, rcond=None)[0].T
    moments = DeepLinear(T, jnp.asarray(X.T @ X))
    least = ((Y - X @ T.T) ** 2).sum() / 2
    params = whole.init(jax.random.key(0))
    np.testing.assert_allclose(
        moments.objective(params) + least, whole.objective(params), rtol=1e-12
    )
    for a, b in zip(
        jax.grad(moments.objective)(params), jax.grad(whole.objective)(params), strict=True
    ):
        np.testing.assert_allclose(a["weight"], b["weight"], rtol=1e-9, atol=1e-9)


def test_whitened_inputs_need_no_correlation():
    T = np.random.default_rng(2).normal(size=(3, 4))
    params = deep_linear_params([np.ones((2, 4)), np.ones((3, 2))])
    expected = DeepLinear(T, jnp.eye(4)).objective(params)
    np.testing.assert_allclose(DeepLinear(T).objective(params), expected, rtol=1e-14)
    np.testing.assert_allclose(expected, ((2 - T) ** 2).sum() / 2, rtol=1e-14)


def test_starts_are_drawn_or_refused():
    T = np.eye(2)
    problem = DeepLinear(T, draw=lambda key: [jax.random.normal(key, (2, 2)), jnp.eye(2)])
    drawn = problem.init(jax.random.key(3))
    np.testing.assert_array_equal(drawn[0]["weight"], jax.random.normal(jax.random.key(3), (2, 2)))
    with pytest.raises(InputError, match="draw"):
        DeepLinear(T).init(jax.random.key(0))


def test_modes_rebuild_their_matrix():
    A = np.random.default_rng(4).normal(size=(5, 7))
    modes = modes_of(A)
    np.testing.assert_allclose(modes.matrix, A, atol=1e-13)
    np.testing.assert_allclose(modes.s, np.linalg.svd(A, compute_uv=False), rtol=1e-13)
    made = random_modes(jax.random.key(0), (3.0, 2.0, 0.5), 4, 6)
    np.testing.assert_allclose(
        np.linalg.svd(made.matrix, compute_uv=False), [3, 2, 0.5, 0], atol=1e-13
    )
    with pytest.raises(InputError, match="singular values"):
        random_modes(jax.random.key(0), (1.0,) * 5, 4, 6)


def test_whitening_leaves_the_mean_squared_error_above_its_least_value():
    data = images.digit_images(samples=200)
    x = data.inputs.reshape(200, -1)
    y = np.eye(10)[data.targets]
    modes = whitened_modes(data)
    fitted = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    zero = DeepLinear(modes.matrix).objective(deep_linear_params([np.zeros(modes.matrix.shape)]))
    expected = (np.sum(y**2) - np.sum((y - fitted) ** 2)) / 200 / 2
    np.testing.assert_allclose(zero, expected, rtol=1e-10)


@pytest.mark.parametrize("L", [1, 2, 7])
def test_a_chain_starts_at_its_strength(L):
    chain = scalar_chain(L, 1.5, 0.1)
    w = chain.init(jax.random.key(0))
    assert w.shape == (L,)
    np.testing.assert_allclose(jnp.prod(w), 0.1, rtol=1e-13)
    np.testing.assert_allclose(chain.objective(w), 1.4**2 / 2, rtol=1e-13)
    net = DeepLinear(np.array([[1.5]]))
    np.testing.assert_allclose(
        net.objective(deep_linear_params([v.reshape(1, 1) for v in w])), 1.4**2 / 2, rtol=1e-13
    )


def test_impossible_chains_are_refused():
    with pytest.raises(InputError, match="chain"):
        scalar_chain(0, 1.0, 0.1)
