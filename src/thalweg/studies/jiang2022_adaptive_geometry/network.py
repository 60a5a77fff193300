"""Experiments of adaptive geometry on a small network that reads digits."""

from __future__ import annotations

from collections.abc import Sequence
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
from thalweg.lab.study import Lab, variable
from thalweg.models import Applied
from thalweg.problems import Supervised, supervised
from thalweg.problems.data.images import digit_images
from thalweg.studies.jiang2022_adaptive_geometry.linear import OPTIMISERS
from thalweg.theory.landscape import adaptive_geometry

WIDTHS = (64, 64, 64, 64, 10)
LAYERS = np.arange(1, len(WIDTHS))
SEEDS = (0, 1, 2, 7)
LEVELS = (1.4, 0.24, 0.05)
STEPS = 250
FULL_SEEDS = tuple(range(10))
FULL_LEVELS = (2.0, 1.6, 1.4, 1.2, 0.8, 0.5, 0.3, 0.24, 0.1, 0.05, 0.02)
FULL_STEPS = 600
FULL_PRODUCTS = {10: 128, 30: 64, 100: 64, 300: 32, 1000: 16}
SAMPLE = 200
PRODUCTS = {10: 64, 30: 24, 100: 16}  # of Hutchinson's estimator, and how often it is drawn


def forward(params: Sequence[Array], x: Float[Array, "n in"]) -> Float[Array, "n out"]:
    """The net x -> gelu(... gelu(x W_1) ...) W_n, exact GELU, no biases."""
    for W in params[:-1]:
        x = jax.nn.gelu(x @ W, approximate=False)
    return x @ params[-1]


def network(seed: int) -> tuple[Supervised, Coordinates]:
    """The net at its start, N(0, 1/fan-in), and the coordinates that are looked at."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=shape) / np.sqrt(shape[0]) for shape in pairwise(WIDTHS)]
    coordinates = sampled_coordinates(weights, SAMPLE, rng)
    data = digit_images(standardize="none")
    images = data.inputs[:1000], data.targets[:1000]
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


def matched_runs(lab: Lab, seed: int, steps: int, levels: Sequence[float]) -> Matched:
    """Train by both optimisers, losses at every step, then again to the matched steps alone.

    Training is deterministic, and parameters at every step would fill the disk.
    """
    problem, coordinates = network(seed)
    runs = []
    for name in OPTIMISERS:
        dynamics = optimiser(name, seed)
        options = {"times": dynamics.clock(np.arange(steps + 1)), "parameters": False}
        runs.append(lab.run(f"X2-{_slug(name)}-{seed}-losses", problem, dynamics, **options))
    table = matched_records(runs[0], runs[1], levels).isel(seed=0)
    points = tuple(
        _points(lab, problem, name, seed, table[f"{side}_record"].values)
        for name, side in zip(OPTIMISERS, ("left", "right"), strict=True)
    )
    losses = np.stack([run.dataset["loss"].values[0] for run in runs])
    return Matched(problem, coordinates, losses, table, points)


def _points(lab: Lab, problem: Supervised, name: str, seed: int, steps: np.ndarray) -> list[Params]:
    """The parameters after each of the given numbers of steps."""
    dynamics = optimiser(name, seed)
    unique, back = np.unique(steps, return_inverse=True)
    times = dynamics.clock(unique)
    run = lab.run(f"X2-{_slug(name)}-{seed}-points", problem, dynamics, times=times)
    unravel = ravel_pytree(problem.init(jax.random.key(0)))[1]
    return [unravel(jnp.asarray(theta)) for theta in run.parameters.values[0][back]]


def _slug(name: str) -> str:
    return name.split()[0].lower()


def network_ratios(lab: Lab) -> xr.Dataset:
    """X2: the diagonal of the Hessian in every layer, for both optimisers at equal losses."""
    seeds = FULL_SEEDS if lab.full else SEEDS
    levels = FULL_LEVELS if lab.full else LEVELS
    steps = FULL_STEPS if lab.full else STEPS
    found = [at_levels(matched_runs(lab, seed, steps, levels)) for seed in seeds]
    return xr.concat(found, xr.Variable("seed", list(seeds)), join="exact")


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
    at, layered = ("optimiser", "level"), ("optimiser", "level", "layer")
    matched = [runs.table[f"{side}_loss"].values for side in ("left", "right")]
    steps = [runs.table[f"{side}_record"].values for side in ("left", "right")]

    def of(rows: list, field: str, words: str) -> xr.Variable:
        values = [[[getattr(r, field) for r in point] for point in run] for run in rows]
        return variable(layered, values, "1", words)

    return xr.Dataset(
        {
            "ratio": of(ratios, "value", "R_med, largest over median entry"),
            "zeros": of(ratios, "zeros", "share of entries that are 0"),
            "left": of(vectors, "left", "max/median of u_i^2, leading left singular vector"),
            "right": of(vectors, "right", "max/median of v_j^2, leading right singular vector"),
            "second_share": of(vectors, "second_share", "sigma_2/sigma_1"),
            "matched_loss": variable(at, matched, "nat", "loss of the matched iterate"),
            "matched_step": variable(at, steps, "1", "its step"),
            "mismatch": variable("level", runs.table["mismatch"], "1", "gap of losses / level"),
            "loss": variable(("optimiser", "step"), runs.losses, "nat", "training loss"),
        },
        {
            "optimiser": list(OPTIMISERS),
            "level": variable("level", runs.table["level"], "nat", "training loss matched"),
            "layer": LAYERS,
            "step": variable("step", np.arange(runs.losses.shape[1]), "1", "steps taken"),
        },
    )


def estimators(lab: Lab) -> xr.Dataset:
    """X2-estimators: Hutchinson's diagonal beside the exact one, where Adam has loss 0.05."""
    runs = matched_runs(lab, 0, STEPS, LEVELS)
    point = runs.points[OPTIMISERS.index("Adam")][-1]
    marks = coordinate_marks(point, runs.coordinates)
    read = diagonal(hessian(runs.problem, point, marks), jax.random.key(0), method="exact")
    exact = by_layer(read.value)
    places = np.flatnonzero(ravel_pytree(marks)[0])
    products = FULL_PRODUCTS if lab.full else PRODUCTS
    whole = hessian(runs.problem, point)
    rows = [hutchinson_errors(whole, exact, places, n, draws) for n, draws in products.items()]
    dims = ("products", "layer")
    names = (
        ("error", "||estimate - diagonal|| / ||diagonal||, rms"),
        ("error_error", "standard error over draws"),
        ("error_told", "the same from the standard errors of the estimate"),
        ("ratio", "R_med of the estimate, mean over draws"),
    )
    found = {
        name: variable(dims, np.stack(column), "1", words)
        for column, (name, words) in zip(zip(*rows, strict=True), names, strict=True)
    }
    found["ratio_exact"] = variable("layer", max_over_median(exact), "1", "R_med, exact entries")
    axis = variable("products", list(products), "1", "Hessian products n")
    return xr.Dataset(found, {"products": axis, "layer": LAYERS})


def by_layer(entries: Float[Array, " p"]) -> Float[Array, "layer sample"]:
    """Entries at the coordinates of all layers, layer by layer."""
    return entries.reshape(len(LAYERS), SAMPLE)


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
