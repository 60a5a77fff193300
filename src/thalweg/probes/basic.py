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
    asks_process: ClassVar[bool] = False

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(problem.objective(params)), ()


class GradientNorm(Probe):
    """||grad f(theta)||, Euclidean (unit: loss/parameter; exact up to rounding; one gradient)."""

    name: ClassVar[str] = "gradient_norm"
    unit: ClassVar[str] = "loss/parameter"
    dims: ClassVar[tuple[str, ...]] = ()
    asks_process: ClassVar[bool] = False

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(tree.norm(jax.grad(problem.objective)(params))), ()


class Accuracy(Probe):
    """Fraction of training examples whose largest output is their label (unit: 1; exact)."""

    name: ClassVar[str] = "accuracy"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()
    asks_process: ClassVar[bool] = False

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
    asks_process: ClassVar[bool] = False

    def start(self, problem: Problem, params: Params) -> Any:
        return params

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(tree.norm(tree.difference(params, memory))), memory


class LayerDrift(Probe):
    """||theta_l(t) - theta_l(0)||^2 of each layer l (unit: parameter^2; exact up to rounding).

    Layers are the entries of the outermost list or mapping of the parameters, in their order; a
    bare array is one layer. value (layer,); no gradients.
    """

    name: ClassVar[str] = "layer_drift"
    unit: ClassVar[str] = "parameter^2"
    dims: ClassVar[tuple[str, ...]] = ("layer",)
    asks_process: ClassVar[bool] = False

    def start(self, problem: Problem, params: Params) -> Any:
        return params

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        moved = tree.difference(params, memory)
        layers = jax.tree.leaves(moved, is_leaf=lambda part: part is not moved)
        return exact(jnp.stack([tree.dot(layer, layer) for layer in layers])), memory


def loss() -> Objective:
    """The full objective; see `Objective`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> float(tw.measure(bowl, jnp.array([3.0, 4.0]), tw.probes.loss()).value)
        12.5
    """
    return Objective()


def gradient_norm() -> GradientNorm:
    """Norm of the full gradient; see `GradientNorm`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> float(tw.measure(bowl, jnp.array([3.0, 4.0]), tw.probes.gradient_norm()).value)
        5.0
    """
    return GradientNorm()


def accuracy() -> Accuracy:
    """Training accuracy; see `Accuracy`.

    Examples:
        >>> data = (np.array([[1.0], [2.0], [-1.0]]), np.array(["up", "down", "down"]))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> params = [{"weight": jnp.array([[0.0], [1.0]])}]  # "up" for positive inputs
        >>> round(float(tw.measure(problem, params, tw.probes.accuracy()).value), 4)
        0.6667
    """
    return Accuracy()


def distance_from_start() -> DistanceFromStart:
    """Distance from the initial parameters; see `DistanceFromStart`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> path = tw.run(
        ...     bowl, tw.gradient_descent(0.5), until=1.0, records=2, probes="distance_from_start"
        ... )
        >>> path.dataset["distance_from_start"].values.tolist()  # x = 1, 1/2, 1/4
        [[0.0, 0.5, 0.75]]
    """
    return DistanceFromStart()


def layer_drift() -> LayerDrift:
    """Squared distance of each layer from its start; see `LayerDrift`.

    Examples:
        >>> bowl = tw.problems.Function(
        ...     lambda p: 0.5 * p["a"] ** 2 + p["b"] ** 2, {"a": jnp.ones(()), "b": jnp.ones(())}
        ... )
        >>> path = tw.run(bowl, tw.gradient_descent(0.5), 0.5, records=1, probes="layer_drift")
        >>> path.dataset["layer_drift"].values[0, 1].tolist()  # a: 1 to 1/2, b: 1 to 0
        [0.25, 1.0]
    """
    return LayerDrift()
