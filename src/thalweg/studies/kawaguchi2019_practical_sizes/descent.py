"""Gradient descent of practical sizes: wide, narrow and small nets, natural and random data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array

from thalweg.core.tree import Params
from thalweg.curvature import pl_constant
from thalweg.dynamics import gradient_descent, optax_dynamics
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, predicted, table
from thalweg.models import MLP, parameter_count
from thalweg.models.last_layer import last_layer_inputs
from thalweg.models.starts import zero_last_start
from thalweg.probes import feature_singular_value, gradient_norm
from thalweg.problems import Data, Supervised, supervised
from thalweg.problems.data import images
from thalweg.problems.data.random_labels import random_data
from thalweg.problems.recorded_outputs import outputs_at, share_right
from thalweg.theory.landscape import parameter_count as counting
from thalweg.theory.landscape import polyak_lojasiewicz
from thalweg.trajectory import Trajectory

SIZES = (50, 100, 200)
TRAIN, TEST = 200, 1000
MOMENTUM = 0.9
RIGHT = "fraction of signs that are right"


class Task(NamedTuple):
    """A net on its examples, and where it starts.

    Attributes:
        problem: Squared error of the net.
        params: The start, the last layer zero.
        A: Inputs of the last layer there.
        step_size: n / sigma_1(A)^2.
    """

    problem: Supervised
    params: Params
    A: np.ndarray
    step_size: float


def signs(n: int, seed: int) -> Data:
    """Inputs N(0, I_32), normalised to norm sqrt(32)/2, with labels +1 or -1 at random."""
    return _bare(random_data(n, 32, "signs", norm=np.sqrt(32) / 2, seed=seed))


def task(net: MLP, data: Data, seed: int) -> Task:
    """A net with squared error, its last layer at zero, and the step size n / sigma_1(A)^2."""
    drawn = supervised(zero_last_start(net), data, "squared-error")
    params, A = _start(drawn, jax.random.key(seed))
    step_size = polyak_lojasiewicz.last_layer_step(A)
    return Task(supervised(net, data, "squared-error"), params, np.asarray(A), step_size)


@eqx.filter_jit
def _start(problem: Supervised, key: Array) -> tuple[Params, Array]:
    params = problem.init(key)
    return params, last_layer_inputs(problem.model, params, problem.inputs)


@dataclass(frozen=True)
class Wide:
    """Numbers of examples, seeds of each, steps and records of a run."""

    sizes: tuple[int, ...] = SIZES
    seeds: int = 1
    steps: int = 6000
    records: int = 30


@experiment("X2", Wide(), smoke={"sizes": (50,)}, full={"seeds": 3})
def wide(lab: Lab, size: Wide) -> xr.Dataset:
    """Nets of O(n) parameters with a wide last layer, all layers trained on random signs.

    Hidden (16, 16, ceil(1.2 n)): loss, sigma_n(A), the inequality of E2 and the bound of E3.
    """
    at = np.linspace(0, size.steps, size.records + 1).round()

    def one(examples: int, seed: int) -> xr.Dataset:
        net = counting.narrow_wide_net(examples, 1.2, (16, 16))
        given = task(net, signs(examples, seed), seed)
        eta = given.step_size
        probes = [feature_singular_value(), gradient_norm()]
        name = f"wide-{examples}-{seed}"
        run = _descend(lab, name, given, gradient_descent(eta), eta * at, probes=probes)
        data = run.dataset.isel(seed=0)
        loss, sigma = data["loss"].values, data["feature_singular_value"].values
        constant = pl_constant(data["gradient_norm"].values, loss)
        bound = polyak_lojasiewicz.last_layer_constant(sigma, examples)
        right = share_right(
            outputs_at(given.problem, run.parameters.values[0]), given.problem.targets
        )
        count = parameter_count(net, 32, 1)
        groups: dict[str, Any] = {
            "step": {
                "time": (eta * at, "parameter^2/loss", "training time"),
                "loss": (loss, "loss", "training loss L"),
                "sigma": (sigma, "features", "sigma_n(A)"),
                "sigma_error": (
                    data["feature_singular_value_error"],
                    "features",
                    "error of sigma_n(A)",
                ),
                "constant": (constant, "loss/parameter^2", "||grad L||^2 / 2L"),
                "constant_bound": (bound, "loss/parameter^2", "sigma_n(A)^2 / n"),
                "accuracy": (right, "1", RIGHT),
            },
            "": {
                "parameters": (count, "1", "trainable parameters d"),
                "step_size": (eta, "parameter^2/loss", "step size n / sigma_1(A)^2"),
            },
        }
        descent = polyak_lojasiewicz.geometric_descent(eta, float(bound.min()), float(loss[0]))
        return predicted(table(groups, step=(at, "1", "steps of gradient descent")), descent)

    return over(one, examples=size.sizes, seed=range(size.seeds))


@dataclass(frozen=True)
class Starts:
    """Numbers of examples, seeds of each."""

    sizes: tuple[int, ...] = SIZES
    seeds: int = 40


@experiment("X2-starts", Starts(), smoke={"sizes": (50,), "seeds": 20}, full={"seeds": 100})
def starts(lab: Lab, size: Starts) -> xr.Dataset:
    """sigma_n(A) where X2 begins, over many data sets and starts, by a dense decomposition."""

    def one(examples: int, seed: int) -> xr.Dataset:
        net = counting.narrow_wide_net(examples, 1.2, (16, 16))
        A = task(net, signs(examples, seed), seed).A
        sigma = np.linalg.svd(A, compute_uv=False)[examples - 1]
        return table({"": {"sigma": (sigma, "features", "sigma_n(A) at the start")}})

    return over(one, examples=size.sizes, seed=range(size.seeds))


@dataclass(frozen=True)
class Narrow:
    """Numbers of examples, units of the last hidden layer, seeds, steps."""

    sizes: tuple[int, ...] = SIZES
    widths: tuple[int, ...] = (2, 4, 8)
    seeds: int = 3
    steps: int = 4000


@experiment(
    "X2-narrow", Narrow(), smoke={"sizes": (50,), "seeds": 1}, full={"widths": (2, 4, 8, 16)}
)
def narrow(lab: Lab, size: Narrow) -> xr.Dataset:
    """Hidden (8, 8, m_H), down to two parameters per example, on random signs."""

    def one(examples: int, width: int, seed: int) -> xr.Dataset:
        return _small(lab, (8, 8, width), examples, seed, size.steps)

    return over(one, examples=size.sizes, width=size.widths, seed=range(size.seeds))


@dataclass(frozen=True)
class Few:
    """Seeds, steps."""

    seeds: int = 1
    steps: int = 6000


@experiment("X2-rank", Few(), full={"seeds": 3})
def few_features(lab: Lab, size: Few) -> xr.Dataset:
    """Hidden (16, 16, 10) on 100 examples, whose features cannot have rank n."""
    return over(
        lambda seed: _small(lab, (16, 16, 10), 100, seed, size.steps), seed=range(size.seeds)
    )


def _small(lab: Lab, hidden: tuple[int, ...], n: int, seed: int, steps: int) -> xr.Dataset:
    """Where a run on random signs ended, and the rank of A where it began."""
    given = task(MLP(hidden, "softplus:100", initialiser="he-normal"), signs(n, seed), seed)
    eta, problem = given.step_size, given.problem
    name = f"{'-'.join(map(str, hidden))}-on-{n}-{seed}"
    run = _descend(lab, name, given, gradient_descent(eta), eta * np.array([0, steps]))
    right = share_right(outputs_at(problem, run.parameters.values[0]), problem.targets)
    count = parameter_count(MLP(hidden), 32, 1)
    numbers = {
        "loss": (run.dataset["loss"][0, -1], "loss", "loss at the end"),
        "accuracy": (right[-1], "1", RIGHT),
        "rank": (np.linalg.matrix_rank(given.A), "1", "rank of A at the start"),
        "parameters": (count, "1", "trainable parameters d"),
        "ratio": (count / n, "1", "parameters per example d/n"),
        "labels": (n, "1", "examples n"),
    }
    return table({"": numbers})


def _descend(
    lab: Lab, name: str, given: Task, dynamics: Any, times: np.ndarray, **options: Any
) -> Trajectory:
    return lab.run(name, given.problem, dynamics, start=given.params, times=times, **options)


@dataclass(frozen=True)
class Natural:
    """Seeds, steps and records of a run."""

    seeds: int = 1
    steps: int = 3000
    records: int = 20


@experiment("X3", Natural(), smoke={"steps": 40}, full={"seeds": 3})
def natural(lab: Lab, size: Natural) -> xr.Dataset:
    """One net, hidden (16, 16, 240), on handwritten digits and on random images and labels."""
    net = counting.narrow_wide_net(TRAIN, 1.2, (16, 16))
    at = np.linspace(0, size.steps, size.records + 1).round()
    sources = {"digits": digits, "random": random_images}

    def one(data: str, seed: int) -> xr.Dataset:
        whole = sources[data](seed)
        seen = dataclasses.replace(
            whole, inputs=whole.inputs[:TRAIN], targets=whole.targets[:TRAIN]
        )
        given = task(net, _bare(seen), seed)
        eta, problem = given.step_size / 3, given.problem
        heavy_ball = optax_dynamics(optax.sgd(eta, momentum=MOMENTUM), eta, "heavy ball")
        run = _descend(lab, f"{data}-{seed}", given, heavy_ball, eta * at)
        path, unseen = run.parameters.values[0], whole.inputs[TRAIN:]
        train = share_right(outputs_at(problem, path), problem.targets)
        test = share_right(outputs_at(problem, path, unseen), whole.targets[TRAIN:])
        values = {
            "loss": (run.dataset["loss"].values[0], "loss", "training loss"),
            "train": (train, "1", "training accuracy"),
            "test": (test, "1", "test accuracy"),
            "test_error": (
                np.sqrt(test * (1 - test) / TEST),
                "1",
                "standard error over 1000 test cases",
            ),
        }
        count = parameter_count(net, 64, 10)
        return table(
            {"step": values, "": {"parameters": (count, "1", "trainable parameters d")}},
            step=(at, "1", "steps of gradient descent with momentum"),
        )

    return over(one, data=list(sources), seed=range(size.seeds))


def digits(seed: int) -> Data:
    """1200 of the bundled digits in random order, pixels in [0, 1]."""
    every = images.digit_images(standardize="none")
    rows = np.random.default_rng(seed).permutation(len(every.inputs))[: TRAIN + TEST]
    return dataclasses.replace(every, inputs=every.inputs[rows], targets=every.targets[rows])


def random_images(seed: int) -> Data:
    """1200 inputs N(0, I_64) with ten classes at random."""
    return random_data(TRAIN + TEST, 64, 10, seed=seed)


def _bare(data: Data) -> Data:
    """The data with a description that does not differ by seed, so that runs share compilations."""
    return dataclasses.replace(data, description={"source": "see the experiment"})
