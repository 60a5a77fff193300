"""The tree's exact decomposition against NumPy's SVD and against its definition."""

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.problems.data.hierarchical import hierarchical_dataset


def test_the_eight_items_of_the_paper():  # X1
    data = hierarchical_dataset(3)
    assert data.inputs.shape == (8, 8)
    assert data.targets.shape == (8, 15)
    expected = np.sqrt([15, 7, 3, 3, 1, 1, 1, 1])
    np.testing.assert_allclose(data.singular_values, expected, rtol=1e-15)
    np.testing.assert_array_equal(data.targets.sum(axis=0), [8, 4, 4, 2, 2, 2, 2, *[1] * 8])
    np.testing.assert_array_equal(data.targets[5], [1, 0, 1, 0, 0, 1, 0, *np.eye(8)[5]])


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_the_decomposition_is_exact(levels):
    data = hierarchical_dataset(levels)
    items = 2**levels
    assert data.targets.shape == (items, 2 * items - 1)
    assert set(np.unique(data.targets)) == {0.0, 1.0}
    np.testing.assert_array_equal(data.inputs.T @ data.inputs, np.eye(items))
    correlation = data.targets.T @ data.inputs
    s = data.singular_values
    np.testing.assert_allclose(data.U * s @ data.V.T, correlation, atol=1e-13)
    np.testing.assert_allclose(np.linalg.svd(correlation, compute_uv=False), s, rtol=1e-12)
    np.testing.assert_allclose(data.U.T @ data.U, np.eye(items), atol=1e-13)
    np.testing.assert_allclose(data.V.T @ data.V, np.eye(items), atol=1e-13)


@pytest.mark.parametrize("levels", [2, 4])
def test_every_feature_is_a_node_and_shared_ancestors_count(levels):
    data = hierarchical_dataset(levels)
    shared = data.targets @ data.targets.T
    for i in range(2**levels):
        for j in range(2**levels):
            assert shared[i, j] == levels + 1 - (i ^ j).bit_length()


def test_singular_values_by_formula():
    levels, items = 4, 16
    squares = [2 * items - 1]
    for d in range(levels):
        squares += [items / 2**d - 1] * 2**d
    np.testing.assert_allclose(hierarchical_dataset(4).singular_values ** 2, squares, rtol=1e-14)


@pytest.mark.parametrize("levels", [0, -1, 13])
def test_impossible_trees_are_refused(levels):
    with pytest.raises(InputError, match="levels"):
        hierarchical_dataset(levels)
