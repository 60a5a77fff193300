"""One step of each method, cut into turns: given a gradient, where is the next one wanted?"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from thalweg.dynamics.flow.stabilised import (
    RKC2_SCHEME,
    RKL2_SCHEME,
    Scheme,
    extrapolation_weight,
    next_stage,
    trapezoid_error,
)

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]
Count = Int[Array, ""]
Norm = Callable[[Vector], Scalar]

STABLE = 3.3  # h rho up to which explicit pairs of order 5 are well inside their interval
CROSSOVER = 3e-4  # wanted error of the path below which order 3 pays
MOST_STAGES = 10_000  # of a stabilised step: Ctrl-C waits for it, and rounding grows with it
RKL2X_ERROR = 0.11  # RKL2x's estimate by that of RKC2, for steps of one length


class Work(NamedTuple):
    """A step in progress.

    Attributes:
        point: Where the gradient is wanted next, flat (p,).
        base: Where the leg of the step starts (p,): a path with a companion takes two steps of
            length h (legs 0, 1) while the companion takes one of length 2h (leg 2).
        base_force: -grad f there (p,).
        end: Where the path's last leg ended (p,).
        end_force: -grad f there (p,).
        leg: Which leg this is.
        worst: The largest error ratio of the legs so far.
        rows: What the method keeps, (r, p).
        carry: Scalars of a recurrence, (10,).
        length: Length of the leg.
        bound: Bound of the curvature that the step stands on; 0 if unknown.
        part: Which of the recurrences of the step (RKL2x has three).
        stage: Which stage `point` is.
        stages: The last stage of the part.
        error: Norm of the error where a method knows it before its last gradient.
        last: Whether `point` is the end of the step.
        looking: Whether `point` is asked for to measure the curvature.
        idle: Whether nothing of the step has been evaluated.
    """

    point: Vector
    base: Vector
    base_force: Vector
    end: Vector
    end_force: Vector
    leg: Count
    worst: Scalar
    rows: Float[Array, "r p"]
    carry: Float[Array, "10"]
    length: Scalar
    bound: Scalar
    part: Count
    stage: Count
    stages: Count
    error: Scalar
    last: Bool[Array, ""]
    looking: Bool[Array, ""]
    idle: Bool[Array, ""]


def blank(theta: Vector, rows: int) -> Work:
    """Work before the first step."""
    zero, none = jnp.zeros((), jnp.float64), jnp.zeros((), jnp.int64)
    no = jnp.zeros((), bool)
    store = jnp.zeros((rows, theta.size), theta.dtype)
    return Work(
        point=theta,
        base=theta,
        base_force=theta,
        end=theta,
        end_force=theta,
        leg=none,
        worst=zero,
        rows=store,
        carry=jnp.zeros(10),
        length=zero,
        bound=zero,
        part=none,
        stage=none,
        stages=none,
        error=zero,
        last=no,
        looking=no,
        idle=no,
    )


class Method(abc.ABC):
    """A way to take a step; the gradient at the start is known, that at the end is wanted.

    Attributes:
        name: What records call it.
        rows: Vectors it keeps during a step.
        order: The error of the path is of order h^order.
        exponent: The error estimate of a step is of order h^exponent.
        bounded: Whether it needs a bound of the curvature.
        offered: Between which wanted errors of the path the automatic choice may take it.
        loosest: Its tolerance is never above this.
    """

    name: str
    rows: int
    order: int
    exponent: int
    bounded: bool
    offered: tuple[float, float] = (0.0, jnp.inf)
    loosest: float = jnp.inf

    @abc.abstractmethod
    def begin(self, work: Work) -> Work:
        """The first point of a step of `work.length` under the curvature `work.bound`."""

    @abc.abstractmethod
    def stage(self, work: Work, value: Vector) -> Work:
        """The next point, `value` being -grad f at the present one."""

    @abc.abstractmethod
    def error(self, work: Work, value: Vector, norm: Norm) -> Scalar:
        """Size of the error estimate, `value` being -grad f at the end of the step."""

    @abc.abstractmethod
    def gradients(self, length: Scalar, bound: Scalar) -> Count:
        """Gradients of a step."""

    def price(self, length: Scalar, bound: Scalar) -> Scalar:
        """Gradients per unit of time if accuracy allows steps of a length."""
        length = jnp.minimum(length, self.longest(bound))
        return self.gradients(length, bound).astype(jnp.float64) / length

    @abc.abstractmethod
    def expected(self, trapezoid: Scalar) -> Scalar:
        """Error expected of a step whose trapezoid error is given; 0 if nothing is known."""

    @abc.abstractmethod
    def tolerance(self, error: Scalar) -> Scalar:
        """Tolerance of a step that leads to a relative error of the path; measured, not proven."""

    def longest(self, bound: Scalar) -> Scalar:
        """The longest step that is stable."""
        return jnp.asarray(jnp.inf)


def _to(vector: Vector, scalar: Scalar) -> Scalar:
    return scalar.astype(vector.dtype)


def vector_norm(vector: Vector) -> Scalar:
    """Euclidean norm in float64."""
    return jnp.linalg.norm(vector).astype(jnp.float64)


def size_of(vector: Vector) -> Scalar:
    """Its norm, or 1 if that is zero."""
    norm = vector_norm(vector)
    return jnp.where(norm > 0, norm, 1.0)


def curious(methods: tuple[Method, ...]) -> bool:
    """Whether the curvature is measured at all."""
    return any(method.bounded for method in methods)


@dataclass(frozen=True)
class Explicit(Method):
    """An embedded Runge-Kutta pair whose last stage is the first of the next step.

    Attributes:
        name: Of the pair.
        matrix: Runge-Kutta matrix, row i gives stage i, the last row the result; (s, s).
        weights: Error weights (s,).
        order: Order of the pair; its estimate, of the companion, is of the same order.
        rows: Stages but the last.
    """

    name: str
    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    order: int
    rows: int
    bounded = False

    @property
    def exponent(self) -> int:  # type: ignore[override]
        """The embedded error of an explicit pair is of the order of the pair."""
        return self.order

    def begin(self, work: Work) -> Work:
        theta, force = work.base, work.base_force
        first = _to(theta, work.length * self.matrix[1][0])
        stage = jnp.ones((), jnp.int64)
        return work._replace(
            point=theta + first * force,
            rows=work.rows.at[0].set(force),
            stage=stage,
            last=stage == self.rows,
        )

    def stage(self, work: Work, value: Vector) -> Work:
        theta = work.base
        rows = work.rows.at[work.stage].set(value)
        stage = work.stage + 1
        matrix = jnp.asarray(self.matrix, theta.dtype)[:, : self.rows]
        slope = matrix[stage] @ rows[: self.rows]
        point = theta + _to(theta, work.length) * slope
        return work._replace(point=point, rows=rows, stage=stage, last=stage == self.rows)

    def error(self, work: Work, value: Vector, norm: Norm) -> Scalar:
        weights = jnp.asarray(self.weights, value.dtype)
        total = weights[:-1] @ work.rows[: self.rows] + weights[-1] * value
        return work.length * norm(total)

    def gradients(self, length: Scalar, bound: Scalar) -> Count:
        return jnp.full((), self.rows, jnp.int64)

    def expected(self, trapezoid: Scalar) -> Scalar:
        return jnp.zeros(())

    def tolerance(self, error: Scalar) -> Scalar:
        # Loose tolerances are kept well below the error: there the estimate is poor.
        return error / 50 * (100 * error) ** -0.3

    def longest(self, bound: Scalar) -> Scalar:
        return _within_reach(STABLE, bound)


@dataclass(frozen=True)
class Chebyshev(Method):
    """RKC2: s gradients for a step of h rho < 0.65 (s^2 - 1)."""

    name = "rkc2"
    rows, order, exponent, bounded = 1, 2, 3, True
    offered = (CROSSOVER, jnp.inf)

    def begin(self, work: Work) -> Work:
        stages = RKC2_SCHEME.stages(work.length * work.bound)
        work = _part(work, RKC2_SCHEME, stages, work.base, work.base_force, work.length)
        return work._replace(rows=work.rows.at[0].set(work.base))

    def stage(self, work: Work, value: Vector) -> Work:
        weights, carry = RKC2_SCHEME.weights(work.carry, work.stage + 1)
        point = next_stage(
            weights, work.length, work.base, work.base_force, work.point, work.rows[0], value
        )
        return work._replace(
            point=point,
            rows=work.rows.at[0].set(work.point),
            carry=carry,
            stage=work.stage + 1,
            last=work.stage + 1 == work.stages,
        )

    def error(self, work: Work, value: Vector, norm: Norm) -> Scalar:
        return norm(trapezoid_error(work.length, work.base, work.point, work.base_force, value))

    def gradients(self, length: Scalar, bound: Scalar) -> Count:
        return RKC2_SCHEME.stages(length * bound)

    def expected(self, trapezoid: Scalar) -> Scalar:
        return trapezoid

    def tolerance(self, error: Scalar) -> Scalar:
        return (error / 0.8) ** 1.5

    def longest(self, bound: Scalar) -> Scalar:
        return _within_reach(MOST_STAGES**2 / 1.6, bound)


@dataclass(frozen=True)
class Extrapolated(Method):
    """RKL2x: one step of RKL2 and two half steps, extrapolated to order 3.

    Rows: Y_{j-1}, the start of the part, -grad f there, the result of the whole step. After the
    first half step the point is its end, as stage 0 of part 2.
    """

    name = "rkl2x"
    rows, order, exponent, bounded = 4, 3, 3, True
    offered = (0.0, CROSSOVER)
    loosest = 1e-3  # beyond, paths of sharpening nets were thrown to where nothing is slow

    def begin(self, work: Work) -> Work:
        theta, force = work.base, work.base_force
        rows = work.rows.at[0].set(theta).at[1].set(theta).at[2].set(force)
        stages = RKL2_SCHEME.stages(work.length * work.bound)
        work = work._replace(rows=rows, part=jnp.zeros((), jnp.int64))
        return _part(work, RKL2_SCHEME, stages, theta, force, work.length)

    def stage(self, work: Work, value: Vector) -> Work:
        return jax.lax.cond(work.stage == 0, self._second_half, self._within, work, value)

    def _second_half(self, work: Work, value: Vector) -> Work:
        middle = work.point
        rows = work.rows.at[0].set(middle).at[1].set(middle).at[2].set(value)
        work = work._replace(rows=rows)
        return _part(work, RKL2_SCHEME, work.stages, middle, value, work.length / 2)

    def _within(self, work: Work, value: Vector) -> Work:
        base, force = work.rows[1], work.rows[2]
        length = jnp.where(work.part == 0, work.length, work.length / 2)
        weights, _ = RKL2_SCHEME.weights(work.carry, work.stage + 1)
        point = next_stage(weights, length, base, force, work.point, work.rows[0], value)
        on = work._replace(point=point, rows=work.rows.at[0].set(work.point), stage=work.stage + 1)
        which = jnp.where(on.stage == on.stages, on.part, 3)
        return jax.lax.switch(which, [self._whole, self._half, self._end, lambda w: w], on)

    def _whole(self, work: Work) -> Work:
        """The whole step is there: keep it, and begin the first half."""
        base, force = work.rows[1], work.rows[2]
        rows = work.rows.at[0].set(base).at[3].set(work.point)
        stages = RKL2_SCHEME.stages(work.length / 2 * work.bound)
        work = work._replace(rows=rows, part=work.part + 1)
        return _part(work, RKL2_SCHEME, stages, base, force, work.length / 2)

    def _half(self, work: Work) -> Work:
        return work._replace(part=work.part + 1, stage=jnp.zeros_like(work.stage))

    def _end(self, work: Work) -> Work:
        whole = RKL2_SCHEME.stages(work.length * work.bound)
        correction = work.point - work.rows[3]
        correction = _to(correction, extrapolation_weight(whole, work.stages)) * correction
        return work._replace(
            point=work.point + correction,
            error=vector_norm(correction) / 2,
            last=jnp.asarray(True),
        )

    def error(self, work: Work, value: Vector, norm: Norm) -> Scalar:
        return work.error  # Euclidean: known before the last gradient

    def gradients(self, length: Scalar, bound: Scalar) -> Count:
        whole = RKL2_SCHEME.stages(length * bound)
        return whole + 2 * RKL2_SCHEME.stages(length / 2 * bound) - 1

    def expected(self, trapezoid: Scalar) -> Scalar:
        return RKL2X_ERROR * trapezoid

    def tolerance(self, error: Scalar) -> Scalar:
        return 0.8 * error * (1e4 * error) ** 0.1

    def longest(self, bound: Scalar) -> Scalar:
        return _within_reach(MOST_STAGES**2 / 2.1, bound)


def _within_reach(stiffness: float, bound: Scalar) -> Scalar:
    """The longest h with h rho up to a number; unbounded where nothing is known of rho."""
    return jnp.where(bound > 0, stiffness / jnp.where(bound > 0, bound, 1), jnp.inf)


def _part(
    work: Work, scheme: Scheme, stages: Count, base: Vector, force: Vector, length: Scalar
) -> Work:
    """Begin a recurrence of so many stages."""
    first, carry = scheme.begin(stages)
    return work._replace(
        point=base + _to(base, first * length) * force,
        carry=carry,
        stage=jnp.ones_like(stages),
        stages=stages,
        last=jnp.asarray(False),
    )


def explicit(solver: diffrax.AbstractERK) -> Explicit:
    """The method of a Diffrax solver's table, which must end where the next step begins."""
    table = solver.tableau
    assert isinstance(table, diffrax.ButcherTableau)
    assert table.fsal
    stages = table.num_stages
    matrix = np.zeros((stages, stages))
    for i, row in enumerate(table.a_lower):
        matrix[i + 1, : i + 1] = row
    weights = tuple(float(w) for w in table.b_error)
    order: int = solver.order(None)  # type: ignore[assignment]
    name = type(solver).__name__.lower()
    return Explicit(name, tuple(map(tuple, matrix.tolist())), weights, order, stages - 1)
