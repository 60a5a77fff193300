"""Kinks of users' functions: which are found, which smooth ones are not taken for one."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.behaviour import kinked
from thalweg.models import ACTIVATIONS, Applied, from_equinox, mlp
from thalweg.problems import supervised

RNG = np.random.default_rng(3)
X = RNG.normal(size=(4, 5))
W = jnp.asarray(RNG.normal(size=5))
KEY = jax.random.key(0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["relu", "elu", "abs", "tanh", "gelu", "softplus:100"])
def test_activations_are_told_apart_at_a_single_unit(name, dtype):
    """The least that can be crossed: one hidden unit, four examples."""
    net, x = mlp([1], name), jnp.asarray(X, dtype)
    params = net.init(KEY, (5,), 2, jnp.dtype(dtype))
    assert kinked(lambda p: net.apply(p, x), params) == (not net.smooth)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_all_activations_are_told_apart_in_a_deep_net(name, dtype):
    net, x = mlp([20, 20], name), jnp.asarray(X, dtype)
    params = net.init(KEY, (5,), 2, jnp.dtype(dtype))
    assert kinked(lambda p: net.apply(p, x), params) == (not net.smooth)


KINKS = {
    "absolute value": lambda w: jnp.abs(X @ w),
    "largest": lambda w: jnp.max(X @ w),
    "squared hinge": lambda w: jnp.maximum(X @ w, 0) ** 2,
    "small beside the rest": lambda w: 1e-6 * jax.nn.relu(X @ w) + jnp.sin(X @ w),
    "where": lambda w: jnp.where(X @ w > 0, jnp.exp(X @ w), 1 + X @ w),  # one derivative fits
}
SMOOTH = {
    "linear": lambda w: X @ w,
    "constant": lambda w: X[0] + 0 * w[0],
    "steep": lambda w: jax.nn.logsumexp(50 * (X @ w)),
    "very steep": lambda w: jnp.tanh(300 * (X @ w)),
    "attention": lambda w: jax.nn.softmax(X @ jnp.outer(w, w) @ X.T) @ X,
    "of huge scale": lambda w: 1e12 * jnp.tanh(X @ w),
    "of tiny scale": lambda w: 1e-12 * jnp.tanh(X @ w),
}


@pytest.mark.parametrize("name", KINKS)
def test_kinks_are_found(name):
    assert kinked(KINKS[name], W)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_have_none(name):
    assert not kinked(SMOOTH[name], W)


def test_a_problem_knows_the_kinks_of_its_model():
    """Equinox's MLP has ReLUs unless told otherwise: no promise for smooth nets may be made."""
    data = (X, RNG.normal(size=(4, 2)))
    rectified = eqx.nn.MLP(5, 2, 8, 1, key=KEY)
    assert not supervised(from_equinox(rectified), data).smooth
    assert not supervised(rectified, data, precision="float32").smooth
    assert supervised(from_equinox(rectified, smooth=True), data).smooth  # as the user says
    soft = eqx.nn.MLP(5, 2, 8, 1, activation=jnp.tanh, key=KEY)
    assert supervised(from_equinox(soft), data).smooth
    bare = Applied(lambda p, x: jax.nn.relu(x @ p), start=RNG.normal(size=(5, 2)))
    problem = supervised(bare, data)
    assert not problem.smooth
    assert not problem.model.is_smooth
    wrapped = tw.models.starts.gaussian_start(bare, 1.0)
    assert not supervised(wrapped, data).smooth
