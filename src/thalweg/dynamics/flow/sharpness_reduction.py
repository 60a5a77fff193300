"""The sharpness-reduction flow: how a direction moves along its minima at the edge of stability.

For a scale-invariant objective, descent with weight decay on w moves theta = w/||w||. Once its
effective learning rate has met 2 over the spherical sharpness lambda, theta oscillates across the
manifold Gamma of its minima and drifts along it, on the clock tau = eta' lambda' k, by

    d zeta/d tau = -C g/(2 C + ||g||^2),   g = grad_Gamma log lambda,

with C = 2 for descent with weight decay, and C of the quasi-RMSProp scheduler on tau = eta^2 k/2.
The mean square of the oscillation is C/(2 C + ||g||^2) in units of eta' lambda'.

Source: Lyu, Li and Arora (2022), theorem on sharpness reduction; C other than 2 is derived.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.hessian_product import third_product
from thalweg.core.memory import require_memory
from thalweg.core.result import Result, finite
from thalweg.core.tree import Params
from thalweg.curvature.manifolds import NormalSpace, no_curvature, space_of
from thalweg.dynamics.dynamics import Continuous, State, Statistic, fresh
from thalweg.dynamics.flow.scale_invariance import require_scale_invariant
from thalweg.problems.problem import Problem

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]

ORDER = 4  # of Runge and Kutta's method
MOST_LANDING, MOST_RETRACTION = 400, 8
SIMPLE = 1e-6  # least distance of the two largest eigenvalues, relative
KEPT = 0.5**0.5  # overlap of the top eigenvector with that at the start of a step, at least
WEIGHTS = (1.0, 2.0, 2.0, 1.0)  # of the stages, over 6
DEFECT = 0.01  # of the fall of log lambda in a step, from that of its stages
STEEP = 2.5  # step times rate from which on Runge-Kutta is unstable
PLAIN = 1e-8  # a change of speed over a step that counts


class Seen(NamedTuple):
    """What is known where the flow is; see `SharpnessReductionFlow.statistics`."""

    largest: Scalar
    slope: Scalar
    eigenvalue_gap: Scalar
    rank_gap: Scalar
    off_minima: Scalar
    astray: Array  # whether a step crossed eigenvalues or was too long to be stable


class Twofold(NamedTuple):
    """Both paths, the rank across the minima, and what was seen at the last step."""

    path: Vector
    companion: Vector
    rank: Int[Array, ""]
    seen: Seen


class SharpnessReductionFlow(Continuous):
    """d zeta/d tau = -C g/(2 C + ||g||^2), g = grad_Gamma log lambda_1, on the minima of a sphere.

    Time is tau = (step size) (weight decay) (steps) of descent, its clock `decay_time`. It starts
    at w/||w||, taken to Gamma by damped Newton steps: give a start near Gamma, or where gradient
    flow ends (`tw.flow_limit`). Followed by the classical Runge-Kutta method; at every stage
    Newton's steps lead back to Gamma. A companion takes every two steps as one: see `path_error`.

    Only for scale-invariant objectives. Not defined where the largest eigenvalue is multiple.

    Result: NOT_CONVERGED where Gamma was not reached, where the two largest eigenvalues coincide to
    1e-6 or have crossed (the top eigenvector turned by more than 45 degrees within a step), where
    `step` is too long (it is unstable, or log lambda falls otherwise than by the speed's own rate,
    by 0.01 a step; give a shorter one), or where the rank is no longer that of the start. From
    there on the path may not be the flow's.

    Cost: some 18 Hessians with their eigendecompositions a step of length `step`; 5 p^2 numbers.

    Attributes:
        step: Of tau.
        averaging: C.
        rank_tolerance: Eigenvalues above this share of the largest are across Gamma; by default the
            root of the precision, as of `thalweg.curvature.normal_space`. The rank is found at the
            start; `rank_gap` says how well it is defined.
    """

    step: Scalar = eqx.field(converter=lambda x: jnp.asarray(x, jnp.float64), default=0.05)
    averaging: Scalar = eqx.field(converter=lambda x: jnp.asarray(x, jnp.float64), default=2.0)
    rank_tolerance: Scalar | None = eqx.field(
        converter=lambda x: None if x is None else jnp.asarray(x, jnp.float64), default=None
    )

    @property
    def name(self) -> str:
        return "the sharpness-reduction flow"

    def init(self, problem: Problem, params: Params) -> State:
        require_scale_invariant(problem)
        theta, unravel = ravel_pytree(params)
        require_memory(
            40.0 * theta.size**2,
            f"the Hessian of {theta.size} parameters",
            "give a problem of fewer parameters",
        )
        around = _Around(problem, unravel, theta.size)
        theta, spent = around.landed(theta)
        space = around.space(theta, relative=self.rank_tolerance)
        _, at = self._speed(around, theta, space)
        memory = Twofold(theta, theta, space.rank, at)
        cost = (spent + 1) * around.price + 5
        state = fresh(unravel(theta), memory)
        # What is wrong but finite at the start is told by the first step.
        return state._replace(evaluations=cost, result=finite(theta, at.largest, at.slope))

    def advance(
        self, problem: Problem, state: State, until: Scalar, most_steps: Int[Array, ""]
    ) -> State:
        unravel = ravel_pytree(state.params)[1]
        around = _Around(problem, unravel, state.memory.path.size)
        begin = state.step

        def going(state: State) -> Array:
            free = state.step - begin < 2 * most_steps
            return (state.time < until) & free & (state.result < Result.NONFINITE)

        def stride(state: State) -> State:
            """Two steps, and one of the companion."""
            rest = jnp.asarray(until, jnp.float64) - state.time
            strides = jnp.maximum(jnp.ceil(rest / (2 * self.step) - 1e-6), 1)
            h = rest / strides / 2
            memory: Twofold = state.memory

            def leg(memory: Twofold, which: Array) -> tuple[Twofold, Array]:
                """The path twice, then its companion: one program for all three."""
                own = which < 2
                start = jnp.where(own, memory.path, memory.companion)
                length = jnp.where(own, h, 2 * h)
                end, seen, spent = self._stepped(around, start, memory.rank, length)
                path = jnp.where(own, end, memory.path)
                companion = jnp.where(own, memory.companion, end)
                # What was wrong with the first of the two steps stays wrong.
                seen = seen._replace(astray=seen.astray | memory.seen.astray)
                told = jax.tree.map(lambda new, old: jnp.where(own, new, old), seen, memory.seen)
                return Twofold(path, companion, memory.rank, told), spent

            memory, spent = jax.lax.scan(leg, memory, jnp.arange(3))
            return State(
                params=memory.path,
                time=jnp.where(strides > 1, state.time + rest / strides, until),
                step=state.step + 2,
                evaluations=state.evaluations + jnp.sum(spent),
                result=jnp.maximum(state.result, self._code(memory, memory.path)),
                memory=memory,
            )

        flat = state._replace(params=state.memory.path)
        end = jax.lax.while_loop(going, stride, flat)
        return end._replace(params=unravel(end.params))

    def path_error(self, problem: Problem, state: State) -> Scalar:
        """Estimated distance of the parameters from the exact path (unit: 1, of a unit vector).

        The distance to the companion, whose steps are twice as long, over 2^4 - 1. It is of this
        flow's path, and says nothing of how far descent is from it.
        """
        memory: Twofold = state.memory
        eps = float(jnp.finfo(memory.path.dtype).eps)
        gap = tree.length(memory.path - memory.companion)
        return gap / (2**ORDER - 1) + eps * jnp.sqrt(1 + state.step.astype(gap.dtype))

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        return (
            Statistic("largest_eigenvalue", "loss", "spherical sharpness on the minima"),
            Statistic("log_slope", "1", "||grad log(spherical sharpness)|| along the minima"),
            Statistic("mean_square", "1", "mean squared oscillation over eta lambda"),
            Statistic("eigenvalue_gap", "1", "relative distance of the two largest eigenvalues"),
            Statistic("rank", "1", "eigenvalues across the minima"),
            Statistic("rank_gap", "1", "largest eigenvalue along over smallest across the minima"),
            Statistic("off_minima", "1", "last Newton step back to the minima"),
        )

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        """What the flow predicts and came to know, at no cost.

        Returns:
            largest_eigenvalue: lambda_1, the spherical sharpness.
            log_slope: ||g||.
            mean_square: C/(2 C + ||g||^2), the predicted mean square of the oscillation of theta
                along the top eigenvector, in units of eta' lambda' (eta^2/2).
            eigenvalue_gap: (lambda_1 - lambda_2)/lambda_1; the flow is not defined at 0.
            rank: How many eigenvalues are across Gamma.
            rank_gap: The largest of the others over the smallest of these; far below 1 where the
                rank is well defined.
            off_minima: The length of the last Newton step to Gamma, whose square is left.
        """
        memory: Twofold = state.memory
        seen = memory.seen
        C = self.averaging.astype(seen.slope.dtype)
        return {
            "largest_eigenvalue": seen.largest,
            "log_slope": seen.slope,
            "mean_square": C / (2 * C + seen.slope**2),
            "eigenvalue_gap": seen.eigenvalue_gap,
            "rank": memory.rank.astype(jnp.float64),
            "rank_gap": seen.rank_gap,
            "off_minima": seen.off_minima,
        }

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        require_scale_invariant(problem)
        return ()

    def _stepped(
        self, around: _Around, theta: Vector, rank: Array, h: Scalar
    ) -> tuple[Vector, Seen, Array]:
        """A step of the classical Runge-Kutta method for d y/d tau = speed(retracted y)."""
        h = h.astype(theta.dtype)

        C, weights = self.averaging.astype(theta.dtype), jnp.asarray(WEIGHTS, theta.dtype) / 6

        def stage(carry: tuple[Vector, Vector, Array], k: Array) -> tuple[tuple, tuple]:
            last, total, spent = carry
            reach = jnp.asarray([0.0, 0.5, 0.5, 1.0], theta.dtype)[k]
            at, space, _, used = around.retracted(theta + reach * h * last, rank)
            speed, seen = self._speed(around, at, space)
            told = speed, space.vectors[:, -1], seen
            return (speed, total + weights[k] * speed, spent + used * around.price + 4), told

        zero, none = jnp.zeros_like(theta), jnp.zeros((), jnp.int64)
        (_, mean, spent), (speeds, tops, through) = jax.lax.scan(
            stage, (zero, zero, none), jnp.arange(ORDER)
        )
        end, space, off, used = around.retracted(theta + h * mean, rank)
        _, seen = self._speed(around, end, space)
        tops = jnp.concatenate([tops, space.vectors[None, :, -1]])
        # By the second and third stages, whose points differ by h/2 times the first two speeds.
        first, second = (tree.length(speeds[k + 1] - speeds[k]) for k in range(2))
        hasty = (2 * second > STEEP * first) & (h * second > PLAIN)
        # The logarithm of the largest eigenvalue falls at C ||g||^2/(2 C + ||g||^2).
        fall = h * jnp.sum(weights * C * through.slope**2 / (2 * C + through.slope**2))
        fell = jnp.log(jnp.abs(through.largest[0])) - jnp.log(jnp.abs(seen.largest))
        astray = hasty | (jnp.abs(fall - fell) > DEFECT)
        astray |= jnp.min(jnp.abs(tops @ tops[0])) < KEPT
        seen = seen._replace(off_minima=off, astray=astray)
        return end, seen, spent + used * around.price + 4

    def _speed(self, around: _Around, theta: Vector, space: NormalSpace) -> tuple[Vector, Seen]:
        """D zeta/d tau, and what is seen on the way."""
        largest, top = space.values[-1], space.vectors[:, -1]
        second = space.values[-2]
        q = around.third(theta, top)
        g = space.to_tangent(q) / largest
        g = g - theta * jnp.dot(theta, g)
        slope = tree.length(g)
        C = self.averaging.astype(theta.dtype)
        speed = -C * g / (2 * C + slope**2)
        gap = (largest - second) / jnp.abs(largest)
        off, astray = jnp.zeros_like(slope), jnp.zeros((), bool)
        return speed, Seen(largest, slope, gap, space.left / space.least, off, astray)

    def _code(self, memory: Twofold, theta: Vector) -> Int[Array, ""]:
        seen = memory.seen
        late = seen.off_minima > _close(theta)
        crossed = (seen.eigenvalue_gap <= SIMPLE) | seen.astray
        share = no_curvature(theta) if self.rank_tolerance is None else self.rank_tolerance
        ranked = seen.rank_gap > jnp.sqrt(share).astype(theta.dtype)
        bad = late | crossed | ranked
        code = jnp.where(bad, int(Result.NOT_CONVERGED), int(Result.OK)).astype(jnp.int32)
        return jnp.maximum(code, finite(theta, seen.largest, seen.slope))


class _Around:
    """The objective on flat parameters, and the way to its minima on the unit sphere."""

    def __init__(self, problem: Problem, unravel: Callable[[Vector], Params], size: int) -> None:
        self.problem, self.unravel = problem, unravel
        self.price = 1 + 2 * size  # gradients of a Hessian with the gradient

    def objective(self, theta: Vector) -> Scalar:
        return self.problem.objective(self.unravel(theta))

    def gradient(self, theta: Vector) -> Vector:
        return jax.grad(self.objective)(theta)

    def hessian(self, theta: Vector) -> Float[Array, "p p"]:
        H = jax.hessian(self.objective)(theta)
        return (H + H.T) / 2

    def third(self, theta: Vector, v: Vector) -> Vector:
        return third_product(self.objective, theta)(v)(v)

    def space(
        self, theta: Vector, relative: Scalar | None = None, rank: Array | None = None
    ) -> NormalSpace:
        values, vectors = jnp.linalg.eigh(self.hessian(theta))
        return space_of(values, vectors, self.gradient(theta), relative, rank)

    def landed(self, theta: Vector) -> tuple[Vector, Array]:
        """From anywhere to a minimum near, by damped Newton steps downhill."""

        def going(carry: tuple[Vector, Scalar, Array]) -> Array:
            _, step, count = carry
            return (step > _close(theta)) & (count < MOST_LANDING)

        def body(carry: tuple[Vector, Scalar, Array]) -> tuple[Vector, Scalar, Array]:
            at, _, count = carry
            g = self.gradient(at)
            values, vectors = jnp.linalg.eigh(self.hessian(at))
            # The root lets what rounding leaves of g along the minima lead nowhere.
            shift = jnp.sqrt(tree.length(g) * jnp.max(jnp.abs(values)))
            # (|H| + shift)^-1 g: downhill where curvature is negative as well.
            weights = 1 / (jnp.abs(values) + shift + jnp.finfo(theta.dtype).tiny)
            step = vectors @ (weights * (vectors.T @ g))
            return _unit(at - step), tree.length(step), count + 1

        first = _unit(theta), jnp.full((), jnp.inf, theta.dtype), jnp.zeros((), jnp.int64)
        end, _, count = jax.lax.while_loop(going, body, first)
        return end, count

    def retracted(self, theta: Vector, rank: Array) -> tuple[Vector, NormalSpace, Scalar, Array]:
        """Newton's steps back to the minima, the last space and step, and how many there were."""

        def step(at: Vector) -> tuple[Vector, NormalSpace, Scalar]:
            space = self.space(at, rank=rank)
            newton = space.pinv(space.gradient)
            newton = newton - at * jnp.dot(at, newton)
            return _unit(at - newton), space, tree.length(newton)

        def going(carry: tuple[Vector, NormalSpace, Scalar, Array]) -> Array:
            return (carry[2] > _close(theta)) & (carry[3] < MOST_RETRACTION)

        def body(
            carry: tuple[Vector, NormalSpace, Scalar, Array],
        ) -> tuple[Vector, NormalSpace, Scalar, Array]:
            return (*step(carry[0]), carry[3] + 1)

        return jax.lax.while_loop(going, body, (*step(_unit(theta)), jnp.ones((), jnp.int64)))


def _unit(theta: Vector) -> Vector:
    return theta / tree.length(theta)


def _close(theta: Vector) -> float:
    """A Newton step of this length leaves its square, which is below rounding."""
    return float(jnp.finfo(theta.dtype).eps) ** 0.55


def sharpness_reduction_flow(
    step: float = 0.05, averaging: float = 2.0, rank_tolerance: float | None = None
) -> SharpnessReductionFlow:
    """How w/||w|| moves along its minima at the edge of stability; see `SharpnessReductionFlow`.

    Args:
        step: Of the solver, in tau = (step size) (weight decay) (steps); errors fall as its fourth
            power.
        averaging: C of the quasi-RMSProp scheduler; 2 for descent with weight decay.
        rank_tolerance: Eigenvalues above this share of the largest are across the minima; by
            default the root of the precision, 1.5e-8.

    Raises:
        InputError: If a number is out of its range; in a run, if the objective is not
            scale-invariant.

    Examples:
        >>> circle = tw.problems.circle_of_minima(3.0)  # sharpness 1 + 3 sin^2 of the angle
        >>> path = tw.run(circle, tw.dynamics.sharpness_reduction_flow(), until=2.0, records=2)
        >>> path.dataset["largest_eigenvalue"][0].round(2).values.tolist()
        [3.75, 3.1, 1.84]
    """
    for what, value, usual in (("step", step, 0.05), ("averaging", averaging, 2.0)):
        require(
            0 < value < math.inf,
            f"{what} came as {value}; give a positive, finite number, as {usual}",
        )
    require(
        rank_tolerance is None or 0 < rank_tolerance < 1,
        f"rank_tolerance came as {rank_tolerance}; give a number in (0, 1), as 1e-6",
    )
    share = None if rank_tolerance is None else jnp.asarray(rank_tolerance, float)
    return SharpnessReductionFlow(jnp.asarray(step, float), jnp.asarray(averaging, float), share)
