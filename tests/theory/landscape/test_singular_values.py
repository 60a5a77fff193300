"""Derivatives, paths and bounds of singular values, against closed forms and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from thalweg.core.errors import InputError
from thalweg.theory.landscape import singular_values as sv


def svd(A):
    return np.linalg.svd(A, compute_uv=False)


def test_condition_number():
    assert sv.condition_number([4.0, 2.0, 0.5]) == 8
    assert sv.condition_number([4.0, 2.0, 1e-17]) == np.inf
    assert sv.condition_number([0.0, 0.0]) == np.inf
    assert sv.condition_number([4.0, 2.0, 1e-17], nonzero=True) == 2
    np.testing.assert_array_equal(sv.condition_number([[2.0, 1.0], [3.0, 0.0]]), [2, np.inf])


def test_rounding_of_single_precision_is_no_singular_value():
    rng = np.random.default_rng(3)
    A = np.outer(rng.normal(size=4), rng.normal(size=4)).astype(np.float32)
    s = np.linalg.svd(A, compute_uv=False)
    assert sv.condition_number(s) == np.inf
    assert sv.condition_number(s, nonzero=True) == 1


def test_contraction_is_that_of_the_best_step():
    s = np.array([3.0, 1.5, 0.5])
    steps = np.linspace(0, 2 / 9, 20001)[1:]
    worst = np.max(np.abs(1 - steps[:, None] * s**2), 1)
    assert sv.contraction(6.0) == pytest.approx(worst.min(), abs=1e-4)
    assert sv.contraction(np.inf) == 1


def test_derivatives_along_the_identity_of_a_symmetric_matrix():
    """s_i = |lambda_i + rho|: slope sign(lambda_i), no curvature."""
    V = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    found = sv.derivatives(V @ np.diag([3.0, -2.0, 1.0, -0.5]) @ V.T)
    np.testing.assert_allclose(found.value, [3, 2, 1, 0.5])
    np.testing.assert_allclose(found.first, [1, -1, 1, -1], atol=1e-12)
    np.testing.assert_allclose(found.second, 0, atol=1e-12)


def test_derivatives_where_the_slope_is_zero():
    """A turn by a right angle, stretched: u and v are orthogonal, only the curvature moves s."""
    A = np.array([[0.0, -2.0], [1.0, 0.0]])
    t = 1e-3
    up, s, down = (svd(A + h * np.eye(2)) for h in (t, 0.0, -t))
    found = sv.derivatives(A)
    np.testing.assert_allclose(found.first, 0, atol=1e-15)
    np.testing.assert_allclose(found.second, (up - 2 * s + down) / t**2, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_derivatives_in_any_direction(seed):
    rng = np.random.default_rng(seed)
    A, E = rng.normal(size=(2, 5, 5))
    found, h = sv.derivatives(A, E), 1e-4
    up, down = svd(A + h * E), svd(A - h * E)
    np.testing.assert_allclose(found.first, (up - down) / (2 * h), atol=1e-5)
    np.testing.assert_allclose(found.second, (up - 2 * svd(A) + down) / h**2, rtol=1e-4, atol=1e-4)


def test_paths_pass_through_a_crossing():
    """Eigenvalues -1 and 0.3: s = |rho - 1| and rho + 0.3 cross at 0.35."""
    V = np.linalg.qr(np.random.default_rng(1).normal(size=(2, 2)))[0]
    rho = np.linspace(0, 0.9, 90)
    path = sv.singular_paths(V @ np.diag([-1.0, 0.3]) @ V.T, rho)
    np.testing.assert_allclose(path.value, np.transpose([1 - rho, rho + 0.3]), atol=1e-13)
    np.testing.assert_allclose(path.slope, np.tile([-1.0, 1.0], (90, 1)), atol=1e-12)


def test_integrated_slopes_give_the_paths_back():
    A = np.random.default_rng(3).normal(size=(6, 6)) / 6**0.5

    def error(points):
        path = sv.singular_paths(A, np.linspace(0, 2, points))
        rise = np.diff(path.rho)[:, None] * (path.slope[1:] + path.slope[:-1]) / 2
        return np.max(np.abs(path.value[0] + rise.sum(0) - path.value[-1]))

    assert error(4001) < 1e-5
    assert error(2001) / error(4001) == pytest.approx(4, rel=0.1)


@given(st.integers(1, 7), st.integers(1, 7), st.floats(-1, 1), st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_row_scaling_bounds_hold(m, n, eta, seed):
    rng = np.random.default_rng(seed)
    A, off = rng.normal(size=(m, n)), rng.random(m) < 0.5
    s = svd(np.where(off, eta, 1.0)[:, None] * A)
    known = sv.row_scaling(A, off, eta)
    unit = max(1.0, known.upper[0])
    assert known.bounds.margin(s) >= -1e-12 * unit
    assert np.sum(known.upper**2 - s**2) == pytest.approx(known.lost, abs=1e-12 * unit**2)


def test_row_scaling_by_hand():
    A = np.diag([3.0, 2.0, 1.0])
    known = sv.row_scaling(A, np.array([True, False, False]), 0.1)
    np.testing.assert_allclose(known.upper, [3, 2, 1])
    np.testing.assert_allclose(known.upper_off, [np.inf, np.inf, 0.3])
    np.testing.assert_allclose(known.lower_scale, [0.3, 0.2, 0.1])
    np.testing.assert_allclose(known.lower_interlacing, [2, 1, 0])
    np.testing.assert_allclose(known.lower_norm, [0.3, 0, 0], atol=1e-15)
    assert known.lost == pytest.approx(0.99 * 9)
    assert known.bounds.margin([2.0, 1.0, 0.3]) == pytest.approx(0.0, abs=1e-15)
    assert known.bounds.margin([1.9, 1.0, 0.3]) == pytest.approx(-0.1)
    relu = sv.row_scaling(A, np.array([True, False, True]), 0.0)
    np.testing.assert_array_equal(relu.upper_off, [np.inf, 0, 0])
    same = sv.row_scaling(A, np.array([True, True, False]), -1.0)
    np.testing.assert_allclose(same.bounds.lower, same.bounds.upper)
    np.testing.assert_allclose(sv.row_scaling(A, np.zeros(3, bool), 0.5).bounds.lower, [3, 2, 1])


def test_shift_bounds_are_attained():
    for sign in (1.0, -1.0):
        s = svd(0.4 * sign * np.eye(3) + np.eye(3))
        assert sv.shift_bounds(0.4, 1.0).margin(s) == pytest.approx(0, abs=1e-15)
    s = svd(np.diag([0.4, -0.4]) + np.eye(2))
    assert sv.condition_number(s) == pytest.approx(sv.shift_condition_bound(0.4, 1.0))
    np.testing.assert_array_equal(sv.shift_condition_bound([1.0, 2.0], 1.0), np.inf)


def test_stacked_singular_values():
    B = np.random.default_rng(4).normal(size=(5, 3))
    np.testing.assert_allclose(sv.stacked_singular_values(svd(B)), svd(np.vstack([B, np.eye(3)])))


def test_gaussian_constants():
    def density(x):
        return (2 * x + 4) / x**3 * np.exp(-2 / x - 2 / x**2)

    def whole(f):
        return quad(f, 0, 1)[0] + quad(f, 1, np.inf)[0]

    assert whole(density) == pytest.approx(1, abs=1e-9)
    assert whole(lambda x: np.log(x) * density(x)) == pytest.approx(
        sv.GAUSSIAN_LOG_CONDITION, abs=1e-9
    )
    assert sv.gaussian_log_condition(16) == pytest.approx(np.log(16) + 1.537, abs=1e-4)
    assert sv.gaussian_norm(0.5) == 1
    assert sv.gaussian_norm(1.0, 0.5) == pytest.approx(1.7071, abs=1e-4)
    rng = np.random.default_rng(6)
    W = rng.normal(size=(200, 200)) / 200**0.5
    assert svd(W)[0] == pytest.approx(2, rel=0.05)
    assert svd(W[:100])[0] == pytest.approx(1.7071, rel=0.05)
    logs = np.log(sv.condition_number(svd(rng.normal(size=(2000, 16, 16)))))
    error = logs.std() / 2000**0.5
    assert logs.std() == pytest.approx(1.2, abs=0.15)
    assert abs(logs.mean() - sv.gaussian_log_condition(16)) < 0.1 + 3 * error


def test_bad_input():
    for wrong in (
        lambda: sv.derivatives(np.ones((2, 3))),
        lambda: sv.derivatives(np.eye(2), np.eye(3)),
        lambda: sv.singular_paths(np.eye(2), []),
        lambda: sv.singular_paths(np.ones(2), [0.0]),
        lambda: sv.row_scaling(np.eye(2), [1, 0], 0.5),
        lambda: sv.row_scaling(np.eye(2), np.array([True]), 0.5),
        lambda: sv.row_scaling(np.eye(2), np.array([True, False]), 1.5),
        lambda: sv.gaussian_norm(1.0, 2.0),
    ):
        with pytest.raises(InputError):
            wrong()
