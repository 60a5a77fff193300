"""Experiments on 500 digits: four optimisers from the same starts, clean labels and noisy ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array

from thalweg.core import tree
from thalweg.core.tree import Params
from thalweg.driver.path import paths
from thalweg.dynamics import (
    Discrete,
    ReplicatedSGD,
    entropy_sgd,
    optax_dynamics,
    replicated_sgd,
)
from thalweg.dynamics.dynamics import State
from thalweg.dynamics.replicated import spread
from thalweg.dynamics.scoping import Dropping, number
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import table
from thalweg.models import mlp
from thalweg.oracles import minibatch
from thalweg.probes import local_energy
from thalweg.problems import Data, Problem, Supervised, digit_images, supervised

TRAINED, BATCH, EPOCH = 500, 50, 10  # examples, of a step, steps of an epoch
RATE, MOMENTUM, FLIPPED = 0.05, 0.9, 0.2
SIGMAS, AT = (0.2, 0.3, 0.4, 0.5), 0.4
SGD, LONG, REPLICATED, ENTROPY = "SGD", "SGD, 3 times as long", "Replicated-SGD", "Entropy-SGD"


class Draw(NamedTuple):
    """A split of the digits, and a start."""

    train: Supervised
    test: Supervised
    start: Params


def draw(seed: int, noisy: bool, width: int) -> Draw:
    """500 digits to train on and the rest, pixels in [0, 1]; noisy training labels if asked for."""
    whole = digit_images(standardize="none")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(whole.inputs))
    labels = np.asarray(whole.targets)[order].astype(int)
    if noisy:
        resampled = np.flatnonzero(rng.random(TRAINED) < FLIPPED)
        labels[resampled] = rng.integers(0, 10, len(resampled))
    inputs = np.asarray(whole.inputs)[order].reshape(len(order), -1)
    model = mlp([width, width], "relu", initialiser="he-normal")
    parts = [
        supervised(
            model, Data("digits", inputs[rows], labels[rows], "classification", whole.classes)
        )
        for rows in (slice(None, TRAINED), slice(TRAINED, None))
    ]
    return Draw(parts[0], parts[1], parts[0].init(jax.random.key(seed)))


def optimisers(epochs: int, names: Sequence[str]) -> dict[str, tuple[Discrete, int]]:
    """Dynamics and how many steps each takes."""
    batches, steps = minibatch(BATCH), epochs * EPOCH
    drops = (steps // 2, 3 * steps // 4)

    def sgd(times: int) -> tuple[Discrete, int]:
        falls = number([float(times * d) for d in drops])
        rates = Dropping(number(RATE), falls, number(0.2)).at
        return (
            optax_dynamics(optax.sgd(rates, MOMENTUM, nesterov=True), rates, "SGD", oracle=batches),
            times * steps,
        )

    made = {
        SGD: lambda: sgd(1),
        LONG: lambda: sgd(3),
        REPLICATED: lambda: (
            replicated_sgd(
                RATE, replicas=3, momentum=MOMENTUM, coupling_steps=steps, raise_every=EPOCH,
                drops=drops, oracle=batches,
            ),
            steps,
        ),
        ENTROPY: lambda: (
            entropy_sgd(
                0.15, inner_steps=5, inner_rate=0.1, averaging=0.75, noise=1e-4,
                momentum=MOMENTUM, coupling_steps=steps, free_steps=EPOCH, drops=drops,
                oracle=batches,
            ),
            steps,
        ),
    }  # fmt: skip
    return {name: made[name]() for name in names}


def ended(problem: Problem, state: State) -> tuple[Params, Any]:
    """What is kept of a record: parameters; of replicas spread, mean loss and first coupling."""
    if not hasattr(state.memory, "replicas"):
        return state.params, ()
    assert isinstance(problem, Supervised)

    def lost(params: Params) -> Array:
        said = jax.nn.log_softmax(problem.outputs(params))
        return -jnp.mean(jnp.sum(said * problem.targets, axis=1))

    copies = state.memory.replicas
    losses = jnp.mean(jax.lax.map(lost, copies))
    return state.params, (spread(copies), losses, state.memory.first)


@eqx.filter_jit
def judged(train: Supervised, test: Supervised, params: Params, draws: int) -> Any:
    """Training and test error, and the local energies, for every seed."""

    def one(train: Supervised, test: Supervised, params: Params) -> tuple[Array, Array, Array]:
        wrong = [
            jnp.mean(jnp.argmax(p.outputs(params), axis=1) != jnp.argmax(p.targets, axis=1))
            for p in (train, test)
        ]
        probe = local_energy(SIGMAS, draws, "error")
        return wrong[0], wrong[1], probe.taken(train, params, jax.random.key(0)).reading.value

    return jax.lax.map(lambda given: one(*given), (train, test, params))


@dataclass(frozen=True)
class Training:
    """Seeds, epochs, width of the hidden layers, draws of the local energy."""

    seeds: int = 5
    epochs: int = 60
    width: int = 100
    draws: int = 50


def trained(size: Training, noisy: bool, names: Sequence[str]) -> xr.Dataset:
    """All optimisers from the same starts, judged at the end."""
    drawn = [draw(seed, noisy, size.width) for seed in range(size.seeds)]
    train, test, starts = (tree.stacked(part) for part in zip(*drawn, strict=True))
    keys = jax.random.split(jax.random.key(7), size.seeds)
    rows: list[list[np.ndarray]] = []
    told: list[dict[str, Any]] = [{}, {}]
    for dynamics, steps in optimisers(size.epochs, names).values():
        found = paths(
            dynamics, train, starts, steps, 1, ended, keys, over=("problem", "params", "key")
        )
        params, replicas = found.seen
        last = jax.tree.map(lambda a: a[:, -1], params)
        rows.append([np.asarray(a) for a in judged(train, test, last, size.draws)])
        if replicas:
            assert isinstance(dynamics, ReplicatedSGD)
            spreads, losses, first = map(np.asarray, replicas)
            told[0] = {
                "spread": (spreads, "parameter^2", "mean squared distance to the barycentre"),
            }
            told[1] = {
                "first_loss": (losses[:, 0], "loss", "mean loss of the copies at the start"),
                "first_coupling": (first[:, 0], "loss/parameter^2", "coupling at the start"),
                "grown": (
                    [
                        float(dynamics.coupling.at(jnp.asarray(steps), jnp.asarray(1.0)))
                        for _ in drawn
                    ],
                    "1",
                    "growth of the coupling after all updates",
                ),
            }
    train_error, test_error, rises = (np.stack(part) for part in zip(*rows, strict=True))
    return table(
        {
            "optimiser seed": {
                "train": (train_error, "1", "training error"),
                "test": (test_error, "1", "test error"),
            },
            "optimiser seed sigma": {"rise": (rises, "1", "local energy")},
            "seed record": told[0],
            "seed": told[1],
        },
        optimiser=list(names),
        seed=range(size.seeds),
        sigma=(list(SIGMAS), "1", "size of the noise"),
        record=["start", "end"],
    )


SMOKE = {"seeds": 2, "epochs": 8, "width": 20, "draws": 5}


@experiment("X5", Training(), smoke=SMOKE, full={"seeds": 12})
def clean(lab: Lab, size: Training) -> xr.Dataset:
    """Clean labels: SGD, three times as long, Replicated-SGD, Entropy-SGD."""
    return trained(size, False, (SGD, LONG, REPLICATED, ENTROPY))


@experiment("X6", Training(seeds=8), smoke=SMOKE, full={"seeds": 16})
def noisy(lab: Lab, size: Training) -> xr.Dataset:
    """A fifth of the training labels drawn anew: SGD, Replicated-SGD, Entropy-SGD."""
    return trained(size, True, (SGD, REPLICATED, ENTROPY))
