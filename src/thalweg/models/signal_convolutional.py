"""A convolutional net for signals, by strided slices and matrix products."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import listed
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.initialisers import INITIALISERS
from thalweg.models.model import Activation, Model, Shape, activation, activation_given


class SignalConvNet(Model):
    """Convolutions along a signal, mean pooling over what is left of it, a linear layer.

    Kernels of 3, stride 2, one zero of padding on both sides, so that each layer halves the
    length; the receptive field of a unit in layer l is 2^(l+1) - 1. As every layer is a matrix
    product, many nets side by side (`vmap` over parameters) stay fast on a CPU.

    Inputs are (n, channels, 1, length). Kernels are (filters, channels, 3), He-normal; biases are
    zero; the linear layer is (out, filters), entries N(0, 1/filters).

    Attributes:
        filters: Channels of each layer, first to last.
        activation: A name in `thalweg.models.ACTIVATIONS`.

    Examples:
        >>> net = tw.models.SignalConvNet([4, 8])
        >>> params = net.init(jax.random.key(0), (1, 1, 16), 3, jnp.float64)
        >>> net.apply(params, jnp.ones((5, 1, 1, 16))).shape
        (5, 3)
    """

    filters: tuple[int, ...] = eqx.field(static=True, converter=listed)
    activation: str | Activation = eqx.field(
        static=True, converter=activation_given, default="relu"
    )

    def __check_init__(self) -> None:
        activation(self.activation)

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        require(
            len(inputs) == 3 and inputs[1] == 1,
            f"a net for signals takes (channels, 1, length), not shape {inputs}",
        )
        widths = (inputs[0], *self.filters)
        shapes = [(out, into, 3) for into, out in pairwise(widths)]
        he, last = INITIALISERS["he-normal"], INITIALISERS["gaussian"]
        keys = jax.random.split(key, len(shapes) + 1)
        layers = [
            {"weight": he(k, shape, dtype), "bias": jnp.zeros(shape[0], dtype)}
            for k, shape in zip(keys, shapes, strict=False)
        ]
        weight = last(keys[-1], (outputs, widths[-1]), dtype)
        return [*layers, {"weight": weight, "bias": jnp.zeros(outputs, dtype)}]

    def apply(self, params: Params, x: Float[Array, "n channels 1 length"]) -> Float[Array, "n k"]:
        return self.features(params, x) @ params[-1]["weight"].T + params[-1]["bias"][None]

    def features(
        self, params: Params, x: Float[Array, "n channels 1 length"]
    ) -> Float[Array, "n filters"]:
        act = activation(self.activation).function
        h = jnp.swapaxes(x[:, :, 0], 1, 2)
        for layer in params[:-1]:
            h = act(_windows(h) @ _matrix(layer["weight"]) + layer["bias"][None, None])
        return jnp.mean(h, 1)

    @property
    def smooth(self) -> bool:
        return activation(self.activation).smooth


def _windows(h: Float[Array, "n length channels"]) -> Float[Array, "n half three"]:
    """Windows of 3 at every second place, position by position behind one another."""
    half = (h.shape[1] + 1) // 2
    padded = jnp.pad(h, ((0, 0), (1, 1), (0, 0)))
    return jnp.concatenate([padded[:, j : j + 2 * half - 1 : 2] for j in range(3)], 2)


def _matrix(kernel: Float[Array, "filters channels 3"]) -> Float[Array, "three filters"]:
    return jnp.transpose(kernel, (2, 1, 0)).reshape(-1, kernel.shape[0])
