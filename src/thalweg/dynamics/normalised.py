"""Normalised gradient descent: steps whose length does not shrink with the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from thalweg.core import tree
from thalweg.core.errors import require, unknown
from thalweg.core.ranges import require_positive
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Info, State, step_size_array
from thalweg.dynamics.optax_descent import OptaxDescent
from thalweg.dynamics.schedules import require_schedule
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.problems.linear_classification import LinearClassifier, log_objective
from thalweg.problems.problem import Problem

NORMALISED_BY = ("gradient", "loss")


class NormalisedDescent(OptaxDescent):
    """x <- x - eta(k) g/||g||, or x <- x - eta(k) g/f, g = grad f.

    Both are computed from the gradient of log f (for "gradient", of a `LinearClassifier` only), so
    that they go on where f and g are below the smallest positive number. Training time is the sum
    of eta(k). Deterministic. Cost: one gradient a step.

    Attributes:
        by: "gradient" for g/||g|| (no step where g = 0), "loss" for g/f, f positive.

    Source: Soudry et al. (2018), the remark on normalised gradient descent (E10 of the study).
    """

    by: str = eqx.field(static=True, default="gradient")

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        if self.by == "loss" or isinstance(problem, LinearClassifier):
            after, info = self.descend(log_objective(problem), state)
            return after, Info(jnp.exp(info.loss))
        return self.descend(problem.objective, state)

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return no_rule("its steps do not shrink with the gradient, so that no rest is stable")


def normalised_descent(
    step_size: float | Callable[[Any], Any], by: str = "gradient", name: str = "normalised descent"
) -> NormalisedDescent:
    """Normalised gradient descent; see `NormalisedDescent`.

    Args:
        step_size: eta, a number or a function of the step k = 0, 1, ... as
            `inverse_root_steps(0.3)`.
        by: "gradient" or "loss".
        name: For tables and legends.

    Raises:
        InputError: If the step size is not positive, or `by` unknown.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 2 * jnp.sum(x**2), start=jnp.ones(1))
        >>> by_loss = tw.dynamics.normalised_descent(0.125, by="loss")
        >>> path = tw.run(bowl, by_loss, until=0.125, records=1)
        >>> path.dataset["parameters"].values[0].tolist()  # 1 - 0.125 f'/f
        [[1.0], [0.75]]
    """
    require(by in NORMALISED_BY, unknown(by, NORMALISED_BY, "normalisation"))
    size = require_schedule(step_size) if callable(step_size) else step_size_array(step_size)
    rate = step_size if callable(step_size) else float(step_size)
    unit = [optax.stateless(_unit)] if by == "gradient" else []
    transform = optax.chain(*unit, optax.scale_by_learning_rate(rate))
    return NormalisedDescent(optax.with_extra_args_support(transform), size, name, by=by)


def inverse_root_steps(first: float) -> Callable[[Any], Any]:
    """The schedule eta(k) = first/sqrt(k + 1), k = 0, 1, ...

    With steps eta(k) g/f the margin gap of a separable linear classifier is O(log t / sqrt(t)),
    against O(1/log t) of gradient descent.

    Raises:
        InputError: If the first step is not positive.

    Source: Soudry et al. (2018), the remark on normalised gradient descent.
    """
    require_positive(first=first)
    return lambda k: first / jnp.sqrt(jnp.asarray(k, float) + 1.0)


def _unit(gradient: Params, _: Params) -> Params:
    length = tree.norm(gradient)
    safe = jnp.where(length > 0, length, 1.0)
    return jax.tree.map(lambda g: g / safe.astype(g.dtype), gradient)
