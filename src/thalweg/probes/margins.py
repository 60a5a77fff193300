"""Margins, norms and directions of classifiers whose parameters grow without bound."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.result import Reading, exact
from thalweg.core.tree import Params
from thalweg.probes.probe import Moment, Probe, with_data
from thalweg.problems.linear_classification import LinearClassifier
from thalweg.problems.margin_losses import MarginLoss
from thalweg.problems.problem import Problem


class ParameterNorm(Probe):
    """||theta||, Euclidean over all parameters (unit: parameter; exact up to rounding)."""

    name: ClassVar[str] = "parameter_norm"
    unit: ClassVar[str] = "parameter"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(tree.norm(params)), ()


def smallest_margin(problem: Problem, params: Params) -> Float[Array, ""]:
    """min_n x_n . w of a `LinearClassifier`; else min_n (f(x_n)_y - max_{k != y} f(x_n)_k).

    Raises:
        InputError: If the problem is neither a linear classifier nor a supervised classification.
    """
    if isinstance(problem, LinearClassifier):
        return jnp.min(problem.margins(params))
    data = with_data(problem, "the margin")
    require(data.classification, "the margin needs labels; this problem is a regression")
    outputs, right = data.outputs(params), data.targets > 0
    own = jnp.sum(jnp.where(right, outputs, 0), axis=1)
    other = jnp.max(jnp.where(right, -jnp.inf, outputs), axis=1)
    return jnp.min(own - other)


class Margin(Probe):
    """`smallest_margin`: positive if all examples are right (unit: output; exact up to rounding).

    Cost: a forward pass. Raises InputError for problems that are no classification.
    """

    name: ClassVar[str] = "margin"
    unit: ClassVar[str] = "output"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(smallest_margin(problem, params)), ()


class NormalisedMargin(Probe):
    """`smallest_margin` over ||theta||; 0 at theta = 0 (unit: output/parameter; exact).

    For a linear classifier it is the distance of the nearest example from the decision boundary,
    at most the hard margin 1/||w_svm||. Cost and raises as `Margin`.
    """

    name: ClassVar[str] = "normalised_margin"
    unit: ClassVar[str] = "output/parameter"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        size = tree.norm(params)
        return exact(smallest_margin(problem, params) / jnp.where(size == 0, 1.0, size)), ()


class DirectionDistance(Probe):
    """||theta/||theta|| - v||, v the unit vector of a given direction (unit: 1; exact).

    At theta = 0, where there is no direction, it is 1.

    Attributes:
        direction: v, shape (p,), in the order of the flat parameters.
    """

    name: ClassVar[str] = "direction_distance"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()
    direction: Float[Array, " p"]

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(_distance(params, self.direction)), ()


class AngleGap(Probe):
    """1 - cos of the angle between theta and a given direction (unit: 1; exact).

    Computed as ||theta/||theta|| - v||^2 / 2, which does not cancel; 1/2 at theta = 0.

    Attributes:
        direction: v, shape (p,), in the order of the flat parameters.
    """

    name: ClassVar[str] = "angle_gap"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()
    direction: Float[Array, " p"]

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(_distance(params, self.direction) ** 2 / 2), ()


class ValidationLoss(Probe):
    """mean_v l(x_v . w) of a linear classifier on other examples (unit: loss; exact).

    Attributes:
        X: Other inputs times their labels, shape (m, d).
        loss: The loss of a margin.
    """

    name: ClassVar[str] = "validation_loss"
    unit: ClassVar[str] = "loss"
    dims: ClassVar[tuple[str, ...]] = ()
    X: Float[Array, "m d"]
    loss: MarginLoss

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(jnp.mean(self.loss.value(_scores(self.X, params)))), ()


class ValidationError(Probe):
    """Share of other examples with x_v . w <= 0, by a linear classifier (unit: 1; exact).

    Attributes:
        X: Other inputs times their labels, shape (m, d).
    """

    name: ClassVar[str] = "validation_error"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()
    X: Float[Array, "m d"]

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        u = _scores(self.X, params)
        share = jnp.mean((u <= 0).astype(u.dtype))
        return exact(jnp.where(jnp.all(jnp.isfinite(u)), share, jnp.nan)), ()


def _scores(X: Float[Array, "m d"], params: Params) -> Float[Array, " m"]:
    w = tree.flatten(params)
    require(
        X.shape[1:] == w.shape,
        f"other examples of shape {X.shape} came for {w.size} parameters; give (examples, "
        f"{w.size}), to a linear classifier",
    )
    return X.astype(w.dtype) @ w


def _distance(params: Params, direction: Array) -> Array:
    theta = tree.flatten(params)
    require(
        direction.shape == theta.shape,
        f"a direction of {direction.size} numbers came for {theta.size} parameters; give one "
        "number for each",
    )
    size = tree.length(theta)
    return jnp.linalg.norm(theta / jnp.where(size == 0, 1.0, size) - direction.astype(theta.dtype))


def _unit(direction: ArrayLike) -> Array:
    v = jnp.ravel(jnp.asarray(direction, jnp.float64))
    size = float(tree.length(v))
    require(size > 0, "the direction came as zero; give a vector that points somewhere")
    return v / size


def parameter_norm() -> ParameterNorm:
    """Norm of all parameters; see `ParameterNorm`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: jnp.sum(x**2), start=jnp.ones(2))
        >>> float(tw.measure(bowl, jnp.array([3.0, 4.0]), tw.probes.parameter_norm()).value)
        5.0
    """
    return ParameterNorm()


def margin() -> Margin:
    """The smallest margin; see `Margin`.

    Examples:
        >>> problem = tw.problems.linear_classifier([[1.0, 0.0], [0.0, 3.0]])
        >>> float(tw.measure(problem, jnp.array([2.0, 1.0]), tw.probes.margin()).value)
        2.0
    """
    return Margin()


def normalised_margin() -> NormalisedMargin:
    """The smallest margin over the norm of the parameters; see `NormalisedMargin`.

    Examples:
        >>> problem = tw.problems.linear_classifier([[1.0, 0.0], [0.0, 3.0]])
        >>> float(tw.measure(problem, jnp.array([4.0, 3.0]), tw.probes.normalised_margin()).value)
        0.8
    """
    return NormalisedMargin()


def direction_distance(direction: ArrayLike) -> DirectionDistance:
    """Distance of the parameters' direction from a given one; see `DirectionDistance`.

    Examples:
        >>> bowl = tw.problems.Function(lambda w: jnp.sum(w**2), start=jnp.ones(2))
        >>> away = tw.probes.direction_distance([0.0, 2.0])
        >>> round(float(tw.measure(bowl, jnp.array([5.0, 0.0]), away).value), 6)  # sqrt(2)
        1.414214
    """
    return DirectionDistance(_unit(direction))


def angle_gap(direction: ArrayLike) -> AngleGap:
    """1 - cos of the angle to a given direction; see `AngleGap`.

    Examples:
        >>> bowl = tw.problems.Function(lambda w: jnp.sum(w**2), start=jnp.ones(2))
        >>> gap = tw.probes.angle_gap([1.0, 1.0])  # 1 - cos(45 degrees)
        >>> round(float(tw.measure(bowl, jnp.array([1.0, 0.0]), gap).value), 6)
        0.292893
    """
    return AngleGap(_unit(direction))


def validation_loss(X: ArrayLike, loss: MarginLoss) -> ValidationLoss:
    """Mean loss of a linear classifier on other examples; see `ValidationLoss`.

    Examples:
        >>> problem = tw.problems.linear_classifier([[1.0, 0.0]], "exponential")
        >>> others = tw.probes.validation_loss([[0.0, 1.0]], problem.loss)
        >>> float(tw.measure(problem, jnp.array([1.0, 0.0]), others).value)  # exp(0)
        1.0
    """
    return ValidationLoss(jnp.asarray(X, jnp.float64), loss)


def validation_error(X: ArrayLike) -> ValidationError:
    """Share of other examples that a linear classifier gets wrong; see `ValidationError`.

    Examples:
        >>> problem = tw.problems.linear_classifier([[1.0, 0.0]])
        >>> others = tw.probes.validation_error([[1.0, 1.0], [-1.0, 1.0]])  # one is wrong
        >>> float(tw.measure(problem, jnp.array([1.0, 0.0]), others).value)
        0.5
    """
    return ValidationError(jnp.asarray(X, jnp.float64))
