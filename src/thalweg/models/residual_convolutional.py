"""Residual convolutional nets for images, with or without batch normalisation."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.arguments import listed, told
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.dense import affine
from thalweg.models.initialisers import INITIALISERS, initialiser_given
from thalweg.models.model import Activation, Model, Shape, activation, activation_given
from thalweg.models.normalisation import Moments, moments, normalised, scale_and_shift


class Stage(NamedTuple):
    """Residual blocks of one width; the first block of every stage but the first halves sides."""

    filters: int
    blocks: int


def _stages(value: Any) -> Any:
    pairs = isinstance(value, list | tuple) and all(
        isinstance(s, list | tuple) and len(s) == 2 for s in value
    )
    require(
        pairs and all(isinstance(n, int | np.integer) and n > 0 for s in value for n in s),
        f"stages came as {told(value)}; give (filters, blocks) pairs, as in ((16, 2), (32, 2))",
    )
    return tuple(Stage(*map(int, s)) for s in value)


class ConvResNet(Model):
    """ResNet: a 3x3 convolution, stages of residual blocks, mean over pixels, dense layers.

    A block is z' = s(N(W_2 * s(N(W_1 * z))) + skip P z): two 3x3 convolutions with zero padding, P
    the identity, or a 1x1 convolution where width or stride change. N is batch normalisation or,
    without it, the addition of a bias. Stages ((64, 2), (128, 2), (256, 2), (512, 2)) make a
    ResNet-18 for small images.

    Attributes:
        stages: Filters and number of blocks of each stage.
        hidden: Widths of dense layers after the mean over pixels.
        activation: A name that `thalweg.models.activation` takes.
        skip: Strength of the skips: 1 for a residual net, 0 for a plain one.
        normalised: Whether convolutions are batch-normalised.
        initialiser: A name in `thalweg.models.INITIALISERS`.
        fixed: Moments to normalise with, instead of those of the batch; see `at_moments_of`.

    Parameters are a list: layers in order of use, the last affine. Source: He et al. (2016).

    Examples:
        >>> net = tw.models.ConvResNet([tw.models.Stage(filters=2, blocks=1)], normalised=False)
        >>> params = net.init(jax.random.key(0), (1, 4, 4), 3, jnp.float64)
        >>> net.apply(params, jnp.ones((5, 1, 4, 4))).shape
        (5, 3)
    """

    stages: tuple[Stage, ...] = eqx.field(static=True, converter=_stages)
    hidden: tuple[int, ...] = eqx.field(static=True, converter=listed, default=())
    activation: str | Activation = eqx.field(
        static=True, converter=activation_given, default="relu"
    )
    skip: float = eqx.field(static=True, default=1.0)
    normalised: bool = eqx.field(static=True, default=True)
    initialiser: str = eqx.field(static=True, converter=initialiser_given, default="he-normal")
    fixed: tuple[Moments, ...] | None = None

    def __check_init__(self) -> None:
        activation(self.activation)
        require(
            len(self.stages) > 0,
            "no stages came; give (filters, blocks) pairs, as in ((16, 2), (32, 2))",
        )

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        require(
            len(inputs) == 3,
            f"a convolutional net takes images (channels, height, width), not shape {inputs}",
        )
        wide = self.stages[0].filters
        kernels = [(wide, inputs[0], 3, 3)]
        for filters, stride in self._blocks():
            kernels += [(filters, wide, 3, 3), (filters, filters, 3, 3)]
            if stride > 1 or wide != filters:
                kernels.append((filters, wide, 1, 1))
            wide = filters
        widths = (wide, *self.hidden, outputs)
        matrices = list(zip(widths[1:], widths[:-1], strict=True))
        draw, params = INITIALISERS[self.initialiser], []
        for j, shape in enumerate([*kernels, *matrices]):
            layer = {"weight": draw(jax.random.fold_in(key, j), shape, dtype).astype(dtype)}
            if self.normalised and len(shape) == 4:
                layer |= scale_and_shift(shape[0], dtype)
            else:
                layer["bias"] = jnp.zeros(shape[0], dtype)
            params.append(layer)
        return params

    def apply(
        self, params: Params, x: Float[Array, "n channels height width"]
    ) -> Float[Array, "n k"]:
        return affine(params[-1], self.features(params, x))

    def features(
        self, params: Params, x: Float[Array, "n channels height width"]
    ) -> Float[Array, "n m"]:
        return self._forward(params, x)[0]

    def at_moments_of(
        self, params: Params, x: Float[Array, "n channels height width"]
    ) -> ConvResNet:
        """The same net with the moments of its normalisations fixed to those of this batch."""
        fixed = self._forward(params, x)[1] if self.normalised else None
        return dataclasses.replace(self, fixed=fixed)

    def _forward(self, params: Params, x: Array) -> tuple[Array, tuple[Moments, ...]]:
        act = activation(self.activation).function
        layers, used = iter(params[:-1]), list[Moments]()

        def convolved(z: Array, stride: int = 1) -> Array:
            layer = next(layers)
            side = layer["weight"].shape[-1] // 2
            out = jax.lax.conv_general_dilated(
                z, layer["weight"], (stride, stride), [(side, side)] * 2
            )
            if not self.normalised:
                return out + layer["bias"][None, :, None, None]
            used.append(moments(out) if self.fixed is None else self.fixed[len(used)])
            return normalised(out, used[-1], layer)

        z = act(convolved(x))
        for filters, stride in self._blocks():
            h = convolved(act(convolved(z, stride)))
            changed = stride > 1 or z.shape[1] != filters
            z = act(h + self.skip * (convolved(z, stride) if changed else z))
        h = jnp.mean(z, axis=(2, 3))
        for layer in layers:
            h = act(affine(layer, h))
        return h, tuple(used)

    def _blocks(self) -> list[tuple[int, int]]:
        """Filters and stride of every block."""
        return [
            (stage.filters, 2 if i > 0 and b == 0 else 1)
            for i, stage in enumerate(self.stages)
            for b in range(stage.blocks)
        ]

    @property
    def smooth(self) -> bool:
        return activation(self.activation).smooth

    @property
    def separable(self) -> bool:
        return not self.normalised or self.fixed is not None
