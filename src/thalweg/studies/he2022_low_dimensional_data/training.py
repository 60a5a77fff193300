"""Training of many small nets side by side, for the study of low-dimensional data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Discrete
from thalweg.models import Model
from thalweg.problems import Data, Supervised, supervised


def problems_of(model: Model, data: Sequence[Data]) -> Supervised:
    """One model on many data sets of one size, stacked along a first axis of the arrays."""
    first = supervised(model, data[0])
    inputs, targets = (
        jnp.asarray(np.stack([getattr(d, name) for d in data])) for name in ("inputs", "targets")
    )
    return dataclasses.replace(first, inputs=inputs, targets=targets, source=())


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of arrays as one, along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def follow(
    problems: Supervised, starts: Params, dynamics: Discrete, every: int, records: int
) -> Params:
    """Parameters (lane, record) of full-batch training, every so many steps from step 0 on."""
    return _follow(problems, starts, dynamics, jnp.asarray(every), records)


@eqx.filter_jit
def _follow(
    problems: Supervised, starts: Params, dynamics: Discrete, every: Int[Array, ""], records: int
) -> Params:
    key = jax.random.key(0)  # full batches draw nothing

    def one(problem: Supervised, start: Params) -> Params:
        def record(state: Any, _: None) -> tuple[Any, Params]:
            def step(_: int, state: Any) -> Any:
                return dynamics.step(problem, state, key)[0]

            return jax.lax.fori_loop(0, every, step, state), state.params

        return jax.lax.scan(record, dynamics.init(problem, start), None, length=records + 1)[1]

    return eqx.filter_vmap(one)(problems, starts)
