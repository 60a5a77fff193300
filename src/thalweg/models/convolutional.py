"""Convolutional networks for images, with or without pooling and biases."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import listed
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.dense import affine
from thalweg.models.initialisers import INITIALISERS, initialiser_given
from thalweg.models.model import Activation, Model, Shape, activation, activation_given


class Convolution(NamedTuple):
    """One convolutional layer: `filters` kernels of side `kernel`, then pooling if any."""

    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: int = 1  # side of a max-pooling window, 1 for none


class ConvNet(Model):
    """Convolutions, then dense layers; the activation follows every layer but the last.

    Inputs are images (n, channels, height, width); kernels are (filters, channels, kernel,
    kernel), dense weights (out, in).

    Attributes:
        convolutions: The convolutional layers, first to last.
        hidden: Widths of the dense hidden layers.
        activation: A name in `thalweg.models.ACTIVATIONS`.
        bias: Whether layers have biases, which start uniform in +-1/sqrt(fan_in).
        initialiser: For the dense layers; kernels are uniform in +-1/sqrt(fan_in).

    Examples:
        >>> net = tw.models.ConvNet([tw.models.Convolution(filters=2, kernel=3)], [4])
        >>> params = net.init(jax.random.key(0), (1, 8, 8), 3, jnp.float64)
        >>> net.apply(params, jnp.ones((5, 1, 8, 8))).shape
        (5, 3)
    """

    convolutions: tuple[Convolution, ...] = eqx.field(static=True, converter=listed)
    hidden: tuple[int, ...] = eqx.field(static=True, converter=listed)
    activation: str | Activation = eqx.field(
        static=True, converter=activation_given, default="relu"
    )
    bias: bool = eqx.field(static=True, default=False)
    initialiser: str = eqx.field(static=True, converter=initialiser_given, default="xavier-uniform")

    def __check_init__(self) -> None:
        activation(self.activation)

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        require(
            len(inputs) == 3,
            f"a convolutional net takes images (channels, height, width), not shape {inputs}",
        )
        channels, height, width = inputs
        kernels = []
        for c in self.convolutions:
            kernels.append((c.filters, channels, c.kernel, c.kernel))
            height, width = (side_after(side, c) for side in (height, width))
            require(
                min(height, width) > 0,
                f"images of shape {inputs} are too small for the convolutions {self.convolutions}",
            )
            channels = c.filters
        widths = (channels * height * width, *self.hidden, outputs)
        matrices = list(zip(widths[1:], widths[:-1], strict=True))
        dense, uniform = INITIALISERS[self.initialiser], INITIALISERS["uniform-fan-in"]
        layers = []
        for j, shape in enumerate([*kernels, *matrices]):
            draw = uniform if len(shape) == 4 else dense
            weight_key, bias_key = jax.random.split(jax.random.fold_in(key, j))
            layer = {"weight": draw(weight_key, shape, dtype).astype(dtype)}
            if self.bias:
                fan_in = layer["weight"][0].size
                drawn = jax.random.uniform(bias_key, shape[:1], dtype, -1.0, 1.0)
                layer["bias"] = drawn / jnp.sqrt(fan_in).astype(dtype)
            layers.append(layer)
        return layers

    def apply(
        self, params: Params, x: Float[Array, "n channels height width"]
    ) -> Float[Array, "n k"]:
        return affine(params[-1], self.features(params, x))

    def features(
        self, params: Params, x: Float[Array, "n channels height width"]
    ) -> Float[Array, "n m"]:
        act = activation(self.activation).function
        h, depth = x, len(self.convolutions)
        for c, layer in zip(self.convolutions, params[:depth], strict=True):
            h = jax.lax.conv_general_dilated(
                h, layer["weight"], (c.stride, c.stride), [(c.padding, c.padding)] * 2
            )
            if "bias" in layer:
                h = h + layer["bias"][None, :, None, None]
            h = act(h)
            if c.pool > 1:
                h = max_pooled(h, c.pool)
        h = h.reshape(h.shape[0], -1)
        for layer in params[depth:-1]:
            h = act(affine(layer, h))
        return h

    @property
    def smooth(self) -> bool:
        pooled = any(c.pool > 1 for c in self.convolutions)
        return activation(self.activation).smooth and not pooled


def side_after(side: int, c: Convolution) -> int:
    """The side of what a layer makes of an image of a side."""
    return ((side + 2 * c.padding - c.kernel) // c.stride + 1) // c.pool


def max_pooled(h: Array, side: int) -> Array:
    """Non-overlapping windows by reshaping, which differentiates to every order and mode."""
    n, channels, height, width = h.shape
    h = h[:, :, : height // side * side, : width // side * side]
    h = h.reshape(n, channels, height // side, side, width // side, side)
    return jnp.max(h, axis=(3, 5))
