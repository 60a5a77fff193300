"""How an equation of a trace makes a layer of a weight: dense, convolution or embedding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var
from jaxtyping import Array, Float, Int

from thalweg.core.trace import shape_of


class Meeting(NamedTuple):
    """Where a weight meets vectors.

    Attributes:
        tap: The value z.
        order: Entries of z as (T, d_out).
        source: The value that holds the h_t.
        vectors: Makes them (T, d_in) of it.
        turned: Whether the weight is met as W^T, so that g and h change sides.
    """

    tap: Var
    order: Int[np.ndarray, "T d_out"]
    source: Var
    vectors: Callable[[Array], Float[Array, "T d_in"]]
    turned: bool = False


def after_moving(equation: JaxprEqn, index: np.ndarray) -> np.ndarray | None:
    """Entries after an equation that only moves or repeats them; None after any other."""
    name, options = equation.primitive.name, equation.params
    shape = shape_of(equation.outvars[0]).shape
    if name == "transpose":
        return np.transpose(index, options["permutation"])
    if name in ("reshape", "squeeze", "expand_dims", "convert_element_type", "copy"):
        return index.reshape(shape)
    if name == "broadcast_in_dim":
        places = options["broadcast_dimensions"]
        full = [1] * len(shape)
        for axis, place in enumerate(places):
            full[place] = index.shape[axis]
        return np.broadcast_to(index.reshape(full), shape)
    return None


def meeting_of(
    var: Var, index: np.ndarray, equation: JaxprEqn
) -> tuple[str, np.ndarray, Meeting] | None:
    """The kind of layer that an equation makes of a weight, its matrix, and the place."""
    if np.unique(index).size != index.size:
        return None  # repeated
    name = equation.primitive.name
    found = {"dot_general": _dense, "conv_general_dilated": _convolution, "gather": _embedding}
    return found[name](var, index, equation) if name in found else None


def _dense(
    var: Var, index: np.ndarray, equation: JaxprEqn
) -> tuple[str, np.ndarray, Meeting] | None:
    left = equation.invars[0] is var
    other = equation.invars[1 if left else 0]
    contracted, batched = equation.params["dimension_numbers"]
    own, its = contracted if left else contracted[::-1]
    if any(batched) or isinstance(other, Literal) or other is var:
        return None
    free = [axis for axis in range(index.ndim) if axis not in own]
    rows = math.prod(index.shape[axis] for axis in free)
    matrix = np.transpose(index, (*free, *own)).reshape(rows, -1)
    z = np.arange(shape_of(equation.outvars[0]).size)
    order = z.reshape(rows, -1).T if left else z.reshape(-1, rows)
    kept = [axis for axis in range(len(shape_of(other).shape)) if axis not in its]

    def vectors(h: Array) -> Array:
        return jnp.transpose(h, (*kept, *its)).reshape(-1, matrix.shape[1])

    return "dense", matrix, Meeting(equation.outvars[0], order, other, vectors)


def _convolution(
    var: Var, index: np.ndarray, equation: JaxprEqn
) -> tuple[str, np.ndarray, Meeting] | None:
    options = equation.params
    image, kernel = equation.invars
    if kernel is not var or not isinstance(image, Var):
        return None
    if options["feature_group_count"] != 1 or options["batch_group_count"] != 1:
        return None
    numbers = options["dimension_numbers"]
    out_axis, in_axis, *spatial = numbers.rhs_spec
    matrix = np.transpose(index, (out_axis, in_axis, *spatial)).reshape(index.shape[out_axis], -1)
    shape = shape_of(equation.outvars[0]).shape
    batch, channel, *places = numbers.out_spec
    z = np.arange(math.prod(shape)).reshape(shape)
    order = np.transpose(z, (batch, *places, channel)).reshape(-1, len(matrix))

    def vectors(h: Array) -> Array:
        patches = jax.lax.conv_general_dilated_patches(
            h,
            [index.shape[axis] for axis in spatial],
            options["window_strides"],
            options["padding"],
            options["lhs_dilation"],
            options["rhs_dilation"],
            numbers,
        )
        return jnp.transpose(patches, (batch, *places, channel)).reshape(-1, matrix.shape[1])

    return "convolution", matrix, Meeting(equation.outvars[0], order, image, vectors)


def _embedding(
    var: Var, index: np.ndarray, equation: JaxprEqn
) -> tuple[str, np.ndarray, Meeting] | None:
    table, where = equation.invars
    numbers = equation.params["dimension_numbers"]
    if table is not var or not isinstance(where, Var) or index.ndim != 2:
        return None
    words, width = index.shape
    shape = shape_of(equation.outvars[0]).shape
    sizes = tuple(equation.params["slice_sizes"])
    offsets = tuple(range(len(shape) - len(numbers.offset_dims), len(shape)))
    if sizes != (1, width) or numbers.offset_dims != offsets or numbers.operand_batching_dims:
        return None
    order = np.arange(math.prod(shape)).reshape(-1, width)
    column = numbers.start_index_map.index(0)

    def vectors(indices: Array) -> Array:
        inside = jnp.clip(indices[..., column].ravel(), 0, words - 1)
        return jax.nn.one_hot(inside, words, dtype=shape_of(var).dtype)

    return "embedding", index.T, Meeting(equation.outvars[0], order, where, vectors)
