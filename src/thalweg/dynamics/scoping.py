"""What entropic optimisers share: a coupling that grows, a rate that drops, a step, checks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.arguments import misfit, told
from thalweg.core.doors import Checked
from thalweg.core.errors import require
from thalweg.core.result import finite, tree_finite
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Discrete, State, step_size_array
from thalweg.oracles.oracle import Oracle

STABLE = 0.5  # most of a coupling times its step size, over 1 - momentum


def number(value: Any) -> Float[Array, "*lanes"]:
    """A hyper-parameter as an array, so that another one compiles nothing."""
    return jnp.asarray(value, jnp.float64)


class Scoping(Checked):
    """gamma_k = gamma_0 factor^(floor((k - free)/every) every/steps), and 0 for k < free.

    Attributes:
        factor: By how much the coupling has grown after `steps` steps.
        steps: Over how many it does.
        every: After how many it is raised, as once an epoch.
        free: How many pass without coupling at first.
    """

    factor: Float[Array, ""] = eqx.field(converter=number, default=1e4)
    steps: Float[Array, ""] = eqx.field(converter=number, default=1000.0)
    every: Float[Array, ""] = eqx.field(converter=number, default=1.0)
    free: Float[Array, ""] = eqx.field(converter=number, default=0.0)

    def at(self, step: Int[Array, ""], first: Float[Array, ""]) -> Float[Array, ""]:
        """The coupling of a step, `first` being gamma_0."""
        since = step.astype(jnp.float64) - self.free
        raised = jnp.floor(since / self.every) * self.every
        grown = first * self.factor ** (raised / self.steps)
        return jnp.where(since < 0, jnp.zeros_like(grown), grown)


class Dropping(Checked):
    """A learning rate that drops by a factor at some steps: rate factor^(drops so far).

    Attributes:
        rate: Before the first drop.
        drops: Steps from which on it is lower, ascending, shape (k,).
        factor: By how much at each.
    """

    rate: Float[Array, ""] = eqx.field(converter=step_size_array)
    drops: Float[Array, " k"] = eqx.field(converter=number)
    factor: Float[Array, ""] = eqx.field(converter=number, default=0.2)

    def at(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The rate of a step."""
        fallen = jnp.sum(step.astype(jnp.float64) >= self.drops)
        return self.rate * self.factor ** fallen.astype(jnp.float64)

    def sum(self, steps: Int[Array, "..."] | Int[np.ndarray, "..."]) -> Float[Array, "..."]:
        """The sum of the rates of so many steps."""
        count = jnp.asarray(steps, jnp.float64)[..., None]
        marks = jnp.concatenate([jnp.zeros(1), self.drops, jnp.full(1, jnp.inf)])
        marks = marks.reshape((1,) * (count.ndim - 1) + marks.shape)
        within = jnp.minimum(count, marks[..., 1:]) - jnp.minimum(count, marks[..., :-1])
        rates = self.rate * self.factor ** jnp.arange(len(self.drops) + 1).astype(jnp.float64)
        return jnp.sum(within * rates.reshape((1,) * (count.ndim - 1) + rates.shape), axis=-1)

    def steps_until(self, time: float) -> int:
        """The number of steps whose sum of rates is nearest to a time."""
        if len(self.drops) == 0:
            return round(time / float(self.rate))
        low, high = 0, 1
        while float(self.sum(np.asarray(high))) < time and high < 2**40:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (middle, high) if float(self.sum(np.asarray(middle))) < time else (low, middle)
            )
        near = [abs(float(self.sum(np.asarray(k))) - time) for k in (low, high)]
        return low if near[0] <= near[1] else high


class Scoped(Discrete):
    """What both have: an outer rate that drops, a coupling that grows, an oracle of their own."""

    learning_rate: Dropping
    coupling: Scoping
    momentum: Float[Array, ""] = eqx.field(converter=number)
    oracle: Oracle

    @property
    def random(self) -> bool:
        return True

    def _unit(self) -> Float[Array, ""]:
        """Training time of a step, over the learning rate."""
        return 1 / (1 - self.momentum)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(self.learning_rate.sum(np.asarray(steps)) * self._unit())

    def steps_until(self, time: float) -> int:
        return self.learning_rate.steps_until(time / float(self._unit()))

    def _after(self, state: State, params: Params, loss: Array, spent: int, memory: Any) -> State:
        count = state.step + 1
        result = jnp.maximum(state.result, jnp.maximum(tree_finite(params), finite(loss)))
        return State(
            params,
            self.learning_rate.sum(count) * self._unit(),
            count,
            state.evaluations + spent,
            result,
            memory,
        )

    def _nesterov(self, params: Params, v: Params, slope: Params, rate: Array) -> Any:
        """Nesterov's step as in PyTorch: v <- m v + g, w <- w - rate (g + m v)."""
        m = self.momentum
        v = jax.tree.map(lambda v, g: m.astype(g.dtype) * v + g, v, slope)
        moved = jax.tree.map(
            lambda w, g, v: w - rate.astype(w.dtype) * (g + m.astype(g.dtype) * v), params, slope, v
        )
        return moved, v


def drop_steps(drops: Sequence[float]) -> list[float]:
    """The steps at which a rate drops; refuses what is no row of numbers."""
    row: list[Any] = (
        list(drops) if not isinstance(drops, Mapping) and np.ndim(drops) == 1 else [drops]
    )
    fit = all(not misfit(step, float) and 0 <= step < math.inf for step in row)
    require(fit, f"drops came as {told(drops)}; give numbers of steps, as (1000, 2000)")
    return [float(step) for step in row]
