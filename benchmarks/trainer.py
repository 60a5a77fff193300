"""Gradients that full-batch trainers spend to reach a loss, from the same start in float64.

The stabilised descent, which has nothing to tune, against gradient descent and Nesterov's method
with constant steps, L-BFGS of Optax (its own line search) and L-BFGS-B of SciPy. Constant steps are
the best of a grid for each loss level by itself; what the search costs is *not* counted, so these
columns are bounds from below of what a user would spend. Evaluations of the line searches are
counted. A count is the number of gradients computed when the loss of an iterate is first known to
be at or below the level, relative to the loss at the start; in brackets, over stabilised descent.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flow_problems import CASES
from jax.flatten_util import ravel_pytree
from scipy.optimize import OptimizeResult, minimize
from timing import limit_threads, machine, options, show

import thalweg as tw
from thalweg.dynamics.flow.stabilised import first_direction, power_step

LEVELS = (1e-1, 1e-2, 1e-3, 1e-4)
PROBLEMS = ("S1", "A1", "SB2", "C", "E", "valley")
STEPS = tuple(2.0**k for k in range(2, -7, -1))  # times 1/sharpness at the start
TUNED = (0.97, 0.99, 0.997)  # momenta to choose from
LABELS = (
    "stabilised",
    "gradient descent",
    "Nesterov 0.9",
    "Nesterov tuned",
    "L-BFGS (Optax)",
    "L-BFGS-B (SciPy)",
)

Objective = Callable[[jax.Array], jax.Array]
Hits = np.ndarray  # gradients spent at each level; infinite if it is not reached


def hits(history: Iterable[tuple[int, float]], first: float, budget: int) -> Hits:
    """When each level is reached in a history of (gradients, loss)."""
    found = np.full(len(LEVELS), np.inf)
    goals = first * np.asarray(LEVELS)
    for spent, loss in history:
        if spent > budget or not np.isfinite(loss):
            break
        found[np.isinf(found) & (loss <= goals)] = spent
        if np.isfinite(found).all():
            break
    return found


def stabilised(problem: tw.problems.Problem, params: object) -> Iterator[tuple[int, float]]:
    dynamics = tw.stabilised_descent()
    until, one = jnp.asarray(1e15), jnp.asarray(1)
    step = jax.jit(lambda state: dynamics.advance(problem, state, until, one))
    state = dynamics.init(problem, params)
    while state.result == 0:
        yield int(state.evaluations), float(state.memory.height)
        state = step(state)


def constant_steps(f: Objective, start: jax.Array, budget: int) -> Callable[..., Hits]:
    """Maps (step size, momentum) to the hits of `optax.sgd`, in one compiled loop."""
    goals = f(start) * jnp.asarray(LEVELS)

    @jax.jit
    def run(size: jax.Array, momentum: jax.Array) -> jax.Array:
        transform = optax.sgd(size, momentum, nesterov=True)

        def going(now: tuple) -> jax.Array:
            _, _, spent, found, good = now
            return good & (spent < budget) & jnp.isinf(found).any()

        def turn(now: tuple) -> tuple:
            x, memory, spent, found, _ = now
            loss, gradient = jax.value_and_grad(f)(x)
            spent = spent + 1
            found = jnp.where(jnp.isinf(found) & (loss <= goals), spent, found)
            updates, memory = transform.update(gradient, memory, x)
            return optax.apply_updates(x, updates), memory, spent, found, jnp.isfinite(loss)

        blank = jnp.full(len(LEVELS), jnp.inf)
        begun = (start, transform.init(start), jnp.asarray(0), blank, jnp.asarray(True))
        return jax.lax.while_loop(going, turn, begun)[3]

    return lambda size, momentum: np.asarray(run(jnp.asarray(size), jnp.asarray(momentum)))


def lbfgs(f: Objective, start: jax.Array) -> Iterator[tuple[int, float]]:
    """Optax's; a callback counts every evaluation, those of the line search included."""
    spent = [0]

    def counted(x: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: spent.__setitem__(0, spent[0] + 1))
        return f(x)

    transform = optax.lbfgs()

    @jax.jit
    def step(x: jax.Array, memory: optax.OptState) -> tuple:
        loss, gradient = optax.value_and_grad_from_state(counted)(x, state=memory)
        updates, memory = transform.update(
            gradient, memory, x, value=loss, grad=gradient, value_fn=counted
        )
        return optax.apply_updates(x, updates), memory

    x, memory = start, transform.init(start)
    while True:
        x, memory = step(x, memory)
        jax.effects_barrier()
        yield spent[0], float(optax.tree.get(memory, "value"))


def scipy_lbfgs(f: Objective, start: jax.Array, budget: int) -> list[tuple[int, float]]:
    both, spent, history = jax.jit(jax.value_and_grad(f)), [0], []

    def oracle(x: np.ndarray) -> tuple[float, np.ndarray]:
        spent[0] += 1
        loss, gradient = both(x)
        return float(loss), np.asarray(gradient)

    def note(intermediate_result: OptimizeResult) -> None:
        history.append((spent[0], float(intermediate_result.fun)))

    limits = {"maxfun": budget, "maxiter": budget, "ftol": 0.0, "gtol": 0.0}
    with np.errstate(all="ignore"):
        minimize(
            oracle, np.asarray(start), jac=True, method="L-BFGS-B", options=limits, callback=note
        )
    return history


def race(name: str, budget: int, quick: bool) -> dict[str, Hits]:
    """Hits of every contestant on a problem."""
    problem = CASES[name].make()
    params = problem.init(jax.random.key(0))
    start, unravel = ravel_pytree(params)

    def f(x: jax.Array) -> jax.Array:
        return problem.objective(unravel(x))

    force = jax.jit(lambda x: -jax.grad(f)(x))
    sharpness, direction = jnp.asarray(1.0), first_direction(start)
    for _ in range(30):
        sharpness, direction = power_step(force, start, force(start), direction)
    sizes = [scale / float(sharpness) for scale in (STEPS[1:6:2] if quick else STEPS)]
    constant, first = constant_steps(f, start, budget), float(f(start))

    def best(*momenta: float) -> Hits:
        return np.min([constant(*one) for one in itertools.product(sizes, momenta)], axis=0)

    tuned = TUNED[1:2] if quick else TUNED
    return dict(
        zip(
            LABELS,
            (
                hits(stabilised(problem, params), first, budget),
                best(0.0),
                best(0.9),
                best(*tuned),
                hits(lbfgs(f, start), first, budget),
                hits(scipy_lbfgs(f, start, budget), first, budget),
            ),
            strict=True,
        )
    )


def cell(count: float, own: float, budget: int) -> str:
    told = f"{int(count):,}" if np.isfinite(count) else f">{budget:,}"
    if not np.isfinite(own):
        return told
    ratio = count if np.isfinite(count) else budget
    return f"{told} ({'>' if np.isinf(count) else ''}{ratio / own:.2g}x)"


def main() -> None:
    chosen = options(__doc__)
    limit_threads(chosen.threads)
    budget = 300 if chosen.quick else 3000
    rows = []
    for name in ("C", "E") if chosen.quick else PROBLEMS:
        found = race(name, budget, chosen.quick)
        for i, level in enumerate(LEVELS):
            own, *others = (found[label][i] for label in LABELS)
            mine = f"{int(own):,}" if np.isfinite(own) else f">{budget:,}"
            rows.append(
                [f"{name}, loss x {level:g}", mine, *(cell(o, own, budget) for o in others)]
            )
    title = f"Gradients to a loss; at most {budget:,}; {machine(chosen.threads)} (counts only)"
    show(title, ["problem", *LABELS], rows)


if __name__ == "__main__":
    main()
