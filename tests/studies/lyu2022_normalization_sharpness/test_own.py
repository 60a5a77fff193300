"""What is particular to the study of sharpness reduction: its draws and its records."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.studies.lyu2022_normalization_sharpness import completion, regression, sphere


def test_the_draw_is_that_of_the_specification():
    at = regression.draw(0)
    assert at.target.least_sharpness == pytest.approx(4.3786, abs=5e-5)
    assert at.target.row_norm_squared(regression.ETA) == pytest.approx(0.21893, abs=5e-6)
    assert np.linalg.norm(at.start) == pytest.approx(1.0)


def test_records_come_in_pairs_of_consecutive_steps():
    steps = np.cumsum(regression.gaps(40, 3))
    assert steps.tolist() == [39, 40, 79, 80, 119, 120]


def test_a_start_has_its_angle_height_and_norm():
    w = sphere.start(0.01, 4.0)
    assert np.linalg.norm(w) == pytest.approx(2.0)
    assert w[2] / 2 == pytest.approx(0.01)
    assert np.arctan2(w[1], w[0]) == pytest.approx(sphere.START)


def test_half_of_the_entries_are_known():
    problem, params = completion.draw(0)
    assert int(problem.observed.count) == 200
    assert np.linalg.matrix_rank(problem.observed.values) == 2
    assert sum(float(jnp.sum(p["weight"] ** 2)) for p in params) == pytest.approx(4.0)
    outputs = np.asarray(problem.completed(params))[np.asarray(problem.observed.mask)]
    known = np.asarray(problem.observed.values)[np.asarray(problem.observed.mask)]
    assert outputs.mean() == pytest.approx(known.mean())
    assert outputs.std() == pytest.approx(known.std())
