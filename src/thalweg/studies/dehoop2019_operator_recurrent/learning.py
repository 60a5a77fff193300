"""Operator recurrent nets that learn: volumes of media, with noise and few examples, inverses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from sklearn.linear_model import LinearRegression

from thalweg.core import tree
from thalweg.core.tree import Params
from thalweg.driver.path import paths
from thalweg.dynamics import Discrete, optax_dynamics
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import averaged, over, table
from thalweg.models import Model, OperatorRecurrent, factor_pairs, factor_regulariser, mlp
from thalweg.problems import (
    Data,
    Problem,
    Supervised,
    penalised,
    supervised,
    volume_data,
    wave_media,
)
from thalweg.studies.dehoop2019_operator_recurrent.identities import applied
from thalweg.theory.inverse_problems import boundary_control as bc
from thalweg.theory.operator_nets.operator_bounds import parameter_sensitivity
from thalweg.theory.operator_nets.operator_capacity import gap_bound, truncation
from thalweg.theory.operator_nets.unrolled_control import unrolled_control

SQUARE = "volume^2"
BATCH = 50
NOISE = 0.05  # of labels, in experiment C
EPSILON = 0.1  # below which a factor is left out
SMALL = 1e-6  # below which a singular value is not shown


def squared(outputs: jax.Array, target: jax.Array) -> jax.Array:
    """The loss of the experiments: a squared error without a half."""
    return jnp.sum((outputs - target) ** 2)


@lru_cache(maxsize=32)  # one dynamics for what is compiled once
def annealed_adam(rate: float, steps: int, batch: int) -> Discrete:
    """Adam with a cosine to zero."""
    schedule = optax.cosine_decay_schedule(rate, steps)
    return optax_dynamics(optax.adam(schedule), rate, "Adam", batch=batch)


def trained(
    problems: Sequence[Problem],
    seeds: Sequence[int],
    rate: float,
    steps: int,
    batch: int = BATCH,
    records: int = 1,
) -> list[list[Params]]:
    """Of each problem, all side by side, the parameters at the start and after equal stretches."""
    starts = [problem.init(jax.random.key(s)) for problem, s in zip(problems, seeds, strict=True)]
    keys = jnp.stack([jax.random.key(1000 + seed) for seed in seeds])
    seen = paths(
        annealed_adam(rate, steps, batch), tree.stacked(problems), tree.stacked(starts),
        steps // records, records, key=keys, over=["problem", "params", "key"],
    ).seen  # fmt: skip
    lanes = [tree.lane(seen, i) for i in range(len(problems))]
    return [[tree.lane(lane, k) for k in range(records + 1)] for lane in lanes]


def problem_of(model: Model, inputs: Any, targets: Any) -> Supervised:
    """Without its source, so that problems differ in their numbers alone."""
    return replace(supervised(model, (np.asarray(inputs), np.asarray(targets)), squared), source=())


def error(model: Model, params: Params, inputs: Any, targets: Any) -> float:
    """The mean squared error."""
    return float(np.mean((applied(model, params, inputs) - np.asarray(targets)) ** 2))


@dataclass(frozen=True)
class Learners:
    """Training sets and their passes, tests, draws, steps N to the horizon and layers."""

    training: tuple[int, ...] = (200, 2000)
    passes: tuple[int, ...] = (300, 60)
    tests: int = 500
    draws: int = 3
    steps: int = 20
    layers: int = 5


LEARNERS = {
    "net": "operator recurrent net",
    "mlp": "MLP",
    "raw": "MLP, rounding scaled up",
    "glorot": "MLP, Glorot's start",
    "specified": "MLP, both",
    "line": "linear regression",
}
READERS = {  # how an MLP starts, and the deviation below which an entry is rounding
    "mlp": ("uniform-fan-in", 1e-12),
    "raw": ("uniform-fan-in", 0.0),
    "glorot": ("xavier-uniform", 1e-12),
    "specified": ("xavier-uniform", 0.0),
}


@experiment(
    "B",
    Learners(),
    smoke={"training": (100,), "passes": (8,), "tests": 50, "draws": 1, "steps": 8, "layers": 2},
    full={"training": (200, 2000, 8000), "passes": (300, 60, 60), "draws": 5},
)
def volumes(lab: Lab, size: Learners) -> xr.Dataset:
    """V(1/2) from Lambda: a net that applies it, and a line and MLPs that read the response."""

    def of(training: int, draw: int) -> xr.Dataset:
        passes = size.passes[size.training.index(training)]
        steps = passes * training // BATCH
        media = wave_media(jax.random.key(2 * draw), training, size.steps)
        other = wave_media(jax.random.key(2 * draw + 1), size.tests, size.steps)
        train = volume_data(media)
        test = volume_data(other, train.description["scale"])
        heard = media.responses, other.responses
        g, h = standardised(*heard)
        line = LinearRegression().fit(g, train.targets)
        found = {"line_train": np.mean((line.predict(g) - train.targets) ** 2)}
        found["line_test"] = np.mean((line.predict(h) - test.targets) ** 2)
        nets: dict[str, tuple[Model, Any, Any]] = {
            "net": (OperatorRecurrent(size.layers), train.inputs, test.inputs)
        }
        for name, (start, rounding) in READERS.items():
            reader = mlp([100, 100, 100], "relu", initialiser=start)
            nets[name] = (reader, *standardised(*heard, rounding))
        for name, (model, inputs, others) in nets.items():
            problem = problem_of(model, inputs, train.targets)
            [[begin, end]] = trained([problem], [draw], 1e-3, steps)
            found[f"{name}_start"] = applied(model, begin, inputs).var()
            found[f"{name}_train"] = error(model, end, inputs, train.targets)
            found[f"{name}_test"] = error(model, end, others, test.targets)
        words = {"train": "training error", "test": "test error", "start": "variance at the start"}
        told = {"variance": (test.targets.var(), SQUARE, "variance of V")}
        for name, value in found.items():
            learner, which = name.split("_")
            told[name] = (value, SQUARE, f"{words[which]}, {LEARNERS[learner]}")
        return table({"": told})

    training = (list(size.training), "media", "training media")
    found = over(of, training=training, draw=range(size.draws))
    return averaged(found, "draw", *(f"{name}_test" for name in LEARNERS))


def standardised(
    train: np.ndarray, test: np.ndarray, rounding: float = 1e-12
) -> tuple[np.ndarray, np.ndarray]:
    """Columns of mean 0 and deviation 1 over the training set; those of rounding stay near 0."""
    mean, deviation = train.mean(0), train.std(0)
    scale = np.where(deviation > rounding, deviation, 1.0)
    return (train - mean) / scale, (test - mean) / scale


@dataclass(frozen=True)
class Regularised:
    """Strengths of the penalty, seeds, passes over 20 noisy media, layers, rank, N, tests."""

    strengths: tuple[float, ...] = (0.0, 1e-4, 1e-3)
    seeds: int = 4
    passes: int = 1000
    layers: int = 4
    rank: int = 20
    steps: int = 20
    tests: int = 500


@experiment(
    "C",
    Regularised(),
    smoke={"seeds": 1, "passes": 10, "layers": 2, "rank": 4, "steps": 8, "tests": 50},
    full={"strengths": (0.0, 1e-5, 1e-4, 1e-3), "seeds": 8, "passes": 4000},
)
def gaps(lab: Lab, size: Regularised) -> xr.Dataset:
    """Twenty media with noisy labels: what a penalty on the factors does to the gap."""
    net = OperatorRecurrent(size.layers, rank=size.rank)
    lanes, problems, sets = [], [], []
    other = wave_media(jax.random.key(10_001), size.tests, size.steps)
    xi = np.random.default_rng(10_001).normal(size=(size.tests, 1))
    for seed in range(size.seeds):
        media = wave_media(jax.random.key(seed), 20, size.steps)
        train = volume_data(media)
        targets = train.targets + NOISE * np.random.default_rng(seed).normal(size=(20, 1))
        test = volume_data(other, train.description["scale"])
        for strength in size.strengths:
            plain = problem_of(net, train.inputs, targets)
            problems.append(penalised(plain, factor_regulariser, strength, is_smooth=False))
            lanes.append((seed, strength))
            sets.append((train.inputs, targets, test))
    found = trained(problems, [seed for seed, _ in lanes], 3e-3, 2 * size.passes, 10)
    ends = {at: (end, *of) for at, (_, end), of in zip(lanes, found, sets, strict=True)}
    strengths = (list(size.strengths), "volume^2/parameter", "strength of the penalty")
    return over(
        lambda seed, strength: _regularised(net, *ends[seed, strength], xi),
        seed=range(size.seeds),
        strength=strengths,
    )


def _regularised(
    net: OperatorRecurrent, params: Params, inputs: Any, targets: Any, test: Data, xi: np.ndarray
) -> xr.Dataset:
    train = error(net, params, inputs, targets)
    noisy = error(net, params, test.inputs, test.targets + NOISE * xi)
    matrices = [np.asarray(p.left @ p.right.T) for p in factor_pairs(params).values()]
    spectra = np.linalg.svd(np.stack(matrices), compute_uv=False)
    cut = truncation(params, EPSILON)
    R = float(factor_regulariser(params))
    largest = float(np.linalg.norm(inputs, 2, (1, 2)).max())
    C = float(parameter_sensitivity(net, cut.params, largest))
    kept = min(np.shape(inputs)[-1], net.rank or 1)
    mean = spectra.mean(0)[:kept]
    clean = error(net, params, test.inputs, test.targets)
    bound = gap_bound(cut.dimension, min(EPSILON, 3 * R), C, max(R, 1e-9), 20)
    shown, words = np.where(mean > SMALL, mean, np.nan), "singular value, mean over matrices"
    return table(
        {
            "": {
                "train": (train, SQUARE, "training error on noisy labels"),
                "gap": (noisy - train, SQUARE, "gap: test less training error, noisy labels"),
                "clean": (clean, SQUARE, "clean test error"),
                "regulariser": (R, "parameter", "sum of the norms of all factors"),
                "bound": (bound, "1", "form of the bound on the gap, over the range of the loss"),
            },
            "index": {"singular": (shown, "parameter", f"{words}, if above 1e-6")},
        },
        index=(range(1, kept + 1), "1", "index of the singular value"),
    )


@dataclass(frozen=True)
class Inverses:
    """Examples, passes and seeds."""

    examples: int = 6000
    passes: int = 240
    seeds: int = 3
    records: int = 12


INVERTERS = {
    "5 layers, ReLU": OperatorRecurrent(5, readout=False),
    "10 layers, polynomial": OperatorRecurrent(10, activation=None, readout=False),
}


@experiment(
    "D",
    Inverses(),
    smoke={"examples": 320, "passes": 4, "seeds": 1, "records": 2},
    full={"passes": 880, "seeds": 10},
)
def inverses(lab: Lab, size: Inverses) -> xr.Dataset:
    """X^-1 (1, 1) of symmetric 2x2 matrices with eigenvalues from 1/2 to 3/2."""
    steps = size.passes * size.examples // 64
    records = size.records
    steps -= steps % records
    test, answers = spd_inverses(1000, 999)

    def of(net: str) -> xr.Dataset:
        model, seeds = INVERTERS[net], range(size.seeds)
        problems = [problem_of(model, *spd_inverses(size.examples, seed)) for seed in seeds]
        found = trained(problems, seeds, 3e-3, steps, 64, records)
        errors = [[error(model, params, test, answers) for params in lane] for lane in found]
        passes = steps // records * np.arange(records + 1) * 64 / size.examples
        return table(
            {
                "seed record": {"error": (2 * np.array(errors), "1", "test error |f - X^-1 v|^2")},
                "record": {"passes": (passes, "1", "passes over the examples")},
                "": {"variance": (answers.var(0).sum(), "1", "variance of X^-1 v")},
            },
            seed=range(size.seeds),
            record=range(records + 1),
        )

    return over(of, net=list(INVERTERS))


def spd_inverses(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """X = R diag(lambda) R^T, lambda uniform in (1/2, 3/2), R a rotation at random; X^-1 (1, 1)."""
    rng = np.random.default_rng(seed)
    angle, lam = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.5, 1.5, (count, 2))
    c, s = np.cos(angle), np.sin(angle)
    R = np.moveaxis(np.array([[c, -s], [s, c]]), -1, 0)
    X = (R * lam[:, None]) @ R.transpose(0, 2, 1)
    return X, np.linalg.solve(X, np.ones((count, 2, 1)))[..., 0]


@dataclass(frozen=True)
class Unrolled:
    """Layers of the net, training media, passes, draws, steps N."""

    layers: int = 8
    training: int = 500
    passes: int = 40
    draws: int = 2
    steps: int = 20


@experiment(
    "E",
    Unrolled(),
    smoke={"layers": 3, "training": 100, "passes": 4, "draws": 1, "steps": 8},
    full={"draws": 5, "passes": 200, "training": 2000},
)
def from_the_solver(lab: Lab, size: Unrolled) -> xr.Dataset:
    """A net of few tied layers that starts as time reversal, and is trained; and from random."""

    def of(draw: int) -> xr.Dataset:
        media = wave_media(jax.random.key(50 + draw), size.training, size.steps)
        other = wave_media(jax.random.key(90 + draw), 200, size.steps)
        train = volume_data(media)
        scale = train.description["scale"]
        test = volume_data(other, scale)
        K = bc.control_operators(media.responses, media.time_step).K
        bound = float(np.linalg.norm(K, 2, (1, 2)).max())
        solver = unrolled_control(
            size.steps, media.time_step, size.layers, bound, scale=scale, tied=True
        )
        found = {}
        steps = size.passes * size.training // BATCH
        for name, model, rate, words in (
            ("solver", solver, 1e-4, "solver's iterations"),
            ("random", solver.model, 1e-3, "random start"),
        ):
            problem = problem_of(model, train.inputs, train.targets)
            [ends] = trained([problem], [draw], rate, steps)
            before, after = (error(solver.model, w, test.inputs, test.targets) for w in ends)
            found[f"{name}_start"] = (before, SQUARE, f"test error, {words}")
            found[f"{name}_end"] = (after, SQUARE, f"test error, {words} after training")
        return table({"": found})

    return over(of, draw=range(size.draws))
