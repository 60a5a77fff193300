"""Probes in a training loop that is not ours: a plain function of parameters and batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from thalweg.core import tree
from thalweg.core.arguments import check, several, told
from thalweg.core.behaviour import traced, varies
from thalweg.core.errors import InputError, reason, require
from thalweg.core.result import Reading
from thalweg.core.trained import divide, join
from thalweg.core.tree import Params
from thalweg.probes.probe import Moment, Probe, ProbeLike, as_probe
from thalweg.problems.problem import Problem

Memory = tuple[Any, ...]


class OnBatch(Problem):
    """The objective of a foreign loop at one batch, as a function of what is trained.

    Attributes:
        function: Of the loop's own parameters and the batch.
        batch: Any pytree.
        held: What of the parameters is held fixed: see `thalweg.core.trained.divide`.
    """

    function: Callable[[Params, Any], Array] = eqx.field(static=True)
    batch: Any
    held: Params

    def init(self, key: Array) -> Params:
        raise InputError("the parameters of a tracked loop are drawn by that loop")

    def objective(self, params: Params) -> Array:
        return self.function(join(params, self.held), self.batch)


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

    Whole Equinox modules and Flax's dictionaries of variables are parameters too. Measured are
    derivatives by their real and complex floating-point arrays, a complex number counting as two
    real ones; float16 and bfloat16 arrays are cast up, so that all is computed and measured in
    float32 or better. Whole numbers, keys, functions and running averages are held fixed.

    Args:
        function: Maps (params, batch) to a scalar loss, the same for the same arguments; params
            is any pytree with floating-point arrays, batch any pytree of arrays.
        probes: One or several, or their names: sharpness, top_eigenvalues, smallest_eigenvalue,
            loss, gradient_norm, distance_from_start; those that need more than an objective raise.
        seed: Of the random directions that probes draw.

    Cost of a record: that of its probes, two products for the sharpness when training is slow.

    Examples:
        >>> track = tw.Tracker(lambda params, batch: jnp.sum(batch * params**2) / 2, "sharpness")
        >>> params, batch = jnp.ones(2), jnp.array([1.0, 3.0])
        >>> readings, memory = track.measure(params, batch, track.start(params, batch))
        >>> round(float(readings["sharpness"].value), 6)
        3.0
    """

    function: Callable[[Params, Any], Array] = eqx.field(static=True)
    probes: tuple[Probe, ...]
    seed: int = eqx.field(static=True, default=0)

    def __init__(
        self,
        function: Callable[[Params, Any], Array],
        probes: ProbeLike | Sequence[ProbeLike],
        seed: int = 0,
    ) -> None:
        require(
            callable(function) and not isinstance(function, type),
            f"function came as {told(function)}; give a function of params and batch, the loss",
        )
        check("seed", seed, int)
        self.function, self.seed = function, int(seed)
        self.probes = tuple(as_probe(probe) for probe in several(probes))
        names = [probe.name for probe in self.probes]
        require(
            len(set(names)) == len(names) > 0,
            f"probes came as [{', '.join(names)}]; give at least one, each once",
        )

    def start(self, params: Params, batch: Any) -> Memory:
        """The memory before the first record.

        Raises:
            InputError: If the function's value is not one real number or differs from call to
                call, nothing in `params` can be trained, or a probe needs more than an objective.

        Cost: two values of the function.
        """
        trained, held = divide(params, "params")
        problem = OnBatch(self.function, batch, held)
        alone = "give one real floating-point number, the loss, without anything beside it"
        try:
            out = eqx.filter_eval_shape(problem.objective, trained)
        except InputError:
            raise
        except Exception as error:  # a user's function may raise anything
            raise InputError(
                f"the function does not accept these params and batch: {reason(error)}"
            ) from error
        shape = getattr(out, "shape", None)
        require(shape is not None, f"the function's value is {told(out)}; {alone}")
        require(
            shape == () and jnp.issubdtype(out.dtype, jnp.floating),
            f"the function's value has shape {shape} and type {out.dtype}; {alone}",
        )
        require(
            out.dtype.itemsize >= 4,
            f"the function's value came as {out.dtype} although its parameters are in float32 or "
            "better; compute the loss in float32",
        )
        require(
            traced(trained, batch) or not varies(problem.objective, trained),
            "the function's value differs between two calls with the same params and batch "
            "(dropout in training?); give it as for evaluation, or with one fixed key",
        )
        memories = tuple(probe.start(problem, trained) for probe in self.probes)
        return jnp.zeros((), jnp.int32), memories

    @eqx.filter_jit
    def measure(
        self, params: Params, batch: Any, memory: Memory
    ) -> tuple[dict[str, Reading], Memory]:
        """A reading of every probe by name, and the memory for the next record."""
        trained, held = divide(params, "params")
        problem, (record, memories) = OnBatch(self.function, batch, held), memory
        key = jax.random.fold_in(jax.random.key(self.seed), record)
        readings, renewed = {}, []
        for i, (probe, kept) in enumerate(zip(self.probes, memories, strict=True)):
            moment = Moment(record, jax.random.fold_in(key, i))
            readings[probe.name], after = probe.measure(problem, trained, kept, moment)
            renewed.append(after)
        return readings, (record + 1, tuple(renewed))

    def unbounded(self, params: Params, memory: Memory) -> tuple[str, ...]:
        """Probes whose last error is that of what was followed: something else may have overtaken.

        Of more than 256 parameters, eigenvalues are looked for from a random start at records 0, 5,
        15, 35, ... alone, at most `recheck` of the probe apart. Not within `jit`.

        Args:
            params: Any parameters of the loop.
            memory: As the last `measure` returned it.

        Examples:
            >>> track = tw.Tracker(lambda params, batch: jnp.sum(params**2), "sharpness")
            >>> memory = track.start(jnp.ones(300), None)
            >>> told = []
            >>> for _ in range(3):
            ...     _, memory = track.measure(jnp.ones(300), None, memory)
            ...     told.append(track.unbounded(jnp.ones(300), memory))
            >>> told
            [(), ('sharpness',), ('sharpness',)]
        """
        record, size = int(memory[0]) - 1, tree.size(divide(params, "params")[0])
        return tuple(p.name for p in self.probes if not bool(p.bounds(record, size)))
