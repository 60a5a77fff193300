"""The completion of least nuclear norm, against cases that are known."""

from __future__ import annotations

import numpy as np
import pytest

import thalweg as tw
from thalweg.core.result import Result
from thalweg.theory.limits.nuclear_norm import nuclear_norm_completion


def norm(X):
    return np.linalg.svd(X, compute_uv=False).sum()


def test_diagonal_of_a_symmetric_block():
    """[[a, ?], [?, c]] has least norm a + c, whatever |x| <= sqrt(a c) stands beside; 0 does."""
    found = nuclear_norm_completion(np.eye(2, dtype=bool), np.diag([2.0, 3.0]), 1e-10)
    assert found.norm == pytest.approx(5, abs=1e-8)
    assert 0 <= found.error + 1e-12 < 1e-8


def test_one_entry_missing():
    """[[1, b], [b, ?]]: least norm by a scan of the missing entry."""
    b = 0.7
    grid = np.linspace(-2, 2, 400_01)
    # ||X||_*^2 = ||X||_F^2 + 2 |det X| for two rows
    scan = np.sqrt(1 + 2 * b**2 + grid**2 + 2 * np.abs(grid - b**2))
    mask = np.array([[True, True], [True, False]])
    found = nuclear_norm_completion(mask, [[1.0, b], [b, 9.0]], 1e-10)
    assert found.norm == pytest.approx(scan.min(), abs=1e-7)
    assert found.X[1, 1] == pytest.approx(grid[np.argmin(scan)], abs=1e-3)


def test_gap_bounds_what_other_completions_gain():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(8, 2)) @ rng.normal(size=(2, 10))
    mask = rng.random((8, 10)) < 0.7
    found = nuclear_norm_completion(mask, truth, 1e-9)
    np.testing.assert_array_equal(found.X[mask], truth[mask])
    assert found.error <= 1e-9 * found.norm
    assert found.norm <= norm(truth) + 1e-9
    for size in (1e-3, 0.1, 1):
        for _ in range(20):
            other = found.X + size * np.where(mask, 0, rng.normal(size=mask.shape))
            assert norm(other) >= found.norm - found.error
    early = nuclear_norm_completion(mask, truth, 1e-9, most_iterations=20)
    assert early.iterations == 20
    assert early.norm - early.error <= found.norm <= early.norm


def test_all_entries_leave_no_choice():
    X = np.random.default_rng(1).normal(size=(3, 4))
    found = nuclear_norm_completion(np.ones((3, 4), bool), X)
    np.testing.assert_array_equal(found.X, X)
    assert found.norm == pytest.approx(norm(X))


def test_bad_input():
    with pytest.raises(tw.InputError, match="one shape"):
        nuclear_norm_completion(np.ones((2, 2), bool), np.ones((2, 3)))
    with pytest.raises(tw.InputError, match="one entry"):
        nuclear_norm_completion(np.zeros((2, 2), bool), np.ones((2, 2)))
    with pytest.raises(tw.InputError, match="positive"):
        nuclear_norm_completion(np.ones((2, 2), bool), np.ones((2, 2)), penalty=0)


@pytest.mark.parametrize(
    ("shape", "rank", "seed", "scale"),
    [((20, 20), 2, 0, 1.0), ((20, 20), 2, 5, 100.0), ((20, 20), 2, 7, 1e-3), ((30, 10), 2, 4, 1.0)],
)
def test_the_gap_falls_below_the_tolerance_whatever_the_scale(shape, rank, seed, scale):
    """Gaussian matrices of small rank, half of them seen."""
    rng = np.random.default_rng(seed)
    truth = scale * rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    mask = rng.random(shape) < 0.5
    found = nuclear_norm_completion(mask, truth, 1e-6, most_iterations=3000)
    assert found.result == Result.OK
    assert found.error <= 1e-6 * found.norm
    assert np.array_equal(found.X[mask], truth[mask])
    assert found.norm == pytest.approx(norm(found.X))
    assert found.norm - found.error <= norm(truth) * (1 + 1e-12)  # which completes it, too


def test_a_completion_given_up_early_says_so_and_nothing_is_its_own_completion():
    rng = np.random.default_rng(0)
    truth, mask = rng.normal(size=(6, 4)), rng.random((6, 4)) < 0.5
    early = nuclear_norm_completion(mask, truth, 1e-12, most_iterations=1)
    assert early.result == Result.NOT_CONVERGED
    assert early.error > 1e-12 * early.norm
    nothing = nuclear_norm_completion(mask, 0 * truth)
    assert (nothing.norm, nothing.error, nothing.result) == (0, 0, Result.OK)
