"""One loop that follows a flow by any method: a gradient per turn, then what to do with it.

The loop's body calls the gradient once; which stage of which method the answer belongs to is data.
So the objective is compiled once whatever methods are in play, methods change from step to step,
and under `vmap` each lane goes its own pace.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.result import Result
from thalweg.dynamics.flow.methods import Method, Work, blank, curious, vector_norm
from thalweg.dynamics.flow.path import Integration, Tolerances, distance_by_error
from thalweg.dynamics.flow.stabilised import (
    SAFETY,
    push,
    radius_of,
    trapezoid_error,
)

SETTLED, MOVING = 0.02, 0.1  # relative changes of the curvature: trust it longer, or not at all
LONGEST_TRUST = 16  # gradients that one estimate of the curvature may serve
CAUTION = 0.8  # of the step that the error estimate allows
STEADY = (0.7, 0.3)  # of a proportional-integral controller: weight of this error and the last
SHRINK, GROW = 0.1, 5.0  # bounds of the change of a step
SWITCH = 0.7  # another method must promise this fraction of the present price
FAST = 1e3  # times the speed at the start: a path as fast, and lost in rounding, has blown up
LEAP = 2.0  # how much longer the first step of another method may be

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]
Count = Int[Array, ""]
Force = Callable[[Vector], Vector]


def follow(
    force: Force,
    path: Integration,
    methods: tuple[Method, ...],
    tolerances: Tolerances,
    until: Scalar,
    most_steps: Count,
    most_gradients: Count | float = math.inf,
    settled: Callable[[Vector], Vector] | None = None,
) -> Integration:
    """Go on to a time exactly, or as far as `most_steps` attempts lead.

    Once `most_gradients` are spent in all no step begins, and the code is STEP_LIMIT. What the end
    of a step is `settled` to must leave the force there as it is.
    """
    limit = path.attempts + most_steps

    def spent(path: Integration) -> Array:
        return jnp.sum(path.evaluations).astype(float) >= jnp.asarray(most_gradients, float)

    def going(now: tuple[Integration, Work]) -> Array:
        path, work = now
        unfinished = (path.time < until) & (path.attempts < limit) & ~spent(path)
        return ~work.idle | (unfinished & (path.result < Result.STEP_LIMIT))

    def turn(now: tuple[Integration, Work]) -> tuple[Integration, Work]:
        path, work = now
        if settled is not None:
            work = work._replace(point=jnp.where(work.last, settled(work.point), work.point))
        value = force(work.point)
        payer = jnp.where(work.leg == 2, len(methods) + 1, path.method)
        payer = jnp.where(work.looking, len(methods), payer)
        path = path._replace(evaluations=path.evaluations.at[payer].add(1))
        which = jnp.where(work.looking, 0, jnp.where(work.last, 1, 2 + path.method))
        final = 2 if _paired(path) else 0

        def look(path: Integration, work: Work) -> tuple[Integration, Work]:
            path = _look(path, value)
            return path, _begin(path, work, methods, until)

        def settle(path: Integration, work: Work) -> tuple[Integration, Work]:
            work = _judge(path, work, value, methods, tolerances)
            over = (work.leg == final) | ~(work.worst <= 1)
            after = _settle(path, work, value, methods, tolerances, until)
            begun = _begin(after, work, methods, until)
            if not _paired(path):
                return after, begun
            further = _next_leg(path, work, value, methods)
            return jax.tree.map(lambda a, b: jnp.where(over, a, b), (after, begun), (path, further))

        def stage(method: Method) -> Callable[[Integration, Work], tuple[Integration, Work]]:
            def on(path: Integration, work: Work) -> tuple[Integration, Work]:
                return path, method.stage(work, value)._replace(idle=jnp.asarray(False))

            return on

        return jax.lax.switch(which, [look, settle, *map(stage, methods)], path, work)

    work = blank(path.theta, max(method.rows for method in methods))
    end = jax.lax.while_loop(going, turn, (path, _begin(path, work, methods, until)))[0]
    end = _rested(end, until)
    code = jnp.where(spent(end) & (end.time < until), int(Result.STEP_LIMIT), int(Result.OK))
    return end._replace(result=jnp.maximum(end.result, code.astype(end.result.dtype)))


def expected(path: Integration, methods: tuple[Method, ...], until: Scalar) -> Scalar:
    """Gradients up to a time, those spent included, if steps stay as long as the next one."""
    bound, paired = SAFETY * path.sharpness, _paired(path)
    price = _of(methods, path.method, lambda m: _price(m, path.proposal, bound, paired))
    spent = jnp.sum(path.evaluations).astype(jnp.float64)
    return spent + price * jnp.maximum(until - path.time, 0)


def _rested(path: Integration, until: Scalar) -> Integration:
    """The path at a later time where neither it nor its companion moves at all."""
    still = ~(jnp.any(path.force != 0) | jnp.any(path.companion_force != 0))
    rest = jnp.where(still & (path.result == Result.OK), until - path.time, 0)
    return path._replace(
        time=jnp.where(rest > 0, until, path.time), budget=path.budget + path.sharpness * rest
    )


def _begin(path: Integration, work: Work, methods: tuple[Method, ...], until: Scalar) -> Work:
    """The first evaluation of what comes next: a look at the curvature, or a step."""
    bound, span = SAFETY * path.sharpness, _span(path)
    longest = _of(methods, path.method, lambda m: m.longest(bound))
    # The companion's step, of twice the length, must be stable too.
    whole = jnp.minimum(span * path.proposal, longest)
    work = work._replace(
        length=_clipped(whole, until - path.time) / span,
        bound=bound,
        base=path.theta,
        base_force=path.force,
        leg=jnp.zeros_like(work.leg),
        worst=jnp.zeros_like(work.worst),
        idle=jnp.asarray(True),
    )
    work = _of(methods, path.method, lambda m: m.begin(work))
    if not curious(methods):
        return work
    looking = path.iterations > 0
    pushed = path.theta + push(path.theta) * path.direction
    return work._replace(looking=looking, point=jnp.where(looking, pushed, work.point))


def _clipped(proposal: Scalar, rest: Scalar) -> Scalar:
    """Halving the rest, rather than nearly reaching the mark, avoids a sliver of a step."""
    return jnp.where(proposal >= rest, rest, jnp.minimum(proposal, rest / 2))


def _look(path: Integration, value: Vector) -> Integration:
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


def _paired(path: Integration) -> bool:
    return path.companion.size > 0


def _span(path: Integration) -> int:
    """Legs of the path in a step."""
    return 2 if _paired(path) else 1


def _judge(
    path: Integration,
    work: Work,
    value: Vector,
    methods: tuple[Method, ...],
    tolerances: Tolerances,
) -> Work:
    """Take in the error of a leg that has come to its end."""
    allowed = tolerances.allowed(path, work.point)[path.method]
    exponent = jnp.asarray([float(m.exponent) for m in methods])[path.method]
    # Twice the length errs 2^exponent times as much, unless it has become unstable.
    allowed = allowed * jnp.where(work.leg == 2, 2.0**exponent, 1.0)

    def norm(error: Vector) -> Scalar:
        return tolerances.measure.error(path.theta, error)

    error = _of(methods, path.method, lambda m: m.error(work, value, norm))
    ratio = jnp.maximum(jnp.maximum(error / allowed, 1e-10), work.worst)
    good = jnp.isfinite(ratio) & jnp.isfinite(vector_norm(value))
    on_path = work.leg < 2
    return work._replace(
        worst=jnp.where(good, ratio, jnp.inf),
        end=jnp.where(on_path, work.point, work.end),
        end_force=jnp.where(on_path, value, work.end_force),
    )


def _next_leg(path: Integration, work: Work, value: Vector, methods: tuple[Method, ...]) -> Work:
    """The second leg goes on where the first ended; the third is the companion's."""
    second = work.leg == 0
    work = work._replace(
        leg=work.leg + 1,
        base=jnp.where(second, work.point, path.companion),
        base_force=jnp.where(second, value, path.companion_force),
        length=jnp.where(second, work.length, 2 * work.length),
    )
    begun: Work = _of(methods, path.method, lambda m: m.begin(work))
    return begun._replace(idle=jnp.asarray(False))


def _settle(
    path: Integration,
    work: Work,
    value: Vector,
    methods: tuple[Method, ...],
    tolerances: Tolerances,
    until: Scalar,
) -> Integration:
    """Take the step or refuse it, and say how long the next one is, and by which method."""
    span, rest = _span(path), until - path.time
    h = jnp.where(work.leg == 2, work.length / 2, work.length)
    ratio, good = work.worst, jnp.isfinite(work.worst)
    keep = ratio <= 1
    size = jnp.maximum(path.largest, tolerances.measure.size(work.end))

    factor = _of(methods, path.method, lambda m: _factor(m, path, h, ratio, keep))
    factor = jnp.clip(factor, SHRINK, jnp.where(path.rejected, 1.0, GROW))
    factor = jnp.where(good, factor, SHRINK)
    proposal = h * factor
    # A step shortened to meet a mark says nothing against the longer one proposed.
    shortened = keep & (h < path.proposal) & (factor >= 1)
    proposal = jnp.where(shortened, jnp.maximum(proposal, path.proposal), proposal)
    # Lost in rounding: the path cannot go on from here. It has blown up if it has become fast, or
    # nothing near is finite; else it is at a kink.
    stuck = (path.time + proposal == path.time) & (proposal < rest)
    fast = vector_norm(path.force) > FAST * path.speed
    blown = ~jnp.isfinite(proposal) | (stuck & (fast | ~good))
    code = jnp.where(blown, int(Result.NONFINITE), jnp.where(stuck, int(Result.STEP_LIMIT), 0))

    time = jnp.where(span * h >= rest, until, path.time + span * h)
    apart = path.apart
    if span == 2:
        gap = tolerances.measure.size(work.end - work.point)
        apart = jnp.maximum(gap, apart * path.time / time)

    stages = _of(methods, path.method, lambda m: m.gradients(h, work.bound))
    # A long step under an old bound is refused at a high price; a new bound costs one gradient.
    age = path.age + span * stages
    due = (age >= path.trust) | ~keep
    after = path._replace(
        theta=jnp.where(keep, work.end, path.theta),
        force=jnp.where(keep, work.end_force, path.force),
        companion=jnp.where(keep, work.point, path.companion) if span == 2 else path.companion,
        companion_force=jnp.where(keep, value, path.companion_force)
        if span == 2
        else path.companion_force,
        iterations=jnp.where(due & curious(methods), 1, 0),
        age=age,
        time=jnp.where(keep, time, path.time),
        apart=jnp.where(keep, apart, path.apart),
        proposal=proposal,
        largest=jnp.where(keep, size, path.largest),
        steps=path.steps + jnp.where(keep, span, 0),
        attempts=path.attempts + 1,
        budget=path.budget + jnp.where(keep, path.sharpness * span * h, 0),
        stages=stages,
        error_before=jnp.where(keep, ratio, path.error_before),
        length_before=jnp.where(keep, h, path.length_before),
        rejected=~keep,
        result=jnp.maximum(path.result, code).astype(jnp.int32),
    )
    if len(methods) == 1:
        return after
    trapezoid = trapezoid_error(span * h, path.theta, work.end, path.force, work.end_force)
    trapezoid = vector_norm(trapezoid) / span**3
    allowed = tolerances.allowed(path, work.end)
    offered = tolerances.relative > 0
    chosen = _chosen(after, methods, h, trapezoid, allowed, offered, work.bound)
    return jax.tree.map(lambda a, b: jnp.where(keep, a, b), chosen, after)


def _factor(method: Method, path: Integration, h: Scalar, ratio: Scalar, keep: Array) -> Scalar:
    """By how much to change the step after one of length h with an error ratio."""
    plain = CAUTION * ratio ** (-1 / method.exponent)
    before = jnp.where(path.error_before > 0, path.error_before, 1.0)
    if method.bounded:  # predictive: errors go on changing as they did
        trend = (before / ratio) ** (1 / method.exponent) * h / path.length_before
        factor = jnp.minimum(plain, plain * trend)
    else:  # proportional-integral: smooth where stability limits the step
        now, last = (weight / method.exponent for weight in STEADY)
        factor = CAUTION * ratio**-now * before**last
    return jnp.where(keep & (path.error_before > 0), factor, plain)


def _chosen(
    path: Integration,
    methods: tuple[Method, ...],
    h: Scalar,
    trapezoid: Scalar,
    allowed: Float[Array, " m"],
    offered: Bool[Array, " m"],
    bound: Scalar,
) -> Integration:
    """The path with the method that promises the fewest gradients per time.

    The error of a stabilised method can be told from the ends of any step. That of an explicit
    pair cannot, so it is taken to be as fast as stability allows until it is tried.
    """
    lengths = []
    for i, method in enumerate(methods):
        ratio = jnp.maximum(method.expected(trapezoid) / allowed[i], 1e-10)
        guess = h * CAUTION * ratio ** (-1 / method.exponent)
        lengths.append(jnp.where(path.method == i, path.proposal, guess))
    prices = jnp.stack(
        [_price(m, x, bound, _paired(path)) for m, x in zip(methods, lengths, strict=True)]
    )
    prices = jnp.where(offered, prices, jnp.inf)
    best = jnp.argmin(prices)
    change = prices[best] < SWITCH * prices[path.method]
    proposal = jnp.clip(jnp.stack(lengths)[best], h / GROW, h * LEAP)
    changed = path._replace(
        method=jnp.where(change, best, path.method),
        proposal=jnp.where(change, proposal, path.proposal),
        error_before=jnp.where(change, 0.0, path.error_before),
    )
    if not _paired(path):
        return changed
    # At a lower order the companion is put where it would be had that come all the way. At a higher
    # one it stays, and so does the divisor: away from the path it could land beyond a saddle.
    orders = jnp.asarray([float(m.order) for m in methods])
    divisor = jnp.minimum(path.divisor, distance_by_error(orders[changed.method]))
    scale = divisor / path.divisor
    return changed._replace(
        divisor=divisor,
        companion=_towards(path.theta, path.companion, scale),
        companion_force=_towards(path.force, path.companion_force, scale),
    )


def _towards(here: Vector, there: Vector, scale: Scalar) -> Vector:
    return here + scale.astype(here.dtype) * (there - here)


def _price(method: Method, length: Scalar, bound: Scalar, paired: bool) -> Scalar:
    """Gradients per unit of time, the companion's included."""
    if not paired:
        return method.price(length, bound)
    length = jnp.minimum(length, method.longest(bound) / 2)
    return method.price(length, bound) + method.price(2 * length, bound)


def _of(methods: tuple[Method, ...], index: Count, function: Callable[[Method], Any]) -> Any:
    """What a function says of the method of an index."""
    if len(methods) == 1:
        return function(methods[0])
    return jax.lax.switch(index, [lambda m=m: function(m) for m in methods])
