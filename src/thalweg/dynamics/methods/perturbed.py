"""Perturbed descent: a little noise where the gradient is small, so that saddles are left."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.core.result import finite
from thalweg.core.tree import Params
from thalweg.dynamics.descent import nearest_count
from thalweg.dynamics.dynamics import Discrete, Info, State, Statistic, fresh, step_size_array
from thalweg.dynamics.stability import StabilityRule, descent_rule
from thalweg.problems.problem import Problem


class PerturbedDescent(Discrete):
    """Gradient descent that is moved where its gradient is small.

    Where ||grad f|| <= threshold and the last move is more than `wait` steps ago, the parameters
    are first moved by a point drawn uniformly from a ball. Near a strict saddle of curvature -c it
    then leaves in about ln(d/radius)/ln(1 + eta c) steps, where plain descent stays.

    Training time is steps times eta. Random. Cost: two gradients a step, at the point and where it
    is moved to. Source: Jin et al. (2017), algorithm 1.

    Attributes:
        step_size: eta.
        radius: Of the ball (unit: parameter).
        threshold: Of the gradient norm (unit: loss/parameter).
        wait: Steps between moves.
    """

    step_size: Float[Array, ""] = eqx.field(converter=step_size_array)
    radius: Float[Array, ""]
    threshold: Float[Array, ""]
    wait: int = eqx.field(static=True, default=100)

    @property
    def name(self) -> str:
        return "perturbed descent"

    @property
    def random(self) -> bool:
        return True

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        return (Statistic("last_move", "1", "step of the last move; negative before the first"),)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        return {"last_move": state.memory}

    def init(self, problem: Problem, params: Params) -> State:
        return fresh(params, jnp.asarray(-self.wait - 1, jnp.int64))

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        loss, gradient = jax.value_and_grad(problem.objective)(state.params)
        small = tree.norm(gradient).astype(jnp.float64) <= self.threshold
        moves = small & (state.step - state.memory > self.wait)
        reach = jnp.where(moves, self.radius, 0.0)
        params = tree.step_along(state.params, reach, _in_ball(state.params, key))
        gradient = jax.grad(problem.objective)(params)
        count = state.step + 1
        return state._replace(
            params=tree.step_along(params, -self.step_size, gradient),
            time=count.astype(jnp.float64) * self.step_size,
            step=count,
            evaluations=state.evaluations + 2,
            result=jnp.maximum(state.result, finite(loss)),
            memory=jnp.where(moves, state.step, state.memory),
        ), Info(loss)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(steps) * float(self.step_size)

    def steps_until(self, time: float) -> int:
        return nearest_count(time, float(self.step_size))

    def without_limit(self, problem: Problem, params: Params) -> str:
        return "gradient flow never leaves a saddle; compare at equal loss"

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return descent_rule(float(self.step_size))


def _in_ball(params: Params, key: Array) -> Params:
    """A point drawn uniformly from the unit ball of all parameters."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves) + 1)
    normal = [jax.random.normal(k, a.shape, a.dtype) for k, a in zip(keys[1:], leaves, strict=True)]
    size = tree.norm(normal)
    p = tree.size(params)
    radius = jax.random.uniform(keys[0], (), size.dtype) ** (1 / p) / jnp.maximum(size, 1e-30)
    return jax.tree.unflatten(structure, [radius.astype(a.dtype) * a for a in normal])


def perturbed_descent(
    step_size: float, radius: float = 1e-3, threshold: float = 1e-3, wait: int = 100
) -> PerturbedDescent:
    """Gradient descent that leaves strict saddles; see `PerturbedDescent`.

    Args:
        step_size: eta, 1/L by its theorem.
        radius: Of the ball from which a move is drawn.
        threshold: Of the gradient norm, up to which it is moved.
        wait: Steps between moves at least.

    Raises:
        InputError: If a number is not positive and finite, or `wait` no whole number from 1 on.

    Examples:
        >>> saddle = tw.problems.Function(
        ...     lambda x: 0.5 * x[0] ** 2 + 0.25 * x[1] ** 4 - 0.5 * x[1] ** 2, start=jnp.eye(2)[0])
        >>> run = tw.run(saddle, tw.dynamics.perturbed_descent(0.1), until=40.0, records=1)
        >>> round(float(run.dataset["loss"][0, -1]), 6)  # a minimum, not the saddle at 0
        -0.25
    """
    require_positive(radius=radius, threshold=threshold)
    require(
        not misfit(wait, int) and wait >= 1,
        f"wait came as {told(wait)}; give a whole number of steps from 1 on",
    )
    reach, small = (jnp.asarray(float(v), jnp.float64) for v in (radius, threshold))
    return PerturbedDescent(step_size_array(step_size), reach, small, int(wait))
