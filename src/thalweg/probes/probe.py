"""What is measured at a point: a value with its error, its unit and a result code."""

from __future__ import annotations

import abc
import contextlib
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Int

from thalweg.core.arguments import told
from thalweg.core.doors import Checked
from thalweg.core.errors import InputError, choose, require
from thalweg.core.result import Reading, Result
from thalweg.core.tracebacks import told_function
from thalweg.core.tree import Params
from thalweg.models.spiking.surrogates import takes_surrogates
from thalweg.problems.problem import Problem, Supervised

NONFINITE = int(Result.NONFINITE)


class Moment(NamedTuple):
    """When, with what randomness and of what process a probe is asked.

    Attributes:
        record: Counts the records of the run, the same for all seeds.
        key: For this probe and record alone.
        process: What the dynamics carries from step to step (of an Optax transformation its
            state), () outside a run.
    """

    record: Int[Array, ""]
    key: Array
    process: Any = ()


class Probe(Checked):
    """A measurement of parameters. Measuring never changes a path.

    Class attributes that every probe states:
        name: The variable's name in the data set.
        unit: Its unit, "1" if it has none.
        dims: Names of the dimensions of one value, () for a scalar.
        asks_process: Whether it looks at `Moment.process`. Where it does not, runs of other
            dynamics measure it by the same compiled program; `Moment.process` is then ().
    """

    name: eqx.AbstractClassVar[str]
    unit: eqx.AbstractClassVar[str]
    dims: eqx.AbstractClassVar[tuple[str, ...]]
    asks_process: ClassVar[bool] = True

    def start(self, problem: Problem, params: Params) -> Any:
        """Memory before the first record, carried from record to record by the driver."""
        return ()

    def along(self, dynamics: Any) -> Probe:
        """The probe as it measures along a dynamics: itself, unless it asks the dynamics."""
        return self

    @abc.abstractmethod
    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        """The reading at these parameters, and the memory for the next record."""

    def bounds(self, record: Int[Array, ""] | int, size: int) -> Bool[Array, ""] | bool:
        """Whether the error of a record bounds what was missed, as far as its docstring says.

        If not, it is that of what was followed from the record before: another may have overtaken.

        Args:
            record: Its number in the run.
            size: The number of parameters.
        """
        return True


class Every(eqx.Module):
    """A probe measured at every `period`-th record only."""

    probe: Probe
    period: int = eqx.field(static=True)


SHELF: dict[str, Callable[[], Probe]] = {}  # makers by name; the package fills it
ProbeLike = Any  # a probe, its name, or the function that makes it


def as_probe(given: ProbeLike) -> Probe:
    """A probe, from itself, its name ("sharpness"), or the function that makes it (sharpness).

    Raises:
        InputError: If it is none of these.
    """
    if isinstance(given, Probe):
        return given
    if isinstance(given, str):
        return choose(given.replace("_", "-"), SHELF, "probe")()
    makers = {getattr(maker, "__wrapped__", maker): maker for maker in SHELF.values()}
    if inspect.isfunction(given) and getattr(given, "__wrapped__", given) in makers:
        return makers[getattr(given, "__wrapped__", given)]()
    raise InputError(
        f"a probe came as {told(given)}; give a probe, as probes.sharpness(), or its name, as "
        "'sharpness'"
    )


def every(period: int, probe: ProbeLike) -> Every:
    """Measure a costly probe, or the one of a name, at every `period`-th record only.

    The other records hold NaN with the result code NOT_MEASURED.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> rarely = tw.every(2, "sharpness")
        >>> path = tw.run(bowl, tw.gradient_descent(0.1), until=0.4, records=4, probes=rarely)
        >>> np.isfinite(path.dataset["sharpness"].values[0]).tolist()
        [True, False, True, False, True]
    """
    if period < 1:
        raise InputError(f"period came as {period}; give a whole number of at least 1")
    return Every(as_probe(probe), period)


def measure(problem: Problem, params: Params, probe: ProbeLike, key: Array | int = 0) -> Reading:
    """Measure one probe, or the one of a name ("sharpness"), once, outside any run.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> reading = tw.measure(bowl, jnp.array([3.0, 4.0]), "gradient_norm")
        >>> float(reading.value), float(reading.error)
        (5.0, 0.0)
    """
    probe = as_probe(probe)
    moment = Moment(jax.numpy.zeros((), int), as_key(key))
    reading, _ = eqx.filter_jit(answered)(
        probe, problem, params, started(probe, problem, params), moment
    )
    return reading


def started(probe: Probe, problem: Problem, params: Params) -> Any:
    """A probe's memory before the first record, its numbers as arrays.

    Raises:
        InputError: If anything else is in it.
    """
    memory = probe.start(problem, params)
    return jax.tree.map(lambda leaf: _as_numbers(leaf, probe.start, "its memory"), memory)


def answered(
    probe: Probe, problem: Problem, params: Params, memory: Any, moment: Moment
) -> tuple[Reading, Any]:
    """What a probe measures, held against what a probe gives; a lone NaN is never `OK`.

    Raises:
        InputError: If it is no reading with a memory of the kind that came, or of other shapes than
            the probe's dims say; the sentence names the function and its line.
    """
    given = probe.measure(problem, params, memory, moment)
    whose = told_function(probe.measure)
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], Reading)):
        raise InputError(
            f"{whose} gave {told(given)}; let it return a Reading and the memory for the next "
            "record, as exact(value), memory"
        )
    parts = zip(Reading._fields, given[0], strict=True)
    value, error, result = (_as_numbers(a, probe.measure, f"the {n}") for n, a in parts)
    require(
        value.ndim == len(probe.dims),
        f"{whose} gave a value of shape {value.shape}, and its dims are {probe.dims!r}; name one "
        "dimension for each axis",
    )
    require(
        error.shape == value.shape,
        f"{whose} gave an error of shape {error.shape} beside a value of shape {value.shape}; give "
        "one error for each number",
    )
    require(
        result.shape == () and jax.numpy.issubdtype(result.dtype, np.integer),
        f"{whose} gave as result {told(result)}; give one code, as Result.OK",
    )
    after = jax.tree.map(lambda leaf: _as_numbers(leaf, probe.measure, "its memory"), given[1])
    old, new = (jax.tree.map(np.shape, m) for m in (memory, after))
    require(
        old == new,
        f"{whose} gave a memory of another structure or shape than came; let it be as start makes "
        "it at every record",
    )
    if value.ndim == 0 and jax.numpy.issubdtype(value.dtype, np.floating):
        result = jax.numpy.where(jax.numpy.isnan(value) & (result == 0), NONFINITE, result)
    return given[0]._replace(value=value, error=error, result=result), after


def _as_numbers(given: Any, function: Callable[..., Any], what: str) -> Array:
    """What a user's function gave, where it is an array of real numbers, or a random key."""
    kinds = (np.floating, np.integer, np.bool_, jax.dtypes.prng_key)
    with contextlib.suppress(TypeError, ValueError):  # of text and objects
        array = jax.numpy.asarray(given)
        if any(jax.numpy.issubdtype(array.dtype, kind) for kind in kinds):
            return array
    raise InputError(
        f"{told_function(function)} gave as {what} {told(given)}; give an array of real numbers"
    )


def as_key(given: Array | int) -> Array:
    """A random key as it is, or that of a whole number, Python's or NumPy's."""
    return jax.random.key(int(given)) if isinstance(given, int | np.integer) else given


def bent_objective(problem: Problem, params: Params, what: str) -> Callable[[Params], Array]:
    """The objective, for a probe of its second derivatives.

    Raises:
        InputError: If its derivatives are surrogates, and so of no loss the derivatives.
    """
    require(
        not takes_surrogates(problem.objective, params),
        f"{what} is of the Hessian of the loss, and the gradient of this net is a surrogate of "
        "spikes, which have no slope; its formal second derivatives are at tw.curvature.hessian",
    )
    return problem.objective


def with_data(problem: Problem, what: str) -> Supervised:
    """The problem as one with examples.

    Raises:
        InputError: If it is a bare function.
    """
    require(
        isinstance(problem, Supervised),
        f"{what} needs a problem with data; this one is a {type(problem).__name__.lower()}",
    )
    assert isinstance(problem, Supervised)
    return problem
