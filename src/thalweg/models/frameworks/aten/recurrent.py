"""Recurrent layers, as loops that are compiled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from thalweg.core.errors import InputError

Cell = Callable[[Array, tuple[Array, ...], list[Array]], tuple[Array, ...]]


def _mapped(x: Array, weight: Array, bias: Array | None) -> Array:
    return x @ weight.T if bias is None else x @ weight.T + bias


def _lstm_cell(x: Array, state: tuple[Array, ...], p: list[Any]) -> tuple[Array, ...]:
    h, c = state
    i, f, g, o = jnp.split(_mapped(x, p[0], p[2]) + _mapped(h, p[1], p[3]), 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru_cell(x: Array, state: tuple[Array, ...], p: list[Any]) -> tuple[Array, ...]:
    (h,) = state
    r, z, n = jnp.split(_mapped(x, p[0], p[2]), 3, -1)
    r2, z2, n2 = jnp.split(_mapped(h, p[1], p[3]), 3, -1)
    r, z = jax.nn.sigmoid(r + r2), jax.nn.sigmoid(z + z2)
    n = jnp.tanh(n + r * n2)
    return ((1 - z) * n + z * h,)


def _simple_cell(activation: Callable[[Array], Array]) -> Cell:
    def cell(x: Array, state: tuple[Array, ...], p: list[Any]) -> tuple[Array, ...]:
        return (activation(_mapped(x, p[0], p[2]) + _mapped(state[0], p[1], p[3])),)

    return cell


def _recurrent(cell: Cell, parts: int) -> Callable[..., tuple[Array, ...]]:
    def layers(
        x: Array,
        start: Any,
        params: list[Array],
        biased: bool,
        count: int,
        dropout: float,
        training: bool,
        both_ways: bool,
        batch_first: bool,
    ) -> tuple[Array, ...]:
        start = start if isinstance(start, list | tuple) else [start]
        each, ways = (4 if biased else 2), (2 if both_ways else 1)
        if len(params) != each * ways * count:
            raise InputError("recurrent layers with projections (proj_size) cannot be taken")
        x = jnp.swapaxes(x, 0, 1) if batch_first else x
        ends: list[tuple[Array, ...]] = []
        for layer in range(count):
            found = []
            for way in range(ways):
                i = layer * ways + way
                p: list[Any] = [*params[i * each : (i + 1) * each], None, None]

                def step(state: Any, at: Array, p: Any = p) -> tuple[Any, Array]:
                    state = cell(at, state, p)
                    return state, state[0]

                first = tuple(s[i] for s in start[:parts])
                end, seen = jax.lax.scan(step, first, x, reverse=way == 1)
                ends.append(end)
                found.append(seen)
            x = jnp.concatenate(found, -1)
        out = jnp.swapaxes(x, 0, 1) if batch_first else x
        return out, *(jnp.stack(states) for states in zip(*ends, strict=True))

    return layers


def _relu(x: Array) -> Array:
    return jnp.where(x > 0, x, 0)


RECURRENT: dict[str, Callable[..., Any]] = {
    "lstm": _recurrent(_lstm_cell, 2),
    "gru": _recurrent(_gru_cell, 1),
    "rnn_tanh": _recurrent(_simple_cell(jnp.tanh), 1),
    "rnn_relu": _recurrent(_simple_cell(_relu), 1),
}
