"""Counts by hand, and the rank of Jacobians whose rank is known."""

import jax
import numpy as np
import pytest

from thalweg import curvature
from thalweg.core.errors import InputError
from thalweg.models import MLP, Applied, ConvNet, Convolution, mlp
from thalweg.problems import supervised
from thalweg.theory.landscape import parameter_count as counting


def test_counts_by_hand():
    assert counting.parameter_count(mlp((3,)), 5, 2) == 5 * 3 + 3 + 3 * 2 + 2
    assert counting.parameter_count(mlp((3,), bias=False), 5, 2) == 5 * 3 + 3 * 2
    conv = ConvNet((Convolution(4, 3, padding=1),), (), bias=True)
    assert counting.parameter_count(conv, (2, 6, 6), 3) == 4 * 2 * 9 + 4 + 3 * 4 * 36 + 3
    assert counting.parameter_count(Applied(lambda p, x: x, start=np.ones((3, 7))), 1, 1) == 21
    assert counting.minimum_parameters(50, 10) == 500


@pytest.mark.parametrize("n", [1, 7, 50, 200])
def test_the_formula_counts_what_the_net_has(n):
    net = counting.narrow_wide_net(n, 1.2, (16, 16))
    assert isinstance(net, MLP)
    assert net.hidden == (16, 16, int(np.ceil(6 * n / 5)))
    assert counting.dense_count(32, net.hidden, 3) == counting.parameter_count(net, 32, 3)
    assert counting.narrow_wide_net(n, 1.2, (16,), "tanh").activation == "tanh"


def test_widths_do_not_round_up_by_rounding():
    assert counting.narrow_wide_widths(10, 1.1, (4,)) == (4, 11)
    assert counting.narrow_wide_widths(10, 1.11, ()) == (12,)
    with pytest.raises(InputError, match="positive"):
        counting.narrow_wide_net(10, -1.0, (4,))


def test_rank_of_a_known_matrix():
    rng = np.random.default_rng(0)
    J = rng.standard_normal((9, 4)) @ rng.standard_normal((4, 6))
    found = counting.jacobian_rank(J)
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
    assert J.shape == (10, counting.parameter_count(mlp(()), 5, 1))
    assert counting.jacobian_rank(J).rank == 3
