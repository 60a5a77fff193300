"""Measures of kernel matrices against kernels whose values are known, and SciPy."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from thalweg import InputError, Result
from thalweg.kernels import (
    alignment,
    as_matrix,
    drift,
    effective_rank_of,
    smallest_eigenvalue_of,
    target_alignment,
)

RNG = np.random.default_rng(0)
Q = scipy.linalg.qr(RNG.normal(size=(6, 6)))[0]


def with_eigenvalues(values):
    return Q @ np.diag(values) @ Q.T


def test_the_smallest_eigenvalue_lies_within_its_error():
    values = np.array([3.0, 2.0, 1e-3, 5.0, 7.0, 1.0])
    reading = smallest_eigenvalue_of(with_eigenvalues(values))
    assert reading.result == Result.OK
    assert abs(reading.value - 1e-3) <= reading.error < 1e-12


def test_a_singular_kernel_has_zero_within_the_error():
    points = RNG.normal(size=(6, 3))
    reading = smallest_eigenvalue_of(points @ points.T)
    assert abs(reading.value) <= reading.error


def test_wrong_entries_move_the_smallest_eigenvalue_by_no_more_than_its_error():
    K = with_eigenvalues(np.arange(1.0, 7.0))
    noise = 1e-3 * RNG.normal(size=(6, 6))
    noise = noise + noise.T
    for entries in (np.abs(noise), np.abs(noise).max()):
        reading = smallest_eigenvalue_of(K + noise, entry_error=entries)
        assert abs(reading.value - 1) <= reading.error


def test_a_full_kernel_is_taken_as_a_matrix_over_examples_and_outputs():
    jacobian = RNG.normal(size=(3, 2, 9))
    kernel = np.einsum("iap,jbp->ijab", jacobian, jacobian)
    flat = jacobian.reshape(6, 9)
    assert np.allclose(as_matrix(jnp.asarray(kernel)), flat @ flat.T, rtol=1e-13)
    lowest = np.linalg.svd(flat, compute_uv=False)[-1] ** 2
    reading = smallest_eigenvalue_of(kernel)
    assert abs(reading.value - lowest) <= 2 * reading.error


def test_alignment_is_the_cosine_and_centring_removes_constants():
    K, M = (np.cov(RNG.normal(size=(5, 9))) for _ in range(2))
    cosine = np.vdot(K, M) / np.sqrt(np.vdot(K, K) * np.vdot(M, M))
    assert np.isclose(alignment(K, M).value, cosine, rtol=1e-14)
    assert np.isclose(alignment(K, 3 * K).value, 1, rtol=1e-14)
    H = np.eye(5) - np.full((5, 5), 1 / 5)
    centred = np.vdot(H @ K @ H, M) / np.linalg.norm(H @ K @ H) / np.linalg.norm(H @ M @ H)
    assert np.isclose(alignment(K, M, centred=True).value, centred, rtol=1e-13)
    assert np.isclose(alignment(K + 2, M, centred=True).value, centred, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_centring_leaves_of_rounding_is_no_alignment(dtype):
    y = np.random.default_rng(4).normal(size=7).astype(dtype)
    K = np.outer(y, y)
    for constant in (0.1, 1e8, 3e-20):
        flat = np.full((7, 7), constant, dtype)
        assert alignment(flat, K, centred=True).result == Result.NONFINITE
        assert target_alignment(K, flat[0], centred=True).result == Result.NONFINITE
        assert alignment(flat, K).result == Result.OK


def test_the_error_of_a_centred_alignment_covers():
    """In float32, against float64 of the numbers that float32 holds."""
    rng = np.random.default_rng(5)
    for height in (1.0, 1e2, 1e4, 1e5):
        J = rng.normal(size=(8, 3))
        K = (J @ J.T + height).astype(np.float32)
        Y = rng.normal(size=8).astype(np.float32)
        found = target_alignment(K, Y, centred=True)
        truth = target_alignment(K.astype(float), Y.astype(float), centred=True).value
        assert found.result == Result.OK
        assert abs(float(found.value) - float(truth)) <= found.error < 2e-5 * height


def test_alignment_with_targets():
    K, y = np.cov(RNG.normal(size=(5, 9))), RNG.normal(size=5)
    formula = y @ K @ y / (np.linalg.norm(K) * (y @ y))
    assert np.isclose(target_alignment(K, y).value, formula, rtol=1e-14)
    assert np.isclose(target_alignment(K, y[:, None]).value, formula, rtol=1e-14)
    assert np.isclose(target_alignment(np.outer(y, y), y).value, 1, rtol=1e-14)
    shifted = target_alignment(K, y + 4, centred=True).value
    assert np.isclose(shifted, target_alignment(K, y, centred=True).value, rtol=1e-12)


def test_alignment_of_a_full_kernel_with_targets():
    jacobian, Y = RNG.normal(size=(4, 2, 9)), RNG.normal(size=(4, 2))
    kernel = np.einsum("iap,jbp->ijab", jacobian, jacobian)
    flat, y = jacobian.reshape(8, 9), Y.reshape(8)
    K = flat @ flat.T
    formula = y @ K @ y / (np.linalg.norm(K) * (y @ y))
    assert np.isclose(target_alignment(kernel, Y).value, formula, rtol=1e-13)
    H = np.kron(np.eye(4) - np.full((4, 4), 1 / 4), np.eye(2))
    K, y = H @ K @ H, H @ y
    formula = y @ K @ y / (np.linalg.norm(K) * (y @ y))
    assert np.isclose(target_alignment(kernel, Y, centred=True).value, formula, rtol=1e-13)


def test_drift():
    K = np.cov(RNG.normal(size=(5, 9)))
    assert drift(K, K).value == 0
    assert np.isclose(drift(1.25 * K, K).value, 0.25, rtol=1e-13)
    full, start = RNG.normal(size=(3, 3, 2, 2)), RNG.normal(size=(3, 3, 2, 2))
    wanted = np.linalg.norm((full - start).ravel()) / np.linalg.norm(start.ravel())
    assert np.isclose(drift(full, start).value, wanted, rtol=1e-14)


@pytest.mark.parametrize("form", ["entropy", "participation"])
def test_effective_rank_of_equal_eigenvalues_is_their_number(form):
    K = with_eigenvalues([2, 2, 2, 0, 0, 0])
    assert np.isclose(effective_rank_of(K, form).value, 3, rtol=1e-12)


def test_effective_ranks_follow_their_formulas():
    values = np.array([4.0, 2, 1, 0.5, 0.25, 0.1])
    p = values / values.sum()
    K = with_eigenvalues(values)
    assert np.isclose(effective_rank_of(K).value, np.exp(-np.sum(p * np.log(p))), rtol=1e-12)
    ratio = np.trace(K) ** 2 / np.linalg.norm(K) ** 2
    assert np.isclose(effective_rank_of(K, "participation").value, ratio, rtol=1e-12)


def test_a_kernel_that_is_not_finite_is_told():
    assert smallest_eigenvalue_of(np.full((2, 2), np.nan)).result == Result.NONFINITE
    assert drift(np.ones((2, 2)), np.zeros((2, 2))).result == Result.NONFINITE


def test_bad_shapes_are_refused():
    with pytest.raises(InputError, match="not square"):
        smallest_eigenvalue_of(np.ones((2, 3)))
    with pytest.raises(InputError, match="compared"):
        alignment(np.eye(2), np.eye(3))
    with pytest.raises(InputError, match="compared"):
        drift(np.eye(2), np.eye(3))
    with pytest.raises(InputError, match="belong together"):
        target_alignment(np.eye(3), np.ones(2))
    with pytest.raises(InputError, match="Did you mean 'entropy'"):
        effective_rank_of(np.eye(2), "entropi")
