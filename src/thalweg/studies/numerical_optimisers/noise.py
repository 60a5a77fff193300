"""SGD: second moments beside bounds and runs, schedules, and the two equations of its limit."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from thalweg.driver.path import paths
from thalweg.dynamics import gradient_descent
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import mean_and_error, over, table
from thalweg.oracles import isotropic
from thalweg.problems import Function
from thalweg.studies.numerical_optimisers.quadratics import bowl
from thalweg.theory.optimisers.noisy_descent import (
    halving_schedule,
    optimal_schedule,
    second_moment_bound,
)
from thalweg.theory.quadratics.linear_methods import (
    LinearMethod,
    error_moments,
    linear_method,
    stationary_second_moment,
)

LAM, STD = np.linspace(0.1, 1, 10), 0.1
SIZES = (2 / 1.1, 0.5, 0.1)  # the first is 2/(L + mu)
RECORDS = (1, 4, 15, 40)  # steps between records
VARIANCE = 10 * STD**2 / (0.1 * 1.0)  # sigma^2, over mu L


def descent(step_size: ArrayLike) -> LinearMethod:
    """The linear method that SGD is."""
    return linear_method("gradient-descent", step_size)


@experiment("X6", Draws(8000), smoke={"draws": 1000}, full={"draws": 40_000})
def moments(lab: Lab, size: Draws) -> xr.Dataset:
    """The mean square error of SGD on a quadratic: exact, from runs, and its bound."""
    problem = bowl(LAM, np.ones(10))
    keys = jax.random.split(jax.random.key(0), size.draws)
    steps = np.concatenate([[0], np.cumsum(RECORDS)])

    def one(step_size: float) -> xr.Dataset:
        exact = error_moments(descent(step_size), LAM, np.ones(10), STD, 2000).sum(axis=1)
        seen = paths(
            gradient_descent(step_size, oracle=isotropic(STD)), problem, problem.start,
            np.array(RECORDS), key=keys, over=("key",),
        ).seen  # fmt: skip
        square = np.sum(np.asarray(seen) ** 2, axis=-1)
        bound = second_moment_bound(step_size, 1.0, 0.1, VARIANCE, 10.0, np.arange(2001))
        still = stationary_second_moment(descent(step_size), LAM, STD).sum()
        return table(
            {
                "": {
                    "stationary": (still, "parameter^2", "stationary mean square error"),
                    "last": (exact[-1], "parameter^2", "the exact one after 2000 steps"),
                    "floor": (bound[-1], "parameter^2", "what the bound tends to"),
                    "ratio": (np.max(exact[1:] / bound[1:]), "1", "exact over bound, the largest"),
                },
                "step": {
                    **mean_and_error("square", square, "parameter^2", "mean square error of runs"),
                    "square_theory": (exact[steps], "parameter^2", "exact second moment"),
                },
            },
            step=steps,
        )

    return over(one, step_size=(list(SIZES), "parameter^2/loss", "step size"))


@experiment("X6-mean")
def sample_mean(lab: Lab) -> xr.Dataset:
    """Steps 1/(n + 1) at curvature 1: SGD is the sample mean, whatever its start."""
    n = np.arange(1, 1001)
    found = error_moments(descent(1 / n), [1.0, 1.0], [3.0, -40.0], 1.0, 1000)[1:]
    off = np.abs(found * n[:, None] - 1).max()
    return table({"": {"error": (off, "1", "relative error of 1/n, the largest")}})


@dataclass(frozen=True)
class Horizon:
    """How long schedules are followed."""

    steps: int = 20_000


@experiment("X6-schedules", Horizon(), smoke={"steps": 5000}, full={"steps": 200_000})
def schedules(lab: Lab, size: Horizon) -> xr.Dataset:
    """The optimal schedule of steps and the halved one, kappa = 10, beside their bounds."""
    L, mu, variance = 1.0, 0.1, 1.0
    n = np.arange(size.steps + 1)
    factor = (1 + mu / L) * (1 + L / mu)

    def one(first: float) -> xr.Dataset:
        h, E = optimal_schedule(L, mu, variance, first, size.steps)
        late = int(np.argmax(h < h[0]))  # n_0
        early = (1 - 2 / factor) ** n[: late + 1] * first
        bound = variance * factor / (n[late:] + 1 - late)
        ratios = {
            "early": (np.max(E[: late + 1] / early), "1", "E over its bound before"),
            "late": (np.max(E[late:] / bound), "1", "E over its bound after"),
            "ratio": (E[5000] / bound[5000 - late], "1", "E over its bound at step 5000"),
        }
        return table({"": ratios})

    found = over(one, first=([5.0, 100.0], "parameter^2", "mean square error at the start"))
    E, at = halving_schedule(L, mu, variance, 2 * variance, size.steps)[1:]
    scaled, r = E[at] * at / variance, np.arange(1, len(at))
    c = 1 + 2 * np.log(2) * (1 + L / mu) * (1 + mu / L)
    latest = r + np.log(2) * factor * (2.0**r - 1)
    halved = table(
        {
            "": {
                "limit": (scaled[-1], "1", "N E/sigma^2 at the last halving"),
                "constant": (c, "1", "c of its bound"),
            },
            "halving": {
                "scaled": (scaled[1:], "1", "N E/sigma^2 where steps are halved"),
                "delay": (at[1:] / latest, "1", "step of a halving over its bound"),
            },
        },
        halving=r,
    )
    return xr.merge([found, halved])


CASES = {
    "ten eigenvalues": (tuple(LAM), 1.0),
    "start ten times as far": (tuple(LAM), 10.0),
    "one eigenvalue": ((1.0,), 1.0),
}
SCALES = (1.0, 0.5, 0.1)  # a times the least eigenvalue


@dataclass(frozen=True)
class Decay:
    """To which step the slope is taken, from 2000 on, and from where."""

    last: int = 200_000
    cases: tuple[str, ...] = tuple(CASES)


@experiment("X6-decay", Decay(),
            smoke={"last": 20_000, "cases": ("ten eigenvalues",)})  # fmt: skip
def diminishing(lab: Lab, size: Decay) -> xr.Dataset:
    """Slopes of the mean square error under steps a/(n + b)."""

    def one(case: str, scale: float) -> xr.Dataset:
        lam, square = np.array(CASES[case][0]), CASES[case][1]
        a = scale / lam[0]
        b = max(a, 1.0) if len(lam) == 1 else a * lam[-1]
        h = a / (np.arange(size.last) + b)
        start = np.full(len(lam), square**0.5)
        E = error_moments(descent(h), lam, start, STD, size.last).sum(axis=1)
        # Even in the logarithm of n, so that no end of the line weighs more.
        n = np.unique(np.geomspace(2000, size.last, 200).astype(int))
        slope = np.polyfit(np.log(n), np.log(E[n]), 1)[0]
        return table({"": {"slope": (slope, "1", "slope of log E in log n")}})

    return over(
        one, case=list(size.cases), scale=(list(SCALES), "1", "a times the least eigenvalue")
    )


@experiment("X6-limits")
def limits(lab: Lab) -> xr.Dataset:
    """Second moments of SGD at time 1 less those of gradient flow and of its SDE; curvature 1."""
    sizes = 2.0 ** -np.arange(5, 11)

    def apart(start: float) -> tuple[np.ndarray, np.ndarray]:
        flow = start**2 * np.exp(-2.0)
        found = np.array(
            [error_moments(descent(h), [1.0], [start], 1.0, round(1 / h))[-1, 0] for h in sizes]
        )
        return np.abs(found - flow), np.abs(found - flow - sizes / 2 * (1 - np.exp(-2.0)))

    unit = "parameter^2"
    rest, far = apart(0.0), apart(1.0)
    return table(
        {
            "size": {
                "flow": (rest[0], unit, "second moment less that of the flow, from 0"),
                "sde": (rest[1], unit, "less that of the SDE, from 0"),
                "flow_far": (far[0], unit, "less that of the flow, from 1"),
                "sde_far": (far[1], unit, "less that of the SDE, from 1"),
            }
        },
        size=(sizes, "parameter^2/loss", "step size"),
    )


@experiment("X6-averages", Draws(500), smoke={"draws": 50}, full={"draws": 5000})
def averages(lab: Lab, size: Draws) -> xr.Dataset:
    """The averaged iterate of SGD on |w|, from distance 1 with noise of variance 1."""

    def one(steps: int) -> xr.Dataset:
        absolute = Function(lambda w: jnp.sum(jnp.abs(w)), jnp.ones(1))
        h = 1 / (2 * steps) ** 0.5
        keys = jax.random.split(jax.random.key(1), size.draws)
        w = paths(
            gradient_descent(h, oracle=isotropic(1.0)), absolute, absolute.start, 1, steps - 1,
            key=keys, over=("key",),
        ).seen  # fmt: skip
        loss = np.abs(np.asarray(w)[..., 0].mean(axis=1))
        found = mean_and_error("loss", loss, "loss", "mean loss of the averaged iterate")
        bound = ((2 / steps) ** 0.5, "loss", "R sqrt(K^2 + sigma^2)/sqrt N")
        return table({"": {**found, "loss_theory": bound}})

    return over(one, steps=([200, 2000], "1", "steps"))
