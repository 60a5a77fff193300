"""Experiments of adaptive geometry on a small network that reads digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.comparison.equal_loss import matched_records
from thalweg.core.sampling import student_factor
from thalweg.core.tree import Params
from thalweg.curvature import Operator, diagonal, hessian
from thalweg.curvature.diagonal_ratio import (
    Coordinates,
    block_ratios,
    coordinate_marks,
    max_over_median,
    sampled_coordinates,
)
from thalweg.dynamics import optax_dynamics
from thalweg.dynamics.dynamics import Discrete
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import Applied
from thalweg.problems import Supervised, supervised
from thalweg.problems.data.images import digit_images
from thalweg.problems.problem import unraveller
from thalweg.studies.jiang2022_adaptive_geometry.linear import OPTIMISERS, R_MED
from thalweg.theory.landscape import adaptive_geometry

WIDTHS = (64, 64, 64, 64, 10)
LAYERS = np.arange(1, len(WIDTHS))


@dataclass(frozen=True)
class Training:
    """Starts and how long they are trained, losses that are matched, what is looked at.

    Attributes:
        seeds: Of the starts.
        steps: Of either optimiser.
        levels: Losses (nat).
        images: Examples.
        sample: Coordinates of each layer whose diagonal entries are taken.
        products: Of Hutchinson's estimator, and how often it is drawn.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 7)
    steps: int = 250
    levels: tuple[float, ...] = (1.4, 0.24, 0.05)
    images: int = 1000
    sample: int = 200
    products: tuple[tuple[int, int], ...] = ((10, 64), (30, 24), (100, 16))


SHORT = {"seeds": (0,), "steps": 70, "levels": (1.4, 0.24), "sample": 50, "images": 100}
ALL_LEVELS = (2.0, 1.6, 1.4, 1.2, 0.8, 0.5, 0.3, 0.24, 0.1, 0.05, 0.02)
ALL_PRODUCTS = ((10, 128), (30, 64), (100, 64), (300, 32), (1000, 16))


def forward(params: Sequence[Array], x: Float[Array, "n in"]) -> Float[Array, "n out"]:
    """The net x -> gelu(... gelu(x W_1) ...) W_n, exact GELU, no biases."""
    for W in params[:-1]:
        x = jax.nn.gelu(x @ W, approximate=False)
    return x @ params[-1]


def network(seed: int, size: Training) -> tuple[Supervised, Coordinates]:
    """The net at its start, N(0, 1/fan-in), and the coordinates that are looked at."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=shape) / np.sqrt(shape[0]) for shape in pairwise(WIDTHS)]
    coordinates = sampled_coordinates(weights, size.sample, rng)
    data = digit_images(standardize="none")
    images = data.inputs[: size.images], data.targets[: size.images]
    return supervised(Applied(forward, start=weights), images, precision="float32"), coordinates


def optimiser(name: str, seed: int) -> Discrete:
    """One of the two optimisers; seed 7 takes half the step sizes of the others."""
    return _with_rate(name, (0.5 if seed == 7 else 1.0) * {"Adam": 1e-3}.get(name, 0.1))


@cache  # one transformation per rate, so that what was compiled with it is found again
def _with_rate(name: str, rate: float) -> Discrete:
    transform = optax.adam(rate) if name == "Adam" else optax.sgd(rate, momentum=0.9)
    return optax_dynamics(transform, rate, name)


class Matched(NamedTuple):
    """Two runs from one start at equal losses, optimisers in the order of `OPTIMISERS`.

    Attributes:
        problem: What was trained.
        coordinates: Which entries of the diagonal are looked at.
        losses: Shape (optimiser, step).
        table: `matched_records` of the two, dims (level,).
        points: The parameters of each optimiser at each level.
    """

    problem: Supervised
    coordinates: Coordinates
    losses: np.ndarray
    table: xr.Dataset
    points: tuple[list[Params], ...]


def matched_runs(lab: Lab, seed: int, size: Training) -> Matched:
    """Train by both optimisers, losses at every step, then again to the matched steps alone.

    Training is deterministic, and parameters at every step would fill the disk.
    """
    problem, coordinates = network(seed, size)
    runs = []
    for name in OPTIMISERS:
        dynamics, place = optimiser(name, seed), f"{name.split()[0].lower()}-{seed}-losses"
        times = dynamics.clock(np.arange(size.steps + 1))
        runs.append(lab.run(place, problem, dynamics, times=times, parameters=False))
    matched = matched_records(runs[0], runs[1], size.levels).isel(seed=0)
    points = tuple(
        _points(lab, problem, name, seed, matched[f"{side}_record"].values)
        for name, side in zip(OPTIMISERS, ("left", "right"), strict=True)
    )
    losses = np.stack([run.dataset["loss"].values[0] for run in runs])
    return Matched(problem, coordinates, losses, matched, points)


def _points(lab: Lab, problem: Supervised, name: str, seed: int, steps: np.ndarray) -> list[Params]:
    """The parameters after each of the given numbers of steps."""
    dynamics, place = optimiser(name, seed), f"{name.split()[0].lower()}-{seed}-points"
    unique, back = np.unique(steps, return_inverse=True)
    run = lab.run(place, problem, dynamics, times=dynamics.clock(unique))
    unravel = unraveller(problem)
    return [unravel(jnp.asarray(theta)) for theta in run.parameters.values[0][back]]


@experiment(
    "X2",
    Training(),
    smoke=SHORT,
    full={"seeds": tuple(range(10)), "levels": ALL_LEVELS, "steps": 600},
)
def network_ratios(lab: Lab, size: Training) -> xr.Dataset:
    """The diagonal of the Hessian in every layer, for both optimisers at equal losses."""
    return over(lambda seed: at_levels(matched_runs(lab, seed, size)), seed=size.seeds)


def at_levels(runs: Matched) -> xr.Dataset:
    """One seed: R_med and the singular vectors of every layer at every level."""
    ratios = [
        [list(block_ratios(runs.problem, p, runs.coordinates).values()) for p in points]
        for points in runs.points
    ]
    vectors = [
        [[adaptive_geometry.singular_vector_uniformity(W.T) for W in p] for p in points]
        for points in runs.points
    ]
    matched, steps = (
        [runs.table[f"{side}_{what}"].values for side in ("left", "right")]
        for what in ("loss", "record")
    )

    def of(rows: list, field: str, words: str) -> tuple[list, str, str]:
        return [[[getattr(r, field) for r in point] for point in run] for run in rows], "1", words

    layers = {
        "ratio": of(ratios, "value", R_MED),
        "zeros": of(ratios, "zeros", "share of entries that are 0"),
        "left": of(vectors, "left", "max/median of u_i^2, leading left singular vector"),
        "right": of(vectors, "right", "max/median of v_j^2, leading right singular vector"),
        "second_share": of(vectors, "second_share", "sigma_2/sigma_1"),
    }
    at = {
        "matched_loss": (matched, "nat", "loss of the matched iterate"),
        "matched_step": (steps, "1", "its step"),
    }
    gaps = {"mismatch": (runs.table["mismatch"].values, "1", "gap of losses / level")}
    losses = {"loss": (runs.losses, "nat", "training loss")}
    return table(
        {
            "optimiser level layer": layers,
            "optimiser level": at,
            "level": gaps,
            "optimiser step": losses,
        },
        optimiser=OPTIMISERS,
        level=(runs.table["level"].values, "nat", "training loss"),
        layer=LAYERS,
        step=range(runs.losses.shape[1]),
    )


@experiment(
    "X2-estimators",
    Training(seeds=(0,)),
    smoke=SHORT | {"products": ((10, 128), (100, 32))},
    full={"products": ALL_PRODUCTS},
)
def estimators(lab: Lab, size: Training) -> xr.Dataset:
    """Hutchinson's diagonal beside the exact one, where Adam has the smallest loss."""
    runs = matched_runs(lab, size.seeds[0], size)
    point = runs.points[OPTIMISERS.index("Adam")][-1]
    marks = coordinate_marks(point, runs.coordinates)
    read = diagonal(hessian(runs.problem, point, marks), jax.random.key(0), method="exact")
    exact = by_layer(read.value)
    places = np.flatnonzero(ravel_pytree(marks)[0])
    whole = hessian(runs.problem, point)

    def one(products: int) -> xr.Dataset:
        rms, spread, told, ratio = hutchinson_errors(
            whole, exact, places, products, draws[products]
        )
        found = {
            "error": (rms, "1", "||estimate - diagonal|| / ||diagonal||, rms"),
            "error_error": (spread, "1", "standard error over draws"),
            "error_told": (told, "1", "the same from the standard errors of the estimate"),
            "ratio": (ratio, "1", "R_med of the estimate, mean over draws"),
        }
        return table({"layer": found}, layer=LAYERS)

    draws = dict(size.products)
    found = over(one, products=(list(draws), "1", "Hessian products n"))
    entries = {"ratio_exact": (max_over_median(exact), "1", "R_med, exact entries")}
    return found.merge(table({"layer": entries}, layer=LAYERS))


def by_layer(entries: Float[Array, " p"]) -> Float[Array, "layer sample"]:
    """Entries at the coordinates of all layers, layer by layer."""
    return entries.reshape(len(LAYERS), -1)


def hutchinson_errors(
    whole: Operator, exact: Float[Array, "layer sample"], places: np.ndarray, n: int, draws: int
) -> tuple[np.ndarray, ...]:
    """Relative error of an estimate in each layer, rms over draws, with its error; its R_med."""
    missed, told, ratios = [], [], []
    size = jnp.sum(exact**2, axis=1)
    for key in jax.random.split(jax.random.key(n), draws):
        read = diagonal(whole, key, method="hutchinson", products=n)
        value, error = by_layer(read.value[places]), by_layer(read.error[places])
        error = error / student_factor(n)  # the standard error itself
        missed.append(jnp.sum((value - exact) ** 2, axis=1) / size)
        told.append(jnp.sum(error**2, axis=1) / size)
        ratios.append(max_over_median(value))
    rms = np.sqrt(np.mean(missed, axis=0))
    spread = np.std(missed, axis=0, ddof=1) / np.sqrt(draws) / (2 * rms)
    return rms, spread, np.sqrt(np.mean(told, axis=0)), np.mean(ratios, axis=0)
