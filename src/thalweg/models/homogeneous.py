"""Positively homogeneous networks with any two slopes, as the theory of curvature takes them."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float


def homogeneous_outputs(
    weights: Sequence[Float[Array, "out in"]],
    x: Float[Array, "samples in"],
    slopes: Sequence[Array | float] | Array,
) -> Float[Array, "samples k"]:
    """W_n s(W_{n-1} s(... s(W_1 x))) with s(z) = a max(z, 0) - b max(-z, 0), no biases.

    Args:
        weights: [W_1, ..., W_n].
        x: Inputs.
        slopes: (a, b): (1, 1) linear, (1, 0) ReLU, any signs; may be traced.
    """
    right, left = slopes[0], slopes[1]
    for w in weights[:-1]:
        x = x @ w.T
        x = jnp.where(x > 0, right * x, left * x)
    return x @ weights[-1].T
