"""Models with another start than their own."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.model import Model, Shape


class GaussianStart(Model):
    """A model all of whose parameters start as independent N(0, std^2), whatever their fans.

    Attributes:
        model: The network.
        std: Standard deviation of every parameter, at least 0.
    """

    model: Model
    std: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        require(self.std >= 0, f"the standard deviation came as {self.std}; give at least 0")

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        leaves, shape = jax.tree.flatten(self.model.init(key, inputs, outputs, dtype))
        keys = jax.random.split(key, len(leaves))
        drawn = [
            (self.std * jax.random.normal(k, leaf.shape, dtype)).astype(dtype)
            for k, leaf in zip(keys, leaves, strict=True)
        ]
        return jax.tree.unflatten(shape, drawn)

    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        return self.model.apply(params, x)

    @property
    def smooth(self) -> bool:
        return self.model.smooth


def gaussian_start(model: Model, std: float) -> GaussianStart:
    """The model with every parameter drawn from N(0, std^2); see `GaussianStart`."""
    return GaussianStart(model, std)
