"""Experiments on nets of finitely many neurons, with and without noise, beside the wide limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.driver.path import paths
from thalweg.dynamics import gradient_descent
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models.knots_on_the_line import net_knots
from thalweg.models.mean_field import MeanFieldNet
from thalweg.oracles import particle_noise
from thalweg.problems import Decayed, supervised
from thalweg.studies.shevchenko2021_piecewise_linear.wide import (
    PLATEAUS,
    SHOWN,
    TWO_POINTS,
    Points,
)
from thalweg.theory.mean_field.cold import cold_net
from thalweg.theory.mean_field.gibbs import gibbs_net

HEAVY = 1e-3  # of the largest |a| |(w, b)|: neurons that count as knots


@dataclass(frozen=True)
class Particles:
    """Neurons, the paper's step s, weight decay, inverse temperature, and how long.

    `at` inputs the net is looked at; the last half of the records is averaged.
    """

    widths: tuple[int, ...]
    s: float
    weight_decay: float
    beta: float
    steps: int
    seeds: int = 1
    records: int = 1000


class Followed(NamedTuple):
    """What was seen of runs from N(0, I), seeds and records as first axes; parameters at the end.

    Attributes:
        outputs: On the grid that was asked for.
        square: E |theta|^2 over the neurons.
        loss: Risk and penalty.
        time: Training time, 2 s a step.
        params: After the last step, seeds as first axis.
    """

    outputs: np.ndarray
    square: np.ndarray
    loss: np.ndarray
    time: np.ndarray
    params: Any


def followed(
    points: Points, width: int, size: Particles, at: np.ndarray, convention: str = "gibbs"
) -> Followed:
    """Full-batch descent of all seeds, with the noise of a convention if beta is finite."""
    net = MeanFieldNet(width)
    data = (points.x[:, None], points.y[:, None])
    problem = Decayed(supervised(net, data), jnp.asarray(size.weight_decay))
    eta = 2 * size.s
    noise = None
    if np.isfinite(size.beta):
        noise = particle_noise(size.beta, eta, width, convention)
    grid = jnp.asarray(at)[:, None]

    def observe(problem: Any, state: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        square = jnp.mean(jnp.sum(net.neurons(state.params) ** 2, axis=1))
        return net.apply(state.params, grid)[:, 0], square, problem.objective(state.params)

    keys = jax.random.split(jax.random.key(0), 2 * size.seeds).reshape(2, size.seeds)
    starts = jax.vmap(lambda key: net.init(key, (1,), 1))(keys[0])
    run = paths(
        gradient_descent(eta, oracle=noise),
        problem,
        starts,
        size.steps // size.records,
        size.records,
        observe,
        keys[1],
        over=["params", "key"],
    )
    outputs, square, loss = map(np.asarray, run.seen)
    return Followed(outputs, square, loss, np.asarray(run.time[0]), run.last.params)


def late(values: np.ndarray) -> np.ndarray:
    """The mean over the last half of the records, the second axis."""
    return values[:, values.shape[1] // 2 :].mean(axis=1)


@experiment(
    "X2",
    Particles((500,), 0.05, 0.003, np.inf, 200_000),
    smoke={"widths": (60,), "steps": 4000, "records": 100},
    full={"seeds": 3},
)
def without_noise(lab: Lab, size: Particles) -> xr.Dataset:
    """Descent without noise on the three plateaus, beside the zero-temperature limit."""
    cold = cold_net(*PLATEAUS, size.weight_decay)
    run = followed(PLATEAUS, size.widths[0], size, SHOWN)
    knots, change, spread = np.full((3, size.seeds, 40), np.nan)
    for seed in range(size.seeds):
        params = jax.tree.map(lambda leaf, seed=seed: leaf[seed], run.params)
        found = net_knots(params, -5.0, 8.0, HEAVY, together=1e-3)
        for kept, row in zip((knots, change, spread), found, strict=True):
            kept[seed, : len(row)] = row[:40]
    groups: dict[str, Any] = {
        "seed time": {"excess": (run.loss / cold.objective - 1, "1", "F over its infimum, less 1")},
        "seed x": {"outputs": (run.outputs[:, -1], "output", "net of particles")},
        "seed knot": {
            "knots": (knots, "input", "knots of heavy neurons"),
            "slope_change": (change, "output/input", "change of slope there"),
            "spread": (spread, "input", "range of the neurons of a knot"),
        },
        "x": {"cold": (cold.predictor(SHOWN), "output", "zero temperature")},
    }
    return table(groups, seed=range(size.seeds), time=run.time, x=(SHOWN, "input", "x"),
                 knot=range(40))  # fmt: skip


@experiment(
    "X3",
    Particles((500,), 0.05, 0.003, 100.0, 40_000, records=2000),
    smoke={"widths": (60,), "steps": 1000, "records": 100},
    full={"widths": (500, 4000), "seeds": 2, "s": 0.0125},
)
def with_noise(lab: Lab, size: Particles) -> xr.Dataset:
    """Noisy descent on the three plateaus, averaged over its last half, beside the Gibbs law."""
    wide = gibbs_net(*PLATEAUS, size.weight_decay, size.beta)
    colder = gibbs_net(*PLATEAUS, size.weight_decay, 2 * size.beta)

    def one(width: int) -> xr.Dataset:
        run = followed(PLATEAUS, width, size, SHOWN)
        groups: dict[str, Any] = {
            "seed x": {"outputs": (late(run.outputs), "output", "net of particles, mean")},
            "seed": {"square": (late(run.square), "parameter^2", "E |theta|^2, mean")},
        }
        return table(groups, seed=range(size.seeds), x=(SHOWN, "input", "x"))

    exact: dict[str, Any] = {
        "x": {
            "gibbs": (wide.predictor(SHOWN), "output", "Gibbs law"),
            "gibbs_colder": (colder.predictor(SHOWN), "output", "Gibbs law at 2 beta"),
        },
        "": {
            "gibbs_square": (sum(wide.second_moments), "parameter^2", "E |theta|^2 of the law"),
            "colder_square": (sum(colder.second_moments), "parameter^2", "the same at 2 beta"),
        },
    }
    return over(one, width=size.widths).merge(table(exact, x=(SHOWN, "input", "x")))


@experiment(
    "X3-noise",
    Particles((1000,), 0.002, 1.0, 20.0, 20_000, seeds=2),
    smoke={"widths": (50,), "steps": 500, "records": 100, "seeds": 1},
    full={"widths": (4000,)},
)
def two_conventions(lab: Lab, size: Particles) -> xr.Dataset:
    """Noisy descent on two points, with the noise that samples the law and with the printed one."""
    at = TWO_POINTS.x[1:]
    times = {"gibbs": 1.0, "paper": 2.0}  # beta of the law that each samples, over beta

    def one(convention: str) -> xr.Dataset:
        run = followed(TWO_POINTS, size.widths[0], size, at, convention)
        wide = gibbs_net(*TWO_POINTS, size.weight_decay, times[convention] * size.beta)
        settled = np.where(run.time >= run.time[-1] / 10, run.square, np.nan)
        groups: dict[str, Any] = {
            "seed": {
                "square": (late(run.square), "parameter^2", "E |theta|^2, mean"),
                "output": (late(run.outputs)[:, 0], "output", "prediction at 10, mean"),
            },
            "": {
                "square_law": (sum(wide.second_moments), "parameter^2", "E |theta|^2 of the law"),
                "output_law": (wide.predictor(at)[0], "output", "prediction of the law at 10"),
            },
            "seed time": {"along": (settled, "parameter^2", "E |theta|^2")},
        }
        return table(groups, seed=range(size.seeds), time=run.time)

    return over(one, convention=list(times))
