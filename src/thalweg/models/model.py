"""What a model is: parameters from a key, outputs from parameters and a batch."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import InputError, choose, require
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

    def features(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n m"]:
        """What the last, affine layer sees; that layer's parameters are `params[-1]`.

        Raises:
            InputError: If the model has no such layer.
        """
        raise InputError(
            f"{type(self).__name__} does not say which layer is its last; give one of thalweg's "
            "networks, or a model with a method features(params, x)"
        )

    @property
    def smooth(self) -> bool:
        """Whether the outputs are twice differentiable in the parameters everywhere."""
        return True

    @property
    def separable(self) -> bool:
        """Whether the output of an example does not depend on the other examples of its batch."""
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


def _leaky(slope: float) -> Activation:
    def leaky(z: Array) -> Array:
        return jnp.where(z > 0, z, slope * z)

    return Activation(leaky, smooth=False, slopes=(1.0, slope))


def _softplus(sharpness: float) -> Activation:
    def softplus(z: Array) -> Array:
        return jax.nn.softplus(sharpness * z) / sharpness

    return Activation(softplus)


def _identity(z: Array) -> Array:
    return z


def _gelu_erf(z: Array) -> Array:
    return jax.nn.gelu(z, approximate=False)


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(jnp.tanh),
    "relu": Activation(jax.nn.relu, smooth=False, slopes=(1.0, 0.0)),
    "leaky-relu": _leaky(0.01),
    "abs": Activation(jnp.abs, smooth=False, slopes=(1.0, -1.0)),
    "gelu": Activation(jax.nn.gelu),
    "gelu-erf": Activation(_gelu_erf),
    "softplus": Activation(jax.nn.softplus),
    "silu": Activation(jax.nn.silu),
    "elu": Activation(jax.nn.elu, smooth=False),
    "erf": Activation(jax.scipy.special.erf),
    "sigmoid": Activation(jax.nn.sigmoid),
    "sin": Activation(jnp.sin),
    "linear": Activation(_identity, slopes=(1.0, 1.0)),
}
# Those that take a number, as "leaky-relu:0.1" (slope below zero) or "softplus:100", which is
# ln(1 + exp(100 z)) / 100 and within ln(2) / 100 of ReLU.
FAMILIES: dict[str, Callable[[float], Activation]] = {"leaky-relu": _leaky, "softplus": _softplus}


@cache  # one function object per name, so that what was compiled with it is found again
def activation(name: str) -> Activation:
    """An activation by name, "softplus", or by name and number, "softplus:100".

    Raises:
        InputError: If the name is unknown, or what follows the colon is no number it takes; the
            sentence says what is allowed.
    """
    family, colon, number = name.partition(":")
    if not colon:
        return choose(name, ACTIVATIONS, "activation")
    member = choose(family, FAMILIES, "activation with a number")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    require(
        math.isfinite(value) and (family != "softplus" or value > 0),
        f"activation {name!r} came; give {family} a finite {'positive ' * (family == 'softplus')}"
        f"number, as in {family}:0.5",
    )
    return member(value)
