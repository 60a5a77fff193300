"""Counts by hand."""

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.models import MLP, Applied, ConvNet, Convolution, mlp, parameter_count
from thalweg.theory.landscape import parameter_count as counting


def test_counts_by_hand():
    assert parameter_count(mlp((3,)), 5, 2) == 5 * 3 + 3 + 3 * 2 + 2
    assert parameter_count(mlp((3,), bias=False), 5, 2) == 5 * 3 + 3 * 2
    conv = ConvNet((Convolution(4, 3, padding=1),), (), bias=True)
    assert parameter_count(conv, (2, 6, 6), 3) == 4 * 2 * 9 + 4 + 3 * 4 * 36 + 3
    assert parameter_count(Applied(lambda p, x: x, start=np.ones((3, 7))), 1, 1) == 21
    assert counting.minimum_parameters(50, 10) == 500


@pytest.mark.parametrize("n", [1, 7, 50, 200])
def test_the_formula_counts_what_the_net_has(n):
    net = counting.narrow_wide_net(n, 1.2, (16, 16))
    assert isinstance(net, MLP)
    assert net.hidden == (16, 16, int(np.ceil(6 * n / 5)))
    assert counting.dense_count(32, net.hidden, 3) == parameter_count(net, 32, 3)
    assert counting.narrow_wide_net(n, 1.2, (16,), "tanh").activation == "tanh"


def test_widths_do_not_round_up_by_rounding():
    assert counting.narrow_wide_widths(10, 1.1, (4,)) == (4, 11)
    assert counting.narrow_wide_widths(10, 1.11, ()) == (12,)
    with pytest.raises(InputError, match="positive"):
        counting.narrow_wide_net(10, -1.0, (4,))
