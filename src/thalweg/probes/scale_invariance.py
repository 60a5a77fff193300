"""What scale-invariant training is about: f(c w) = f(w), and the direction theta = w/||w||."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.errors import InputError, require
from thalweg.core.result import Reading, exact
from thalweg.core.tree import Params
from thalweg.probes.curvature import Sharpness
from thalweg.probes.flatness.measure import Costed
from thalweg.probes.probe import Moment, Probe
from thalweg.problems.problem import Problem

SCALES = (0.5, 2.0)  # powers of two scale every number exactly: rounding cannot look like a defect


def direction(params: Params) -> Params:
    """Parameters over the Euclidean norm of all of them."""
    size = tree.norm(params)
    return jax.tree.map(lambda w: w / size.astype(w.dtype), params)


class ScaleInvarianceDefect(Probe):
    """max over c = 1/2, 2 of |f(c w) - f(w)| / max(|f(c w)|, |f(w)|), all parameters scaled alike.

    value   (), 1; 0 where f is scale-invariant, about 1e-16 where it divides by an epsilon that is
            lost in rounding; 0 where f is 0 at all scales
    error   0: exact up to rounding
    cost    three evaluations, no gradient
    """

    name: ClassVar[str] = "scale_invariance_defect"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        here = problem.objective(params)

        def defect(c: float) -> Array:
            there = problem.objective(jax.tree.map(lambda w: jnp.asarray(c, w.dtype) * w, params))
            size = jnp.maximum(jnp.abs(here), jnp.abs(there))
            return jnp.abs(there - here) / jnp.where(size == 0, jnp.ones_like(size), size)

        return exact(jnp.max(jnp.stack([defect(c) for c in SCALES]))), ()


class EffectiveLearningRate(Probe):
    """eta/((1 - eta lambda) ||w||^2): the step size with which descent moves w/||w|| on the sphere.

    For scale-invariant f, a step of descent with weight decay is theta <- (theta - rate grad
    f(theta)) over its norm, exactly. It is stable up to rate * (spherical sharpness) = 2.

    value   (), 1/loss
    error   0: exact up to rounding
    raises  InputError where no step size was given and the dynamics of the run has none
    cost    none

    Source: Lyu, Li and Arora (2022), section 2.
    """

    step_size: Float[Array, ""] | None = None
    weight_decay: Float[Array, ""] | None = None
    name: ClassVar[str] = "effective_learning_rate"
    unit: ClassVar[str] = "1/loss"
    dims: ClassVar[tuple[str, ...]] = ()

    def along(self, dynamics: Any) -> Probe:
        base = getattr(dynamics, "base", dynamics)  # what noise is laid upon
        eta = getattr(base, "step_size", None)
        if self.step_size is not None or eta is None or callable(eta):
            return self
        decay = getattr(base, "weight_decay", None)
        return EffectiveLearningRate(
            jnp.asarray(eta, float), jnp.asarray(0.0 if decay is None else decay, float)
        )

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        if self.step_size is None or self.weight_decay is None:
            raise InputError(
                "the effective learning rate needs a step size, and the dynamics tells none; give "
                "tw.probes.effective_learning_rate(step_size, weight_decay)"
            )
        size = tree.norm(params)
        rate = self.step_size / (1 - self.step_size * self.weight_decay)
        return exact(rate.astype(size.dtype) / size / size), ()


class SphericalSharpness(Sharpness):
    """Largest Hessian eigenvalue at w/||w||, signed: the sharpness that scale cannot change.

    For scale-invariant f it is ||w||^2 times the sharpness at w. Off the minima the direction of w
    itself takes part, as H theta = -grad f(theta). Found matrix-free by Lanczos' method.

    value   (), loss; descent is stable while it is below 2 over the effective learning rate
    error   (), as of `Sharpness`: the true eigenvalue lies in [value, value + error], at rechecks
            with probability 0.995
    result  as of `Sharpness`; NONFINITE at w = 0
    cost    as of `Sharpness`

    Source: Lyu, Li and Arora (2022), definition of spherical sharpness.
    """

    name: ClassVar[str] = "spherical_sharpness"
    unit: ClassVar[str] = "loss"
    dims: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = "spherical sharpness"
    unchanged_by: ClassVar[tuple[str, ...]] = ("permutation", "rotation")

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return super().measure(problem, direction(params), memory, moment)

    def taken(self, problem: Problem, params: Params, key: Array) -> Costed:
        return super().taken(problem, direction(params), key)


def scale_invariance_defect() -> ScaleInvarianceDefect:
    """How far the objective is from scale-invariant; see `ScaleInvarianceDefect`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: jnp.sum(x**2), start=jnp.ones(2))
        >>> float(tw.measure(bowl, bowl.start, "scale-invariance-defect").value)  # 1 - 1/4
        0.75
        >>> circle = tw.problems.circle_of_minima()
        >>> float(tw.measure(circle, circle.start, "scale-invariance-defect").value)
        0.0
    """
    return ScaleInvarianceDefect()


def effective_learning_rate(
    step_size: float | None = None, weight_decay: float = 0.0
) -> EffectiveLearningRate:
    """The step size on the sphere; see `EffectiveLearningRate`.

    Args:
        step_size: eta; None for that of the dynamics of the run, with its weight decay.
        weight_decay: lambda of w <- (1 - eta lambda) w - eta grad f(w).

    Raises:
        InputError: If the step size is not positive, or eta lambda not in [0, 1).

    Examples:
        >>> circle = tw.problems.circle_of_minima()
        >>> descent = tw.dynamics.decayed_descent(0.1, 0.01)
        >>> path = tw.run(circle, descent, until=1.0, records=1, probes="effective-learning-rate")
        >>> rate, w = float(path.dataset["effective_learning_rate"][0, 0]), circle.start
        >>> bool(jnp.isclose(rate, 0.1 / 0.999 / jnp.sum(w**2)))
        True
    """
    if step_size is None:
        require(
            weight_decay == 0, "weight_decay came without step_size; give both, or neither in a run"
        )
        return EffectiveLearningRate()
    require(
        0 < step_size < math.inf and 0 <= step_size * weight_decay < 1,
        f"step_size came as {step_size} and weight_decay as {weight_decay}; give a positive step "
        "size, and a weight decay whose product with it is in [0, 1)",
    )
    return EffectiveLearningRate(jnp.asarray(step_size, float), jnp.asarray(weight_decay, float))


def spherical_sharpness(
    tolerance: float = 1e-2, recheck: int = 25, most_products: int = 200
) -> SphericalSharpness:
    """The sharpness at w/||w||; see `SphericalSharpness`.

    Examples:
        >>> circle = tw.problems.circle_of_minima(3.0)
        >>> w = jnp.array([3.0, 0.0, 0.0])
        >>> reading = tw.measure(circle, w, tw.probes.spherical_sharpness())
        >>> round(float(reading.value), 6), float(reading.error) < 0.01
        (1.0, True)
    """
    return SphericalSharpness(tolerance, recheck, most_products)
