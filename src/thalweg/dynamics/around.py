"""What a dynamics in steps about another one takes over from it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Clock, Discrete, State, Statistic
from thalweg.dynamics.stability import StabilityRule
from thalweg.problems.problem import Problem


class Around(Discrete):
    """A dynamics in steps about another one: clock, stability and what is told are those of `base`.

    Attributes:
        base: The dynamics that it is about.
    """

    base: Discrete

    def inner(self, state: State) -> State:
        """The state of `base`."""
        return state

    @property
    def name(self) -> str:
        return self.base.name

    @property
    def random(self) -> bool:
        return self.base.random

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        return self.base.recorded(problem)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        return self.base.statistics(problem, self.inner(state))

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        return self.base.doubts(problem)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return self.base.clock(steps)

    def steps_until(self, time: float) -> int:
        return self.base.steps_until(time)

    def clocks(self, problem: Problem) -> dict[str, Clock]:
        return self.base.clocks(problem)

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return self.base.stability(problem, params)
