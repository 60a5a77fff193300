"""Deep matrix factorisation: objective, gradient, starts, what is observed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.spectra import layer_product
from thalweg.models import layer_weights
from thalweg.problems.matrix_sensing import (
    STARTS,
    Entries,
    MatrixFactorisation,
    Measurements,
    gaussian_measurements,
    low_rank_matrix,
    observed_entries,
)
from thalweg.theory.linear_nets.end_to_end import balance_defect

KEY = jax.random.key(0)


def test_objective_by_hand():
    rng = np.random.default_rng(0)
    W = [rng.normal(size=shape) for shape in ((3, 4), (3, 3), (2, 3))]
    truth, mask = rng.normal(size=(2, 4)), rng.random((2, 4)) < 0.6
    params = [{"weight": jnp.asarray(w)} for w in W]
    gap = (W[2] @ W[1] @ W[0] - truth)[mask]
    mean = MatrixFactorisation(Entries(mask, truth), 3)
    assert mean.objective(params) == pytest.approx(np.mean(gap**2))
    total = MatrixFactorisation(Entries(mask, truth), 3, reduction="sum")
    assert total.objective(params) == pytest.approx(np.sum(gap**2) / 2)
    A = np.array([np.eye(8)[i].reshape(2, 4) for i in np.flatnonzero(mask)])
    sensed = MatrixFactorisation(Measurements(A, truth[mask]), 3)
    assert sensed.objective(params) == pytest.approx(np.mean(gap**2))


def test_gradient_of_the_product():
    rng = np.random.default_rng(1)
    A, truth, W = rng.normal(size=(5, 3, 4)), rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    b = np.einsum("mij,ij->m", A, truth)
    problem = MatrixFactorisation(Measurements(A, b), 2, reduction="sum")
    expected = np.einsum("m,mij->ij", np.einsum("mij,ij->m", A, W) - b, A)
    np.testing.assert_allclose(problem.gradient_of_product(jnp.asarray(W)), expected, rtol=1e-12)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("N", [1, 2, 4])
def test_starts_have_the_size_they_say(start, N):
    d, alpha = 60, 1e-3
    observed = observed_entries(KEY, np.eye(d), 100)
    params = MatrixFactorisation(observed, N, alpha, start).init(KEY)
    weights = layer_weights(params)
    size = float(jnp.linalg.norm(layer_product(weights)))
    assert len(weights) == N
    expected = {"orthogonal": alpha * d, "identity": alpha * np.sqrt(d)}
    if start in expected:
        assert size == pytest.approx(expected[start], rel=1e-12)
    else:
        assert size == pytest.approx(alpha * np.sqrt(d), rel=0.1)
    if start == "gaussian":
        assert float(jnp.std(weights[0])) == pytest.approx(alpha ** (1 / N) / np.sqrt(d), rel=0.05)
    if start in ("balanced", "orthogonal", "identity") and N > 1:
        assert balance_defect(weights) < 1e-12


@pytest.mark.parametrize(("out", "inputs"), [(50, 80), (90, 40)])
@pytest.mark.parametrize(("N", "width"), [(1, None), (2, None), (3, 120)])
def test_rectangular_starts_have_the_size_they_say(out, inputs, N, width):
    """Every factor by its own inputs: with squares the fans could be taken for each other."""
    alpha, observed = 1e-2, observed_entries(KEY, np.ones((out, inputs)), 10)

    def weights(start):
        problem = MatrixFactorisation(observed, N, alpha, start, width)
        return layer_weights(problem.init(KEY))

    gaussian = weights("gaussian")
    for w in gaussian:
        said = alpha ** (1 / N) / np.sqrt(w.shape[1])
        assert float(jnp.std(w)) == pytest.approx(said, rel=4 / np.sqrt(2 * w.size))
    rms = alpha * np.sqrt(out)  # E ||W||_F^2 = alpha^2 out, whatever the widths
    balanced = weights("balanced")
    assert float(jnp.linalg.norm(layer_product(balanced))) == pytest.approx(rms, rel=0.05)
    assert float(jnp.linalg.norm(layer_product(gaussian))) == pytest.approx(rms, rel=0.2)
    gain = (alpha * np.sqrt(inputs)) ** (1 / N)
    for w in weights("orthogonal"):
        np.testing.assert_allclose(jnp.linalg.svd(w, compute_uv=False), gain, rtol=1e-12)


def test_rectangles_and_widths():
    observed = observed_entries(KEY, np.ones((5, 7)), 10)
    shapes = [w.shape for w in layer_weights(MatrixFactorisation(observed, 3, width=9).init(KEY))]
    assert shapes == [(9, 7), (9, 9), (5, 9)]
    balanced = layer_weights(MatrixFactorisation(observed, 3, start="balanced", width=6).init(KEY))
    assert [w.shape for w in balanced] == [(6, 7), (6, 6), (5, 6)]


def test_what_is_observed():
    truth = low_rank_matrix(KEY, 30, 20, 3)
    assert float(jnp.mean(truth**2)) == pytest.approx(1)
    assert np.linalg.matrix_rank(truth) == 3
    entries = observed_entries(KEY, truth, 200)
    assert int(entries.count) == 200
    assert float(jnp.max(jnp.abs(entries.residuals(truth)))) == 0
    sensed = gaussian_measurements(KEY, truth, 50)
    assert sensed.A.shape == (50, 30, 20)
    assert float(jnp.mean(sensed.A**2)) * 600 == pytest.approx(1, rel=0.05)
    np.testing.assert_allclose(sensed.residuals(truth), 0, atol=1e-13)


@pytest.mark.slow
def test_sensing_by_depth_recovers_a_low_rank_matrix():
    """A matrix of 6x6 and rank 1 from 24 of 36 measurements."""
    truth = low_rank_matrix(KEY, 6, 6, 1)
    sensed = gaussian_measurements(jax.random.key(3), truth, 24)
    problem = MatrixFactorisation(sensed, 3, 1e-2, "balanced")
    run = tw.run(problem, tw.stabilised_descent(), until=20_000.0, records=2)
    theta = run.parameters.values[0, -1].reshape(3, 6, 6)
    W = theta[2] @ theta[1] @ theta[0]
    assert np.mean((W - np.asarray(truth)) ** 2) < 1e-4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda o: MatrixFactorisation(o, 0), "depth"),
        (lambda o: MatrixFactorisation(o, 2, -1.0), "scale"),
        (lambda o: MatrixFactorisation(o, 2, start="gausian"), "gaussian"),
        (lambda o: MatrixFactorisation(o, 2, start="identity"), "identity"),
        (lambda o: MatrixFactorisation(o, 2, start="balanced", width=1), "width"),
        (lambda o: MatrixFactorisation(o, 2, reduction="max"), "mean"),
        (lambda o: Entries(np.ones((2, 2)), np.ones((2, 2))), "booleans"),
        (lambda o: Measurements(np.ones((2, 2)), np.ones(2)), "shape"),
        (lambda o: low_rank_matrix(KEY, 3, 3, 4), "rank"),
        (lambda o: observed_entries(KEY, np.eye(3), 10), "entries"),
        (lambda o: gaussian_measurements(KEY, np.eye(3), 0), "at least 1"),
    ],
)
def test_bad_input(make, words):
    observed = observed_entries(KEY, np.ones((3, 4)), 5)
    with pytest.raises(tw.InputError, match=words):
        make(observed)
