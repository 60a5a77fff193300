"""Operations that arrange, pick, pad and make arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def _expand(x: Array, sizes: list[int], implicit: bool = False) -> Array:
    there = (1,) * (len(sizes) - x.ndim) + x.shape
    return jnp.broadcast_to(x, [s if size == -1 else size for s, size in zip(there, sizes)])  # noqa: B905


def _squeeze(x: Array, dim: Any = None) -> Array:
    if dim is None:
        return jnp.squeeze(x)
    axes = dim if isinstance(dim, list | tuple) else (dim,)
    return jnp.squeeze(x, tuple(a for a in axes if x.shape[a] == 1))


def _bounds(x: Array, dim: int, start: Any, end: Any) -> tuple[int, int]:
    start, end, _ = slice(start, end).indices(x.shape[dim])
    return start, end


def _slice(x: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Array:
    return x[_at(x, dim, slice(*_bounds(x, dim, start, end), step))]


def _at(x: Array, dim: int, index: Any) -> tuple[Any, ...]:
    """An index into one axis."""
    return (slice(None),) * (dim % x.ndim) + (index,)


def _slice_scatter(
    x: Array, part: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Array:
    return x.at[_at(x, dim, slice(*_bounds(x, dim, start, end), step))].set(part)


def _split(x: Array, sizes: Any, dim: int = 0) -> list[Array]:
    if not isinstance(sizes, list | tuple):
        n = x.shape[dim]
        sizes = [min(sizes, n - begin) for begin in range(0, n, sizes)]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return jnp.split(x, ends[:-1], dim)


def _index(x: Array, indices: list[Any]) -> Array:
    return x[tuple(slice(None) if index is None else index for index in indices)]


def _index_put(x: Array, indices: list[Any], values: Array, accumulate: bool = False) -> Array:
    where = x.at[tuple(slice(None) if index is None else index for index in indices)]
    return where.add(values) if accumulate else where.set(values)


def _gather(x: Array, dim: int, index: Array, sparse_grad: bool = False) -> Array:
    for axis in range(x.ndim):  # along the other axes the index may be shorter
        if axis != dim % x.ndim:
            x = jax.lax.slice_in_dim(x, 0, index.shape[axis], axis=axis)
    return jnp.take_along_axis(x, index, dim)


def _pad(x: Array, widths: list[int], value: Any = 0.0) -> Array:
    return jax.lax.pad(x, jnp.asarray(value, x.dtype), [(a, b, 0) for a, b in _pairs(x, widths)])


def _pairs(x: Array, widths: list[int]) -> list[tuple[int, int]]:
    """PyTorch names the last axis first."""
    ends = [(widths[i], widths[i + 1]) for i in range(0, len(widths), 2)]
    return [(0, 0)] * (x.ndim - len(ends)) + ends[::-1]


def _pad_as(mode: str) -> Callable[[Array, list[int]], Array]:
    return lambda x, widths: jnp.pad(x, _pairs(x, widths), mode=mode)


def _repeat(x: Array, repeats: list[int]) -> Array:
    return jnp.tile(x, repeats)


def _embedding(
    table: Array, index: Array, padding: int = -1, scaled: bool = False, sparse: bool = False
) -> Array:
    if padding >= 0:  # the row for padding is not trained
        table = table.at[padding].set(jax.lax.stop_gradient(table[padding]))
    return table[index]


def _full(sizes: list[int], value: Any, dtype: Any = None) -> Array:
    return jnp.full(sizes, value, dtype)


def _full_like(x: Array, value: Any, dtype: Any = None) -> Array:
    return jnp.full(x.shape, value, x.dtype if dtype is None else dtype)


def _range(start: Any, end: Any = None, step: Any = 1, dtype: Any = None) -> Array:
    begin, end = (0, start) if end is None else (start, end)
    return jnp.arange(begin, end, step, dtype)


def _cast(x: Array, dtype: Any = None, non_blocking: bool = False) -> Array:
    return x if dtype is None else x.astype(dtype)


def _triangle(keep: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, diagonal=0: keep(x, diagonal)


def _pixel_shuffle(x: Array, factor: int) -> Array:
    *batch, c, h, w = x.shape
    parts = x.reshape(*batch, c // factor**2, factor, factor, h, w)
    n = len(batch)
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return parts.transpose(order).reshape(*batch, c // factor**2, h * factor, w * factor)


def _nothing(*_: Any, **__: Any) -> None:
    """Assertions on sizes, which the exporter has met already."""


SHAPES: dict[str, Callable[..., Any]] = {
    "view": lambda x, sizes: x.reshape(sizes),
    "_unsafe_view": lambda x, sizes: x.reshape(sizes),
    "reshape": lambda x, sizes: x.reshape(sizes),
    "permute": lambda x, order: x.transpose(order),
    "transpose": lambda x, one, other: jnp.swapaxes(x, one, other),
    "t": lambda x: x.T,
    "unsqueeze": jnp.expand_dims,
    "squeeze": _squeeze,
    "expand": _expand,
    "cat": lambda parts, dim=0: jnp.concatenate([p for p in parts if p.shape != (0,)], dim),
    "stack": lambda parts, dim=0: jnp.stack(parts, dim),
    "slice": _slice,
    "slice_scatter": _slice_scatter,
    "select": lambda x, dim, index: jnp.take(x, index, dim),
    "select_scatter": lambda x, part, dim, index: x.at[_at(x, dim, index)].set(part),
    "split": _split,
    "split_with_sizes": _split,
    "unbind": lambda x, dim=0: [jnp.take(x, i, dim) for i in range(x.shape[dim])],
    "index": _index,
    "index_put": _index_put,
    "index_select": lambda x, dim, index: jnp.take(x, index, dim),
    "gather": _gather,
    "flip": lambda x, dims: jnp.flip(x, dims),
    "roll": lambda x, shifts, dims=(): jnp.roll(x, shifts, dims or None),
    "repeat": _repeat,
    "diagonal": lambda x, offset=0, dim1=0, dim2=1: jnp.diagonal(x, offset, dim1, dim2),
    "tril": _triangle(jnp.tril),
    "triu": _triangle(jnp.triu),
    "constant_pad_nd": _pad,
    **{f"reflection_pad{n}d": _pad_as("reflect") for n in (1, 2, 3)},
    **{f"replication_pad{n}d": _pad_as("edge") for n in (1, 2, 3)},
    "pixel_shuffle": _pixel_shuffle,
    "embedding": _embedding,
    "full": _full,
    "empty": lambda sizes, dtype=None: jnp.zeros(sizes, dtype),
    "full_like": _full_like,
    "scalar_tensor": lambda value, dtype=None: jnp.asarray(value, dtype),
    "arange": _range,
    "_to_copy": _cast,
    "lift_fresh_copy": lambda x: x,
    "sym_size": lambda x, dim: x.shape[dim],
    "sym_numel": lambda x: x.size,
    "_assert_scalar": _nothing,
    "_assert_async": _nothing,
    "_assert_tensor_metadata": _nothing,
    "sym_constrain_range_for_size": _nothing,
}
