"""Operations that sum, average, sort or look for the largest along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

Axes = Any  # a number, a list, or None for all


def _axes(axes: Axes) -> tuple[int, ...] | None:
    if axes is None or (isinstance(axes, list | tuple) and not axes):
        return None
    return tuple(axes) if isinstance(axes, list | tuple) else (axes,)


def _over(function: Callable[..., Array]) -> Callable[..., Array]:
    def reduced(x: Array, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Array:
        out = function(x, axis=_axes(dim), keepdims=keepdim)
        return out if dtype is None else out.astype(dtype)

    return reduced


def _variance(
    x: Array, dim: Axes = None, correction: float | None = 1, keepdim: bool = False
) -> Array:
    ddof = 1 if correction is None else correction
    return jnp.var(x, axis=_axes(dim), ddof=ddof, keepdims=keepdim)  # type: ignore[arg-type]


def _picked(pick: Callable[..., Array]) -> Callable[..., Any]:
    """The extreme values along an axis with their places: the first one counts, also for slopes."""

    def picked(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
        index = pick(x, axis=dim, keepdims=True)
        values = jnp.take_along_axis(x, index, dim)
        return (values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))

    return picked


def _extreme(whole: Callable[..., Array], along: Callable[..., Any]) -> Callable[..., Any]:
    def extreme(x: Array, dim: int | None = None, keepdim: bool = False) -> Any:
        return whole(x) if dim is None else along(x, dim, keepdim)

    return extreme


def _place(pick: Callable[..., Array]) -> Callable[..., Array]:
    def place(x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
        return pick(x, axis=dim, keepdims=keepdim)

    return place


def _sorted(
    x: Array, dim: int = -1, descending: bool = False, stable: bool = True
) -> tuple[Array, Array]:
    order = jnp.argsort(x, axis=dim, descending=descending, stable=True)
    return jnp.take_along_axis(x, order, dim), order


def _top(
    x: Array, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Array, Array]:
    order = jnp.argsort(x, axis=dim, descending=largest, stable=True)
    order = jax.lax.slice_in_dim(order, 0, k, axis=dim % x.ndim)
    return jnp.take_along_axis(x, order, dim), order


def _softmax(x: Array, dim: int, half_to_float: bool = False) -> Array:
    return jax.nn.softmax(x, axis=dim)


def _log_softmax(x: Array, dim: int, half_to_float: bool = False) -> Array:
    return jax.nn.log_softmax(x, axis=dim)


def _length(
    x: Array, order: Any = 2, dim: Axes = None, keepdim: bool = False, dtype: Any = None
) -> Array:
    sizes, axes = jnp.abs(x), _axes(dim)
    if order in (float("inf"), float("-inf")):
        pick = jnp.max if order > 0 else jnp.min
        return pick(sizes, axis=axes, keepdims=keepdim)
    if order == 2:
        total = jnp.sum(x * x, axis=axes, keepdims=keepdim)
        safe = jnp.where(total > 0, total, 1)  # the slope at zero is 0
        return jnp.where(total > 0, jnp.sqrt(safe), 0)
    return jnp.sum(sizes**order, axis=axes, keepdims=keepdim) ** (1 / order)


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": _over(jnp.sum),
    "mean": _over(jnp.mean),
    "prod": _over(jnp.prod),
    "amax": _over(jnp.max),
    "amin": _over(jnp.min),
    "any": _over(jnp.any),
    "all": _over(jnp.all),
    "logsumexp": _over(jax.scipy.special.logsumexp),
    "var": _variance,
    "max": _extreme(jnp.max, _picked(jnp.argmax)),
    "min": _extreme(jnp.min, _picked(jnp.argmin)),
    "argmax": _place(jnp.argmax),
    "argmin": _place(jnp.argmin),
    "cumsum": lambda x, dim, dtype=None: jnp.cumsum(x, axis=dim, dtype=dtype),
    "cumprod": lambda x, dim, dtype=None: jnp.cumprod(x, axis=dim, dtype=dtype),
    "sort": _sorted,
    "topk": _top,
    "_softmax": _softmax,
    "_safe_softmax": _softmax,
    "_log_softmax": _log_softmax,
    "linalg_vector_norm": _length,
}
