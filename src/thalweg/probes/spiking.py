"""Activity of spiking networks, layer by layer, and whether their surrogate gradient is alive."""

from __future__ import annotations

from functools import reduce
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.result import Reading, exact, finite
from thalweg.core.tree import Params
from thalweg.models.spiking.dense import SpikingModel
from thalweg.models.starts import Restarted
from thalweg.probes.probe import Moment, Probe, with_data
from thalweg.problems.problem import Problem

BLOCK = 256  # examples that are run at once, where they do not see each other


class Activity(NamedTuple):
    """What one layer did on a batch; of each neuron whether at any step, on any example."""

    rate: Float[Array, ""]
    fired: Bool[Array, " neurons"]
    slope: Float[Array, " neurons"]

    def joined(self, other: Activity) -> Activity:
        """Of two batches; rates are sums over examples."""
        return Activity(
            self.rate + other.rate, self.fired | other.fired, jnp.maximum(self.slope, other.slope)
        )


def _network(problem: Problem, what: str) -> SpikingModel:
    """The spiking network of a problem, wherever it starts."""
    model = with_data(problem, what).model
    while isinstance(model, Restarted):
        model = model.model
    require(
        isinstance(model, SpikingModel),
        f"{what} needs a spiking network, as tw.models.spiking_mlp([200]); this model is "
        f"{type(model).__name__}",
    )
    assert isinstance(model, SpikingModel)
    return model


def layer_activity(problem: Problem, params: Params, what: str) -> list[Activity]:
    """What every layer that fires did on all data; rates are means, slopes the largest of s.

    Raises:
        InputError: If the model is no spiking network.
    """
    net = _network(problem, what)
    slope = net.neuron.derivative

    def on(x: Array) -> list[Activity]:
        found = []
        for potentials, spikes in net.layer_runs(params, x):
            neurons = (-1, potentials[0, 0].size)
            z = (potentials - net.neuron.threshold).reshape(neurons)
            rate = jnp.sum(jnp.mean(spikes.reshape(*spikes.shape[:2], -1), axis=(0, 2)))
            fired = jnp.any(spikes.reshape(neurons) != 0, axis=0)
            found.append(Activity(rate, fired, jnp.max(slope(z), axis=0)))
        return found

    def both(left: list[Activity], right: list[Activity]) -> list[Activity]:
        return [a.joined(b) for a, b in zip(left, right, strict=True)]

    x = with_data(problem, what).inputs
    n = x.shape[0]
    if not net.separable or n <= BLOCK:
        parts = [on(x)]
    else:
        whole = n // BLOCK * BLOCK
        blocks = x[:whole].reshape(-1, BLOCK, *x.shape[1:])
        first = on(blocks[0])
        parts = [jax.lax.scan(lambda so_far, b: (both(so_far, on(b)), None), first, blocks[1:])[0]]
        parts += [on(x[whole:])] if whole < n else []
    return [Activity(a.rate / n, a.fired, a.slope) for a in reduce(both, parts)]


class FiringRate(Probe):
    """Mean number of spikes a step of the neurons of each layer that fires, on all data.

    value (firing_layer,), 1, first layer first; exact up to rounding; no gradients: one run of the
    network over the data, 256 examples at once where these do not see each other.
    """

    name: ClassVar[str] = "firing_rate"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ("firing_layer",)
    asks_process: ClassVar[bool] = False

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        layers = layer_activity(problem, params, "the firing rate")
        return exact(jnp.stack([layer.rate for layer in layers])), ()


class SilentNeurons(Probe):
    """Share of the neurons of each layer that never fire, at no step of any example.

    value (firing_layer,), 1; exact; no gradients, one run of the network over the data. A neuron
    with potentials that are not finite is not silent: the reading is NONFINITE.
    """

    name: ClassVar[str] = "silent_neurons"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ("firing_layer",)
    asks_process: ClassVar[bool] = False

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        layers = layer_activity(problem, params, "the share of silent neurons")
        silent = [jnp.mean((~layer.fired).astype(layer.rate.dtype)) for layer in layers]
        value = jnp.stack(silent)
        rates = jnp.stack([layer.rate for layer in layers])
        return exact(value)._replace(result=finite(value, rates)), ()


class SurrogateAlive(Probe):
    """Share of the neurons of each layer that a surrogate gradient can pass through.

    A neuron counts where s(m_t - threshold) is above `least` times its height at some step of some
    example; one that does not learns nothing, and passes nothing on, whatever the loss. With
    `least` 0, heavy-tailed surrogates (arctan, fast sigmoid, straight-through) are alive always.

    value (firing_layer,), 1; exact up to rounding; no gradients, one run of the network over the
    data.

    Attributes:
        least: Share of the surrogate's height above which its derivative counts, in [0, 1).
    """

    name: ClassVar[str] = "surrogate_alive"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ("firing_layer",)
    asks_process: ClassVar[bool] = False
    least: float = eqx.field(static=True, default=0.0)

    def __check_init__(self) -> None:
        require(0 <= self.least < 1, f"least came as {self.least}; give a number in [0, 1)")

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        what = "whether the surrogate gradient is alive"
        layers = layer_activity(problem, params, what)
        bar = self.least * _network(problem, what).neuron.derivative.height
        alive = [jnp.mean((layer.slope > bar).astype(layer.rate.dtype)) for layer in layers]
        value = jnp.stack(alive)
        rates = jnp.stack([layer.rate for layer in layers])
        return exact(value)._replace(result=finite(value, rates)), ()


class LayerGradientNorm(Probe):
    """Norm of the gradient of the full objective in each layer's parameters.

    value (layer,), loss/parameter, a layer an entry of the tree at its top; exact up to rounding;
    one gradient. Of a spiking network the gradient is that of its surrogate: where a layer has
    exactly 0, nothing reaches it.
    """

    name: ClassVar[str] = "layer_gradient_norm"
    unit: ClassVar[str] = "loss/parameter"
    dims: ClassVar[tuple[str, ...]] = ("layer",)
    asks_process: ClassVar[bool] = False

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        gradient = jax.grad(problem.objective)(params)
        layers = jax.tree.leaves(gradient, is_leaf=lambda part: part is not gradient)
        return exact(jnp.sqrt(jnp.stack([tree.dot(layer, layer) for layer in layers]))), ()


def firing_rate() -> FiringRate:
    """Mean spikes a step, layer by layer; see `FiringRate`.

    Examples:
        >>> net = tw.models.spiking_mlp([], steps=4)  # a neuron alone, its current the input
        >>> data = (np.array([[0.5], [1.5], [2.0]]), np.zeros((3, 1)))
        >>> problem = tw.problems.supervised(net, data)
        >>> params = [{"weight": jnp.ones((1, 1))}]
        >>> tw.measure(problem, params, "firing-rate").value.tolist()  # of 0, 1/2 and 1
        [0.5]
    """
    return FiringRate()


def silent_neurons() -> SilentNeurons:
    """Share of neurons that never fire, layer by layer; see `SilentNeurons`.

    Examples:
        >>> net = tw.models.spiking_mlp([], steps=4)
        >>> problem = tw.problems.supervised(net, (np.ones((2, 1)), np.zeros((2, 2))))
        >>> params = [{"weight": jnp.array([[0.5], [2.0]])}]  # currents below and above
        >>> tw.measure(problem, params, "silent-neurons").value.tolist()
        [0.5]
    """
    return SilentNeurons()


def surrogate_alive(least: float = 0.0) -> SurrogateAlive:
    """Share of neurons whose surrogate derivative is not zero; see `SurrogateAlive`.

    Args:
        least: Share of the surrogate's height above which its derivative counts, in [0, 1).

    Raises:
        InputError: If `least` is not in [0, 1).

    Examples:
        >>> neuron = tw.models.LIF(surrogate="triangle:0.5")  # zero beyond 1 -+ 1/2
        >>> net = tw.models.spiking_mlp([], steps=4, neuron=neuron)
        >>> problem = tw.problems.supervised(net, (np.ones((1, 1)), np.zeros((1, 2))))
        >>> params = [{"weight": jnp.array([[0.4], [0.9]])}]  # potentials reach 0.375 and 0.84
        >>> tw.measure(problem, params, "surrogate-alive").value.tolist()
        [0.5]
    """
    return SurrogateAlive(least)


def layer_gradient_norm() -> LayerGradientNorm:
    """Norm of the gradient, layer by layer; see `LayerGradientNorm`.

    Examples:
        >>> bowl = tw.problems.Function(
        ...     lambda p: 0.5 * p["a"] ** 2 + p["b"] ** 2, {"a": jnp.ones(()), "b": jnp.ones(())}
        ... )
        >>> tw.measure(bowl, bowl.start, "layer-gradient-norm").value.tolist()
        [1.0, 2.0]
    """
    return LayerGradientNorm()
