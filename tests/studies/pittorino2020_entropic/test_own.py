"""What is particular to the study of entropic descent: its data, its baselines, its grid."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.studies.pittorino2020_entropic import exact, training


def test_the_split_is_that_of_the_specification():
    at = training.draw(0, False, 100)
    assert at.train.inputs.shape == (500, 64)
    assert at.test.inputs.shape == (1297, 64)
    assert float(jnp.min(at.train.inputs)) == 0
    assert float(jnp.max(at.train.inputs)) == 1
    sizes = [float(jnp.sum(layer["weight"] ** 2)) for layer in at.start]
    assert sum(sizes) == pytest.approx(420, rel=0.05)  # 200 + 200 + 20: variance 2/fan_in
    assert all(not jnp.any(layer["bias"]) for layer in at.start)


def test_a_fifth_of_the_training_labels_is_drawn_anew_and_no_other():
    clean, noisy = training.draw(3, False, 10), training.draw(3, True, 10)
    np.testing.assert_array_equal(clean.train.inputs, noisy.train.inputs)
    np.testing.assert_array_equal(clean.test.targets, noisy.test.targets)
    changed = jnp.argmax(clean.train.targets, axis=1) != jnp.argmax(noisy.train.targets, axis=1)
    assert float(jnp.mean(changed)) == pytest.approx(0.18, abs=0.06)  # one in ten draws the same


def test_budgets_are_told_in_steps():
    made = training.optimisers(60, (training.SGD, training.LONG, training.REPLICATED))
    assert [steps for _, steps in made.values()] == [600, 1800, 600]


def test_the_grid_average_is_that_of_a_coarser_grid():
    w = exact.POINTS[1]
    np.testing.assert_allclose(exact.gibbs_pull(w, 61), exact.gibbs_pull(w), atol=1e-12)
