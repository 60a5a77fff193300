"""Readings: no number without its error and a code that says whether to believe it."""

from __future__ import annotations

import enum
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Result(enum.IntEnum):
    """What became of a measurement or a step. Larger is worse, so codes combine by `max`."""

    OK = 0
    NOT_CONVERGED = 1  # a value is there, its error is above what was asked
    STEP_LIMIT = 2  # the solver used up its steps before the requested time
    NOT_MEASURED = 3  # the schedule did not ask for this record
    NONFINITE = 4  # NaN or infinity: the run has diverged

    @property
    def sentence(self) -> str:
        """The sentence a reader sees."""
        return _SENTENCES[self]


_SENTENCES = {
    Result.OK: "measured to the accuracy that was asked",
    Result.NOT_CONVERGED: "not converged: the error is larger than what was asked",
    Result.STEP_LIMIT: "the solver reached its limit of steps before the requested time",
    Result.NOT_MEASURED: "not measured at this record",
    Result.NONFINITE: "not finite: the run has diverged",
}


class Reading(NamedTuple):
    """A measured value with its error (same unit, same shape) and its result code.

    `error` is 0 only for values that are exact up to rounding; what kind of error it is (a
    residual, a standard error, a bound) is said in the docstring of the probe.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> value, error, result = tw.measure(bowl, bowl.start, "loss")
        >>> float(value), float(error), tw.Result(int(result)).name
        (1.0, 0.0, 'OK')
    """

    value: Float[Array, "..."]
    error: Float[Array, "..."]
    result: Int[Array, ""]


def exact(value: Float[Array, "..."]) -> Reading:
    """A reading whose only error is rounding."""
    return Reading(value, jnp.zeros_like(value), finite(value))


def finite(*values: Array) -> Int[Array, ""]:
    """`OK` if every entry of every value is finite, else `NONFINITE`."""
    good = jnp.all(jnp.stack([jnp.all(jnp.isfinite(v)) for v in values]))
    return jnp.where(good, int(Result.OK), int(Result.NONFINITE)).astype(jnp.int32)


def judged(value: Array, error: Array, allowed: Array | float) -> Reading:
    """A reading that is `NOT_CONVERGED` where the error exceeds what is allowed."""
    late = jnp.any(error > allowed)
    code = jnp.where(late, int(Result.NOT_CONVERGED), int(Result.OK)).astype(jnp.int32)
    return Reading(value, error, jnp.maximum(code, finite(value, error)))


def tree_finite(tree: object) -> Int[Array, ""]:
    """`OK` if every array of a pytree is finite, else `NONFINITE`."""
    return finite(*[jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)])
