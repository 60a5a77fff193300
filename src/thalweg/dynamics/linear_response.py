"""The stability rule of an Optax transformation, from how it answers a small gradient.

Near a minimum a transformation answers a gradient g_k by updates -sum_j h_j g_{k-j}, coordinate by
coordinate: h is its impulse response. On curvature lambda the error then obeys

    (z - 1 + omega) + lambda H(z) = 0,    H(z) = sum_j h_j z^{-j},

omega the decay of the weights in a step, and is stable while all roots lie within the unit circle.
The response is read off the derivative of the update at a state that is held fixed, so that second
moments act as the preconditioner that they are; nothing is read off names.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.errors import InputError
from thalweg.core.tree import Params
from thalweg.dynamics.optax_update import optax_converts
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.dynamics.threshold_formulas import ROUNDING, by_step, formula_of

TERMS = 12  # of the impulse response
NEIGHBOURS = 4  # neighbouring steps at which it is asked, early and late
LATE = 10_000  # steps after which corrections for the start have died out
VARIES = (
    "it answers gradients in a way that differs between parameters, or from step to step, by more "
    "than a preconditioner"
)
OWN_WAY = "its update depends on the parameters in a way of its own"
ALONE = "its update cannot be examined alone"
FORGETS_NOT = "its memory of past gradients follows no short linear recursion"
SOURCE = "linear stability of the update; Cohen et al. (2022), section 3, for adaptive methods"


class Response(NamedTuple):
    """How a transformation answers small gradients.

    Attributes:
        gain: h_0 of each coordinate at several states, early and late, (state, p).
        shape: h_k/h_0, the same in every coordinate, (TERMS,).
        decay: omega, the decay of weights beside the gradient (decoupled); where it changes from
            step to step, as with a schedule, at the first one looked at.
        steady: Whether that is the same at every step.
        penalty: The same inside the gradient: g + penalty x.
        linear: Whether the update is proportional to gradients of every size.
        quiet: Whether nothing is added that is not from gradients or weights, as noise.
        momentum: For each leaf of the state, whether it carries past gradients to the update.
    """

    gain: Float[np.ndarray, "s p"]
    shape: Float[np.ndarray, " k"]
    decay: float
    steady: bool
    penalty: float
    linear: bool
    quiet: bool
    momentum: tuple[bool, ...]


def transformation_rule(
    transform: optax.GradientTransformation,
    params: Params,
    step_size: float | None,
    late: int = LATE,
) -> StabilityRule:
    """The stability rule of a transformation on parameters of this structure.

    Where all coordinates are answered alike at every time, the rule is a threshold for the
    sharpness; where they are not, for the sharpness that `step_gains` preconditions.

    Args:
        transform: The transformation.
        params: Parameters; only structure, shapes and types count.
        step_size: Training time per step, or None if that follows a schedule.
        late: As of `response`.
    """
    found = response(transform, params, late)
    if isinstance(found, str):
        return no_rule(found)
    recursion = short_recursion(found.shape)
    if recursion is None:
        return no_rule(FORGETS_NOT)
    if not found.steady:
        return no_rule(OWN_WAY)
    limit = largest_curvature(*recursion, found.decay)
    if limit is None:
        return no_rule("its update is unstable at every curvature, or at none")
    total = float(np.sum(recursion[0]) / np.sum(recursion[1]))
    first = float(found.gain.max())
    alike = bool(np.ptp(found.gain) <= 1e-6 * first)
    eta = step_size or 1.0
    if not alike and found.penalty:
        return no_rule("weight decay passes through its preconditioner")
    if not alike:
        formula = formula_of(found.shape, None, 1 / total, found.decay)
        rule = StabilityRule(
            "preconditioned_sharpness",
            limit * total / eta,
            by_step(formula) if step_size is None else formula,
            "frozen",
            "its preconditioner is taken as it stands at each record",
            source=SOURCE,
        )
    else:
        rule = StabilityRule(
            "sharpness",
            limit / first - found.penalty,
            formula_of(found.shape, first / eta, 1 / total, found.decay + found.penalty),
            "exact",
            reach=first * total / eta,
            source=SOURCE,
        )
    if not found.quiet:
        return rule._replace(kind="indicative", because="the update adds noise of its own")
    if alike and not found.linear:
        return rule._replace(
            kind="indicative",
            because="the update is proportional to small gradients only, as where it clips",
        )
    return rule


def step_gains(
    transform: optax.GradientTransformation,
    params: Params,
    memory: Any,
    gradient: Params,
    step_size: float | Array | None,
    known: optax.GradientTransformation | None = None,
    late: int = LATE,
) -> Params:
    """1/D of the next step: what a lasting gradient is multiplied by, per unit of training time.

    D is sqrt(v) + epsilon for Adam and RMSProp in all of their conventions (corrections for the
    start included), times 1 - beta for heavy-ball momentum. The answer to the gradient at hand is
    taken without the memory of earlier ones; where that gradient is 0, in the limit.

    Args:
        transform: The transformation.
        params: Where it is.
        memory: Its state.
        gradient: The gradient there.
        step_size: Training time per step, or None if that follows a schedule.
        known: The same of another learning rate, whose answers are examined instead: their shape
            in time does not hang on it.
        late: As of `response`.

    Returns:
        A tree like the parameters (unit: parameter^2/loss).

    Raises:
        InputError: If the transformation has no linear response of this kind.
    """
    found = response(transform if known is None else known, params, late)
    recursion = None if isinstance(found, str) else short_recursion(found.shape)
    if isinstance(found, str) or recursion is None:
        reason = found if isinstance(found, str) else FORGETS_NOT
        raise InputError(
            f"this transformation has no known preconditioner: {reason}; give the diagonal, "
            "tw.probes.preconditioned_sharpness(diagonal)"
        )
    state = _forgot(memory, found.momentum)
    nowhere = jax.tree.map(jnp.zeros_like, params)

    def answer(g: Params) -> Params:
        with optax_converts():
            return transform.update(g, state, nowhere)[0]

    ones = jax.tree.map(jnp.ones_like, gradient)
    moved = answer(gradient)
    limit = jax.jvp(answer, (nowhere,), (ones,))[1]
    total = float(np.sum(recursion[0]) / np.sum(recursion[1])) / (
        1.0 if step_size is None else step_size
    )

    def gain(u: Array, g: Array, slope: Array) -> Array:
        quotient = jnp.where(g == 0, -slope, -u / jnp.where(g == 0, 1, g))
        return (quotient * total).astype(g.dtype)

    return jax.tree.map(gain, moved, gradient, limit)


def response(
    transform: optax.GradientTransformation, params: Params, late: int = LATE
) -> Response | str:
    """How a transformation answers small gradients, or why it has no response of this kind.

    Args:
        transform: The transformation.
        params: Parameters; only structure and shapes count.
        late: Steps after which corrections for the start have died out, and a schedule still goes.
    """
    leaves, structure = jax.tree.flatten(params)
    shapes = tuple(tuple(min(n, 2) for n in np.shape(leaf)) for leaf in leaves)
    return _response(transform, structure, shapes, late)


@functools.lru_cache(maxsize=64)
def _response(
    transform: optax.GradientTransformation,
    structure: Any,
    shapes: tuple[tuple[int, ...], ...],
    late: int,
) -> Response | str:
    params = jax.tree.unflatten(structure, [np.ones(shape) for shape in shapes])
    try:
        # What is no number is not proportional to a gradient, which `_examined` says.
        with jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
            return _examined(transform, params, late)
    except Exception as error:  # a stranger's code may raise anything
        return refused_by(error)


def refused_by(error: Exception) -> str:
    """Why an update that raises an error when it is given a gradient alone has no response."""
    reason = " ".join(str(error).split())
    if isinstance(error, TypeError) and "keyword-only" in reason and "value" in reason:
        return f"{ALONE}: it asks for values of the objective, as a line search does"
    if "grad_fn" in reason:
        return f"{ALONE}: it takes gradients of its own, as where a step of ascent leads"
    return f"{ALONE} ({type(error).__name__}: {reason[:120]})"


def _examined(transform: optax.GradientTransformation, params: Params, late: int) -> Response | str:
    """Impulse responses to gradients and to weights at several states, read and checked."""
    flat, unravel = ravel_pytree(params)
    p = flat.size
    rng = np.random.default_rng(0)
    first, second, x = rng.uniform(0.5, 2.0, (3, p)) * rng.choice([-1.0, 1.0], (3, p))
    zero = np.zeros(p)

    @jax.jit
    def move(g: Array, state: Any, x: Array, dg: Array, dfree: Any, dx: Array) -> Any:
        """The update at (g, state, x), the state after it, and the derivatives of both."""
        free, fixed = eqx.partition(state, eqx.is_inexact_array)

        def step(g: Array, free: Any, x: Array) -> Any:
            with optax_converts():
                moved, after = transform.update(unravel(g), eqx.combine(free, fixed), unravel(x))
            return (ravel_pytree(moved)[0], eqx.filter(after, eqx.is_inexact_array)), after

        def along(dg: Array, dfree: Any, dx: Array) -> Any:
            return jax.jvp(step, (g, free, x), (dg, dfree, dx), has_aux=True)

        return jax.vmap(along, out_axes=(None, 0, None))(dg, dfree, dx)

    with optax_converts():
        begin = jax.tree.map(jnp.asarray, transform.init(unravel(flat)))
    leaves, structure = jax.tree.flatten(eqx.filter(begin, eqx.is_inexact_array))
    still = jax.tree.unflatten(
        structure, [np.zeros((3, *leaf.shape), leaf.dtype) for leaf in leaves]
    )
    none = np.zeros((3, p))

    def update(g: np.ndarray, state: Any, x: np.ndarray) -> tuple[np.ndarray, Any]:
        (moved, _), _, after = move(g, state, x, none, still, none)
        return np.asarray(moved), after

    def past(draws: int) -> Any:
        """A state with a history; second moments are positive in it."""
        state = begin
        for _ in range(draws):
            state = update(rng.normal(size=p), state, x)[1]
        return state

    # Neighbouring counts, as some methods move at every so-manyth step only.
    early = [past(2 + k) for k in range(NEIGHBOURS)]
    states = [*early, *(at_late(past(2 + k), late + k) for k in range(NEIGHBOURS))]
    impulses = np.stack([first, second, zero]), np.stack([zero, zero, first])
    answers = []
    for base in states:
        moved, driven = move(zero, base, x, impulses[0], still, impulses[1])[1]
        later, told = driven, []
        for _ in range(TERMS):
            told.append(np.asarray(moved))
            moved, later = move(zero, base, x, none, later, none)[1]
        answers.append(-np.stack(told) / np.stack([first, second, first]))
    carries = []
    for i, leaf in enumerate(jax.tree.leaves(driven)):
        alone = jax.tree.leaves(still)
        alone[i] = leaf
        moved = move(zero, base, x, none, jax.tree.unflatten(structure, alone), none)[1][0]
        carries.append(bool(np.any(np.asarray(moved)[0])))
    flags = iter(carries)
    momentum = tuple(eqx.is_inexact_array(v) and next(flags) for v in jax.tree.leaves(begin))

    def answer(size: float, state: Any) -> np.ndarray:
        """The update's answer to a gradient of this size, over the size."""
        return (update(size * first, state, x)[0] - update(zero, state, x)[0]) / size

    h = np.stack(answers)
    tiny = np.abs(answer(1e-5, states[1]) + first * h[1, 0, 0]).max()
    if not np.isfinite(h).all() or not tiny <= 1e-3 * np.abs(h[1, 0, 0]).max():
        return "its update is not proportional to small gradients"
    large, once = answer(1e4, begin), answer(1.0, begin)
    linear = bool(np.abs(large - once).max() <= 1e-6 * np.abs(once).max())
    quiet = not np.any(update(zero, _forgot(begin, momentum), zero)[0])
    return _read(h, linear, quiet, momentum)


def _forgot(state: Any, momentum: tuple[bool, ...]) -> Any:
    """The state without the past gradients that it carries to the update."""
    leaves, structure = jax.tree.flatten(state)
    pairs = zip(leaves, momentum, strict=True)
    return jax.tree.unflatten(structure, [jnp.zeros_like(leaf) if c else leaf for leaf, c in pairs])


def at_late(state: Any, steps: int) -> Any:
    """The state with its counts at a late step."""

    def moved(leaf: Array) -> Array:
        counts = jnp.issubdtype(leaf.dtype, jnp.integer) and leaf.ndim == 0
        return jnp.full_like(leaf, steps) if counts else leaf

    return jax.tree.map(moved, state)


def _read(
    answers: np.ndarray, linear: bool, quiet: bool, momentum: tuple[bool, ...]
) -> Response | str:
    """The response from the answers (state, k, impulse, p) to two gradients and to weights."""
    h, w = answers[:, :, 0], answers[:, :, 2]
    if np.abs(h - answers[:, :, 1]).max() > 1e-7 * np.abs(h).max():
        return "its update mixes coordinates"
    gain = h[:, 0]
    if (gain < 0).any():
        return "its update goes up the gradient"
    ended = not gain[NEIGHBOURS:].any()  # a schedule, at zero
    chosen = slice(0, NEIGHBOURS) if ended else slice(NEIGHBOURS, None)
    moves = gain[chosen][0] > 0
    if not moves.any() or (gain[chosen][:, moves] <= 0).any() or h[chosen][:, :, ~moves].any():
        return "its update does not answer small gradients in proportion, at every step"
    shapes = h[chosen][:, :, moves] / gain[chosen][:, None, moves]
    shape = shapes[0, :, 0]
    if np.abs(shapes - shape[None, :, None]).max() > 1e-6:
        return VARIES
    decay, steady, penalty = 0.0, True, 0.0
    w, h = w[chosen], h[chosen]
    if w.any():
        size = np.abs(w).max()
        quotient = float(w[0, 0, moves][0] / gain[chosen][0, moves][0])
        inside = quotient > 0 and np.abs(w - quotient * h).max() <= 1e-6 * size
        alike = np.ptp(w[:, 0], axis=1).max() <= 1e-6 * size
        beside = (w[:, 0, 0] > 0).all() and not w[:, 1:].any() and alike
        if not (inside or beside):
            return OWN_WAY
        penalty, decay = (quotient, 0.0) if inside else (0.0, float(w[0, 0, 0]))
        steady = bool(inside or np.ptp(w[:, 0]) <= 1e-6 * size)
    return Response(gain, shape, decay, steady, penalty, linear, quiet, momentum)


def short_recursion(shape: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """H(z)/h_0 as a quotient of two short polynomials in 1/z, if the response is one."""
    for order in range(4):
        rows = range(order + 1, len(shape))
        past = np.array([[shape[k - j] for j in range(1, order + 1)] for k in rows])
        wanted = shape[order + 1 :]
        if order:
            factors = np.linalg.lstsq(past, wanted, rcond=None)[0]
            miss = np.abs(past @ factors - wanted).max()
        else:
            factors, miss = np.zeros(0), np.abs(wanted).max()
        if miss <= ROUNDING:
            if order and np.abs(np.roots([1.0, *-factors])).max() >= 1 - 1e-6:
                return None  # it never forgets
            denominator = np.concatenate([[1.0], -factors])
            return np.convolve(shape[: order + 1], denominator)[: order + 1], denominator
    return None


def largest_curvature(above: np.ndarray, below: np.ndarray, decay: float) -> float | None:
    """The curvature times h_0 from which on a root leaves the unit circle, if there is one."""
    still = np.convolve([1.0, decay - 1.0], below)  # (z - 1 + omega) D, highest power first

    def growth(mu: float) -> float:
        pushed = still.copy()
        pushed[1:] += mu * above
        return float(np.abs(np.roots(pushed)).max())

    grid = np.geomspace(1e-3, 1e3, 601)
    unstable = [growth(mu) > 1 + ROUNDING for mu in grid]
    if unstable[0] or not any(unstable):
        return None
    first = int(np.argmax(unstable))
    low, high = grid[first - 1], grid[first]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if growth(middle) > 1 else (middle, high)
    return float(low)
