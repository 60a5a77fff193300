"""A dynamics in steps that is held against a flow of the user's choice."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from thalweg.core.errors import require, unknown
from thalweg.core.tree import Params
from thalweg.dynamics.around import Around
from thalweg.dynamics.dynamics import Continuous, Discrete, Info, State
from thalweg.dynamics.flow.second_order import SecondOrderFlow, accelerated_flow, momentum_flow
from thalweg.dynamics.methods.accelerated import AcceleratedDescent
from thalweg.dynamics.noisy_steps import Noisy
from thalweg.dynamics.optax_descent import OptaxDescent
from thalweg.dynamics.optimiser_state import named_parts
from thalweg.problems.problem import Problem

LIMITS = ("first-order", "second-order")
OF_MOMENTUM = {"momentum": False, "Nesterov momentum": True}  # name: gradient taken ahead


class WithLimit(Around):
    """A dynamics whose limit is a flow that was given; see `with_limit`.

    Attributes:
        base: The dynamics; it takes the steps that it takes alone, to the bit.
        flow: What it is held against.
    """

    flow: Continuous

    @property
    def additive(self) -> bool:
        return self.base.additive

    def init(self, problem: Problem, params: Params) -> State:
        return self.base.init(problem, params)

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        return self.base.step(problem, state, key)

    def carried(self, state: State) -> State:
        return self.base.carried(state)

    def released(self, state: State) -> State:
        return self.base.released(state)

    def carried_step(
        self, problem: Problem, state: State, key: Array, draw: Any = None
    ) -> tuple[State, Info]:
        return self.base.carried_step(problem, state, key, draw)

    def block(self, problem: Problem, params: Params) -> int:
        return self.base.block(problem, params)

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        return self.base.draws(problem, params, key, count)

    def drawn_step(
        self, problem: Problem, state: State, draw: Any, key: Array
    ) -> tuple[State, Info]:
        return self.base.drawn_step(problem, state, draw, key)

    def limit(self, problem: Problem, params: Params) -> Continuous:
        return self.flow

    def central(self, problem: Problem, params: Params) -> Continuous | None:
        return self.base.central(problem, params)

    def step_gains(self, problem: Problem, params: Params, memory: Any) -> Params:
        return self.base.step_gains(problem, params, memory)

    def describe(self) -> dict[str, Any]:
        return self.base.describe()


def with_limit(dynamics: Discrete, flow: Continuous) -> WithLimit:
    """A dynamics in steps, to be held against a flow of your choice at equal time.

    `tw.compare` and `tw.diagnose` hold a dynamics against the flow that it follows as its steps go
    to 0, `Discrete.limit`, and against another at equal loss alone. Where two flows are its limit,
    one closer than the other, this says which is meant: of momentum the equation of second order,
    of gradient descent the modified flow. That the clocks agree is yours to know.

    Args:
        dynamics: As `tw.dynamics.optimiser("momentum", 0.01)`.
        flow: As `tw.dynamics.momentum_flow(0.01, error=1e-4)`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> ball = tw.dynamics.optimiser("momentum", 0.05, momentum=0.9)
        >>> second = tw.dynamics.momentum_flow(0.05, 0.9, error=1e-5)
        >>> ball = tw.dynamics.with_limit(ball, second)
        >>> found = tw.diagnose(bowl, ball, until=10.0, records=8, out="second-order")
        >>> found.comparison.flow, found.comparison.regime  # which swings as the ball does
        ('the second-order flow', 'on the flow')
    """
    return WithLimit(dynamics, flow)


def limit_named(dynamics: Discrete, limit: str | None) -> Discrete:
    """A dynamics that is held against a limit by name; its own, "first-order", as it is.

    Args:
        dynamics: What takes steps.
        limit: One of `LIMITS`, or None for its own.

    Raises:
        InputError: If the name is unknown, or no equation of second order is known of the dynamics.
    """
    require(limit is None or limit in LIMITS, unknown(str(limit), LIMITS, "limit"))
    return with_limit(dynamics, second_order(dynamics)) if limit == "second-order" else dynamics


def second_order(dynamics: Discrete) -> SecondOrderFlow:
    """The equation of second order that momentum follows, on its own clock.

    Raises:
        InputError: If none is known of the dynamics.
    """
    inner = dynamics.base if isinstance(dynamics, Noisy) else dynamics
    if isinstance(inner, AcceleratedDescent):
        require(
            float(inner.quotient) == 0 and float(inner.first) == float("inf"),
            "limit came as second-order beside a convexity, with which no equation is known; leave "
            "convexity out, or take nesterov, whose momentum is constant",
        )
        return accelerated_flow(float(inner.step_size))
    known = isinstance(inner, OptaxDescent) and inner.name in OF_MOMENTUM and inner.family
    require(
        bool(known),
        f"limit came as second-order with {dynamics.name}, of which no equation of second order is "
        "known; give momentum, nesterov or accelerated by name, or leave limit out",
    )
    assert isinstance(inner, OptaxDescent)
    require(
        not callable(inner.step_size) and inner.learning_rate is not None,
        "limit came as second-order with a schedule, and the equation is that of one learning "
        "rate; leave schedule or limit out",
    )
    assert inner.learning_rate is not None
    beta = float(dict(inner.settings)["momentum"])
    flow = momentum_flow(float(inner.learning_rate), beta, nesterov=OF_MOMENTUM[inner.name])
    if inner.begun is None:
        return flow
    trace = ravel_pytree(named_parts(inner.begun)["trace"])[0].astype(jnp.float64)
    return dataclasses.replace(flow, pushed=-(1 - flow.kick) * (1 - beta) * trace)
