"""Two phases against the same optimiser in one: X2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array
from numpy.typing import NDArray

from thalweg.core import tree
from thalweg.core.tree import Params
from thalweg.dynamics import Noisy, OptaxDescent, State, optax_dynamics
from thalweg.dynamics.two_phase_training import two_phase
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import feature_rank
from thalweg.oracles.batches import minibatch
from thalweg.problems import Supervised, supervised
from thalweg.problems.problem import unraveller
from thalweg.problems.recorded_outputs import outputs_at, share_right
from thalweg.studies.kawaguchi2021_expressivity.condition import (
    MARGIN,
    ROUNDING,
    WIDE,
    digits,
    net,
    rounding,
)

RATE, MOMENTUM, BATCH, NOISE = 0.05, 0.9, 50, 1e-3
SGD = optax.sgd(RATE, momentum=MOMENTUM)  # one object, so that it is compiled once
OPTIMISERS = ("SGD", "EXP-SGD")


def base() -> Noisy:
    """The base of the paper's wrapper here: mini-batch descent with momentum."""
    return Noisy(optax_dynamics(SGD, RATE), minibatch(BATCH), "SGD")


def classified() -> Supervised:
    """The net of 64 and 221 units on the digits, with cross-entropy."""
    data = digits()
    return supervised(net((64, WIDE)), (data.x, data.y), "cross-entropy")


@dataclass(frozen=True)
class Phases:
    """Steps of phase 1 and of both phases, between records, and seeds."""

    tau: int = 1200
    steps: int = 2000
    every: int = 50
    seeds: int = 3


BRIEF = {"tau": 20, "steps": 40, "every": 10, "seeds": 1}


@experiment("X2", Phases(), smoke=BRIEF, full={"seeds": 10})
def comparison(lab: Lab, size: Phases) -> xr.Dataset:
    """SGD with momentum, and the same in two phases: same starts, batches and number of steps."""
    data, problem = digits(), classified()
    marks = np.unique([*range(0, size.steps + 1, size.every), size.tau, size.tau + 1])
    dynamics = (base(), two_phase(SGD, RATE, size.tau, NOISE, batch=BATCH))
    runs = [
        lab.run(f"X2-{name}", problem, process, times=RATE * marks, seeds=size.seeds).dataset
        for name, process in zip(OPTIMISERS, dynamics, strict=True)
    ]
    theta, losses = (
        np.stack([run[name].values for run in runs]) for name in ("parameters", "loss")
    )
    right = share_right(outputs_at(problem, theta, data.x_test), data.y_test)
    deviation = np.sqrt(right * (1 - right) / len(data.y_test))
    frozen = int(np.searchsorted(marks, size.tau + 1))
    hidden = hidden_part(problem, theta[1])
    moved = np.abs(hidden[:, frozen:] - hidden[:, frozen : frozen + 1]).max((-2, -1))
    last = np.abs(theta[1, :, -1] - theta[1, :, frozen]).max(-1)
    found = [at(problem, point) for point in theta[1, :, frozen]]
    still, changed = "largest change of a hidden parameter", "largest change of any parameter"
    groups = {
        "optimiser seed step": {
            "loss": (losses, "loss", "training loss, all examples"),
            "accuracy": (right, "1", "test accuracy"),
            "accuracy_error": (deviation, "1", "standard error over test examples"),
        },
        "seed": {
            "rank": ([f.rank for f in found], "1", "rank after phase 1 and noise"),
            "margin": ([f.margin for f in found], "1", MARGIN),
            "margin_error": ([rounding(f) for f in found], "1", ROUNDING),
            "hidden_change": (moved, "parameter", f"{still} in phase 2"),
            "last_change": (last, "parameter", f"{changed} in phase 2"),
        },
        "": {"phase_two": (size.tau, "step", "step at which phase 2 begins")},
    }
    return table(groups, optimiser=OPTIMISERS, seed=range(size.seeds), step=(marks, "1", "steps"))


def at(problem: Supervised, theta: NDArray[np.float64]) -> feature_rank.Expressivity:
    """The verdict on the feature matrix of all training examples at flat parameters."""
    params = unraveller(problem)(jnp.asarray(theta))
    return feature_rank.expressivity(problem.model, params, problem.inputs)


def hidden_part(problem: Supervised, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Those of flat parameters (..., p) that are below the last layer."""
    last = tree.size(jax.eval_shape(problem.init, jax.random.key(0))[-1])
    return theta[..., : theta.shape[-1] - last]


@dataclass(frozen=True)
class Leak:
    """Steps with all layers, steps with masked gradients, and seeds."""

    first: int = 50
    second: int = 400
    seeds: int = 3


@experiment("X2-leak", Leak(), smoke={"seeds": 1})
def leak(lab: Lab, size: Leak) -> xr.Dataset:
    """What momentum left over from phase 1 does if only the gradients of hidden layers are zeroed.

    The trace m of such a layer decays as MOMENTUM^j and moves it by RATE m MOMENTUM/(1 - MOMENTUM).
    """
    problem, process = classified(), base()
    assert isinstance(process.base, OptaxDescent)
    descend = process.base.descend

    def last_only(state: State, key: Array) -> State:
        objective = process.seen(problem, state, key).objective

        def masked(params: Params) -> Array:
            return objective([*jax.lax.stop_gradient(params[:-1]), params[-1]])

        return descend(masked, state)[0]

    def all_layers(state: State, key: Array) -> State:
        return process.step(problem, state, key)[0]

    @jax.jit
    def drifted(key: Array) -> tuple[Array, Array]:
        start, steps = jax.random.split(key)

        def go(step: Callable[[State, Array], State], state: State, a: int, b: int) -> State:
            def body(k: Array, state: State) -> State:
                return step(state, jax.random.fold_in(steps, k))

            return jax.lax.fori_loop(a, b, body, state)

        begun = process.init(problem, problem.init(start))
        state = go(all_layers, begun, 0, size.first)
        after = go(last_only, state, size.first, size.first + size.second)
        trace = optax.tree_utils.tree_get(state.memory, "trace")[:-1]
        expected = RATE * MOMENTUM / (1 - MOMENTUM) * tree.norm(trace)
        return tree.norm(tree.difference(after.params[:-1], state.params[:-1])), expected

    def one(seed: int) -> xr.Dataset:
        drift, theory = drifted(jax.random.key(seed))
        found = {
            "drift": (drift, "parameter", "drift of the hidden layers"),
            "drift_theory": (theory, "parameter", "drift by left momentum"),
        }
        return table({"": found})

    return over(one, seed=range(size.seeds))
