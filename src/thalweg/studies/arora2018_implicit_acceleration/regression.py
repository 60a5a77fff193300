"""Experiments of implicit acceleration on l_p regression: is a deeper net faster?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array

from thalweg.core.tree import Params
from thalweg.driver.many import Family, over_grid, steps_to
from thalweg.dynamics import gradient_descent, optax_dynamics
from thalweg.dynamics.dynamics import Discrete
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import mlp
from thalweg.models.initialisers import orthogonal
from thalweg.models.overparametrisation import Overparametrised
from thalweg.problems import Problem, digits
from thalweg.problems.linear_targets import deep_linear_params
from thalweg.problems.lp_norm import lp_optimum, lp_regression
from thalweg.studies.arora2018_implicit_acceleration.exact import first_row

EXAMPLES, FEATURES = 300, 32
GRID = 10.0 ** np.arange(-3, 1.01, 0.25)
LEVEL = 1e-5
COUNTED = 20_000  # a method that does not get there counts as this
SHOWN = 200  # places on a logarithmic axis at which curves are kept

TOY = np.array([10.0, 1.0])
TOY_RATES = 10.0 ** np.arange(-6, 0.4, 0.125)
TOY_STEPS, TOY_NEAR = 4000, 0.1


def adagrad(rate: Array) -> Discrete:
    """AdaGrad with epsilon inside the root: w <- w - rate g / sqrt(sum of g^2 + 1e-8)."""
    return optax_dynamics(
        optax.adagrad(rate, initial_accumulator_value=0.0, eps=1e-8), 1.0, "AdaGrad"
    )


def adadelta(multiplier: Array) -> Discrete:
    """AdaDelta of decay 0.95 and epsilon 1e-6, its steps multiplied."""
    return optax_dynamics(optax.adadelta(multiplier, rho=0.95, eps=1e-6), 1.0, "AdaDelta")


class Method(NamedTuple):
    """A way to descend: a family over a grid of settings, and the depth of the net.

    Attributes:
        family: Maps a setting to a dynamics.
        hidden: Hidden widths.
        norm: Of the product at the start.
        settings: Step sizes or multipliers.
    """

    family: Family
    hidden: tuple[int, ...]
    norm: float
    settings: np.ndarray


DESCENTS = {
    "depth 1": Method(gradient_descent, (), 1e-3, GRID),
    "depth 2": Method(gradient_descent, (1,), 1e-2, GRID),
    "depth 3": Method(gradient_descent, (1, 1), 1e-2, GRID),
}
BASELINES = {
    "AdaGrad": Method(adagrad, (), 1e-3, GRID),
    "AdaDelta": Method(adadelta, (), 1e-3, np.ones(1)),
    "AdaDelta, tuned": Method(adadelta, (), 1e-3, 10 * GRID),
}


def balanced(product: np.ndarray, depth: int) -> Params:
    """A vector and depth - 1 scalars, all of one norm, with a given product."""
    norm = np.linalg.norm(product)
    part = norm ** (1 / depth)
    scalars = [np.full((1, 1), part)] * (depth - 1)
    return deep_linear_params([part * product[None] / norm, *scalars])


def sample(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs of falling scales in a random basis, standardised targets, a direction to start in."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(EXAMPLES, FEATURES)) / np.arange(1, FEATURES + 1)
    X = Z @ np.asarray(orthogonal(jax.random.key(seed), (FEATURES, FEATURES)))
    y = X @ rng.normal(size=FEATURES)
    direction = rng.normal(size=FEATURES)
    return X, (y - y.mean()) / y.std(), direction / np.linalg.norm(direction)


@dataclass(frozen=True)
class Comparison:
    """How many draws of the data there are, and how long all methods descend.

    Attributes:
        draws: Of the data.
        steps: Of every method.
        chosen: The places of the only settings that are tried, in the order of the methods; all
            if there are none.
    """

    draws: int
    steps: int
    chosen: tuple[int, ...] = ()

    def settings(self, method: Method, place: int) -> np.ndarray:
        """What is tried of a method."""
        return method.settings[[self.chosen[place]]] if self.chosen else method.settings


@experiment(
    "X2-l4",
    Comparison(draws=3, steps=20_000),
    smoke={"draws": 1, "chosen": (11, 12, 12, 10, 0, 14)},
    full={"draws": 10},
)
def regression_l4(lab: Lab, size: Comparison) -> xr.Dataset:
    """For p = 4: depths 1 to 3 beside adaptive methods, each at the rate of least last loss."""
    return compared(4, {**DESCENTS, **BASELINES}, size)


@experiment(
    "X2-l2",
    Comparison(draws=4, steps=5000),
    smoke={"draws": 1, "steps": 3000, "chosen": (13, 10, 8)},
    full={"draws": 10, "steps": 20_000},
)
def regression_l2(lab: Lab, size: Comparison) -> xr.Dataset:
    """For p = 2: depths 1 to 3, each at the rate of fewest steps."""
    return compared(2, DESCENTS, size)


def compared(p: int, methods: Mapping[str, Method], size: Comparison) -> xr.Dataset:
    """Every method at the best of its settings, on every draw."""
    data = [sample(seed) for seed in range(size.draws)]
    optima = [lp_optimum(X, y, p) for X, y, _ in data]
    kept = np.unique(np.concatenate([[0], np.geomspace(1, size.steps, SHOWN)]).astype(int))

    def one(draw: int, optimiser: str) -> xr.Dataset:
        (X, y, direction), method = data[draw], methods[optimiser]
        settings = size.settings(method, list(methods).index(optimiser))
        problem = lp_regression(X, y, p, method.hidden)
        start = balanced(method.norm * direction, len(method.hidden) + 1)
        losses = over_grid(method.family, jnp.asarray(settings), problem, start, size.steps)
        excess = np.asarray(losses - optima[draw].loss)
        taken = steps_to(excess, LEVEL)
        best = _least(excess[:, -1] if p > 2 else taken)
        above = "loss above the least one"
        once = {
            "final": (excess[best, -1], "loss", f"{above} at the end"),
            "steps": (
                float(min(taken[best], COUNTED)),
                "1",
                f"steps to {LEVEL:g} above the least loss",
            ),
            "rate": (settings[best], "step size", "best step size"),
        }
        groups = {"": once, "step": {"excess": (excess[best, kept], "loss", above)}}
        return table(groups, step=kept)

    least = {
        "least": ([o.loss for o in optima], "loss", "least loss"),
        "least_error": ([o.error for o in optima], "loss", "error of it"),
    }
    draws = range(size.draws)
    return over(one, draw=draws, optimiser=methods).merge(table({"draw": least}, draw=draws))


def _least(values: np.ndarray) -> int:
    """Where the least value is, of those that are numbers."""
    return int(np.argmin(np.where(np.isfinite(values), values, np.inf)))


def toy_distance(problem: Problem, params: Params) -> Array:
    """Largest distance of a coordinate from its target."""
    return jnp.max(jnp.abs(first_row(problem, params) - TOY))


@experiment("X3")
def toy(lab: Lab) -> xr.Dataset:
    """Updates until both coordinates are there, by step size, power and depth."""
    return over(_toy, p=[4, 2], depth=[1, 2, 3])


def _toy(p: int, depth: int) -> xr.Dataset:
    problem = lp_regression(np.eye(2), TOY, p, (1,) * (depth - 1), reduction="sum")
    start, rates = balanced(0.01 * np.ones(2) / np.sqrt(2), depth), jnp.asarray(TOY_RATES)
    apart = over_grid(gradient_descent, rates, problem, start, TOY_STEPS, toy_distance)
    taken = steps_to(apart, TOY_NEAR)
    updates = np.where(taken <= TOY_STEPS, taken, np.nan)
    best = np.log10(TOY_RATES[np.nanargmin(updates)])
    once = {
        "fewest": (np.nanmin(updates), "1", "updates at the best step size"),
        "best": (best, "1", "log10 of the best step size"),
    }
    groups = {"rate": {"updates": (updates, "1", "updates until both are there")}, "": once}
    return table(groups, rate=(TOY_RATES, "step size", "step size"))


@dataclass(frozen=True)
class Network:
    """How large the net and its data are, and how long and at which rates it is trained."""

    seeds: int = 2
    steps: int = 300
    samples: int = 200
    rates: tuple[float, ...] = tuple(10.0 ** np.arange(-1, 1.01, 0.25))
    hidden: int = 32


TINY = {"seeds": 1, "steps": 10, "samples": 20, "rates": (0.1, 0.3), "hidden": 4}


@experiment("X4", Network(), smoke=TINY, full={"seeds": 10, "steps": 3000})
def network(lab: Lab, size: Network) -> xr.Dataset:
    """A net on digits, each dense layer as a product of 1, 2 or 3 matrices, each at its best."""

    def one(factors: int, seed: int) -> xr.Dataset:
        problem = digits(Overparametrised(mlp([size.hidden]), factors), samples=size.samples)
        start, rates = problem.init(jax.random.key(seed)), jnp.asarray(size.rates)
        losses = np.asarray(over_grid(gradient_descent, rates, problem, start, size.steps))
        best = _least(losses[:, -1])
        groups = {
            "": {"rate": (size.rates[best], "step size", "best step size")},
            "step": {"loss": (losses[best], "loss", "training loss")},
        }
        return table(groups, step=range(size.steps + 1))

    return over(one, factors=[1, 2, 3], seed=range(size.seeds))
