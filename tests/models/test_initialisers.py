"""Initialisers: laws by moments and Kolmogorov-Smirnov tests, frames by their invariants."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from thalweg.core.errors import InputError
from thalweg.models.initialisers import (
    INITIALISERS,
    decoupled_init,
    hidden_frames,
    initialiser,
    orthogonal,
)

DENSE, CONV = (300, 200), (40, 30, 5, 4)
FANS = {DENSE: (200, 300), CONV: (600, 800)}  # (in, out)
STANDARD = {
    "xavier-uniform": lambda i, o: np.sqrt(2 / (i + o)),
    "xavier-normal": lambda i, o: np.sqrt(2 / (i + o)),
    "he-uniform": lambda i, o: np.sqrt(2 / i),
    "he-normal": lambda i, o: np.sqrt(2 / i),
    "lecun-normal": lambda i, o: np.sqrt(1 / i),
    "uniform-fan-in": lambda i, o: np.sqrt(1 / (3 * i)),
    "gaussian": lambda i, o: np.sqrt(1 / i),
}


def test_every_registered_law_is_tested():
    assert set(STANDARD) | {"orthogonal"} == set(INITIALISERS)


@pytest.mark.parametrize("name", sorted(STANDARD))
@pytest.mark.parametrize(("shape", "gain"), [(DENSE, 1.0), (CONV, 0.3)])
def test_laws(name, shape, gain):
    kernel = np.asarray(initialiser(name)(jax.random.key(7), shape, gain=gain))
    assert kernel.shape == shape
    assert kernel.dtype == np.float64
    std = gain * STANDARD[name](*FANS[shape])
    n = kernel.size
    assert abs(kernel.mean()) < 4 * std / np.sqrt(n)
    assert kernel.std() == pytest.approx(std, rel=4 / np.sqrt(2 * n))
    if "uniform" in name:
        bound = np.sqrt(3) * std
        assert np.abs(kernel).max() <= bound
        law = stats.uniform(-bound, 2 * bound)
    elif name == "lecun-normal":
        wide = std / stats.truncnorm(-2, 2).std()
        assert np.abs(kernel).max() <= 2 * wide * (1 + 1e-12)
        law = stats.truncnorm(-2, 2, scale=wide)
    else:
        law = stats.norm(0, std)
    assert stats.kstest(kernel.ravel(), law.cdf).pvalue > 1e-3


def test_uniform_fan_in_is_the_box_of_one_over_root_fan_in():
    kernel = initialiser("uniform-fan-in")(jax.random.key(0), (500, 16))
    assert 0.99 * 0.25 < jnp.abs(kernel).max() <= 0.25


@pytest.mark.parametrize("name", sorted(INITIALISERS))
def test_type_gain_and_key(name):
    draw, key = initialiser(name), jax.random.key(3)
    assert draw(key, (4, 3), jnp.float32).dtype == jnp.float32
    np.testing.assert_allclose(draw(key, (4, 3), gain=2.0), 2 * draw(key, (4, 3)), rtol=1e-15)
    np.testing.assert_array_equal(draw(key, (4, 3), gain=0.0), 0.0)
    assert jnp.any(draw(jax.random.key(4), (4, 3)) != draw(key, (4, 3)))
    compiled = jax.jit(lambda k: draw(k, (4, 3)))(key)
    np.testing.assert_allclose(compiled, draw(key, (4, 3)), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", sorted(INITIALISERS))
@pytest.mark.parametrize("shape", [(3,), (), (3, 0)])
def test_shapes_without_fans_are_refused(name, shape):
    with pytest.raises(InputError, match="fans"):
        initialiser(name)(jax.random.key(0), shape)


def test_unknown_name_gets_a_hint():
    with pytest.raises(InputError, match="xavier-normal"):
        initialiser("xavier-normel")


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (6, 2, 3, 3), (40, 2, 3, 3)])
def test_orthogonal_is_semi_orthogonal_when_flattened(shape):
    W = orthogonal(jax.random.key(1), shape, gain=1.3).reshape(shape[0], -1)
    np.testing.assert_allclose(jnp.linalg.svd(W, compute_uv=False), 1.3, rtol=1e-13)


@pytest.mark.parametrize("shape", [(4, 4), (2, 4), (4, 2)])
def test_orthogonal_is_haar(shape):
    """Entries, traces and rotated entries have the Haar law; QR without sign fix fails this."""
    keys = jax.random.split(jax.random.key(11), 4000)
    W = np.asarray(jax.vmap(lambda key: orthogonal(key, shape))(keys))
    n = max(shape)
    # An entry of a uniform unit vector in R^n: (w^2) ~ Beta(1/2, (n-1)/2), symmetric.
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))[0]
    rotated = rotation @ W if shape[0] == n else W @ rotation
    for sample in (W, rotated):
        for i in range(shape[0]):
            entry = sample[:, i, -1]
            assert stats.kstest(entry**2, stats.beta(0.5, (n - 1) / 2).cdf).pvalue > 1e-4
            assert abs(np.mean(np.sign(entry))) < 4.5 / np.sqrt(len(keys))
    if shape[0] == shape[1]:
        traces = np.trace(W, axis1=1, axis2=2)
        # Diaconis and Shahshahani: E tr = 0, E tr^2 = 1, E tr^4 = 3 for n >= 4.
        assert abs(traces.mean()) < 0.07
        assert np.mean(traces**2) == pytest.approx(1, abs=0.1)
        assert np.mean(traces**4) == pytest.approx(3, abs=0.6)
        assert abs(np.mean(np.linalg.det(W) > 0) - 0.5) < 0.035
        unfixed = np.array(
            [np.linalg.qr(x)[0] for x in np.asarray(jax.random.normal(keys[0], (500, 4, 4)))]
        )
        assert abs(np.trace(unfixed, axis1=1, axis2=2).mean()) > 0.3  # what the test would catch


def test_hidden_frames_are_orthonormal_and_independent():
    frames = hidden_frames(jax.random.key(0), [5, 7, 7], 3)
    assert [R.shape for R in frames] == [(5, 3), (7, 3), (7, 3)]
    for R in frames:
        np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-14)
    assert jnp.abs(frames[1] - frames[2]).max() > 0.1
    assert hidden_frames(jax.random.key(0), [], 3) == []


def bases(out, into, seed=0):
    target = np.random.default_rng(seed).normal(size=(out, into))
    U, s, Vt = np.linalg.svd(target, full_matrices=False)
    return U, s, Vt.T


@pytest.mark.parametrize(("L", "widths"), [(1, []), (2, 6), (3, [6, 9]), (7, 5)])
@pytest.mark.parametrize("strength", [0.05, np.array([0.3, 0.2, 0.1, 0.05, 0.0])])
def test_decoupled_init_is_balanced_and_aligned(L, widths, strength):
    U, _, V = bases(5, 8)
    weights = decoupled_init(U, V, strength, L, widths, jax.random.key(2))
    assert len(weights) == L
    product = np.linalg.multi_dot([np.eye(5), *weights[::-1], np.eye(8)])
    u = np.broadcast_to(strength, (5,))
    np.testing.assert_allclose(product, U * u @ V.T, atol=1e-13)
    for lower, upper in pairwise(weights):
        np.testing.assert_allclose(lower @ lower.T, upper.T @ upper, atol=1e-13)
    for W in weights:
        spectrum = np.linalg.svd(W, compute_uv=False)[:5]
        np.testing.assert_allclose(spectrum, np.sort(u ** (1 / L))[::-1], atol=1e-13)


def test_decoupled_init_may_be_drawn_under_jit():
    U, _, V = (jnp.asarray(part) for part in bases(3, 4))
    keys = jax.random.split(jax.random.key(0), 2)
    draw = jax.jit(jax.vmap(lambda key: decoupled_init(U, V, 0.1, 2, 5, key)))
    for one, key in enumerate(keys):
        for drawn, W in zip(draw(keys), decoupled_init(U, V, 0.1, 2, 5, key), strict=True):
            np.testing.assert_allclose(drawn[one], W, atol=1e-14)


def test_decoupled_init_keeps_float32():
    U, _, V = bases(3, 4)
    weights = decoupled_init(
        jnp.asarray(U, jnp.float32), jnp.asarray(V, jnp.float32), 0.1, 3, 5, jax.random.key(0)
    )
    assert all(W.dtype == jnp.float32 for W in weights)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"U": np.ones((5, 5))}, "not orthonormal"),
        ({"V": np.eye(8)}, "shapes"),
        ({"widths": 4}, "cannot carry"),
        ({"widths": [6]}, "hidden widths for depth"),
        ({"depth": 0, "widths": []}, "depth"),
        ({"strength": -0.1}, "strengths"),
        ({"strength": np.ones(4)}, "strengths"),
    ],
)
def test_decoupled_init_refuses_what_does_not_fit(change, word):
    U, _, V = bases(5, 8)
    arguments = {"U": U, "V": V, "strength": 0.1, "depth": 3, "widths": 6} | change
    with pytest.raises(InputError, match=word):
        decoupled_init(**arguments, key=jax.random.key(0))
