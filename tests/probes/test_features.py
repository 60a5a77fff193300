"""The n-th singular value of the features, by another decomposition and where it must vanish."""

import jax
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.models import Applied
from thalweg.probes import feature_singular_value, measure
from thalweg.problems import supervised
from thalweg.problems.data.random_labels import random_data


def problem_of(width, n=12):
    data = random_data(n, 5, "signs")
    return supervised(tw.models.mlp((7, width), "tanh"), data)


def test_it_is_numpys_on_the_same_matrix():
    problem = problem_of(20)
    params = problem.init(jax.random.key(0))
    A = np.c_[problem.model.features(params, problem.inputs), np.ones(12)]
    reading = measure(problem, params, feature_singular_value())
    expected = np.sqrt(np.linalg.eigvalsh(A @ A.T)[0])
    assert float(reading.value) == pytest.approx(expected, rel=1e-6)
    assert abs(float(reading.value) - np.linalg.svd(A)[1][11]) <= float(reading.error)
    assert 0 < float(reading.error) < 1e-12


def test_the_ones_count_and_too_few_features_have_none():
    for width, positive in ((11, True), (10, False)):
        problem = problem_of(width)
        params = problem.init(jax.random.key(1))
        value = float(measure(problem, params, feature_singular_value()).value)
        assert (value > 0) == positive


def test_a_model_that_does_not_tell_its_last_layer_is_refused():
    model = Applied(lambda p, x: x @ p, start=np.ones((5, 1)))
    problem = supervised(model, random_data(4, 5, "signs"))
    with pytest.raises(InputError, match="last"):
        measure(problem, problem.init(jax.random.key(0)), feature_singular_value())
