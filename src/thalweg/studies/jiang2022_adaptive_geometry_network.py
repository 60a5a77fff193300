"""Experiments of adaptive geometry on a small network that reads digits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import jax
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.result import Reading
from thalweg.core.tree import Params
from thalweg.curvature import diagonal, hessian
from thalweg.curvature.diagonal_ratio import (
    Coordinates,
    block_ratios,
    coordinate_marks,
    diagonal_ratio,
    sampled_coordinates,
)
from thalweg.dynamics import optax_dynamics
from thalweg.dynamics.dynamics import Discrete
from thalweg.matched_loss import matched_records
from thalweg.models import Applied
from thalweg.problems import Supervised, supervised
from thalweg.problems.images import digits
from thalweg.studies.jiang2022_adaptive_geometry_linear import OPTIMISERS
from thalweg.studies.study import Lab, variable
from thalweg.theory import adaptive_geometry
from thalweg.trajectory import Trajectory

WIDTHS = (64, 64, 64, 64, 10)
LAYERS = np.arange(1, len(WIDTHS))
SEEDS = (0, 1, 2, 7)
LEVELS = (1.4, 0.24, 0.05)
STEPS = 250
SAMPLE = 200
PRODUCTS = {10: 32, 30: 16, 100: 8}  # of Hutchinson's estimator, and how often it is drawn


def forward(params: Sequence[Array], x: Float[Array, "n in"]) -> Float[Array, "n out"]:
    """x -> gelu(... gelu(x W_1) ...) W_n, exact GELU, no biases."""
    for W in params[:-1]:
        x = jax.nn.gelu(x @ W, approximate=False)
    return x @ params[-1]


def network(seed: int) -> tuple[Supervised, Coordinates]:
    """The net at its start, N(0, 1/fan-in), and the coordinates that are looked at."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=shape) / np.sqrt(shape[0]) for shape in pairwise(WIDTHS)]
    coordinates = sampled_coordinates(weights, SAMPLE, rng)
    data = digits(standardize="none")
    images = data.inputs[:1000], data.targets[:1000]
    return supervised(Applied(forward, start=weights), images, precision="float32"), coordinates


def optimiser(name: str, seed: int) -> Discrete:
    """One of the two optimisers; seed 7 takes half the step sizes of the others."""
    return _with_rate(name, (0.5 if seed == 7 else 1.0) * {"Adam": 1e-3}.get(name, 0.1))


@cache  # one transformation per rate, so that what was compiled with it is found again
def _with_rate(name: str, rate: float) -> Discrete:
    transform = optax.adam(rate) if name == "Adam" else optax.sgd(rate, momentum=0.9)
    return optax_dynamics(transform, rate, name)


def trained(
    lab: Lab, name: str, seed: int, steps: int, levels: Sequence[float]
) -> dict[str, Trajectory]:
    """Both optimisers from one start: losses at every step."""
    raise NotImplementedError
