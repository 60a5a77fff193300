"""Dense nets with skip connections: residual (skips are added) and dense skip (concatenated)."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import listed
from thalweg.core.errors import require, unknown
from thalweg.core.tree import Params
from thalweg.models.dense import affine, flat_size
from thalweg.models.initialisers import INITIALISERS, initialiser_given
from thalweg.models.model import Activation, Model, Shape, activation, activation_given
from thalweg.models.normalisation import Moments, moments, normalised, scale_and_shift

JOINS = ("add", "concatenate")


class ResidualMLP(Model):
    """Dense layers whose input skips past them: z' = branch s(W z + b) + skip z.

    Where a layer's width differs from that of its input nothing skips. With `join` "concatenate"
    z' = [branch s(W z + b); z], and every later layer sees all earlier ones (DenseNet). With
    `normalised` the pre-activation is batch-normalised: N(W z), no bias b, then scale and shift.

    Attributes:
        hidden: Widths of the layers W.
        activation: A name that `thalweg.models.activation` takes.
        skip: rho, the strength of the skips that are added: 1 for a residual net, 0 for none.
        branch: The strength of what the layers add.
        join: "add" or "concatenate".
        readout: Whether an affine layer follows; without it the last hidden layer is the output.
        bias: Whether layers have biases, which start at zero.
        normalised: Whether pre-activations are batch-normalised, over the whole batch.
        initialiser: A name in `thalweg.models.INITIALISERS`.
        gain: Every initial weight is multiplied by it.
        fixed: Moments to normalise with, instead of those of the batch; see `at_moments_of`.

    Source: He et al. (2016); Huang et al. (2017); skip strengths as in Riedi et al. (2023), E1.

    Examples:
        >>> net = tw.models.ResidualMLP([2], "relu", readout=False)  # z + relu(W z + b)
        >>> params = [{"weight": jnp.eye(2), "bias": jnp.zeros(2)}]
        >>> net.apply(params, jnp.array([[1.0, -1.0]])).tolist()
        [[2.0, -1.0]]
    """

    hidden: tuple[int, ...] = eqx.field(static=True, converter=listed)
    activation: str | Activation = eqx.field(
        static=True, converter=activation_given, default="relu"
    )
    skip: float = eqx.field(static=True, default=1.0)
    branch: float = eqx.field(static=True, default=1.0)
    join: str = eqx.field(static=True, default="add")
    readout: bool = eqx.field(static=True, default=True)
    bias: bool = eqx.field(static=True, default=True)
    normalised: bool = eqx.field(static=True, default=False)
    initialiser: str = eqx.field(static=True, converter=initialiser_given, default="he-normal")
    gain: float = eqx.field(static=True, default=1.0)
    fixed: tuple[Moments, ...] | None = None

    def __check_init__(self) -> None:
        activation(self.activation)
        require(self.join in JOINS, unknown(self.join, JOINS, "join"))
        require(
            all(isinstance(w, int) and w > 0 for w in self.hidden) and len(self.hidden) > 0,
            f"hidden widths came as {self.hidden}; give positive whole numbers, as in (64, 64)",
        )

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        draw = INITIALISERS[self.initialiser]
        wide, layers = flat_size(inputs), []
        for width in self.hidden:
            layers.append((width, wide))
            wide = width + wide if self.join == "concatenate" else width
        if self.readout:
            layers.append((outputs, wide))
        else:
            require(
                wide == outputs,
                f"the last hidden layer has {wide} units and {outputs} outputs are wanted; give "
                "it that width, or a readout",
            )
        params = []
        for j, shape in enumerate(layers):
            weight = self.gain * draw(jax.random.fold_in(key, j), shape, dtype)
            layer = {"weight": weight.astype(dtype)}
            if self.normalised and j < len(self.hidden):
                layer |= scale_and_shift(shape[0], dtype)
            elif self.bias:
                layer["bias"] = jnp.zeros(shape[0], dtype)
            params.append(layer)
        return params

    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        if self.readout:
            return affine(params[-1], self.features(params, x))
        return self._forward(params, x)[0]

    def features(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n m"]:
        require(self.readout, "this net has no readout: its last layer is not affine")
        return self._forward(params[:-1], x)[0]

    def at_moments_of(self, params: Params, x: Float[Array, "n ..."]) -> ResidualMLP:
        """The same net with the moments of its normalisations fixed to those of this batch."""
        layers = params[:-1] if self.readout else params
        fixed = self._forward(layers, x)[1] if self.normalised else None
        return dataclasses.replace(self, fixed=fixed)

    def _forward(self, layers: Params, x: Array) -> tuple[Array, tuple[Moments, ...]]:
        """The output of the hidden layers, and the moments that they were normalised with."""
        act = activation(self.activation).function
        z, used = x.reshape(x.shape[0], -1), []
        for j, layer in enumerate(layers):
            out = affine(layer, z)
            if self.normalised:
                used.append(moments(out) if self.fixed is None else self.fixed[j])
                out = normalised(out, used[-1], layer)
            h = self.branch * act(out)
            if self.join == "concatenate":
                z = jnp.concatenate([h, z], axis=1)
            else:
                z = h + self.skip * z if h.shape == z.shape else h
        return z, tuple(used)

    @property
    def smooth(self) -> bool:
        return activation(self.activation).smooth

    @property
    def separable(self) -> bool:
        return not self.normalised or self.fixed is not None
