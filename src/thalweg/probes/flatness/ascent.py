"""Sharpness by ascent: how far the objective rises within a ball about the parameters."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.core.result import judged
from thalweg.core.tree import Params
from thalweg.probes.flatness.measure import Costed, FlatnessMeasure
from thalweg.probes.flatness.quadratic_ascent import Height, ascended
from thalweg.problems.problem import Problem


class _Climbing(NamedTuple):
    """Where a climb is, and the downward curvature that its next step allows for."""

    at: Height
    bend: Float[Array, ""]


class AscentSharpness(FlatnessMeasure):
    """max of f(theta + d) - f(theta) over ||d|| <= rho, by projected steps of ascent.

    From the gradient's direction and from random ones, d <- rho g/||g||, g = grad f(theta + d),
    which never descends where f is convex. A step that would descend is not taken; those after it
    go to d + g/b, put back into the ball, with b grown until they rise. From the highest on at most
    7 rounds go to the top of the quadratic model in a Krylov space of 21 dimensions. One step from
    the gradient alone is what SAM takes (`steps=1, starts=0`); a single step has no such rounds. As
    a maximum it is certainly no less than the value.

    value   (), loss
    error   (), what the objective could still rise by within the ball, were it quadratic there with
            the largest eigenvalue found: 0 at the top of the ball, however it is curved downward;
            plus how far the last round's rise was from its model's. It does not know of a higher
            top that no start has seen. After a single step the residual rho ||g|| - <g, d>, g the
            gradient where it ended
    result  NOT_CONVERGED if the error is above `tolerance` times the value
    cost    (1 + starts) (steps + 1) gradients, and 50 a round; most often one or two

    Source: Foret et al. (2021), section 2.
    """

    rho: float = eqx.field(static=True, default=0.05)
    steps: int = eqx.field(static=True, default=20)
    starts: int = eqx.field(static=True, default=3)
    tolerance: float = eqx.field(static=True, default=0.05)
    name: ClassVar[str] = "sam_sharpness"
    unit: ClassVar[str] = "loss"
    dims: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = "SAM sharpness"
    unchanged_by: ClassVar[tuple[str, ...]] = ("translation", "permutation", "rotation")

    def __check_init__(self) -> None:
        require_positive(rho=self.rho, tolerance=self.tolerance)
        require(self.steps >= 1, f"steps came as {self.steps}; give at least 1")
        require(self.starts >= 0, f"starts came as {self.starts}; give 0 or more")

    def scale(self, theta: Float[Array, " p"]) -> Float[Array, " p"]:
        """The half-axes of the ball over rho."""
        return jnp.ones_like(theta)

    def taken(self, problem: Problem, params: Params, key: Array) -> Costed:
        theta, unravel = ravel_pytree(params)
        scale, rho = self.scale(theta), jnp.asarray(self.rho, theta.dtype)
        climb = jax.value_and_grad(lambda s: problem.objective(unravel(theta + scale * s)))
        here, slope = climb(jnp.zeros_like(theta))

        def onto(direction: Float[Array, " p"]) -> Float[Array, " p"]:
            size = tree.length(direction)
            return rho * direction / jnp.where(size > 0, size, jnp.ones_like(size))

        def up(now: _Climbing, _: None) -> tuple[_Climbing, None]:
            at, bend = now
            aim = bend * at.step + at.slope
            reach = jnp.maximum(tree.length(aim), bend * rho)  # bend = 0: onto the sphere
            step = rho * aim / jnp.where(reach > 0, reach, jnp.ones_like(reach))
            height, slope = climb(step)
            better = Height(step, height - here, slope)
            rises = better.rise > at.rise
            bend = jnp.where(rises, bend, jnp.maximum(4 * bend, tree.length(at.slope) / rho))
            after = jax.tree.map(lambda a, b: jnp.where(rises, a, b), better, at)
            return _Climbing(after, bend), None

        def climbed(direction: Float[Array, " p"]) -> Height:
            step = onto(direction)
            height, there = climb(step)
            begun = _Climbing(Height(step, height - here, there), jnp.zeros_like(rho))
            return jax.lax.scan(up, begun, None, length=self.steps - 1)[0].at

        random = jax.random.normal(key, (self.starts, theta.size), theta.dtype)
        ends = jax.lax.map(climbed, jnp.concatenate([slope[None], random]))
        best = jax.tree.map(lambda leaf: leaf[jnp.argmax(ends.rise)], ends)
        cost = jnp.asarray((1.0 + self.starts) * (self.steps + 1))

        def rounding(at: Height) -> Float[Array, ""]:
            """Of the two terms of a residual, and of the objective."""
            eps = 100 * jnp.finfo(theta.dtype).eps
            return eps * (rho * tree.length(at.slope) + jnp.abs(here))

        if self.steps == 1 or jnp.finfo(theta.dtype).bits < 32:  # no Krylov space in 16 bits
            left = jnp.maximum(rho * tree.length(best.slope) - best.slope @ best.step, 0)
        else:
            own = jax.random.fold_in(key, 1)
            best, left, spent = ascended(climb, best, rho, self.tolerance, rounding(best), own)
            cost = cost + spent
        error = left + rounding(best)
        allowed = self.tolerance * jnp.abs(best.rise) + 3 * rounding(best)
        return Costed(judged(best.rise, error, allowed), cost)


class AdaptiveSharpness(AscentSharpness):
    """max of f(theta + d) - f(theta) over ||d/|theta| || <= rho: a ball in units of each weight.

    value   (), loss; unchanged where weights of a ReLU net are rescaled
    error, result, cost   as of `AscentSharpness`

    Entries of theta that are 0 do not move. Source: Kwon, Kim, Park and Choi (2021), definition 1.
    """

    name: ClassVar[str] = "adaptive_sharpness"
    title: ClassVar[str] = "adaptive SAM sharpness"
    unchanged_by: ClassVar[tuple[str, ...]] = ("permutation", "rescaling")

    def scale(self, theta: Float[Array, " p"]) -> Float[Array, " p"]:
        return jnp.abs(theta)


def sam_sharpness(
    rho: float = 0.05, steps: int = 20, starts: int = 3, tolerance: float = 0.05
) -> AscentSharpness:
    """The highest rise of the objective within a ball; see `AscentSharpness`.

    Args:
        rho: The ball's radius (unit: parameter).
        steps: Steps of ascent; 1 is that of SAM.
        starts: Random directions to climb from, beside the gradient's.
        tolerance: Residual allowed, over the value.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: x[0] ** 2 + 4 * x[1] ** 2, start=jnp.zeros(2))
        >>> probe = tw.probes.sam_sharpness(rho=0.5, steps=30)
        >>> round(float(tw.measure(bowl, bowl.start, probe).value), 6)  # rho^2 lambda/2
        1.0
    """
    return AscentSharpness(rho, steps, starts, tolerance)


def adaptive_sharpness(
    rho: float = 0.5, steps: int = 20, starts: int = 3, tolerance: float = 0.05
) -> AdaptiveSharpness:
    """The highest rise of the objective in a ball scaled by the weights; see `AdaptiveSharpness`.

    Args:
        rho: The radius (unit: 1).
        steps: As of `sam_sharpness`.
        starts: As of `sam_sharpness`.
        tolerance: As of `sam_sharpness`.

    Examples:
        >>> valley = tw.problems.Function(lambda x: (x[0] * x[1]) ** 2 / 2, start=jnp.ones(2))
        >>> probe = tw.probes.adaptive_sharpness(rho=0.1, steps=30)
        >>> here = float(tw.measure(valley, jnp.array([1.0, 1.0]), probe).value)
        >>> there = float(tw.measure(valley, jnp.array([4.0, 0.25]), probe).value)
        >>> bool(abs(here - there) < 1e-9)
        True
    """
    return AdaptiveSharpness(rho, steps, starts, tolerance)
