"""A dynamics in steps that is held against a flow of the user's choice."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array

from thalweg.core.tree import Params
from thalweg.dynamics.around import Around
from thalweg.dynamics.dynamics import Continuous, Discrete, Info, State
from thalweg.problems.problem import Problem


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
