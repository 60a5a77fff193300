"""Experiments of matrix completion: depth against the least nuclear norm, and ways to get there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
from thalweg.lab.study import Lab, variable
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
MOST_STEPS = 20_000
DEPTHS = (2, 3, 4)
ALPHAS = (1e-3, 1e-4)
SHOWN = 10  # singular values that are kept
DRAWS, DENSER_DRAWS = {"quick": 2, "full": 4}, {"quick": 8, "full": 24}
METHOD_STEPS, METHOD_ALPHA = 60_000, 1e-2


class Setting(NamedTuple):
    """A completion problem: side of the matrix, its rank, observed entries."""

    size: int
    rank: int
    seen: int


SPARSE, DENSER = Setting(40, 3, 400), Setting(40, 3, 480)
SCALED = {"quick": Setting(24, 2, 190), "full": Setting(100, 5, 2000)}


class Instance(NamedTuple):
    """One draw: the matrix, what is seen of it, and the key that starts descend from."""

    truth: Array
    observed: Entries
    key: Array


def normalised(rate: Array) -> Discrete:
    """The paper's optimiser: one second moment for all parameters, epsilon 1e-4."""
    return optax_dynamics(group_rmsprop(rate, epsilon=1e-4), rate, "group RMSprop")  # type: ignore[arg-type]


FAMILIES = {"gradient descent": (gradient_descent, 0.15), "group RMSprop": (normalised, RATE)}
PROCESSES = {
    "gradient flow": gradient_flow(error=1e-2),
    "stabilised descent": stabilised_descent(),
}


def instance(setting: Setting, seed: int) -> Instance:
    """A matrix of low rank with entries of rms 1, and entries of it."""
    matrix, entries, start = jax.random.split(jax.random.key(seed), 3)
    truth = low_rank_matrix(matrix, setting.size, setting.size, setting.rank)
    return Instance(truth, observed_entries(entries, truth, setting.seen), start)


def product(params: Params) -> np.ndarray:
    """The product of the factors."""
    return np.asarray(layer_product(layer_weights(params)))


def mean_square(W: np.ndarray, truth: Array) -> float:
    """Mean squared distance from the truth over all entries."""
    return float(np.mean((W - np.asarray(truth)) ** 2))


def sparse(lab: Lab) -> xr.Dataset:
    """X1 with 400 of 1600 entries."""
    return completion(SPARSE, DRAWS[lab.scale], ALPHAS)


def denser(lab: Lab) -> xr.Dataset:
    """X1 with 480 of 1600 entries, in draws enough for a statement about all."""
    return completion(DENSER, DENSER_DRAWS[lab.scale], ALPHAS[:1])


def scaled(lab: Lab) -> xr.Dataset:
    """X1 at the paper's size, 100x100 of rank 5 with 2000 entries; small at quick scale."""
    most = 200_000 if lab.full else MOST_STEPS
    return completion(SCALED[lab.scale], 1, ALPHAS, most=most)


def completion(
    setting: Setting,
    draws: int,
    alphas: Sequence[float],
    depths: Sequence[int] = DEPTHS,
    most: int = MOST_STEPS,
) -> xr.Dataset:
    """X1 for some setting: deep factorisations beside the least nuclear norm and the truth."""
    shape = (draws, len(alphas), len(depths))
    train, test, steps, reached = (np.zeros(shape) for _ in range(4))
    spectrum = np.zeros((*shape, SHOWN))
    norm, erank = np.zeros(shape), np.zeros(shape)
    references = [_reference(instance(setting, seed)) for seed in range(draws)]
    for at in np.ndindex(shape):
        drawn = instance(setting, at[0])
        problem = MatrixFactorisation(drawn.observed, depths[at[2]], alphas[at[1]])
        start = problem.init(drawn.key)
        # The start is all that alpha does, so one program serves every alpha.
        shared = MatrixFactorisation(drawn.observed, depths[at[2]])
        end = descend_until(normalised, jnp.asarray(RATE), shared, start, LEVEL, most)
        W = product(end.params)
        train[at], steps[at], reached[at] = end.loss, end.steps, end.reached
        test[at] = mean_square(W, drawn.truth)
        spectrum[at], norm[at], erank[at] = _spectrum(W)
    by, mode = ("draw", "alpha", "depth"), ("mode",)
    squared, unit = "entry^2", "entry"
    found = {
        "train": variable(by, train, squared, "mean square on observed entries"),
        "test": variable(by, test, squared, "mean square over all entries"),
        "steps": variable(by, steps, "1", "steps taken"),
        "reached": variable(by, reached, "1", f"whether {LEVEL:g} was reached"),
        "norm": variable(by, norm, unit, "nuclear norm"),
        "erank": variable(by, erank, "1", "effective rank"),
        "spectrum": variable((*by, *mode), spectrum, unit, "singular values"),
    }
    for name, of in (("nuclear", "of least nuclear norm"), ("truth", "of the truth")):
        rows = [reference[name] for reference in references]
        found |= {
            f"{name}_spectrum": variable(
                ("draw", *mode), [row[0] for row in rows], unit, f"singular values {of}"
            ),
            f"{name}_norm": variable("draw", [row[1] for row in rows], unit, f"nuclear norm {of}"),
            f"{name}_erank": variable("draw", [row[2] for row in rows], "1", f"erank {of}"),
        }
    found["nuclear_test"] = variable(
        "draw", [r["test"] for r in references], squared, "least nuclear norm: error, all entries"
    )
    found["nuclear_gap"] = variable(
        "draw", [r["gap"] for r in references], unit, "duality gap of the least nuclear norm"
    )
    return xr.Dataset(
        found,
        {
            "draw": np.arange(draws),
            "alpha": variable("alpha", alphas, "1", "size of the start"),
            "depth": list(depths),
            "mode": np.arange(1, SHOWN + 1),
        },
    )


def _spectrum(W: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Leading singular values, nuclear norm and effective rank."""
    s = np.linalg.svd(W, compute_uv=False)
    return s[:SHOWN], float(s.sum()), float(effective_rank_from(jnp.asarray(s)))


def _reference(drawn: Instance) -> dict:
    """What the completion of least nuclear norm and the truth are like."""
    least = nuclear_norm_completion(drawn.observed.mask, drawn.observed.values)
    return {
        "nuclear": _spectrum(least.X),
        "truth": _spectrum(np.asarray(drawn.truth)),
        "test": mean_square(least.X, drawn.truth),
        "gap": least.error,
    }


def methods(lab: Lab) -> xr.Dataset:
    """Ways to the same training loss from one start, by steps of descent and by solvers."""
    return methods_of(DENSER, METHOD_ALPHA, (2, 3))


def methods_of(setting: Setting, alpha: float, depths: Sequence[int]) -> xr.Dataset:
    """Gradients and final error of every method for some depths."""
    names = (*FAMILIES, *PROCESSES)
    rows = [[_method(name, instance(setting, 0), alpha, N) for N in depths] for name in names]
    gradients, train, test = np.moveaxis(np.array(rows), -1, 0)
    by = ("method", "depth")
    return xr.Dataset(
        {
            "gradients": variable(by, gradients, "1", "gradients"),
            "train": variable(by, train, "entry^2", "mean square on observed entries"),
            "test": variable(by, test, "entry^2", "mean square over all entries"),
        },
        {"method": list(names), "depth": list(depths)},
    )


def _method(name: str, drawn: Instance, alpha: float, N: int) -> tuple[float, float, float]:
    """(gradients, train, test) of one method."""
    problem = MatrixFactorisation(drawn.observed, N, alpha)
    start = problem.init(drawn.key)
    if name in PROCESSES:
        end = advance_until(PROCESSES[name], problem, start, LEVEL, METHOD_STEPS)
    else:
        family, rate = FAMILIES[name]
        end = descend_until(family, jnp.asarray(rate), problem, start, LEVEL, METHOD_STEPS)
    return int(end.evaluations), float(end.loss), mean_square(product(end.params), drawn.truth)
