"""One loop that follows gradient flow by any method: a gradient per turn, then what to do with it.

The loop's body calls the gradient once; which stage of which method the answer belongs to is data.
So the objective is compiled once whatever methods are in play, methods change from step to step,
and under `vmap` each lane goes its own pace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.result import Result
from thalweg.dynamics.methods import Method, Work, blank
from thalweg.dynamics.stabilised import (
    SAFETY,
    first_direction,
    push,
    radius_of,
    trapezoid_error,
)

START_ITERATIONS = 15  # power iterations before the first step, at most
SETTLED, MOVING = 0.02, 0.1  # relative changes of the curvature: trust it longer, or not at all
LONGEST_TRUST = 8  # attempts that one estimate of the curvature may serve
CAUTION = 0.8  # of the step that the error estimate allows
SHRINK, GROW = 0.1, 5.0  # bounds of the change of a step
SWITCH = 0.9  # another method must promise this fraction of the present price

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]
Count = Int[Array, ""]
Force = Callable[[Vector], Vector]


class Path(NamedTuple):
    """One integration between two steps: all that is needed to go on to the same bits.

    Attributes:
        theta: Parameters, flat (p,).
        force: -grad f there (p,).
        direction: Unit vector of the power iteration (p,).
        sharpness: Its estimate of the largest |eigenvalue| (unit: loss/parameter^2); 0 before any.
        iterations: Power iterations still due before the next step.
        trust: Attempts that an estimate serves at present.
        age: Attempts since the last estimate.
        time: Training time.
        proposal: Length of the next step before clipping.
        method: Index of the method of the next step.
        steps: Accepted steps.
        attempts: Accepted and rejected steps.
        evaluations: Gradients, by method and, last, for the curvature, (m + 1,).
        budget: Integral of the sharpness over time (unit: 1).
        error_before: Error ratio of the last accepted step; 0 where it does not count.
        length_before: Length of the last accepted step.
        rejected: Whether the last attempt was rejected.
        result: A `Result` code.
    """

    theta: Vector
    force: Vector
    direction: Vector
    sharpness: Scalar
    iterations: Count
    trust: Count
    age: Count
    time: Scalar
    proposal: Scalar
    method: Count
    steps: Count
    attempts: Count
    evaluations: Int[Array, " m+1"]
    budget: Scalar
    error_before: Scalar
    length_before: Scalar
    rejected: Bool[Array, ""]
    result: Int[Array, ""]


class Tolerances(NamedTuple):
    """What a step may err.

    Attributes:
        relative: Of each method, relative to the norm of the parameters, (m,).
        absolute: Added to it (unit: parameter, Euclidean norm).
    """

    relative: Float[Array, " m"]
    absolute: Scalar


def start(force: Force, theta: Vector, methods: tuple[Method, ...]) -> Path:
    """The path at time zero: one gradient."""
    value = force(theta)
    zero, none = jnp.zeros((), jnp.float64), jnp.zeros((), jnp.int64)
    curious = _curious(methods)
    return Path(
        theta=theta,
        force=value,
        direction=first_direction(theta),
        sharpness=zero,
        iterations=none + (START_ITERATIONS if curious else 0),
        trust=none + 1,
        age=none,
        time=zero,
        proposal=0.01 * _size(theta) / _size(value),
        method=none,
        steps=none,
        attempts=none,
        evaluations=jnp.zeros(len(methods) + 1, jnp.int64).at[0].set(1),
        budget=zero,
        error_before=zero,
        length_before=zero,
        rejected=jnp.zeros((), bool),
        result=jnp.asarray(int(Result.OK), jnp.int32),
    )


def follow(
    force: Force,
    path: Path,
    methods: tuple[Method, ...],
    tolerances: Tolerances,
    until: Scalar,
    most_steps: Count,
) -> Path:
    """Go on to a time exactly, or as far as `most_steps` attempts lead."""
    limit = path.attempts + most_steps

    def going(now: tuple[Path, Work]) -> Array:
        path, work = now
        unfinished = (path.time < until) & (path.attempts < limit)
        return ~work.idle | (unfinished & (path.result < Result.NONFINITE))

    def turn(now: tuple[Path, Work]) -> tuple[Path, Work]:
        path, work = now
        value = force(work.point)
        payer = jnp.where(work.looking, len(methods), path.method)
        path = path._replace(evaluations=path.evaluations.at[payer].add(1))
        which = jnp.where(work.looking, 0, jnp.where(work.last, 1, 2 + path.method))

        def look(path: Path, work: Work) -> tuple[Path, Work]:
            path = _look(path, value)
            return path, _begin(path, work, methods, until)

        def settle(path: Path, work: Work) -> tuple[Path, Work]:
            path = _settle(path, work, value, methods, tolerances, until)
            return path, _begin(path, work, methods, until)

        def stage(method: Method) -> Callable[[Path, Work], tuple[Path, Work]]:
            def on(path: Path, work: Work) -> tuple[Path, Work]:
                work = method.stage(path.theta, path.force, work, value)
                return path, work._replace(idle=jnp.asarray(False))

            return on

        return jax.lax.switch(which, [look, settle, *map(stage, methods)], path, work)

    work = blank(path.theta, max(method.rows for method in methods))
    return jax.lax.while_loop(going, turn, (path, _begin(path, work, methods, until)))[0]


def _begin(path: Path, work: Work, methods: tuple[Method, ...], until: Scalar) -> Work:
    """The first evaluation of what comes next: a look at the curvature, or a step."""
    bound = SAFETY * path.sharpness
    longest = _of(methods, path.method, lambda m: m.longest(bound))
    length = _clipped(jnp.minimum(path.proposal, longest), until - path.time)
    work = work._replace(length=length, bound=bound, idle=jnp.asarray(True))
    work = _of(methods, path.method, lambda m: m.begin(path.theta, path.force, work))
    if not _curious(methods):
        return work
    looking = path.iterations > 0
    pushed = path.theta + push(path.theta) * path.direction
    return work._replace(looking=looking, point=jnp.where(looking, pushed, work.point))


def _clipped(proposal: Scalar, rest: Scalar) -> Scalar:
    """Halving the rest, rather than nearly reaching the mark, avoids a sliver of a step."""
    return jnp.where(proposal >= rest, rest, jnp.minimum(proposal, rest / 2))


def _look(path: Path, value: Vector) -> Path:
    """Take in one power iteration."""
    change = value - path.force
    sharpness, direction = radius_of(change, push(path.theta), path.direction)
    drift = jnp.abs(sharpness - path.sharpness) / jnp.maximum(sharpness, 1e-300)
    trust = jnp.where(drift < SETTLED, 2 * path.trust, jnp.where(drift > MOVING, 1, path.trust))
    first = path.attempts == 0
    left = jnp.where(drift < SETTLED, 0, path.iterations - 1)
    cautious = jnp.minimum(path.proposal, 0.5 / jnp.maximum(sharpness, 1e-300))
    return path._replace(
        sharpness=sharpness,
        direction=direction,
        iterations=left,
        trust=jnp.where(first, 1, jnp.minimum(trust, LONGEST_TRUST)),
        age=jnp.zeros_like(path.age),
        proposal=jnp.where(first, cautious, path.proposal),
    )


def _settle(
    path: Path,
    work: Work,
    value: Vector,
    methods: tuple[Method, ...],
    tolerances: Tolerances,
    until: Scalar,
) -> Path:
    """Take the step or refuse it, and say how long the next one is, and by which method."""
    h, rest = work.length, until - path.time
    size = jnp.maximum(_norm(path.theta), _norm(work.point))
    allowed = tolerances.relative * size + tolerances.absolute
    error = _of(methods, path.method, lambda m: m.error(path.theta, path.force, work, value))
    ratio = jnp.maximum(error / allowed[path.method], 1e-10)
    good = jnp.isfinite(ratio) & jnp.isfinite(_norm(value))
    keep = good & (ratio <= 1)

    exponent = 1 / jnp.asarray([m.exponent for m in methods])[path.method]
    factor = CAUTION * ratio**-exponent
    known = keep & (path.error_before > 0)
    trend = (path.error_before / ratio) ** exponent * h / path.length_before
    factor = jnp.where(known, jnp.minimum(factor, factor * trend), factor)
    factor = jnp.clip(factor, SHRINK, jnp.where(path.rejected, 1.0, GROW))
    factor = jnp.where(good, factor, SHRINK)
    proposal = h * factor
    # A step shortened to meet a mark says nothing against the longer one proposed.
    shortened = keep & (h < path.proposal) & (factor >= 1)
    proposal = jnp.where(shortened, jnp.maximum(proposal, path.proposal), proposal)
    # Lost in rounding: the path cannot go on from here.
    stuck = (path.time + proposal == path.time) & (proposal < rest)

    age = path.age + 1
    due = (age >= path.trust) | ~keep
    after = path._replace(
        theta=jnp.where(keep, work.point, path.theta),
        force=jnp.where(keep, value, path.force),
        iterations=jnp.where(due & _curious(methods), 1, 0),
        age=age,
        time=jnp.where(keep, jnp.where(h >= rest, until, path.time + h), path.time),
        proposal=proposal,
        steps=path.steps + keep,
        attempts=path.attempts + 1,
        budget=path.budget + jnp.where(keep, path.sharpness * h, 0),
        error_before=jnp.where(keep, ratio, path.error_before),
        length_before=jnp.where(keep, h, path.length_before),
        rejected=~keep,
        result=jnp.where(
            stuck | ~jnp.isfinite(proposal), int(Result.NONFINITE), path.result
        ).astype(jnp.int32),
    )
    if len(methods) == 1:
        return after
    trapezoid = _norm(trapezoid_error(h, path.theta, work.point, path.force, value))
    chosen = _chosen(after, methods, h, trapezoid, allowed, work.bound)
    return jax.tree.map(lambda a, b: jnp.where(keep, a, b), chosen, after)


def _chosen(
    path: Path,
    methods: tuple[Method, ...],
    h: Scalar,
    trapezoid: Scalar,
    allowed: Float[Array, " m"],
    bound: Scalar,
) -> Path:
    """The path with the method that promises the fewest gradients per time.

    The error of a stabilised method can be told from the ends of any step. That of an explicit
    pair cannot, so it is taken to be as fast as stability allows until it is tried.
    """
    lengths = []
    for i, method in enumerate(methods):
        ratio = jnp.maximum(method.expected(trapezoid) / allowed[i], 1e-10)
        guess = h * CAUTION * ratio ** (-1 / method.exponent)
        lengths.append(jnp.where(path.method == i, path.proposal, guess))
    prices = jnp.stack([m.price(x, bound) for m, x in zip(methods, lengths, strict=True)])
    best = jnp.argmin(prices)
    change = prices[best] < SWITCH * prices[path.method]
    proposal = jnp.clip(jnp.stack(lengths)[best], h / GROW, h * GROW)
    return path._replace(
        method=jnp.where(change, best, path.method),
        proposal=jnp.where(change, proposal, path.proposal),
        error_before=jnp.where(change, 0.0, path.error_before),
    )


def _of(methods: tuple[Method, ...], index: Count, function: Callable) -> object:
    """What a function says of the method of an index."""
    if len(methods) == 1:
        return function(methods[0])
    return jax.lax.switch(index, [lambda m=m: function(m) for m in methods])


def _curious(methods: tuple[Method, ...]) -> bool:
    """Whether the curvature is measured at all."""
    return any(method.bounded for method in methods)


def _norm(vector: Vector) -> Scalar:
    return jnp.linalg.norm(vector).astype(jnp.float64)


def _size(vector: Vector) -> Scalar:
    norm = _norm(vector)
    return jnp.where(norm > 0, norm, 1.0)
