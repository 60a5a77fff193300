"""The optimiser: an autoencoder of digits under K-FAC and tuned first-order methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.driver.path import paths
from thalweg.dynamics import kfac, optimiser
from thalweg.dynamics.dynamics import Discrete, State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import table
from thalweg.models import Applied
from thalweg.problems import Decayed, Problem, digit_images, mnist5k_images, supervised

WIDTHS = (64, 100, 50, 10, 50, 100, 64)
MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST, by which `mnist5k_images` are standardised
INCOMING, L2 = 15, 1e-5
PAPER: dict[str, Any] = {
    "damping_decay": 0.95, "gamma_decay": 0.95**0.5, "refresh": 20,
    "factor_examples": 10**6,  # all, as in the specification
    "history": 0,
}  # fmt: skip
METHODS = ("K-FAC", "K-FAC, tridiagonal", "K-FAC without momentum", "K-FAC, own damping")
RATES = {"Nesterov": (1e-3, 3e-3, 1e-2, 3e-2), "Adam": (1e-3, 3e-3, 1e-2)}


def autoencoder(weights: list[dict[str, Array]], x: Array) -> Array:
    """Tanh layers; the code in the middle and the logits of the pixels are linear."""
    for i, layer in enumerate(weights):
        x = x @ layer["weight"].T + layer["bias"][None]
        if i + 1 not in (len(weights) // 2, len(weights)):
            x = jnp.tanh(x)
    return x


def sparse_start(widths: Sequence[int], seed: int) -> list[dict[str, Array]]:
    """15 Gaussian weights into each unit, zero biases."""
    rng, layers = np.random.default_rng(seed), []
    for fan_in, units in pairwise(widths):
        W = np.zeros((units, fan_in))
        few = min(INCOMING, fan_in)
        for row in W:
            chosen = rng.choice(fan_in, few, replace=False)
            row[chosen] = rng.normal(size=few)
        layers.append({"weight": jnp.asarray(W), "bias": jnp.zeros(units)})
    return layers


def problem_of(images: np.ndarray, widths: Sequence[int]) -> Problem:
    """Pixels as coins, summed over an image, mean over images, with the paper's weight decay."""
    model = Applied(autoencoder, start=sparse_start(widths, 0))
    return Decayed(supervised(model, (images, images), "binary-cross-entropy"), jnp.asarray(L2))


def digits(images: int) -> np.ndarray:
    """8x8 digits in [0, 1]."""
    return np.asarray(digit_images(standardize="none").inputs[:images])


def entropy(images: np.ndarray) -> float:
    """The least that h can be: what coins of grey pixels leave open."""
    x = np.clip(images, 1e-300, 1)
    y = np.clip(1 - images, 1e-300, 1)
    return float(np.mean(np.sum(-images * np.log(x) - (1 - images) * np.log(y), axis=1)))


def method(name: str) -> Discrete:
    """K-FAC with the paper's constants, or with its own damping."""
    if name == "K-FAC, own damping":
        return kfac()
    structure = "tridiagonal" if "tridiagonal" in name else "diagonal"
    momentum = 0.0 if "without" in name else None
    return kfac(150.0, structure=structure, momentum=momentum, **PAPER)


def seen(problem: Problem, state: State) -> tuple[Any, Any]:
    """The objective, and the squared error of the reconstruction."""
    data = problem.problem  # type: ignore[attr-defined]
    x = jax.nn.sigmoid(data.outputs(state.params))
    return problem.objective(state.params), jnp.mean(jnp.sum((x - data.targets) ** 2, axis=1))


@dataclass(frozen=True)
class Autoencoder:
    """Images, widths of the net, seeds, and how far."""

    images: int = 1797
    widths: tuple[int, ...] = WIDTHS
    seeds: int = 1
    own_seeds: int = 3
    records: int = 20
    every: int = 10


def followed(
    dynamics: Discrete, problem: Problem, start: Any, every: int, records: int, seed: int = 0
) -> Any:
    """H and reconstruction error along a run, and the state at its end."""
    key = jax.random.key(seed)
    path = paths(dynamics, problem, start, every, records, seen, key, over=())
    return (*map(np.asarray, path.seen), path.last)


def along(dynamics: Discrete, problem: Problem, size: Autoencoder, seed: int) -> Any:
    """The run of a seed: its start and its draws."""
    start = sparse_start(size.widths, seed)
    return followed(dynamics, problem, start, size.every, size.records, seed)


SMOKE = {"images": 60, "widths": (64, 10, 64), "own_seeds": 1, "records": 2, "every": 5}


@experiment("X2", Autoencoder(), smoke=SMOKE, full={"seeds": 3, "own_seeds": 5})
def kronecker(lab: Lab, size: Autoencoder) -> xr.Dataset:
    """K-FAC with the paper's constants, in three kinds, over iterations."""
    problem = problem_of(digits(size.images), size.widths)
    h, error, last = [], [], []
    for name in METHODS[:3]:
        runs = [along(method(name), problem, size, seed) for seed in range(size.seeds)]
        h.append([run[0] for run in runs])
        error.append([run[1] for run in runs])
        last.append([float(run[2].memory.damping) for run in runs])
    values = {
        "h": (h, "loss", "objective"),
        "reconstruction": (error, "pixel^2", "squared error of the reconstruction"),
    }
    ends = {"damping": (last, "loss/parameter^2", "damping at the end")}
    return table(
        {"method seed step": values, "method seed": ends},
        method=list(METHODS[:3]),
        seed=range(size.seeds),
        step=size.every * np.arange(size.records + 1),
    )


@experiment("X2-own", Autoencoder(), smoke=SMOKE, full={"own_seeds": 5})
def own_damping(lab: Lab, size: Autoencoder) -> xr.Dataset:
    """K-FAC that finds its own damping, nothing tuned."""
    problem = problem_of(digits(size.images), size.widths)
    runs = [along(kfac(), problem, size, seed) for seed in range(size.own_seeds)]
    values = {
        "h": ([run[0] for run in runs], "loss", "objective"),
        "reconstruction": ([run[1] for run in runs], "pixel^2", "squared error, reconstruction"),
    }
    floor = {"floor": (entropy(digits(size.images)), "loss", "entropy of the pixels")}
    return table(
        {"seed step": values, "": floor},
        seed=range(size.own_seeds),
        step=size.every * np.arange(size.records + 1),
    )


@experiment("X2-baselines", Autoencoder(), smoke=SMOKE, full={"seeds": 3})
def baselines(lab: Lab, size: Autoencoder) -> xr.Dataset:
    """Nesterov momentum and Adam, the best of their grids at the end."""
    problem = problem_of(digits(size.images), size.widths)
    rates = RATES["Nesterov"]
    tried = {
        "Nesterov": [optimiser("nesterov", r, momentum=m) for r in rates for m in (0.9, 0.99)],
        "Adam": [optimiser("adam", r) for r in RATES["Adam"]],
    }
    best = []
    for grid in tried.values():
        rows = []
        for seed in range(size.seeds):
            found = [along(dynamics, problem, size, seed)[0] for dynamics in grid]
            rows.append(min(found, key=lambda h: np.nan_to_num(h[-1], nan=np.inf)))
        best.append(rows)
    return table(
        {"method seed step": {"h": (best, "loss", "objective, best of the grid")}},
        method=list(tried),
        seed=range(size.seeds),
        step=size.every * np.arange(size.records + 1),
    )


@dataclass(frozen=True)
class Large:
    """Images of 784 pixels, a net that ends in a code, its mirror after it, and how many steps."""

    images: int = 500
    half: tuple[int, ...] = (784, 200, 100, 30)
    steps: int = 30
    rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3)


TINY = {"images": 40, "half": (784, 8), "steps": 10, "rates": (1e-4, 3e-4)}
WHOLE = {"images": 5000, "half": (784, 1000, 500, 250, 30), "steps": 40}


@experiment("X4", Large(), smoke=TINY, full=WHOLE)
def large(lab: Lab, size: Large) -> xr.Dataset:
    """The paper's kind of net on digits of MNIST, K-FAC beside tuned Nesterov."""
    pixels = np.asarray(mnist5k_images(size.images).inputs) * DEVIATION + MEAN
    widths = (*size.half, *size.half[-2::-1])
    problem, start = problem_of(np.clip(pixels, 0, 1), widths), sparse_start(widths, 0)
    tried = [optimiser("nesterov", rate, momentum=0.9) for rate in size.rates]
    mine, *others = (
        followed(dynamics, problem, start, 1, size.steps)[0] for dynamics in (kfac(), *tried)
    )
    best = min(others, key=lambda h: np.nan_to_num(h[-1], nan=np.inf))
    return table(
        {"method step": {"h": ([mine, best], "loss", "objective")}},
        method=["K-FAC, own damping", "Nesterov"],
        step=range(size.steps + 1),
    )
