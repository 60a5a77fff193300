"""What the measures of flatness have in common: a cost, and what leaves them unchanged."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float

from thalweg.core.result import Reading, Result
from thalweg.core.tree import Params
from thalweg.probes.probe import Moment, Probe
from thalweg.problems.problem import Problem

# f(T(u)) at u = T^-1(theta) is f at theta in other parameters: these T are told of.
REPARAMETRISATIONS = {
    "translation": "u + c: where the origin lies",
    "permutation": "the entries in another order",
    "rotation": "Q u, Q orthogonal",
    "rescaling": "c * u, a positive factor for every entry; in ReLU nets that of a unit's weights, "
    "which leaves the net the same function",
}


class Costed(NamedTuple):
    """A reading and what it cost.

    Attributes:
        reading: Value, error, result code.
        gradients: Spent in all; a Hessian product counts 2, an evaluation of the objective 1/3.
    """

    reading: Reading
    gradients: Float[Array, ""]


class FlatnessMeasure(Probe):
    """A probe that tells how flat the objective is about a point.

    Class attributes that every measure states beside those of a probe:
        title: What a table calls it.
    """

    title: eqx.AbstractClassVar[str]
    asks_process: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def unchanged_by(self) -> tuple[str, ...]:
        """Which of `REPARAMETRISATIONS` leave it the same: in value, or in law if it is drawn."""

    @abc.abstractmethod
    def taken(self, problem: Problem, params: Params, key: Array) -> Costed:
        """The reading at these parameters with its cost; pure, the key draws all there is."""

    def says(self, result: Result) -> str:
        """What a table says of a reading with this code; nothing of one that is OK."""
        if result is Result.NONFINITE:
            return "not finite: the objective or its derivatives are not, here or nearby"
        return "" if result is Result.OK else result.sentence

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return self.taken(problem, params, moment.key).reading, ()
