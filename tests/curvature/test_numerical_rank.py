"""The rank of Jacobians whose rank is known."""

import jax
import numpy as np

from thalweg import curvature
from thalweg.models import mlp, parameter_count
from thalweg.problems import supervised


def test_rank_of_a_known_matrix():
    rng = np.random.default_rng(0)
    J = rng.standard_normal((9, 4)) @ rng.standard_normal((4, 6))
    found = curvature.jacobian_rank(J)
    assert found.rank == 4
    np.testing.assert_allclose(found.singular_values, np.linalg.svd(J)[1], atol=1e-13)
    C = found.complement
    assert C.shape == (9, 5)
    np.testing.assert_allclose(C.T @ C, np.eye(5), atol=1e-14)
    assert np.linalg.norm(C.T @ J, 2) <= 9 * found.tolerance


def test_a_linear_models_jacobian_has_the_rank_of_its_inputs():
    """f = x w + b on inputs in a plane: d = 6, but the rank is 3."""
    x = np.random.default_rng(1).standard_normal((10, 2)) @ np.eye(2, 5)
    problem = supervised(mlp(()), (x, np.zeros((10, 1))))
    J = curvature.jacobian(problem, problem.init(jax.random.key(0))).dense()
    assert J.shape == (10, parameter_count(mlp(()), 5, 1))
    assert curvature.jacobian_rank(J).rank == 3


def test_single_precision_keeps_its_rounding():
    """A product of rank 4, rounded to float32, has the rank 4 by what its entries can tell."""
    rng = np.random.default_rng(2)
    J = (rng.standard_normal((9, 4)) @ rng.standard_normal((4, 6))).astype(np.float32)
    assert np.linalg.matrix_rank(J.astype(float)) == 6  # as float64 would tell it
    assert curvature.jacobian_rank(J).rank == 4
    assert curvature.jacobian_rank(jax.numpy.asarray(J)).complement.shape == (9, 5)
