"""Full-batch training without a learning rate: Chebyshev steps, kept if the objective falls.

A step of s gradients and length h, from theta and F = -grad f,

    Y_1 = theta + (w_1/w_0) h F(theta),
    Y_{j+1} = Y_j + (T_{j-1}/T_{j+1}) (Y_j - Y_{j-1}) + 2 w_1 (T_j/T_{j+1}) h F(Y_j),

with T_j the Chebyshev polynomials at w_0 = 1 + DAMPING/s^2 and w_1 = T_s/T_s'(w_0), is Euler's
step of gradient flow made stable for h times the sharpness up to 1.25 s^2: heavy-ball steps whose
momentum starts at 0 and grows. It multiplies the component of curvature lambda of a quadratic by
T_s(w_0 - w_1 h lambda)/T_s(w_0).

Source: van der Houwen and Sommeijer (1980), Z. Angew. Math. Mech. 60, 479; Verwer (1996), Appl.
Numer. Math. 22, 359, section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core.errors import require
from thalweg.core.result import Result, finite
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Continuous, State, fresh
from thalweg.dynamics.flow.methods import size_of, vector_norm
from thalweg.dynamics.flow.stabilised import SAFETY, first_direction, push, radius_of
from thalweg.problems.problem import Problem

DAMPING = 1.0  # |R| <= 1/2 over the interval, except near 0
REACH = 1.25  # a step of s stages is stable for h rho < REACH s^2
SUFFICIENT = 0.2  # share of the flow's least fall that a step must bring
FORESEEN = 0.1  # relative error of the foretold fall up to which the next step may be longer
PUSHING = 0.2  # share of the force along the step that its end must leave for the same
GROW, CUT = 3.0, 0.25  # changes of a step
ROUNDING = 10.0  # units in the last place within which two values of the objective are equal
LAST_DIGITS = 100.0  # units in the last place of the parameters: nearer no minimum is told
FIRST_LOOKS = 4  # power iterations before the first step; one before every other

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]
Count = Int[Array, ""]


class StabilisedMemory(NamedTuple):
    """What is known between two steps.

    Attributes:
        height: The objective.
        force: Its negative gradient, flat (p,).
        direction: Unit vector of the power iteration (p,).
        sharpness: Its estimate of the largest |eigenvalue| (unit: loss/parameter^2); 0 before any.
        proposal: Length of the next step before clipping.
        attempts: Steps kept and refused.
    """

    height: Scalar
    force: Vector
    direction: Vector
    sharpness: Scalar
    proposal: Scalar
    attempts: Count


class _Work(NamedTuple):
    """A step in progress: `point` is where the gradient is wanted next, `far` the stage before.

    `carry` is (w_0, w_1, T_j, T_{j-1}) for stage j; `looks` are the power iterations still due.
    """

    point: Vector
    far: Vector
    length: Scalar
    stage: Count
    stages: Count
    carry: Float[Array, "4"]
    looks: Count


def chebyshev(stages: Count) -> tuple[Scalar, Float[Array, "4"]]:
    """w_1/w_0 and (w_0, w_1, T_1, T_0) of a step of s stages; its range is (w_0 + 1)/w_1."""
    s = stages.astype(jnp.float64)
    # w_0 - 1 and w_0^2 - 1 are kept exact: both are tiny for many stages.
    excess = DAMPING / s**2
    w0, square = 1 + excess, excess * (2 + excess)
    w1 = jnp.sqrt(square) / (s * jnp.tanh(s * jnp.log1p(excess + jnp.sqrt(square))))
    return w1 / w0, jnp.stack([w0, w1, w0, jnp.ones_like(w0)])


def chebyshev_stage(
    carry: Float[Array, "4"], length: Scalar, near: Vector, far: Vector, force: Vector
) -> tuple[Vector, Float[Array, "4"]]:
    """Y_{j+1} from Y_j, Y_{j-1} and F(Y_j), and the carry of stage j + 1."""
    w0, w1, t, before = carry
    after = 2 * w0 * t - before
    momentum, step = (x.astype(near.dtype) for x in (before / after, 2 * w1 * t / after * length))
    return near + momentum * (near - far) + step * force, jnp.stack([w0, w1, after, t])


class StabilisedDescent(Continuous):
    """Full-batch training at the pace of gradient flow, without a learning rate.

    A step of s gradients covers up to 1.25 s^2/sharpness of training time; s steps of gradient
    descent cover at most 2 s/sharpness. Its path is near that of gradient flow at best, and how
    near is not estimated.

    - A step is kept if f(theta) - f(theta') >= 0.2 ||theta' - theta||^2/h. Along gradient flow the
      fall is the integral of ||d theta/dt||^2, at least ||theta' - theta||^2/h. On a quadratic all
      steps are kept while the bound of the sharpness holds, whatever the signs of curvatures.
    - As soon as a stage lies above the start, the step is refused and cut to a quarter.
    - The next step is three times as long where the trapezoid rule (F + F').(theta' - theta)/2,
      exact on quadratics, foretold the fall within a tenth, and F'.(theta' - theta) is a fifth of
      F.(theta' - theta) or more: otherwise what the step is to reach has been reached.
    - The bound is 1.1 times the estimate of a power iteration, carried on by one gradient before
      each step. A refused step leaves it the change of the gradient, large along what it missed.

    Differences within the rounding of f are no rise. Where no step that the parameters or the
    clock can resolve descends, it stays: with OK at a minimum known to its last digits, with
    NOT_CONVERGED elsewhere (a kink across the way), with NONFINITE where the objective is not
    finite. Deterministic. Cost: s + 1 gradients a step, s at most `most_stages`.

    First order and strong damping were taken because second order (RKC2, RKL2) needs twice the
    gradients to the same loss, in the geometric mean over 13 problems; weak damping (0.1) is as
    good far from a minimum, and needs two to four times as many near one.

    Attributes:
        most_stages: Gradients in a step at most; a bound of latency, hardly of speed.
    """

    most_stages: Count = eqx.field(converter=lambda n: jnp.asarray(n, jnp.int64), default=100)

    @property
    def name(self) -> str:
        return "stabilised descent"

    def init(self, problem: Problem, params: Params) -> State:
        oracle, theta, _ = _flat(problem, params)
        height, force = oracle(theta)
        zero = jnp.zeros((), jnp.float64)
        proposal = size_of(theta) / size_of(force)
        attempts = jnp.zeros((), jnp.int64)
        memory = StabilisedMemory(height, force, first_direction(theta), zero, proposal, attempts)
        return fresh(params, memory)._replace(
            evaluations=jnp.ones((), jnp.int64), result=finite(height, force)
        )

    def advance(self, problem: Problem, state: State, until: Scalar, most_steps: Count) -> State:
        oracle, theta, unravel = _flat(problem, state.params)
        limit = state.memory.attempts + most_steps

        def going(now: tuple[State, _Work]) -> Array:
            state, work = now
            unfinished = (state.time < until) & (state.memory.attempts < limit)
            return (work.stage > 1) | (unfinished & (state.result < Result.NONFINITE))

        def turn(now: tuple[State, _Work]) -> tuple[State, _Work]:
            state, work = now
            height, force = oracle(work.point)
            state = state._replace(evaluations=state.evaluations + 1)
            slack = _slack(state)
            climbs = ~((height <= state.memory.height + slack) & jnp.isfinite(vector_norm(force)))

            def look() -> tuple[State, _Work]:
                after = _look(state, force)
                return after, self._begin(after, until, work.looks - 1)

            def settle() -> tuple[State, _Work]:
                after = _settle(state, work, until, height, force, climbs)
                return after, self._begin(after, until, jnp.ones_like(work.looks))

            def go_on() -> tuple[State, _Work]:
                point, carry = chebyshev_stage(work.carry, work.length, work.point, work.far, force)
                stage = work.stage + 1
                return state, work._replace(point=point, far=work.point, carry=carry, stage=stage)

            over = climbs | (work.stage == work.stages)
            which = jnp.where(work.looks > 0, 0, jnp.where(over, 1, 2))
            return jax.lax.switch(which, [look, settle, go_on])

        looks = jnp.where(state.memory.attempts == 0, FIRST_LOOKS, 1)
        flat = state._replace(params=theta)
        after, _ = jax.lax.while_loop(going, turn, (flat, self._begin(flat, until, looks)))
        return after._replace(params=unravel(after.params))

    def path_error(self, problem: Problem, state: State) -> Scalar:
        """Infinite: the distance from gradient flow is not estimated."""
        return jnp.asarray(jnp.inf, jnp.float64)

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        return (
            "stabilised descent is near gradient flow at best, and how near is not estimated; "
            "take gradient_flow(error=...) where the path of the flow is asked for",
        )

    def _begin(self, state: State, until: Scalar, looks: Count) -> _Work:
        """The first evaluation of what comes next: a look at the curvature, or a step."""
        theta, memory, rest = state.params, state.memory, until - state.time
        bound = jnp.maximum(SAFETY * memory.sharpness, 1e-300)
        most = self.most_stages.astype(jnp.float64)
        proposal = jnp.minimum(memory.proposal, REACH * most**2 / bound)
        # Halving the rest, rather than nearly reaching the mark, avoids a sliver of a step.
        length = jnp.where(proposal >= rest, rest, jnp.minimum(proposal, rest / 2))
        stages = jnp.ceil(jnp.sqrt(length * bound / REACH)).astype(jnp.int64)
        stages = jnp.clip(stages, 1, self.most_stages)
        first, carry = chebyshev(stages)
        point = theta + (first * length).astype(theta.dtype) * memory.force
        pushed = theta + push(theta) * memory.direction
        return _Work(
            point=jnp.where(looks > 0, pushed, point),
            far=theta,
            length=length,
            stage=jnp.ones_like(stages),
            stages=stages,
            carry=carry,
            looks=jnp.asarray(looks, jnp.int64),
        )


def _look(state: State, force: Vector) -> State:
    """Take in one power iteration."""
    memory = state.memory
    change = force - memory.force
    sharpness, direction = radius_of(change, push(state.params), memory.direction)
    sharpness = jnp.where(jnp.isfinite(sharpness), sharpness, memory.sharpness)
    cautious = jnp.minimum(memory.proposal, 1.0 / jnp.maximum(sharpness, 1e-300))
    proposal = jnp.where(memory.attempts == 0, cautious, memory.proposal)
    after = memory._replace(sharpness=sharpness, direction=direction, proposal=proposal)
    return state._replace(memory=after)


def _settle(
    state: State, work: _Work, until: Scalar, height: Scalar, force: Vector, climbs: Array
) -> State:
    """Keep the step or refuse it, and say how long the next one is."""
    memory, h = state.memory, work.length
    way, slack = work.point - state.params, _slack(state)
    fall = memory.height - height
    keep = ~climbs & (fall >= SUFFICIENT * vector_norm(way) ** 2 / h - slack)
    foretold = 0.5 * jnp.vdot(memory.force + force, way).astype(jnp.float64)
    foreseen = jnp.abs(fall - foretold) <= FORESEEN * foretold + slack
    pushed = jnp.vdot(force, way) >= PUSHING * jnp.vdot(memory.force, way)
    # A step shortened to meet a mark says nothing against the longer one proposed.
    same = jnp.where(foreseen, jnp.maximum(memory.proposal, h), h)
    longer = jnp.where(foreseen & pushed, jnp.maximum(same, GROW * h), same)
    reached = jnp.where(h >= until - state.time, until, state.time + h)
    _, clue = radius_of(force - memory.force, jnp.ones((), force.dtype), memory.direction)
    after = StabilisedMemory(
        height=jnp.where(keep, height, memory.height),
        force=jnp.where(keep, force, memory.force),
        direction=jnp.where(keep, memory.direction, clue),
        sharpness=memory.sharpness,
        proposal=jnp.where(keep, longer, CUT * h),
        attempts=memory.attempts + 1,
    )
    settled = state._replace(
        params=jnp.where(keep, work.point, state.params),
        time=jnp.where(keep, reached, state.time),
        step=state.step + jnp.where(keep, 1, 0),
        memory=after,
    )
    return _stay(settled, until, ~keep, jnp.isfinite(height))


def _stay(state: State, until: Scalar, refused: Array, sound: Array) -> State:
    """Stay until the mark if the next step is too short for the parameters or the clock.

    Short though no step was refused, and though a step of gradient descent would be shorter,
    means a point of rest.
    """
    memory, time = state.memory, state.time
    grain = float(jnp.finfo(memory.force.dtype).eps) * vector_norm(state.params)
    push_left = vector_norm(memory.force)
    lost = (time + memory.proposal == time) & (time < until)
    idle = refused | (memory.proposal * memory.sharpness >= 1)
    still = lost | (idle & (memory.proposal * push_left <= grain))
    arrived = push_left <= LAST_DIGITS * grain * memory.sharpness
    code = jnp.where(arrived, int(Result.OK), int(Result.NOT_CONVERGED))
    code = jnp.where(sound, code, int(Result.NONFINITE))
    code = jnp.where(still, code, int(Result.OK)).astype(jnp.int32)
    return state._replace(
        time=jnp.where(still, until, time), result=jnp.maximum(state.result, code)
    )


def _slack(state: State) -> Scalar:
    return ROUNDING * float(jnp.finfo(state.params.dtype).eps) * jnp.abs(state.memory.height)


def _flat(
    problem: Problem, params: Params
) -> tuple[Callable[[Vector], tuple[Scalar, Vector]], Vector, Callable[[Vector], Params]]:
    """Objective and -grad f on flat vectors, the parameters as one, and the way back."""
    theta, unravel = ravel_pytree(params)
    oracle = jax.value_and_grad(problem.objective)

    def value_and_force(flat: Vector) -> tuple[Scalar, Vector]:
        height, gradient = oracle(unravel(flat))
        return height.astype(jnp.float64), -ravel_pytree(gradient)[0]

    return value_and_force, theta, unravel


def stabilised_descent(most_stages: int = 100) -> StabilisedDescent:
    """Full-batch training without a learning rate; see `StabilisedDescent`.

    Args:
        most_stages: Gradients in a step at most.

    Raises:
        InputError: If it is not a whole number from 1 to 10000.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> path = tw.run(bowl, tw.stabilised_descent(), until=20.0, records=1)
        >>> float(path.dataset["loss"][0, -1]) < 1e-6
        True
    """
    whole = isinstance(most_stages, int) and not isinstance(most_stages, bool)
    require(
        whole and 1 <= most_stages <= 10_000,
        f"most_stages came as {most_stages!r}; give a whole number from 1 to 10000, as in 100",
    )
    return StabilisedDescent(jnp.asarray(most_stages))
