"""Experiments on full nets: one run in detail, repairs by initialisation, and two inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from thalweg.core.tree import Params
from thalweg.driver.path import paths
from thalweg.dynamics import gradient_descent
from thalweg.dynamics.dynamics import State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import Model, mlp, spread_biases
from thalweg.problems import Problem, Supervised, supervised
from thalweg.studies.holzmuller2020_inconsistency.data import X, Y, six_points, star, wave
from thalweg.theory.relu_nets.affine_floors import affine_per_ray_loss, affine_per_side_loss
from thalweg.theory.relu_nets.kink_dynamics import kink_dynamics
from thalweg.theory.relu_nets.one_input import he_net, one_input_net, parameters_of

LAWS = ("zero", "unif", "pytorch", "kink-neg-point")
GRID = np.linspace(-4, 4, 161)


@dataclass(frozen=True)
class OneRun:
    """Seeds of NumPy, the width, the step size, and how long."""

    seeds: int = 12
    width: int = 16
    step_size: float = 1e-3
    steps: int = 20_000
    records: int = 200


def watched(problem: Problem, state: State) -> tuple[Array, Params]:
    """The loss and the parameters."""
    return problem.objective(state.params), state.params


@experiment("X2", OneRun(), smoke={"seeds": 4})
def one_run(lab: Lab, size: OneRun) -> xr.Dataset:
    """Full nets from NumPy's seeds on the six points: loss above the floor, kinks, outputs."""
    nets = [he_net(np.random.default_rng(seed), size.width) for seed in range(size.seeds)]
    start = jax.tree.map(lambda *v: jnp.stack(v), *map(parameters_of, nets))
    problem = supervised(mlp([size.width], "relu"), (X[:, None], Y[:, None]))
    every = size.steps // size.records
    found = paths(
        gradient_descent(size.step_size), problem, start, every, size.records, watched,
        over=["params"],
    )  # fmt: skip
    loss, net = np.asarray(found.seen[0]), one_input_net(found.seen[1])
    runs = [kink_dynamics(n, six_points(), size.step_size) for n in nets]
    ends = [run.advance(run.start, size.steps) for run in runs]
    along = {
        "excess": (loss - 1, "loss", "loss less its floor 1"),
        "reach": (net.reach(), "input", "max |b/a|"),
    }
    each = {"crossed": ([float(e.crossed) for e in ends], "1", "whether a kink ever crosses")}
    kinks = {"kink": (-net.b[0] / net.a[0], "input", "kink of a unit, seed 0")}
    shown = [0, size.records // 20, size.records]
    output = np.stack(
        [
            np.asarray(problem.outputs(at(found.seen[1], k), jnp.asarray(GRID[:, None])))[:, 0]
            for k in shown
        ]
    )
    return table(
        {
            "seed step": along,
            "seed": each,
            "step unit": kinks,
            "when x": {"output": (output, "output", "f, seed 0")},
            "example": {"target": (Y, "output", "targets"), "input": (X, "input", "x")},
        },
        seed=range(size.seeds),
        step=every * np.arange(size.records + 1),
        unit=range(size.width),
        when=[f"step {every * k}" for k in shown],
        x=(GRID, "input", "x"),
        example=range(len(X)),
    )


def at(params: Params, record: int) -> Params:
    """The parameters of the first seed at a record."""
    return jax.tree.map(lambda v: v[0, record], params)


@dataclass(frozen=True)
class Repair:
    """Samples, width, learning rates of the mean squared error, steps, laws of the biases."""

    samples: int = 256
    width: int = 512
    rates: tuple[float, ...] = (1e-3, 4e-3)
    steps: int = 8192
    records: int = 32
    laws: tuple[str, ...] = LAWS
    seed: int = 0


SMALL: Mapping[str, Any] = {"samples": 48, "width": 128, "rates": (4e-3,), "steps": 6144}


@experiment("X3", Repair(), smoke=SMALL)
def repair(lab: Lab, size: Repair) -> xr.Dataset:
    """The same data and weights under four laws of the hidden biases."""
    x, y = wave(np.random.default_rng(size.seed), size.samples)
    order = np.argsort(x)

    def one(law: str) -> xr.Dataset:
        problem = supervised(with_biases(law, size.width, x), (x[:, None], y[:, None]))
        params = problem.init(jax.random.key(size.seed))
        dynamics = jax.vmap(gradient_descent)(2 * jnp.asarray(size.rates))  # the loss has 1/2
        every = size.steps // size.records
        found = paths(dynamics, problem, params, every, size.records, watched, over=["dynamics"])
        rmse = np.sqrt(2 * np.asarray(found.seen[0]))
        last = found.last.params
        fit = jax.vmap(lambda p: problem.outputs(p, jnp.asarray(x[order, None]))[:, 0])(last)
        return table(
            {
                "rate step": {"rmse": (rmse, "output", "training RMSE")},
                "rate point": {"fit": (fit, "output", "f after training")},
            },
            rate=list(size.rates),
            step=every * np.arange(size.records + 1),
        )

    floor = np.sqrt(2 * affine_per_side_loss(x, y))
    alone = table(
        {
            "": {"floor": (floor, "output", "RMSE of a line on either side")},
            "point": {"x": (x[order], "input", "x"), "y": (y[order], "output", "y")},
        }
    )
    return over(one, law=list(size.laws)).merge(alone)


def with_biases(law: str, width: int, x: np.ndarray) -> Model:
    """He's net, its hidden biases zero or drawn by a law."""
    net = mlp([width], "relu", initialiser="he-normal")
    return net if law == "zero" else spread_biases(net, law, x[:, None])


@dataclass(frozen=True)
class Star:
    """Widths, nets, steps."""

    widths: tuple[int, ...] = (64, 256)
    nets: int = 20
    steps: int = 4000
    records: int = 40


@experiment(
    "X4",
    Star(),
    smoke={"widths": (64,), "nets": 12},
    full={"nets": 200, "widths": (64, 256, 1024)},
)
def star_data(lab: Lab, size: Star) -> xr.Dataset:
    """Nets of two inputs on eleven rays: the loss, and whether any unit changes an example."""
    x, y = star()

    def one(width: int) -> xr.Dataset:
        problem = supervised(mlp([width], "relu", initialiser="he-normal"), (x, y[:, None]))
        start = jax.vmap(problem.init)(jax.random.split(jax.random.key(width), size.nets))
        dynamics = jax.vmap(gradient_descent)(largest_step_sizes(problem, start))
        found = paths(
            dynamics, problem, start, size.steps // size.records, size.records, pattern,
            over=["dynamics", "params"],
        )  # fmt: skip
        loss, on = (np.asarray(v) for v in found.seen)
        moved = np.mean(on != on[:, :1], axis=(2, 3))
        return table(
            {
                "net step": {
                    "loss": (loss, "loss", "loss"),
                    "moved": (moved, "1", "share of (example, unit) that changed"),
                }
            },
            step=size.steps // size.records * np.arange(size.records + 1),
        )

    floor = table({"": {"floor": (affine_per_ray_loss(x, y), "loss", "floor, a line a ray")}})
    found = over(one, width=list(size.widths)).merge(floor)
    middle = found["loss"].median("net").assign_attrs(units="loss", long_name="median loss")
    return found.assign(median=middle)


def pattern(problem: Problem, state: State) -> tuple[Array, Array]:
    """The loss, and which hidden units are active on which examples."""
    assert isinstance(problem, Supervised)
    hidden = problem.model.features(state.params, problem.inputs)
    return problem.objective(state.params), hidden > 0


def largest_step_sizes(problem: Supervised, starts: Params) -> Array:
    """1/lambda_max of the Gram matrix of the outputs' gradients over N, for each net."""

    def one(params: Params) -> Array:
        flat, back = ravel_pytree(params)
        J = jax.jacobian(lambda v: problem.outputs(back(v))[:, 0])(flat)
        return len(J) / jnp.linalg.eigvalsh(J @ J.T)[-1]

    return jax.vmap(one)(starts)
