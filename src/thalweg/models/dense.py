"""Fully connected networks, linear and non-linear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import listed, told
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.initialisers import INITIALISERS, initialiser_given
from thalweg.models.model import Activation, Model, Shape, activation, activation_given


class MLP(Model):
    """x -> W_n s(... s(W_1 x + b_1) ...) + b_n, no activation after the last layer.

    Attributes:
        hidden: Widths of the hidden layers.
        activation: A name in `thalweg.models.ACTIVATIONS`.
        bias: Whether layers have biases, which start at zero.
        initialiser: A name in `thalweg.models.INITIALISERS`.
        gain: Every initial weight is multiplied by it.
    """

    hidden: tuple[int, ...] = eqx.field(static=True, converter=listed)
    activation: str | Activation = eqx.field(
        static=True, converter=activation_given, default="tanh"
    )
    bias: bool = eqx.field(static=True, default=True)
    initialiser: str = eqx.field(static=True, converter=initialiser_given, default="xavier-uniform")
    gain: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        activation(self.activation)
        require(
            all(isinstance(w, int) and w > 0 for w in self.hidden),
            f"hidden widths came as {self.hidden}; give positive whole numbers, as in (64, 64)",
        )

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        widths = (flat_size(inputs), *self.hidden, outputs)
        return dense_layers(key, widths, self.initialiser, self.gain, self.bias, dtype)

    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        return affine(params[-1], self.features(params, x))

    def features(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n m"]:
        act = activation(self.activation).function
        h = x.reshape(x.shape[0], -1)
        for layer in params[:-1]:
            h = act(affine(layer, h))
        return h

    @property
    def smooth(self) -> bool:
        return activation(self.activation).smooth

    @property
    def slopes(self) -> tuple[float, float] | None:
        """(alpha, alpha_bar) if the net is positively homogeneous in its layers, else None."""
        return None if self.bias else activation(self.activation).slopes


def mlp(
    hidden: Sequence[int],
    activation: str | Activation | Callable[..., Any] = "tanh",
    *,
    bias: bool = True,
    initialiser: str = "xavier-uniform",
    gain: float = 1.0,
) -> MLP:
    """A fully connected network; see `MLP`.

    Examples:
        >>> net = tw.models.mlp([8], "relu", initialiser="he-normal")
        >>> params = net.init(jax.random.key(0), (3,), 2)
        >>> net.apply(params, jnp.ones((5, 3))).shape
        (5, 2)
    """
    return MLP(tuple(hidden), activation_given(activation), bias, initialiser, gain)


def linear(hidden: Sequence[int], *, initialiser: str = "xavier-uniform", gain: float = 1.0) -> MLP:
    """A deep linear network x -> W_n ... W_1 x without biases.

    Examples:
        >>> net = tw.models.linear([1])
        >>> params = [{"weight": jnp.array([[2.0]])}, {"weight": jnp.array([[3.0]])}]
        >>> net.apply(params, jnp.array([[5.0]])).tolist()  # 3 * 2 * 5
        [[30.0]]
    """
    return MLP(tuple(hidden), "linear", False, initialiser, gain)


def dense_layers(
    key: Array, widths: Sequence[int], initialiser: str, gain: float, bias: bool, dtype: Any
) -> list[dict[str, Array]]:
    """Drawn weights of layers from each width to the next, and biases of zero if there are any."""
    draw, layers = INITIALISERS[initialiser], []
    for j, (wide, out) in enumerate(pairwise(widths)):
        weight = gain * draw(jax.random.fold_in(key, j), (out, wide), dtype)
        layer = {"weight": weight.astype(dtype)}
        if bias:
            layer["bias"] = jnp.zeros(out, dtype)
        layers.append(layer)
    return layers


def layer_weights(params: Params) -> list[Float[Array, "... out in"]]:
    """The matrices [W_1, ..., W_n] of a dense net, first layer first.

    Raises:
        InputError: If the parameters are not a list of layers with a "weight".

    Examples:
        >>> params = tw.models.mlp([8, 4]).init(jax.random.key(0), (3,), 2)
        >>> [W.shape for W in tw.models.layer_weights(params)]
        [(8, 3), (4, 8), (2, 4)]
    """
    layers = isinstance(params, list | tuple) and all(isinstance(p, Mapping) for p in params)
    require(
        layers and all(hasattr(layer.get("weight"), "shape") for layer in params),
        f"params came as {told(params)}; give the parameters of a dense net, a list of layers",
    )
    return [layer["weight"] for layer in params]


def affine(layer: Params, h: Float[Array, "... in"]) -> Float[Array, "... out"]:
    """W h + b of one dense layer, for a batch; without a bias W h."""
    h = h @ layer["weight"].T
    return h + jnp.broadcast_to(layer["bias"], h.shape) if "bias" in layer else h


def flat_size(shape: Shape) -> int:
    """How many numbers an array of a shape holds."""
    size = 1
    for side in shape:
        size *= side
    return size
