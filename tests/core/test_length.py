"""The Euclidean norm wherever squares leave the format, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import tree

SIZES = [1, 2, 7, 100]


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("p", SIZES)
def test_length_over_all_magnitudes_is_that_of_the_direction_times_the_magnitude(p, kind):
    limits = jnp.finfo(kind)
    direction = np.random.default_rng(p).uniform(0.5, 1.0, p) * np.where(np.arange(p) % 2, -1, 1)
    direction = direction.astype(kind).astype(float)
    powers = np.arange(limits.minexp + 2, limits.maxexp - 4, 7)
    arrays = jnp.asarray(np.ldexp(direction[None], powers[:, None]), kind)
    found = np.asarray(jax.jit(jax.vmap(tree.length))(arrays), float)
    expected = np.ldexp(np.linalg.norm(direction), powers)
    assert np.abs(found / expected - 1).max() <= 8 * float(limits.eps)
    one = jax.jit(tree.length)
    for at in (0, len(powers) // 2, -1):
        assert abs(float(one(arrays[at])) / expected[at] - 1) <= 8 * float(limits.eps)


@pytest.mark.parametrize("p", SIZES)
def test_length_of_zeros_and_of_what_is_not_finite(p):
    one = jax.jit(tree.length)
    ones = jnp.ones(p)
    assert float(one(0 * ones)) == 0
    assert float(one(ones.at[0].set(jnp.inf))) == np.inf
    assert np.isnan(one(ones.at[0].set(jnp.nan)))


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_derivatives_of_the_length_are_those_of_the_norm(scale):
    x = scale * jnp.asarray([3.0, -4.0, 12.0])
    unit = np.asarray(x / scale) / 13
    assert np.abs(np.asarray(jax.grad(tree.length)(x)) - unit).max() <= 1e-15
    bend = np.asarray(jax.hessian(tree.length)(x)) * scale
    assert np.abs(bend - (np.eye(3) - np.outer(unit, unit)) / 13).max() <= 1e-15


def test_length_of_complex_entries_and_of_matrices():
    z = jnp.asarray([[3.0 + 4.0j, 0.0], [0.0, 12.0j]])
    assert abs(float(tree.length(z)) - 13) <= 1e-14
    slope = jax.jvp(tree.length, (z,), (jnp.full_like(z, 1.0 + 0.0j),))[1]
    assert abs(float(slope) - 3 / 13) <= 1e-15
