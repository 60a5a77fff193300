"""Experiments X1 and X2 of exact linear dynamics: modes that are known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from thalweg.comparison.crossing import first_crossing
from thalweg.core import hessian_product as curvature
from thalweg.core.spectra import layer_product
from thalweg.dynamics import gradient_descent, gradient_flow
from thalweg.lab.study import Lab, variable
from thalweg.models import Model, initialisers, layer_weights, linear, mlp
from thalweg.models.starts import gaussian_start
from thalweg.probes.modes import growing_strengths, mode_strengths
from thalweg.problems import supervised
from thalweg.problems.data.hierarchical import hierarchical_dataset
from thalweg.problems.linear_targets import (
    DeepLinear,
    deep_linear_params,
    modes_of,
    random_modes,
    scalar_chain,
)
from thalweg.theory.linear_nets import linear_modes

FLOW = partial(gradient_flow, 1e-13, "dopri8")
CHAINS = (2, 3, 5, 10, 50)  # depths L


# X1: the singular modes of a tree of items, learned from a small random start.


def tree(lab: Lab) -> xr.Dataset:
    """Mode strengths of a linear and of a tanh net on the tree data, beside E5."""
    nets = {"linear": linear([16]), "tanh": mlp([16], "tanh", bias=False)}
    found = [tree_modes(lab, name, net, 100 if lab.full else 20) for name, net in nets.items()]
    return xr.merge(found, join="exact", compat="identical")


def tree_modes(lab: Lab, name: str, net: Model, seeds: int) -> xr.Dataset:
    """One net on the tree data, from small random starts; names begin with the net's."""
    data = hierarchical_dataset(3)
    s = data.singular_values
    runs = lab.run(
        f"X1-{name}",
        supervised(
            gaussian_start(net, 1e-3), (data.inputs, data.targets), "squared-error", reduction="sum"
        ),
        gradient_descent(0.01),
        times=0.01 * np.arange(0, 1201, 4),
        probes=[mode_strengths(data.U, data.V), growing_strengths(data.U, data.V)],
        seeds=seeds,
        parameters=False,
    ).dataset
    times, u0 = runs["time"].values, runs["growing_strengths"].values[:, 0]
    u = np.moveaxis(runs["mode_strengths"].values, 1, 0)
    half, error = first_crossing(times, u, s / 2)
    theory = linear_modes.mode_trajectory(s, u0, times)
    expected = linear_modes.half_rise_time(u0, s)
    along, modes, unit = ("time", "seed", "mode"), ("seed", "mode"), "output/input"
    return xr.Dataset(
        {
            "singular_value": variable("mode", s, unit, "singular value"),
            name: variable(along, u, unit, f"mode strength, {name} net"),
            f"{name}_theory": variable(along, theory, unit, "mode strength by E5"),
            f"{name}_start": variable(modes, u0, unit, "growing part of the start"),
            f"{name}_half": variable(modes, half, "1", f"half-rise time, {name} net"),
            f"{name}_half_error": variable(modes, error, "1", "error of the half-rise time"),
            f"{name}_half_theory": variable(modes, expected, "1", "half-rise time by E5"),
        },
        {
            "time": variable("time", times, "1", "training time t/tau = step size x steps"),
            "seed": np.arange(seeds),
        },
    )


# X2: gradient flow from decoupled starts, where everything is known in closed form.


def network(lab: Lab) -> xr.Dataset:
    """A 7-6-5 net from decoupled starts, beside the whole-network solution E7."""
    modes = modes_of(jax.random.normal(jax.random.key(5), (5, 7)))
    u0 = 0.2**2

    def draw(key: Array) -> Sequence[Array]:
        return initialisers.decoupled_init(modes.U, modes.V, u0, 2, 6, key)

    problem = DeepLinear(modes.matrix, draw=draw)
    data = lab.run(
        "X2-network-flow",
        problem,
        FLOW(),
        until=4.0,
        records=40,
        probes=[mode_strengths(modes.U, modes.V)],
        seeds=3,
    ).dataset
    times = data["time"].values
    unflatten = ravel_pytree(problem.init(jax.random.key(0)))[1]
    product = jax.vmap(jax.vmap(lambda flat: layer_product(layer_weights(unflatten(flat)))))
    maps = product(data["parameters"].values)
    solution = linear_modes.product_trajectory(modes.U, modes.s, modes.V, u0, times)
    theory = linear_modes.mode_trajectory(modes.s, np.full(5, u0), times)
    unit = "output/input"
    return xr.Dataset(
        {
            "strength": variable(
                ("seed", "time", "mode"), data["mode_strengths"], unit, "mode strength"
            ),
            "strength_theory": variable(("time", "mode"), theory, unit, "mode strength by E5"),
            "map_gap": variable(
                ("seed", "time"),
                np.abs(maps - solution).max((-2, -1)),
                unit,
                "largest entry of |W(t) - U A(t) V^T|",
            ),
            "path_error": variable(
                ("seed", "time"), data["path_error"], "parameter", "error of the integration"
            ),
            "singular_value": variable("mode", modes.s, unit, "singular value"),
        },
        {"time": variable("time", times, "1", "training time t/tau"), "seed": np.arange(3)},
    )


def hyperbola(lab: Lab) -> xr.Dataset:
    """Four modes with unequal layers in one 4-4-4 net, beside the hyperbolic solution E6."""
    a = jnp.asarray([1.0, 0.6, 2.5, 0.2])
    b = jnp.asarray([0.2, -0.3, 2.0, 1.0])
    modes = random_modes(jax.random.key(1), (3.0, 2.0, 1.0, 2.5), 4, 4)

    def draw(key: Array) -> Sequence[Array]:
        R = initialisers.orthogonal(key, (4, 4))
        return [(R * a) @ modes.V.T, (modes.U * b) @ R.T]

    data = lab.run(
        "X2-hyperbola-flow",
        DeepLinear(modes.matrix, draw=draw),
        FLOW(),
        until=1.3,
        records=26,
        probes=[mode_strengths(modes.U, modes.V)],
    ).dataset
    u, times = data["mode_strengths"].values[0], data["time"].values
    recovered = linear_modes.hyperbolic_time(a, b, u, modes.s)
    first, second = linear_modes.hyperbolic_trajectory(modes.s, a, b, times)
    dims, unit = ("time", "mode"), "output/input"
    return xr.Dataset(
        {
            "strength": variable(dims, u, unit, "mode strength"),
            "strength_theory": variable(dims, first * second, unit, "mode strength, closed form"),
            "time_theory": variable(dims, recovered, "1", "time to this strength by E6"),
            "path_error": variable(
                "time", data["path_error"][0], "parameter", "error of the integration"
            ),
            "first_layer": variable("mode", a, "parameter", "first layer at the start"),
            "second_layer": variable("mode", b, "parameter", "second layer at the start"),
            "singular_value": variable("mode", modes.s, unit, "singular value"),
        },
        {"time": variable("time", times, "1", "training time t/tau")},
    )


def chains(lab: Lab) -> xr.Dataset:
    """One mode of L equal layers, up to 80 % of its rise, beside E8 and E9."""
    s, u0, uf = 1.5, 0.1, 1.2
    fractions = np.linspace(0, 1, 11)
    rows = []
    for L in CHAINS:
        chain = scalar_chain(L, s, u0)
        until = float(linear_modes.deep_mode_time(L, u0, uf, s)[0])
        data = lab.run(f"X2-chain-{L}", chain, FLOW(), times=until * fractions).dataset
        w = jnp.asarray(data["parameters"].values[0])
        velocity = -jax.vmap(jax.grad(chain.objective))(w)
        u, speed = jax.jvp(lambda w: jnp.prod(w, axis=-1), (w,), (velocity,))
        time, error = linear_modes.deep_mode_time(L, u0, u, s)
        expected = linear_modes.deep_mode_rate(L, u, s)
        rows.append((data["time"], u, data["path_error"][0], time, error, speed, expected))
    names = (
        ("time", "1", "training time t/tau"),
        ("strength", "output/input", "mode strength, product of the layers"),
        ("path_error", "parameter", "error of the integration"),
        ("time_theory", "1", "time to this strength by E9"),
        ("time_theory_error", "1", "error of the quadrature"),
        ("rate", "output/input", "speed of the mode strength along the flow"),
        ("rate_theory", "output/input", "speed by E8"),
    )
    found = {
        name: variable(("depth", "record"), np.stack(column), unit, words)
        for column, (name, unit, words) in zip(zip(*rows, strict=True), names, strict=True)
    }
    return xr.Dataset(found, {"depth": list(CHAINS), "record": np.arange(11)})


def limit(lab: Lab) -> xr.Dataset:
    """Learning time and sharpness against depth: E9 towards E10, the Hessian beside E11."""
    depths = np.array([2, 3, 6, 10, 20, 50, 100, 200, 500, 1000])
    s, u0, uf = 1.5, 0.1, 1.2
    value, error = linear_modes.deep_mode_time(depths, u0, uf, s)
    target, few = 1.7, depths[:4]
    top = [
        np.linalg.eigvalsh(
            curvature.dense_hessian(
                scalar_chain(int(L), target, target).objective, jnp.full(L, target ** (1 / L))
            )
        )[-1]
        for L in few
    ]
    unit = "loss/parameter^2"
    return xr.Dataset(
        {
            "scaled_time": variable("depth", depths * value, "1", "depth x learning time"),
            "scaled_time_error": variable("depth", depths * error, "1", "error of the quadrature"),
            "scaled_time_limit": variable(
                (), linear_modes.deep_mode_time_infinite(1, u0, uf, s), "1", "its limit by E10"
            ),
            "shallow_time": variable((), linear_modes.mode_time(u0, uf, s), "1", "time by E5"),
            "sharpness": variable("shallow", top, unit, "largest Hessian eigenvalue"),
            "sharpness_theory": variable(
                "shallow", linear_modes.deep_mode_sharpness(few, target), unit, "by E11"
            ),
        },
        {"depth": depths, "shallow": few},
    )


def conserved(lab: Lab) -> xr.Dataset:
    """Speed of the balancedness matrices under gradient flow, with correlated inputs."""
    names, rates, sizes = [], [], []
    nets = {"one hidden layer": (7, 6, 5), "three hidden layers": (7, 6, 4, 8, 5)}
    for number, (name, widths) in enumerate(nets.items()):
        inputs, outputs, start = jax.random.split(jax.random.key(number), 3)
        X, Y = jax.random.normal(inputs, (7, 20)), jax.random.normal(outputs, (5, 20))
        problem = DeepLinear(Y @ jnp.linalg.pinv(X), X @ X.T)
        weights = [
            jax.random.normal(jax.random.fold_in(start, j), (out, into)) / np.sqrt(into)
            for j, (into, out) in enumerate(pairwise(widths))
        ]
        slope = jax.grad(problem.objective)(deep_linear_params(weights))
        velocity = [-W for W in layer_weights(slope)]
        _, speeds = jax.jvp(linear_modes.conserved_quantities, (weights,), (velocity,))
        names += [name] * len(speeds)
        rates += [jnp.abs(speed).max() for speed in speeds]
        sizes += [
            jnp.abs(W.T @ moved).max() for W, moved in zip(weights[1:], velocity[1:], strict=True)
        ]
    unit = "parameter^2"
    return xr.Dataset(
        {
            "net": variable("pair", names, "1", "network"),
            "rate": variable("pair", rates, unit, "largest speed of W W^T - W'^T W'"),
            "scale": variable("pair", sizes, unit, "largest entry of W'^T dW'/dt"),
        }
    )
