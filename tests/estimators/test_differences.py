"""Difference operators: against dense Kronecker products, their null space and spectrum."""

from functools import reduce

import numpy as np
import pytest

import thalweg as tw
from thalweg.estimators.differences import inner_operator

RNG = np.random.default_rng(1)


def dense_axis(n, m):
    """D_N^(m) by the recursion of matrices."""
    matrix = np.eye(n)
    for i in range(m):
        first = np.eye(n - i)[1:] - np.eye(n - i)[:-1]
        matrix = first @ matrix
    return matrix


def dense_uneven(x, m):
    matrix = dense_axis(len(x), 1)
    h = (x[-1] - x[0]) / (len(x) - 1)
    for i in range(1, m):
        first = dense_axis(len(x) - i, 1)
        matrix = first @ np.diag(i * h / (x[i:] - x[:-i])) @ matrix
    return matrix


def kronecker(shape, axes):
    eyes = [np.eye(n) for n in shape]
    return np.concatenate(
        [reduce(np.kron, [*eyes[:j], axis, *eyes[j + 1 :]]) for j, axis in enumerate(axes)]
    )


CASES = {
    "line": ((7,), (2,), (None,)),
    "plane": ((5, 6), (1, 1), (None, None)),
    "mixed orders": ((6, 4, 5), (2, 0, 1), (None, None, None)),
    "uneven": ((6, 5), (2, 1), (np.sort(RNG.uniform(size=6)), None)),
}


@pytest.mark.parametrize("name", CASES)
def test_all_forms_are_the_kronecker_matrix(name):
    shape, orders, designs = CASES[name]
    operator = tw.estimators.difference_operator(shape, orders, designs)
    axes = [
        dense_axis(n, k + 1) if x is None else dense_uneven(x, k + 1)
        for n, k, x in zip(shape, orders, designs, strict=True)
    ]
    matrix = kronecker(shape, axes)
    scale = np.abs(matrix).max()
    np.testing.assert_allclose(operator.dense(), matrix, atol=1e-13 * scale)
    np.testing.assert_allclose(operator.sparse().toarray(), matrix, atol=1e-13 * scale)
    assert operator.rows == tuple(
        (n - k - 1) * np.prod(shape) // n for n, k in zip(shape, orders, strict=True)
    )
    n = matrix.shape[1]
    assert operator.nullity == n - np.linalg.matrix_rank(matrix)
    x = RNG.normal(size=(2, *shape))  # dims before the lattice are independent
    parts = operator.apply(x)
    flat = np.concatenate([p.reshape(2, -1) for p in parts], axis=1)
    np.testing.assert_allclose(flat, x.reshape(2, n) @ matrix.T, atol=1e-12 * scale)
    np.testing.assert_allclose(operator.norm(x), np.abs(flat).sum(1))
    v = [RNG.normal(size=p.shape) for p in parts]
    left = np.concatenate([p.reshape(2, -1) for p in v], axis=1) @ matrix
    np.testing.assert_allclose(operator.adjoint(v).reshape(2, n), left, atol=1e-12 * scale)
    gram = matrix.T @ matrix
    w = np.sort(operator.eigenvalues.ravel())
    np.testing.assert_allclose(w, np.linalg.eigvalsh(gram), atol=1e-12 * w[-1])
    turned = operator.transform(x)
    np.testing.assert_allclose(operator.inverse(turned), x, atol=1e-12)
    energy = (turned**2 * operator.eigenvalues).sum()
    np.testing.assert_allclose(energy, (flat**2).sum(), rtol=1e-10)
    solved = np.linalg.solve(2.0 * np.eye(n) + 3.0 * gram, x.reshape(2, n).T).T
    np.testing.assert_allclose(operator.solve(x, 3.0, 2.0).reshape(2, n), solved, atol=1e-10)
    _, _, vectors = np.linalg.svd(matrix)
    null = vectors[n - operator.nullity :]
    projected = (x.reshape(2, n) @ null.T) @ null
    np.testing.assert_allclose(operator.null_projection(x).reshape(2, n), projected, atol=1e-9)
    np.testing.assert_allclose(
        operator.null_projection(projected.reshape(x.shape)).reshape(2, n), projected, atol=1e-10
    )


def test_the_inner_operator_leaves_first_differences():
    operator = tw.estimators.difference_operator(
        (6, 5), (2, 1), (np.cumsum(RNG.uniform(size=6)), None)
    )
    x = RNG.normal(size=(6, 5))
    for axis, (whole, inner) in enumerate(
        zip(operator.apply(x), inner_operator(operator).apply(x), strict=True)
    ):
        np.testing.assert_allclose(np.diff(inner, axis=axis), whole, atol=1e-12)


def test_functions_with_straight_pieces_have_few_differences_on_uneven_designs():
    x = np.array([0.0, 0.3, 0.35, 1.0, 1.7, 2.0])
    (bends,) = tw.estimators.difference_operator((6,), 1, [x]).apply(np.abs(x - 1.0))
    assert np.flatnonzero(np.abs(bends) > 1e-12).tolist() == [2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((3, 2), 1), "axis 1 has 2 cells"),
        (((3,), -1), "order=-1"),
        (((3, 4), (1,)), "order has 1 entries"),
        (((3,), 0, [[0.0, 0.0, 1.0]]), "increase"),
        (((3,), 0, [[0.0, 1.0]]), "give 3"),
        (((), 0), "empty"),
    ],
)
def test_bad_lattices_are_told(arguments, words):
    with pytest.raises(tw.InputError, match=words):
        tw.estimators.difference_operator(*arguments)


def test_values_off_the_lattice_are_told():
    with pytest.raises(tw.InputError, match="lattice"):
        tw.estimators.difference_operator((4, 4)).apply(np.zeros((4, 5)))
