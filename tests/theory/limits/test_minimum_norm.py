"""The solution of least norm against the pseudoinverse, Lagrange's equations and descent itself."""

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.theory.limits.minimum_norm import minimum_norm


def system(seed=0, m=4, d=9):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, d)), rng.normal(size=m), rng.normal(size=d)


def test_it_is_that_of_the_pseudoinverse():
    A, y, _ = system()
    found = minimum_norm(A, y)
    np.testing.assert_allclose(found.solution, np.linalg.pinv(A) @ y, atol=1e-14)
    np.testing.assert_allclose(A.T @ np.linalg.solve(A @ A.T, y), found.solution, atol=1e-13)
    assert found.norm == pytest.approx(np.linalg.norm(found.solution))
    values = np.linalg.eigvalsh(A @ A.T)
    assert (found.least, found.most) == pytest.approx((values[0], values[-1]))


def test_other_solutions_are_longer():
    A, y, z = system(1)
    found = minimum_norm(A, y)
    other = found.descent_limit(z)
    np.testing.assert_allclose(A @ other, y, atol=1e-13)
    away = np.linalg.norm(other - found.solution)
    assert np.linalg.norm(other) ** 2 == pytest.approx(found.norm**2 + away**2)


def test_the_parts_of_a_vector():
    A, y, _ = system(2)
    found = minimum_norm(A, y)
    V = np.random.default_rng(3).normal(size=(5, 2, 9))
    row, null = found.split(V)
    np.testing.assert_allclose(row + null, V, atol=1e-15)
    np.testing.assert_allclose(null @ A.T, 0, atol=1e-13)
    np.testing.assert_allclose(row, V @ (np.linalg.pinv(A) @ A).T, atol=1e-13)
    np.testing.assert_allclose(V @ found.null_projector, null, atol=1e-14)


def test_descent_ends_where_it_says():
    A, y, x = system(4)
    found = minimum_norm(A, y)
    limit = found.descent_limit(x)
    for _ in range(5000):
        x = x - A.T @ (A @ x - y) / found.most
    np.testing.assert_allclose(x, limit, atol=1e-12)


def test_the_error_holds_on_an_ill_conditioned_system():
    """Powers of ten on an orthogonal frame: the exact solution is known."""
    rng = np.random.default_rng(5)
    left, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    right, _ = np.linalg.qr(rng.normal(size=(10, 6)))
    z = rng.normal(size=6)
    sigma = 10.0 ** -np.arange(6)
    A = (left * sigma) @ right.T
    found = minimum_norm(A, A @ (right @ z))
    away = np.linalg.norm(found.solution - right @ z)
    assert away < 1e-9
    assert found.error < 1e-9
    shifted = minimum_norm(A, A @ (right @ z) + 1e-6 * left[:, 5])
    assert np.linalg.norm(shifted.solution - right @ z) == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize(
    ("A", "y", "says"),
    [
        (np.ones((2, 3)), np.ones(2), "full row rank"),
        (np.eye(3), np.ones(2), "shape"),
        (np.ones((3, 2)), np.ones(3), "m <= d"),
        (np.ones(3), np.ones(1), "shape"),
    ],
)
def test_bad_arguments_are_told(A, y, says):
    with pytest.raises(InputError, match=says):
        minimum_norm(A, y)
