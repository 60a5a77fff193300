"""Wide nets whose scalings are in the forward map and whose weights all start standard normal.

The nets of Du, Lee, Li, Wang and Zhai (2019), of which `thalweg.kernels.population` gives the
infinitely wide limits, and the two-layer net of Du, Zhai, Poczos and Singh (2019). No biases.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import require, unknown
from thalweg.core.gaussian import normal_rule
from thalweg.core.ranges import require_positive
from thalweg.core.tree import Params
from thalweg.models.dense import affine, flat_size
from thalweg.models.model import Activation, Model, Shape, activation, activation_given

ARCHITECTURES = ("fully-connected", "resnet", "convolutional-resnet")


class WideNet(Model):
    """f = a . x^(H) over H hidden layers of width m; all weights start as N(0, 1).

        x^(1) = sqrt(c_s/m) s(W^(1) x),  c_s = 1/E[s(z)^2], z standard normal; for 2 <= h <= H
        "fully-connected"         x^(h) = sqrt(c_s/m) s(W^(h) x^(h-1))
        "resnet"                  x^(h) = x^(h-1) + c_res/(H sqrt(m)) s(W^(h) x^(h-1))
        "convolutional-resnet"    the same on channels x pixels, W^(h) acting on windows of q pixels

    Parameters are a list of {"weight": ...}: W^(1), ..., W^(H), (m, inputs), and a, (outputs, m);
    for convolutions (m, q channels), place in the window before channel, and (outputs, pixels m),
    pixel before channel.

    Attributes:
        architecture: One of `ARCHITECTURES`.
        width: m.
        depth: H, at least 1; at least 2 for residual nets.
        activation: A name that `thalweg.models.activation` takes.
        c_res: Scale of the residual branches.
        window: q, odd: pixels in a window, stride 1, zero padding; for convolutions only.

    Source: Du et al. (2019), arXiv 1811.03804, sec. 3; E1 to E3 of the study.

    Examples:
        >>> net = tw.models.WideNet("fully-connected", width=4, depth=1, activation="relu")
        >>> params = [{"weight": jnp.ones((4, 1))}, {"weight": jnp.ones((1, 4))}]
        >>> out = net.apply(params, jnp.ones((1, 1)))  # 4 sqrt(c_s/4), c_s = 2
        >>> round(float(out[0, 0]) ** 2, 6)
        8.0
    """

    architecture: str = eqx.field(static=True)
    width: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)
    activation: str | Activation = eqx.field(
        static=True, converter=activation_given, default="softplus"
    )
    c_res: float = eqx.field(static=True, default=0.5)
    window: int = eqx.field(static=True, default=3)

    def __check_init__(self) -> None:
        require(
            self.architecture in ARCHITECTURES,
            unknown(self.architecture, ARCHITECTURES, "architecture"),
        )
        activation(self.activation)
        require(self.width >= 1, f"width came as {self.width}; give at least 1")
        least = 1 + self.residual
        require(
            self.depth >= least,
            f"depth came as {self.depth}; {self.architecture} takes at least {least}",
        )
        require_positive(c_res=self.c_res)
        require(
            self.window >= 1 and self.window % 2 == 1,
            f"window came as {self.window}; give an odd number of pixels",
        )

    @property
    def residual(self) -> bool:
        """Whether layers from the second on are added to what is below them."""
        return self.architecture != "fully-connected"

    @property
    def convolutional(self) -> bool:
        """Whether inputs are channels x pixels."""
        return self.architecture == "convolutional-resnet"

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        require(
            not self.convolutional or len(inputs) == 2,
            f"{self.architecture} takes examples (channels, pixels), not {inputs}",
        )
        channels, pixels = inputs if self.convolutional else (flat_size(inputs), 1)
        q, m = self.window if self.convolutional else 1, self.width
        shapes = [(m, q * channels), *[(m, q * m)] * (self.depth - 1), (outputs, pixels * m)]
        keys = jax.random.split(key, len(shapes))
        return [
            {"weight": jax.random.normal(k, shape, dtype)}
            for k, shape in zip(keys, shapes, strict=True)
        ]

    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        return affine(params[-1], self.features(params, x))

    def features(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n m"]:
        return self.levels(params, x)[-1].reshape(len(x), -1)

    def levels(self, params: Params, x: Float[Array, "n ..."]) -> list[Float[Array, "n p c"]]:
        """x^(0), ..., x^(H), pixel before channel; nets without pixels have one."""
        act = activation(self.activation).function
        levels = [jnp.moveaxis(x, 2, 1) if self.convolutional else x.reshape(len(x), 1, -1)]
        for h, layer in enumerate(params[:-1], start=1):
            z = affine(layer, self.seen(levels[-1]))
            new = self.scale(h).astype(x.dtype) * act(z)
            levels.append(levels[-1] + new if self.residual and h > 1 else new)
        return levels

    def seen(self, level: Float[Array, "n p c"]) -> Float[Array, "n p qc"]:
        """What a layer's weights act on: the windows of q pixels, or the level itself."""
        if not self.convolutional:
            return level
        reach, pixels = self.window // 2, level.shape[1]
        padded = jnp.pad(level, ((0, 0), (reach, reach), (0, 0)))
        return jnp.concatenate([padded[:, s : s + pixels] for s in range(self.window)], axis=2)

    def scale(self, h: int) -> Float[Array, ""]:
        """The factor before s(W^(h) .): sqrt(c_s/m), or c_res/(H sqrt(m)) of residual branches."""
        if self.residual and h > 1:
            return jnp.asarray(self.c_res / (self.depth * math.sqrt(self.width)))
        z, weights = normal_rule()
        second = weights @ activation(self.activation).function(z) ** 2
        return 1 / jnp.sqrt(self.width * second)

    @property
    def smooth(self) -> bool:
        return activation(self.activation).smooth


class TwoLayerNet(Model):
    """f = m^(-1/2) sum_r a_r s(w_r . x), w_r standard normal and trained, a_r = +-1 fixed.

    Parameters are [{"weight": W (m, inputs)}, {"weight": a (outputs, m)}]. Each start draws its
    own signs a; gradients by them are zero, so that what follows gradients leaves them.

    Attributes:
        width: m.
        activation: A name that `thalweg.models.activation` takes.

    Source: Du, Zhai, Poczos and Singh (2019), arXiv 1810.02054, sec. 3.

    Examples:
        >>> net = tw.models.TwoLayerNet(width=4)
        >>> params = [{"weight": jnp.ones((4, 2))}, {"weight": jnp.ones((1, 4))}]
        >>> net.apply(params, jnp.ones((1, 2))).tolist()  # 4 * 2 / sqrt(4)
        [[4.0]]
    """

    width: int = eqx.field(static=True)
    activation: str | Activation = eqx.field(
        static=True, converter=activation_given, default="relu"
    )

    def __check_init__(self) -> None:
        require(self.width >= 1, f"width came as {self.width}; give at least 1")
        activation(self.activation)

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        first, last = jax.random.split(key)
        weight = jax.random.normal(first, (self.width, flat_size(inputs)), dtype)
        signs = jax.random.rademacher(last, (outputs, self.width), dtype)
        return [{"weight": weight}, {"weight": signs}]

    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        return affine(jax.lax.stop_gradient(params[-1]), self.features(params, x))

    def features(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n m"]:
        z = affine(params[0], x.reshape(len(x), -1))
        return activation(self.activation).function(z) / math.sqrt(self.width)

    @property
    def smooth(self) -> bool:
        return activation(self.activation).smooth
