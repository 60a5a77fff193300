"""AGMsDR: accelerated and parameter-free, optimal for convex and for non-convex problems."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.result import finite
from thalweg.core.tree import Params
from thalweg.dynamics.descent import CountedSteps
from thalweg.dynamics.dynamics import VALUES, VALUES_TAKEN, Info, State, Statistic, fresh
from thalweg.dynamics.methods.line import Along, lowest_ahead, lowest_from
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.problems.problem import Problem


class AgmsdrMemory(NamedTuple):
    """What AGMsDR carries.

    Attributes:
        v: The point from which it looks.
        weight: A.
        length: The last step size, from which the next search begins.
        squared_gradient: The least ||grad f(y)||^2 so far.
    """

    v: Params
    weight: Float[Array, ""]
    length: Float[Array, ""]
    squared_gradient: Float[Array, ""]


class Agmsdr(CountedSteps):
    """Accelerated gradient method with small-dimensional relaxation: no constant is needed.

    y = v + beta (x - v), beta the best in [0, 1]; x+ = y - h grad f(y), h the best; with
    q = (f(y) - f(x+))/||grad f(y)||^2 and a the root of a^2/(2 (A + a)) = q,
    A <- A + a, v <- v - a grad f(y). Then min ||grad f(y)||^2 <= 2 L Delta/N, and on convex
    problems f(x_N) - f* <= 2 L R^2/N^2 and A_N >= N^2/(4 L). f never rises.

    A step counts training time 1. Deterministic. Cost: about 10 gradients a step, a slope along a
    line counting as one, and a value. Source: Nesterov, Gasnikov, Guminov and Dvurechensky (2021),
    algorithm 1.
    """

    @property
    def name(self) -> str:
        return "AGMsDR"

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        about = "least ||grad f(y)||^2 so far; infinite before the first step"
        return (
            Statistic("weight", "parameter^2/loss", "A, which grows as N^2/(4 L)"),
            Statistic("least_squared_gradient", "loss^2/parameter^2", about),
            VALUES_TAKEN,
        )

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        memory: AgmsdrMemory = state.memory
        return {
            "weight": memory.weight,
            "least_squared_gradient": memory.squared_gradient,
            VALUES: state.step,
        }

    def init(self, problem: Problem, params: Params) -> State:
        zero = jnp.zeros((), jnp.float64)
        return fresh(params, AgmsdrMemory(params, zero, zero + 1, zero + jnp.inf))

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        memory: AgmsdrMemory = state.memory
        x, v, zero = state.params, memory.v, jnp.zeros((), jnp.float64)
        beside = _along(problem, v, tree.difference(x, v))
        (at_v, slope_at_v), (at_x, slope_at_x) = beside(zero), beside(zero + 1)
        # At x already the best, at v if f rises all the way from there; else between, below f(x).
        risen = (at_v <= at_x) & (slope_at_v >= 0)
        between = (slope_at_x > 0) & ~risen
        scale = jnp.where(between, jnp.abs(slope_at_x), jnp.inf)
        inner = lowest_from(beside, zero + 1, zero, scale)
        beta = jnp.where(slope_at_x > 0, jnp.where(risen, 0.0, inner.at), 1.0)
        y = jax.tree.map(lambda a, b: a + beta.astype(a.dtype) * (b - a), v, x)
        height, g = jax.value_and_grad(problem.objective)(y)
        square = tree.dot(g, g).astype(jnp.float64)
        down = jax.tree.map(jnp.negative, g)
        ahead = lowest_ahead(_along(problem, y, down), memory.length / 4)
        x = tree.step_along(y, ahead.at, down)
        fall = jnp.maximum(height.astype(jnp.float64) - _value(problem, x), 0.0)
        q = jnp.where(square > 0, fall / jnp.where(square > 0, square, 1.0), 0.0)
        a = q + jnp.sqrt(q**2 + 2 * q * memory.weight)
        looks = 3 + inner.looks + ahead.looks
        after = AgmsdrMemory(
            tree.step_along(v, a, down),
            memory.weight + a,
            jnp.where(ahead.at > 0, ahead.at, memory.length),
            jnp.minimum(memory.squared_gradient, square),
        )
        return state._replace(
            params=x,
            time=(state.step + 1).astype(jnp.float64),
            step=state.step + 1,
            evaluations=state.evaluations + looks,
            result=jnp.maximum(state.result, finite(height)),
            memory=after,
        ), Info(height)

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return no_rule("each step lowers the loss or stays, at any curvature")

    def without_limit(self, problem: Problem, params: Params) -> str:
        return "its steps are searched for, so that none of them goes to 0"


def _value(problem: Problem, params: Params) -> Array:
    return problem.objective(params).astype(jnp.float64)


def _along(problem: Problem, base: Params, way: Params) -> Along:
    def along(t: Array) -> tuple[Array, Array]:
        point = tree.step_along(base, t, way)
        value, slope = jax.jvp(problem.objective, (point,), (way,))
        return value.astype(jnp.float64), slope.astype(jnp.float64)

    return along


def agmsdr() -> Agmsdr:
    """The accelerated method without constants; see `Agmsdr`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 2.0 * jnp.sum(x**2), start=jnp.ones(2))
        >>> run = tw.run(bowl, tw.dynamics.agmsdr(), until=1.0, records=1)
        >>> float(run.dataset["loss"][0, -1]) < 1e-12  # an exact step, at the first try
        True
    """
    return Agmsdr()
