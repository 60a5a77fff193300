"""Probes of margins and directions against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.core.result import Result
from thalweg.models import Applied
from thalweg.probes import (
    angle_gap,
    direction_distance,
    margin,
    measure,
    normalised_margin,
    parameter_norm,
    validation_error,
    validation_loss,
)
from thalweg.problems import Function, supervised
from thalweg.problems.linear_classification import linear_classifier
from thalweg.problems.margin_losses import MARGIN_LOSSES

X = np.array([(0.5, 1.5), (2, 0.25), (-2.5, 1)])
W = jnp.array([3.0, -4.0])
PROBLEM = linear_classifier(X)


def value(probe, params=W, problem=PROBLEM):
    reading = measure(problem, params, probe)
    assert int(reading.result) == Result.OK
    return float(reading.value)


def test_norm_and_margins():
    assert value(parameter_norm()) == 5
    assert value(margin()) == pytest.approx(np.min(X @ W))
    assert value(normalised_margin()) == pytest.approx(np.min(X @ W) / 5)
    assert value(normalised_margin(), jnp.zeros(2)) == 0


def test_directions():
    v = np.array([1.0, 2.0])
    cosine = v @ np.asarray(W) / 5 / np.sqrt(5)
    assert value(angle_gap(v)) == pytest.approx(1 - cosine, rel=1e-14)
    assert value(direction_distance(v)) == pytest.approx(np.sqrt(2 - 2 * cosine), rel=1e-14)
    assert value(angle_gap(W), 7 * W) == pytest.approx(0, abs=1e-30)
    assert value(angle_gap(v), jnp.zeros(2)) == pytest.approx(0.5, rel=1e-14)
    assert value(direction_distance(v), jnp.zeros(2)) == pytest.approx(1, rel=1e-14)


def test_a_small_angle_does_not_cancel():
    turned = jnp.array([1.0, 1e-9])
    assert value(angle_gap((1, 0)), turned) == pytest.approx(5e-19, rel=1e-6)


def test_validation():
    V = np.random.default_rng(0).normal(size=(20, 2))
    u = V @ np.asarray(W)
    logistic = validation_loss(V, MARGIN_LOSSES["logistic"])
    assert value(logistic) == pytest.approx(np.mean(np.logaddexp(0, -u)), rel=1e-13)
    assert value(validation_error(V)) == pytest.approx(np.mean(u <= 0), rel=1e-14)


def test_margin_of_several_classes():
    rng = np.random.default_rng(1)
    x, labels, M = rng.normal(size=(8, 2)), np.arange(8) % 3, rng.normal(size=(3, 2))
    model = Applied(lambda M, x: x @ M.T, start=jnp.asarray(M))
    problem = supervised(model, (x, labels))
    outputs = x @ M.T
    differences = [
        o[c] - max(o[k] for k in range(3) if k != c) for o, c in zip(outputs, labels, strict=True)
    ]
    found = value(margin(), jnp.asarray(M), problem)
    assert found == pytest.approx(min(differences), rel=1e-13)
    size = np.linalg.norm(M)
    assert value(normalised_margin(), jnp.asarray(M), problem) == pytest.approx(found / size)
    # the direction is that of the flat parameters, row by row
    assert value(angle_gap(M.ravel()), jnp.asarray(2 * M), problem) == pytest.approx(0, abs=1e-30)


def test_bad_input():
    with pytest.raises(InputError, match="points somewhere"):
        angle_gap([0.0, 0.0])
    with pytest.raises(InputError, match="the margin needs a problem with data"):
        measure(Function(jnp.sum, jnp.ones(2)), jnp.ones(2), margin())
    regression = supervised(
        Applied(lambda w, x: x @ w, start=jnp.ones((2, 1))), (X, X[:, 0]), "squared-error"
    )
    with pytest.raises(InputError, match="needs labels"):
        measure(regression, jnp.ones((2, 1)), margin())
