"""Updates of a transformation over what a schedule says of their step, and where to look."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from thalweg.core.tree import Params
from thalweg.dynamics.linear_response import (
    LATE,
    SOURCE,
    largest_curvature,
    response,
    short_recursion,
    transformation_rule,
)
from thalweg.dynamics.optax_update import ANY_RATE, optax_converts
from thalweg.dynamics.schedules import in_counts
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.dynamics.threshold_formulas import by_step, formula_of

ROUNDING = 1e-9  # relative to an update
CHECKED = 12  # steps from the start; three more late
NARROW = 0.01  # of a threshold, by which a decay of weights may move it and it is still one number


class StepCounts(NamedTuple):
    """Counts of steps taken at which updates are held against formulas.

    Attributes:
        first: From here on the first `CHECKED`.
        late: From here on three more, so many steps later.
        rounding: To which they must agree, relative to an update.
    """

    first: int
    late: int
    rounding: float


ALL = StepCounts(0, LATE, ROUNDING)


@functools.lru_cache(maxsize=64)
def counts_of(schedule: Callable[[Any], Any]) -> StepCounts | None:
    """Where a schedule goes on long enough to look at steps, early and late; None for nowhere.

    A warm-up may begin with steps of size 0, and a decay end with them. Of counts in 32 bits, as
    Optax keeps them, some schedules make numbers of 32 bits.
    """
    most = LATE + CHECKED + 3
    with jax.ensure_compile_time_eval(), optax_converts():
        sizes = jax.vmap(schedule)(jnp.arange(most))
        kind = jnp.asarray(schedule(jnp.zeros((), jnp.int32))).dtype
    sizes = np.broadcast_to(np.asarray(sizes, float), most)
    goes = sizes > ROUNDING * sizes.max()
    first = int(np.argmax(goes))
    late = LATE
    while late > first and not goes[late : late + CHECKED + 3].all():
        late = (late + first) // 2
    if late == first or not goes[first : first + CHECKED].all():
        return None
    coarse = float(jnp.finfo(kind).eps) if jnp.issubdtype(kind, jnp.floating) else 0.0
    return StepCounts(first, late, max(ROUNDING, 8 * coarse))


def late_of(step_size: Any) -> int:
    """Steps after which corrections for the start have died out, and a schedule still goes on."""
    counts = counts_of(in_counts(step_size, ANY_RATE)) if callable(step_size) else None
    return LATE if counts is None else counts.late


class Scheduled(NamedTuple):
    """The state of `by_schedule`: that of the transformation, and steps taken."""

    inner: Any
    taken: jax.Array


@functools.lru_cache(maxsize=64)
def by_schedule(
    transform: optax.GradientTransformationExtraArgs,
    schedule: Callable[[Any], Any],
    power: float = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """A transformation whose updates are those of another over a power of a schedule."""

    def init(params: Params) -> Scheduled:
        return Scheduled(transform.init(params), jnp.zeros((), jnp.int32))

    def update(updates: Params, state: Scheduled, params: Any = None, **extra: Any) -> Any:
        moved, inner = transform.update(updates, state.inner, params, **extra)
        size = jnp.asarray(schedule(state.taken)) ** power
        over = jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0)
        moved = jax.tree.map(lambda u: (over * u).astype(u.dtype), moved)
        return moved, Scheduled(inner, state.taken + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def scheduled_rule(
    transform: optax.GradientTransformationExtraArgs,
    params: Params,
    schedule: Callable[[Any], Any],
) -> StabilityRule:
    """The stability rule of a transformation whose steps follow a schedule.

    That of `transformation_rule`, for an eigenvalue in which the step size of each step is counted.
    Where weights decay beside the gradient by eta(k) omega in a step, as AdamW's, the root that
    leaves the unit circle does so at a threshold that falls with eta(k) omega; told is the one at
    the largest step, below which every step is stable, if that is near the one without decay.

    Args:
        transform: The transformation.
        params: Parameters; only structure, shapes and types count.
        schedule: Of counts, the training time of each step.
    """
    late = late_of(schedule)
    rule = transformation_rule(transform, params, None, late)
    if rule.known or counts_of(schedule) is None:
        return rule
    found = response(by_schedule(transform, schedule), params, late)
    if isinstance(found, str) or not (found.steady and found.decay):
        return rule
    recursion = short_recursion(found.shape)
    if recursion is None:
        return rule
    with jax.ensure_compile_time_eval(), optax_converts():
        most = float(np.max(np.asarray(jax.vmap(schedule)(jnp.arange(LATE)), float)))
    without, least = (largest_curvature(*recursion, decay) for decay in (0.0, found.decay * most))
    if without is None or least is None:
        return no_rule("its update is unstable at every curvature, or at none")
    total = float(np.sum(recursion[0]) / np.sum(recursion[1]))
    if least < (1 - NARROW) * without:
        return no_rule(
            f"its weights decay by up to {found.decay * most:.3g} in a step, as the schedule has "
            f"it, so that its threshold lies between {least * total:.4g} and "
            f"{without * total:.4g}"
        )
    formula = by_step(formula_of(found.shape, None, 1 / total, 0.0))
    return StabilityRule(
        "preconditioned_sharpness",
        least * total,
        formula,
        "frozen",
        "its preconditioner is taken as it stands at each record, and the decay of its weights as "
        "at the largest step",
        source=SOURCE,
    )
