"""Gradient descent of practical sizes: wide, narrow and small nets, natural and random data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from thalweg.core.tree import Params
from thalweg.dynamics import gradient_descent, optax_dynamics
from thalweg.lab.study import Lab, variable
from thalweg.models import MLP
from thalweg.models.last_layer import last_layer_inputs
from thalweg.models.starts import given_start, zero_last_start
from thalweg.probes import feature_singular_value, gradient_norm
from thalweg.problems import Data, Supervised, supervised
from thalweg.problems.data import images
from thalweg.problems.data.random_labels import random_data
from thalweg.theory.landscape import parameter_count, polyak_lojasiewicz
from thalweg.trajectory import Trajectory

SIZES = (50, 100, 200)
STEPS, SMALL_STEPS, DIGIT_STEPS = 6000, 4000, 3000
TRAIN, TEST = 200, 1000
MOMENTUM = 0.9


class Task(NamedTuple):
    """A net on its examples, and what goes with its start.

    Attributes:
        problem: Squared error of the net from this start.
        params: The start.
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
    given = supervised(given_start(net, params), data, "squared-error")
    return Task(given, params, np.asarray(A), step_size)


@eqx.filter_jit
def _start(problem: Supervised, key: Array) -> tuple[Params, Array]:
    params = problem.init(key)
    return params, last_layer_inputs(problem.model, params, problem.inputs)


def wide(lab: Lab) -> xr.Dataset:
    """X2: nets of O(n) parameters with a wide last layer, all layers trained."""
    return wide_nets(lab, SIZES, 3 if lab.full else 1)


def wide_nets(lab: Lab, sizes: Sequence[int], seeds: int, steps: int = STEPS) -> xr.Dataset:
    """Hidden (16, 16, ceil(1.2 n)) on random signs: loss, sigma_n(A) and the inequality of E2."""
    at = np.linspace(0, steps, 31).round()
    rows = []
    for n in sizes:
        net = parameter_count.narrow_wide_net(n, 1.2, (16, 16))
        rows.append([_wide(lab, net, n, seed, at) for seed in range(seeds)])
    names = {
        "loss": ("loss", "loss"),
        "sigma": ("features", "sigma_n(A)"),
        "sigma_error": ("features", "error of sigma_n(A)"),
        "constant": ("loss/parameter^2", "||grad L||^2 / 2L"),
        "constant_bound": ("loss/parameter^2", "sigma_n(A)^2 / n"),
        "loss_bound": ("loss", "loss by E3"),
        "accuracy": ("1", "fraction of signs that are right"),
    }
    along = ("examples", "seed", "step")
    found = {
        name: variable(along, [[r[name] for r in row] for row in rows], unit, words)
        for name, (unit, words) in names.items()
    }
    counted = [
        parameter_count.parameter_count(parameter_count.narrow_wide_net(n, 1.2, (16, 16)), 32, 1)
        for n in sizes
    ]
    found["parameters"] = variable("examples", counted, "1", "trainable parameters d")
    found["step_size"] = variable(
        ("examples", "seed"),
        [[r["step_size"] for r in row] for row in rows],
        "parameter^2/loss",
        "step size n / sigma_1(A)^2",
    )
    return xr.Dataset(
        found,
        {
            "examples": list(sizes),
            "seed": np.arange(seeds),
            "step": variable("step", at, "1", "steps"),
        },
    )


def _wide(lab: Lab, net: MLP, n: int, seed: int, at: np.ndarray) -> dict[str, np.ndarray]:
    given = task(net, signs(n, seed), seed)
    eta = given.step_size
    run = lab.run(
        f"wide-{n}-{seed}",
        given.problem,
        gradient_descent(eta),
        times=eta * at,
        probes=[feature_singular_value(), gradient_norm()],
    )
    data = run.dataset.isel(seed=0)
    loss, sigma = data["loss"].values, data["feature_singular_value"].values
    bound = polyak_lojasiewicz.last_layer_constant(sigma, n)
    descent = polyak_lojasiewicz.geometric_descent(eta, float(bound.min()), float(loss[0]))
    return {
        "loss": loss,
        "sigma": sigma,
        "sigma_error": data["feature_singular_value_error"].values,
        "constant": polyak_lojasiewicz.pl_constant(data["gradient_norm"].values, loss),
        "constant_bound": bound,
        "loss_bound": descent.at(eta * at),
        "accuracy": accuracies(run, given.problem, given.problem.inputs, given.problem.targets),
        "step_size": np.asarray(eta),
    }


def starts(lab: Lab) -> xr.Dataset:
    """X2-starts: sigma_n(A) where X2 begins, over many data sets and starts."""
    return starts_of(SIZES, 100 if lab.full else 40)


def starts_of(sizes: Sequence[int], seeds: int) -> xr.Dataset:
    """sigma_n(A) by n and seed, by a dense singular value decomposition."""
    found = []
    for n in sizes:
        net = parameter_count.narrow_wide_net(n, 1.2, (16, 16))
        drawn = (task(net, signs(n, seed), seed).A for seed in range(seeds))
        found.append([np.linalg.svd(A, compute_uv=False)[n - 1] for A in drawn])
    return xr.Dataset(
        {"sigma": variable(("examples", "seed"), found, "features", "sigma_n(A) at the start")},
        {"examples": list(sizes), "seed": np.arange(seeds)},
    )


def narrow(lab: Lab) -> xr.Dataset:
    """C6: hidden (8, 8, m_H), down to two parameters per example."""
    return narrow_nets(lab, SIZES, (2, 4, 8, 16) if lab.full else (2, 4, 8), 3)


def narrow_nets(
    lab: Lab, sizes: Sequence[int], widths: Sequence[int], seeds: int, steps: int = SMALL_STEPS
) -> xr.Dataset:
    """Loss and accuracy on random signs after a number of steps, by n, last width and seed."""
    found = [
        [[_small(lab, (8, 8, m), n, seed, steps) for seed in range(seeds)] for m in widths]
        for n in sizes
    ]
    count = [parameter_count.parameter_count(MLP((8, 8, m)), 32, 1) for m in widths]
    ratio = np.asarray(count) / np.asarray(sizes)[:, None]
    where = ("examples", "width", "seed")
    return xr.Dataset(
        {
            "loss": variable(
                where, [[[r.loss for r in b] for b in a] for a in found], "loss", "loss"
            ),
            "accuracy": variable(
                where,
                [[[r.accuracy for r in b] for b in a] for a in found],
                "1",
                "fraction of signs that are right",
            ),
            "parameters": variable("width", count, "1", "trainable parameters d"),
            "ratio": variable(("examples", "width"), ratio, "1", "parameters per example d/n"),
        },
        {"examples": list(sizes), "width": list(widths), "seed": np.arange(seeds)},
    )


def few_features(lab: Lab) -> xr.Dataset:
    """C7: hidden (16, 16, 10) on 100 examples, whose features cannot have rank n."""
    return few_feature_nets(lab, 3 if lab.full else 1)


def few_feature_nets(lab: Lab, seeds: int, steps: int = STEPS) -> xr.Dataset:
    """Loss and accuracy at the end, and rank of A at the start, by seed."""
    hidden, n = (16, 16, 10), 100
    found = [_small(lab, hidden, n, seed, steps) for seed in range(seeds)]
    count = parameter_count.parameter_count(MLP(hidden), 32, 1)
    return xr.Dataset(
        {
            "loss": variable("seed", [r.loss for r in found], "loss", "loss"),
            "accuracy": variable("seed", [r.accuracy for r in found], "1", "right signs"),
            "rank": variable("seed", [r.rank for r in found], "1", "rank of A at the start"),
            "parameters": variable((), count, "1", "trainable parameters d"),
            "examples": variable((), n, "1", "examples n"),
        },
        {"seed": np.arange(seeds)},
    )


class End(NamedTuple):
    """Where a run on random signs ended, and the rank of A where it began."""

    loss: float
    accuracy: float
    rank: int


def _small(lab: Lab, hidden: tuple[int, ...], n: int, seed: int, steps: int) -> End:
    net = MLP(hidden, "softplus:100", initialiser="he-normal")
    given = task(net, signs(n, seed), seed)
    eta = given.step_size
    run = lab.run(
        f"{'-'.join(map(str, hidden))}-on-{n}-{seed}",
        given.problem,
        gradient_descent(eta),
        times=eta * np.array([0, steps]),
    )
    problem = given.problem
    right = accuracies(run, problem, problem.inputs, problem.targets)
    rank = int(np.linalg.matrix_rank(given.A))
    return End(float(run.dataset["loss"][0, -1]), float(right[-1]), rank)


def natural(lab: Lab) -> xr.Dataset:
    """X3: one net on handwritten digits and on random images with random labels."""
    return natural_and_random(lab, 3 if lab.full else 1)


def natural_and_random(lab: Lab, seeds: int, steps: int = DIGIT_STEPS) -> xr.Dataset:
    """Training and test accuracy of hidden (16, 16, 240) by data, seed and step."""
    sources = {"digits": digits, "random": random_images}
    net = parameter_count.narrow_wide_net(TRAIN, 1.2, (16, 16))
    at = np.linspace(0, steps, 21).round()
    rows = [
        [_generalise(lab, net, name, draw(seed), seed, at) for seed in range(seeds)]
        for name, draw in sources.items()
    ]
    loss, train, test = np.moveaxis(np.asarray(rows), 2, 0)
    along = ("data", "seed", "step")
    chance = np.sqrt(test * (1 - test) / TEST)
    count = parameter_count.parameter_count(net, 64, 10)
    return xr.Dataset(
        {
            "loss": variable(along, loss, "loss", "training loss"),
            "train": variable(along, train, "1", "training accuracy"),
            "test": variable(along, test, "1", "test accuracy"),
            "test_error": variable(along, chance, "1", "standard error over 1000 test cases"),
            "parameters": variable((), count, "1", "trainable parameters d"),
        },
        {
            "data": list(sources),
            "seed": np.arange(seeds),
            "step": variable("step", at, "1", "steps"),
        },
    )


def digits(seed: int) -> Data:
    """1200 of the bundled digits in random order, pixels in [0, 1]."""
    every = images.digit_images(standardize="none")
    rows = np.random.default_rng(seed).permutation(len(every.inputs))[: TRAIN + TEST]
    return dataclasses.replace(every, inputs=every.inputs[rows], targets=every.targets[rows])


def random_images(seed: int) -> Data:
    """1200 inputs N(0, I_64) with ten classes at random."""
    return random_data(TRAIN + TEST, 64, 10, seed=seed)


def _generalise(
    lab: Lab, net: MLP, name: str, data: Data, seed: int, at: np.ndarray
) -> list[np.ndarray]:
    """Loss, training and test accuracy along a run with momentum."""
    seen = dataclasses.replace(data, inputs=data.inputs[:TRAIN], targets=data.targets[:TRAIN])
    given = task(net, _bare(seen), seed)
    eta = given.step_size / 3
    run = lab.run(
        f"{name}-{seed}",
        given.problem,
        optax_dynamics(optax.sgd(eta, momentum=MOMENTUM), eta, "heavy ball"),
        times=eta * at,
    )
    unseen = np.eye(10)[data.targets[TRAIN:]]
    return [
        run.dataset["loss"].values[0],
        accuracies(run, given.problem, given.problem.inputs, given.problem.targets),
        accuracies(run, given.problem, data.inputs[TRAIN:], unseen),
    ]


def accuracies(
    run: Trajectory, problem: Supervised, inputs: Array | np.ndarray, targets: Array | np.ndarray
) -> np.ndarray:
    """Fraction of right signs, or classes if there are several outputs, at every record."""
    y = np.asarray(targets)
    f = np.asarray(_outputs(problem, run.parameters.values[0], jnp.asarray(inputs)))
    right = f.argmax(-1) == y.argmax(-1) if y.shape[1] > 1 else (f * y > 0)[..., 0]
    return right.mean(axis=1)


@eqx.filter_jit
def _outputs(problem: Supervised, flats: Array, x: Array) -> Array:
    """Outputs (records, n, k) at flat parameters (records, d)."""
    unravel = ravel_pytree(problem.init(jax.random.key(0)))[1]
    return jax.lax.map(lambda flat: problem.outputs(unravel(flat), x), flats)


def _bare(data: Data) -> Data:
    """The data with a description that does not differ by seed, so that runs share compilations."""
    return dataclasses.replace(data, description={"source": "see the experiment"})
