"""Singular values of deep maps, and the activity of signals that pass through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import require

Apply = Callable[[Any, Array], Array]


def layer_product(
    weights: Sequence[Float[Array, "*batch out in"]],
) -> Float[Array, "*batch last first"]:
    """The product W_L ... W_1 of weights [W_1, ..., W_L] of shapes (out, in), batches in front."""
    require(len(weights) > 0, "no weights were given: a product needs at least one matrix.")
    return reduce(lambda product, W: W @ product, weights)


def product_spectrum(weights: Sequence[Float[Array, "out in"]]) -> Float[Array, " k"]:
    """Singular values of the product W_L ... W_1, descending.

    Args:
        weights: [W_1, ..., W_L], W_l of shape (out, in), first applied first.

    Returns:
        Shape (min(last out, first in),). Error: each is within rounding times the largest one,
        so that values below ~1e-16 of it are noise.
    """
    return jnp.linalg.svd(layer_product(weights), compute_uv=False)


def jacobian_spectrum(apply: Apply, params: Any, x: Float[Array, "*shape"]) -> Float[Array, " k"]:
    """Singular values of the Jacobian d apply(params, x) / d x at one input, descending.

    Args:
        apply: Maps (params, x) to an output of any shape.
        params: Any pytree.
        x: One input of any shape, not a batch.

    Returns:
        Shape (min(outputs, inputs),). Error: rounding times the largest one. Cost: one
        tangent pass per input or one gradient per output, whichever are fewer.
    """
    flat = jnp.ravel(x)

    def outputs(flat: Array) -> Array:
        return jnp.ravel(apply(params, flat.reshape(jnp.shape(x))))

    wide = jax.eval_shape(outputs, flat).size < flat.size
    jacobian = (jax.jacrev if wide else jax.jacfwd)(outputs)(flat)
    return jnp.linalg.svd(jacobian, compute_uv=False)


def activity(
    weights: Sequence[Float[Array, "out in"]] | Float[Array, "layers width width"],
    gain: float | Array,
    x: Float[Array, "*batch in"],
    activation: Callable[[Array], Array] = jnp.tanh,
) -> Float[Array, " layers"]:
    """Mean square activity of every layer of x' = phi(g W x), over units and inputs.

    Args:
        weights: [W_1, ..., W_L], W_l of shape (out, in), or square ones stacked in one array,
            which is compiled as one loop.
        gain: g.
        x: Inputs, with any batch axes in front.
        activation: phi.

    Returns:
        mean(phi^2) of layers 1..L, shape (L,).
    """

    def layer(x: Array, W: Array) -> tuple[Array, Array]:
        x = activation(gain * (x @ W.T))
        return x, jnp.mean(x**2)

    if isinstance(weights, jax.Array):
        return jax.lax.scan(layer, x, weights)[1]
    squares = []
    for W in weights:
        x, square = layer(x, W)
        squares.append(square)
    return jnp.stack(squares)
