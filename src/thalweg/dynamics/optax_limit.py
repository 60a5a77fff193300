"""The continuous limit of an Optax transformation, found by how its state and updates behave.

A transformation that answers gradients alike in all coordinates, linearly and without noise,
follows gradient flow where its clock counts what a lasting gradient moves it by. One that
preconditions is held against the updates of `thalweg.dynamics.adaptive_update`, as Adam's,

    x <- x - eta m^/(sqrt(v^ + epsilon_root) + epsilon) - eta omega x,

those of NAdam, AMSGrad, RMSProp with momentum behind it, or centred, and AdaGrad. Its averages are
the leaves of its state that fade by a constant factor where there is no gradient, and take in g or
g^2, a sum one that does not fade; learning rate and epsilons follow from answers to huge and tiny
gradients. What was found is believed only if the update with these numbers is the transformation's
own, to rounding, over gradients of many sizes, early and late. Nothing is read off names.

Where the training time of steps follows a schedule, updates are held against it over what it says
of their step: what is left is a transformation of learning rate 1, or has no limit.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from thalweg.core.tree import Params
from thalweg.dynamics.adaptive_update import Accumulated, Averaged, Numbers
from thalweg.dynamics.by_schedule import ALL, CHECKED, StepCounts, by_schedule, counts_of
from thalweg.dynamics.flow.accumulated import AdaGradFlow
from thalweg.dynamics.flow.averages import Begin
from thalweg.dynamics.flow.central import CentralFlow, central_flow
from thalweg.dynamics.flow.followed import Flow
from thalweg.dynamics.flow.gradient_flow import GradientFlow, gradient_flow
from thalweg.dynamics.flow.pace import Pace
from thalweg.dynamics.flow.preconditioned import PreconditionedFlow
from thalweg.dynamics.linear_response import (
    OWN_WAY,
    Response,
    at_late,
    refused_by,
    response,
    short_recursion,
)
from thalweg.dynamics.optax_update import manner_of, optax_converts, parts_of
from thalweg.dynamics.optimiser_state import flat_parts, steps_counted
from thalweg.dynamics.rewiring.hidden_strengths import RewiringState
from thalweg.dynamics.rewiring.magnitude import MagnitudeState
from thalweg.dynamics.stability import StabilityRule

CLOCK = 1e-6  # relative to the learning rate
HUGE, TINY = 1e100, 1e-150  # gradients beside which epsilon is nothing, and which are nothing to it

Update = Callable[[np.ndarray, Any, np.ndarray], tuple[np.ndarray, Any]]


def optax_limit(
    transform: optax.GradientTransformationExtraArgs,
    params: Params,
    step_size: float | Callable[[Any], Any],
    error: float,
) -> Flow | str:
    """The flow that a transformation follows as its steps go to 0, or why none is known.

    Args:
        transform: The transformation.
        params: Parameters; only structure and shapes count.
        step_size: Training time of a step, or a schedule of it.
        error: Wanted error of the path of the flow.
    """
    if parts_of(manner_of(transform, params).state, RewiringState | MagnitudeState):
        return "it sets weights to 0 and holds them there, which no flow of the loss does"
    if not callable(step_size):
        return _found(transform, params, step_size, error, ALL)
    counts = counts_of(step_size)
    if counts is None:
        return f"its schedule begins later than a run, or ends within {2 * CHECKED} steps"
    flow = _found(by_schedule(transform, step_size), params, None, error, counts)
    if isinstance(flow, PreconditionedFlow):
        return dataclasses.replace(flow, pace=Pace(step_size))
    if isinstance(flow, GradientFlow):
        return flow
    # The clock of AdaGrad counts the square of its learning rate, or that itself.
    for power in (1.0, 0.5):
        summed = _found(by_schedule(transform, step_size, power), params, None, error, counts)
        if isinstance(summed, AdaGradFlow):
            return dataclasses.replace(summed, pace=Pace(step_size), power=jnp.asarray(power))
    return flow


def _found(
    transform: optax.GradientTransformationExtraArgs,
    params: Params,
    step_size: float | None,
    error: float,
    counts: StepCounts,
) -> Flow | str:
    """The flow of steps that are alike; None for those over their schedule."""
    scheduled, step_size = step_size is None, step_size or 1.0
    found = response(transform, params, counts.late)
    if isinstance(found, str):
        return found
    if not found.steady:
        return OWN_WAY
    if not found.quiet:
        return "its update adds noise of its own"
    alike, because = _on_the_clock(found, step_size)
    if found.penalty or (found.decay and alike):
        return "the decay of its weights is no part of the objective that a flow descends"
    if alike:
        return because or gradient_flow(error=error)
    leaves, structure = jax.tree.flatten(params)
    shapes = tuple(tuple(min(n, 2) for n in np.shape(leaf)) for leaf in leaves)
    numbers = _numbers(transform, structure, shapes, found.decay, _kept(found), counts)
    if isinstance(numbers, str):
        return f"{numbers}{_KEPT}" if scheduled and numbers == _OTHER else numbers
    if isinstance(numbers, Accumulated):
        if numbers.initial == 0:
            return "its sum of squares begins at 0, from where a flow would start at infinite speed"
        return numbers.flow(step_size, error)
    reach = numbers.reach
    if abs(reach - step_size) > CLOCK * step_size:
        by = f"its learning rate is {reach:.4g}"
        if numbers.momentum:
            by = f"a lasting update moves it by {reach:.4g} times itself"
        if scheduled:
            return f"its learning rate is {reach:.4g} times what its clock counts at each step"
        return f"its clock counts {step_size:.4g} a step, {by}; give step_size={reach:.4g}"
    return numbers.flow(step_size, error)


def _kept(found: Response) -> float:
    """The share of the last update that a momentum would keep, by the impulse response."""
    return _short(found.shape[2] / found.shape[1]) if found.shape[1] else 0.0


def optax_central(step_size: float, rule: StabilityRule, flow: Flow | None) -> CentralFlow | None:
    """The central flow of a transformation with this rule and limit, if one is known.

    Those of gradient descent and of RMSProp without momentum, decay or a correction of its start.
    """
    if isinstance(flow, GradientFlow) and (rule.kind, rule.formula) == ("exact", "2/eta"):
        return central_flow(step_size)
    if not isinstance(flow, PreconditionedFlow) or flow.first is not None or flow.corrected:
        return None
    begun = flow.initial if flow.begin is None else flow.begin.second
    if flow.largest or not np.all(begun) or flow.epsilon_root or flow.decay:
        return None
    central = central_flow(
        step_size,
        average="each",
        decay=math.exp(-float(flow.second) * step_size),
        epsilon=float(flow.epsilon),
        initial=float(flow.initial),
    )
    return central if flow.begin is None else dataclasses.replace(central, initial=begun)


def begun_from(flow: Flow, state: Any, params: Params, step_size: float) -> Flow:
    """The flow of a transformation that begins with a state: its averages begin there, too.

    What a momentum keeps, behind a preconditioner or without one, reaches over a number of steps
    and adds to the O(eta) alone.

    Args:
        flow: Of the transformation, as it begins with nothing.
        state: Its state.
        params: Parameters; only their structure counts.
        step_size: Training time of a step.
    """
    parts = flat_parts(state, params)
    if isinstance(flow, AdaGradFlow) and "sum_of_squares" in parts:
        return dataclasses.replace(flow, initial=parts["sum_of_squares"])
    if not isinstance(flow, PreconditionedFlow) or "nu" not in parts:
        return flow
    count = steps_counted(state)
    if flow.corrected and not count:  # no step: an average of nothing
        return flow
    begin = Begin(parts["nu"], parts.get("mu"), parts.get("nu_max"), (count or 0) * step_size)
    return dataclasses.replace(flow, begin=begin)


def _on_the_clock(found: Response, step_size: float) -> tuple[bool, str]:
    """Whether all coordinates are answered alike, but for the clock; why it is no gradient flow."""
    recursion = short_recursion(found.shape)
    if recursion is None:
        return False, ""
    going = found.gain[found.gain.any(axis=1)]  # a schedule may have ended
    reach = going / step_size * float(np.sum(recursion[0]) / np.sum(recursion[1]))
    if np.ptp(reach) > CLOCK * reach.max():
        return False, ""
    if not found.linear:
        return True, "its update is proportional to small gradients only, as where it clips"
    if abs(reach.max() - 1) <= CLOCK:
        return True, ""
    return True, (
        f"a lasting gradient moves it {reach.max():.4g} times as far as its clock counts; give a "
        "step_size that is as much larger"
    )


@functools.lru_cache(maxsize=64)
def _numbers(
    transform: optax.GradientTransformation,
    structure: Any,
    shapes: tuple[tuple[int, ...], ...],
    decay: float,
    momentum: float,
    counts: StepCounts,
) -> Numbers | str:
    flat, unravel = ravel_pytree(jax.tree.unflatten(structure, [np.ones(s) for s in shapes]))
    try:
        with jax.ensure_compile_time_eval(), optax_converts():
            begin = transform.init(unravel(flat))
            begin = at_late(begin, counts.first) if counts.first else begin

            @jax.jit
            def move(g: Any, state: Any, x: Any) -> Any:
                moved, after = transform.update(unravel(g), state, unravel(x))
                return ravel_pytree(moved)[0], after

            def update(g: np.ndarray, state: Any, x: np.ndarray) -> tuple[np.ndarray, Any]:
                moved, after = move(g, state, x)
                return np.asarray(moved), after

            with np.errstate(all="ignore"):  # no number is none of the forms that are asked for
                return _identified(update, begin, flat.size, decay, momentum, counts)
    except Exception as error:  # a stranger's code may raise anything
        return refused_by(error)


def _identified(
    update: Update, begin: Any, p: int, decay: float, momentum: float, counts: StepCounts
) -> Numbers | str:
    """The numbers of an adaptive update that a transformation takes, or that it is none.

    Of all kinds that its first answers allow, the one whose updates are its own.
    """
    ones, none = np.ones(p), np.zeros(p)
    moved = update(HUGE * ones, begin, none)
    seen = [float(np.abs(u).max()) for u in (moved[0], update(HUGE * ones, moved[1], none)[0])]
    total = _total(update, begin, ones)
    if total is not None:
        summed = _accumulated(update, begin, p, seen[0], total, decay)
        return summed if _verified(update, begin, p, summed, counts) else _OTHER
    averages = _averages(update, begin, ones)
    if isinstance(averages, str):
        return averages
    b1, b2, initial, second = averages
    kept = 0.0 if b1 else momentum
    centred = [
        Averaged(1.0, b1, b2, 0.0, 0.0, decay, initial, False, ahead, False, momentum, True)
        for ahead in ((False, True) if momentum else (False,))
    ]
    kinds = [
        Averaged(1.0, b1, b2, 0.0, 0.0, decay, initial, corrected, ahead, largest, kept)
        for corrected in (True, False)
        for largest in ((False, True) if corrected else (False,))
        for ahead in ((False, True) if b1 or kept else (False,))
    ]
    for kind in [*kinds, *(centred if b1 == b2 else [])]:
        blank = kind.begin(p)._replace(second=none)
        first, memory = kind.update(ones, blank, counts.first)
        then, _ = kind.update(ones, memory, counts.first + 1)
        unit = float(np.abs(first[0]))
        rate = _short(seen[0] / unit)
        if abs(seen[1] - rate * float(np.abs(then[0]))) > counts.rounding * seen[0]:
            continue
        share = (1 - b2) * (b2 if kind.centred else 1.0)
        share /= 1 - b2 ** (counts.first + 1) if kind.corrected else 1.0
        numerator = rate * unit * np.sqrt(share)

        def divisor(g: float, numerator: float = numerator) -> float:
            """D after a gradient where both averages were 0."""
            return numerator * g / float(np.abs(update(g * ones, second(begin), none)[0]).max())

        least = divisor(TINY)
        epsilon = root = 0.0
        if least > np.sqrt(TINY):
            epsilon, root = _parted(least, divisor(least / np.sqrt(share)) - least, least)
        numbers = kind._replace(rate=rate, epsilon=epsilon, epsilon_root=root)
        if _verified(update, begin, p, numbers, counts):
            return numbers
    return _OTHER


def _parted(least: float, rise: float, added: float) -> tuple[float, float]:
    """Epsilon and r of D = sqrt(r + g^2) + epsilon, from D(0) and its rise to g = added."""
    root = max((added**2 - rise**2) / (2 * rise), 0.0) if rise > 0 else 0.0
    root, rest = (x if x > 1e-7 * least else 0.0 for x in (root, least - root))
    return _short(rest), _short(root**2)


def _total(update: Update, begin: Any, ones: np.ndarray) -> float | None:
    """Where a sum of squared gradients begins, if the state holds one and no average."""
    plain, twice = (update(scale * ones, begin, 0 * ones)[1] for scale in (1.0, 2.0))
    rested = update(0 * ones, plain, 0 * ones)[1]
    starts = set()
    for start, once, double, after in zip(
        *map(_floats, (begin, plain, twice, rested)), strict=True
    ):
        if np.allclose(once - start, 1, rtol=1e-12) and np.allclose(double - start, 4, rtol=1e-12):
            if not np.array_equal(after, once):
                return None
            starts |= {float(x) for x in np.unique(start)}
        elif not np.array_equal(start, once) and not np.array_equal(once, 0 * once):
            return None
    return starts.pop() if len(starts) == 1 else None


def _accumulated(
    update: Update, begin: Any, p: int, rate: float, initial: float, decay: float
) -> Accumulated:
    """The numbers of AdaGrad's update, whose sum begins at `initial`."""
    ones, none = np.ones(p), np.zeros(p)

    def divisor(g: float) -> float:
        return rate * g / float(np.abs(update(g * ones, begin, none)[0]).max())

    least = divisor(TINY)
    epsilon, inside = _parted(least, divisor(least) - least, least)
    root = inside - initial
    root = _short(root) if root > 1e-12 * initial else 0.0
    return Accumulated(_short(rate), epsilon, root, initial, decay)


def _short(number: float) -> float:
    """A number without the rounding of how it was found."""
    return float(f"{number:.12g}")


_OTHER = "its preconditioner is none of those of Adam, RMSProp and AdaGrad, whose flow is known"
_KEPT = (
    " where steps follow a schedule: a momentum behind the preconditioner, for one, keeps steps of "
    "the sizes that the schedule had before"
)


def _averages(
    update: Update, begin: Any, ones: np.ndarray
) -> tuple[float, float, float, Callable[[Any], Any]] | str:
    """b1, b2, where v begins, and a function that sets all averages of a state to 0."""
    none = 0 * ones

    plain, twice = (update(scale * ones, begin, none)[1] for scale in (1.0, 2.0))
    faded = update(none, plain, none)[1]
    found: dict[int, set[float]] = {1: set(), 2: set()}
    starts: set[float] = set()
    which = []
    for start, once, double, after in zip(*map(_floats, (begin, plain, twice, faded)), strict=True):
        factor = _constant(after, once)
        power = 0
        if factor is not None and 0 <= factor < 1:
            taken = [(a - factor * start) / (1 - factor) for a in (once, double)]
            if np.allclose(taken[0], 1, rtol=1e-12):
                power = next((n for n in (1, 2) if np.allclose(taken[1], 2**n, rtol=1e-12)), 0)
        which.append(power > 0)
        if power:
            found[power].add(_short(factor or 0.0))
            starts |= {float(x) for x in np.unique(start)} if power == 2 else set()
    if len(found[2]) != 1 or len(found[1]) > 1 or len(starts) != 1:
        return _OTHER

    def emptied(state: Any) -> Any:
        leaves, structure = jax.tree.flatten(state)
        flags = iter(which)
        empty = [
            jnp.zeros_like(a) if (np.ndim(a) or _real(a)) and next(flags) else a for a in leaves
        ]
        return jax.tree.unflatten(structure, empty)

    return next(iter(found[1]), 0.0), found[2].pop(), starts.pop(), emptied


def _floats(state: Any) -> list[np.ndarray]:
    return [np.asarray(a, float) for a in jax.tree.leaves(state) if np.ndim(a) or _real(a)]


def _real(leaf: Any) -> bool:
    return bool(jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating))


def _constant(after: np.ndarray, before: np.ndarray) -> float | None:
    """The factor between two arrays, if there is one."""
    if not before.size or not np.all(before):
        return None
    factors = after / before
    return float(factors.flat[0]) if np.ptp(factors) <= 1e-14 else None


def _verified(update: Update, begin: Any, p: int, numbers: Numbers, counts: StepCounts) -> bool:
    """Whether the formula gives the transformation's own updates, to rounding."""
    rng = np.random.default_rng(0)
    scale = max(numbers.epsilon, np.sqrt(numbers.epsilon_root), 1e-12)
    state, memory = begin, numbers.begin(p)
    for k in range(CHECKED + 3):
        count = k + (counts.first if k < CHECKED else counts.late)
        if k == CHECKED:
            state = at_late(state, count)
        sizes = scale * 10.0 ** rng.uniform(-1, 8, p) if k % 2 else 10.0 ** rng.uniform(-2, 1, p)
        g, x = sizes * rng.choice([-1.0, 1.0], p), rng.normal(size=p)
        moved, state = update(g, state, x)
        told, memory = numbers.update(g, memory, count)
        told = told - numbers.decay * x
        if not np.all(
            np.abs(moved - told) <= counts.rounding * (np.abs(told) + numbers.decay * np.abs(x))
        ):
            return False
    return True
