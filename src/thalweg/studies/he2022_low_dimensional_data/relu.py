"""Experiments of low-dimensional data with ReLU nets: redrawn columns, noise, weight decay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.tree import Params
from thalweg.dynamics import gradient_descent, optax_dynamics
from thalweg.dynamics.dynamics import Discrete
from thalweg.lab.study import Lab, variable
from thalweg.models import MLP, mlp
from thalweg.models.input_derivatives import first_layer_gradient, normal_derivatives
from thalweg.problems.data.planes import coordinate_plane, near_plane
from thalweg.problems.off_plane import column_change, error_off_plane
from thalweg.studies.he2022_low_dimensional_data.training import follow, problems_of, stacked
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
EXAMPLES, STEPS, REDRAWS, DECAY_STEPS = 100, 5000, 2000, 1000
NOISES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
DRAWN_AT = 0.003  # where sigma = 0 is put on a logarithmic axis
SWEEP_NETS = ("one hidden", "two hidden")
SWEEP_EXAMPLES, SWEEP_STEPS, SWEEP_RECORDS, SEEDS = 300, 6000, 30, 3
DISTANCES = np.array([0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0])
UNIT = "output/input"


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


def clean(lab: Lab) -> xr.Dataset:
    """X4: nets trained on the line itself; then their normal columns are drawn again and again."""
    seeds = 5 if lab.full else 1
    parts = [_redrawn(name, range(seeds)) for name in NETS]
    return xr.concat(parts, xr.Variable("net", list(NETS)))


def _redrawn(name: str, seeds: Sequence[int]) -> xr.Dataset:
    plane = coordinate_plane(**SIZES)
    points, model = jnp.asarray(plane.points(GRID[:, None])), network(name)
    problems = problems_of(model, [near_plane(plane, EXAMPLES, sine, seed=s) for s in seeds])
    starts = stacked([start_of(name, s) for s in seeds])
    paths = follow(problems, starts, gradient_descent(STEP), STEPS, 1)
    rows = [
        _one_redrawn(model, _at(paths, j), points, plane.normal, s) for j, s in enumerate(seeds)
    ]
    changes = [column_change(W[0], W[-1], plane) for W in paths[0]["weight"]]
    ratio, derivative, predicted, gap = (np.array(column) for column in zip(*rows, strict=True))
    per_point, error = ("seed", "x"), np.sqrt(2 / (2 * REDRAWS))
    return xr.Dataset(
        {
            "ratio": variable(per_point, ratio, "1", "mean square of df/dy over its prediction"),
            "ratio_error": variable((), error, "1", "standard error of a mean of squares"),
            "derivative": variable(per_point, derivative, UNIT, "rms of df/dy_k over redraws"),
            "predicted": variable(per_point, predicted, UNIT, "s ||g_1||, by E10"),
            "gap": variable("seed", gap, UNIT, "max |df/dy - B^T g_1|"),
            "moved": variable("seed", [c.largest for c in changes], "parameter", "max |B - B_0|"),
            "tangent_change": variable(
                "seed", [c.tangent for c in changes], "1", "||A - A_0|| / ||A_0||"
            ),
        },
        {"seed": list(seeds), "x": variable("x", GRID, "input", "x on the line")},
    )


def _one_redrawn(
    model: MLP, path: Params, points: Array, normal: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Ratio to E10, rms over redraws, its prediction, and gap to B^T g_1, at every point."""
    params = jax.tree.map(lambda leaf: leaf[-1], path)
    variance = 2 / INPUTS
    width, rng = len(params[0]["weight"]), np.random.default_rng(seed)
    B = np.sqrt(variance) * rng.standard_normal((REDRAWS, width, normal.shape[1]))
    found = np.asarray(_with_columns(model, params, jnp.asarray(B), points, jnp.asarray(normal)))
    g = np.asarray(first_layer_gradient(model, params, points))
    mean_square = np.mean(found**2, axis=(0, 2))
    predicted = redrawn_variance(variance, g)
    gap = np.max(np.abs(found - np.einsum("mwk,nw->mnk", B, g)))
    with np.errstate(divide="ignore", invalid="ignore"):  # where no unit is active
        ratio = mean_square / predicted
    return ratio, np.sqrt(mean_square), np.sqrt(predicted), float(gap)


@jax.jit(static_argnums=0)
def _with_columns(
    model: MLP, params: Params, B: Float[Array, "m width dy"], points: Array, normal: Array
) -> Float[Array, "m n dy"]:
    """df/dy with the normal columns of the first layer replaced by each of the given."""
    tangent = params[0]["weight"] @ (jnp.eye(len(normal)) - normal @ normal.T)

    def one(columns: Array) -> Array:
        net = [params[0] | {"weight": tangent + columns @ normal.T}, *params[1:]]
        return normal_derivatives(lambda z: model.apply(net, z), points, normal).value[:, 0]

    return jax.lax.map(one, B, batch_size=20)


def decay(lab: Lab) -> xr.Dataset:
    """X4-decay: the normal columns under weight decay on clean data, in every net."""
    plane = coordinate_plane(**SIZES)
    data, records = near_plane(plane, EXAMPLES, sine), 10
    nets = tuple(NETS) if lab.full else tuple(NETS)[:1]
    gaps, norms = [], []
    for name in nets:
        problems, starts = problems_of(network(name), [data]), stacked([start_of(name, 0)])
        path = follow(problems, starts, decaying(), DECAY_STEPS // records, records)
        B = np.asarray(path[0]["weight"][0]) @ plane.normal
        steps = np.arange(records + 1) * (DECAY_STEPS // records)
        gaps.append(np.max(np.abs(B - decayed_columns(B[0], DECAY, STEP, steps)), axis=(1, 2)))
        norms.append(np.linalg.norm(B, axis=(1, 2)) / np.linalg.norm(B[0]))
    dims = ("net", "step")
    return xr.Dataset(
        {
            "gap": variable(dims, gaps, "parameter", "max |B - (1 - eta mu)^k B_0|"),
            "norm": variable(dims, norms, "1", "||B|| / ||B_0||"),
        },
        {"net": list(nets), "step": variable("step", steps, "1", "steps taken")},
    )


def noise_sweep(lab: Lab) -> xr.Dataset:
    """X5: nets trained on points with noise off the line."""
    return _sweep(tuple(NETS) if lab.full else SWEEP_NETS, gradient_descent(STEP), lab)


def noise_sweep_decay(lab: Lab) -> xr.Dataset:
    """X6: the same with weight decay."""
    return _sweep(tuple(NETS) if lab.full else SWEEP_NETS[:1], decaying(), lab)


def _sweep(nets: Sequence[str], dynamics: Discrete, lab: Lab) -> xr.Dataset:
    seeds = range(10 if lab.full else SEEDS)
    parts = [_swept(name, dynamics, seeds) for name in nets]
    return xr.concat(parts, xr.Variable("net", list(nets)))


def _swept(name: str, dynamics: Discrete, seeds: Sequence[int]) -> xr.Dataset:
    plane = coordinate_plane(**SIZES)
    lanes = [(seed, noise) for seed in seeds for noise in NOISES]
    data = [near_plane(plane, SWEEP_EXAMPLES, sine, noise, seed=seed) for seed, noise in lanes]
    model = network(name)
    starts = stacked([start_of(name, seed) for seed, _ in lanes])
    every = SWEEP_STEPS // SWEEP_RECORDS
    path = follow(problems_of(model, data), starts, dynamics, every, SWEEP_RECORDS)
    points = jnp.asarray(plane.points(GRID[:, None]))
    slopes, errors = _on_plane(model, path, points, jnp.asarray(plane.normal))
    errors_off = [
        error_off_plane(_frozen(model, _at(path, j)), sine, plane, GRID[:, None], DISTANCES)
        for j in range(len(lanes))
    ]
    dims, shape = ("seed", "noise"), (len(seeds), len(NOISES))
    slopes, errors = (np.asarray(v).reshape(*shape, -1) for v in (slopes, errors))
    off = np.reshape(errors_off, (*shape, -1))
    slope, error = "rms normal derivative", "rms error on the line"
    return xr.Dataset(
        {
            "derivative": variable(dims, slopes[..., -1], UNIT, slope),
            "rmse": variable(dims, errors[..., -1], "output", error),
            **_mean("derivative_mean", slopes[..., -1], "noise", UNIT, slope),
            **_mean("rmse_mean", errors[..., -1], "noise", "output", error),
            **_mean("derivative_path", slopes, ("noise", "step"), UNIT, slope),
            **_mean("off", off, ("noise", "distance"), "output", "rms error off the line"),
            "place": variable("noise", np.maximum(NOISES, DRAWN_AT), "input", "noise, drawn at"),
        },
        {
            "seed": list(seeds),
            "noise": list(NOISES),
            "step": variable("step", every * np.arange(SWEEP_RECORDS + 1), "1", "steps taken"),
            "distance": variable("distance", DISTANCES, "input", "distance from the line"),
        },
    )


@jax.jit(static_argnums=0)
def _on_plane(model: MLP, paths: Params, points: Array, normal: Array) -> tuple[Array, Array]:
    """Rms normal derivative and rms error against the target, for every lane and record."""

    def one(params: Params) -> tuple[Array, Array]:
        def f(z: Array) -> Array:
            return model.apply(params, z)

        error = f(points)[:, 0] - jnp.sin(3 * points[:, 0])
        return normal_derivatives(f, points, normal).rms, jnp.sqrt(jnp.mean(error**2))

    return jax.vmap(jax.vmap(one))(paths)


def _mean(
    name: str, values: np.ndarray, dims: Any, unit: str, words: str
) -> dict[str, xr.Variable]:
    """The mean over seeds, on the first axis, with its standard error."""
    error = values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0 * values[0]
    return {
        name: variable(dims, values.mean(0), unit, f"{words}, mean over seeds"),
        f"{name}_error": variable(dims, error, unit, "standard error over seeds"),
    }


def _frozen(model: MLP, path: Params) -> Callable[[Array], Array]:
    """The net at the end of a path, as a compiled function of its inputs."""
    last = jax.tree.map(lambda leaf: leaf[-1], path)
    return lambda z: _apply(model, last, z)


@jax.jit(static_argnums=0)
def _apply(model: MLP, params: Params, z: Array) -> Array:
    return model.apply(params, z)


def _at(paths: Params, lane: int) -> Params:
    """The path of one lane."""
    return jax.tree.map(lambda leaf: leaf[lane], paths)
