"""Experiments of low-dimensional data with ReLU nets: redrawn columns, noise, weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.tree import Params, lane, stacked
from thalweg.driver.path import paths
from thalweg.dynamics import gradient_descent, optax_dynamics
from thalweg.dynamics.dynamics import Discrete
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import MLP, mlp
from thalweg.models.input_derivatives import first_layer_gradient, normal_derivatives
from thalweg.problems.data.planes import coordinate_plane, near_plane
from thalweg.problems.off_plane import column_change, error_off_plane
from thalweg.studies.he2022_low_dimensional_data.linear import problems_of
from thalweg.theory.linear_nets.low_dimensional import decayed_columns, redrawn_variance

SIZES = {"dimension": 1, "codimension": 2}
INPUTS = 3
NETS: Mapping[str, tuple[int, ...]] = {
    "one hidden": (40,),
    "two hidden": (30, 30),
    "three hidden": (30, 30, 30),
}
STEP, DECAY = 0.1, 1e-3
GRID = np.linspace(-1.0, 1.0, 201)
NOISES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
DRAWN_AT = 0.003  # where sigma = 0 is put on a logarithmic axis
DISTANCES = np.array([0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0])
LANES = ["problem", "params"]
UNIT = "output/input"
SLOPE, ERROR, SPREAD = "rms normal derivative", "rms error", "standard error over seeds"


@dataclass(frozen=True)
class Nets:
    """Which nets, starts of each, steps, and redraws of the normal columns."""

    nets: tuple[str, ...]
    seeds: int
    steps: int
    redraws: int = 2000


def sine(x: np.ndarray) -> np.ndarray:
    """The target sin 3x of tangent coordinates (n, 1)."""
    return np.sin(3 * x)


def network(name: str) -> MLP:
    """A ReLU net with He's start, N(0, 2/fan-in) on every layer, and zero biases."""
    return mlp(NETS[name], "relu", initialiser="he-normal")


def decaying() -> Discrete:
    """Gradient descent with weight decay: theta <- (1 - eta mu) theta - eta grad."""
    transform = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(STEP))
    return optax_dynamics(transform, STEP, "descent with weight decay")


def start_of(name: str, seed: int) -> Params:
    """He's start from this seed."""
    return network(name).init(jax.random.key(seed), (INPUTS,), 1)


@experiment(
    "X4",
    Nets(tuple(NETS), seeds=1, steps=5000),
    smoke={"nets": ("one hidden",), "steps": 500},
    full={"seeds": 5},
)
def clean(lab: Lab, size: Nets) -> xr.Dataset:
    """Nets trained on the line itself; then their normal columns are drawn again and again."""
    plane, seeds = coordinate_plane(**SIZES), range(size.seeds)
    points, variance = jnp.asarray(plane.points(GRID[:, None])), 2 / INPUTS

    def redrawn(net: str) -> xr.Dataset:
        model = network(net)
        problems = problems_of(model, [near_plane(plane, 100, sine, seed=s) for s in seeds])
        starts = stacked([start_of(net, s) for s in seeds])
        path = paths(gradient_descent(STEP), problems, starts, size.steps, 1, over=LANES).seen
        return over(lambda seed: drawn_again(model, lane(path, seed), seed), seed=seeds)

    def drawn_again(model: MLP, path: Params, seed: int) -> xr.Dataset:
        params, rng = lane(path, -1), np.random.default_rng(seed)
        width = len(params[0]["weight"])
        B = np.sqrt(variance) * rng.standard_normal((size.redraws, width, INPUTS - 1))
        found = np.asarray(with_columns(model, params, jnp.asarray(B), points, plane.normal))
        g = np.asarray(first_layer_gradient(model, params, points))
        square, predicted = np.mean(found**2, axis=(0, 2)), redrawn_variance(variance, g)
        gap = np.max(np.abs(found - np.einsum("mwk,nw->mnk", B, g)))
        before, after = path[0]["weight"]
        change = column_change(before, after, plane)
        with np.errstate(divide="ignore", invalid="ignore"):  # where no unit is active
            ratio = square / predicted
        return table(
            {
                "x": {
                    "ratio": (ratio, "1", "mean square of df/dy over its prediction"),
                    "derivative": (np.sqrt(square), UNIT, "rms of df/dy_k over redraws"),
                    "predicted": (np.sqrt(predicted), UNIT, "s ||g_1||, by E10"),
                },
                "": {
                    "gap": (gap, UNIT, "max |df/dy - B^T g_1|"),
                    "moved": (change.largest, "parameter", "max |B - B_0|"),
                    "tangent_change": (change.tangent, "1", "||A - A_0|| / ||A_0||"),
                },
            },
            x=(GRID, "input", "x on the line"),
        )

    error = (np.sqrt(2 / (2 * size.redraws)), "1", "standard error of a mean of squares")
    return over(redrawn, net=size.nets).merge(table({"": {"ratio_error": error}}))


@eqx.filter_jit
def with_columns(
    model: MLP, params: Params, B: Float[Array, "m width dy"], points: Array, normal: Any
) -> Float[Array, "m n dy"]:
    """df/dy with the normal columns of the first layer replaced by each of the given."""
    tangent = params[0]["weight"] @ (jnp.eye(len(normal)) - normal @ normal.T)

    def one(columns: Array) -> Array:
        net = [params[0] | {"weight": tangent + columns @ normal.T}, *params[1:]]
        return normal_derivatives(lambda z: model.apply(net, z), points, normal).value[:, 0]

    return jax.lax.map(one, B, batch_size=20)


@experiment("X4-decay", Nets(("one hidden",), seeds=1, steps=1000), full={"nets": tuple(NETS)})
def decay(lab: Lab, size: Nets) -> xr.Dataset:
    """The normal columns under weight decay on clean data."""
    plane, every = coordinate_plane(**SIZES), size.steps // 10
    data, steps = near_plane(plane, 100, sine), every * np.arange(11)

    def shrunk(net: str) -> xr.Dataset:
        problem = problems_of(network(net), [data])
        path = paths(decaying(), problem, stacked([start_of(net, 0)]), every, 10, over=LANES).seen
        B = np.asarray(path[0]["weight"][0]) @ plane.normal
        gap = np.max(np.abs(B - decayed_columns(B[0], DECAY, STEP, steps)), axis=(1, 2))
        words = "max |B - (1 - eta mu)^k B_0|"
        return table({"step": {"gap": (gap, "parameter", words)}}, step=steps)

    return over(shrunk, net=size.nets)


@experiment(
    "X5",
    Nets(("one hidden", "two hidden"), seeds=3, steps=6000),
    smoke={"nets": ("one hidden",), "seeds": 1, "steps": 3000},
    full={"nets": tuple(NETS), "seeds": 10},
)
def noise_sweep(lab: Lab, size: Nets) -> xr.Dataset:
    """Nets trained on points with noise off the line."""
    return swept(size, gradient_descent(STEP))


@experiment(
    "X6",
    Nets(("one hidden",), seeds=3, steps=6000),
    smoke={"seeds": 1, "steps": 300},
    full={"nets": tuple(NETS), "seeds": 10},
)
def noise_sweep_decay(lab: Lab, size: Nets) -> xr.Dataset:
    """The same with weight decay."""
    return swept(size, decaying())


def swept(size: Nets, dynamics: Discrete, records: int = 30) -> xr.Dataset:
    """Slopes off the line and errors on and off it, over nets, seeds and noise."""
    plane, every = coordinate_plane(**SIZES), size.steps // records
    points, place = plane.points(GRID[:, None]), np.maximum(NOISES, DRAWN_AT)
    lanes = [(seed, noise) for seed in range(size.seeds) for noise in NOISES]
    data = [near_plane(plane, 300, sine, noise, seed=seed) for seed, noise in lanes]

    def one(net: str) -> xr.Dataset:
        model, starts = network(net), stacked([start_of(net, seed) for seed, _ in lanes])
        problems = problems_of(model, data)
        path = paths(dynamics, problems, starts, every, records, over=LANES).seen
        slopes, errors = on_line(model, path, jnp.asarray(points), plane.normal)
        ends = [lane(lane(path, j), -1) for j in range(len(lanes))]
        off = [
            error_off_plane(partial(applied, model, end), sine, plane, GRID[:, None], DISTANCES)
            for end in ends
        ]
        slope, error, away = (
            np.reshape(v, (size.seeds, len(NOISES), -1)) for v in (slopes, errors, off)
        )
        last = {
            "derivative": (slope[..., -1], UNIT, SLOPE),
            "rmse": (error[..., -1], "output", f"{ERROR} on the line"),
        }
        return table(
            {
                "seed noise": last,
                "noise": {name: entry for k, v in last.items() for name, entry in mean(k, *v)}
                | {"place": (place, "input", "noise σ off the line")},
                "noise step": dict(mean("derivative_path", slope, UNIT, SLOPE)),
                "noise distance": dict(mean("off", away, "output", f"{ERROR} off the line")),
            },
            seed=range(size.seeds),
            noise=(NOISES, "input", "noise σ off the line"),
            step=every * np.arange(records + 1),
            distance=(DISTANCES, "input", "distance from the line"),
        )

    return over(one, net=size.nets)


def mean(name: str, values: np.ndarray, unit: str, words: str) -> list[tuple[str, Any]]:
    """The mean over seeds, on the first axis, with its standard error."""
    several = len(values) > 1
    error = values.std(0, ddof=1) / np.sqrt(len(values)) if several else 0 * values[0]
    return [
        (f"{name}_mean", (values.mean(0), unit, f"{words}, mean over seeds")),
        (f"{name}_mean_error", (error, unit, SPREAD)),
    ]


@eqx.filter_jit
def on_line(model: MLP, path: Params, points: Array, normal: Any) -> tuple[Array, Array]:
    """Rms normal derivative and rms error against the target, for every lane and record."""

    def one(params: Params) -> tuple[Array, Array]:
        def f(z: Array) -> Array:
            return model.apply(params, z)

        error = f(points)[:, 0] - jnp.sin(3 * points[:, 0])
        return normal_derivatives(f, points, normal).rms, jnp.sqrt(jnp.mean(error**2))

    return jax.vmap(jax.vmap(one))(path)


@eqx.filter_jit
def applied(model: MLP, params: Params, z: Array) -> Array:
    """The outputs of a net."""
    return model.apply(params, z)
