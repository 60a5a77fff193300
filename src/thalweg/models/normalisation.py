"""Batch normalisation as pure functions: moments of the batch, or fixed ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.tree import Params

EPSILON = 1e-5


def scale_and_shift(size: int, dtype: Any) -> dict[str, Params]:
    """A normalisation's own parameters as they start: ones and zeros, one pair per channel."""
    return {"scale": jnp.ones(size, dtype), "shift": jnp.zeros(size, dtype)}


class Moments(NamedTuple):
    """Mean and (biased) variance of every channel."""

    mean: Float[Array, " c"]
    variance: Float[Array, " c"]


def moments(z: Float[Array, "n c ..."]) -> Moments:
    """Mean and variance of every channel over the batch and, for images, its pixels."""
    over = (0, *range(2, z.ndim))
    return Moments(jnp.mean(z, axis=over), jnp.var(z, axis=over))


def normalised(
    z: Float[Array, "n c ..."], of: Moments, layer: Params, epsilon: float = EPSILON
) -> Float[Array, "n c ..."]:
    """Normalise channel by channel: scale (z - mean) / sqrt(variance + epsilon) + shift.

    With the moments of the batch itself an output depends on the whole batch, and on full batches
    the objective is a function of the parameters alone. With fixed moments it is affine in z.
    Source: Ioffe and Szegedy (2015).
    """

    def channels(value: Array) -> Array:
        return value[(None, slice(None), *(None,) * (z.ndim - 2))]

    scaled = (z - channels(of.mean)) / jnp.sqrt(channels(of.variance) + epsilon)
    return scaled * channels(layer["scale"]) + channels(layer["shift"])
