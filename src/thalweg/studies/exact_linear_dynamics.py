"""Exact solutions to the nonlinear dynamics of learning in deep linear networks, rerun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core import curvature, spectra
from thalweg.core.crossing import first_crossing
from thalweg.dynamics import criterion
from thalweg.dynamics.descent import gradient_descent
from thalweg.dynamics.flow import gradient_flow
from thalweg.models import initialisers, layer_weights, linear, mlp
from thalweg.models.starts import gaussian_start
from thalweg.probes.modes import growing_strengths, mode_strengths
from thalweg.problems import images, supervised
from thalweg.problems.hierarchical import hierarchical_dataset
from thalweg.problems.linear_targets import (
    DeepLinear,
    Modes,
    deep_linear_params,
    modes_of,
    random_modes,
    scalar_chain,
    whitened_modes,
)
from thalweg.studies.exact_linear_dynamics_claims import CLAIMS
from thalweg.studies.exact_linear_dynamics_figures import FIGURES
from thalweg.studies.study import Lab, Study
from thalweg.theory import isometry, linear_modes

FLOW = partial(gradient_flow, 1e-13, "dopri8")
STARTS = ("decoupled", "orthogonal", "gaussian")
RANDOM = ("orthogonal", "gaussian")
GAINS = (0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.5)

Variable = tuple[tuple[str, ...], Any, dict[str, str]]


def variable(dims: tuple[str, ...], values: Any, unit: str, name: str) -> Variable:
    """A variable of a data set, with its unit and a name in words."""
    return dims, np.asarray(values), {"units": unit, "long_name": name}


# X1: the singular modes of a tree of items, learned from a small random start.


def tree(lab: Lab) -> xr.Dataset:
    """Mode strengths of a linear and of a tanh net on the tree data, beside E5."""
    data, seeds = hierarchical_dataset(3), 100 if lab.full else 20
    s, measured = (
        data.singular_values,
        [f(data.U, data.V) for f in (mode_strengths, growing_strengths)],
    )
    nets = {"linear": linear([16]), "tanh": mlp([16], "tanh", bias=False)}
    found: dict[str, Variable] = {
        "singular_value": variable(("mode",), s, "output/input", "singular value")
    }
    for name, net in nets.items():
        problem = supervised(
            gaussian_start(net, 1e-3),
            (data.inputs, data.targets),
            "squared-error",
            reduction="sum",
        )
        trajectory = lab.run(
            f"X1-{name}",
            problem,
            gradient_descent(0.01),
            times=0.01 * np.arange(0, 1201, 4),
            probes=measured,
            seeds=seeds,
            parameters=False,
        )
        times = trajectory.dataset["time"].values
        u = np.moveaxis(trajectory.dataset["mode_strengths"].values, 1, 0)
        u0 = trajectory.dataset["growing_strengths"].values[:, 0]
        half, error = first_crossing(times, u, s / 2)
        dims, modes = ("time", "seed", "mode"), ("seed", "mode")
        theory = linear_modes.mode_trajectory(s, u0, times)
        found |= {
            name: variable(dims, u, "output/input", f"mode strength, {name} net"),
            f"{name}_theory": variable(dims, theory, "output/input", "mode strength by E5"),
            f"{name}_start": variable(modes, u0, "output/input", "growing part of the start"),
            f"{name}_half": variable(modes, half, "1", f"half-rise time, {name} net"),
            f"{name}_half_error": variable(modes, error, "1", "error of the half-rise time"),
            f"{name}_half_theory": variable(
                modes, linear_modes.half_rise_time(u0, s), "1", "half-rise time by E5"
            ),
        }
    clock = variable(("time",), times, "1", "training time t/tau = step size x steps")
    return xr.Dataset(found, {"time": clock, "seed": np.arange(seeds)})


# X2: gradient flow from decoupled starts, where everything is known in closed form.


def network(lab: Lab) -> xr.Dataset:
    """A 7-6-5 net from decoupled starts, beside the whole-network solution E7."""
    modes = modes_of(jax.random.normal(jax.random.key(5), (5, 7)))
    u0 = 0.2**2

    def draw(key: Array) -> Sequence[Array]:
        return initialisers.decoupled_init(modes.U, modes.V, u0, 2, 6, key)

    data = lab.run(
        "X2-network",
        DeepLinear(modes.matrix, draw=draw),
        FLOW(),
        until=4.0,
        records=40,
        probes=[mode_strengths(modes.U, modes.V)],
        seeds=3,
    ).dataset
    times = data["time"].values
    shape = (*data["parameters"].shape[:2], -1)
    lower, upper = (
        part.reshape(*shape[:2], *size)
        for part, size in zip(
            np.split(data["parameters"].values, [6 * 7], axis=-1), ((6, 7), (5, 6)), strict=True
        )
    )
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
                np.abs(upper @ lower - solution).max((-2, -1)),
                unit,
                "largest entry of |W(t) - U A(t) V^T|",
            ),
            "path_error": variable(
                ("seed", "time"), data["path_error"], "parameter", "error of the integration"
            ),
            "singular_value": variable(("mode",), modes.s, unit, "singular value"),
        },
        {"time": variable(("time",), times, "1", "training time t/tau"), "seed": np.arange(3)},
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
        "X2-hyperbola",
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
                ("time",), data["path_error"][0], "parameter", "error of the integration"
            ),
            "first_layer": variable(("mode",), a, "parameter", "first layer at the start"),
            "second_layer": variable(("mode",), b, "parameter", "second layer at the start"),
            "singular_value": variable(("mode",), modes.s, unit, "singular value"),
        },
        {"time": variable(("time",), times, "1", "training time t/tau")},
    )


def chains(lab: Lab) -> xr.Dataset:
    """One mode of L equal layers, up to 80 % of its rise, beside E8 and E9."""
    s, u0, uf = 1.5, 0.1, 1.2
    depths = (2, 3, 5, 10, 50)
    fractions = np.linspace(0, 1, 11)
    rows = []
    for L in depths:
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
    return xr.Dataset(found, {"depth": list(depths), "record": np.arange(11)})


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
            "scaled_time": variable(("depth",), depths * value, "1", "depth x learning time"),
            "scaled_time_error": variable(
                ("depth",), depths * error, "1", "error of the quadrature"
            ),
            "scaled_time_limit": variable(
                (), linear_modes.deep_mode_time_infinite(1, u0, uf, s), "1", "its limit by E10"
            ),
            "shallow_time": variable((), linear_modes.mode_time(u0, uf, s), "1", "time by E5"),
            "sharpness": variable(("shallow",), top, unit, "largest Hessian eigenvalue"),
            "sharpness_theory": variable(
                ("shallow",), linear_modes.deep_mode_sharpness(few, target), unit, "by E11"
            ),
        },
        {"depth": depths, "shallow": few},
    )


def conserved(lab: Lab) -> xr.Dataset:
    """Speed of the balancedness matrices under gradient flow, with correlated inputs."""
    rows = []
    nets = {"one hidden layer": (7, 6, 5), "three hidden layers": (7, 6, 4, 8, 5)}
    for number, widths in enumerate(nets.values()):
        key, start = jax.random.split(jax.random.key(number))
        X, Y = (jax.random.normal(k, (n, 20)) for k, n in zip(jax.random.split(key), (7, 5)))
        problem = DeepLinear(Y @ jnp.linalg.pinv(X), X @ X.T)
        weights = [
            jax.random.normal(jax.random.fold_in(start, l), (out, into)) / np.sqrt(into)
            for l, (into, out) in enumerate(zip(widths, widths[1:], strict=False))
        ]
        slope = jax.grad(problem.objective)(deep_linear_params(weights))
        velocity = [-W for W in layer_weights(slope)]
        _, rates = jax.jvp(linear_modes.conserved_quantities, (weights,), (velocity,))
        sizes = [
            jnp.abs(above.T @ moved).max()
            for above, moved in zip(weights[1:], velocity[1:], strict=True)
        ]
        rows += [
            (name, float(jnp.abs(rate).max()), float(size))
            for name, rate, size in zip(
                [list(nets)[number]] * len(rates), rates, sizes, strict=True
            )
        ]
    names, rates, sizes = zip(*rows, strict=True)
    unit = "parameter^2"
    return xr.Dataset(
        {
            "net": variable(("pair",), names, "1", "network"),
            "rate": variable(("pair",), rates, unit, "largest speed of W W^T - W'^T W'"),
            "scale": variable(("pair",), sizes, unit, "largest entry of W'^T dW'/dt"),
        }
    )


# X3: how many steps a deep net takes at its best step size.


def deep_start(name: str, modes: Modes, strength: float, L: int, width: int, key: Array) -> Any:
    """Parameters of a deep linear net, hidden layers of one width, by the name of the start."""
    if name == "decoupled":
        weights = initialisers.decoupled_init(modes.U, modes.V, strength, L, width, key)
    else:
        draw = initialisers.initialiser(name)
        sizes = [modes.V.shape[0], *[width] * (L - 1), modes.U.shape[0]]
        weights = [
            draw(jax.random.fold_in(key, l), (out, into))
            for l, (into, out) in enumerate(zip(sizes, sizes[1:], strict=False))
        ]
    return deep_linear_params(weights)


def depth_search(
    modes: Modes,
    starts: Sequence[str],
    seeds: int,
    rates: Mapping[int, np.ndarray],
    *,
    strength: float,
    width: int,
    most_steps: int,
    at_once: int | None = None,
) -> xr.Dataset:
    """Fewest steps to 1 % of the loss of the zero map, for each start, seed and depth."""
    problem, level = DeepLinear(modes.matrix), 0.01 * float(jnp.sum(modes.s**2)) / 2
    found = np.full((2, len(starts), seeds, len(rates)), np.nan)
    for at in np.ndindex(found.shape[1:]):
        name, seed, (L, sizes) = starts[at[0]], at[1], list(rates.items())[at[2]]
        params = deep_start(name, modes, strength, L, width, jax.random.key(100 + seed))
        found[(slice(None), *at)] = criterion.steps_to_criterion(
            problem, params, sizes, level, most_steps, at_once
        )
    depths = np.array(list(rates))
    steps, size = found
    top = linear_modes.deep_mode_sharpness(depths, float(modes.s[0]))
    dims = ("start", "seed", "depth")
    return xr.Dataset(
        {
            "steps": variable(dims, steps, "1", "fewest steps to 1 % of the loss"),
            "steps_mean": variable(dims[::2], steps.mean(1), "1", "mean over seeds"),
            "steps_mean_error": variable(
                dims[::2], steps.std(1), "1", "standard deviation over seeds"
            ),
            "step_size": variable(dims, size, "1", "fastest step size"),
            "scaled_step_size": variable(dims, size * depths, "1", "fastest step size x depth"),
            "sharpness_bound": variable(("depth",), 1 / top, "1", "1/largest sharpness by E11"),
            "stability_bound": variable(("depth",), 2 / top, "1", "2/largest sharpness by E11"),
        },
        {
            "start": list(starts),
            "seed": np.arange(seeds),
            "depth": variable(("depth",), depths, "1", "number of weight matrices L"),
        },
    )


def depth(lab: Lab) -> xr.Dataset:
    """24-wide nets, five modes, three starts."""
    grid = 2.0 ** np.arange(-11, 0.25, 0.5)
    depths = (2, 4, 8, 16, 32, 48)
    return depth_search(
        random_modes(jax.random.key(1), (2.0, 1.6, 1.3, 1.1, 0.9), 5, 24),
        STARTS,
        12 if lab.full else 8,
        {L: grid[(grid >= 0.01 / L) & (grid <= 2.5 / L)] for L in depths},
        strength=0.05,
        width=24,
        most_steps=600,
    )


def digits(lab: Lab) -> xr.Dataset:
    """Handwritten digits from decoupled starts of strength 0.001, the paper's own experiment."""
    data, source = _images(lab)
    neurons = (
        np.unique(np.geomspace(3, 100, 15).round().astype(int)) if lab.full else (3, 5, 9, 17, 33)
    )
    found = depth_search(
        whitened_modes(data),
        STARTS[:1],
        1,
        dict.fromkeys((int(N) - 1 for N in neurons), 6e4 * np.geomspace(1e-7, 1e-4, 20)),
        strength=0.001,
        width=1000 if lab.full else 32,
        most_steps=20_000,
        at_once=1 if lab.full else None,
    )
    return found.assign_attrs(data=source)


def _images(lab: Lab) -> tuple[Any, str]:
    try:
        found = images.mnist() if lab.full else images.digits()
    except ValueError:  # the user has no MNIST
        found = images.digits()
    return found, str(found.description["source"])


# X4: singular values of deep products and of deep tanh nets.


def isometry_spectra(lab: Lab) -> xr.Dataset:
    """Product and Jacobian spectra, and activity, of random nets 200 wide and 100 deep."""
    return spectra_of(seeds=12 if lab.full else 6)


def spectra_of(seeds: int, N: int = 200, L: int = 100) -> xr.Dataset:
    """Spectra of products of the first 1, 5, 20 and L matrices, and of tanh nets of L layers."""
    products = (1, 5, 20, L)
    gains = jnp.asarray(GAINS)
    product = np.empty((2, seeds, len(products), N))
    jacobian = np.empty((2, seeds, len(GAINS), N))
    activity = np.empty((2, seeds, len(GAINS), L))
    for at in np.ndindex(2, seeds):
        key, inputs = jax.random.split(jax.random.key(at[1]))
        draw = initialisers.initialiser(RANDOM[at[0]])
        weights = jax.vmap(lambda k, draw=draw: draw(k, (N, N)))(jax.random.split(key, L))
        product[at] = [spectra.product_spectrum(list(weights[:l])) for l in products]
        x = jax.random.normal(inputs, (N,))
        jacobian[at], activity[at] = _tanh_nets(weights, gains, x)
    q = [isometry.activity_fixed_point(g) for g in GAINS]
    profile = [isometry.activity_profile(g, L) for g in GAINS]
    rounding = np.finfo(float).eps * N * product.max(-1)
    deep, nets = ("start", "seed", "product_depth"), ("start", "seed", "gain")
    square, sv = np.mean(product**2, -1), "singular value of the product"
    return xr.Dataset(
        {
            "product": variable((*deep, "index"), product, "1", sv),
            "product_error": variable(deep, rounding, "1", f"rounding error of a {sv}"),
            "product_median": variable(deep, np.median(product, -1), "1", f"median {sv}"),
            "product_mean_square": variable(deep, square, "1", f"mean square {sv}"),
            "product_median_theory": variable(
                deep[2:], isometry.gaussian_product_median(products), "1", "2^(-depth/2)"
            ),
            "jacobian": variable((*nets, "index"), jacobian, "1", "Jacobian singular value"),
            "jacobian_median": variable(nets, np.median(jacobian, -1), "1", "its median"),
            "activity": variable((*nets, "layer"), activity, "1", "mean square activity"),
            "activity_last": variable(nets, activity[..., -1], "1", "activity of the last layer"),
            "activity_theory": variable(
                ("gain", "layer"), profile, "1", "mean square activity by mean-field theory"
            ),
            "fixed_point": variable(("gain",), [v.value for v in q], "1", "fixed point q"),
            "fixed_point_error": variable(
                ("gain",), [v.error for v in q], "1", "error of the quadrature"
            ),
        },
        {
            "start": list(RANDOM),
            "seed": np.arange(seeds),
            "product_depth": list(products),
            "gain": variable(("gain",), GAINS, "1", "gain g"),
            "index": variable(("index",), (np.arange(N) + 1) / N, "1", "rank / width"),
            "layer": variable(("layer",), np.arange(L) + 1, "1", "layer"),
        },
    )


@jax.jit
def _tanh_nets(weights: Array, gains: Array, x: Array) -> tuple[Array, Array]:
    def outputs(gain: Array, x: Array) -> Array:
        return jax.lax.scan(lambda h, W: (jnp.tanh(gain * (W @ h)), None), x, weights)[0]

    def one(gain: Array) -> tuple[Array, Array]:
        return (
            spectra.jacobian_spectrum(outputs, gain, x),
            spectra.activity(list(weights), gain, x),
        )

    return jax.vmap(one)(gains)
