"""Descent of a direction on the unit sphere, with a step size that an average of gradients sets."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.arguments import told
from thalweg.core.behaviour import traced
from thalweg.core.errors import require
from thalweg.core.ranges import positive
from thalweg.core.result import finite
from thalweg.core.tree import Params
from thalweg.dynamics.descent import nearest_count
from thalweg.dynamics.dynamics import (
    Clock,
    Discrete,
    Info,
    State,
    Statistic,
    fresh,
    step_size_array,
)
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.problems.problem import Problem


class SphericalRMSProp(Discrete):
    """theta <- P(theta - eta/sqrt(v) g), v <- (1 - C eta^2) v + C eta^2 ||g||^2, P(x) = x/||x||.

    g = grad f(theta) on the unit sphere of all parameters: the quasi-RMSProp scheduler. With C = 2
    and eta = sqrt(2 eta' lambda') it is, to leading order, what gradient descent with step size
    eta' and weight decay lambda' does to w/||w|| for scale-invariant f. Where f is not
    scale-invariant it is a method of its own, which descends f on the sphere.

    Training time is eta k; the clocks are `slow_time` = eta^2 k and `decay_time` = eta^2 k/2, on
    which it moves along the minima. Deterministic. Cost: one gradient a step.

    Attributes:
        step_size: eta.
        averaging: C, how fast v forgets, in eta^2 a step.
        initial: v at the start, positive (unit: loss^2).

    Source: Lyu, Li and Arora (2022), quasi-RMSProp.
    """

    step_size: Float[Array, ""] = eqx.field(converter=step_size_array)
    averaging: Float[Array, ""] = eqx.field(
        converter=lambda x: jnp.asarray(x, jnp.float64), default=2.0
    )
    initial: Float[Array, ""] = eqx.field(
        converter=lambda x: jnp.asarray(x, jnp.float64), default=1.0
    )

    @property
    def name(self) -> str:
        return "spherical RMSProp"

    def init(self, problem: Problem, params: Params) -> State:
        size = tree.norm(params)
        theta = jax.tree.map(lambda w: w / size.astype(w.dtype), params)
        return fresh(theta, self.initial.astype(size.dtype))

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        loss, gradient = jax.value_and_grad(problem.objective)(state.params)
        v = state.memory
        moved = tree.step_along(state.params, -self.rate(v), gradient)
        size, square = tree.norm(moved), tree.norm(gradient) ** 2
        share = (self.averaging * self.step_size**2).astype(v.dtype)
        count = state.step + 1
        after = state._replace(
            params=jax.tree.map(lambda x: x / size.astype(x.dtype), moved),
            time=count.astype(jnp.float64) * self.step_size,
            step=count,
            evaluations=state.evaluations + 1,
            result=jnp.maximum(state.result, finite(loss, size)),
            memory=v + share * (square.astype(v.dtype) - v),
        )
        return after, Info(loss)

    def rate(self, v: Float[Array, ""]) -> Float[Array, ""]:
        """eta/sqrt(v), the step size on the sphere (unit: 1/loss)."""
        return self.step_size.astype(v.dtype) / jnp.sqrt(v)

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        return (Statistic("sphere_rate", "1/loss", "step size on the sphere, eta/sqrt(v)"),)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        return {"sphere_rate": self.rate(state.memory)}

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(steps) * float(self.step_size)

    def steps_until(self, time: float) -> int:
        return nearest_count(time, float(self.step_size))

    def clocks(self, problem: Problem) -> dict[str, Clock]:
        square = float(self.step_size) ** 2
        return {
            "slow_time": Clock(
                lambda steps: square * np.asarray(steps),
                "step size^2",
                "sum of squared step sizes",
            ),
            "decay_time": Clock(
                lambda steps: square / 2 * np.asarray(steps),
                "1",
                "that of descent with weight decay",
            ),
        }

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return no_rule(
            "its step size on the sphere changes with the gradients it met; it is stable while "
            "sphere_rate times the spherical sharpness is below 2"
        )

    def without_limit(self, problem: Problem, params: Params) -> str:
        return "its average of squared gradients depends on the step size"


def spherical_rmsprop(
    step_size: float | Array, averaging: float | Array = 2.0, initial: float | Array = 1.0
) -> SphericalRMSProp:
    """The quasi-RMSProp scheduler on the unit sphere; see `SphericalRMSProp`.

    Args:
        step_size: eta.
        averaging: C; 2 for descent with weight decay.
        initial: v at the start.

    Raises:
        InputError: If a number is not positive, or C eta^2 is not below 1.

    Examples:
        >>> circle = tw.problems.circle_of_minima()
        >>> path = tw.run(circle, tw.dynamics.spherical_rmsprop(0.05), until=1.0, records=1)
        >>> bool(jnp.isclose(jnp.linalg.norm(path.parameters.values[0, -1]), 1))
        True
    """
    kept, begun = positive("averaging", averaging), positive("initial", initial)
    eta = step_size_array(step_size)
    require(
        traced(kept, eta) or bool(np.all(np.asarray(kept * eta**2) < 1)),
        f"averaging {told(averaging)} times the square of the step size {told(step_size)} is not "
        "below 1; give less of one",
    )
    return SphericalRMSProp(
        eta,
        kept,
        begun,
    )
