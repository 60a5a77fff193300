"""Training time by steps, where the training time of a step follows a schedule.

Averages forget by the step, not by the time. Where all steps are alike that is the same; with a
schedule eta(k) a flow is followed on the clock k of steps, a real number,

    d theta/dk = eta(k) theta',    dm/dk = -log(b) (g - m),    t = T(k), the integral of eta,

of which k = t/eta is the case of equal steps. Between the middles of steps eta(k) is linear: a
schedule need be no more than a function of whole numbers. At whole k then T differs from the sum
of the steps before by an eighth of what eta changes by there, and not at all where it is constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.dynamics.flow.followed import Flow
from thalweg.dynamics.flow.path import Integration
from thalweg.dynamics.optax_update import optax_converts

BLOCK = 1024  # steps that are summed at once
MOST = 50_000_000  # steps after which a time counts as out of reach

Scalar = Float[Array, ""]


class _At(NamedTuple):
    """A block of steps, from the middle of step `first` - 1 on, at this time."""

    first: Array
    time: Scalar


class Pace(eqx.Module):
    """Training time by steps taken.

    Attributes:
        step_size: Training time of a step, a function of its count, as an Optax schedule.
    """

    step_size: Callable[[Any], Any]

    def rate(self, steps: Scalar) -> Scalar:
        """eta(k), the training time by step at a real number of steps."""
        before = jnp.floor(steps + 0.5)
        sizes = self._sizes(before.astype(jnp.int64) + jnp.arange(2))
        return sizes[0] + (steps + 0.5 - before) * (sizes[1] - sizes[0])

    def time(self, steps: Scalar) -> Scalar:
        """T(k), the training time after a real number of steps.

        Cost: the schedule at all steps before.
        """
        steps = jnp.asarray(steps, jnp.float64)
        middle = jnp.floor(steps + 0.5)

        def short(at: _At) -> Array:
            return middle.astype(jnp.int64) >= at.first + BLOCK

        at = jax.lax.while_loop(short, lambda at: self._beyond(at)[0], self._begin())
        middles, sizes = self._beyond(at)[1:]
        x, j = steps + 0.5 - middle, middle.astype(jnp.int64) - at.first
        return middles[j] + x * (sizes[j] + x * (sizes[j + 1] - sizes[j]) / 2)

    def steps(self, time: Scalar) -> Scalar:
        """The k with T(k) = t; where steps come to an end before, as many as are looked at.

        Cost: as `time`.
        """
        time = jnp.asarray(time, jnp.float64)

        def short(at: _At) -> Array:
            return (self._beyond(at)[0].time <= time) & (at.first < MOST)

        at = jax.lax.while_loop(short, lambda at: self._beyond(at)[0], self._begin())
        middles, sizes = self._beyond(at)[1:]
        j = jnp.searchsorted(middles, time, side="right").astype(jnp.int64) - 1
        j = jnp.clip(j, 0, BLOCK - 1)
        left, size, rise = time - middles[j], sizes[j], sizes[j + 1] - sizes[j]
        # Of size x + rise x^2/2 = left the root without cancellation.
        below = size + jnp.sqrt(jnp.maximum(size**2 + 2 * rise * left, 0))
        x = jnp.where(below > 0, 2 * left / jnp.where(below > 0, below, 1), 0)
        return jnp.maximum((at.first + j).astype(jnp.float64) - 0.5 + jnp.clip(x, 0, 1), 0)

    def _sizes(self, shifted: Array) -> Array:
        """Those of the steps before these counts; before the first step as that."""
        with optax_converts():
            sizes = jax.vmap(self.step_size)(jnp.maximum(shifted - 1, 0))
        return jnp.broadcast_to(jnp.asarray(sizes, jnp.float64), shifted.shape)

    def _begin(self) -> _At:
        return _At(jnp.zeros((), jnp.int64), -self._sizes(jnp.zeros(1, jnp.int64))[0] / 2)

    def _beyond(self, at: _At) -> tuple[_At, Array, Array]:
        """The next block; times at the middles of this one's steps, and their sizes."""
        sizes = self._sizes(at.first + jnp.arange(BLOCK + 1))
        passed = jnp.cumsum((sizes[1:] + sizes[:-1]) / 2)
        middles = at.time + jnp.concatenate([jnp.zeros(1), passed])
        return _At(at.first + BLOCK, middles[-1]), middles, sizes


class PacedFlow(Flow):
    """A flow whose steps may follow a schedule: it is then followed by the step.

    Attributes:
        pace: The training time of steps, where it follows a schedule; None where all are alike.
    """

    pace: Pace | None = None

    @property
    def counted(self) -> float:
        return math.inf if self.pace is None else 0.0

    def solver_clock(self, time: Scalar) -> Scalar:
        return time if self.pace is None else self.pace.steps(time)

    def training_time(self, clock: Scalar) -> Scalar:
        return clock if self.pace is None else self.pace.time(clock)

    def step_length(self, path: Integration) -> Scalar:
        before = self.training_time(jnp.maximum(path.time - path.length_before, 0))
        return self.training_time(path.time) - before
