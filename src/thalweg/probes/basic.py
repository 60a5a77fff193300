"""Loss, gradient norm, accuracy, distance from the start."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.result import Reading, exact
from thalweg.core.tree import Params
from thalweg.probes.probe import Moment, Probe, with_data
from thalweg.problems.problem import Problem


class Objective(Probe):
    """The full objective (unit: loss; exact up to rounding; one evaluation, no gradient)."""

    name: ClassVar[str] = "loss"
    unit: ClassVar[str] = "loss"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(problem.objective(params)), ()


class GradientNorm(Probe):
    """||grad f(theta)||, Euclidean (unit: loss/parameter; exact up to rounding; one gradient)."""

    name: ClassVar[str] = "gradient_norm"
    unit: ClassVar[str] = "loss/parameter"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(tree.norm(jax.grad(problem.objective)(params))), ()


class Accuracy(Probe):
    """Fraction of training examples whose largest output is their label (unit: 1; exact)."""

    name: ClassVar[str] = "accuracy"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        data = with_data(problem, "accuracy")
        require(data.classification, "accuracy needs labels; this problem is a regression")
        outputs = data.outputs(params)
        right = jnp.argmax(outputs, axis=1) == jnp.argmax(data.targets, axis=1)
        known = jnp.all(jnp.isfinite(outputs))
        fraction = jnp.mean(right.astype(outputs.dtype))
        return exact(jnp.where(known, fraction, jnp.nan)), ()


class DistanceFromStart(Probe):
    """||theta(t) - theta(0)||, Euclidean (unit: parameter; exact up to rounding)."""

    name: ClassVar[str] = "distance_from_start"
    unit: ClassVar[str] = "parameter"
    dims: ClassVar[tuple[str, ...]] = ()

    def start(self, problem: Problem, params: Params) -> Any:
        return params

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(tree.norm(tree.difference(params, memory))), memory


def loss() -> Objective:
    """The full objective; see `Objective`."""
    return Objective()


def gradient_norm() -> GradientNorm:
    """Norm of the full gradient; see `GradientNorm`."""
    return GradientNorm()


def accuracy() -> Accuracy:
    """Training accuracy; see `Accuracy`."""
    return Accuracy()


def distance_from_start() -> DistanceFromStart:
    """Distance from the initial parameters; see `DistanceFromStart`."""
    return DistanceFromStart()
