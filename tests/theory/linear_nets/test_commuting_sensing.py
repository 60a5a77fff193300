"""Closed form, limit and linear programme of sensing with commuting matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import thalweg as tw
from thalweg.theory.linear_nets import commuting_sensing as sensing

A = np.sin(np.arange(1, 5)[:, None] * np.arange(1, 11) ** 2.0)
TRUTH = np.eye(10)[1] + 2 * np.eye(10)[5]


@pytest.mark.parametrize("N", [1, 2, 3, 4, 7])
def test_closed_form_solves_its_equation(N):
    """dw/ds = N w^{2-2/N} from alpha."""
    s, h = np.array([-0.3, 0.0, 0.2, 0.5]), 1e-6
    low, w, high = (sensing.commuting_eigenvalues(s + x, 0.3, N) for x in (-h, 0, h))
    np.testing.assert_allclose((high - low) / (2 * h), N * w ** (2 - 2 / N), rtol=1e-8)
    assert w[1] == pytest.approx(0.3)


@pytest.mark.parametrize("N", [1, 2, 3, 5])
def test_the_limit_is_where_the_flow_ends(N):
    b = A @ TRUTH
    found = solve_ivp(
        lambda t, w: sensing.commuting_velocity(np.maximum(w, 0) if N > 1 else w, A, b, N),
        (0, 2e4),
        np.full(10, 0.2),
        "LSODA",
        rtol=1e-10,
        atol=1e-13,
    )
    limit = sensing.commuting_limit(A, b, N, 0.2)
    np.testing.assert_allclose(limit.w, found.y[:, -1], atol=1e-6)
    assert limit.error <= 1e-11 * np.linalg.norm(b)
    np.testing.assert_allclose(A @ limit.w, b, atol=2e-11)


def test_depth_one_ends_at_the_nearest_solution():
    b = A @ TRUTH
    nearest = 0.1 + np.linalg.pinv(A) @ (b - A @ np.full(10, 0.1))
    np.testing.assert_allclose(sensing.commuting_limit(A, b, 1, 0.1).w, nearest, atol=1e-10)


def test_velocity_is_minus_a_scaled_gradient():
    w, b, h = np.linspace(0.1, 1, 10), A @ TRUTH, 1e-6

    def loss(w):
        return np.sum((A @ w - b) ** 2) / 2

    slope = np.array([(loss(w + h * e) - loss(w - h * e)) / (2 * h) for e in np.eye(10)])
    expected = -3 * w ** (4 / 3) * slope
    np.testing.assert_allclose(sensing.commuting_velocity(w, A, b, 3), expected, atol=1e-7)


def test_least_sum_and_its_dual():
    found = sensing.least_sum(A, A @ TRUTH)
    assert found.value == pytest.approx(3, abs=1e-10)
    np.testing.assert_allclose(found.w, TRUTH, atol=1e-9)
    assert found.error < 1e-9
    assert found.slack.min() > -1e-7
    np.testing.assert_allclose(found.slack[[1, 5]], 0, atol=1e-9)


def test_least_sum_by_hand():
    """w_1 + 2 w_2 = 2: the second entry pays half."""
    found = sensing.least_sum([[1.0, 2.0]], [2.0])
    np.testing.assert_allclose([*found.w, found.value, *found.multipliers], [0, 1, 1, 0.5])


def test_bad_input():
    with pytest.raises(tw.InputError, match="shape"):
        sensing.least_sum(A, np.ones(3))
    with pytest.raises(tw.InputError, match="no least sum"):
        sensing.least_sum([[1.0, 1.0]], [-1.0])
    with pytest.raises(tw.InputError, match="positive start"):
        sensing.commuting_eigenvalues(0.0, 0.0, 3)
    with pytest.raises(tw.InputError, match="Newton"):
        sensing.commuting_limit([[1.0, 1.0]], [-1.0], 2, 0.1)
    assert np.isnan(sensing.commuting_eigenvalues(10.0, 1.0, 3))
