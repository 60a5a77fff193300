"""Experiments X1 and X2: singular modes whose course is known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from thalweg.comparison.crossing import first_crossing
from thalweg.core.hessian_product import dense_hessian
from thalweg.core.spectra import layer_product
from thalweg.dynamics import gradient_descent, gradient_flow
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import initialisers, layer_weights, linear, mlp
from thalweg.models.starts import gaussian_start
from thalweg.probes.modes import growing_strengths, mode_strengths
from thalweg.problems import supervised
from thalweg.problems.data.hierarchical import hierarchical_dataset
from thalweg.problems.linear_targets import (
    DeepLinear,
    Modes,
    deep_linear_params,
    modes_of,
    random_modes,
    scalar_chain,
)
from thalweg.theory.linear_nets import linear_modes

FLOW = partial(gradient_flow, 1e-13, "dopri8")
STRENGTH = "output/input"
TIME = "step size"
PATH_ERROR = ("parameter", "error of the integration")
Draw = Callable[[Array], Sequence[Array]]


@dataclass(frozen=True)
class Tree:
    """How many starts each net on the tree data has, and which nets."""

    seeds: int
    nets: tuple[str, ...] = ("linear", "tanh")


@experiment("X1", Tree(seeds=20), smoke={"seeds": 3}, full={"seeds": 100})
def tree(lab: Lab, size: Tree) -> xr.Dataset:
    """Mode strengths of a linear and of a tanh net on the tree data, beside E5."""
    data, times = hierarchical_dataset(3), 0.01 * np.arange(0, 1201, 4)
    s, examples = data.singular_values, (data.inputs, data.targets)
    probes = [mode_strengths(data.U, data.V), growing_strengths(data.U, data.V)]

    def learned(net: str) -> xr.Dataset:
        start = gaussian_start(mlp([16], net, bias=False), 1e-3)
        problem = supervised(start, examples, "squared-error", reduction="sum")
        options = {"times": times, "probes": probes, "seeds": size.seeds, "parameters": False}
        runs = lab.run(f"X1-{net}", problem, gradient_descent(0.01), **options).dataset
        at, u0 = runs["time"].values, runs["growing_strengths"].values[:, 0]
        u = np.moveaxis(runs["mode_strengths"].values, 1, 0)
        half, error = first_crossing(at, u, s / 2)
        theory = linear_modes.mode_trajectory(s, u0, at)
        half_theory = linear_modes.half_rise_time(u0, s)
        return table(
            {
                "time seed mode": {
                    "strength": (u, STRENGTH, "mode strength"),
                    "strength_theory": (theory, STRENGTH, "mode strength by E5"),
                },
                "seed mode": {
                    "start": (u0, STRENGTH, "growing part of the start"),
                    "half": (half, TIME, "time of half rise"),
                    "half_error": (error, TIME, "error of the time of half rise"),
                    "half_theory": (half_theory, TIME, "time of half rise by E5"),
                },
                "mode": {
                    "half_mean": (half.mean(0), TIME, "time of half rise, mean over seeds"),
                    "half_spread": (half.std(0), TIME, "its standard deviation over seeds"),
                    "half_mean_theory": (half_theory.mean(0), TIME, "mean of what E5 says"),
                    "singular_value": (s, STRENGTH, "singular value s"),
                },
            },
            time=at,
            seed=range(size.seeds),
            mode=range(1, len(s) + 1),
        )

    found = over(learned, net=size.nets)
    return found.assign(singular_value=found["singular_value"].isel(net=0))


def flowed(lab: Lab, name: str, modes: Modes, draw: Draw, **options: Any) -> xr.Dataset:
    """Parameters and mode strengths along the flow of a deep linear net on whitened inputs."""
    problem, probes = DeepLinear(modes.matrix, draw=draw), [mode_strengths(modes.U, modes.V)]
    data = lab.run(name, problem, FLOW(), probes=probes, **options).dataset
    return table(
        {
            "seed time parameter": {"parameters": (data["parameters"], "parameter", "parameters")},
            "seed time mode": {"strength": (data["mode_strengths"], STRENGTH, "mode strength")},
            "seed time": {"path_error": (data["path_error"], *PATH_ERROR)},
            "mode": {"singular_value": (modes.s, STRENGTH, "singular value s")},
        },
        time=data["time"].values,
        seed=data["seed"].values,
    )


@experiment("X2-network")
def network(lab: Lab) -> xr.Dataset:
    """A 7-6-5 net from decoupled starts, beside the whole-network solution E7."""
    modes, u0 = modes_of(jax.random.normal(jax.random.key(5), (5, 7))), 0.2**2

    def draw(key: Array) -> Sequence[Array]:
        return initialisers.decoupled_init(modes.U, modes.V, u0, 2, 6, key)

    found = flowed(lab, "X2-network-flow", modes, draw, until=4.0, records=40, seeds=3)
    unflatten = ravel_pytree(deep_linear_params(draw(jax.random.key(0))))[1]
    product = jax.vmap(jax.vmap(lambda flat: layer_product(layer_weights(unflatten(flat)))))
    times = found["time"].values
    solution = linear_modes.product_trajectory(modes.U, modes.s, modes.V, u0, times)
    gap = np.abs(product(found["parameters"].values) - solution[None]).max((-2, -1))
    theory = linear_modes.mode_trajectory(modes.s, np.full(5, u0), times)
    return found.merge(
        table(
            {
                "time mode": {"strength_theory": (theory, STRENGTH, "mode strength by E5")},
                "seed time": {"map_gap": (gap, STRENGTH, "largest entry of |W(t) - U A(t) V^T|")},
            }
        )
    )


@experiment("X2-hyperbola")
def hyperbola(lab: Lab) -> xr.Dataset:
    """Four modes with unequal layers in one 4-4-4 net, beside the hyperbolic solution E6."""
    a, b = jnp.asarray([1.0, 0.6, 2.5, 0.2]), jnp.asarray([0.2, -0.3, 2.0, 1.0])
    modes = random_modes(jax.random.key(1), (3.0, 2.0, 1.0, 2.5), 4, 4)

    def draw(key: Array) -> Sequence[Array]:
        R = initialisers.orthogonal(key, (4, 4))
        return [(R * a[None]) @ modes.V.T, (modes.U * b[None]) @ R.T]

    found = flowed(lab, "X2-hyperbola-flow", modes, draw, until=1.3, records=26)
    found = found.isel(seed=0, drop=True)
    recovered = linear_modes.hyperbolic_time(a, b, found["strength"].values, modes.s)
    first, second = linear_modes.hyperbolic_trajectory(modes.s, a, b, found["time"].values)
    return found.merge(
        table(
            {
                "time mode": {
                    "strength_theory": (first * second, STRENGTH, "mode strength, closed form"),
                    "time_theory": (recovered, TIME, "time to this strength by E6"),
                },
                "mode": {
                    "first_layer": (a, "parameter", "first layer at the start"),
                    "second_layer": (b, "parameter", "second layer at the start"),
                },
            }
        )
    )


@dataclass(frozen=True)
class Chains:
    """Depths of the chains."""

    depths: tuple[int, ...]


@experiment("X2-chain", Chains((2, 3, 5, 10, 50)), smoke={"depths": (2, 5)})
def chains(lab: Lab, size: Chains) -> xr.Dataset:
    """One mode of L equal layers, up to 80 % of its rise, beside E8 and E9."""
    s, u0, uf = 1.5, 0.1, 1.2

    def chain(depth: int) -> xr.Dataset:
        problem = scalar_chain(depth, s, u0)
        until = float(linear_modes.deep_mode_time(depth, u0, uf, s)[0])
        times = until * np.linspace(0, 1, 11)
        data = lab.run(f"X2-chain-{depth}", problem, FLOW(), times=times).dataset
        w = jnp.asarray(data["parameters"].values[0])
        velocity = -jax.vmap(jax.grad(problem.objective))(w)
        u, speed = jax.jvp(lambda w: jnp.prod(w, axis=-1), (w,), (velocity,))
        time, error = linear_modes.deep_mode_time(depth, u0, u, s)
        expected = linear_modes.deep_mode_rate(depth, u, s)
        along = {
            "time": (data["time"].values, TIME, "training time"),
            "strength": (u, STRENGTH, "mode strength, product of the layers"),
            "path_error": (data["path_error"][0], *PATH_ERROR),
            "time_theory": (time, TIME, "time to this strength by E9"),
            "time_theory_error": (error, TIME, "error of the quadrature"),
            "rate": (speed, STRENGTH, "speed of the mode strength along the flow"),
            "rate_theory": (expected, STRENGTH, "speed by E8"),
        }
        return table({"record": along}, record=range(11))

    return over(chain, depth=size.depths)


@experiment("X2-limit")
def limit(lab: Lab) -> xr.Dataset:
    """Learning time and sharpness against depth: E9 towards E10, the Hessian beside E11."""
    depths = np.array([2, 3, 6, 10, 20, 50, 100, 200, 500, 1000])
    s, u0, uf = 1.5, 0.1, 1.2
    value, error = linear_modes.deep_mode_time(depths, u0, uf, s)
    infinite = linear_modes.deep_mode_time_infinite(1, u0, uf, s)
    target, few, unit = 1.7, depths[:4], "loss/parameter^2"
    minima = [scalar_chain(int(L), target, target) for L in few]
    top = [np.linalg.eigvalsh(dense_hessian(p.objective, p.start))[-1] for p in minima]
    return table(
        {
            "depth": {
                "scaled_time": (depths * value, TIME, "depth x learning time"),
                "scaled_time_error": (depths * error, TIME, "error of the quadrature"),
            },
            "": {
                "scaled_time_limit": (infinite, TIME, "limit of depth x time by E10"),
                "shallow_time": (linear_modes.mode_time(u0, uf, s), TIME, "time by E5"),
            },
            "shallow": {
                "sharpness": (top, unit, "largest Hessian eigenvalue"),
                "sharpness_theory": (linear_modes.deep_mode_sharpness(few, target), unit, "by E11"),
            },
        },
        depth=(depths, "1", "number of weight matrices L"),
        shallow=few,
    )


@experiment("X2-conserved")
def conserved(lab: Lab) -> xr.Dataset:
    """Speed of the balancedness matrices under gradient flow, with correlated inputs."""
    pairs = []
    for number, hidden in enumerate([(6,), (6, 4, 8)]):
        inputs, outputs, start = jax.random.split(jax.random.key(number), 3)
        X, Y = jax.random.normal(inputs, (7, 20)), jax.random.normal(outputs, (5, 20))
        problem = DeepLinear(Y @ jnp.linalg.pinv(X), X @ X.T)
        params = linear(hidden, initialiser="gaussian").init(start, (7,), 5)
        weights = layer_weights(params)
        velocity = [-W for W in layer_weights(jax.grad(problem.objective)(params))]
        _, speeds = jax.jvp(linear_modes.conserved_quantities, (weights,), (velocity,))
        for speed, W, moved in zip(speeds, weights[1:], velocity[1:], strict=True):
            pairs.append((len(weights), jnp.abs(speed).max(), jnp.abs(W.T @ moved).max()))
    depths, rates, sizes = zip(*pairs, strict=True)
    found = {
        "net_depth": (depths, "1", "number of weight matrices of the net"),
        "rate": (rates, "parameter^2/step size", "largest speed of W W^T - W'^T W'"),
        "scale": (sizes, "parameter^2/step size", "largest entry of W'^T dW'/dt"),
    }
    return table({"pair": found})
