"""What is particular to the study: its noise, its data, its losses."""

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core import tree
from thalweg.studies.sgd_stagnation_sets import bounds, digits, valleys


def test_noise_of_stiff_and_flat_directions_is_isotropic():
    descent, problem = valleys.separately_noisy(2, 5), valleys.quadratic(2, 5)
    state = descent.init(problem, problem.start)
    keys = jax.random.split(jax.random.key(0), 400)
    steps = jax.jit(jax.vmap(lambda key: descent.step(problem, state, key)[0].params))(keys)
    kept = 1 - valleys.ETA * np.asarray(problem.curvature)
    moved = np.asarray(steps) - np.asarray(problem.start) * kept
    scale = valleys.ETA * valleys.SIGMA
    np.testing.assert_allclose(np.cov(moved.T) / scale**2, np.eye(5), atol=0.25)


def test_digits_are_projected_by_the_training_part():
    train, test = digits.halves(0, 16)
    assert train.inputs.shape == (400, 16)
    assert test.inputs.shape == (1397, 16)
    np.testing.assert_allclose(np.mean(np.sum(np.square(train.inputs), axis=1)), 1, rtol=1e-12)
    np.testing.assert_allclose(np.mean(np.asarray(train.inputs), axis=0), 0, atol=1e-12)
    assert tree.size(train.init(jax.random.key(0))) == 416


def test_the_ramp_is_a_cut_margin():
    train, _ = digits.halves(0, 16)
    params = train.init(jax.random.key(0))
    out, told = np.asarray(train.outputs(params)), np.argmax(train.targets, axis=1)
    margins = [row[k] - np.delete(row, k).max() for row, k in zip(out, told, strict=True)]
    assert np.isclose(digits.ramp(train, params), np.mean(np.clip(1 - np.array(margins), 0, 1)))


def test_nets_of_one_norm_have_it():
    u = np.full(4, 0.5)
    pair = [2 * np.outer(u, u)] * 3
    assert np.linalg.norm(bounds.outputs(pair, u)) == 8
    assert float(valleys.sphere(jnp.array([3.0, 4.0]))) == 8
