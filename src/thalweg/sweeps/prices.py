"""What an optimiser costs besides its gradients: CPU seconds, compiling, memory."""

from __future__ import annotations

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.memory import bytes_of
from thalweg.driver.spending import Spent, spend
from thalweg.dynamics.dynamics import Discrete
from thalweg.problems.problem import Problem

REPEATS, LEAST = 3, 0.02  # timings, each of at least so many seconds


class Prices(NamedTuple):
    """What was measured of one path at the best setting.

    Attributes:
        seconds: CPU seconds of all threads for the whole path, after compiling; the least of
            `REPEATS`, as other processes can only add to it.
        error: How far apart the repeats are.
        compiling: CPU seconds until the program was there; less where it was kept from before.
        state_bytes: What a step carries to the next beside the parameters.
    """

    seconds: float
    error: float
    compiling: float
    state_bytes: int


def priced(problem: Problem, member: Discrete, seed: int, budget: float, price: float) -> Prices:
    """Time one path until its budget is spent, alone.

    Cost: the path four times or more; it is compiled anew.
    """
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    state = jax.eval_shape(lambda params: member.init(problem, params), shapes)
    keys = jax.vmap(jax.random.key)(jnp.asarray([seed]))
    marks, each = jnp.asarray([budget], jnp.float64), jnp.asarray(price, jnp.float64)

    def once() -> Spent:
        return jax.block_until_ready(spend(problem, member, keys, marks, each, "single"))

    begun = time.process_time()
    once()
    first = time.process_time() - begun
    begun = time.process_time()
    once()
    again = time.process_time() - begun
    rounds = max(1, int(np.ceil(LEAST / max(again, 1e-6))))
    found = []
    for _ in range(REPEATS):
        begun = time.process_time()
        for _ in range(rounds):
            once()
        found.append((time.process_time() - begun) / rounds)
    least = min(found)
    return Prices(least, max(found) - least, max(first - least, 0.0), bytes_of(state.memory))
