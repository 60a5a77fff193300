"""Geometric rates on linear least squares, where the linearised loss is exact, and by hand."""

import math

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.theory.descent.geometric_rate import (
    linearised_loss,
    linearised_tail_rate,
    rate_certificate,
    tail_rate,
    two_layer_drift_bound,
)


def least_squares(steps, seed=0):
    """Losses of descent on 1/2 ||A t - y||^2, for which G = A A^T never moves."""
    rng = np.random.default_rng(seed)
    A, y, t = rng.normal(size=(4, 9)), rng.normal(size=4), rng.normal(size=9)
    G, start = A @ A.T, A @ t - y
    eta = 0.5 / np.linalg.eigvalsh(G)[-1]
    losses = []
    for _ in range(steps + 1):
        r = A @ t - y
        losses.append(0.5 * r @ r)
        t = t - eta * A.T @ r
    return np.array(losses), G, start, eta


def test_the_linearised_loss_is_exact_where_the_gram_matrix_stays():
    losses, G, start, eta = least_squares(60)
    prediction = linearised_loss(G, start, eta)
    assert prediction.name == "loss"
    assert np.allclose(prediction.at(eta * np.arange(61)), losses, rtol=1e-10)
    assert np.isclose(prediction.at(eta * 3), losses[3], rtol=1e-12)


def test_the_tail_falls_at_the_rate_of_the_slowest_mode():
    losses, G, _, eta = least_squares(400)
    slowest = linearised_tail_rate(np.linalg.eigvalsh(G)[0], eta)
    assert np.isclose(tail_rate(losses), slowest, rtol=1e-2)
    assert np.isclose(tail_rate([1.0, 1.0, np.exp(-3.0)]), 3.0)


def test_descent_on_least_squares_has_its_certificate():
    losses, G, _, eta = least_squares(60)
    least = np.linalg.eigvalsh(G)[0]
    found = rate_certificate(losses, eta, least)
    assert found.holds
    assert found.first_failure is None
    assert found.room > 0
    assert np.isclose(found.factor, 1 - eta * least / 2)
    assert found.tightest <= (1 - eta * least) ** 2 + 1e-12


def test_a_certificate_by_hand():
    found = rate_certificate([1.0, 0.5, 0.45], 0.5, 1.0)
    assert found.factor == 0.75
    assert found.holds
    assert np.isclose(found.room, min(math.log(0.75 / 0.5), math.log(0.75**2 / 0.45)))
    assert np.isclose(found.tightest, math.sqrt(0.45))
    late = rate_certificate([1.0, 0.5, 0.6], 0.5, 1.0)
    assert not late.holds
    assert late.first_failure == 2
    assert late.room < 0
    # At the tightest factor itself the bound is touched.
    touched = rate_certificate([1.0, 0.5, 0.6], 0.5, 4 * (1 - late.tightest) - 1e-12)
    assert touched.holds
    assert abs(touched.room) < 1e-9


def test_divergence_fails_and_zero_loss_does_not():
    assert not rate_certificate([1.0, np.nan], 0.5, 1.0).holds
    assert not rate_certificate([1.0, np.inf], 0.5, 1.0).holds
    assert rate_certificate([1.0, 0.0], 0.5, 1.0).holds


def test_the_drift_bound_is_what_the_geometric_sum_gives():
    """A neuron moves at most eta sqrt(n/m) sum_k ||u(k) - y||, which the rate bounds."""
    n, m, least, norm, eta = 5, 100, 0.2, 1.7, 0.3
    terms = (1 - eta * least / 2) ** (np.arange(20_000) / 2)
    total = eta * math.sqrt(n / m) * norm * np.sum(terms)
    bound = two_layer_drift_bound(norm, n, m, least)
    assert total <= bound
    assert np.isclose(bound, 4 * math.sqrt(5) * 1.7 / (10 * 0.2))
    small = 1e-4  # as eta tends to zero the sum tends to the bound
    terms = (1 - small * least / 2) ** (np.arange(3_000_000) / 2)
    assert np.isclose(small * math.sqrt(n / m) * norm * np.sum(terms), bound, rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: rate_certificate([1.0], 0.5, 1.0), "losses"),
        (lambda: rate_certificate([0.0, 1.0], 0.5, 1.0), "losses"),
        (lambda: rate_certificate([1.0, 0.5], 0.0, 1.0), "step_size"),
        (lambda: rate_certificate([1.0, 0.5], 0.5, 4.0), "smallest eigenvalue"),
        (lambda: linearised_loss(np.eye(3), np.ones(2), 0.1), "agree"),
        (lambda: linearised_loss(np.eye(2), np.ones(2), -0.1), "step_size"),
        (lambda: tail_rate([1.0]), "at least two"),
        (lambda: two_layer_drift_bound(1.0, 3, 4, 0.0), "positive"),
    ],
)
def test_bad_arguments_are_told(call, says):
    with pytest.raises(InputError, match=says):
        call()
