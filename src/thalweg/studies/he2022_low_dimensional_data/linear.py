"""Experiments of low-dimensional data with deep linear nets and with least squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core.spectra import layer_product
from thalweg.core.tree import Params, stacked
from thalweg.driver.path import paths
from thalweg.dynamics import gradient_descent
from thalweg.dynamics.dynamics import State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import Model, layer_weights, linear
from thalweg.models.initialisers import decoupled_init
from thalweg.problems import Data, Supervised, supervised
from thalweg.problems.data.planes import coordinate_plane, near_plane
from thalweg.problems.linear_targets import deep_linear_params
from thalweg.theory.linear_nets.low_dimensional import least_squares_normal, settled_normal_norm

TARGET = np.array([1.0, -0.5])
EXAMPLES, WIDTH, LAYER_NORM = 50, 6, 0.6
STEP, RECORDS = 2e-3, 100
UNIT = "output/input"


def problems_of(model: Model, data: Sequence[Data]) -> Supervised:
    """One model on many data sets of one size, stacked along a first axis of the arrays."""
    return stacked([replace(supervised(model, d), source=()) for d in data])


@dataclass(frozen=True)
class Descents:
    """Depths, draws of data and start at each, and steps at the larger step size."""

    depths: tuple[int, ...] = (2, 3, 4)
    seeds: int = 5
    steps: int = 40_000


@experiment(
    "X2",
    Descents(),
    smoke={"depths": (2,), "seeds": 1, "steps": 20_000},
    full={"seeds": 20},
)
def descent(lab: Lab, size: Descents) -> xr.Dataset:
    """Gradient descent on deep linear nets, clean data, at the step size and at half of it."""
    plane, seeds = coordinate_plane(dimension=2, codimension=3), range(size.seeds)
    data = [near_plane(plane, EXAMPLES, lambda x: x @ TARGET, law="normal", seed=s) for s in seeds]

    def trained(depth: int, cut: int) -> xr.Dataset:
        problems = problems_of(linear((WIDTH,) * (depth - 1)), data)
        starts = stacked([balanced_start(depth, 5, seed) for seed in seeds])
        every, dynamics = size.steps * cut // RECORDS, gradient_descent(STEP / cut)
        over = ["problem", "params"]
        found = paths(dynamics, problems, starts, every, RECORDS, observed, over=over)
        w, first = (np.asarray(values) for values in found.seen)
        w_y, whole = np.linalg.norm(w @ plane.normal, axis=-1), np.linalg.norm(w[:, 0], axis=-1)
        fitted = float(np.linalg.norm(TARGET))
        predicted = [
            settled_normal_norm(float(n), float(y), fitted, depth)
            for n, y in zip(whole, w_y[:, 0], strict=True)
        ]
        gap = np.linalg.norm(w[:, -1, :2] - TARGET, axis=-1)
        moved = np.abs((first[:, -1] - first[:, 0]) @ plane.normal).max((1, 2))
        theory = np.tile(predicted, (RECORDS + 1, 1)).T
        words = "||w_y|| after training"
        return table(
            {
                "seed time": {
                    "normal": (w_y, UNIT, "||w_y||"),
                    "predicted_line": (theory, UNIT, f"{words}, by E5, at all times"),
                },
                "seed": {
                    "settled": (w_y[:, -1], UNIT, words),
                    "predicted": (predicted, UNIT, f"{words}, by E5"),
                    "fit": (gap, UNIT, "||w_x - a|| after training"),
                    "moved": (moved, "parameter", "max |B(end) - B(0)|"),
                },
            },
            time=STEP * size.steps / RECORDS * np.arange(RECORDS + 1),
            seed=seeds,
        )

    cuts = ([1, 2], "1", "by what the step size is divided")
    return over(trained, depth=(size.depths, "1", "depth L"), cut=cuts)


def balanced_start(L: int, inputs: int, seed: int) -> list:
    """Balanced layers of rank one and norm 0.6 whose input direction is uniform on the sphere."""
    v = jnp.asarray(np.random.default_rng(seed).normal(size=(inputs, 1)))
    v, key = v / jnp.linalg.norm(v), jax.random.key(seed)
    return deep_linear_params(decoupled_init(jnp.ones((1, 1)), v, LAYER_NORM**L, L, WIDTH, key))


def effective(params: Params) -> Array:
    """The vector W_L ... W_1 of a net with one output."""
    return layer_product(layer_weights(params))[0]


def observed(problem: Any, state: State) -> tuple[Array, Array]:
    """The effective vector and the first layer."""
    return effective(state.params), state.params[0]["weight"]


@dataclass(frozen=True)
class Fits:
    """Samples of a fit, and how many random points each cell has, in as many repeats."""

    samples: tuple[int, ...] = (30, 100, 1000)
    points: int = 4_000_000


@experiment(
    "X2-samples",
    Fits(),
    smoke={"points": 1_000_000},
    full={"samples": (30, 100, 300, 1000, 3000)},
)
def least_squares(lab: Lab, size: Fits) -> xr.Dataset:
    """The normal part of a least-squares fit of sin 3x, x ~ U(-1, 1), d_y = 1."""
    residual = sine_residual()

    def cell(noise: float, n: int) -> xr.Dataset:
        squares = fitted(n, noise, size.points // n) ** 2
        rms = np.sqrt(squares.mean())
        error = squares.std(ddof=1) / np.sqrt(squares.size) / (2 * rms)
        theory = least_squares_normal(residual, noise, n)
        found = {
            "normal": (rms, UNIT, "rms of w_y"),
            "normal_error": (error, UNIT, "standard error over repeats"),
            "normal_theory": (theory, UNIT, "rms of w_y by E9, finite N"),
        }
        return table({"": found})

    noises = ((0.05, 0.1, 0.3), "input", "noise off the plane")
    found = over(cell, noise=noises, n=(size.samples, "1", "samples N"))
    about = {"residual": (residual, "output", "rms of sin 3x less its linear fit")}
    return found.merge(table({"": about}))


def sine_residual() -> float:
    """Root mean square of sin 3x - c x over U(-1, 1) at its best c, by quadrature."""
    x, weight = np.polynomial.legendre.leggauss(40)
    g, weight = np.sin(3 * x), weight / 2
    slope = weight @ (g * x) / (weight @ x**2)
    return float(np.sqrt(weight @ (g - slope * x) ** 2))


def fitted(n: int, noise: float, repeats: int) -> np.ndarray:
    """w_y of fits without intercept on n points, repeat by repeat."""
    rng = np.random.default_rng([n, round(1000 * noise)])
    x, y = rng.uniform(-1, 1, (repeats, n)), noise * rng.standard_normal((repeats, n))
    z = np.stack([x, y], axis=-1)
    normal = np.swapaxes(z, 1, 2)
    return np.linalg.solve(normal @ z, normal @ np.sin(3 * x)[..., None])[:, 1, 0]
