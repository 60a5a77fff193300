"""Any dynamics in steps, each of which sees what an oracle shows."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.result import tree_finite
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Clock, Continuous, Discrete, Info, State, Statistic
from thalweg.dynamics.flow.gradient_flow import GradientFlow
from thalweg.dynamics.stability import StabilityRule
from thalweg.oracles.oracle import Oracle
from thalweg.problems.problem import Problem


class Noisy(Discrete):
    """Any dynamics in steps, of which each takes the problem that an oracle draws for the whole.

    The random numbers of a block of steps are drawn at once, from a key that is a function of the
    seed and the block. The clock, the memory and what is told are those of `base`. The loss that a
    step shows is that of what it saw; what a run records is measured on the whole problem.

    Attributes:
        base: The dynamics; it knows of no noise.
        oracle: What its steps see.
        label: A name for tables and legends; by default those of both.

    `evaluations` counts as `base` does, a gradient of what is seen as one. NONFINITE once the
    parameters are not finite: a batch's loss alone does not tell of divergence, as wrappers may
    leave out such a step.
    """

    base: Discrete
    oracle: Oracle
    label: str = eqx.field(static=True, default="")

    @property
    def name(self) -> str:
        return self.label or f"{self.base.name} {self.oracle.name}".strip()

    @property
    def random(self) -> bool:
        return self.oracle.random or self.base.random

    def init(self, problem: Problem, params: Params) -> State:
        self.oracle.suit(problem)
        return self.base.init(problem, params)

    def block(self, problem: Problem, params: Params) -> int:
        return self.oracle.block(problem, params) if self.oracle.random else 0

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        return self.oracle.draws(problem, params, key, count)

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        return self.drawn_step(problem, state, self.draw(problem, state, key), key)

    def draw(self, problem: Problem, state: State, key: Array) -> Any:
        """The random numbers of a step by itself, from its key."""
        own = jax.random.fold_in(key, 3)  # 4 is for what `base` draws
        return tree.lane(self.draws(problem, state.params, own, 1), 0)

    def drawn_step(
        self, problem: Problem, state: State, draw: Any, key: Array
    ) -> tuple[State, Info]:
        seen = self.oracle.see(problem, state.params, draw)
        after, info = self.base.step(seen, state, jax.random.fold_in(key, 4))
        return after._replace(result=self.result(state, after)), info

    def seen(self, problem: Problem, state: State, key: Array) -> Problem:
        """What the step with this key sees."""
        return self.oracle.see(problem, state.params, self.draw(problem, state, key))

    def result(self, before: State, after: State) -> Int[Array, ""]:
        """The code after a step: a loss that was seen in part tells nothing of divergence."""
        if not self.oracle.random:
            return after.result
        return jnp.maximum(before.result, tree_finite(after.params))

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        return self.base.recorded(problem)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        return self.base.statistics(problem, state)

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        return self.base.doubts(problem)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return self.base.clock(steps)

    def steps_until(self, time: float) -> int:
        return self.base.steps_until(time)

    def clocks(self, problem: Problem) -> dict[str, Clock]:
        return self.base.clocks(problem) | noise_clocks(self.base, self.oracle, problem)

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        rule = self.base.stability(problem, params)
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
        return self.base.step_gains(problem, params, memory)

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
    components = oracle.counts(problem).component_gradients
    examples = getattr(problem, "inputs", None)
    if components and examples is not None:
        n = len(examples)
        clocks["passes"] = Clock(
            lambda steps: np.asarray(steps) * (components / n), "1", "passes over the examples"
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
