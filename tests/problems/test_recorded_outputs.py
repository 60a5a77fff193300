"""Outputs and accuracies at recorded parameters against the net called record by record."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.problems.problem import unraveller
from thalweg.problems.recorded_outputs import outputs_at, share_right

DRAWN = np.random.default_rng(2)
X = DRAWN.normal(size=(5, 4))


@pytest.mark.parametrize("records", [(), (3,), (2, 3)])
def test_outputs_are_those_of_the_net_at_each_record(records):
    problem = tw.problems.supervised(tw.models.mlp([6, 3], "tanh"), (X, DRAWN.normal(size=(5, 2))))
    size = len(jax.flatten_util.ravel_pytree(problem.init(jax.random.key(0)))[0])
    flat, other = jnp.asarray(DRAWN.normal(size=(*records, size))), jnp.asarray(X[:2] - 1)
    for x in (None, other):
        found = outputs_at(problem, flat, x)
        assert found.shape == (*records, 5 if x is None else 2, 2)
        for at in np.ndindex(records):
            alone = problem.outputs(unraveller(problem)(flat[at]), x)
            np.testing.assert_allclose(found[at], alone, rtol=1e-14)


def test_the_share_is_counted():
    labels = np.array([2, 0, 1, 1])
    outputs = DRAWN.normal(size=(2, 4, 3))
    outputs[0, [0, 1, 3], labels[[0, 1, 3]]] = 9.0
    outputs[0, 2, 0] = 9.0  # wrong
    outputs[1, np.arange(4), labels] = -9.0
    for targets in (labels, np.eye(3)[labels]):
        np.testing.assert_array_equal(share_right(outputs, targets), [0.75, 0.0])
    signs = np.array([[1.0], [-1.0], [1.0]])
    assert share_right([[3.0], [-0.1], [-2.0]], signs) == pytest.approx(2 / 3)
    assert share_right(np.zeros((3, 1)), signs) == 0.0  # neither sign is no answer


def test_rows_that_do_not_match_are_refused():
    with pytest.raises(InputError, match=r"outputs of shape \(2, 3\).*give a row of each"):
        share_right(np.zeros((2, 3)), np.zeros(3, int))
