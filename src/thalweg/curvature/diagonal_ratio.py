"""Uniformity of the Hessian's diagonal in each layer: its largest over its median entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.errors import require, unknown
from thalweg.core.result import Reading, finite
from thalweg.core.tree import Params
from thalweg.curvature.operators import hessian
from thalweg.curvature.stochastic import diagonal
from thalweg.problems.problem import Problem

# Path of a leaf to increasing positions in the ravelled leaf.
Coordinates = Mapping[str, np.ndarray]


class BlockRatio(NamedTuple):
    """R_med of one block of parameters.

    Attributes:
        value: max_i |H_ii| / median_i |H_ii|, a pure number; infinite where the median is 0.
        error: How far the ratio moves at most if every entry moves by its own standard error;
            0 where the entries are exact. Infinite if the median may then be 0.
        zeros: Share of entries that are exactly 0; from 1/2 on the ratio is infinite.
        result: NONFINITE if an entry is not finite.
    """

    value: Float[Array, ""]
    error: Float[Array, ""]
    zeros: Float[Array, ""]
    result: Int[Array, ""]


def max_over_median(values: Float[Array, "... n"]) -> Float[Array, "..."]:
    """max_i |v_i| / median_i |v_i| along the last axis, infinite where the median is 0.

    The median of an even number of values is the mean of the middle two. Source: Jiang, Malik and
    Li (2023), definition of R_med.

    Examples:
        >>> float(tw.curvature.max_over_median(jnp.array([1.0, -6.0, 2.0])))
        3.0
    """
    size = jnp.abs(values)
    require(size.shape[-1] >= 1, f"values came of shape {size.shape}; give at least one number")
    median = jnp.median(size, axis=-1)
    some = median > 0
    ratio = jnp.max(size, axis=-1) / jnp.where(some, median, 1)
    return jnp.where(some | jnp.isnan(median), ratio, jnp.inf)


def block_ratio(entries: Reading) -> BlockRatio:
    """R_med of the diagonal of one block, as `thalweg.curvature.diagonal` reads it.

    Args:
        entries: value (n,) with standard errors (n,), in any one unit. The maximum over a sample
            of a block is at most that of the block: state how many entries were looked at.
    """
    size = jnp.abs(entries.value)
    value = max_over_median(size)
    least, most = jnp.maximum(size - entries.error, 0), size + entries.error
    low = jnp.max(least) / jnp.median(most)
    middle = jnp.median(least)
    high = jnp.where(middle > 0, jnp.max(most) / jnp.where(middle > 0, middle, 1), jnp.inf)
    moved = jnp.maximum(value - low, high - value)
    error = jnp.where(jnp.all(entries.error == 0), jnp.zeros_like(value), moved)
    zeros = jnp.mean(entries.value == 0, dtype=size.dtype)
    return BlockRatio(value, error, zeros, finite(entries.value))


def sampled_coordinates(
    params: Params, count: int | None = 200, rng: np.random.Generator | int = 0
) -> dict[str, np.ndarray]:
    """Random coordinates of every matrix among the parameters, to be kept for a whole comparison.

    Args:
        params: A pytree of arrays (or their shapes); its leaves of two or more axes are the blocks.
        count: How many in each block, without repetition; None, or a block that is not larger,
            takes all.
        rng: A NumPy generator, used block by block in the order of the leaves, or a seed for one.

    Returns:
        Path ("0.weight") to increasing positions in the ravelled leaf.

    Raises:
        InputError: If `count` is not positive, or no leaf is a matrix.
    """
    require(count is None or count >= 1, f"count came as {count}; give at least 1, or None for all")
    rng = np.random.default_rng(rng)
    blocks = {path: leaf.size for path, leaf in _leaves(params) if leaf.ndim >= 2}
    require(bool(blocks), "no parameter is a matrix; give the coordinates of the blocks yourself")
    return {
        path: np.arange(size)
        if count is None or count >= size
        else np.sort(rng.choice(size, count, replace=False))
        for path, size in blocks.items()
    }


def block_ratios(
    problem: Problem,
    params: Params,
    coordinates: Coordinates | None = None,
    *,
    method: str = "exact",
    key: Array | None = None,
    products: int = 60,
) -> dict[str, BlockRatio]:
    """R_med of every block of parameters: max |H_ii| / median |H_ii| over its coordinates.

    Args:
        problem: What is trained.
        params: The point.
        coordinates: Which entries of which blocks, as `sampled_coordinates` gives them; by default
            all entries of every matrix. Their Hessian alone is looked at.
        method: "exact", an entry from each Hessian product, or an estimate of `diagonal`. Where
            the diagonal does not dominate its rows, the maximum and median of an estimate are
            those of its noise, as the errors tell: take "exact" on a sample there.
        key: Draws the random vectors of an estimate.
        products: How many to spend on an estimate, for all blocks together.

    Returns:
        Path of the block to its ratio. Cost: a Hessian product (2 gradients) for every coordinate,
        or `products` of them. Off a minimum H_ii may be negative; its absolute value counts.

    Raises:
        InputError: If coordinates do not fit the parameters, or as `diagonal`.

    Source: Jiang, Malik and Li (2023, arXiv 2211.02254).

    Examples:
        >>> data = (np.diag([1.0, 1.0, 3.0]), np.ones((3, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)  # H = diag(1, 1, 9)/3
        >>> ratios = tw.curvature.block_ratios(problem, problem.init(jax.random.key(0)))
        >>> [round(float(ratio.value), 6) for ratio in ratios.values()]
        [9.0]
    """
    if coordinates is None:
        coordinates = sampled_coordinates(params, None)
    marks = coordinate_marks(params, coordinates)
    key = jax.random.key(0) if key is None else key
    read = diagonal(hessian(problem, params, marks), key, method=method, products=products)
    ratios, begin = {}, 0
    for path, _ in _leaves(params):
        if path in coordinates:
            here = slice(begin, begin + len(coordinates[path]))
            ratios[path] = block_ratio(Reading(read.value[here], read.error[here], read.result))
            begin = here.stop
    return ratios


def coordinate_marks(params: Params, coordinates: Coordinates) -> Params:
    """The coordinates as booleans shaped as the parameters, for `where` of the operators.

    Raises:
        InputError: If a path is not one of the parameters', or positions do not increase in range.
    """
    leaves = _leaves(params)
    for path in coordinates:
        names = [name for name, _ in leaves]
        require(path in names, unknown(path, names, "block of parameters"))

    def mark(path: str, leaf: Array) -> np.ndarray:
        chosen = np.zeros(leaf.size, bool)
        at = np.asarray(coordinates.get(path, np.zeros(0, int)))
        require(
            bool(np.all(np.diff(at) > 0) and np.all((at >= 0) & (at < leaf.size))),
            f"coordinates of {path} must increase and lie in 0..{leaf.size - 1}",
        )
        chosen[at] = True
        return chosen.reshape(leaf.shape)

    return jax.tree.unflatten(jax.tree.structure(params), [mark(*pair) for pair in leaves])


def _leaves(params: Params) -> list[tuple[str, Array]]:
    """Leaves under their paths, as "1.weight", in the order of the flat parameters."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="."), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    ]
