"""Any objective with weight decay."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.ranges import from_zero
from thalweg.core.tree import Params
from thalweg.problems.penalties import Regularised


class Decayed(Regularised):
    """f(theta) + (lambda/2) ||theta||^2, all parameters alike (biases too).

    Attributes:
        problem: f.
        weight_decay: lambda, at least 0 (unit: loss/parameter^2).

    Examples:
        >>> well = tw.problems.Function(lambda x: jnp.sum(x), start=jnp.ones(2))
        >>> float(tw.problems.Decayed(well, 0.5).objective(jnp.array([1.0, 3.0])))  # 4 + 10/4
        6.5
    """

    weight_decay: Float[Array, ""] = eqx.field(converter=partial(from_zero, "weight decay"))

    def term(self, params: Params) -> Float[Array, ""]:
        return self.weight_decay / 2 * tree.dot(params, params)

    @property
    def smooth(self) -> bool:
        return self.problem.smooth

    def describe(self) -> dict[str, Any]:
        return {**self.problem.describe(), "weight_decay": float(self.weight_decay)}
