"""Experiments of adaptive geometry on the two-layer linear net, where theory is sharp."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array

from thalweg.comparison.equal_loss import records_at
from thalweg.core.tree import stacked
from thalweg.curvature import diagonal, hessian
from thalweg.driver.path import paths
from thalweg.dynamics import optax_dynamics
from thalweg.dynamics.dynamics import Discrete, State
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import layer_weights
from thalweg.problems import Problem
from thalweg.problems.linear_targets import DeepLinear, deep_linear_params
from thalweg.theory.landscape import adaptive_geometry

OPTIMISERS = ("SGD with momentum", "Adam")
EVERY = 5  # steps between records
FRACTIONS = (0.5, 0.01)
EPSILONS = (1e-8, 1e-4, 1e-2, 1e-1)
FIVE = 5  # seeds whose mean the specification gives
R_MED = "R_med, largest over median entry"


class Start(NamedTuple):
    """A target and the weights that a net starts from."""

    a: Array
    W1: Array
    W2: Array


class Run(NamedTuple):
    """Loss (seed, record), ratios (seed, record, layer), sigma_2/sigma_1 of W_1 at the end."""

    loss: np.ndarray
    ratios: np.ndarray
    second_share: np.ndarray


def draw(d: int, seed: int, scale: float = 1e-4) -> Start:
    """|a_j| uniform in [0.5, 1.5] with random signs; weights N(0, scale^2/d)."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(0.5, 1.5, d) * rng.choice([-1, 1], d)
    std = scale / np.sqrt(d)
    weights = (std * rng.normal(size=shape) for shape in ((d, d), (1, d)))
    return Start(*map(jnp.asarray, (a, *weights)))


def drawn(d: int, seeds: int) -> Start:
    """The starts of all seeds, stacked."""
    return stacked([draw(d, seed) for seed in range(seeds)])


@cache  # one transformation per rate, so that what was compiled with it is found again
def optimiser(name: str, d: int, epsilon: float = 1e-8) -> Discrete:
    """One of the two optimisers, with its step size for width d."""
    if name == "Adam":
        rate = 1e-3 / d**0.5
        return optax_dynamics(optax.adam(rate, b1=0.9, b2=0.9, eps=epsilon), rate, name)
    rate = 0.002 / d**0.5
    return optax_dynamics(optax.sgd(rate, momentum=0.9), rate, name)


def loss_and_ratios(problem: Problem, state: State) -> tuple[Array, Array]:
    """What is recorded: the loss, and R_med of both layers."""
    ratios = adaptive_geometry.white_ratios(*layer_weights(state.params))
    return problem.objective(state.params), ratios


def follow(dynamics: Discrete, starts: Start, records: int) -> Run:
    """Train from every start at once."""
    problems = jax.vmap(lambda a: DeepLinear(a[None]))(starts.a)
    params = deep_linear_params([starts.W1, starts.W2])
    found = paths(
        dynamics, problems, params, EVERY, records, loss_and_ratios, over=("problem", "params")
    )
    W1 = layer_weights(found.last.params)[0]
    share = jax.vmap(adaptive_geometry.singular_vector_uniformity)(W1).second_share
    return Run(*map(np.asarray, (*found.seen, share)))


@dataclass(frozen=True)
class Nets:
    """Widths and seeds, and how long they are trained."""

    widths: tuple[int, ...] = (16, 64, 128)
    seeds: int = FIVE
    records: int = 300

    @property
    def steps(self) -> np.ndarray:
        """Of the records."""
        return EVERY * np.arange(self.records + 1)


@experiment(
    "X1",
    Nets(),
    smoke={"widths": (16,)},
    full={"widths": (16, 64, 128, 256, 512), "seeds": 20},
)
def linear_net(lab: Lab, size: Nets) -> xr.Dataset:
    """Both optimisers from the same small starts, sizes and seeds side by side."""

    def of_width(d: int) -> xr.Dataset:
        starts = drawn(d, size.seeds)
        runs = [follow(optimiser(name, d), starts, size.records) for name in OPTIMISERS]
        loss, ratios, share = (np.stack(part) for part in zip(*runs, strict=True))
        loss = loss / loss[:, :, :1]
        at = np.array([[records_at(c, FRACTIONS, "first-at-most") for c in seed] for seed in loss])
        there = at[..., None] >= 0
        matched = np.where(there, np.take_along_axis(ratios, at[..., None], axis=2), np.nan)
        predicted = jax.vmap(adaptive_geometry.predicted_ratio)(starts.W1, starts.W2, starts.a)
        run, mean = "optimiser seed", np.mean(predicted[:FIVE])
        groups = {
            f"{run} step": {"loss": (loss, "1", "loss / first loss")},
            f"{run} step layer": {"ratio": (ratios, "1", R_MED)},
            f"{run} fraction layer": {"matched_ratio": (matched, "1", R_MED)},
            f"{run} fraction": {
                "matched_step": (np.where(at >= 0, EVERY * at, np.nan), "1", "first step there")
            },
            "seed": {"predicted": (predicted, "1", "R_pred from the start alone")},
            "": {"predicted_mean": (mean, "1", "mean of R_pred")},
            run: {"second_share": (share, "1", "sigma_2/sigma_1 of W_1 after training")},
        }
        return table(
            groups,
            optimiser=OPTIMISERS,
            seed=range(size.seeds),
            step=size.steps,
            fraction=FRACTIONS,
            layer=[1, 2],
        )

    return over(of_width, d=size.widths)


@experiment("X1-hessian", Draws(5), full={"draws": 20})
def hessian_diagonals(lab: Lab, size: Draws) -> xr.Dataset:
    """E2 beside the diagonal of the Hessian by differentiation, correlated inputs."""
    d = 8

    def one(draw: int) -> xr.Dataset:
        rng = np.random.default_rng(draw)
        W1, W2, a = (jnp.asarray(rng.normal(size=shape)) for shape in ((d, d), (1, d), (1, d)))
        X = rng.normal(size=(d, 20))
        correlation = jnp.asarray(X @ X.T / 20)
        operator = hessian(DeepLinear(a, correlation), deep_linear_params([W1, W2]))
        measured = diagonal(operator, jax.random.key(0), method="exact").value
        formula = adaptive_geometry.two_layer_diagonals(W1, W2, correlation)
        theory, unit = np.concatenate([np.ravel(part) for part in formula]), "loss/parameter^2"
        both = {
            "diagonal": (measured, unit, "diagonal entry of the Hessian"),
            "diagonal_theory": (theory, unit, "diagonal entry by E2"),
        }
        return table({"entry": both})

    return over(one, draw=range(size.draws))


@experiment("X1-expectation", Draws(20_000), smoke={"draws": 10_000}, full={"draws": 200_000})
def expectation(lab: Lab, size: Draws) -> xr.Dataset:
    """The mean of R_pred over Gaussian starts, by Monte Carlo."""
    widths = np.array([16, 32, 50, 64, 100, 128, 256, 512])
    found = [adaptive_geometry.expected_ratio(int(d), size.draws) for d in widths]
    mean, error = np.array(found).T
    limit = [adaptive_geometry.asymptotic_ratio(int(d)) for d in widths]
    means = {
        "mean": (mean, "1", "E R_pred over random starts"),
        "mean_error": (error, "1", "standard error of the mean"),
        "limit": (limit, "1", "leading term 2 ln d / 0.4549"),
    }
    return table({"d": means}, d=(widths, "1", "hidden units d"))


@experiment("X1-epsilon", Nets(widths=(32,)), smoke={"seeds": 2, "records": 40}, full={"seeds": 20})
def adam_epsilon(lab: Lab, size: Nets) -> xr.Dataset:
    """Adam at d = 32 with growing epsilon."""
    (d,) = size.widths
    starts = drawn(d, size.seeds)

    def one(epsilon: float) -> xr.Dataset:
        run = follow(optimiser("Adam", d, epsilon), starts, size.records)
        found: dict[str, Any] = {
            "loss": (run.loss / run.loss[:, :1], "1", "loss / first loss"),
            "ratio": (run.ratios[..., 0], "1", "R_1, largest over median entry"),
        }
        return table({"seed step": found}, seed=range(size.seeds), step=size.steps)

    return over(one, epsilon=EPSILONS)
