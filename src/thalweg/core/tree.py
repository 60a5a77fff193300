"""Vector-space algebra on pytrees of arrays."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from thalweg.core.errors import require

Params = Any  # any pytree of arrays


def step_along(params: Params, scale: Array, direction: Params) -> Params:
    """`params + scale * direction`, leaf by leaf, in the type of the parameters."""
    return jax.tree.map(lambda p, d: p + scale.astype(p.dtype) * d, params, direction)


def difference(left: Params, right: Params) -> Params:
    """`left - right`, leaf by leaf."""
    return jax.tree.map(jnp.subtract, left, right)


def dot(left: Params, right: Params) -> Float[Array, ""]:
    """Euclidean inner product over all leaves.

    Raises:
        InputError: If a leaf is complex.
    """
    _check_real(left)
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), left, right)
    return functools.reduce(jnp.add, jax.tree.leaves(products))


def binade(array: Array) -> Float[Array, ""]:
    """The power of two at or below the largest entry in size: division by it is exact.

    Kept where its reciprocal is a normal number too; 1 for zeros and for what is not finite.
    """
    size = jnp.max(jnp.abs(array), initial=0.0)
    limits = jnp.finfo(size.dtype)
    whole = jnp.dtype(f"uint{limits.bits}")
    # The exponent's bits alone are that power; frexp and ldexp take a hundred operations.
    exponent = whole.type(((1 << limits.nexp) - 1) << limits.nmant)
    power = jax.lax.bitcast_convert_type(
        jax.lax.bitcast_convert_type(size, whole) & exponent, size.dtype
    )
    power = jnp.clip(power, limits.smallest_normal, 2.0 ** (limits.maxexp - 2))
    return jnp.where((size > 0) & jnp.isfinite(size), power, jnp.ones_like(size))


@jax.custom_jvp
def length(array: Array) -> Float[Array, ""]:
    """Euclidean norm of all entries of an array, also where their squares leave the format."""
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        array = array.astype(float)
    size = jnp.abs(array.reshape(-1))
    if size.size == 1:  # XLA would square the factors below by themselves
        return size[0]
    # Squares as they are, of what is tiny made large, and the other way round, summed together: to
    # look for the largest entry first would take more passes, and three times the kernels.
    work = size.astype(size.dtype if size.dtype.itemsize >= 4 else jnp.float32)
    limits = jnp.finfo(work.dtype)
    far = 2.0 ** (5 * limits.maxexp // 8)
    sums = jnp.sum((jnp.asarray([[1.0], [far], [1 / far]], work.dtype) * work[None]) ** 2, axis=1)
    plain, tiny, huge = jnp.sqrt(sums)
    small, large = 2.0 ** -(limits.maxexp // 2), 2.0 ** (7 * limits.maxexp // 8)
    found = jnp.where(sums[0] < small, tiny / far, jnp.where(sums[0] < large, plain, huge * far))
    return found.astype(size.dtype)


@length.defjvp
def _length_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (array,), (tangent,) = primals, tangents
    size, scale = length(array), binade(array)  # by which even squares of the length are numbers
    kind = array.dtype
    unit = (array / scale.astype(kind)) / (size / scale).astype(kind)
    return size, jnp.sum(jnp.real(jnp.conj(unit) * tangent))


def norm(tree: Params) -> Float[Array, ""]:
    """Euclidean norm over all leaves, also where their squares leave the format."""
    lengths = [length(leaf) for leaf in jax.tree.leaves(tree)]
    return lengths[0] if len(lengths) == 1 else length(jnp.stack(lengths))


def flatten(tree: Params) -> Float[Array, " p"]:
    """All leaves in one vector.

    Raises:
        InputError: If a leaf is complex.
    """
    _check_real(tree)
    return ravel_pytree(tree)[0]


def _check_real(tree: Params) -> None:
    kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(tree) if jnp.iscomplexobj(leaf)}
    require(
        not kinds,
        f"parameters came as {', '.join(sorted(kinds))}; give real and imaginary parts as two "
        "arrays, or wrap the function in models.Applied or Tracker, which do",
    )


def size(tree: Params) -> int:
    """The number of scalars in all leaves; leaves may be shapes."""
    return int(sum(leaf.size for leaf in jax.tree.leaves(tree)))


def lane(tree: Params, index: int) -> Params:
    """One entry of the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def stacked(trees: Iterable[Any]) -> Any:
    """Trees of one structure as one, along a new leading axis: `lane` takes them apart again.

    Args:
        trees: Parameters, problems or other trees of arrays, leaves of the same shapes.

    Examples:
        >>> from thalweg.core.tree import lane, stacked
        >>> both = stacked([{"w": jnp.ones(2)}, {"w": jnp.zeros(2)}])
        >>> both["w"].shape, lane(both, 1)["w"].tolist()
        ((2, 2), [0.0, 0.0])
    """
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def entries(tree: Params, name: str) -> Bool[np.ndarray, " p"]:
    """Which entries of `flatten(tree)` belong to leaves under the key `name`; leaves may be shapes.

    Args:
        tree: Parameters whose leaves sit under dictionary keys, as `{"weight": ..., "bias": ...}`.
        name: The key, as "weight".
    """

    def mark(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        return np.full(leaf.size, getattr(path[-1], "key", None) == name)

    marked = jax.tree.leaves(jax.tree_util.tree_map_with_path(mark, tree))
    return np.concatenate([np.zeros(0, bool), *marked])
