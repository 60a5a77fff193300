"""Explicit methods for stiff flows: many stages stretch the stability interval, not the order.

A step of s stages is stable for h rho up to 0.65 (s^2 - 1) (RKC2) or (s^2 + s)/2 - 1 (RKL2), rho
the largest curvature; Runge-Kutta methods of s stages reach about s. All stages follow one
recurrence,

    Y_1 = y_0 + c_1 h F_0,
    Y_j = (1 - mu_j - nu_j) y_0 + mu_j Y_{j-1} + nu_j Y_{j-2} + h (m_j F(Y_{j-1}) + g_j F_0),

in which every stage, not only the last, is consistent of second order: that keeps the order on
stiff curved valleys, where methods that repair the order in finishing stages lose it.

Source: RKC2: Sommeijer, Shampine and Verwer (1998), J. Comput. Appl. Math. 88, 315; RKL2: Meyer,
Balsara and Aslam (2014), J. Comput. Phys. 257, 594.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

DAMPING = 2.0 / 13.0  # of RKC2: |R| stays below 1 - DAMPING/3 away from the origin
SAFETY = 1.1  # a power iteration comes from below
TRAPEZOID = 0.8  # RKC2's error is h^3 y'''/15, the trapezoid rule's defect h^3 y'''/12

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]


class Weights(NamedTuple):
    """One row of the recurrence: mu, nu, m, g."""

    near: Scalar
    far: Scalar
    force: Scalar
    start: Scalar


class Scheme(NamedTuple):
    """A recurrence: how many stages, how it begins, how it goes on.

    Attributes:
        stages: Maps h rho to the least number of stages that is stable.
        begin: Maps the number of stages to (c_1, carry).
        weights: Maps (carry, j), j = 2, 3, ... in order, to (Weights, carry).
    """

    stages: Callable[[Scalar], Int[Array, ""]]
    begin: Callable[[Int[Array, ""]], tuple[Scalar, Array]]
    weights: Callable[[Array, Int[Array, ""]], tuple[Weights, Array]]


def _rkc2_stages(stiffness: Scalar) -> Int[Array, ""]:
    return jnp.maximum(2, 1 + jnp.floor(jnp.sqrt(1 + 1.54 * stiffness)).astype(jnp.int64))


def _rkc2_begin(stages: Int[Array, ""]) -> tuple[Scalar, Array]:
    s = stages.astype(jnp.float64)
    # w0 - 1 and w0^2 - 1 are kept exact: both are tiny for many stages.
    excess = DAMPING / s**2
    w0, square = 1 + excess, excess * (2 + excess)
    angle = s * jnp.log1p(excess + jnp.sqrt(square))
    first = s * jnp.sinh(angle) / jnp.sqrt(square)
    second = (s**2 * jnp.cosh(angle) - w0 * first) / square
    w1 = first / second
    b = 1 / (4 * w0**2)
    one, zero = jnp.ones_like(w0), jnp.zeros_like(w0)
    # T, T', T'' of degree 1, then of degree 0, then b_1, b_0.
    return w1 * b, jnp.stack([w0, w1, w0, one, zero, one, zero, zero, b, b])


def _rkc2_weights(carry: Array, j: Int[Array, ""]) -> tuple[Weights, Array]:
    w0, w1, t1, d1, c1, t0, d0, c0, b1, b0 = carry
    t = 2 * w0 * t1 - t0
    d = 2 * t1 + 2 * w0 * d1 - d0
    c = 4 * d1 + 2 * w0 * c1 - c0
    b = c / d**2
    force = 2 * w1 * b / b1
    weights = Weights(2 * w0 * b / b1, -b / b0, force, -(1 - b1 * t1) * force)
    return weights, jnp.stack([w0, w1, t, d, c, t1, d1, c1, b, b1])


def _rkl2_stages(stiffness: Scalar) -> Int[Array, ""]:
    least = jnp.ceil((jnp.sqrt(9 + 8 * stiffness) - 1) / 2).astype(jnp.int64)
    return jnp.maximum(3, least + 1 - least % 2)


def _rkl2_begin(stages: Int[Array, ""]) -> tuple[Scalar, Array]:
    w1 = 4 / (stages**2 + stages - 2).astype(jnp.float64)
    return w1 / 3, jnp.zeros(10).at[0].set(w1)


def _rkl2_weights(carry: Array, j: Int[Array, ""]) -> tuple[Weights, Array]:
    def b(i: Array) -> Array:
        return jnp.where(i < 2, 1 / 3, (i**2 + i - 2) / jnp.maximum(2 * i * (i + 1), 1))

    i = j.astype(jnp.float64)
    near = (2 * i - 1) * b(i) / (i * b(i - 1))
    far = -(i - 1) * b(i) / (i * b(i - 2))
    force = near * carry[0]
    return Weights(near, far, force, -(1 - b(i - 1)) * force), carry


def extrapolation_weight(whole: Int[Array, ""], half: Int[Array, ""]) -> Scalar:
    """The weight w of y_2 + w (y_2 - y_1), to be of order 3.

    y_1 comes from RKL2 by one step of s stages, y_2 by two half steps of s' stages. The defect of
    RKL2 in the third order is c = 1/18 + 4/(9 (s^2 + s - 2)) of h^3 f'f'f, and twice that of
    h^3 f''ff (1.2 % less at five stages, 0.1 % less from nine on), so that w = c'/(4 c - c')
    removes both. The weight 1/3 of Richardson stands for equal numbers of stages; with it, steps
    of few stages stay of order 2, and errors change their sign along a path.
    """

    def defect(stages: Int[Array, ""]) -> Scalar:
        s = stages.astype(jnp.float64)
        return 1 / 18 + 4 / (9 * (s**2 + s - 2))

    return defect(half) / (4 * defect(whole) - defect(half))


RKC2_SCHEME = Scheme(_rkc2_stages, _rkc2_begin, _rkc2_weights)
RKL2_SCHEME = Scheme(_rkl2_stages, _rkl2_begin, _rkl2_weights)


def next_stage(
    weights: Weights, h: Scalar, y0: Vector, f0: Vector, near: Vector, far: Vector, force: Vector
) -> Vector:
    """Y_j from Y_{j-1}, Y_{j-2} and F(Y_{j-1}), in the type of the vectors."""
    mu, nu, m, g = (w.astype(y0.dtype) for w in weights)
    # Differences from y0, so that constants are kept exactly whatever rounding does to mu + nu.
    return y0 + mu * (near - y0) + nu * (far - y0) + h.astype(y0.dtype) * (m * force + g * f0)


def recurrence(
    scheme: Scheme,
    field: Callable[[Scalar, Vector], Vector],
    t0: Scalar,
    h: Scalar,
    y0: Vector,
    f0: Vector,
    stages: Int[Array, ""],
) -> Vector:
    """One step of a scheme: Y_s after s - 1 evaluations of the field, F_0 being known.

    Args:
        scheme: `RKC2_SCHEME` or `RKL2_SCHEME`.
        field: Maps (t, y) to y'.
        t0: Time at the start.
        h: Length of the step.
        y0: Value at the start.
        f0: Field at the start.
        stages: s; at least 2 (RKC2) or odd and at least 3 (RKL2).
    """
    first, carry = scheme.begin(stages)
    t0, h = jnp.asarray(t0, jnp.float64), jnp.asarray(h, jnp.float64)

    def stage(j: Array, now: tuple[Array, ...]) -> tuple[Array, ...]:
        near, far, c1, c0, carry = now
        weights, carry = scheme.weights(carry, j)
        force = field(t0 + c1 * h, near)
        c = weights.near * c1 + weights.far * c0 + weights.force + weights.start
        return next_stage(weights, h, y0, f0, near, far, force), near, c, c1, carry

    begun = (y0 + (first * h).astype(y0.dtype) * f0, y0, first, jnp.zeros_like(first), carry)
    return jax.lax.fori_loop(2, stages + 1, stage, begun)[0]


def power_step(
    force: Callable[[Vector], Vector], y: Vector, f: Vector, direction: Vector
) -> tuple[Scalar, Vector]:
    """One power iteration for the spectral radius of F' at y, by one evaluation of F.

    ||J v||/||v|| with J v = (F(y + eps v) - F(y))/eps: never above the largest singular value, up
    to the difference's error (about 1e-6 relative in float64, 1e-3 in float32).

    Returns:
        The estimate (unit: 1/time) and the next direction, of unit norm.
    """
    pushed = y + push(y) * direction
    return radius_of(force(pushed) - f, push(y), direction)


def push(y: Vector) -> Scalar:
    """The length eps of a difference quotient along a unit vector, eps^0.4 of the size of y."""
    size = jnp.linalg.norm(y)
    return jnp.finfo(y.dtype).eps ** 0.4 * jnp.where(size > 0, size, 1)


def radius_of(change: Vector, eps: Scalar, direction: Vector) -> tuple[Scalar, Vector]:
    """||J v|| and J v/||J v|| from the change of F along eps v; v itself where J v = 0."""
    size = jnp.linalg.norm(change)
    good = jnp.isfinite(size) & (size > 0)
    turned = jnp.where(good, change / jnp.where(good, size, 1), direction)
    return (size / eps).astype(jnp.float64), turned


def first_direction(y: Vector) -> Vector:
    """A fixed unit vector in general position, the same on every machine."""
    draw = jax.random.normal(jax.random.key(0), y.shape, y.dtype)
    return draw / jnp.linalg.norm(draw)


class Spectrum(NamedTuple):
    """What a stabilised Diffrax solver carries from step to step.

    Attributes:
        force: F at the current value, flat (p,).
        direction: The power iteration's unit vector (p,).
        radius: Last estimate of the spectral radius (unit: 1/time).
        evaluations: Evaluations of the field in accepted steps.
    """

    force: Vector
    direction: Vector
    radius: Scalar
    evaluations: Int[Array, ""]


class _Stabilised(diffrax.AbstractAdaptiveSolver[Spectrum]):
    """What RKC2 and RKL2x share: the spectral bound and the plumbing."""

    scheme: ClassVar[Scheme]
    start_iterations: ClassVar[int] = 20
    term_structure: ClassVar[Any] = diffrax.ODETerm
    interpolation_cls: ClassVar[Any] = diffrax.ThirdOrderHermitePolynomialInterpolation

    def error_order(self, terms: Any) -> int:
        return 3

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Spectrum:
        field, y = _flat_field(terms, y0, args)
        force, begun = field(t0, y), first_direction(y)

        def iterate(_: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            return power_step(lambda v: field(t0, v), y, force, now[1])

        zero = jnp.zeros((), jnp.float64)
        radius, direction = jax.lax.fori_loop(0, self.start_iterations, iterate, (zero, begun))
        spent = jnp.asarray(1 + self.start_iterations, jnp.int64)
        return Spectrum(force, direction, radius, spent)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        args: Any,
        solver_state: Spectrum,
        made_jump: Any,
    ) -> Any:
        field, y = _flat_field(terms, y0, args)
        unravel = ravel_pytree(y0)[1]
        h = jnp.asarray(t1 - t0, jnp.float64)
        f0 = jax.lax.cond(made_jump, lambda: field(t0, y), lambda: solver_state.force)
        # Diffrax forgets what a rejected step has learnt, so every step looks for itself.
        radius, direction = power_step(lambda v: field(t0, v), y, f0, solver_state.direction)
        y1, f1, error, spent = self.attempt(field, t0, h, y, f0, SAFETY * jnp.abs(h) * radius)
        after = Spectrum(f1, direction, radius, solver_state.evaluations + spent + 1)
        dense = {"y0": y0, "y1": unravel(y1)}
        dense |= {"k0": unravel(h.astype(y.dtype) * f0), "k1": unravel(h.astype(y.dtype) * f1)}
        return unravel(y1), unravel(error), dense, after, diffrax.RESULTS.successful

    def attempt(
        self, field: Any, t0: Any, h: Scalar, y0: Vector, f0: Vector, stiffness: Scalar
    ) -> tuple[Vector, Vector, Vector, Array]:
        """One step: the new value, the field there, the error vector, evaluations spent."""
        raise NotImplementedError


class RKC2(_Stabilised):
    """Runge-Kutta-Chebyshev of order 2 for Diffrax: s evaluations for h rho < 0.65 (s^2 - 1).

    The number of stages follows the spectral radius of F', which a warm-started power iteration
    estimates once a step (one evaluation more; 20 at the start). The spectrum must lie near the
    negative real axis, as that of a gradient flow does. |R| <= 0.96 away from the origin.

    Error: e = 0.8 (y_0 - y_1) + 0.4 h (F_0 + F_1), the leading local error h^3 y'''/15. Forward
    differentiation only: the number of stages is not known before the run.

    Source: Sommeijer, Shampine and Verwer (1998), equations 2.1-2.8 and 3.1.
    """

    scheme: ClassVar[Scheme] = RKC2_SCHEME

    def order(self, terms: Any) -> int:
        return 2

    def attempt(
        self, field: Any, t0: Any, h: Scalar, y0: Vector, f0: Vector, stiffness: Scalar
    ) -> tuple[Vector, Vector, Vector, Array]:
        stages = self.scheme.stages(stiffness)
        y1 = recurrence(self.scheme, field, t0, h, y0, f0, stages)
        f1 = field(t0 + h, y1)
        return y1, f1, trapezoid_error(h, y0, y1, f0, f1), stages


class RKL2x(_Stabilised):
    """Runge-Kutta-Legendre of order 2, extrapolated to order 3, as a Diffrax solver.

    y_1 from one step h, y_2 from two steps h/2; the result is y_2 + w (y_2 - y_1), w as by
    `extrapolation_weight`, near 1/3. Stable for h rho < (s^2 + s - 2)/2 at s + 2 s' - 1
    evaluations, s' for h/2; |R| < 0.65 away from the origin. The spectral radius is estimated as
    by `RKC2`. Wants tolerances below about 1e-3.

    Error: w (y_2 - y_1)/2, of local order 3; the result itself is better by an order.

    Source: Meyer, Balsara and Aslam (2014), section 2; extrapolation: Hairer, Norsett and Wanner,
    Solving ODE I, II.4, with weights of our own.
    """

    scheme: ClassVar[Scheme] = RKL2_SCHEME

    def order(self, terms: Any) -> int:
        return 3

    def attempt(
        self, field: Any, t0: Any, h: Scalar, y0: Vector, f0: Vector, stiffness: Scalar
    ) -> tuple[Vector, Vector, Vector, Array]:
        whole, half = self.scheme.stages(stiffness), self.scheme.stages(stiffness / 2)
        # One loop over the three parts, so that the field is compiled once.
        starts = (y0, f0, y0)
        weight = extrapolation_weight(whole, half).astype(y0.dtype)

        def part(i: Array, now: tuple[Vector, Vector, Vector]) -> tuple[Vector, Vector, Vector]:
            y, f, coarse = now
            length, stages = jnp.where(i == 0, h, h / 2), jnp.where(i == 0, whole, half)
            begin = jnp.where(i == 2, t0 + h / 2, t0)
            end = recurrence(self.scheme, field, begin, length, y, f, stages)
            coarse = jnp.where(i == 0, end, coarse)
            y = jnp.where(i == 0, y0, jnp.where(i == 2, end + weight * (end - coarse), end))
            f = jnp.where(i == 0, f0, field(begin + length, y))
            return y, f, jnp.where(i == 2, weight * (end - coarse) / 2, coarse)

        y1, f1, error = jax.lax.fori_loop(0, 3, part, starts)
        # The evaluation after the first part is thrown away; it is still an evaluation.
        return y1, f1, error, whole + 2 * half


def trapezoid_error(h: Scalar, y0: Vector, y1: Vector, f0: Vector, f1: Vector) -> Vector:
    """h^3 y'''/15 from both ends of a step, whatever method took it."""
    return TRAPEZOID * ((y0 - y1) + (h / 2).astype(y0.dtype) * (f0 + f1))


def _flat_field(terms: Any, y0: Any, args: Any) -> tuple[Callable[[Any, Vector], Vector], Vector]:
    flat, unravel = ravel_pytree(y0)

    def field(t: Any, y: Vector) -> Vector:
        return ravel_pytree(terms.vf(t, unravel(y), args))[0]

    return field, flat
