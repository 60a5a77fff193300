"""A jump from a point of gradient flow to where the rest leads, by Newton's iteration."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.hessian_product import Product
from thalweg.core.tree import Params
from thalweg.dynamics.flow.methods import vector_norm
from thalweg.problems.problem import Problem, Supervised

NEAR = 0.05  # of the budget: corrections below are as good as none
FORCING = 0.05  # of a correction: what its solve may leave
UNSEEN = 2e-4  # of the budget: what a solve may leave
ROUNDING = 8  # units of rounding in a gradient, relative to curvature times parameters
MOST_CORRECTIONS = 15
FARTHEST = 2.0  # that a jump may go, relative to the norm of the parameters
CONTRACTION = 0.5  # of corrections, or the jump is refused

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]
Count = Int[Array, ""]
Flag = Bool[Array, ""]


class Landing(NamedTuple):
    """Where Newton's iteration from a point of the flow has led.

    Attributes:
        theta: The end, flat (p,).
        gradient_norm: ||grad f|| there.
        loss: f there.
        loss_before: f where it began.
        length: Distance between the two (unit: parameter).
        rate: g . n / ||n||^2, with n from the end to the beginning and g the gradient there: how
            fast the flow would go this way (unit: 1/time).
        rest: What the last solve may have left (unit: parameter).
        evaluations: Gradients spent.
        sound: Whether the corrections contracted to nothing, their solves met positive curvature
            only, loss and gradient fell, and it did not lead far away.
    """

    theta: Vector
    gradient_norm: Scalar
    loss: Scalar
    loss_before: Scalar
    length: Scalar
    rate: Scalar
    rest: Scalar
    evaluations: Count
    sound: Flag


class _Solve(NamedTuple):
    """Conjugate gradients under way; `least` and `most` are the curvatures met."""

    step: Vector
    rest: Vector
    direction: Vector
    least: Scalar
    most: Scalar
    products: Count
    sound: Flag


class _Newton(NamedTuple):
    """Newton's iteration under way; `last` is the size of the last correction."""

    theta: Vector
    loss: Scalar
    gradient_norm: Scalar
    last: Scalar
    rest: Scalar
    least: Scalar
    corrections: Count
    evaluations: Count
    sound: Flag


@eqx.filter_jit
def land(
    problem: Problem,
    params: Params,
    theta: Vector,
    gauss: bool,
    budget: Scalar,
    gradient_norm: Scalar,
    most: Count,
) -> Landing:
    """Newton's iteration theta - A^+ grad f, A the Hessian or the Gauss-Newton matrix.

    Each correction is found by conjugate gradients from zero, to a part of itself: it stays in the
    range of A, and directions along the minima, whose curvature is small and of either sign off
    them, are left alone as long as the force along them is small.

    Args:
        problem: The objective.
        params: Parameters of the shapes wanted; their values do not matter.
        theta: Where to begin, flat (p,).
        gauss: Whether A = J^T J / n; it must be one of `squares`.
        budget: Distance to the limit that is good enough (unit: parameter).
        gradient_norm: Corrections go on until the gradient is as small, or stops falling.
        most: Gradients that may be spent, about.
    """
    unravel = ravel_pytree(params)[1]
    value_and_gradient = jax.value_and_grad(lambda flat: problem.objective(unravel(flat)))
    near = NEAR * budget

    def going(now: _Newton) -> Array:
        finished = (now.last <= near) & (now.gradient_norm <= gradient_norm)
        tries = (now.corrections < MOST_CORRECTIONS) & (now.evaluations < most)
        return now.sound & ~finished & tries

    def correct(now: _Newton) -> _Newton:
        gradient, product = _model(problem, unravel, now.theta, gauss)
        left = (most - now.evaluations) // 2
        asks = UNSEEN * budget, gradient_norm / 2
        solve = _solve(product, gradient, now.theta, *asks, now.least, left)
        size = vector_norm(solve.step)
        # The second may be larger: what fast directions hid from the first comes to light.
        contracts = (now.corrections < 2) | (size <= CONTRACTION * now.last)
        theta = now.theta + solve.step
        loss, slope = value_and_gradient(theta)
        after = _Newton(
            theta,
            loss.astype(jnp.float64),
            vector_norm(slope),
            size,
            vector_norm(solve.rest) / solve.least,
            solve.least,
            now.corrections + 1,
            now.evaluations + 2 + 2 * solve.products,
            solve.sound & contracts,
        )
        # Once there, a correction lost in rounding is left out.
        there = now.last <= near
        lost = there & ~(after.sound & (after.gradient_norm < now.gradient_norm))
        enough = jnp.full_like(now.corrections, MOST_CORRECTIONS)
        kept = now._replace(evaluations=after.evaluations, corrections=enough)
        return jax.tree.map(lambda a, b: jnp.where(lost, a, b), kept, after)

    loss, slope = value_and_gradient(theta)
    loss, steepness = loss.astype(jnp.float64), vector_norm(slope)
    zero, none = jnp.zeros((), jnp.float64), jnp.zeros((), jnp.int64)
    first = _Newton(
        theta,
        loss,
        steepness,
        zero + jnp.inf,
        zero,
        zero + jnp.inf,
        none,
        none + 1,
        jnp.asarray(True),
    )
    end = jax.lax.while_loop(going, correct, first)
    back = theta - end.theta
    length = vector_norm(back)
    rate = jnp.vdot(slope, back).astype(jnp.float64) / jnp.where(length > 0, length, 1.0) ** 2
    slack = ROUNDING * jnp.finfo(theta.dtype).eps * jnp.abs(loss)
    fell = (end.loss <= loss + slack) & (end.gradient_norm <= steepness) & (rate > 0)
    local = length <= FARTHEST * vector_norm(theta)
    sound = end.sound & (end.last <= near) & ((fell & local) | (length <= near))
    return Landing(
        end.theta,
        end.gradient_norm,
        end.loss,
        loss,
        length,
        rate,
        end.rest,
        end.evaluations,
        sound & jnp.isfinite(end.loss),
    )


def _model(
    problem: Problem, unravel: Callable[[Array], Params], theta: Vector, gauss: bool
) -> tuple[Vector, Product]:
    """The gradient, and the products with the Hessian or the Gauss-Newton matrix."""
    if not gauss:
        return jax.linearize(jax.grad(lambda flat: problem.objective(unravel(flat))), theta)
    assert isinstance(problem, Supervised)
    outputs, forward = jax.linearize(lambda flat: problem.outputs(unravel(flat)), theta)
    backward = jax.linear_transpose(forward, theta)
    share = 1 / len(outputs) if problem.reduction == "mean" else 1.0

    def pulled(v: Array) -> Vector:
        return share * backward(v)[0]

    return pulled(outputs - problem.targets), lambda v: pulled(forward(v))


def _solve(
    product: Product,
    gradient: Vector,
    theta: Vector,
    unseen: Scalar,
    force: Scalar,
    least: Scalar,
    most: Count,
) -> _Solve:
    """A^+ grad f, with a minus, by conjugate gradients that watch the curvature they meet.

    They end when what is left, at the least curvature met here or before, is a small part of the
    step, or less than `unseen` and of less force than `force`, or lost in rounding. They are
    sound if they end so and no direction was flat or of negative curvature.
    """
    eps = float(jnp.finfo(theta.dtype).eps)
    size = vector_norm(theta)

    def square(v: Vector) -> Scalar:
        return jnp.vdot(v, v).astype(jnp.float64)

    def enough(now: _Solve) -> Array:
        left = vector_norm(now.rest)
        part = now.least * FORCING * vector_norm(now.step)
        small = jnp.minimum(now.least * unseen, force)
        lost = ROUNDING * eps * now.most * size
        # Before the first product nothing is known of the curvature.
        known = now.products > 0
        return left <= jnp.where(known, jnp.maximum(jnp.maximum(part, small), lost), 0.0)

    def going(now: _Solve) -> Array:
        return now.sound & ~enough(now) & (now.products < most)

    def turn(now: _Solve) -> _Solve:
        image = product(now.direction)
        bent = jnp.vdot(now.direction, image).astype(jnp.float64)
        curvature = bent / square(now.direction)
        largest = jnp.maximum(now.most, jnp.abs(curvature))
        positive = curvature > ROUNDING * eps * largest
        length = jnp.where(positive, square(now.rest) / bent, 0.0).astype(theta.dtype)
        rest = now.rest - length * image
        weight = (square(rest) / square(now.rest)).astype(theta.dtype)
        return _Solve(
            now.step + length * now.direction,
            rest,
            rest + weight * now.direction,
            jnp.minimum(now.least, curvature),
            largest,
            now.products + 1,
            positive & jnp.isfinite(curvature),
        )

    zero = jnp.zeros((), jnp.float64)
    first = _Solve(
        jnp.zeros_like(theta),
        -gradient,
        -gradient,
        least,
        zero,
        jnp.zeros((), jnp.int64),
        jnp.asarray(True),
    )
    end = jax.lax.while_loop(going, turn, first)
    return end._replace(sound=end.sound & enough(end))
