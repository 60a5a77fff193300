"""Experiments of matrix completion: depth against the least nuclear norm, and ways to get there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core.rank import effective_rank_from
from thalweg.core.spectra import layer_product
from thalweg.core.tree import Params
from thalweg.driver.until import advance_until, descend_until
from thalweg.dynamics import (
    gradient_descent,
    gradient_flow,
    optax_dynamics,
    stabilised_descent,
)
from thalweg.dynamics.dynamics import Discrete
from thalweg.dynamics.grouped_rmsprop import group_rmsprop
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import layer_weights
from thalweg.problems.matrix_sensing import (
    Entries,
    MatrixFactorisation,
    low_rank_matrix,
    observed_entries,
)
from thalweg.theory.limits.nuclear_norm import nuclear_norm_completion

LEVEL = 1e-6  # mean square at which training ends
RATE = 3e-3
DEPTHS = (2, 3, 4)
SHOWN = 10  # singular values that are kept
FAINT = 1e-6  # below it a singular value of the truth is rounding


class Matrix(NamedTuple):
    """A completion problem: side of the matrix, its rank, observed entries."""

    side: int
    rank: int
    seen: int


SPARSE, DENSER = Matrix(40, 3, 400), Matrix(40, 3, 480)
SMALL = Matrix(12, 1, 55)


class Instance(NamedTuple):
    """One draw: the matrix, what is seen of it, and the key that starts descend from."""

    truth: Array
    observed: Entries
    key: Array


def descent(rate: Array) -> Discrete:
    """Gradient descent on all examples."""
    return gradient_descent(rate)


def normalised(rate: Any) -> Discrete:
    """The paper's optimiser: one second moment for all parameters, epsilon 1e-4."""
    return optax_dynamics(group_rmsprop(rate, epsilon=1e-4), rate, "group RMSprop")


FAMILIES = {"gradient descent": (descent, 0.15), "group RMSprop": (normalised, RATE)}
PROCESSES = {
    "gradient flow": gradient_flow(error=1e-2),
    "stabilised descent": stabilised_descent(),
}


def instance(of: Matrix, seed: int) -> Instance:
    """A matrix of low rank with entries of rms 1, and entries of it."""
    matrix, entries, start = jax.random.split(jax.random.key(seed), 3)
    truth = low_rank_matrix(matrix, of.side, of.side, of.rank)
    return Instance(truth, observed_entries(entries, truth, of.seen), start)


def product(params: Params) -> np.ndarray:
    """The product of the factors."""
    return np.asarray(layer_product(layer_weights(params)))


def mean_square(W: np.ndarray, truth: Array) -> float:
    """Mean squared distance from the truth over all entries."""
    return float(np.mean((W - np.asarray(truth)) ** 2))


@dataclass(frozen=True)
class Completion:
    """What is completed, from how many draws and starts, at which depths, in how many steps."""

    of: Matrix
    draws: int
    alphas: tuple[float, ...] = (1e-3, 1e-4)
    depths: tuple[int, ...] = DEPTHS
    most: int = 20_000


OFTEN = {"of": SMALL, "most": 8000}


@experiment("X1", Completion(SPARSE, 2), smoke={"of": SMALL, "draws": 1}, full={"draws": 4})
def sparse(lab: Lab, size: Completion) -> xr.Dataset:
    """With 400 of 1600 entries."""
    return completion(size)


@experiment("X1-480", Completion(DENSER, 8, alphas=(1e-3,)), smoke=OFTEN, full={"draws": 24})
def denser(lab: Lab, size: Completion) -> xr.Dataset:
    """With 480 of 1600 entries, in draws enough for a statement about all."""
    return completion(size)


@experiment(
    "X1-scaled",
    Completion(Matrix(24, 2, 190), 1),
    smoke={"of": SMALL},
    full={"of": Matrix(100, 5, 2000), "most": 200_000},
)
def scaled(lab: Lab, size: Completion) -> xr.Dataset:
    """At the paper's size, 100x100 of rank 5 with 2000 entries; small at other scales."""
    return completion(size)


def completion(size: Completion) -> xr.Dataset:
    """Deep factorisations beside the least nuclear norm and the truth."""
    draws = [instance(size.of, seed) for seed in range(size.draws)]

    def trained(draw: int, alpha: float, depth: int) -> xr.Dataset:
        drawn = draws[draw]
        start = MatrixFactorisation(drawn.observed, depth, alpha).init(drawn.key)
        # The start is all that alpha does, so one program serves every alpha.
        shared = MatrixFactorisation(drawn.observed, depth)
        end = descend_until(normalised, jnp.asarray(RATE), shared, start, LEVEL, size.most)
        W = product(end.params)
        ends = {
            "train": (end.loss, "entry^2", "mean square on observed entries"),
            "test": (mean_square(W, drawn.truth), "entry^2", "mean square over all entries"),
            "steps": (end.steps, "1", "steps taken"),
            "reached": (float(end.reached), "1", f"whether {LEVEL:g} was reached"),
        }
        return table({"": ends}).merge(_spectrum(W))

    def references(draw: int) -> xr.Dataset:
        drawn = draws[draw]
        least = nuclear_norm_completion(drawn.observed.mask, drawn.observed.values)
        error = mean_square(least.X, drawn.truth)
        ends = {
            "nuclear_test": (error, "entry^2", "least nuclear norm: error, all entries"),
            "nuclear_gap": (least.error, "entry", "duality gap of the least nuclear norm"),
        }
        parts = (
            _spectrum(least.X, "nuclear_", " of least nuclear norm"),
            _spectrum(np.asarray(drawn.truth), "truth_", " of the truth"),
        )
        return xr.merge([table({"": ends}), *parts])

    each = range(size.draws)
    alphas = (list(size.alphas), "1", "size of the start")
    found = over(trained, draw=each, alpha=alphas, depth=size.depths)
    return found.merge(over(references, draw=each))


def _spectrum(W: np.ndarray, name: str = "", of: str = "") -> xr.Dataset:
    """Leading singular values, nuclear norm and effective rank."""
    s = np.linalg.svd(W, compute_uv=False)
    shown = np.where(s > FAINT, s, np.nan)[:SHOWN]
    numbers = {
        f"{name}norm": (s.sum(), "entry", f"nuclear norm{of}"),
        f"{name}erank": (float(effective_rank_from(jnp.asarray(s))), "1", f"effective rank{of}"),
    }
    values: dict[str, Any] = {f"{name}spectrum": (shown, "entry", f"singular values{of}")}
    place = (np.arange(1, len(shown) + 1), "1", "rank of the singular value")
    return table({"": numbers, "mode": values}, mode=place)


@dataclass(frozen=True)
class Race:
    """What is completed by every method, from which start, in how many gradients."""

    of: Matrix = DENSER
    depths: tuple[int, ...] = (2, 3)
    alpha: float = 1e-2
    most: int = 60_000


@experiment("X5", Race(), smoke={"of": SMALL, "depths": (2,), "most": 200})
def methods(lab: Lab, size: Race) -> xr.Dataset:
    """Ways to the same training loss from one start, by steps of descent and by solvers."""
    drawn = instance(size.of, 0)

    def one(method: str, depth: int) -> xr.Dataset:
        problem = MatrixFactorisation(drawn.observed, depth, size.alpha)
        start = problem.init(drawn.key)
        if method in PROCESSES:
            end = advance_until(PROCESSES[method], problem, start, LEVEL, size.most)
        else:
            family, rate = FAMILIES[method]
            end = descend_until(family, jnp.asarray(rate), problem, start, LEVEL, size.most)
        error = mean_square(product(end.params), drawn.truth)
        found = {
            "gradients": (float(end.evaluations), "1", "gradients"),
            "train": (end.loss, "entry^2", "mean square on observed entries"),
            "test": (error, "entry^2", "mean square over all entries"),
        }
        return table({"": found})

    return over(one, method=[*FAMILIES, *PROCESSES], depth=size.depths)
