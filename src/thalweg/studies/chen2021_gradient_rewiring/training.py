"""Spiking nets on images: rewired, pruned by size, and dense, at several strengths of the prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Float, UInt8
from sklearn.model_selection import train_test_split

from thalweg.core.tree import Params, flatten, lane
from thalweg.driver.path import path
from thalweg.dynamics import deep_r, grad_r, magnitude_pruned, magnitude_pruning, optax_dynamics
from thalweg.dynamics.dynamics import State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import spiking_mlp
from thalweg.oracles import minibatch
from thalweg.problems import Problem, Supervised, digit_images, mnist5k_images, supervised
from thalweg.problems.problem import unraveller

TARGET = 0.95
OTHERS = ("accurate gradient", "Deep R", "magnitude, fine-tuned")
EDGES = np.linspace(-0.4, 0.4, 81)
Make = Callable[[float, Array, Array, Array], optax.GradientTransformation]


@dataclass(frozen=True)
class Images:
    """The net, how it is trained, and alpha: of Grad R, and where all methods are compared."""

    data: str = "digits"
    samples: int | None = None
    hidden: int = 200
    steps: int = 8
    batch: int = 64
    rate: float = 1e-3
    passes: int = 150
    tuning: int = 75
    alphas: tuple[float, ...] = (0.03, 0.1, 0.2, 0.3)
    compared: tuple[float, ...] = (0.1, 0.2)
    others: tuple[str, ...] = OTHERS
    seeds: int = 3


class Task(NamedTuple):
    """A problem on training images, and images that are held out."""

    problem: Supervised
    inputs: Float[Array, "n d"]
    labels: Array


class Seen(NamedTuple):
    """At a record: accuracy on what is held out, and which connections are there, eight a byte."""

    accuracy: Float[Array, ""]
    present: UInt8[Array, " bytes"]


def task(size: Images) -> Task:
    """Digits of 8x8 pixels in a stratified split 75 to 25, or MNIST's 5000 images, 4000 to 1000."""
    if size.data == "digits":
        images = digit_images(samples=size.samples)
        parts = train_test_split(
            images.inputs, images.targets, test_size=0.25, random_state=0, stratify=images.targets
        )
        x, held, y, labels = parts
    else:
        train, test = (mnist5k_images(samples=size.samples, split=s) for s in ("train", "test"))
        x, held, y, labels = train.inputs, test.inputs, train.targets, test.targets
    model = spiking_mlp([size.hidden], steps=size.steps)
    problem = supervised(model, (x, y), "squared", precision="float32")
    return Task(problem, jnp.asarray(held, jnp.float32), jnp.asarray(labels))


def by_method(method: str) -> Make:
    """A transformation of the learning rate, alpha, a sparsity that others reached, and a key."""
    return {
        "Grad R": lambda rate, alpha, reached, key: grad_r(rate, alpha, TARGET),
        "accurate gradient": lambda rate, alpha, reached, key: grad_r(
            rate, alpha, TARGET, accurate=True
        ),
        "Deep R": lambda rate, alpha, reached, key: deep_r(rate, alpha, reached, seed=key),
        "magnitude, fine-tuned": lambda rate, alpha, reached, key: magnitude_pruning(
            optax.adam(rate), reached
        ),
        "dense": lambda rate, alpha, reached, key: optax.adam(rate),
    }[method]


@eqx.filter_jit
def trained(
    method: str,
    at: Task,
    start: Params,
    alpha: Float[Array, ""],
    reached: Float[Array, ""],
    key: Array,
    rate: float,
    batch: int,
    every: int,
    records: int,
) -> tuple[Seen, Params, Params]:
    """What is seen of a net, its parameters at the end, and its strengths where it has any."""

    def observed(problem: Problem, state: State) -> Seen:
        outputs = at.problem.model.apply(state.params, at.inputs)
        right = jnp.mean((jnp.argmax(outputs, axis=1) == at.labels).astype(float))
        there = [layer["weight"].ravel() != 0 for layer in state.params]
        return Seen(right, jnp.packbits(jnp.concatenate(there)))

    transform = by_method(method)(rate, alpha, reached, key)
    dynamics = optax_dynamics(transform, rate, oracle=minibatch(batch))
    found = path(dynamics, at.problem, start, every, records, observed, key)
    strengths = optax.tree_utils.tree_get(found.last.memory, "strength")
    plain = jax.tree.map(jnp.abs, found.last.params)
    return found.seen, found.last.params, plain if strengths is None else strengths


def counts(present: np.ndarray, weights: int) -> dict[str, np.ndarray]:
    """Connectivity, and what was pruned and grew again between records, from bits of presence."""
    before, after = present[..., :-1, :], present[..., 1:, :]
    return {
        "connectivity": np.bitwise_count(present).sum(-1) / weights,
        "pruned": np.bitwise_count(before & ~after).sum(-1),
        "regrown": np.bitwise_count(~before & after).sum(-1),
    }


def told(seen: Seen, params: Params, strengths: Params, weights: int) -> xr.Dataset:
    """What is kept of a net."""
    found = counts(np.asarray(seen.present), weights)
    along = found | {"accuracy": np.asarray(seen.accuracy)}
    dims = {k: "after" if k in ("pruned", "regrown") else "passes" for k in along}
    at_end = {"params": flatten(params), "strengths": flatten(strengths)}
    return xr.Dataset(
        {k: (dims[k], v) for k, v in along.items()}
        | {k: ("parameter", np.asarray(v)) for k, v in at_end.items()}
    )


@experiment(
    "X1",
    Images(),
    smoke={
        "samples": 300, "hidden": 30, "steps": 4, "batch": 45, "rate": 5e-3, "passes": 10,
        "tuning": 5, "alphas": (0.1, 0.3), "compared": (0.3,), "seeds": 1,
        "others": ("magnitude, fine-tuned",),
    },
    full={
        "data": "mnist5k", "hidden": 800, "batch": 128, "rate": 1e-4, "passes": 512,
        "tuning": 256, "alphas": (0.03, 0.06, 0.1), "compared": (0.06,),
    },
)  # fmt: skip
def images(lab: Lab, size: Images) -> xr.Dataset:
    """Grad R at several strengths of the prior, beside dense training and other ways to prune."""
    at = task(size)
    every = len(at.problem.inputs) // size.batch
    keys = jax.random.split(jax.random.key(0), size.seeds)
    starts = jax.vmap(at.problem.init)(keys)
    weights = sum(layer["weight"][0].size for layer in starts)
    unravelled = unraveller(at.problem)

    def run(
        method: str, begin: list[Params], alphas: Sequence[float], shares: np.ndarray, passes: int
    ) -> xr.Dataset:
        """Over alphas and seeds, the latter the axes of shares: each net is a part of its own."""

        def one(alpha: float, seed: int) -> xr.Dataset:
            seen, params, strengths = trained(
                method, at, begin[seed], jnp.float32(alpha),
                jnp.float32(shares[alphas.index(alpha), seed]), keys[seed],
                size.rate, size.batch, every, passes,
            )  # fmt: skip
            return told(seen, params, strengths, weights)

        def net(alpha: float, seed: int) -> xr.Dataset:
            name = f"{'-'.join(method.replace(',', '').split())}-{alpha:g}-{seed}"
            return lab.part(name, lambda: one(alpha, seed))

        return over(net, alpha=alphas, seed=range(size.seeds))

    none = np.zeros((len(size.alphas), size.seeds))
    begin = [lane(starts, seed) for seed in range(size.seeds)]
    dense = run("dense", begin, [0.0], none, size.passes).isel(alpha=0)
    rewired = run("Grad R", begin, size.alphas, none, size.passes)
    left = rewired["connectivity"].values[..., -1]
    reached = np.minimum(1 - left, 1 - 1 / weights)  # no method is asked to keep nothing

    compared = [size.alphas.index(alpha) for alpha in size.compared]
    ends = [unravelled(jnp.asarray(flat)) for flat in dense["params"].values]
    accuracy, connectivity = [], []
    for method in size.others:
        tuned = method == "magnitude, fine-tuned"
        start, passes = (ends, size.tuning) if tuned else (begin, size.passes)
        found = run(method, start, size.compared, reached[compared], passes)
        accuracy.append(found["accuracy"].values[..., -1])
        connectivity.append(found["connectivity"].values[..., -1])

    once = [
        [_accuracy(at, magnitude_pruned(*each)) for each in zip(ends, shares, strict=True)]
        for shares in reached
    ]
    rates = [_rate(at, end) for end in ends]
    pruned_rates = [
        [_rate(at, unravelled(jnp.asarray(flat))) for flat in of_alpha]
        for of_alpha in rewired["params"].values
    ]
    first = rewired.isel(seed=0)
    unit = "1"
    return table(
        {
            "seed passes": {"dense": (dense["accuracy"].values, unit, "accuracy held out, dense")},
            "alpha seed passes": {
                "accuracy": (rewired["accuracy"].values, unit, "accuracy held out"),
                "connectivity": (rewired["connectivity"].values, unit, "connectivity"),
            },
            "alpha seed after": {
                "pruned": (rewired["pruned"].values, unit, "connections pruned in a pass"),
                "regrown": (rewired["regrown"].values, unit, "connections grown again in a pass"),
            },
            "alpha seed": {
                "left": (left, unit, "connectivity at the end"),
                "final": (rewired["accuracy"].values[..., -1], unit, "accuracy at the end, Grad R"),
                "one_shot": (once, unit, "accuracy of the dense net cut to it"),
                "firing": (pruned_rates, unit, "spikes of a hidden neuron and step, Grad R"),
            },
            "seed": {"firing_dense": (rates, unit, "spikes of a hidden neuron and step, dense")},
            "method compared seed": {
                "others": (np.stack(accuracy), unit, "accuracy at the end"),
                "others_left": (np.stack(connectivity), unit, "connectivity at the end"),
            },
            "alpha strength": {
                "strengths": (
                    _histograms(first["strengths"]), unit, "share of strengths, seed 0"
                ),
                "weights": (
                    _histograms(first["params"]), unit, "share of weights, seed 0"
                ),
            },
        },
        alpha=(list(size.alphas), "1/parameter", "alpha"),
        compared=(list(size.compared), "1/parameter", "alpha"),
        seed=range(size.seeds),
        passes=(np.arange(size.passes + 1), "1", "passes"),
        after=(np.arange(1, size.passes + 1), "1", "passes"),
        method=list(size.others),
        strength=((EDGES[1:] + EDGES[:-1]) / 2, "parameter", "strength or weight"),
    )  # fmt: skip


def _accuracy(at: Task, params: Params) -> float:
    outputs = at.problem.model.apply(params, at.inputs)
    return float(np.mean(np.argmax(np.asarray(outputs), axis=1) == np.asarray(at.labels)))


def _rate(at: Task, params: Params) -> float:
    model: Any = at.problem.model
    return float(jnp.mean(model.layer_runs(params, at.inputs)[0].spikes))


def _histograms(flat: xr.DataArray) -> list[np.ndarray]:
    return [np.histogram(row, EDGES)[0] / row.size for row in flat.values]
