"""Nesterov's method in its general schema: momentum from the condition number, or without it."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.core.result import finite
from thalweg.core.tree import Params
from thalweg.dynamics.descent import nearest_count
from thalweg.dynamics.dynamics import Discrete, Info, State, fresh, step_size_array
from thalweg.dynamics.stability import StabilityRule
from thalweg.problems.problem import Problem


class AcceleratedMemory(NamedTuple):
    """What the schema carries.

    Attributes:
        before: w_{n-1}.
        gamma: gamma_n; infinite before the first step of the optimal start.
    """

    before: Params
    gamma: Float[Array, ""]


class AcceleratedDescent(Discrete):
    """Nesterov's general schema of optimal methods.

    y = w_n + beta_n (w_n - w_{n-1}), w_{n+1} = y - alpha grad f(y), with q = mu/L and

        gamma_{n+1} = ((q - gamma_n^2) + sqrt((q - gamma_n^2)^2 + 4 gamma_n^2))/2,
        beta_n = gamma_n (1 - gamma_n)/(gamma_{n+1} + gamma_n^2).

    gamma_0 = sqrt(q) keeps beta constant; the optimal start has gamma_1 = 1, which for q = 0 is
    beta_n = (t_n - 1)/t_{n+1}. With alpha = 1/L then f(w_n) - f* <= 2 L R^2/n^2 on convex problems.
    The parameters of a run are w. Training time is steps times alpha, by convention. Deterministic.
    Cost: one gradient a step; the loss shown is that of y. Source: Nesterov (2018), section 2.2.

    Attributes:
        step_size: alpha.
        quotient: q.
        first: gamma_0; infinite for the optimal start.
    """

    step_size: Float[Array, ""] = eqx.field(converter=step_size_array)
    quotient: Float[Array, ""]
    first: Float[Array, ""]

    @property
    def name(self) -> str:
        return "accelerated descent"

    def init(self, problem: Problem, params: Params) -> State:
        return fresh(params, AcceleratedMemory(params, self.first))

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        memory: AcceleratedMemory = state.memory
        q, g = self.quotient, memory.gamma
        begun = jnp.isfinite(g)
        g = jnp.where(begun, g, 1.0)
        after = ((q - g**2) + jnp.sqrt((q - g**2) ** 2 + 4 * g**2)) / 2
        beta = jnp.where(begun, g * (1 - g) / (after + g**2), 0.0)
        y = jax.tree.map(
            lambda w, b: w + beta.astype(w.dtype) * (w - b), state.params, memory.before
        )
        loss, gradient = jax.value_and_grad(problem.objective)(y)
        alpha = self.step_size
        params = jax.tree.map(lambda y, g: y - alpha.astype(y.dtype) * g, y, gradient)
        count = state.step + 1
        return state._replace(
            params=params,
            time=count.astype(jnp.float64) * alpha,
            step=count,
            evaluations=state.evaluations + 1,
            result=jnp.maximum(state.result, finite(loss)),
            memory=AcceleratedMemory(state.params, jnp.where(begun, after, 1.0)),
        ), Info(loss)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(steps) * float(self.step_size)

    def steps_until(self, time: float) -> int:
        return nearest_count(time, float(self.step_size))

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        q, first = float(self.quotient), float(self.first)
        # beta tends to (1 - sqrt q)/(1 + sqrt q); along curvature c it needs
        # 0 < alpha c < (2 + 2 beta)/(1 + 2 beta).
        beta = (1 - q**0.5) / (1 + q**0.5)
        threshold = (2 + 2 * beta) / (1 + 2 * beta) / float(self.step_size)
        exact = q > 0 and np.isclose(first, q**0.5)
        return StabilityRule(
            "sharpness", threshold, "(2 + 2 beta)/((1 + 2 beta) alpha)",
            "exact" if exact else "indicative",
            because="" if exact else "its momentum changes from step to step",
            source="Benning (2021), E11",
        )  # fmt: skip

    def without_limit(self, problem: Problem, params: Params) -> str:
        return "its limit is an equation of second order in the time sqrt(step size) a step"


def accelerated_descent(
    smoothness: float, convexity: float = 0.0, first: float | None = None
) -> AcceleratedDescent:
    """Nesterov's method from the constants of the problem; see `AcceleratedDescent`.

    Args:
        smoothness: L: steps are 1/L.
        convexity: mu of strong convexity; 0 where it is not known to be more.
        first: 1/kappa_0, gamma_0 = kappa_0^(-1/2); mu/L keeps the momentum constant, None is the
            optimal start.

    Raises:
        InputError: Unless 0 <= mu <= L, L positive and finite, and `first` positive.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> run = tw.run(bowl, tw.dynamics.accelerated_descent(2.0), until=1.0, records=2)
        >>> run.dataset["parameters"].values[0, :, 0].tolist()  # the first two steps are plain
        [1.0, 0.5, 0.25]
    """
    L, mu = smoothness, convexity
    require_positive(smoothness=L, first=first)
    require(
        not misfit(mu, float) and 0 <= mu <= L,
        f"convexity came as {told(mu)}; give a number from 0 to smoothness",
    )
    gamma = np.inf if first is None else float(first) ** 0.5
    return AcceleratedDescent(
        step_size_array(1 / float(L)), jnp.asarray(mu / L, jnp.float64), jnp.asarray(gamma)
    )
