"""Probes in a training loop that is not ours: a plain function of parameters and batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import InputError, require
from thalweg.core.result import Reading
from thalweg.core.tree import Params
from thalweg.probes.probe import Moment, Probe
from thalweg.problems.problem import Problem

Memory = tuple[Any, ...]


class OnBatch(Problem):
    """The objective of a foreign loop at one batch."""

    function: Callable[[Params, Any], Array] = eqx.field(static=True)
    batch: Any

    def init(self, key: Array) -> Params:
        raise InputError("the parameters of a tracked loop are drawn by that loop")

    def objective(self, params: Params) -> Float[Array, ""]:
        return self.function(params, self.batch)


class Tracker(eqx.Module):
    """Probes that follow any JAX training loop, warm-started from record to record.

        track = thalweg.Tracker(loss, [thalweg.probes.sharpness()])   # loss(params, batch)
        memory = track.start(params, batch)
        for ...:
            params, ... = your_own_step(params, ...)
            if step % 10 == 0:
                readings, memory = track.measure(params, batch, memory)
                readings["sharpness"].value, .error, .result

    `measure` is a pure function of its arguments and may be called inside `jit` or `scan`; it
    compiles once for each shape of batch. Measure on one fixed batch (or all data) to follow one
    objective: with a fresh batch each time the numbers belong to that batch, and a warm start
    from another batch's vectors saves less.

    Args:
        function: Maps (params, batch) to a scalar loss; params is any pytree of floating-point
            arrays, batch any pytree of arrays.
        probes: Probes that need an objective alone: sharpness, top_eigenvalues,
            smallest_eigenvalue, loss, gradient_norm, distance_from_start. Others raise.
        seed: Of the random directions that probes draw.

    Cost of a record: that of its probes, two products for the sharpness when training is slow.
    """

    function: Callable[[Params, Any], Array] = eqx.field(static=True)
    probes: tuple[Probe, ...]
    seed: int = eqx.field(static=True, default=0)

    def __init__(
        self,
        function: Callable[[Params, Any], Array],
        probes: Sequence[Probe],
        seed: int = 0,
    ) -> None:
        self.function, self.probes, self.seed = function, tuple(probes), seed
        names = [probe.name for probe in self.probes]
        require(
            len(set(names)) == len(names) > 0,
            f"probes came as [{', '.join(names)}]; give at least one, each once",
        )

    def start(self, params: Params, batch: Any) -> Memory:
        """The memory before the first record.

        Raises:
            InputError: If the function's value is not a floating-point scalar, or a probe needs
                more than an objective.
        """
        out = jax.eval_shape(self.function, params, batch)
        shape = getattr(out, "shape", None)
        require(
            shape == () and jnp.issubdtype(out.dtype, jnp.floating),
            f"the function's value has shape {shape}; give one floating-point number, the loss",
        )
        problem = OnBatch(self.function, batch)
        return (
            jnp.zeros((), jnp.int32),
            tuple(probe.start(problem, params) for probe in self.probes),
        )

    @eqx.filter_jit
    def measure(
        self, params: Params, batch: Any, memory: Memory
    ) -> tuple[dict[str, Reading], Memory]:
        """A reading of every probe by name, and the memory for the next record."""
        problem, (record, memories) = OnBatch(self.function, batch), memory
        key = jax.random.fold_in(jax.random.key(self.seed), record)
        readings, renewed = {}, []
        for i, (probe, kept) in enumerate(zip(self.probes, memories, strict=True)):
            moment = Moment(record, jax.random.fold_in(key, i))
            readings[probe.name], after = probe.measure(problem, params, kept, moment)
            renewed.append(after)
        return readings, (record + 1, tuple(renewed))
