"""Training on a stream: each step sees the next example alone, and is judged on it beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Clock, Continuous, Discrete, Info, State, Statistic
from thalweg.dynamics.stability import StabilityRule
from thalweg.oracles.examples_shown import supervised_in, with_supervised
from thalweg.problems.problem import Problem, Supervised

FOR = ("to come one at a time", "give a supervised problem or tw.problems.stream(...)")


class Streamed(NamedTuple):
    """What is carried along a stream.

    Attributes:
        memory: That of the dynamics.
        loss: Sum over all examples so far of their losses, each before its own step.
        mistakes: How many of them were misclassified, each before its own step.
    """

    memory: Any
    loss: Float[Array, ""]
    mistakes: Int[Array, ""]


class Online(Discrete):
    """Any dynamics in steps, the k-th of which sees example k alone; after the last all over.

    What a run tells of itself are sums over the stream so far, `online_loss` and, for labels,
    `online_mistakes`: their difference between two records is that of the examples between them.
    Each example is judged before its own step, so that none was seen.

    Attributes:
        base: The dynamics. Its clock counts, and an example is to it the whole objective.

    Cost: that of `base` on one example. `evaluations` counts a gradient of one example as one.
    """

    base: Discrete

    @property
    def name(self) -> str:
        return f"{self.base.name} on a stream"

    @property
    def random(self) -> bool:
        return self.base.random

    def init(self, problem: Problem, params: Params) -> State:
        self._shown(problem, jnp.zeros((), jnp.int64))
        state = self.base.init(problem, params)
        nothing = Streamed(state.memory, jnp.zeros((), jnp.float64), jnp.zeros((), jnp.int64))
        return state._replace(memory=nothing)

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        after, info = self.carried_step(problem, self.carried(state), key)
        return self.released(after), info

    def carried(self, state: State) -> State:
        return self._inside(self.base.carried, state)

    def released(self, state: State) -> State:
        return self._inside(self.base.released, state)

    def _inside(self, change: Callable[[State], State], state: State) -> State:
        after = change(state._replace(memory=state.memory.memory))
        return after._replace(memory=state.memory._replace(memory=after.memory))

    def carried_step(
        self, problem: Problem, state: State, key: Array, draw: Any = None
    ) -> tuple[State, Info]:
        one = self._shown(problem, state.step)
        outputs = one.outputs(self.released(state).params)
        lost = one.loss.one(outputs[0], one.targets[0]).astype(jnp.float64)
        wrong = (jnp.argmax(outputs[0]) != jnp.argmax(one.targets[0])).astype(jnp.int64)
        carried = state.memory
        before = state._replace(memory=carried.memory)
        after, info = self.base.carried_step(with_supervised(problem, one), before, key)
        sums = Streamed(after.memory, carried.loss + lost, carried.mistakes + wrong)
        return after._replace(memory=sums), info

    def _shown(self, problem: Problem, number: Array) -> Supervised:
        whole = supervised_in(problem, *FOR)
        return whole.on(number[None] % len(whole.inputs))

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        told = "summed over the stream so far, each example before its own step"
        loss = Statistic("online_loss", "loss", f"loss {told}")
        mistakes = Statistic("online_mistakes", "1", f"mistakes {told}")
        labels = supervised_in(problem, *FOR).classification
        return (loss, mistakes) if labels else (loss,)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        told = {"online_loss": state.memory.loss, "online_mistakes": state.memory.mistakes}
        return {statistic.name: told[statistic.name] for statistic in self.recorded(problem)}

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return self.base.clock(steps)

    def steps_until(self, time: float) -> int:
        return self.base.steps_until(time)

    def clocks(self, problem: Problem) -> dict[str, Clock]:
        n = len(supervised_in(problem, *FOR).inputs)
        passes = Clock(lambda steps: np.asarray(steps) / n, "1", "passes over the stream")
        return self.base.clocks(problem) | {"passes": passes}

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        rule = self.base.stability(problem, params)
        because = "one example at a time: the rule holds for all at once"
        return rule._replace(kind="indicative", because=because) if rule.known else rule

    def limit(self, problem: Problem, params: Params) -> Continuous | None:
        return None

    def without_limit(self, problem: Problem, params: Params) -> str:
        return "a stream shows one example after the other, in its own order"

    def describe(self) -> dict[str, Any]:
        return self.base.describe() | {"name": self.name, "oracle": {"name": "stream"}}


def online(dynamics: Discrete) -> Online:
    """A dynamics whose steps see one example after the other, in their order; see `Online`.

    Args:
        dynamics: As `tw.gradient_descent(0.01)`, `tw.dynamics.crossprop(0.01)`, `adam` of Optax.

    Examples:
        >>> data = np.ones((4, 1)), np.ones((4, 1))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> learner = tw.dynamics.online(tw.gradient_descent(0.5))
        >>> start = [{"weight": np.zeros((1, 1))}]
        >>> path = tw.run(problem, learner, until=2.0, records=2, start=start)
        >>> path.dataset["online_loss"].values.tolist()  # 1/2 (1 + 1/4 + 1/16 + 1/64)
        [[0.0, 0.625, 0.6640625]]
    """
    return Online(dynamics)
