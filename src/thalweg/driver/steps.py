"""Steps of one dynamics in a row, their random numbers drawn in blocks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from thalweg.dynamics.dynamics import Discrete, State
from thalweg.problems.problem import Problem

BLOCKS = 2**32 - 1  # folded into the key of steps for that of blocks: no step has this number


def steps_on(
    problem: Problem,
    dynamics: Discrete,
    state: State,
    key: Array,
    first: ArrayLike,
    count: ArrayLike,
) -> State:
    """So many steps from a state on. Pure: `jit` and `vmap` it.

    Step k gets the key (key, k), and its random numbers from those of block k // size, drawn at
    once from a key that is a function of (key, block): wherever a chunk of steps begins or ends,
    a step draws the same. A chunk that begins within a block draws all of this block again.

    Args:
        problem: What is descended.
        dynamics: What moves the parameters.
        state: Where it is.
        key: Of all steps.
        first: The number of steps taken so far; `state.step`, or one number for all lanes.
        count: How many.
    """
    size = dynamics.block(problem, state.params)

    def own(state: State) -> Array:
        return jax.random.fold_in(key, state.step)

    begun = dynamics.carried(state)
    if size == 0:

        def plain(_: Array, state: State) -> State:
            return dynamics.carried_step(problem, state, own(state))[0]

        return dynamics.released(jax.lax.fori_loop(0, count, plain, begun))

    first = jnp.asarray(first)
    last = first + count
    blocks = jax.random.fold_in(key, BLOCKS)

    params = state.params  # of which the structure counts

    def block(at: tuple[Array, State]) -> tuple[Array, State]:
        now, state = at
        number = now // size
        begin, end = now - number * size, jnp.minimum(size, last - number * size)
        draws = dynamics.draws(problem, params, jax.random.fold_in(blocks, number), size)

        def drawn(k: Array, state: State) -> State:
            draw = jax.tree.map(lambda leaf: leaf[k], draws)
            return dynamics.carried_step(problem, state, own(state), draw)[0]

        return number * size + end, jax.lax.fori_loop(begin, end, drawn, state)

    return dynamics.released(jax.lax.while_loop(lambda at: at[0] < last, block, (first, begun))[1])
