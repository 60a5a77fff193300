"""Experiment X2 of the expressivity condition: two phases against the same optimiser in one."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array
from numpy.typing import NDArray

from thalweg.core import tree
from thalweg.core.tree import Params
from thalweg.dynamics import OptaxDescent, State, optax_dynamics
from thalweg.dynamics.two_phase_training import two_phase
from thalweg.lab.study import Lab, variable
from thalweg.models import expressivity
from thalweg.problems import Supervised, supervised
from thalweg.studies.kawaguchi2021_expressivity.condition import (
    WIDE,
    digits,
    net,
)

RATE, MOMENTUM, BATCH, NOISE = 0.05, 0.9, 50, 1e-3
TAU, STEPS, EVERY = 1200, 2000, 50
SGD = optax.sgd(RATE, momentum=MOMENTUM)  # one object, so that it is compiled once
OPTIMISERS = ("SGD", "EXP-SGD")


def base() -> OptaxDescent:
    """The base of the paper's wrapper here: mini-batch descent with momentum."""
    return optax_dynamics(SGD, RATE, "SGD", BATCH)


def comparison(lab: Lab) -> xr.Dataset:
    """SGD with momentum, and the same in two phases: same starts, batches and number of steps."""
    return compare(lab, TAU, STEPS, EVERY, 10 if lab.full else 3)


def compare(lab: Lab, tau: int, steps: int, every: int, seeds: int) -> xr.Dataset:
    """The comparison with phase 1 of `tau` steps, recorded every so many."""
    data = digits()
    problem = supervised(net((64, WIDE)), (data.x, data.y), "cross-entropy")
    marks = np.unique([*range(0, steps + 1, every), tau, tau + 1])
    dynamics = {"SGD": base(), "EXP-SGD": two_phase(SGD, RATE, tau, NOISE, batch=BATCH)}
    runs = {
        name: lab.run(f"X2-{name}", problem, process, times=RATE * marks, seeds=seeds).dataset
        for name, process in dynamics.items()
    }
    theta = np.stack([runs[name]["parameters"].values for name in OPTIMISERS])
    accuracy = accuracies(problem, theta, data.x_test, data.y_test)
    frozen = int(np.searchsorted(marks, tau + 1))
    hidden = hidden_part(problem, theta[1])
    moved = np.abs(hidden[:, frozen:] - hidden[:, frozen : frozen + 1]).max((-2, -1))
    found = [at(problem, point) for point in theta[1, :, frozen]]
    curves = ("optimiser", "seed", "step")
    return xr.Dataset(
        {
            "loss": variable(
                curves,
                np.stack([runs[name]["loss"].values for name in OPTIMISERS]),
                "loss",
                "training loss, all examples",
            ),
            "accuracy": variable(curves, accuracy, "1", "test accuracy"),
            "accuracy_error": variable(
                curves,
                np.sqrt(accuracy * (1 - accuracy) / len(data.y_test)),
                "1",
                "standard error over test examples",
            ),
            "rank": variable("seed", [f.rank for f in found], "1", "rank after phase 1 and noise"),
            "margin": variable(
                "seed", [f.margin for f in found], "1", "smallest/largest singular value"
            ),
            "margin_error": variable(
                "seed",
                [f.tolerance / f.singular_values[0] for f in found],
                "1",
                "rounding of the margin",
            ),
            "hidden_change": variable(
                "seed", moved, "parameter", "largest change of a hidden parameter in phase 2"
            ),
            "last_change": variable(
                "seed",
                np.abs(theta[1, :, -1] - theta[1, :, frozen]).max(-1),
                "parameter",
                "largest change of any parameter in phase 2",
            ),
            "phase_two": variable((), tau, "step", "step at which phase 2 begins"),
        },
        {
            "optimiser": list(OPTIMISERS),
            "seed": np.arange(seeds),
            "step": variable("step", marks, "1", "steps"),
        },
    )


def at(problem: Supervised, theta: NDArray[np.float64]) -> expressivity.Expressivity:
    """The verdict on the feature matrix of all training examples at flat parameters."""
    params = unraveller(problem)(jnp.asarray(theta))
    return expressivity.expressivity(problem.model, params, problem.inputs)


def unraveller(problem: Supervised) -> Callable[[Array], Params]:
    """What makes flat parameters those of the problem's net."""
    return ravel_pytree(problem.init(jax.random.key(0)))[1]


def hidden_part(problem: Supervised, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Those of flat parameters (..., p) that are below the last layer."""
    last = tree.size(jax.eval_shape(problem.init, jax.random.key(0))[-1])
    return theta[..., : theta.shape[-1] - last]


def accuracies(
    problem: Supervised, theta: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Share of right answers of every flat parameter vector (..., p)."""
    unravel = unraveller(problem)
    inputs, labels = jnp.asarray(x), jnp.asarray(y)

    def one(flat: Array) -> Array:
        right = jnp.argmax(problem.outputs(unravel(flat), inputs), axis=1) == labels
        return jnp.mean(right, dtype=jnp.float64)

    flat = jnp.asarray(theta.reshape(-1, theta.shape[-1]))
    return np.asarray(jax.jit(lambda t: jax.lax.map(one, t))(flat)).reshape(theta.shape[:-1])


def leak(lab: Lab) -> xr.Dataset:
    """What momentum left over from phase 1 does if only the gradients of hidden layers are zeroed.

    The trace m of such a layer decays as MOMENTUM^j and moves it by RATE m MOMENTUM/(1 - MOMENTUM).
    """
    data, first, second = digits(), 50, 400
    problem = supervised(net((64, WIDE)), (data.x, data.y), "cross-entropy")
    process = base()

    def last_only(state: State, key: Array) -> State:
        objective = process.objective(problem, key)

        def masked(params: Params) -> Array:
            return objective([*jax.lax.stop_gradient(params[:-1]), params[-1]])

        return process.descend(masked, state)[0]

    @jax.jit
    def drifted(key: Array) -> tuple[Array, Array]:
        start, steps = jax.random.split(key)
        state = process.init(problem, problem.init(start))
        state = jax.lax.fori_loop(
            0,
            first,
            lambda k, s: process.step(problem, s, jax.random.fold_in(steps, k))[0],
            state,
        )
        before = state.params[:-1]
        trace = optax.tree_utils.tree_get(state.memory, "trace")[:-1]
        after = jax.lax.fori_loop(
            0, second, lambda k, s: last_only(s, jax.random.fold_in(steps, first + k)), state
        )
        expected = RATE * MOMENTUM / (1 - MOMENTUM) * tree.norm(trace)
        return tree.norm(tree.difference(after.params[:-1], before)), expected

    found = np.array([drifted(jax.random.key(seed)) for seed in range(3)])
    return xr.Dataset(
        {
            "drift": variable("seed", found[:, 0], "parameter", "drift of the hidden layers"),
            "drift_theory": variable("seed", found[:, 1], "parameter", "drift by left momentum"),
        },
        {"seed": np.arange(3)},
    )
