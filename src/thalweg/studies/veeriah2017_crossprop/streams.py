"""Online learners on two streams of tasks that share their features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.typing import ArrayLike

from thalweg.core import tree
from thalweg.core.tree import Params
from thalweg.driver.path import path
from thalweg.dynamics import Discrete, crossprop, gradient_descent, online, optax_dynamics
from thalweg.dynamics.dynamics import State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import averaged, over, table
from thalweg.models import gaussian_start, mlp
from thalweg.problems import Problem, Stream, digit_images, geoff_stream, shifted_labels_stream

RULES: dict[str, Callable[[float], Discrete]] = {
    "backpropagation": gradient_descent,
    "crossprop": lambda eta: crossprop(eta),  # found when called, as the others
    "factored": lambda eta: crossprop(eta, trace="factored"),
    "half of each": lambda eta: crossprop(eta, 0.5),
    "sum of both": lambda eta: crossprop(eta, "sum"),
}
OPTIMISERS: dict[str, Callable[[float], Discrete]] = {
    "momentum": lambda eta: optax_dynamics(optax.sgd(eta, momentum=0.9), eta, "momentum"),
    "RMSProp": lambda eta: optax_dynamics(optax.rmsprop(eta), eta, "RMSProp"),
    "Adam": lambda eta: optax_dynamics(optax.adam(eta), eta, "Adam"),
}


class Seen(NamedTuple):
    """At a record: sums of losses and mistakes so far, squared distances of both layers."""

    loss: Any
    mistakes: Any
    features: Any
    outputs: Any


@eqx.filter_jit
def followed(
    learner: Discrete, streams: Stream, starts: Params, every: ArrayLike, records: int
) -> Seen:
    """Runs of a learner, one after the other: on a CPU side by side they leave the cache."""

    def one(lane: tuple[Stream, Params]) -> Seen:
        problem, start = lane

        def seen(problem: Problem, state: State) -> Seen:
            hidden, outer = tree.difference(state.params, start)
            carried = state.memory
            return Seen(
                carried.loss, carried.mistakes, tree.dot(hidden, hidden), tree.dot(outer, outer)
            )

        return path(learner, problem, start, every, records, seen).seen

    return jax.lax.map(one, (streams, starts))


def curves_of(
    learner: Discrete, streams: list[Stream], starts: list[Params], window: int
) -> xr.Dataset:
    """What a learner did, in windows of so many examples: a table over runs and examples."""
    records = len(streams[0].inputs) // window
    alike = [replace(stream, source=()) for stream in streams]  # they differ in their numbers alone
    found = followed(online(learner), tree.stacked(alike), tree.stacked(starts), window, records)
    loss, mistakes, features, outputs = map(np.asarray, found)
    every = window * np.arange(1, records + 1)
    along = {
        "loss": (np.diff(loss) / window, "loss", "loss before the step"),
        "mistakes": (np.diff(mistakes) / window, "1", "share of mistakes before the step"),
        "features": (features[:, 1:], "parameter^2", "||U - U_0||^2"),
        "outputs": (outputs[:, 1:], "parameter^2", "||W - W_0||^2"),
    }
    return table(
        {"run example": along}, run=range(len(streams)), example=(every, "1", "examples seen")
    )


@dataclass(frozen=True)
class Geoff:
    """Runs, examples of a stage, hidden units, features of the target, step size, records."""

    runs: int = 10
    length: int = 5000
    width: int = 500
    features: int = 1000
    step_size: float = 5e-4
    window: int = 50
    optimisers: bool = True


@experiment(
    "X1",
    Geoff(),
    smoke={
        "runs": 2, "length": 2000, "width": 100, "features": 300, "step_size": 2e-3,
        "optimisers": False,
    },
    full={"runs": 30},
)  # fmt: skip
def generic_features(lab: Lab, size: Geoff) -> xr.Dataset:
    """Six stages A, B, C, A, B, C whose targets share their features, learner by learner."""
    model = gaussian_start(mlp([size.width]), 1.0)
    draws = range(size.runs)
    streams = [
        geoff_stream(model, seed=seed, length=size.length, features=size.features) for seed in draws
    ]
    starts = [
        stream.init(jax.random.key(seed)) for seed, stream in zip(draws, streams, strict=True)
    ]
    learners = RULES | (OPTIMISERS if size.optimisers else {})

    def one(learner: str) -> xr.Dataset:
        return curves_of(learners[learner](size.step_size), streams, starts, size.window)

    found = over(one, learner=list(learners))
    spread = [float(jnp.var(stream.targets)) for stream in streams]
    own = table({"run": {"variance": (spread, "loss", "variance of the targets")}})
    both = found.drop_vars("mistakes").merge(own).assign_attrs(length=size.length)
    return averaged(both, "run", "loss", "features", "outputs")


@dataclass(frozen=True)
class Digits:
    """Runs, passes of a stage, hidden units, images, step size, examples between records."""

    runs: int = 3
    passes: int = 3
    width: int = 256
    samples: int = 1797
    step_size: float = 5e-3
    window: int = 599


@experiment(
    "X2",
    Digits(),
    smoke={"runs": 1, "passes": 3, "width": 64, "samples": 300, "window": 90},
    full={"runs": 10},
)
def shifted_digits(lab: Lab, size: Digits) -> xr.Dataset:
    """Digits whose labels are rolled on by 0, 1, 2, 0, 1, 2: a stage after the other."""
    samples = None if size.samples == Digits.samples else size.samples
    images = digit_images(samples=samples, standardize="none")
    model = mlp([size.width])
    streams, starts = [], []
    for seed in range(size.runs):
        stream = shifted_labels_stream(model, images, passes=size.passes, seed=seed)
        hidden, outer = gaussian_start(model, 1.0).init(
            jax.random.key(seed), stream.inputs.shape[1:], 10, stream.inputs.dtype
        )
        streams.append(stream)
        starts.append([jax.tree.map(lambda u: 0.3 * u, hidden), outer])
    learners = {
        "backpropagation": gradient_descent(size.step_size),
        "factored": crossprop(size.step_size, trace="factored", decay="lms"),
        "factored, decay of the loss": crossprop(size.step_size, trace="factored"),
    }

    def one(learner: str) -> xr.Dataset:
        return curves_of(learners[learner], streams, starts, size.window)

    found = over(one, learner=list(learners)).assign_attrs(length=len(streams[0].inputs) // 6)
    return averaged(found, "run", "mistakes", "features", "outputs")
