"""Gradient descent with weight decay, coupled to the step size as in SGD."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.arguments import told
from thalweg.core.behaviour import traced
from thalweg.core.errors import require
from thalweg.core.ranges import from_zero
from thalweg.core.tree import Params
from thalweg.dynamics.descent import GradientDescent
from thalweg.dynamics.dynamics import Clock, Continuous, Info, State, step_size_array
from thalweg.dynamics.stability import StabilityRule, descent_rule
from thalweg.problems.problem import Problem


class DecayedDescent(GradientDescent):
    """w <- (1 - eta lambda) w - eta grad f(w): descent on f + (lambda/2) ||w||^2, recording f.

    For scale-invariant f the direction theta = w/||w|| does projected descent on the sphere with
    the rate eta/((1 - eta lambda) ||w||^2), which the decay raises until it meets 2 over the
    spherical sharpness. Clock `decay_time` = eta lambda k. Deterministic. Cost: one gradient a
    step. Source: Lyu, Li and Arora (2022), section 2.

    Attributes:
        step_size: eta.
        weight_decay: lambda, at least 0 (unit: loss/parameter^2).
    """

    weight_decay: Float[Array, ""] = eqx.field(
        converter=lambda x: jnp.asarray(x, jnp.float64), default=0.0
    )

    @property
    def name(self) -> str:
        return "gradient descent with weight decay"

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        after, info = super().step(problem, state, key)
        shrink = self.step_size * self.weight_decay

        # f's own step is taken first, so that a decay of 0 is gradient descent to the bit.
        def decayed(moved: Array, before: Array) -> Array:
            return moved - shrink.astype(before.dtype) * before

        return after._replace(params=jax.tree.map(decayed, after.params, state.params)), info

    def clocks(self, problem: Problem) -> dict[str, Clock]:
        rate = float(self.step_size * self.weight_decay)
        about = "step size times weight decay, summed"
        return {"decay_time": Clock(lambda steps: rate * np.asarray(steps), "1", about)}

    def limit(self, problem: Problem, params: Params) -> Continuous | None:  # type: ignore[override]
        """Gradient flow, where nothing decays."""
        return super().limit(problem, params) if float(self.weight_decay) == 0 else None

    def without_limit(self, problem: Problem, params: Params) -> str:
        if self.limit(problem, params) is not None:
            return ""
        return (
            "it is gradient flow of the objective with the decay in it; compare gradient descent "
            "on tw.problems.Decayed(problem, weight_decay)"
        )

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        rule = descent_rule(float(self.step_size))
        decay = float(self.weight_decay)
        return rule._replace(threshold=rule.threshold - decay, formula="2/eta - lambda")


def decayed_descent(step_size: float | Array, weight_decay: float | Array) -> DecayedDescent:
    """Gradient descent with weight decay; see `DecayedDescent`.

    Args:
        step_size: eta.
        weight_decay: lambda.

    Raises:
        InputError: If lambda is negative or eta lambda is not below 1.

    Examples:
        >>> circle = tw.problems.circle_of_minima()
        >>> path = tw.run(circle, tw.dynamics.decayed_descent(0.5, 0.02), until=50.0, records=2)
        >>> path.dataset["decay_time"].values.tolist()  # eta lambda k
        [0.0, 0.5, 1.0]
    """
    eta = step_size_array(step_size)
    decay = from_zero("weight_decay", weight_decay)
    require(
        traced(eta, decay) or bool(np.all(np.asarray(eta * decay) < 1)),
        f"step size {told(step_size)} times weight_decay {told(weight_decay)} is not below 1: a "
        "step would turn the weights round; give less of one",
    )
    return DecayedDescent(eta, decay)
