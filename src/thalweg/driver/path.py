"""One path of a dynamics as a pure function: from a start, recorded on the way, result codes kept.

`tw.run` stores, resumes and shows a bar; a path is what a study, a sweep or a test maps over many
problems, hyper-parameters and starts inside one compiled program.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.errors import require, unknown
from thalweg.core.result import Result
from thalweg.core.tree import Params, flatten
from thalweg.driver.steps import steps_on
from thalweg.dynamics.dynamics import Continuous, Discrete, Dynamics, State
from thalweg.problems.problem import Problem

Observer = Callable[[Problem, State], Any]
LANES = ("dynamics", "problem", "params", "every", "key")


class Path(NamedTuple):
    """A path at its records, the start among them.

    Attributes:
        seen: What was observed; its leaves have the records as first axis.
        time: Training time (unit: step size).
        step: Steps taken.
        evaluations: Gradients spent.
        result: Result codes: NONFINITE from the first record on at which it has diverged.
        last: The state at the last record, from which a further path can go on.
    """

    seen: Any
    time: Float[Array, " records"]
    step: Int[Array, " records"]
    evaluations: Int[Array, " records"]
    result: Int[Array, " records"]
    last: State


def parameters(problem: Problem, state: State) -> Params:
    """What is observed where nothing else is asked for."""
    return state.params


def flat_parameters(problem: Problem, state: State) -> Float[Array, " p"]:
    """The parameters as one vector, for `observe=`."""
    return flatten(state.params)


def path(
    dynamics: Dynamics,
    problem: Problem,
    params: Params,
    every: Any,
    records: int | None = None,
    observe: Observer = parameters,
    key: Array | None = None,
) -> Path:
    """Follow a dynamics from a start: theta_0, then a record after every so many steps.

    Pure: `jit` and `vmap` it over problems, hyper-parameters, starts and keys; `paths` does both.

    Args:
        dynamics: What moves the parameters.
        problem: What is descended.
        params: The start.
        every: Between records, steps of a discrete dynamics or training time of a continuous one;
            one number, or one for each record, shape (records,). A traced number compiles once.
        records: How many records after the start; needed if `every` is one number.
        observe: What to keep of a state, from the problem and the state: any pytree.
        key: For dynamics that draw; step k is given a key of its own, folded from k.

    Returns:
        The path, records + 1 long. One that diverges goes on in numbers that are not finite, and
        says so by its result codes.

    Raises:
        InputError: If the number of records is not known.

    Cost: one step's gradients a step, and what `observe` costs at each record.

    Examples:
        >>> import jax.numpy as jnp, thalweg as tw
        >>> from thalweg.driver.path import path
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> found = path(tw.gradient_descent(0.5), bowl, jnp.ones(1), every=1, records=3)
        >>> found.seen[:, 0].tolist()
        [1.0, 0.5, 0.25, 0.125]
    """
    gaps = jnp.asarray(every)
    require(
        gaps.ndim == 1 or (gaps.ndim == 0 and records is not None),
        f"every came with {gaps.ndim} axes; give one number and records=, or one number a record",
    )
    gaps = jnp.broadcast_to(gaps, (len(gaps) if records is None else records,))
    key = jax.random.key(0) if key is None else key

    def told(state: State) -> tuple[Any, ...]:
        kept = (state.time, state.step, state.evaluations, state.result)
        return (observe(problem, state), *kept)

    def record(state: State, gap: Array) -> tuple[State, Any]:
        state = _go_on(dynamics, problem, state, gap, key)
        return state, told(state)

    first = dynamics.init(problem, params)
    last, later = jax.lax.scan(record, first, gaps)
    seen, *kept = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), told(first), later)
    return Path(seen, kept[0], kept[1], kept[2], kept[3], last)


def _go_on(dynamics: Dynamics, problem: Problem, state: State, gap: Array, key: Array) -> State:
    if isinstance(dynamics, Discrete):
        return steps_on(problem, dynamics, state, key, state.step, gap)
    assert isinstance(dynamics, Continuous)
    most = jnp.asarray(jnp.iinfo(jnp.int64).max // 2)
    return dynamics.advance(problem, state, state.time + gap, most)


def paths(
    dynamics: Dynamics,
    problem: Problem,
    params: Params,
    every: Any,
    records: int | None = None,
    observe: Observer = parameters,
    key: Array | None = None,
    *,
    over: Collection[str],
) -> Path:
    """`path`, compiled, for many at once: the arguments named in `over` have a leading axis.

    Args:
        dynamics: As for `path`; over many, every array in it has the axis.
        problem: As for `path`; over many, every array in it has the axis.
        params: As for `path`.
        every: As for `path`.
        records: As for `path`.
        observe: As for `path`. Pass the same function again to reuse what was compiled.
        key: As for `path`.
        over: Which of "dynamics", "problem", "params", "every", "key"; none for one path.

    Returns:
        The paths; each leaf has the lanes as first axis.

    Raises:
        InputError: If `over` names something else.

    Examples:
        >>> import jax, jax.numpy as jnp, thalweg as tw
        >>> from thalweg.driver.path import paths
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> descents = jax.vmap(tw.gradient_descent)(jnp.asarray([0.5, 1.0]))
        >>> found = paths(descents, bowl, jnp.ones(1), 1, 2, over=["dynamics"])
        >>> found.seen[:, :, 0].tolist()
        [[1.0, 0.5, 0.25], [1.0, 0.0, 0.0]]
    """
    for name in over:
        require(name in LANES, unknown(name, LANES, "argument to map over"))
    numbers = jax.tree.map(jnp.asarray, every)
    return _paths(
        dynamics, problem, params, numbers, key, records, observe, tuple(n in over for n in LANES)
    )


def iterates(
    dynamics: Dynamics,
    problem: Problem,
    steps: int,
    start: Params | None = None,
    observe: Observer = parameters,
) -> Any:
    """What is seen of one run at its start and after every step, as arrays of NumPy.

    Args:
        dynamics: As for `path`; of a continuous one a step is a unit of training time.
        problem: As for `path`.
        steps: How many.
        start: The problem's own start by default, as of a seed of 0.
        observe: As for `path`; the parameters by default.

    Returns:
        A tree like what is observed, its leaves (steps + 1, ...).

    Cost: one step's gradients a step.

    Examples:
        >>> import thalweg as tw
        >>> from thalweg.driver.path import iterates
        >>> bowl = tw.problems.Quadratic([1.0], slope=[0.0], start=[1.0])
        >>> iterates(tw.gradient_descent(0.5), bowl, 3)[:, 0].tolist()
        [1.0, 0.5, 0.25, 0.125]
    """
    begin = problem.init(jax.random.key(0)) if start is None else start
    return jax.tree.map(
        np.asarray, paths(dynamics, problem, begin, 1, steps, observe, over=()).seen
    )


@eqx.filter_jit
def _paths(
    dynamics: Dynamics,
    problem: Problem,
    params: Params,
    every: Array,
    key: Array | None,
    records: int | None,
    observe: Observer,
    mapped: tuple[bool, ...],
) -> Path:
    def one(
        dynamics: Dynamics, problem: Problem, params: Params, every: Array, key: Array | None
    ) -> Path:
        return path(dynamics, problem, params, every, records, observe, key)

    if not any(mapped):
        return one(dynamics, problem, params, every, key)
    axes = tuple(eqx.if_array(0) if m else None for m in mapped)
    return eqx.filter_vmap(one, in_axes=axes)(dynamics, problem, params, every, key)


def path_until(
    dynamics: Discrete,
    problem: Problem,
    params: Params,
    reached: Callable[[Problem, State], Array],
    most_steps: Any,
    key: Array | None = None,
) -> State:
    """Steps from a start until a state satisfies a condition, at most so many. Pure, as `path`.

    Args:
        dynamics: What moves the parameters.
        problem: What is descended.
        params: The start; if it satisfies the condition, no step is taken.
        reached: Whether to stop, from the problem and the state.
        most_steps: Where to give up.
        key: For dynamics that draw.

    Returns:
        The first state that satisfies it, else the last one; one that is not finite ends it too.

    Cost: one step's gradients a step, and what `reached` costs.
    """
    key = jax.random.key(0) if key is None else key

    def going(state: State) -> Array:
        able = (state.step < most_steps) & (state.result < int(Result.NONFINITE))
        return able & ~reached(problem, state)

    def advance(state: State) -> State:
        return dynamics.step(problem, state, jax.random.fold_in(key, state.step))[0]

    return jax.lax.while_loop(going, advance, dynamics.init(problem, params))
