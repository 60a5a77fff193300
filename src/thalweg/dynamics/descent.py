"""Gradient descent with a constant step size."""

from __future__ import annotations

from typing import overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.errors import InputError
from thalweg.core.result import finite
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import (
    Continuous,
    Discrete,
    Info,
    State,
    fresh,
    step_size_array,
    timed,
    untimed,
)
from thalweg.dynamics.flow.central import central_flow
from thalweg.dynamics.flow.followed import FLOW_ERROR
from thalweg.dynamics.flow.gradient_flow import gradient_flow
from thalweg.dynamics.noisy_steps import Noisy
from thalweg.dynamics.stability import StabilityRule, descent_rule
from thalweg.oracles.oracle import Oracle
from thalweg.problems.problem import Problem

LATEST = 1e300  # so that no sum of step sizes overflows


class GradientDescent(Discrete):
    """x <- x - eta * grad f(x): Euler's method on gradient flow.

    On a quadratic it converges while the sharpness is below 2/eta. Step k sits at training time
    k * eta. Deterministic. Cost: one gradient a step. Source: Elkabetz and Cohen (2021), E2.
    """

    step_size: Float[Array, ""] = eqx.field(converter=step_size_array)

    @property
    def name(self) -> str:
        return "gradient descent"

    def init(self, problem: Problem, params: Params) -> State:
        return fresh(params, ())

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        loss, gradient = jax.value_and_grad(problem.objective)(state.params)
        params = tree.step_along(state.params, -self.step_size, gradient)
        count = state.step + 1
        after = state._replace(
            params=params,
            time=count.astype(jnp.float64) * self.step_size,
            step=count,
            evaluations=state.evaluations + 1,
            result=jnp.maximum(state.result, finite(loss)),
        )
        return after, Info(loss)

    def carried(self, state: State) -> State:
        return untimed(state)

    def released(self, state: State) -> State:
        return timed(state, self.step_size)

    @property
    def additive(self) -> bool:
        return True

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(steps) * float(self.step_size)

    def steps_until(self, time: float) -> int:
        return nearest_count(time, float(self.step_size))

    def limit(self, problem: Problem, params: Params) -> Continuous:
        return gradient_flow(error=FLOW_ERROR[problem.smooth])

    def central(self, problem: Problem, params: Params) -> Continuous | None:
        # Over kinks third derivatives vanish, and what holds the sharpness is not seen.
        return central_flow(float(self.step_size)) if problem.smooth else None

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return descent_rule(float(self.step_size))


def nearest_count(time: float, step_size: float) -> int:
    """The number of steps nearest to a time, if float64 can count them."""
    if not time <= LATEST:
        raise InputError(f"training time {time:g} is beyond {LATEST:g}; ask for a shorter time")
    if not time / 2.0**53 < step_size:
        raise InputError(
            f"training time {time:g} takes more than 2^53 steps of size {step_size:g}; "
            "ask for a shorter time or a larger step"
        )
    return round(time / step_size)


class CountedSteps(Discrete):
    """A process whose steps have no size of their own: training time counts them, one each."""

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(steps, float)

    def steps_until(self, time: float) -> int:
        return nearest_count(time, 1.0)


@overload
def gradient_descent(step_size: float | Array, oracle: None = None) -> GradientDescent: ...


@overload
def gradient_descent(step_size: float | Array, oracle: Oracle | None) -> Discrete: ...


def gradient_descent(step_size: float | Array, oracle: Oracle | None = None) -> Discrete:
    """Gradient descent with a constant step size; see `GradientDescent`.

    Args:
        step_size: eta.
        oracle: What its steps see of the problem, as `tw.oracles.minibatch(32)` or
            `tw.oracles.label_noise(0.1)`; None for all of it.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> path = tw.run(bowl, tw.gradient_descent(0.5), until=1.0, records=2)
        >>> path.dataset["loss"].values.tolist()  # x = 1, 1/2, 1/4
        [[0.5, 0.125, 0.03125]]
    """
    descent = GradientDescent(step_size_array(step_size))
    return descent if oracle is None else Noisy(descent, oracle)
