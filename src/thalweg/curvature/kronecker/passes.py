"""One forward pass of a model through its layers, and what is pushed and pulled through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Var
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.trace import evaluated, shape_of
from thalweg.core.tree import Params
from thalweg.curvature.kronecker.layers import Layer, Layers, find_layers, in_order
from thalweg.models import Model

Signals = list[list[Array]]  # of each block, of each of its places: (n, T, d)


class Passes(NamedTuple):
    """A model linearised once, on n examples.

    Attributes:
        outputs: (n, k).
        vectors: What the weights meet, (n, T, d_in + 1) in each place; none for other blocks.
        push: From a pytree of parameters to the change of the outputs (n, k).
        pull: From a covector (n, k) to the gradient, a pytree, and the signals sent back:
            (n, T, d_out) in each place, (n, 1, p) by the block itself where it has none.
    """

    outputs: Float[Array, "n k"]
    vectors: Signals
    push: Callable[[Params], Float[Array, "n k"]]
    pull: Callable[[Float[Array, "n k"]], tuple[Params, Signals]]


def layers_of(model: Model, params: Params, x: Any) -> Layers:
    """The layers of a model.

    Args:
        model: Any whose outputs of an example do not depend on the others.
        params: Parameters, or their shapes.
        x: Examples (n, ...), or their shape.

    Raises:
        InputError: If the model normalises over its batch.
    """
    require(
        model.separable,
        "this net normalises over the whole batch, so its examples have no gradients of their own "
        "and its layers no Kronecker factors; take a net without batch normalisation",
    )
    structure = jax.tree.structure(params)

    def outputs(leaves: list[Array], x: Array) -> Array:
        return model.apply(jax.tree.unflatten(structure, leaves), x[None])[0]

    return find_layers(outputs, params, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))


def passes(layers: Layers, params: Params, x: Float[Array, "n ..."]) -> Passes:
    """One forward pass on some examples, linearised in all parameters; cost: 1 gradient about."""
    sources = [place.source for layer in layers.blocks for place in layer.places]
    # Where two weights meet each other, as in a product of low rank, they share a tap.
    taps = list(dict.fromkeys(tap for layer in layers.blocks for tap in _taps(layers, layer)))

    def run(leaves: list[Array], added: list[Array]) -> tuple[Array, list[Array]]:
        def one(x: Array, added: list[Array]) -> tuple[Array, list[Array]]:
            extra = dict(zip(taps, added, strict=True))
            return evaluated(layers.trace, [*leaves, x], extra, sources)

        return jax.vmap(one)(x, added)

    leaves = jax.tree.leaves(params)
    zeros = [jnp.zeros((len(x), *s.shape), s.dtype) for s in map(shape_of, taps)]
    outputs, linear, met = jax.linearize(run, leaves, zeros, has_aux=True)
    transposed = jax.linear_transpose(linear, leaves, zeros)

    def push(tangent: Params) -> Array:
        return linear(jax.tree.leaves(tangent), zeros)

    def pull(covector: Array) -> tuple[Params, Signals]:
        gradient, sent = transposed(covector)
        return jax.tree.unflatten(layers.structure, gradient), _signals(
            layers, dict(zip(taps, sent, strict=True))
        )

    return Passes(outputs, _vectors(layers, met), push, pull)


def _vectors(layers: Layers, met: list[Array]) -> Signals:
    """The vectors that weights meet, with the number 1 that biases meet."""
    found, rest = [], iter(met)
    for layer in layers.blocks:
        here = []
        for place in layer.places:
            h = jax.vmap(place.vectors)(next(rest))
            if layer.bias is not None:
                h = jnp.concatenate([h, jnp.ones((*h.shape[:2], 1), h.dtype)], axis=2)
            here.append(h)
        found.append(here)
    return found


def _signals(layers: Layers, sent: dict[Var, Array]) -> Signals:
    """Derivatives by the taps, as (n, T, d_out) in each place."""
    found = []
    for layer in layers.blocks:
        flat = [sent[tap].reshape(len(sent[tap]), -1) for tap in _taps(layers, layer)]
        places = layer.places
        here = [_ordered(g, p.order) for g, p in zip(flat, places, strict=True)] if places else []
        found.append(here or [g[:, None] for g in flat])
    return found


def _ordered(flat: Array, order: np.ndarray) -> Array:
    """flat[:, order], without a gather where its entries lie in order."""
    if in_order(order):
        return flat.reshape(-1, *order.shape)
    return jnp.swapaxes(_ordered(flat, order.T), 1, 2) if in_order(order.T) else flat[:, order]


def _taps(layers: Layers, layer: Layer) -> list[Var]:
    """Where a block is tapped: the z of its places, itself where it has none."""
    leaf = layers.trace.jaxpr.invars[layer.weight]
    return [place.tap for place in layer.places] or [leaf]
