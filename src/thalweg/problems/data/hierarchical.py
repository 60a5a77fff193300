"""Items and features of a binary tree: data whose singular values are known exactly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import require


class HierarchicalData(NamedTuple):
    """A hierarchical data set and the exact decomposition of its input-output correlation.

    Examples are rows. targets.T @ inputs = U diag(singular_values) V.T, and
    inputs.T @ inputs = I.

    Attributes:
        inputs: One-hot items, shape (items, items).
        targets: Features in {0, 1}, shape (items, features); root first, leaves last.
        singular_values: Descending, shape (items,).
        U: Output singular vectors, shape (features, items).
        V: Input singular vectors, shape (items, items).
    """

    inputs: NDArray[np.float64]
    targets: NDArray[np.float64]
    singular_values: NDArray[np.float64]
    U: NDArray[np.float64]
    V: NDArray[np.float64]


def hierarchical_dataset(levels: int) -> HierarchicalData:
    """Items at the leaves of a binary tree, one feature per node: 1 for the items below it.

    With P = 2^levels items there are 2P - 1 features. The singular vectors are the tree's Haar
    wavelets: a constant with s^2 = 2P - 1, and for every node at level d < levels the difference
    of its two subtrees, with s^2 = P/2^d - 1.

    Args:
        levels: Branchings between root and leaf, at least 1 (3 gives 8 items, 15 features and
            s = sqrt(15), sqrt(7), sqrt(3) twice, 1 four times).

    Returns:
        The data with the exact decomposition (error: rounding).

    Raises:
        InputError: If `levels` is not between 1 and 12.

    Source: Saxe, McClelland and Ganguli (2014), the hierarchical data set.

    Examples:
        >>> data = tw.problems.hierarchical_dataset(2)
        >>> data.inputs.shape, data.targets.shape, (data.singular_values**2).round(6).tolist()
        ((4, 4), (4, 7), [7.0, 3.0, 1.0, 1.0])
    """
    require(
        1 <= levels <= 12,
        f"a tree of {levels} levels was asked for: give 1 to 12 (2 to 4096 items).",
    )
    items = 2**levels
    below = [np.kron(np.eye(2**d), np.ones(items >> d)) for d in range(levels + 1)]
    nodes = np.vstack(below)  # (features, items)
    wavelets, squares = [np.ones(items)], [2 * items - 1]
    for d in range(levels):
        half = np.ones(items >> (d + 1))
        split = np.concatenate([half, -half])
        wavelets += list(np.kron(np.eye(2**d), split))
        squares += [(items >> d) - 1] * 2**d
    V = np.stack(wavelets, axis=1)
    V /= np.linalg.norm(V, axis=0)
    s = np.sqrt(np.array(squares, dtype=np.float64))
    return HierarchicalData(np.eye(items), nodes.T.copy(), s, nodes @ V / s, V)
