"""Any objective with weight decay."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.problems.problem import Problem


def _checked(value: float | Array) -> Float[Array, ""]:
    if isinstance(value, int | float):
        require(value >= 0, f"weight decay came as {value}; give a number of at least 0")
    return jnp.asarray(value, jnp.float64)


class Decayed(Problem):
    """f(theta) + (lambda/2) ||theta||^2, all parameters alike (biases too).

    Attributes:
        problem: f.
        weight_decay: lambda, at least 0 (unit: loss/parameter^2).

    Examples:
        >>> well = tw.problems.Function(lambda x: jnp.sum(x), start=jnp.ones(2))
        >>> float(tw.problems.Decayed(well, 0.5).objective(jnp.array([1.0, 3.0])))  # 4 + 10/4
        6.5
    """

    problem: Problem
    weight_decay: Float[Array, ""] = eqx.field(converter=_checked)

    def init(self, key: Array) -> Params:
        return self.problem.init(key)

    def objective(self, params: Params) -> Float[Array, ""]:
        return self.problem.objective(params) + self.weight_decay / 2 * tree.dot(params, params)

    @property
    def smooth(self) -> bool:
        return self.problem.smooth

    def describe(self) -> dict[str, Any]:
        return {**self.problem.describe(), "weight_decay": float(self.weight_decay)}
