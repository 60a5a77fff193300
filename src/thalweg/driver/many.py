"""One start under many step sizes at once: the fair way to compare methods is each at its best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Discrete, State
from thalweg.problems.problem import Problem

Family = Callable[[Array], Discrete]
Observer = Callable[[Problem, Params], Array]


@eqx.filter_jit
def over_grid(
    family: Family,
    settings: Float[Array, " s"],
    problem: Problem,
    params: Params,
    steps: int,
    observe: Observer | None = None,
) -> Float[Array, "s records *observed"]:
    """The loss after 0, 1, ..., `steps` steps for every member of a family of dynamics.

    Members go side by side in one program. One that diverges is not stopped and tells what is no
    number, or infinite.

    Args:
        family: Maps a step size (or any other setting) to a dynamics, as `gradient_descent`. Pass
            the same function again to reuse what was compiled.
        settings: Step sizes.
        problem: What is descended.
        params: Where all of them start.
        steps: How many.
        observe: Tells something else, from the problem and parameters; None for the loss, which
            costs nothing.

    Returns:
        Shape (s, steps + 1, ...), record k after k steps.

    Cost: steps + 1 gradients for each member.
    """

    def one(setting: Array) -> Array:
        dynamics = family(setting)

        def step(state: State, key: Array) -> tuple[State, Array]:
            after, info = dynamics.step(problem, state, key)
            return after, info.loss if observe is None else observe(problem, state.params)

        keys = jax.random.split(jax.random.key(0), steps + 1)
        return jax.lax.scan(step, dynamics.init(problem, params), keys)[1]

    return jax.vmap(one)(settings)


def steps_to(curves: ArrayLike, level: Any) -> Int[np.ndarray, "..."]:
    """The first step at which each curve is at most its level; the curve's length where none is.

    Args:
        curves: Shape (..., steps + 1), entry k after k steps; what is no number is passed over.
        level: Broadcasts with shape (...).
    """
    curves = np.asarray(curves, float)
    there = curves <= np.asarray(level, float)[..., None]
    return np.where(there.any(axis=-1), np.argmax(there, axis=-1), curves.shape[-1])
