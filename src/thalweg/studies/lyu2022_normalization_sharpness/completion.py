"""Matrix completion with normalised predictions, with weight decay and without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core import tree
from thalweg.driver.path import paths
from thalweg.dynamics import decayed_descent
from thalweg.dynamics.dynamics import State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import table
from thalweg.probes import spherical_sharpness
from thalweg.probes.probe import Moment
from thalweg.problems import NormalisedCompletion, Problem
from thalweg.problems.matrix_sensing import Entries
from thalweg.studies.lyu2022_normalization_sharpness.regression import gaps
from thalweg.theory.limits import sharpness_reduction as theory

SIDE, RANK, ETA, NORM = 20, 2, 0.5, 2.0
DECAYS = (1e-3, 0.0)  # step size times weight decay


class Seen(NamedTuple):
    """Training and test error, squared norm, spherical sharpness and how far that can be off."""

    train: Any
    test: Any
    squared: Any
    sharpness: Any
    error: Any


def seen(problem: Problem, state: State) -> Seen:
    """What is observed at a record."""
    assert isinstance(problem, NormalisedCompletion)
    w, known = state.params, problem.observed
    gap = jnp.where(known.mask, 0, problem.completed(w) - known.values)
    probe = spherical_sharpness(1e-3)
    moment = Moment(jnp.zeros((), int), jax.random.key(0))
    top, _ = probe.measure(problem, w, probe.start(problem, w), moment)
    return Seen(
        problem.objective(w),
        jnp.sum(gap**2) / jnp.sum(~known.mask, dtype=gap.dtype),
        tree.dot(w, w),
        top.value,
        top.error,
    )


def draw(seed: int) -> tuple[NormalisedCompletion, list[dict[str, Array]]]:
    """A B^T/sqrt(2) of Gaussian A, B, half of its entries, Gaussian factors of norm 2."""
    rng = np.random.default_rng(seed)
    A, B = rng.normal(size=(2, SIDE, RANK))
    mask = np.zeros(SIDE * SIDE, bool)
    mask[rng.permutation(SIDE * SIDE)[: SIDE * SIDE // 2]] = True
    factors = rng.normal(size=(2, SIDE, SIDE))
    factors *= NORM / np.linalg.norm(factors)
    seen = Entries(jnp.asarray(mask.reshape(SIDE, SIDE)), jnp.asarray(A @ B.T / np.sqrt(RANK)))
    return NormalisedCompletion(seen), [{"weight": jnp.asarray(W)} for W in factors]


@dataclass(frozen=True)
class Completion:
    """Draws, and pairs of records in so many steps."""

    draws: int = 4
    pairs: int = 25
    stride: int = 400


@experiment("X3", Completion(), smoke={"draws": 1, "pairs": 5, "stride": 800}, full={"draws": 10})
def completion(lab: Lab, size: Completion) -> xr.Dataset:
    """Errors and sharpness over 10^4 steps, every draw with weight decay and without."""
    drawn = [draw(seed) for seed in range(size.draws)]
    problems, starts = (tree.stacked(part) for part in zip(*drawn, strict=True))
    every = gaps(size.stride, size.pairs)
    steps = np.cumsum(every)[1::2]
    rows = []
    for decay in DECAYS:
        dynamics = decayed_descent(ETA, decay / ETA)
        path = paths(dynamics, problems, starts, every, observe=seen, over=("problem", "params"))
        found = Seen(*map(np.asarray, path.seen))
        rate = theory.effective_rate(ETA, decay / ETA, found.squared)
        rows.append((*found, rate * found.sharpness))
    values = [np.stack(part)[..., 1:].reshape(len(DECAYS), size.draws, -1, 2) for part in zip(
        *rows, strict=True)]  # fmt: skip
    train, test, _, sharp, error, edge = (part.mean(axis=-1) for part in values)
    along = {
        "train": (train, "loss", "training error"),
        "test": (test, "loss", "test error"),
        "sharpness": (sharp, "loss", "spherical sharpness"),
        "sharpness_error": (error, "loss", "error of the spherical sharpness"),
        "edge": (edge, "1", "rate times spherical sharpness"),
    }
    return table(
        {"decay draw step": along},
        decay=["with weight decay", "without"],
        draw=range(size.draws),
        step=steps,
    )
