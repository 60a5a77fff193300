"""Models with another start than their own."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import InputError, require
from thalweg.core.tree import Params
from thalweg.models.model import Model, Shape


class Restarted(Model):
    """A model that is another one in all but its start; subclasses say which."""

    model: Model

    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        return self.model.apply(params, x)

    def features(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n m"]:
        return self.model.features(params, x)

    @property
    def smooth(self) -> bool:
        return self.model.smooth

    @property
    def separable(self) -> bool:
        return self.model.separable


class GaussianStart(Restarted):
    """A model all of whose parameters start as independent N(0, std^2), whatever their fans.

    Attributes:
        model: The network.
        std: Standard deviation of every parameter, at least 0.
    """

    std: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        require(self.std >= 0, f"the standard deviation came as {self.std}; give at least 0")

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        leaves, shape = jax.tree.flatten(self.model.init(key, inputs, outputs, dtype))
        keys = jax.random.split(key, len(leaves))
        drawn = [_normal(k, leaf, self.std) for k, leaf in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(shape, drawn)


class ZeroLastStart(Restarted):
    """A net whose last layer starts at zero and whose hidden biases start as N(0, std^2).

    The outputs start at zero, and the hidden layers do not move at the first step of descent.

    Attributes:
        model: A network whose parameters are a list of layers {"weight": ..., "bias": ...}.
        std: Standard deviation of the hidden biases, at least 0.
    """

    std: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        require(
            self.std >= 0,
            f"the standard deviation of the biases came as {self.std}; give at least 0",
        )

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        weights, biases = jax.random.split(key)
        params = self.model.init(weights, inputs, outputs, dtype)
        if not isinstance(params, list) or not all("bias" in layer for layer in params[:-1]):
            raise InputError(
                f"{type(self.model).__name__} has no list of layers with biases; give an mlp"
            )
        keys = jax.random.split(biases, len(params))
        hidden = [
            layer | {"bias": _normal(k, layer["bias"], self.std)}
            for k, layer in zip(keys, params[:-1], strict=False)
        ]
        return [*hidden, jax.tree.map(jnp.zeros_like, params[-1])]


class GivenStart(Restarted):
    """A model that starts from given parameters, whatever the seed.

    Attributes:
        model: The network.
        start: Its parameters.
    """

    start: Params

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), self.start)


def gaussian_start(model: Model, std: float) -> GaussianStart:
    """The model with every parameter drawn from N(0, std^2); see `GaussianStart`.

    Examples:
        >>> net = tw.models.gaussian_start(tw.models.linear([100]), std=0.1)
        >>> params = net.init(jax.random.key(0), (100,), 1, jnp.float64)
        >>> 0.095 < float(jnp.std(params[0]["weight"])) < 0.105  # 10,000 draws
        True
    """
    return GaussianStart(model, std)


def zero_last_start(model: Model, std: float = 0.1) -> ZeroLastStart:
    """The net with its last layer at zero and random hidden biases; see `ZeroLastStart`.

    Examples:
        >>> net = tw.models.zero_last_start(tw.models.mlp([4]))
        >>> params = net.init(jax.random.key(0), (3,), 1)
        >>> net.apply(params, jnp.ones((2, 3))).tolist()  # the outputs start at zero
        [[0.0], [0.0]]
    """
    return ZeroLastStart(model, std)


def given_start(model: Model, start: Params) -> GivenStart:
    """The model that starts from these parameters; see `GivenStart`.

    Examples:
        >>> start = [{"weight": jnp.array([[1.0, 2.0]])}]
        >>> net = tw.models.given_start(tw.models.linear([]), start)
        >>> net.init(jax.random.key(0), (2,), 1)[0]["weight"].tolist()  # whatever the key
        [[1.0, 2.0]]
    """
    return GivenStart(model, start)


def _normal(key: Array, like: Array, std: float) -> Array:
    """N(0, std^2) in the shape and the type of an array."""
    return (std * jax.random.normal(key, like.shape, like.dtype)).astype(like.dtype)
