"""What a model is: parameters from a key, outputs from parameters and a batch."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import InputError, choose
from thalweg.core.tree import Params

Shape = tuple[int, ...]


class Model(eqx.Module):
    """A network as a pair of pure functions; hyper-parameters are static fields."""

    @abc.abstractmethod
    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any) -> Params:
        """Fresh parameters for examples of shape `inputs` and `outputs` numbers out."""

    @abc.abstractmethod
    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        """Outputs for a batch of n examples."""

    @property
    def smooth(self) -> bool:
        """Whether the outputs are twice differentiable in the parameters everywhere."""
        return True


class Applied(Model):
    """Any `init(key) -> params` and `apply(params, x) -> outputs` (Flax, Haiku, hand-written).

    Args:
        apply_function: Maps parameters and a batch (n, ...) to outputs (n, k).
        init_function: Maps a key to parameters, or None if `start` is given.
        start: Parameters that every seed starts from.
        is_smooth: Declare False for nets with kinks (ReLU, max-pooling).
    """

    apply_function: Callable[[Params, Array], Array] = eqx.field(static=True)
    init_function: Callable[[Array], Params] | None = eqx.field(static=True, default=None)
    start: Params = None
    is_smooth: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        if (self.init_function is None) == (self.start is None):
            raise InputError("give either init_function or start (parameters), not both or neither")

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any) -> Params:
        params = self.start if self.init_function is None else self.init_function(key)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)

    def apply(self, params: Params, x: Array) -> Array:
        return self.apply_function(params, x)

    @property
    def smooth(self) -> bool:
        return self.is_smooth


def from_equinox(module: eqx.Module, smooth: bool = True) -> Applied:
    """A model from an Equinox module, which acts on one example; batching is by `vmap`.

    Its floating-point arrays are the parameters; everything else is held fixed.
    """
    params, fixed = eqx.partition(module, eqx.is_inexact_array)

    def apply(params: Params, x: Array) -> Array:
        return jax.vmap(eqx.combine(params, fixed))(x)

    return Applied(apply, start=params, is_smooth=smooth)


class Activation(eqx.Module):
    """An activation with what theory needs to know of it.

    `slopes` are (alpha, alpha_bar) of sigma(z) = alpha max(z, 0) - alpha_bar max(-z, 0) for
    positively homogeneous activations, None for others.
    """

    function: Callable[[Array], Array] = eqx.field(static=True)
    smooth: bool = eqx.field(static=True, default=True)
    slopes: tuple[float, float] | None = eqx.field(static=True, default=None)


def _leaky(z: Array) -> Array:
    return jnp.where(z > 0, z, 0.01 * z)


def _identity(z: Array) -> Array:
    return z


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(jnp.tanh),
    "relu": Activation(jax.nn.relu, smooth=False, slopes=(1.0, 0.0)),
    "leaky-relu": Activation(_leaky, smooth=False, slopes=(1.0, 0.01)),
    "gelu": Activation(jax.nn.gelu),
    "softplus": Activation(jax.nn.softplus),
    "silu": Activation(jax.nn.silu),
    "elu": Activation(jax.nn.elu, smooth=False),
    "sigmoid": Activation(jax.nn.sigmoid),
    "sin": Activation(jnp.sin),
    "linear": Activation(_identity, slopes=(1.0, 1.0)),
}


def activation(name: str) -> Activation:
    """An activation by name, with the nearest right name in the error."""
    return choose(name, ACTIVATIONS, "activation")
