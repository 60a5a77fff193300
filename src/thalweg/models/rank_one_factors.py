"""Matrices that are trained as sums of rank-one factors, and what keeps the factors few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.arguments import told
from thalweg.core.errors import require
from thalweg.core.tree import Params

EXPONENTS = (0.5, 1.0)


class FactorPair(NamedTuple):
    """A = left right^T = sum_p u_p v_p^T.

    Attributes:
        left: The u_p as columns, (out, r).
        right: The v_p as columns, (in, r).
    """

    left: Float[Array, "out r"]
    right: Float[Array, "in r"]


def factor_pairs(params: Params) -> dict[str, FactorPair]:
    """Every matrix that is trained in factors, {"left": ..., "right": ...}, by its place.

    Args:
        params: Parameters, any pytree.

    Returns:
        Factors by their places in the tree, as `[0]['A0']`.

    Raises:
        InputError: If there is none.

    Examples:
        >>> A = {"left": jnp.ones((3, 2)), "right": jnp.ones((4, 2))}
        >>> params = [{"A": A, "b": jnp.ones(3)}]
        >>> {place: pair.left.shape for place, pair in tw.models.factor_pairs(params).items()}
        {"[0]['A']": (3, 2)}
    """
    leaves = jax.tree_util.tree_leaves_with_path(params, is_leaf=is_factored)
    found = {
        jax.tree_util.keystr(path): FactorPair(leaf["left"], leaf["right"])
        for path, leaf in leaves
        if is_factored(leaf)
    }
    require(
        bool(found),
        f"params came as {told(params)}; give parameters some of whose matrices are factored, "
        'as {"left": (out, r), "right": (in, r)}: an OperatorRecurrent with a rank has them',
    )
    return found


def factor_norms(params: Params) -> Float[Array, "factors 2"]:
    """(||u_p||, ||v_p||) of every rank-one factor of all factored matrices.

    Raises:
        InputError: If no matrix is factored.

    Examples:
        >>> params = {"left": jnp.array([[3.0], [4.0]]), "right": jnp.array([[2.0]])}
        >>> tw.models.factor_norms(params).tolist()
        [[5.0, 2.0]]
    """
    pairs = factor_pairs(params).values()
    rows = [jnp.stack([_lengths(pair.left), _lengths(pair.right)], axis=1) for pair in pairs]
    return jnp.concatenate(rows)


def factor_regulariser(params: Params, exponent: float = 0.5) -> Float[Array, ""]:
    """R_(1/2) = sum_p ||u_p|| + ||v_p||, or R_1 = 1/2 sum_p ||u_p||^2 + ||v_p||^2.

    Over all factored matrices. R_(1/2) switches factors off, as a group lasso does; R_1 is weight
    decay of the factors. Minimised over the factorisations of a matrix they are 2 sum sqrt(sigma)
    and sum sigma; see `balanced_pair`.

    Args:
        params: Parameters with factored matrices.
        exponent: 1/2 or 1.

    Returns:
        A number, unit: parameter, or parameter^2. Of the kink of R_(1/2) at u_p = 0 the derivative
        is taken as 0.

    Raises:
        InputError: If the exponent is neither, or no matrix is factored.

    Source: de Hoop, Lassas and Wong (2019), regularisation by rank-one factors.

    Examples:
        >>> params = {"left": jnp.array([[3.0], [4.0]]), "right": jnp.array([[2.0]])}
        >>> both = [tw.models.factor_regulariser(params, exponent) for exponent in (0.5, 1)]
        >>> [float(value) for value in both]  # 5 + 2, (25 + 4) / 2
        [7.0, 14.5]
    """
    require(
        exponent in EXPONENTS,
        f"exponent came as {exponent}; give {' or '.join(map(str, EXPONENTS))}",
    )
    norms = factor_norms(params)
    return jnp.sum(norms) if exponent == 0.5 else jnp.sum(norms**2) / 2


def balanced_pair(matrix: ArrayLike, rank: int | None = None) -> FactorPair:
    """Factors u_p = sqrt(sigma_p) left_p, v_p = sqrt(sigma_p) right_p of a matrix's SVD.

    Of all factorisations of the matrix they have the least R_1, the nuclear norm sum sigma, and the
    least R_(1/2), 2 sum sqrt(sigma).

    Args:
        matrix: (out, in).
        rank: How many factors, the largest first: fewer than min(out, in) give the nearest matrix
            of that rank. None for min(out, in).

    Returns:
        `FactorPair`. Exact up to rounding. Cost: an SVD.

    Raises:
        InputError: If it is no matrix, or the rank is not from 1 to min(out, in).

    Examples:
        >>> pair = tw.models.balanced_pair([[9.0, 0.0], [0.0, 4.0]])
        >>> (pair.left @ pair.right.T).round(6).tolist()
        [[9.0, 0.0], [0.0, 4.0]]
        >>> round(float(tw.models.factor_regulariser(pair._asdict())), 6)  # 2 (3 + 2)
        10.0
    """
    matrix = jnp.asarray(matrix, float)
    require(
        matrix.ndim == 2 and matrix.size > 0,
        f"the matrix came with shape {matrix.shape}; give (out, in)",
    )
    most = min(matrix.shape)
    require(
        rank is None or 1 <= rank <= most,
        f"rank came as {rank}; give a whole number from 1 to {most}",
    )
    U, s, Vt = jnp.linalg.svd(matrix, full_matrices=False)
    root = jnp.sqrt(s[None, :rank])
    return FactorPair(U[:, :rank] * root, Vt[:rank].T * root)


def is_factored(node: Any) -> bool:
    """Whether a part of a tree of parameters is a matrix in factors."""
    return isinstance(node, Mapping) and set(node) == {"left", "right"}


def _lengths(columns: Float[Array, "size r"]) -> Float[Array, " r"]:
    """Norms of columns, with derivative 0 where one vanishes."""
    squares = jnp.sum(columns**2, axis=0)
    there = squares != 0  # a NaN is there, too
    return jnp.where(there, jnp.sqrt(jnp.where(there, squares, 1)), 0)
