"""Trees of modes, matricisations and ranks, by hand and by NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.core.rank import effective_rank_from
from thalweg.core.tensors import (
    hierarchical_rank,
    matricisation_spectra,
    matricise,
    mode_tree,
    perfect_tree,
)
from thalweg.dynamics.flow.rate import flow_rate


def test_a_tree_is_told_by_nested_tuples():
    tree = mode_tree(((2, 0), (1, 3)))
    assert tree.order == (2, 0, 1, 3)
    assert [node.name for node in tree.nodes()] == ["0-1-2-3", "0-2", "2", "0", "1-3", "1", "3"]
    assert [node.name for node in tree.interior()] == ["0-1-2-3", "0-2", "1-3"]
    assert perfect_tree(4) == mode_tree(((0, 1), (2, 3)))
    assert perfect_tree(9, 3) == mode_tree(((0, 1, 2), (3, 4, 5), (6, 7, 8)))


def test_a_matricisation_is_a_reshaped_transpose():
    T = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(matricise(T, [0]), T.reshape(2, 12))
    np.testing.assert_array_equal(matricise(T, [2, 1]), T.transpose(1, 2, 0).reshape(12, 2))
    np.testing.assert_array_equal(matricise(T, [1]), [T[:, j].ravel() for j in range(3)])


def test_the_hierarchical_rank_is_that_of_the_matricisations():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 3, 3, 2))  # rank 2 between the halves
    T = np.einsum("abs,cds->abcd", left, right)
    found = hierarchical_rank(T, perfect_tree(4))
    assert found == {"0-1": 2, "0": 3, "1": 3, "2-3": 2, "2": 3, "3": 3}
    spectra = matricisation_spectra(T, perfect_tree(4))
    expected = np.linalg.svd(T.reshape(9, 9))[1]
    np.testing.assert_allclose(spectra["0-1"], expected, atol=1e-13)


@pytest.mark.parametrize("rank", [1, 3])
def test_equal_singular_values_have_their_number_as_effective_rank(rank):
    values = np.r_[np.full(rank, 2.5), np.zeros(4)]
    assert float(effective_rank_from(values)) == pytest.approx(rank, rel=1e-14)
    assert np.isnan(effective_rank_from(np.zeros(3)))


def test_the_effective_rank_is_its_formula():
    p = np.array([0.5, 0.3, 0.2])
    assert float(effective_rank_from(7 * p)) == pytest.approx(
        np.exp(-np.sum(p * np.log(p))), rel=1e-14
    )


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: mode_tree((0, 2)), "every mode"),
        (lambda: mode_tree(((0,), 1)), "two or more"),
        (lambda: perfect_tree(6), "power of the pool"),
        (lambda: perfect_tree(4, 1), "at least 2"),
        (lambda: matricise(np.zeros((2, 2)), [2]), "order 2"),
        (lambda: matricise(np.zeros((2, 2)), [0, 0]), "once"),
    ],
)
def test_what_does_not_fit_is_refused(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


def test_the_rate_along_flow_is_the_derivative_along_the_negative_gradient():
    x = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}

    def objective(p):
        return jnp.sum(p["a"] ** 2) + p["b"] ** 3

    rate = flow_rate(lambda p: jnp.sum(p["a"]) * p["b"], objective, x)
    # d(a1 + a2) = -2 (a1 + a2), db = -3 b^2
    assert float(rate) == pytest.approx(-2 * -1.0 * 0.5 + -1.0 * -3 * 0.25, rel=1e-14)
