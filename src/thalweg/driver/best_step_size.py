"""How many steps training takes, at the best of many step sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.errors import require
from thalweg.core.result import Result
from thalweg.core.tree import Params
from thalweg.dynamics.descent import GradientDescent
from thalweg.dynamics.dynamics import State
from thalweg.problems.problem import Problem


class Fastest(NamedTuple):
    """The fewest steps to a criterion and the step size that took them; NaN if none got there."""

    steps: float
    step_size: float


def steps_to_criterion(
    problem: Problem,
    start: Params,
    step_sizes: Sequence[float] | Float[np.ndarray, " n"],
    loss: float,
    most_steps: int,
    at_once: int | None = None,
) -> Fastest:
    """Fewest steps of gradient descent that bring the objective down to a loss.

    Descents from one start run side by side, one per step size; the first to test
    f(theta_k) <= loss ends the search. The loss is tested before each step, so that a start which
    meets the criterion takes 0 steps. Of several step sizes that are equally fast the smallest is
    reported; it is the coarseness of the grid, not of the steps, that limits its accuracy.

    Args:
        problem: The objective.
        start: Parameters that every descent starts from.
        step_sizes: Positive step sizes, any order.
        loss: The criterion (unit: loss).
        most_steps: Where to give up.
        at_once: How many descents run side by side; all by default. With fewer, the largest step
            sizes go first and later ones give up at the best count so far; memory is
            `at_once` times that of one descent.

    Returns:
        Steps (a whole number, exact) and step size.

    Raises:
        InputError: If there are no step sizes, or one is not positive.

    Cost: at most most_steps + 1 gradients per step size. Compiled once per problem and shapes.
    """
    sizes = np.unique(np.asarray(step_sizes, float))[::-1]
    require(
        sizes.size > 0 and bool(np.all(np.isfinite(sizes) & (sizes > 0))),
        f"step sizes came as {list(step_sizes)}; give positive, finite numbers",
    )
    group = sizes.size if at_once is None else at_once
    best = Fastest(np.nan, np.nan)
    for first in range(0, sizes.size, group):
        some = sizes[first : first + group]
        limit = most_steps if np.isnan(best.steps) else int(best.steps)
        count, there = _search(problem, start, jnp.asarray(some), loss, jnp.asarray(limit))
        if bool(jnp.any(there)):
            best = Fastest(float(count), float(some[np.asarray(there)].min()))
    return best


@eqx.filter_jit
def _search(
    problem: Problem,
    start: Params,
    sizes: Float[Array, " n"],
    loss: float | Array,
    most: Int[Array, ""],
) -> tuple[Int[Array, ""], Bool[Array, " n"]]:
    """Steps taken when the first descents got there, and which; none if `most` was not enough."""
    key = jax.random.key(0)  # descent is deterministic

    def begin(size: Array) -> State:
        return GradientDescent(size).init(problem, start)

    def step(size: Array, state: State) -> tuple[State, Array]:
        state, info = GradientDescent(size).step(problem, state, key)
        return state, info.loss <= loss

    def going(carry: tuple[State, Array]) -> Array:
        states, there = carry
        alive = jnp.any(states.result < int(Result.NONFINITE))
        return ~jnp.any(there) & alive & (states.step[0] <= most)

    def advance(carry: tuple[State, Array]) -> tuple[State, Array]:
        return jax.vmap(step)(sizes, carry[0])

    states = jax.vmap(begin)(sizes)
    states, there = jax.lax.while_loop(going, advance, (states, jnp.zeros(sizes.shape, bool)))
    return states.step[0] - 1, there
