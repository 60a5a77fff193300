"""A training step of the spiking net 784-800-10 of the paper: ours beside plain ways of writing it.

T = 8 steps, batches of 128, float32; a step is forward, backward through time with the arctan
surrogate, and Adam. The input is a constant current, or changes at every step. The plain ways
multiply at every step: a scan over time in JAX, and PyTorch's autograd where it is installed. Where
SpikingJelly is, its multi-step layers run beside them, and its first gradient must be ours.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import clock_for, interleaved, limit_threads, machine, options, show

import thalweg as tw

STEPS, BATCH, WIDTHS = 8, 128, (784, 800, 10)
Step = Callable[[Any, Any], tuple[Any, Any]]


def drawn() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Weights, images as bright as digits, and one-hot labels."""
    rng = np.random.default_rng(0)
    pairs = zip(WIDTHS[1:], WIDTHS[:-1], strict=True)
    weights = [
        (rng.uniform(-1, 1, (out, into)) / math.sqrt(into)).astype(np.float32)
        for out, into in pairs
    ]
    x = (3 * rng.random((BATCH, WIDTHS[0]))).astype(np.float32)
    y = np.eye(WIDTHS[-1], dtype=np.float32)[rng.integers(0, WIDTHS[-1], BATCH)]
    return weights, x, y


def plain_rates(params: Any, x: jax.Array) -> jax.Array:
    """The net as one scan over time, all products taken at each step; x is (n, d) or (n, T, d)."""
    slope = tw.models.surrogate_derivative()

    def fire(u: jax.Array, current: jax.Array) -> tuple[jax.Array, jax.Array]:
        m = u + (current - u) / 2
        spikes = tw.models.spikes_of(m - 1, slope)
        return (1 - jax.lax.stop_gradient(spikes)) * m, spikes

    def step(state: Any, shown: jax.Array | None) -> tuple[Any, jax.Array]:
        h = x if shown is None else shown
        found = []
        for layer, u in zip(params, state, strict=True):
            u, h = fire(u, h @ layer["weight"].T)
            found.append(u)
        return found, h

    start = [jnp.zeros((x.shape[0], layer["weight"].shape[0]), x.dtype) for layer in params]
    trains = None if x.ndim == 2 else jnp.moveaxis(x, 1, 0)
    return jnp.mean(jax.lax.scan(step, start, trains, STEPS)[1], axis=0)


def compiled(rates: Callable[..., jax.Array], start: Any, x: Any, y: Any, clock: Any) -> Any:
    """A step of training that goes on from the last, and the seconds its compilation took."""
    adam = optax.adam(1e-3)

    def step(params: Any, memory: Any, x: jax.Array) -> tuple[Any, Any, jax.Array]:
        def loss(params: Any) -> jax.Array:
            return jnp.mean((rates(params, x) - y) ** 2)

        value, gradient = jax.value_and_grad(loss)(params)
        updates, memory = adam.update(gradient, memory, params)
        return optax.apply_updates(params, updates), memory, value

    begun = clock()
    ready = jax.jit(step).lower(start, adam.init(start), x).compile()
    seconds = clock() - begun
    held = [start, adam.init(start)]

    def once() -> float:
        held[0], held[1], value = ready(*held, x)
        return float(jax.block_until_ready(value))

    return once, seconds


def torch_step(weights: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """The same in eager PyTorch, a custom autograd function for the spike."""
    import torch

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(z)
            return (z >= 0).to(z)

        @staticmethod
        def backward(ctx: Any, above: torch.Tensor) -> torch.Tensor:
            (z,) = ctx.saved_tensors
            return above / (1 + (math.pi * z) ** 2)

    params = [torch.tensor(w, requires_grad=True) for w in weights]
    image, label = torch.tensor(x), torch.tensor(y)
    adam = torch.optim.Adam(params, 1e-3)

    def once() -> float:
        potentials, counts = [0.0] * len(params), 0.0
        for t in range(STEPS):
            h = image if image.ndim == 2 else image[:, t]
            for j, w in enumerate(params):
                m = potentials[j] + (h @ w.T - potentials[j]) / 2
                h = Spike.apply(m - 1)
                potentials[j] = (1 - h.detach()) * m
            counts = counts + h
        loss = ((counts / STEPS - label) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        return float(loss.detach())

    return once


def jelly_step(
    weights: list[np.ndarray], x: np.ndarray, y: np.ndarray
) -> tuple[Callable[[], float], list[np.ndarray]]:
    """The same in SpikingJelly, all steps of a layer at once; and its gradient at the start."""
    import torch
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    stack: list[Any] = []
    for w in weights:
        linear = layer.Linear(w.shape[1], w.shape[0], bias=False, step_mode="m")
        linear.weight.data = torch.tensor(w)
        slope = surrogate.ATan(alpha=2.0)
        fires = neuron.LIFNode(2.0, surrogate_function=slope, detach_reset=True, step_mode="m")
        stack += [linear, fires]
    net = torch.nn.Sequential(*stack)
    seen = torch.tensor(x)
    trains = seen.expand(STEPS, *seen.shape) if x.ndim == 2 else seen.transpose(0, 1).contiguous()
    label, adam = torch.tensor(y), torch.optim.Adam(net.parameters(), 1e-3)

    def forth_and_back() -> float:
        functional.reset_net(net)
        loss = ((net(trains).mean(0) - label) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        return float(loss.detach())

    def once() -> float:
        loss = forth_and_back()
        adam.step()
        return loss

    forth_and_back()
    return once, [p.grad.numpy().copy() for p in net.parameters()]


def assert_same_gradient(rates: Any, start: Any, x: Any, y: Any, other: list[np.ndarray]) -> None:
    """Equal to rounding in float32, in the norm of each layer."""
    ours = jax.grad(lambda params: jnp.mean((rates(params, x) - y) ** 2))(start)
    for mine, theirs in zip(ours, other, strict=True):
        g = np.asarray(mine["weight"])
        apart = np.linalg.norm(g - theirs) / np.linalg.norm(g)
        print(f"gradient of {g.shape}: {apart:.1e} from SpikingJelly's")
        assert apart < 1e-4, apart


def main() -> None:
    """The table."""
    given = options(__doc__)
    limit_threads(given.threads)
    jax.config.update("jax_enable_compilation_cache", False)
    clock = clock_for(given.threads)
    weights, image, label = drawn()
    rng = np.random.default_rng(1)
    trains = (rng.random((BATCH, STEPS, WIDTHS[0])) < image[:, None] / 3).astype(np.float32)
    rows = []
    for kind, x in (("constant", image), ("by-step", trains)):
        net = tw.models.spiking_mlp(WIDTHS[1:-1], STEPS, presentation=kind)
        start = [{"weight": jnp.asarray(w)} for w in weights]
        told = (start, jnp.asarray(x), jnp.asarray(label), clock)
        contestants, compiling = {}, {}
        ways = {"thalweg": net.apply, "one scan, products at every step": plain_rates}
        for name, rates in ways.items():
            contestants[name], compiling[name] = compiled(rates, *told)
        if find_spec("torch"):
            contestants["PyTorch, eager"] = torch_step(weights, x, label)
        if find_spec("spikingjelly"):
            contestants["SpikingJelly"], gradient = jelly_step(weights, x, label)
            assert_same_gradient(net.apply, *told[:3], gradient)
        losses = {name: once() for name, once in contestants.items()}
        first = losses["thalweg"]
        assert all(abs(loss - first) < 1e-4 * first for loss in losses.values()), losses
        taken = interleaved(contestants, 3 if given.quick else 30, clock)
        ours = statistics.median(taken["thalweg"])
        for name, seconds in taken.items():
            median = statistics.median(seconds)
            rows.append([
                f"{kind}: {name}", f"{1e3 * median:.1f}", f"{1e3 * min(seconds):.1f}",
                f"{median / ours:.2f}", f"{compiling[name]:.2f}" if name in compiling else "",
            ])  # fmt: skip
    columns = ["input: way", "ms a batch", "least", "times ours", "compile, s"]
    show(f"784-800-10, T = 8, batch 128: {machine(given.threads)}", columns, rows)


if __name__ == "__main__":
    main()
