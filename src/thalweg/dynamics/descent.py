"""Gradient descent and any Optax transformation as a discrete dynamics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.errors import InputError, require
from thalweg.core.result import finite
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Discrete, Info, State, fresh, step_size_array
from thalweg.problems.problem import Problem, Supervised

Objective = Callable[[Params], Array]


class GradientDescent(Discrete):
    """x <- x - eta * grad f(x): Euler's method on gradient flow.

    On a quadratic it converges while the sharpness is below 2/eta. Step k sits at training time
    k * eta. Deterministic. Cost: one gradient a step. Source: Elkabetz and Cohen (2021), E2.
    """

    step_size: Float[Array, ""] = eqx.field(converter=step_size_array)

    @property
    def name(self) -> str:
        return "gradient descent"

    def init(self, problem: Problem, params: Params) -> State:
        return fresh(params, ())

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        loss, gradient = jax.value_and_grad(problem.objective)(state.params)
        params = tree.step_along(state.params, -self.step_size, gradient)
        count = state.step + 1
        after = state._replace(
            params=params,
            time=count.astype(jnp.float64) * self.step_size,
            step=count,
            evaluations=state.evaluations + 1,
            result=jnp.maximum(state.result, finite(loss)),
        )
        return after, Info(loss)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(steps) * float(self.step_size)

    def steps_until(self, time: float) -> int:
        return nearest_count(time, float(self.step_size))


class OptaxDescent(Discrete):
    """Any `optax.GradientTransformation` as a dynamics.

    Attributes:
        transform: The transformation, its learning rate included, as Optax users write it.
        step_size: How much training time one step takes: a number, or an Optax schedule (a
            function of the step) whose values are summed. It sets the clock only.
        label: A name for tables and legends.
        batch: Examples in a mini-batch, or None for all of them at every step. The batch is drawn
            without replacement from the step's own key; the loss that a step shows is the
            batch's, and `evaluations` counts one per step, whatever the size of the batch. The
            gradient is unbiased for separable models: a sum is scaled by n/batch.
    """

    transform: optax.GradientTransformationExtraArgs = eqx.field(static=True)
    step_size: Float[Array, ""] | Callable[[Any], Any] = eqx.field(static=False)
    label: str = eqx.field(static=True, default="optax")
    batch: int | None = eqx.field(static=True, default=None)

    @property
    def name(self) -> str:
        return self.label

    def init(self, problem: Problem, params: Params) -> State:
        if self.batch is not None:
            n = len(_with_examples(problem).inputs)
            require(
                1 <= self.batch <= n,
                f"a batch of {self.batch} of {n} examples came; give 1 to {n}, or None for all",
            )
        return fresh(params, self.transform.init(params))

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        return self.descend(self.objective(problem, key), state)

    def objective(self, problem: Problem, key: Array) -> Objective:
        """What the step with this key descends: the problem's objective, or that of a batch."""
        if self.batch is None:
            return problem.objective
        whole = _with_examples(problem)
        n = len(whole.inputs)
        drawn = jax.random.choice(jax.random.fold_in(key, 0), n, (self.batch,), replace=False)
        part = whole.on(drawn)
        if whole.reduction == "mean":
            return part.objective
        scale = n / self.batch
        return lambda params: part.objective(params) * scale

    def descend(self, objective: Objective, state: State) -> tuple[State, Info]:
        """One step of the transformation on an objective."""
        loss, gradient = jax.value_and_grad(objective)(state.params)
        updates, memory = self.transform.update(
            gradient,
            state.memory,
            state.params,
            value=loss,
            grad=gradient,
            value_fn=objective,
        )
        if callable(self.step_size):
            time = state.time + self.step_size(state.step)
        else:
            time = (state.step + 1).astype(jnp.float64) * self.step_size
        after = state._replace(
            params=optax.apply_updates(state.params, updates),
            time=jnp.asarray(time, jnp.float64),
            step=state.step + 1,
            evaluations=state.evaluations + 1,
            result=jnp.maximum(state.result, finite(loss)),
            memory=memory,
        )
        return after, Info(loss)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        steps = np.asarray(steps)
        if not callable(self.step_size):
            return steps * float(self.step_size)
        total = np.concatenate([[0.0], np.cumsum(self._sizes(int(steps.max(initial=0))))])
        return total[steps]

    def steps_until(self, time: float) -> int:
        if not callable(self.step_size):
            return nearest_count(time, float(self.step_size))
        count = 64
        while (reached := np.cumsum(self._sizes(count)))[-1] < time:
            stopped = count > 50_000 and 0 < reached[count // 4] == reached[-1]
            if stopped or count > 50_000_000:
                raise InputError(
                    f"the schedule's step sizes add up to only {reached[-1]:g} in {count} steps; "
                    f"training time {time:g} is out of reach"
                )
            count *= 4
        return int(np.argmin(np.abs(np.concatenate([[0.0], reached]) - time)))

    def _sizes(self, count: int) -> np.ndarray:
        assert callable(self.step_size)
        return np.asarray(jax.vmap(self.step_size)(jnp.arange(count)), np.float64)


def _with_examples(problem: Problem) -> Supervised:
    """The problem, if there are examples to draw batches from."""
    if isinstance(problem, Supervised):
        return problem
    raise InputError(
        f"a {type(problem).__name__} has no examples to draw batches from; leave batch out, or "
        "give a supervised problem"
    )


def nearest_count(time: float, step_size: float) -> int:
    """The number of steps nearest to a time, if float64 can count them."""
    if not time / 2.0**53 < step_size:
        raise InputError(
            f"training time {time:g} takes more than 2^53 steps of size {step_size:g}; "
            "ask for a shorter time or a larger step"
        )
    return round(time / step_size)


def gradient_descent(step_size: float | Array) -> GradientDescent:
    """Gradient descent with a constant step size; see `GradientDescent`."""
    return GradientDescent(step_size_array(step_size))


def optax_dynamics(
    transform: optax.GradientTransformation,
    step_size: float | Callable[[Any], Any],
    name: str = "optax",
    batch: int | None = None,
) -> OptaxDescent:
    """Any Optax transformation as a dynamics.

    Args:
        transform: For example `optax.sgd(0.1, momentum=0.9)` or `optax.adam(1e-3)`.
        step_size: Training time per step, usually the learning rate; a schedule is summed.
        name: For tables and legends.
        batch: Examples per step, drawn without replacement; None for all: see `OptaxDescent`.

    Raises:
        InputError: If the step size is not positive; at the start of a run, if the problem has
            fewer examples than the batch, or none.
    """
    size = step_size if callable(step_size) else step_size_array(step_size)
    return OptaxDescent(optax.with_extra_args_support(transform), size, name, batch)
