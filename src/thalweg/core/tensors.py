"""Tensors, the trees that group their axes, and the ranks of their matricisations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.arguments import told
from thalweg.core.errors import require


@dataclass(frozen=True)
class ModeTree:
    """A node of a tree of modes (axes of a tensor), and with it all that hangs below it.

    Attributes:
        order: The modes below the node, in the order of its leaves.
        children: Its children; none for a leaf, which is one mode.
    """

    order: tuple[int, ...]
    children: tuple[ModeTree, ...] = ()

    @property
    def name(self) -> str:
        """Its modes in ascending order, as "0-1"."""
        return "-".join(map(str, sorted(self.order)))

    @property
    def depth(self) -> int:
        """Levels of nodes that have children; 0 for a leaf."""
        return 1 + max(child.depth for child in self.children) if self.children else 0

    def nodes(self) -> Iterator[ModeTree]:
        """The node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.nodes()

    def interior(self) -> tuple[ModeTree, ...]:
        """The nodes that have children, parents first."""
        return tuple(node for node in self.nodes() if node.children)


def mode_tree(nested: Any) -> ModeTree:
    """A tree of modes from nested tuples of their numbers, as ((0, 1), (2, 3)).

    Raises:
        InputError: If the leaves are not 0 to N - 1, each once, or a node has fewer than two
            children.

    Examples:
        >>> tree = tw.models.mode_tree([[0, 1], 2])
        >>> tree.order, tree.depth
        ((0, 1, 2), 2)
    """
    tree = _tree(nested)
    require(
        sorted(tree.order) == list(range(len(tree.order))),
        f"a tree with leaves {tree.order} came; give every mode from 0 to N - 1 once",
    )
    return tree


def _tree(nested: Any) -> ModeTree:
    if isinstance(nested, int):
        return ModeTree((nested,))
    require(
        isinstance(nested, tuple | list) and len(nested) >= 2,
        f"a tree with the node {told(nested)} came; give nested tuples of numbers, two or more in "
        "each",
    )
    children = tuple(_tree(child) for child in nested)
    return ModeTree(tuple(mode for child in children for mode in child.order), children)


def perfect_tree(order: int, pool: int = 2) -> ModeTree:
    """The perfect tree over `order` modes in which `pool` neighbours meet at every node.

    Raises:
        InputError: If `order` is not a power of `pool`, at least `pool`.

    Examples:
        >>> tw.models.perfect_tree(4) == tw.models.mode_tree([[0, 1], [2, 3]])
        True
    """
    require(pool >= 2, f"pool came as {pool}; give at least 2")
    level = [ModeTree((mode,)) for mode in range(order)]
    while len(level) > 1 and len(level) % pool == 0:
        groups = [tuple(level[j : j + pool]) for j in range(0, len(level), pool)]
        level = [ModeTree(tuple(m for c in group for m in c.order), group) for group in groups]
    require(len(level) == 1 and order > 1, f"order {order} came; give a power of the pool {pool}")
    return level[0]


def matricise(T: ArrayLike, modes: Iterable[int]) -> Float[Array, "rows columns"]:
    """The matrix of a tensor whose rows run over some modes and whose columns over the others.

    Both run in ascending order of the modes, the last fastest.

    Args:
        T: Any tensor.
        modes: Which axes, each once.

    Raises:
        InputError: If a mode is no axis of the tensor, or comes twice.
    """
    T, rows = jnp.asarray(T), tuple(modes)
    require(
        len(set(rows)) == len(rows) and set(rows) <= set(range(T.ndim)),
        f"modes {rows} of a tensor of order {T.ndim} came; give some of 0 to {T.ndim - 1}, once",
    )
    rows = tuple(sorted(rows))
    rest = tuple(axis for axis in range(T.ndim) if axis not in rows)
    size = int(np.prod([T.shape[axis] for axis in rows], dtype=int))
    return jnp.transpose(T, rows + rest).reshape(size, -1)


def matricisation_spectra(T: ArrayLike, tree: ModeTree) -> dict[str, Float[Array, " k"]]:
    """Singular values, descending, of the matricisation at every node but the root, by its name."""
    below = [node for node in tree.nodes() if node is not tree]
    return {node.name: jnp.linalg.svd(matricise(T, node.order), compute_uv=False) for node in below}


def hierarchical_rank(T: ArrayLike, tree: ModeTree, tolerance: float = 1e-10) -> dict[str, int]:
    """The hierarchical tensor rank: the rank of the matricisation at every node but the root.

    A node's rank is the least width of its parent with which a hierarchical factorisation over
    the tree gives T; all are attained at once.

    Args:
        T: A tensor with as many axes as the tree has leaves.
        tree: Its tree of modes.
        tolerance: Singular values up to this share of the largest count as zero.

    Source: Razin, Maman and Cohen (2022), definition of hierarchical tensor rank.

    Examples:
        >>> tree = tw.models.mode_tree([[0, 1], [2, 3]])
        >>> T = np.einsum("ab,cd->acbd", np.eye(2), np.eye(2))  # modes 0 and 2 go together, 1 and 3
        >>> tw.models.hierarchical_rank(T, tree)["0-1"]
        4
    """
    spectra = {name: np.asarray(s) for name, s in matricisation_spectra(T, tree).items()}
    return {name: int(np.sum(s > tolerance * s[0])) for name, s in spectra.items()}
