"""The semidefinite complementarity problem: its conditions, and answers in closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.core.result import Result
from thalweg.core.sdcp import sdcp, smat, svec

RNG = np.random.default_rng(7)


def symmetric(k):
    matrix = RNG.normal(size=(k, k))
    return (matrix + matrix.T) / 2


def gram(k, rows=3):
    m = k * (k + 1) // 2
    factor = RNG.normal(size=(rows * m, m))
    return factor.T @ factor


def part(matrix, sign):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(sign * values, 0)) @ vectors.T


solve = jax.jit(sdcp)


@pytest.mark.thorough(after=3)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
def test_random_instances_meet_the_conditions(k):
    for _ in range(20):
        A, B = symmetric(k), gram(k)
        found = solve(A, B)
        X, Y = np.asarray(found.X), np.asarray(found.Y)
        np.testing.assert_allclose(
            Y, A + np.asarray(smat(jnp.asarray(B) @ svec(found.X))), atol=1e-12
        )
        assert found.result == Result.OK
        assert abs(np.sum(X * Y)) <= 1e-8
        assert np.linalg.eigvalsh(X)[0] >= -1e-12
        assert np.linalg.eigvalsh(Y)[0] >= -min(1e-8, float(found.residual) + 1e-12)
        L = np.linalg.eigvalsh(B)[-1]
        r = float(found.residual)
        assert abs(np.sum(X * Y)) <= r * (np.linalg.norm(X) + (np.linalg.norm(Y) + r) / L) + 1e-14


@pytest.mark.parametrize("k", [1, 3, 6])
def test_of_a_multiple_of_the_identity_it_is_the_negative_part(k):
    A, b = symmetric(k), 0.7
    found = solve(A, b * np.eye(k * (k + 1) // 2))
    np.testing.assert_allclose(found.X, part(A, -1) / b, atol=1e-12)


@pytest.mark.thorough
def test_it_is_the_minimum_that_a_general_solver_finds():
    """By factors X = F F^T and BFGS, which knows nothing of cones."""
    from scipy.optimize import minimize

    A, B = symmetric(3), gram(3)

    def value(flat):
        x = np.asarray(svec(jnp.asarray(flat.reshape(3, 3) @ flat.reshape(3, 3).T)))
        return 0.5 * x @ B @ x + np.asarray(svec(jnp.asarray(A))) @ x

    starts = [RNG.normal(size=9) * 0.3 for _ in range(3)]
    best = min((minimize(value, s, options={"gtol": 1e-10}) for s in starts), key=lambda m: m.fun)
    x = np.asarray(svec(solve(A, B).X))
    assert value_of(x, A, B) <= best.fun + 1e-12
    np.testing.assert_allclose(value_of(x, A, B), best.fun, atol=1e-8)


def value_of(x, A, B):
    return 0.5 * x @ B @ x + np.asarray(svec(jnp.asarray(A))) @ x


def test_a_near_start_saves_iterations_and_changes_nothing():
    A, B = symmetric(4), gram(4)
    cold = solve(A, B)
    warm = solve(A, B, cold.X)
    assert 3 * int(warm.iterations) < int(cold.iterations)
    np.testing.assert_allclose(warm.X, cold.X, atol=1e-10)


def test_where_there_is_no_solution_the_code_says_so():
    found = sdcp(jnp.diag(jnp.array([-1.0, 1.0])), jnp.zeros((3, 3)), most_iterations=50)
    assert found.result == Result.NOT_CONVERGED
    assert found.residual > 0.1
    assert solve(np.eye(2) * np.nan, np.eye(3)).result == Result.NONFINITE


def test_many_at_once_are_each_alone():
    As, Bs = np.stack([symmetric(3) for _ in range(4)]), np.stack([gram(3) for _ in range(4)])
    together = jax.vmap(sdcp)(As, Bs)
    for A, B, X in zip(As, Bs, together.X, strict=True):
        np.testing.assert_allclose(solve(A, B).X, X, atol=1e-10)


def test_svec_is_an_isometry_that_smat_undoes():
    A, B = symmetric(4), symmetric(4)
    np.testing.assert_allclose(svec(jnp.asarray(A)) @ svec(jnp.asarray(B)), np.sum(A * B))
    np.testing.assert_allclose(smat(svec(jnp.asarray(A))), A, atol=1e-15)


def test_shapes_that_do_not_fit_are_one_sentence():
    with pytest.raises(InputError, match=r"\(2, 2\) and B of shape \(2, 2\)"):
        sdcp(jnp.eye(2), jnp.eye(2))
