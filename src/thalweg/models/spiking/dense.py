"""Fully connected spiking networks, and what all spiking networks share."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import listed, told
from thalweg.core.errors import InputError, require
from thalweg.core.tree import Params
from thalweg.models.dense import affine, dense_layers, flat_size
from thalweg.models.initialisers import initialiser_given
from thalweg.models.model import Model, Shape
from thalweg.models.spiking.neuron import LIF, LayerRun, lif_rollout


class SpikingModel(Model):
    """A network of layers of LIF neurons, run for some steps from rest for every batch.

    Its derivatives are those of backpropagation through time with a surrogate derivative in place
    of each spike's slope (`LIF.surrogate`): they are not the gradient of the loss, which is zero
    wherever it exists. Hence it is not `smooth`, and `surrogate_gradient` says so.

    Attributes:
        steps: How many steps T the network runs.
        neuron: What all neurons are.
        presentation: "constant": an example is the current (or what the first layer makes one of)
            at every step, and the first layer's product is taken once; "by-step": the first axis
            of an example is the step, T long.
        readout: "rate": spikes of the last layer over T; "membrane": the last layer does not
            fire, and its potential above rest after T steps is the output; its bias, if it has
            one, is no current, but is added to that.
        voters: Neurons of the last layer for each output; consecutive ones are averaged.
    """

    steps: int = eqx.field(static=True, kw_only=True, default=8)
    neuron: LIF = eqx.field(static=True, kw_only=True, default=LIF())
    presentation: Literal["constant", "by-step"] = eqx.field(
        static=True, kw_only=True, default="constant"
    )
    readout: Literal["rate", "membrane"] = eqx.field(static=True, kw_only=True, default="rate")
    voters: int = eqx.field(static=True, kw_only=True, default=1)

    def __check_init__(self) -> None:
        for name in ("steps", "voters"):
            value = getattr(self, name)
            require(
                isinstance(value, int) and not isinstance(value, bool) and value >= 1,
                f"{name} came as {told(value)}; give a whole number of at least 1",
            )
        require(
            self.readout == "rate" or self.voters == 1,
            f"voters came as {self.voters} with readout='membrane'; give readout='rate', whose "
            "spikes are averaged over voters, or voters of 1",
        )

    @abc.abstractmethod
    def layer_runs(self, params: Params, x: Float[Array, "n ..."]) -> list[LayerRun]:
        """What every layer that fires did on a batch, first layer first; axes (t, n, ...)."""

    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        if self.readout == "membrane":
            return affine(params[-1], self.features(params, x))
        rates = jnp.mean(self.layer_runs(params, x)[-1].spikes, axis=0)
        return jnp.mean(rates.reshape(rates.shape[0], -1, self.voters), axis=-1)

    def features(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n m"]:
        """Of a membrane read-out sum_t (1 - 1/tau)^(T-t) h_t / tau, h_t what the last layer gets.

        Raises:
            InputError: If the last layer fires, as outputs are not affine in what it sees then.
        """
        if self.readout != "membrane":
            raise InputError(
                "the last layer of this spiking net fires, so that its outputs are not affine in "
                "what it sees; give readout='membrane', or a probe that does not ask for features"
            )
        runs = self.layer_runs(params, x)
        tau, ages = self.neuron.tau, jnp.arange(self.steps)[::-1].astype(x.dtype)
        weights = (1.0 - 1.0 / tau) ** ages / tau
        if runs:
            h = self._seen(runs[-1].spikes)
        elif self.presentation == "by-step":
            h = step_by_step(x, self.steps)
        else:
            return jnp.sum(weights) * x.reshape(x.shape[0], -1)
        return jnp.tensordot(weights, h, 1)

    def _seen(self, h: Float[Array, "t n ..."]) -> Float[Array, "t n m"]:
        """What the last layer sees of the spikes before it, each example in a row."""
        return h.reshape(*h.shape[:2], -1)

    @property
    def smooth(self) -> bool:
        return False

    @property
    def surrogate_gradient(self) -> bool:
        """Whether derivatives are surrogates, of no loss the gradient: they are."""
        return True


class SpikingMLP(SpikingModel):
    """Layers of LIF neurons after full connections: I^l_t = W_l S^{l-1}_t (+ b_l).

    The first layer's current is W_1 x, or W_1 x_t of an example that changes by step.

    Attributes:
        hidden: Widths of the hidden layers.
        bias: Whether layers have biases, which start at zero.
        initialiser: A name in `thalweg.models.INITIALISERS`; the default draws uniformly from
            +-1/sqrt(fan_in), as PyTorch.
        gain: Every initial weight is multiplied by it.
        steps, neuron, presentation, readout, voters: As of `SpikingModel`.

    Source: Chen, Yu, Fang, Huang and Tian (2021), the network of their MNIST experiment.
    """

    hidden: tuple[int, ...] = eqx.field(static=True, converter=listed)
    bias: bool = eqx.field(static=True, default=False)
    initialiser: str = eqx.field(static=True, converter=initialiser_given, default="uniform-fan-in")
    gain: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        require(
            all(isinstance(w, int) and w > 0 for w in self.hidden),
            f"hidden widths came as {self.hidden}; give positive whole numbers, as in (800,)",
        )

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        widths = (flat_size(of_a_step(self, inputs)), *self.hidden, outputs * self.voters)
        return dense_layers(key, widths, self.initialiser, self.gain, self.bias, dtype)

    def layer_runs(self, params: Params, x: Float[Array, "n ..."]) -> list[LayerRun]:
        firing = params[:-1] if self.readout == "membrane" else params
        runs: list[LayerRun] = []
        for layer in firing:
            if runs:
                run = lif_rollout(self.neuron, affine_by_step(layer, runs[-1].spikes))
            elif self.presentation == "by-step":
                run = lif_rollout(self.neuron, affine_by_step(layer, step_by_step(x, self.steps)))
            else:
                current = affine(layer, x.reshape(x.shape[0], -1))
                run = lif_rollout(self.neuron, current, self.steps)
            runs.append(run)
        return runs


def spiking_mlp(
    hidden: Sequence[int],
    steps: int = 8,
    *,
    neuron: LIF | None = None,
    bias: bool = False,
    initialiser: str = "uniform-fan-in",
    gain: float = 1.0,
    presentation: Literal["constant", "by-step"] = "constant",
    readout: Literal["rate", "membrane"] = "rate",
    voters: int = 1,
) -> SpikingMLP:
    """A fully connected spiking network; see `SpikingMLP`.

    Args:
        hidden: Widths of the hidden layers.
        steps: How many steps the network runs for each batch, at least 1.
        neuron: What all neurons are; None for `LIF()`: tau 2, threshold 1, rest 0, hard reset,
            detached, arctan.
        bias: Whether layers have biases, which start at zero.
        initialiser: A name in `INITIALISERS`.
        gain: Every initial weight is multiplied by it.
        presentation: "constant": an example is a current that does not change; "by-step": the
            first axis of an example is the step.
        readout: "rate": spikes of the last layer over the number of steps; "membrane": potential
            of a last layer that does not fire, plus its bias.
        voters: Neurons of the last layer for each output.

    Raises:
        InputError: If an argument does not fit.

    Examples:
        >>> net = tw.models.spiking_mlp([20], steps=4)
        >>> params = net.init(jax.random.key(0), (3,), 2)
        >>> rates = net.apply(params, 5 * jnp.ones((5, 3)))
        >>> rates.shape, set((4 * rates).ravel().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
        ((5, 2), True)
    """
    return SpikingMLP(
        tuple(hidden),
        bias,
        initialiser,
        gain,
        steps=steps,
        neuron=LIF() if neuron is None else neuron,
        presentation=presentation,
        readout=readout,
        voters=voters,
    )


def affine_by_step(layer: Params, h: Float[Array, "t n ..."]) -> Float[Array, "t n out"]:
    """W h + b of all steps as one product of two matrices, the fastest there and back."""
    rows = h.reshape(h.shape[0] * h.shape[1], -1)
    return affine(layer, rows).reshape(*h.shape[:2], -1)


def of_a_step(model: SpikingModel, inputs: Shape) -> Shape:
    """The shape of what an example shows at one step.

    Raises:
        InputError: If an example that changes by step is not as long as the run.
    """
    if model.presentation == "constant":
        return inputs
    require(
        len(inputs) >= 2 and inputs[0] == model.steps,
        f"an example has shape {tuple(inputs)}; with presentation='by-step' and "
        f"steps={model.steps} give examples of axes ({model.steps}, ...)",
    )
    return inputs[1:]


def step_by_step(x: Float[Array, "n t ..."], steps: int) -> Float[Array, "t n ..."]:
    """Examples that change by step, step by step, each flattened.

    Raises:
        InputError: If they are not as long as the run.
    """
    require(
        x.ndim >= 3 and x.shape[1] == steps,
        f"x has shape {x.shape}; with presentation='by-step' and steps={steps} give axes "
        f"(examples, {steps}, ...)",
    )
    return jnp.moveaxis(x, 1, 0).reshape(steps, x.shape[0], -1)
