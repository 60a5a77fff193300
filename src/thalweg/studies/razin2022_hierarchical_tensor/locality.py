"""X5: a small convolutional net on a task of long range, with the term against locality."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array

from thalweg.core.tree import Params, stacked
from thalweg.driver.path import paths
from thalweg.dynamics.dynamics import Info, State
from thalweg.dynamics.optax_descent import OptaxDescent
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import table
from thalweg.models.signal_convolutional import SignalConvNet
from thalweg.problems import Loss, supervised
from thalweg.problems.data.long_range import Pairs, is_same_class, noisy_prototypes
from thalweg.problems.locality import LongRange, long_range
from thalweg.problems.margin_losses import logistic

STRENGTHS = (0.0, 0.3, 1.0)
DISTANCES = (0, 40)
LENGTH, WINDOW, CLASSES, NOISE = 96, 8, 4, 0.5
TRAIN, BATCH, RATE = 150, 50, 0.02
EVERY = 10  # epochs between records


def _logistic(outputs: Array, target: Array) -> Array:
    return jnp.sum(logistic(outputs * target))


LOSS = Loss("logistic", _logistic, "either")


class Epochs(OptaxDescent):
    """A step is an epoch: a pass over all examples in a new order, batch after batch."""

    def step(self, problem: Any, state: State, key: Array) -> tuple[State, Info]:
        def batch(state: State, rows: Array) -> tuple[State, Info]:
            return self.descend(problem.on(rows).objective, state)

        order = jax.random.permutation(key, len(problem.inputs))
        last, info = jax.lax.scan(batch, state, order.reshape(-1, BATCH))
        return last._replace(step=state.step + 1), Info(info.loss[-1])


class Cell(NamedTuple):
    """A training problem and what it is tested on."""

    problem: LongRange
    inputs: Array
    targets: Array


@dataclass(frozen=True)
class Size:
    """Draws of prototypes and starts, epochs, test pairs, and channels of the layers."""

    seeds: int
    epochs: int = 100
    test: int = 2000
    channels: tuple[int, ...] = (16,) * 6


def data(seed: int, distance: int, test: int) -> tuple[Pairs, Pairs]:
    """Training and test pairs of one draw of prototypes, from different noisy copies."""
    few, many = CLASSES * TRAIN, CLASSES * (TRAIN + test)
    x, y = noisy_prototypes(CLASSES, WINDOW, TRAIN + test, NOISE, seed)
    canvas = (1, LENGTH)
    return (
        is_same_class(x[:few], y[:few], TRAIN, distance, canvas, 2 * seed),
        is_same_class(x[few:many], y[few:many], test, distance, canvas, 2 * seed + 1),
    )


def cell(size: Size, seed: int, distance: int, strength: float) -> Cell:
    """The patches are the windows of the two signals, in either role."""
    train, test = data(seed, distance, size.test)
    net = SignalConvNet(size.channels)
    plain = supervised(net, (train.inputs, train.targets), LOSS, precision="float32")
    plain = replace(plain, source=())  # data of all cells are stacked in one problem
    problem = long_range(
        plain, np.stack([train.patches, train.patches[::-1]]), jnp.asarray(strength)
    )
    return Cell(problem, *(jnp.asarray(v, jnp.float32) for v in (test.inputs, test.targets)))


def losses(problem: Any, state: State) -> tuple[Array, Array]:
    """The logistic loss without the term, and R."""
    interaction = problem.interaction(state.params)
    term = problem.strength.astype(interaction.dtype) * interaction
    return problem.objective(state.params) - term, interaction


@eqx.filter_jit
def accuracies(cells: Cell, params: Params) -> tuple[Array, Array]:
    """Shares of training and of test examples that are right."""

    def one(cell: Cell, params: Params) -> tuple[Array, Array]:
        sets = ((cell.problem.inputs, cell.problem.targets), (cell.inputs, cell.targets))
        train, test = (jnp.mean(cell.problem.outputs(params, x) * y > 0) for x, y in sets)
        return train, test

    return eqx.filter_vmap(one)(cells, params)


@experiment(
    "X5",
    Size(seeds=3),
    smoke={"seeds": 2, "epochs": 20, "test": 20, "channels": (4,)},
    full={"seeds": 10},
)
def locality(lab: Lab, size: Size) -> xr.Dataset:
    """IsSameClass in one dimension, over strengths of the term and distances.

    The start and the order of examples are those of the seed.
    """
    shape = (len(STRENGTHS), len(DISTANCES), size.seeds)
    grid = [(seed, d, s) for s in STRENGTHS for d in DISTANCES for seed in range(size.seeds)]
    cells = stacked([cell(size, *place) for place in grid])
    keys = jnp.stack([jax.random.split(jax.random.key(seed)) for seed, *_ in grid])
    starts = jax.vmap(lambda problem, key: problem.init(key))(cells.problem, keys[:, 0])
    transform = optax.with_extra_args_support(optax.sgd(RATE, momentum=0.9))
    sgd = Epochs(transform, jnp.asarray(RATE), "SGD with momentum")
    found = paths(
        sgd, cells.problem, starts, EVERY, size.epochs // EVERY, losses, keys[:, 1],
        over=["problem", "params", "key"],
    )  # fmt: skip
    loss, interaction, train, test = (
        np.asarray(v, float).reshape(*shape, *v.shape[1:])
        for v in (*found.seen, *accuracies(cells, found.last.params))
    )
    spread = test.std(2, ddof=1) / np.sqrt(size.seeds)
    return table(
        {
            "strength distance seed epoch": {
                "loss": (loss, "1", "logistic loss on training examples"),
                "interaction": (interaction, "1", "R on training examples"),
            },
            "strength distance epoch": {
                "mean_loss": (loss.mean(2), "1", "logistic loss, mean over seeds"),
                "mean_interaction": (interaction.mean(2), "1", "R, mean over seeds"),
                "loss_spread": (loss.std(2), "1", "standard deviation over seeds"),
                "interaction_spread": (interaction.std(2), "1", "standard deviation over seeds"),
            },
            "strength distance seed": {
                "train": (train, "1", "share of training examples right"),
                "test": (test, "1", "share of test examples right"),
            },
            "strength distance": {
                "mean_test": (test.mean(2), "1", "mean test accuracy"),
                "mean_test_error": (spread, "1", "standard error over seeds"),
            },
        },
        strength=(STRENGTHS, "loss", "strength λ"),
        distance=(DISTANCES, "sample", "zeros between windows"),
        seed=range(size.seeds),
        epoch=(EVERY * np.arange(loss.shape[-1]), "1", "epochs done"),
    )
