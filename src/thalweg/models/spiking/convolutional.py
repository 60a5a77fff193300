"""Convolutional spiking networks for images, with or without batch normalisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import listed
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.convolutional import Convolution, max_pooled, side_after
from thalweg.models.initialisers import INITIALISERS, initialiser_given
from thalweg.models.model import Shape
from thalweg.models.normalisation import Moments, moments, normalised, scale_and_shift
from thalweg.models.spiking.dense import SpikingModel, affine_by_step, of_a_step
from thalweg.models.spiking.neuron import LIF, LayerRun, lif_rollout


class SpikingConvNet(SpikingModel):
    """Convolutions with batch normalisation, then full connections, LIF neurons after each.

    Inputs are images (n, channels, height, width), or (n, T, channels, height, width) by step. A
    layer's current is N(W * S) of the spikes below, max-pooled where the layer below says so; N is
    batch normalisation, whose moments are those of the batch *at each step*, as when a network is
    run step by step in training. No layer has a bias. Where several spikes of a window are the
    largest, derivatives of max-pooling are shared among them (PyTorch gives all to the first).

    There is no dropout: its masks are random, and an objective is a function of the parameters.

    Attributes:
        convolutions: The convolutional layers, first to last.
        hidden: Widths of the dense hidden layers.
        normalised: Whether convolutions are batch-normalised.
        initialiser: A name in `thalweg.models.INITIALISERS`; the default draws uniformly from
            +-1/sqrt(fan_in), as PyTorch.
        gain: Every initial weight is multiplied by it.
        fixed: Moments to normalise with, instead of those of the batch; see `at_moments_of`.
        steps, neuron, presentation, readout, voters: As of `SpikingModel`.

    Source: Chen, Yu, Fang, Huang and Tian (2021), the network of their CIFAR-10 experiment.
    """

    convolutions: tuple[Convolution, ...] = eqx.field(static=True, converter=listed)
    hidden: tuple[int, ...] = eqx.field(static=True, converter=listed, default=())
    normalised: bool = eqx.field(static=True, default=True)
    initialiser: str = eqx.field(static=True, converter=initialiser_given, default="uniform-fan-in")
    gain: float = eqx.field(static=True, default=1.0)
    fixed: tuple[Moments, ...] | None = None

    def __check_init__(self) -> None:
        require(
            len(self.convolutions) > 0
            and all(min(c.filters, c.kernel, c.stride, c.pool) > 0 for c in self.convolutions),
            f"convolutions came as {self.convolutions}; give one or more of positive filters, "
            "kernels, strides and pools, as Convolution(16, 3, padding=1)",
        )
        require(
            all(isinstance(w, int) and w > 0 for w in self.hidden),
            f"hidden widths came as {self.hidden}; give positive whole numbers, as in (120,)",
        )

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        image = of_a_step(self, inputs)
        require(
            len(image) == 3,
            f"a convolutional net takes images (channels, height, width), not shape {image}",
        )
        channels, height, width = image
        shapes: list[tuple[int, ...]] = []
        for c in self.convolutions:
            shapes.append((c.filters, channels, c.kernel, c.kernel))
            height, width = side_after(height, c), side_after(width, c)
            require(
                min(height, width) > 0,
                f"images of shape {image} are too small for the convolutions {self.convolutions}",
            )
            channels = c.filters
        widths = (channels * height * width, *self.hidden, outputs * self.voters)
        shapes += zip(widths[1:], widths[:-1], strict=True)
        draw, layers = INITIALISERS[self.initialiser], []
        for j, shape in enumerate(shapes):
            weight = self.gain * draw(jax.random.fold_in(key, j), shape, dtype)
            layer = {"weight": weight.astype(dtype)}
            if self.normalised and len(shape) == 4:
                layer |= scale_and_shift(shape[0], dtype)
            layers.append(layer)
        return layers

    def layer_runs(self, params: Params, x: Float[Array, "n ..."]) -> list[LayerRun]:
        return self._forward(params, x)[0]

    def at_moments_of(self, params: Params, x: Float[Array, "n ..."]) -> SpikingConvNet:
        """The same net with its moments, at every step, fixed to those of this batch."""
        fixed = self._forward(params, x)[1] if self.normalised else None
        return dataclasses.replace(self, fixed=fixed)

    def _forward(self, params: Params, x: Array) -> tuple[list[LayerRun], tuple[Moments, ...]]:
        axes = 4 if self.presentation == "constant" else 5
        require(
            x.ndim == axes and (axes == 4 or x.shape[1] == self.steps),
            f"x has shape {x.shape}; give images (examples, channels, height, width), with "
            f"presentation='by-step' (examples, {self.steps}, channels, height, width)",
        )
        h = x[None] if axes == 4 else jnp.moveaxis(x, 1, 0)
        runs, used = list[LayerRun](), list[Moments]()
        for j, layer in enumerate(params[:-1] if self.readout == "membrane" else params):
            if j < len(self.convolutions):
                current = _convolved(self.convolutions[j], layer, h)
                if self.normalised:
                    of = jax.vmap(moments)(current) if self.fixed is None else self.fixed[j]
                    used.append(of)
                    current = jax.vmap(normalised, (0, 0, None))(current, of, layer)
            else:
                current = affine_by_step(layer, h)
            if h.shape[0] == self.steps:
                runs.append(lif_rollout(self.neuron, current))
            else:
                runs.append(lif_rollout(self.neuron, current[0], self.steps))
            h = self._pooled(j, runs[-1].spikes)
        return runs, tuple(used)

    def _pooled(self, j: int, spikes: Float[Array, "t n ..."]) -> Float[Array, "t n ..."]:
        """The spikes of layer j as the next layer sees them."""
        if j >= len(self.convolutions) or self.convolutions[j].pool == 1:
            return spikes
        together = spikes.reshape(-1, *spikes.shape[2:])
        pooled = max_pooled(together, self.convolutions[j].pool)
        return pooled.reshape(*spikes.shape[:2], *pooled.shape[1:])

    def _seen(self, h: Float[Array, "t n ..."]) -> Float[Array, "t n m"]:
        return super()._seen(self._pooled(len(self.convolutions) + len(self.hidden) - 1, h))

    @property
    def separable(self) -> bool:
        return not self.normalised or self.fixed is not None


def _convolved(
    c: Convolution, layer: Params, h: Float[Array, "t n c h w"]
) -> Float[Array, "t n filters up across"]:
    out = jax.lax.conv_general_dilated(
        h.reshape(-1, *h.shape[2:]),
        layer["weight"],
        (c.stride, c.stride),
        [(c.padding, c.padding)] * 2,
    )
    return out.reshape(*h.shape[:2], *out.shape[1:])


def spiking_convolutional(
    convolutions: Sequence[Convolution],
    hidden: Sequence[int] = (),
    steps: int = 8,
    *,
    neuron: LIF | None = None,
    normalised: bool = True,
    initialiser: str = "uniform-fan-in",
    gain: float = 1.0,
    presentation: Literal["constant", "by-step"] = "constant",
    readout: Literal["rate", "membrane"] = "rate",
    voters: int = 1,
) -> SpikingConvNet:
    """A convolutional spiking network; see `SpikingConvNet`.

    Args:
        convolutions: The convolutional layers, first to last; pooling is of spikes.
        hidden: Widths of the dense hidden layers.
        steps: How many steps the network runs for each batch, at least 1.
        neuron: What all neurons are; None for `LIF()`.
        normalised: Whether convolutions are batch-normalised.
        initialiser: A name in `INITIALISERS`.
        gain: Every initial weight is multiplied by it.
        presentation: "constant": an image is a current that does not change; "by-step": the first
            axis of an example is the step.
        readout: "rate" or "membrane"; see `SpikingModel`.
        voters: Neurons of the last layer for each output.

    Raises:
        InputError: If an argument does not fit.

    Examples:
        The network of the paper's CIFAR-10 experiment, 36.7 million parameters:

        >>> layer = tw.models.Convolution(256, 3, padding=1)
        >>> layers = 2 * [layer, layer, layer._replace(pool=2)]
        >>> net = tw.models.spiking_convolutional(layers, [2048], voters=10)
        >>> tw.models.parameter_count(net, (3, 32, 32), 10)
        36718336
    """
    return SpikingConvNet(
        tuple(convolutions),
        tuple(hidden),
        normalised,
        initialiser,
        gain,
        steps=steps,
        neuron=LIF() if neuron is None else neuron,
        presentation=presentation,
        readout=readout,
        voters=voters,
    )
