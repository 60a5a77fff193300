"""Ascent in a ball by its quadratic model in a Krylov space, with a bound on what is left.

With d in the ball ||d|| <= rho, g the gradient and H the Hessian there, and lambda the largest
eigenvalue of H, every mu >= 0 gives: where f is quadratic, no d' of the ball is higher than f(d) +

    mu (rho^2 - ||d||^2)/2 + max_{0 <= s <= 2 rho} ||g - mu d|| s + (lambda - mu) s^2/2,

as <d, d' - d> <= (rho^2 - ||d||^2 - ||d' - d||^2)/2. At the top of the ball mu = <g, d>/rho^2 makes
it 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.lanczos import tridiagonalise
from thalweg.core.subproblems import trust_region_step

DEPTH = 20  # products of a round
ROUNDS = 7
MIXED = 0.3  # of a random direction beside the gradient's, which alone may miss the steepest bend
NOISE = 1e-5  # of the gradient across the point, in the gradient: below it leads nowhere
LEAST = 1e-3  # of a fresh one, without which no basis need exist
SHARE = 0.1  # of the tolerance: a bound below it ends the rounds
LENGTHS = (1.0, 0.5, 0.1)  # of the way to the top of the model, where the objective is not its own

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]
Climb = Callable[[Vector], tuple[Scalar, Vector]]


class Height(NamedTuple):
    """A point of the ball, with the rise of the objective and its gradient there."""

    step: Vector
    rise: Scalar
    slope: Vector


class _Ascent(NamedTuple):
    """Where it is, along what the Hessian was seen largest, what may be left, rounds done.

    `level`: only what the largest eigenvalue may be too low by keeps the bound up.
    """

    at: Height
    top: Vector
    left: Scalar
    going: Array
    level: Array
    rounds: Int[Array, ""]


def height_left(at: Height, rho: Scalar, curvature: Scalar) -> Scalar:
    """What a quadratic of this largest eigenvalue may still rise by within the ball."""

    def bound(mu: Scalar) -> Scalar:
        inside = jnp.maximum(rho**2 - jnp.sum(at.step**2), 0)
        a, b = tree.length(at.slope - mu * at.step), curvature - mu
        far = 2 * rho * (a + b * rho)
        top = jnp.where(b < 0, -a / jnp.where(b < 0, b, -1), jnp.inf)
        return mu * inside / 2 + jnp.where(top < 2 * rho, a * top / 2, far)

    pressed = jnp.maximum(at.slope @ at.step, 0) / rho**2
    return jnp.minimum(bound(pressed), bound(jnp.zeros_like(pressed)))


def ascended(
    climb: Climb, start: Height, rho: Scalar, tolerance: float, rounding: Scalar, key: Array
) -> tuple[Height, Scalar, Scalar]:
    """From a point to the top of the ball, in rounds of a Krylov space and its trust region.

    Args:
        climb: Objective and gradient at a point.
        start: Where it begins.
        rho: The ball's radius.
        tolerance: Of what is left, over the rise.
        rounding: Of the objective.
        key: Draws the random part of starts.

    Returns:
        The end, no lower than the start; what is left; gradients spent.
    """
    here = start.rise - climb(start.step)[0]  # less the objective at the centre

    def body(now: _Ascent) -> _Ascent:
        at = now.at
        product = jax.linearize(lambda s: climb(s)[1], at.step)[1]
        new = jax.random.fold_in(key, now.rounds)
        basis, T, top, curvature, short = _space(product, at, now.top, now.level, new)
        # The model about the centre: <c, z> + z T z/2, its value at d taken off.
        d = basis @ at.step
        c = basis @ at.slope - T @ d
        values, turn = jnp.linalg.eigh(T)
        z = turn @ trust_region_step(-values, -(turn.T @ c), rho)
        promised = c @ (z - d) + (z @ T @ z - d @ T @ d) / 2
        way = basis.T @ z - at.step
        lengths = jnp.asarray(LENGTHS, way.dtype)
        rises = jax.lax.map(lambda t: climb(at.step + t * way)[0] + here, lengths)
        best = jnp.argmax(jnp.where(jnp.isfinite(rises), rises, -jnp.inf))
        step = at.step + lengths[best] * way
        height, slope = climb(step)
        higher = Height(step, height + here, slope)
        rose = (higher.rise > at.rise) & ~now.level
        after = jax.tree.map(lambda a, b: jnp.where(rose, a, b), higher, at)
        # How far the objective is from its model, which the bound does not know.
        unlike = jnp.where(rose & (best == 0), jnp.abs(higher.rise - at.rise - promised), 0)
        left = height_left(after, rho, curvature + short) + unlike
        enough = SHARE * tolerance * jnp.abs(after.rise) + rounding
        level = height_left(after, rho, curvature) + unlike <= enough
        return _Ascent(after, top, left, left > enough, level, now.rounds + 1)

    def more(now: _Ascent) -> Array:
        return now.going & (now.rounds < ROUNDS)

    random = jax.random.normal(jax.random.fold_in(key, ROUNDS), start.step.shape, start.step.dtype)
    yes = jnp.asarray(True)
    begin = _Ascent(start, random, jnp.zeros_like(rho), yes, ~yes, jnp.asarray(0))
    end = jax.lax.while_loop(more, body, begin)
    price = 2.0 * (min(DEPTH, start.step.size - 1) + 3) + len(LENGTHS) / 3 + 1
    return end.at, end.left, 1 + price * end.rounds


def _space(
    product: Callable[[Vector], Vector], at: Height, seen: Vector, level: Array, key: Array
) -> tuple[Float[Array, "k p"], Float[Array, "k k"], Vector, Scalar, Scalar]:
    """A basis that begins with the point, the Hessian in it, its top Ritz vector and eigenvalue.

    The rest is the Krylov space of the Hessian across the point, P H P, from the gradient and a
    vector that is random at first, then the last Ritz vector. Where the point is level it is the
    Krylov space of the Hessian from that Ritz vector. Last comes what the Ritz value may be too low
    by, its residual r or r^2 over the distance to the next.
    """
    kind, p = at.step.dtype, at.step.size
    ray = _unit(jnp.where(level | (tree.length(at.step) == 0), seen, at.step))
    bent = product(ray)
    depth = min(DEPTH, p - 1)
    if depth == 0:
        return ray[None], (ray @ bent)[None, None], ray, ray @ bent, jnp.zeros_like(ray[0])

    def across(v: Vector) -> Vector:
        return v - ray * (ray @ v)

    fresh = across(jax.random.normal(jax.random.fold_in(key, 1), (p,), kind))
    other = MIXED * _unit(across(seen)) + LEAST * _unit(fresh)
    steepest = across(at.slope)
    plain = tree.length(steepest) > NOISE * tree.length(at.slope)
    ahead = jnp.where(plain, _unit(steepest), 0) + other
    start = across(jnp.where(level, _unit(across(bent)) + LEAST * _unit(fresh), ahead))
    krylov = tridiagonalise(lambda v: across(product(across(v))), start, depth, key)
    # What rounding leaves of the point in the basis would count it twice.
    rows = jax.vmap(across)(krylov.basis)
    basis = jnp.concatenate([ray[None], rows])
    beside = rows @ bent
    T = jnp.zeros((depth + 1, depth + 1), kind).at[1:, 1:].set(krylov.projected)
    T = T.at[0, 0].set(ray @ bent).at[0, 1:].set(beside).at[1:, 0].set(beside)
    values, turn = jnp.linalg.eigh(T)
    top = basis.T @ turn[:, -1]
    residual = tree.length(product(top) - values[-1] * top)
    gap = jnp.maximum(values[-1] - values[-2], residual)
    short = residual * jnp.where(gap > 0, residual / jnp.where(gap > 0, gap, 1), 0)
    return basis, T, top, values[-1], short


def _unit(v: Vector) -> Vector:
    size = tree.length(v)
    return v / jnp.where(size > 0, size, jnp.ones_like(size))
