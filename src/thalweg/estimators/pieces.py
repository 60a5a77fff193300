"""Pieces of a trend filtering fit: where it may bend, what is connected, how much is free."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float, Int, Int8
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components

from thalweg.core.errors import require
from thalweg.estimators.differences import DifferenceOperator, lattice_sizes
from thalweg.estimators.trend_fit import TrendFit

MOST_DENSE = 600  # cells up to which ranks are those of dense singular values
# Eigenvalues of D^T D below these times the largest are zeros; none may lie within MARGIN above.
DENSE_ZERO = 1e-20  # squares of singular values
SPARSE_ZERO = 1e-14
MARGIN = 30.0

Values = Float[np.ndarray, "..."]


def piece_labels(shape: Sequence[int], signs: Sequence[ArrayLike]) -> Int[np.ndarray, "..."]:
    """Which connected constant piece each cell belongs to, from 0: neighbours with sign 0 join.

    Args:
        shape: Of the lattice.
        signs: Those of first differences along each axis, 0 where neighbours are equal.

    Examples:
        >>> step = [np.array([0, 0, 1, 0])]
        >>> tw.estimators.piece_labels((5,), step).tolist()
        [0, 0, 0, 1, 1]
    """
    shape = lattice_sizes(shape, "shape")
    require(
        len(signs) == len(shape),
        f"signs has {len(signs)} entries for {len(shape)} axes; give one each.",
    )
    n = math.prod(shape)
    cells = np.arange(n).reshape(shape)
    left, right = [], []
    for axis, part in enumerate(signs):
        joined = np.asarray(part) == 0
        require(
            joined.shape == tuple(m - (j == axis) for j, m in enumerate(shape)),
            f"signs of axis {axis} have shape {joined.shape}, not that of first differences on"
            f" {tuple(shape)}; give those of a fit of order 0.",
        )
        left.append(np.take(cells, range(shape[axis] - 1), axis)[joined])
        right.append(np.take(cells, range(1, shape[axis]), axis)[joined])
    edges = (np.concatenate(left), np.concatenate(right))
    graph = scipy.sparse.coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(n, n))
    return connected_components(graph, directed=False)[1].reshape(shape)


def piecewise_constant(
    data: Values, signs: Sequence[Int8[np.ndarray, "..."]], pull: Values, weights: Values | None
) -> Values:
    """The best fit with a given active set of order 0: sum (c y - lambda D_A^T s) / sum c by piece.

    Args:
        data: y.
        signs: s, of every axis.
        pull: lambda D_A^T s.
        weights: c; None for ones. A piece without data keeps 0.
    """
    labels = piece_labels(data.shape, signs).ravel()
    weights = np.ones(data.shape) if weights is None else weights
    total = np.bincount(labels, weights.ravel())
    sums = np.bincount(labels, (weights * data - pull).ravel())
    return (np.divide(sums, total, out=np.zeros_like(sums), where=total > 0))[labels].reshape(
        data.shape
    )


def degrees_of_freedom(fit: TrendFit) -> int:
    """The nullity of D without its active rows: an unbiased estimate of the degrees of freedom.

        df = sum_i Cov(x_i, y_i) / sigma^2 = E[nullity(D_{-A})]  for Gaussian noise

    For order 0 the number of connected constant pieces; on a line k + 1 and the number of knots.
    Otherwise singular values of the rows that are left, dense up to 600 cells, else the inertia of
    D_{-A}^T D_{-A} shifted to the bound, by a sparse factorisation.

    Args:
        fit: One fit, not draws: take `fit.at(i)`. Its active set is that of its own accuracy: a gap
            of 1e-6 may leave a few per cent of the knots undecided, 1e-9 few.

    Raises:
        InputError: If it holds draws, or if a singular value is too near the bound to tell.

    Cost:
        O(n) for order 0 and on a line; O(n^3) to 600 cells; about n^1.5 in two dimensions beyond.

    References:
        Tibshirani and Taylor (2012); Sadhanala et al. (2021), E6.

    Examples:
        >>> fit = tw.estimators.trend_filter([0.0, 0.0, 5.0, 5.0], 1.0, order=0)
        >>> tw.estimators.degrees_of_freedom(fit)
        2
    """
    operator = fit.operator
    require(
        fit.values.shape == operator.shape,
        f"the fit holds {len(fit.values)} draws; take one of them, fit.at(0).",
    )
    if all(axis.power == 1 for axis in operator.axes):
        return int(piece_labels(operator.shape, fit.signs).max()) + 1
    if len(operator.shape) == 1:
        return operator.nullity + int(np.count_nonzero(fit.signs[0]))
    return _nullity(operator, fit.signs)


def _nullity(operator: DifferenceOperator, signs: Sequence[Int8[np.ndarray, "..."]]) -> int:
    still = np.concatenate([np.ravel(part) == 0 for part in signs])
    rows = operator.sparse()[still]
    largest = float(operator.eigenvalues.max())
    if rows.shape[1] <= MOST_DENSE:
        below, bound = _count_dense(rows), DENSE_ZERO
    else:
        below, bound = _count_by_inertia(rows), SPARSE_ZERO
    counts = [below(factor * bound * largest) for factor in (1.0, MARGIN)]
    require(
        counts[0] == counts[1],
        f"the degrees of freedom lie between {counts[0]} and {counts[1]}: they are too"
        " near zero to tell in float64; take a smaller lattice, a lower order or a smaller gap.",
    )
    return counts[0]


def _count_dense(rows: scipy.sparse.csr_array) -> Callable[[float], int]:
    n = rows.shape[1]
    singular = np.linalg.svd(rows.toarray(), compute_uv=False) if rows.shape[0] else np.zeros(0)
    return lambda bound: n - int((singular**2 >= bound).sum())


def _count_by_inertia(rows: scipy.sparse.csr_array) -> Callable[[float], int]:
    """How many eigenvalues of R^T R lie below a bound: negative pivots of a shift (Sylvester)."""
    gram = scipy.sparse.csc_array(rows.T @ rows)
    identity = scipy.sparse.eye_array(gram.shape[0], format="csc")

    def below(bound: float) -> int:
        factors = scipy.sparse.linalg.splu(
            gram - bound * identity,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        require(
            bool((factors.perm_r == factors.perm_c).all()),
            "the sparse factorisation left the diagonal: degrees of freedom are not known;"
            f" take a lattice of at most {MOST_DENSE} cells.",
        )
        return int((factors.U.diagonal() < 0).sum())

    return below
