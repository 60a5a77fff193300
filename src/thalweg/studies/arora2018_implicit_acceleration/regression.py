"""Experiments of implicit acceleration on l_p regression: is a deeper net faster?"""

from __future__ import annotations

from collections.abc import Sequence
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
from thalweg.lab.study import Lab, variable
from thalweg.models import mlp
from thalweg.models.initialisers import orthogonal
from thalweg.models.overparametrisation import Overparametrised
from thalweg.problems import Problem, digits
from thalweg.problems.linear_targets import deep_linear_params
from thalweg.problems.lp_norm import lp_optimum, lp_regression
from thalweg.studies.arora2018_implicit_acceleration.exact import whole

EXAMPLES, FEATURES = 300, 32
STEPS = {4: 20_000, 2: 5000}
DRAWS = {4: 3, 2: 4}
GRID = 10.0 ** np.arange(-3, 1.01, 0.25)
LEVEL = 1e-5
COUNTED = 20_000  # a method that does not get there counts as this
SHOWN = 200  # places on a logarithmic axis at which curves are kept

TOY = np.array([10.0, 1.0])
TOY_RATES = 10.0 ** np.arange(-6, 0.4, 0.125)
TOY_STEPS = 4000
TOY_NEAR = 0.1

NET_RATES = 10.0 ** np.arange(-1, 1.01, 0.25)
NET_STEPS, NET_SAMPLES, NET_SEEDS = 300, 200, 2


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


def regression_l4(lab: Lab) -> xr.Dataset:
    """X2 for p = 4: depths 1 to 3 beside adaptive methods, each at the rate of least last loss."""
    return regression(4, {**DESCENTS, **BASELINES}, 10 if lab.full else DRAWS[4], STEPS[4])


def regression_l2(lab: Lab) -> xr.Dataset:
    """X2 for p = 2: depths 1 to 3, each at the rate of fewest steps."""
    draws, steps = (10, 20_000) if lab.full else (DRAWS[2], STEPS[2])
    return regression(2, DESCENTS, draws, steps)


def regression(p: int, methods: dict[str, Method], draws: int, steps: int) -> xr.Dataset:
    """X2 for some p, methods and draws."""
    data = [sample(seed) for seed in range(draws)]
    optima = [lp_optimum(X, y, p) for X, y, _ in data]
    kept = np.unique(np.concatenate([[0], np.geomspace(1, steps, SHOWN)]).astype(int))
    shape = (draws, len(methods))
    rate, final, count, excess = (np.zeros(s) for s in (shape, shape, shape, (*shape, len(kept))))
    for at in np.ndindex(shape):
        X, y, direction = data[at[0]]
        method = list(methods.values())[at[1]]
        problem = lp_regression(X, y, p, method.hidden)
        start = balanced(method.norm * direction, len(method.hidden) + 1)
        settings = jnp.asarray(method.settings)
        curves = over_grid(method.family, settings, problem, start, steps) - optima[at[0]].loss
        taken = steps_to(curves, LEVEL)
        best = _least(np.asarray(curves)[:, -1] if p > 2 else taken)
        rate[at], final[at] = method.settings[best], curves[best, -1]
        count[at] = min(taken[best], COUNTED)
        excess[at] = curves[best, kept]
    run = ("draw", "optimiser")
    return xr.Dataset(
        {
            "excess": variable((*run, "step"), excess, "loss", "loss above the least one"),
            "final": variable(run, final, "loss", "loss above the least one at the end"),
            "steps": variable(run, count, "1", f"steps to {LEVEL:g} above the least loss"),
            "rate": variable(run, rate, "step size", "best step size"),
            "least": variable("draw", [o.loss for o in optima], "loss", "least loss"),
            "least_error": variable("draw", [o.error for o in optima], "loss", "error of it"),
        },
        {
            "draw": np.arange(draws),
            "optimiser": list(methods),
            "step": variable("step", kept, "1", "steps taken"),
        },
    )


def _least(values: np.ndarray) -> int:
    """Where the least value is, of those that are numbers."""
    return int(np.argmin(np.where(np.isfinite(values), values, np.inf)))


def toy_distance(problem: Problem, params: Params) -> Array:
    """Largest distance of a coordinate from its target."""
    return jnp.max(jnp.abs(whole(params)[0] - TOY))


def toy(lab: Lab) -> xr.Dataset:
    """X3: updates until both coordinates are there, by step size, power and depth."""
    powers, depths = (4, 2), (1, 2, 3)
    updates = np.full((len(powers), len(depths), len(TOY_RATES)), np.nan)
    for i, p in enumerate(powers):
        for j, N in enumerate(depths):
            problem = lp_regression(np.eye(2), TOY, p, (1,) * (N - 1), reduction="sum")
            start = balanced(0.01 * np.ones(2) / np.sqrt(2), N)
            rates = jnp.asarray(TOY_RATES)
            apart = over_grid(gradient_descent, rates, problem, start, TOY_STEPS, toy_distance)
            taken = steps_to(apart, TOY_NEAR)
            updates[i, j] = np.where(taken <= TOY_STEPS, taken, np.nan)
    best = np.nanargmin(updates, axis=-1)
    by = ("p", "depth")
    return xr.Dataset(
        {
            "updates": variable((*by, "rate"), updates, "1", "updates needed"),
            "fewest": variable(by, np.nanmin(updates, axis=-1), "1", "at the best step size"),
            "best": variable(by, np.log10(TOY_RATES[best]), "1", "log10 of the best step size"),
        },
        {
            "p": list(powers),
            "depth": list(depths),
            "rate": variable("rate", TOY_RATES, "step size", "step size"),
        },
    )


def network(lab: Lab) -> xr.Dataset:
    """X4: a net on digits, each dense layer as a product of 1, 2 or 3 matrices."""
    seeds, steps = (10, 3000) if lab.full else (NET_SEEDS, NET_STEPS)
    return network_of(seeds, steps, NET_SAMPLES, NET_RATES, hidden=32)


def network_of(
    seeds: int, steps: int, samples: int, rates: Sequence[float] | np.ndarray, hidden: int
) -> xr.Dataset:
    """X4 for some size; every seed at its own best rate, that of least last loss."""
    factors = (1, 2, 3)
    loss, best = np.zeros((len(factors), seeds, steps + 1)), np.zeros((len(factors), seeds))
    for i, N in enumerate(factors):
        problem = digits(Overparametrised(mlp([hidden]), N), samples=samples)
        for seed in range(seeds):
            start = problem.init(jax.random.key(seed))
            settings = jnp.asarray(rates)
            curves = np.asarray(over_grid(gradient_descent, settings, problem, start, steps))
            at = _least(curves[:, -1])
            loss[i, seed], best[i, seed] = curves[at], rates[at]
    return xr.Dataset(
        {
            "loss": variable(("factors", "seed", "step"), loss, "loss", "training loss"),
            "rate": variable(("factors", "seed"), best, "step size", "best step size"),
        },
        {
            "factors": list(factors),
            "seed": np.arange(seeds),
            "step": variable("step", np.arange(steps + 1), "1", "steps taken"),
        },
    )
