"""X5: a small convolutional net on a task of long range, with the term against locality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array

from thalweg.dynamics import optax_dynamics
from thalweg.dynamics.optax_descent import OptaxDescent
from thalweg.lab.study import Lab, variable
from thalweg.models.signal_convolutional import SignalConvNet
from thalweg.problems import Loss, supervised
from thalweg.problems.data.long_range import Pairs, is_same_class, noisy_prototypes
from thalweg.problems.locality import LongRange, long_range
from thalweg.problems.margin_losses import logistic

STRENGTHS = (0.0, 0.3, 1.0)
DISTANCES = (0, 40)
LENGTH, WINDOW, CLASSES, NOISE = 96, 8, 4, 0.5
TRAIN, TEST, BATCH, RATE = 150, 2000, 50, 0.02
EVERY = 10  # epochs between records


def _logistic(outputs: Array, target: Array) -> Array:
    return jnp.sum(logistic(outputs * target))


LOSS = Loss("logistic", _logistic, "either")
NET = SignalConvNet((16,) * 6)


class Cell(NamedTuple):
    """A training problem and what it is tested on."""

    problem: LongRange
    inputs: Array
    targets: Array


class Path(NamedTuple):
    """Records along a training, and the accuracies in the end."""

    loss: Array
    interaction: Array
    train: Array
    test: Array


def data(seed: int, distance: int) -> tuple[Pairs, Pairs]:
    """Training and test pairs of one draw of prototypes, from different noisy copies."""
    few, many = CLASSES * TRAIN, CLASSES * (TRAIN + TEST)
    x, y = noisy_prototypes(CLASSES, WINDOW, TRAIN + TEST, NOISE, seed)
    canvas = (1, LENGTH)
    train = is_same_class(x[:few], y[:few], TRAIN, distance, canvas, 2 * seed)
    test = is_same_class(x[few:many], y[few:many], TEST, distance, canvas, 2 * seed + 1)
    return train, test


def cell(seed: int, distance: int, strength: float) -> Cell:
    """The patches are the windows of the two signals, in either role."""
    train, test = data(seed, distance)
    plain = supervised(NET, (train.inputs, train.targets), LOSS, precision="float32")
    pairs = np.stack([train.patches, train.patches[::-1]])
    plain = replace(plain, source=())  # data of all cells are stacked in one problem
    kind = jnp.float32
    return Cell(
        long_range(plain, pairs, jnp.asarray(strength)),
        jnp.asarray(test.inputs, kind),
        jnp.asarray(test.targets, kind),
    )


@eqx.filter_jit
def _trained(dynamics: OptaxDescent, cells: Cell, keys: Array, records: int) -> Path:
    """All cells at once; every epoch passes over the examples in a new order."""

    def one(cell: Cell, key: Array) -> Path:
        problem, n = cell.problem, len(cell.problem.inputs)
        start, order = jax.random.split(key)

        def batch(state: Any, rows: Array) -> tuple[Any, None]:
            return dynamics.descend(problem.on(rows).objective, state)[0], None

        def epoch(number: Array, state: Any) -> Any:
            rows = jax.random.permutation(jax.random.fold_in(order, number), n)
            return jax.lax.scan(batch, state, rows.reshape(-1, BATCH))[0]

        def record(state: Any, block: Array) -> tuple[Any, tuple[Array, Array]]:
            interaction = problem.interaction(state.params)
            loss = problem.objective(state.params) - problem.strength * interaction
            last = jax.lax.fori_loop(block * EVERY, (block + 1) * EVERY, epoch, state)
            return last, (loss, interaction)

        first = dynamics.init(problem, problem.init(start))
        last, (loss, interaction) = jax.lax.scan(record, first, jnp.arange(records + 1))
        right = [
            jnp.mean(problem.outputs(last.params, x) * y > 0)
            for x, y in ((problem.inputs, problem.targets), (cell.inputs, cell.targets))
        ]
        return Path(loss, interaction, *right)

    return jax.vmap(one)(cells, keys)


def locality(lab: Lab) -> xr.Dataset:
    """X5: IsSameClass in one dimension, over strengths of the term and distances."""
    return locality_of(range(10 if lab.full else 3), epochs=100)


def locality_of(seeds: Sequence[int], epochs: int) -> xr.Dataset:
    """Accuracies and R; the start and the order of examples are those of the seed."""
    shape = (len(STRENGTHS), len(DISTANCES), len(seeds))
    grid = [(s, d, seed) for s in STRENGTHS for d in DISTANCES for seed in seeds]
    cells = jax.tree.map(lambda *v: jnp.stack(v), *[cell(seed, d, s) for s, d, seed in grid])
    keys = jnp.stack([jax.random.key(seed) for *_, seed in grid])
    sgd = optax_dynamics(optax.sgd(RATE, momentum=0.9), RATE, "SGD with momentum")
    records = epochs // EVERY - 1
    path = _trained(sgd, cells, keys, records)
    found = {
        name: np.asarray(value, float).reshape(*shape, *value.shape[1:])
        for name, value in path._asdict().items()
    }
    dims = ("strength", "distance", "seed")
    along = (*dims, "epoch")
    spread = np.std(found["test"], axis=2, ddof=1) / np.sqrt(len(seeds))
    return xr.Dataset(
        {
            "loss": variable(along, found["loss"], "1", "logistic loss on training examples"),
            "interaction": variable(along, found["interaction"], "1", "R on training examples"),
            "train": variable(dims, found["train"], "1", "share of training examples right"),
            "test": variable(dims, found["test"], "1", "share of test examples right"),
            "mean_test": variable(dims[:2], found["test"].mean(2), "1", "mean test accuracy"),
            "mean_test_error": variable(dims[:2], spread, "1", "standard error over seeds"),
        },
        {
            "strength": variable("strength", list(STRENGTHS), "loss", "strength lambda"),
            "distance": variable("distance", list(DISTANCES), "sample", "zeros between windows"),
            "seed": list(seeds),
            "epoch": variable("epoch", EVERY * np.arange(records + 1), "1", "epochs done"),
        },
    )
