"""Traces of crossprop against autodiff of the learning that they follow."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core import tree
from thalweg.driver.path import path
from thalweg.dynamics import Discrete, crossprop, gradient_descent, online
from thalweg.dynamics.dynamics import State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import gaussian_start, mlp
from thalweg.problems import Stream, stream
from thalweg.theory.descent import meta_gradients as theory

STEPS, INPUTS, ETA = 30, 4, 0.02
HELD = 1e-300  # the hidden layer's step size: added to numbers of ordinary size it is nothing
DECAYS = (0.3, 2.5)  # step sizes of the trace without errors: |1 - eta phi^2| < 1, and above
FEW = 8  # steps without errors: at the larger step size rounding grows to one in thirty


def drawn(seed: int, width: int, labels: bool = False, output_bias: bool = True) -> Stream:
    """A stream of Gaussian inputs with Gaussian targets, or three classes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(STEPS, INPUTS))
    y = rng.integers(0, 3, size=STEPS) if labels else rng.normal(size=(STEPS, 1))
    if labels:
        y[:3] = 0, 1, 2
    return stream(gaussian_start(mlp([width], bias=output_bias), 1.0), (x, y))


@eqx.filter_jit
def end(learner: Discrete, problem: Stream, start: Any, steps: Any = STEPS) -> State:
    """The state after so many examples, with the trace for its memory."""
    last = path(online(learner), problem, start, steps, 1, nothing).last
    return last._replace(memory=last.memory.memory)


def nothing(problem: Any, state: State) -> Array:
    """What is observed where the end alone counts."""
    return jnp.zeros(())


@eqx.filter_jit
def jacobian(problem: Stream, start: Any, steps: int) -> Any:
    """Autodiff of the learning on the first examples, one after the other."""
    return theory.learning_jacobian(problem, start, ETA, np.arange(steps)[:, None])


@eqx.filter_jit
def moved(problem: Stream, at: State) -> Any:
    """The hidden layer after the step on the last example, with step size 1."""
    learner = crossprop(ETA, "sum", trace="exact", feature_step_size=1.0)
    after, _ = learner.step(problem.on(jnp.array([STEPS - 1])), at, jax.random.key(0))
    return after.params[0]


def trace_error(trace: dict[str, Array], right: Any) -> float:
    """Largest difference of an exact trace from autodiff."""
    gaps = []
    for name, found in trace.items():
        parts = [right["weight"][name]]
        if "bias" in right:
            parts.append(right["bias"][name][:, None])
        gaps.append(jnp.max(jnp.abs(found - jnp.concatenate(parts, axis=1))))
    return float(max(gaps))


def exact_end(problem: Stream, start: Any) -> tuple[State, float]:
    """The end of all examples but the last, the hidden layer held, and the error of its trace."""
    shown = np.arange(STEPS - 1)[:, None]
    at = end(
        crossprop(ETA, "sum", trace="exact", feature_step_size=HELD), problem, start, STEPS - 1
    )
    return at, trace_error(at.memory, theory.learning_jacobian(problem, start, ETA, shown))


def distance(left: Any, right: Any) -> float:
    """Largest entry of the difference of two trees."""
    gaps = jax.tree.leaves(tree.difference(left, right))
    return float(max(jnp.max(jnp.abs(gap)) for gap in gaps))


@experiment("X0")
def exact(lab: Lab) -> xr.Dataset:
    """Differences between what the rules give and what autodiff or algebra gives, two draws."""

    def one(draw: int) -> xr.Dataset:
        key = jax.random.key(draw)
        wide = drawn(draw, 20)
        start = wide.init(key)
        at, exact_gap = exact_end(wide, start)
        # The step on the last example moves the hidden layer by minus the meta-gradient.
        slope = eqx.filter_jit(theory.meta_gradient)(wide, start, ETA, np.arange(STEPS)[:, None])
        meta = distance(moved(wide, at), jax.tree.map(lambda u, g: u - g, at.params[0], slope))
        diagonal = end(crossprop(ETA, "sum", feature_step_size=HELD), wide, start, STEPS - 1)
        # Entry (j, i) of h is that of H for the same unit j.
        own = jnp.einsum("kjji->kij", at.memory["weight"][:, :-1])
        # One unit and no output bias: the diagonal is all there is.
        single = drawn(draw, 1, output_bias=False)
        lone = single.init(key)
        alone = jacobian(single, lone, STEPS)["weight"]["weight"]
        kept = end(crossprop(ETA, "sum", feature_step_size=HELD), single, lone)
        classes = drawn(draw, 3, labels=True)
        mixed, plain = crossprop(ETA, 1.0), gradient_descent(ETA)
        pure = [end(crossprop(ETA), wide, start, steps).params[0] for steps in (1, 2)]
        found = {
            "exact": (exact_gap, "1", "exact trace less autodiff, 20 units"),
            "softmax": (
                exact_end(classes, classes.init(key))[1],
                "1",
                "exact trace less autodiff, 3 units, 3 classes",
            ),
            "meta": (meta, "1", "step of the hidden layer less the meta-gradient"),
            "diagonal": (
                float(jnp.max(jnp.abs(diagonal.memory["weight"] - own))),
                "1",
                "diagonal trace less the same entries of the exact one, 20 units",
            ),
            "single": (
                distance(kept.memory["weight"][0, :, 0], alone[0, 0, 0]),
                "1",
                "diagonal trace less autodiff, one unit",
            ),
            "descent": (
                distance(end(mixed, wide, start).params, end(plain, wide, start).params),
                "parameter",
                "mix 1 less gradient descent",
            ),
            "first": (distance(pure[0], start[0]), "parameter", "first move of the hidden layer"),
            "second": (distance(pure[1], pure[0]), "parameter", "second move of the hidden layer"),
        }
        return table({"": found}).merge(forgotten(draw))

    return over(one, draw=range(2))


@eqx.filter_jit
def undisturbed(learner: Discrete, silent: Stream, start: Any) -> State:
    """A few steps from a trace of ones on a stream without errors."""
    begin = learner.init(silent, start)
    state = begin._replace(memory=jax.tree.map(jnp.ones_like, begin.memory))
    for k in range(FEW):
        state, _ = learner.step(silent.on(jnp.array([k])), state, jax.random.key(0))
    return state


def forgotten(draw: int) -> xr.Dataset:
    """A trace of ones where there is no error: what is left of it, and what should be."""
    problem = drawn(draw, 5)
    start = problem.init(jax.random.key(draw))
    silent = stream(problem.model, (problem.inputs, problem.outputs(start)))
    phi = np.asarray(problem.model.features(start, problem.inputs))

    def one(eta: float) -> xr.Dataset:
        state = undisturbed(crossprop(eta), silent, start)
        left = np.asarray(state.memory["bias"])[0]
        expected = np.prod(1 - eta * phi[:FEW] ** 2, axis=0)
        return table(
            {
                "unit": {
                    "left": (left, "1", "what is left of a trace of ones"),
                    "left_theory": (expected, "1", "product of 1 - eta phi^2"),
                }
            },
            unit=range(5),
        )

    return over(one, eta=(list(DECAYS), "1", "step size"))
