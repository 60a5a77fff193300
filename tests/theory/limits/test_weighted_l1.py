"""Weighted basis pursuit, held against its dual and against all supports of a small problem."""

import itertools

import numpy as np
import pytest

import thalweg as tw
from thalweg.theory.limits.weighted_l1 import weighted_basis_pursuit

RNG = np.random.default_rng(4)
Z, WEIGHTS = RNG.normal(size=(3, 7)), RNG.uniform(0.5, 2, size=7)
Y = Z @ RNG.normal(size=7)


def test_it_is_the_best_of_all_supports():
    """A linear programme has a solution at a vertex: at most as many entries as equations."""
    values = []
    for support in itertools.combinations(range(7), 3):
        w = np.linalg.solve(Z[:, support], Y)
        values.append(WEIGHTS[list(support)] @ np.abs(w))
    found = weighted_basis_pursuit(Z, Y, WEIGHTS)
    assert found.value == pytest.approx(min(values), rel=1e-9)
    np.testing.assert_allclose(Z @ found.solution, Y, atol=1e-9)
    assert found.error < 1e-8


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((Z, Y, -WEIGHTS), "positive"),
        ((np.zeros((1, 2)), np.ones(1), np.ones(2)), "no w was found"),
    ],
)
def test_what_does_not_fit_is_said(given, said):
    with pytest.raises(tw.InputError, match=said):
        weighted_basis_pursuit(*given)
