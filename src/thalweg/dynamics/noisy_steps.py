"""Any dynamics in steps, each of which sees what an oracle shows."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from thalweg.core.result import tree_finite
from thalweg.core.tree import Params
from thalweg.dynamics.around import Around
from thalweg.dynamics.dynamics import Clock, Continuous, Discrete, Info, State
from thalweg.dynamics.flow.gradient_flow import GradientFlow
from thalweg.dynamics.stability import StabilityRule
from thalweg.oracles.batches import FOR
from thalweg.oracles.examples_shown import supervised_in
from thalweg.oracles.oracle import Oracle
from thalweg.oracles.remembering import Remembering
from thalweg.problems.problem import Problem


class Remembered(NamedTuple):
    """What a noisy dynamics carries where its oracle has a memory: that of both."""

    base: Any
    oracle: Any


class Noisy(Around):
    """Any dynamics in steps, of which each takes the problem that an oracle draws for the whole.

    The random numbers of a block of steps are drawn at once, from a key that is a function of the
    seed and the block. The clock, the memory and what is told are those of `base`; the memory of an
    oracle that has one (as `svrg`) is carried beside. The loss that a step shows is that of what it
    saw; what a run records is measured on the whole problem.

    Attributes:
        base: The dynamics; it knows of no noise.
        oracle: What its steps see.
        label: A name for tables and legends; by default those of both.

    `evaluations` counts as `base` does, a gradient of what is seen as one, whatever it took to show
    it: gradients of examples are told by the clock `passes`, values by `values`. NONFINITE once the
    parameters are not finite: a batch's loss alone does not tell of divergence, as wrappers may
    leave out such a step.
    """

    oracle: Oracle
    label: str = eqx.field(static=True, default="")

    @property
    def name(self) -> str:
        return self.label or f"{self.base.name} {self.oracle.name}".strip()

    @property
    def random(self) -> bool:
        return self.oracle.random or self.base.random

    @property
    def long_to_compile(self) -> bool:
        return self.base.long_to_compile

    @property
    def additive(self) -> bool:
        return self.base.additive

    def init(self, problem: Problem, params: Params) -> State:
        begun = self.oracle.begin(problem, params)
        return self.joined(self.base.init(problem, params), begun)

    def joined(self, state: State, oracle: Oracle) -> State:
        """A state of `base` as one of this, with what the oracle remembers."""
        if not isinstance(oracle, Remembering):
            return state
        return state._replace(memory=Remembered(state.memory, oracle.memory))

    def apart(self, state: State) -> tuple[State, Oracle]:
        """The state of `base`, and the oracle with its memory."""
        if not isinstance(self.oracle, Remembering):
            return state, self.oracle
        base, memory = state.memory
        return state._replace(memory=base), self.oracle.holding(memory)

    def inner(self, state: State) -> State:
        return self.apart(state)[0]

    def block(self, problem: Problem, params: Params) -> int:
        return self.oracle.block(problem, params) if self.oracle.random else 0

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        return self.oracle.draws(problem, params, key, count)

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        return self.drawn_step(problem, state, self.draw(problem, state, key), key)

    def draw(self, problem: Problem, state: State, key: Array) -> Any:
        """The random numbers of a step by itself, from its key."""
        own = jax.random.fold_in(key, 3)  # 4 is for what `base` draws
        return self.oracle.draw_alone(problem, state.params, own, state.step)

    def drawn_step(
        self, problem: Problem, state: State, draw: Any, key: Array
    ) -> tuple[State, Info]:
        after, info = self.carried_step(problem, self.carried(state), key, draw)
        return self.released(after), info

    def carried(self, state: State) -> State:
        inner, oracle = self.apart(state)
        return self.joined(self.base.carried(inner), oracle)

    def released(self, state: State) -> State:
        inner, oracle = self.apart(state)
        after = self.base.released(inner)
        return self.joined(after._replace(result=self.result(state, after)), oracle)

    def carried_step(
        self, problem: Problem, state: State, key: Array, draw: Any = None
    ) -> tuple[State, Info]:
        inner, oracle = self.apart(state)
        params = self.base.released(inner).params
        if draw is None:
            draw = self.draw(problem, state._replace(params=params), key)
        seen, oracle = oracle.look(problem, params, draw)
        after, info = self.base.carried_step(seen, inner, jax.random.fold_in(key, 4))
        # Of steps that add, the parameters are looked at where a row of them ends.
        result = state.result if self.ends_late else self.result(state, after)
        return self.joined(after._replace(result=result), oracle), info

    def seen(self, problem: Problem, state: State, key: Array) -> Problem:
        """What the step with this key sees."""
        oracle = self.apart(state)[1]
        return oracle.see(problem, state.params, self.draw(problem, state, key))

    @property
    def ends_late(self) -> bool:
        """Whether the end of a row of steps tells as much of divergence as each of them."""
        return self.oracle.random and self.base.additive

    def result(self, before: State, after: State) -> Int[Array, ""]:
        """The code after a step: a loss that was seen in part tells nothing of divergence."""
        if not self.oracle.random:
            return after.result
        return jnp.maximum(before.result, tree_finite(after.params))

    def clocks(self, problem: Problem) -> dict[str, Clock]:
        return super().clocks(problem) | noise_clocks(self.base, self.oracle, problem)

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        rule = super().stability(problem, params)
        if not rule.known or not self.oracle.random:
            return rule
        because = f"{self.oracle.source}: the rule holds without; noise keeps the curvature below"
        return rule._replace(kind="indicative", because=because)

    def limit(self, problem: Problem, params: Params) -> Continuous | None:
        flow = self.base.limit(problem, params)
        # A flow that is linear in the gradient follows the mean of noisy ones, others do not.
        return flow if not self.oracle.random or isinstance(flow, GradientFlow) else None

    def without_limit(self, problem: Problem, params: Params) -> str:
        if self.limit(problem, params) is not None:
            return ""
        if self.base.limit(problem, params) is None:
            return self.base.without_limit(problem, params)
        return f"its second moments hold the noise of {self.oracle.source}, which a flow has not"

    def step_gains(self, problem: Problem, params: Params, memory: Any) -> Params:
        inner = memory.base if isinstance(memory, Remembered) else memory
        return self.base.step_gains(problem, params, inner)

    def describe(self) -> dict[str, Any]:
        told = self.oracle.describe()
        batch = {"batch": told["batch"]} if "batch" in told else {}
        return self.base.describe() | {"name": self.name, "oracle": told} | batch


def noise_clocks(base: Discrete, oracle: Oracle, problem: Problem) -> dict[str, Clock]:
    """The clocks on which noise acts: the sum of squared step sizes, and passes over the data."""
    if not oracle.random:
        return {}

    def slow(steps: np.ndarray) -> np.ndarray:
        steps = np.asarray(steps)
        every = np.arange(int(steps.max(initial=0)) + 1)
        few = np.unique(np.linspace(0, len(every) - 1, 1000).astype(int))
        first, seen = base.clock(np.arange(2))[-1], base.clock(few)
        if np.allclose(seen, first * few, rtol=1e-12, atol=0):
            return first**2 * steps
        total = np.concatenate([[0.0], np.cumsum(np.diff(base.clock(every)) ** 2)])
        return total[steps]

    clocks = {"slow_time": Clock(slow, "step size^2", "sum of squared step sizes")}
    cost = oracle.counts(problem)
    if cost.component_gradients:
        n = len(supervised_in(problem, *FOR).inputs)
        clocks["passes"] = Clock(
            lambda steps: oracle.spent(problem, steps) / n, "1", "passes over the examples"
        )
    if cost.values:
        clocks["values"] = Clock(
            lambda steps: np.asarray(steps) * cost.values, "1", "values of the objective"
        )
    return clocks


def noisy(dynamics: Discrete, oracle: Oracle) -> Noisy:
    """Any dynamics in steps, whose steps see what an oracle shows; see `Noisy`.

    Args:
        dynamics: As `gradient_descent(0.1)`, an Optax transformation, `levenberg_marquardt()`.
        oracle: As `tw.oracles.label_noise(0.1)`, `tw.oracles.minibatch(32)`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> descent = tw.dynamics.noisy(tw.gradient_descent(0.1), tw.oracles.isotropic(0.5))
        >>> path = tw.run(bowl, descent, until=1.0, records=2, seeds=3)
        >>> path.dataset["slow_time"].values.round(12).tolist()  # eta^2 k
        [0.0, 0.05, 0.1]
    """
    return Noisy(dynamics, oracle)
