"""What an optimiser says that it took of the objective is what an objective that counts has seen.

The counter calls back to the host at each evaluation, and knows nothing of how they are declared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.driver.spending import VALUE, spend, values_taken
from thalweg.dynamics import OPTIMISERS, Discrete
from thalweg.sweeps.contestants import price_of

STEPS, DIRECTIONS = 3, 2
SEEN: Counter[str] = Counter()
# They look at examples or at the model itself: see the tests below and test_costs_of_models.py.
OF_A_MODEL = {
    "kfac", "natural-gradient", "gauss-newton", "constant-kfac", "levenberg-marquardt",
}  # fmt: skip
OF_EXAMPLES = {name for name, entry in OPTIMISERS.items() if entry.corrects}
# The whole Hessian is one batch of products, which this call-back sees once; that file's sees all.
IN_A_BATCH = {"relaxed-newton"}
SEARCHING = (
    "armijo", "polyak-step", "lbfgs", "agmsdr", "conjugate-gradients", "bfgs", "trust-region",
    "perturbed",
)  # fmt: skip
KRYLOV = {"newton", "damped-newton", "saddle-free", "cubic-newton", "trust-region"}


def counting(kind: str, rows: int = 1) -> Callable[[Any], Any]:
    """The identity, at each call of which `SEEN` has so many more."""

    def add(_: Any) -> None:
        SEEN[kind] += rows

    def same(x: Any) -> Any:
        jax.debug.callback(add, x)
        return x

    return same


def seen(rows: int = 1) -> Callable[[Any], Any]:
    """The identity, which tells apart a value, its derivative, and the derivative of that."""
    value, gradient = (jax.custom_jvp(counting(kind, rows)) for kind in ("value", "gradient"))
    product = counting("product", rows)
    value.defjvp(lambda x, dx: (gradient(*x), dx[0]))
    gradient.defjvp(lambda x, dx: (product(*x), dx[0]))
    return value


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    SEEN.clear()
    yield
    SEEN.clear()


def counted_bowl() -> tw.problems.Function:
    curvature, look = jnp.array([[1.0, 0.5, 2.0]]), seen()

    def objective(x: Any) -> Any:
        return look(0.5 * jnp.sum(curvature * x**2) + 0.1 * jnp.sum(x) ** 4)

    return tw.problems.Function(objective, start=jnp.array([[1.0, -2.0, 0.5]]))


def made(name: str) -> Discrete:
    entry = OPTIMISERS[name]
    given: dict[str, Any] = {"krylov": DIRECTIONS} if name in KRYLOV else {}
    if entry.rated and entry.rate is None and not entry.finds:
        given["learning_rate"] = 0.05
    return tw.dynamics.optimiser(name, **given)


def declared_and_seen(name: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """(gradients, values) by the optimiser and by the objective, after the start and some steps."""
    problem, member = counted_bowl(), made(name)
    params = problem.init(jax.random.key(0))
    begin = jax.jit(lambda p: member.init(problem, p))
    step = jax.jit(lambda state, key: member.step(problem, state, key)[0])
    state = begin(params)
    for k in range(STEPS):
        state = step(state, jax.random.key(k))
    jax.effects_barrier()
    # A Hessian is linearised once in a step, and multiplied with so many vectors.
    products = SEEN["product"] * (DIRECTIONS if name in KRYLOV else 1)
    found = SEEN["gradient"] + 2 * products, SEEN["value"]
    declared = int(state.evaluations), int(values_taken(member, problem, state))
    return declared, found


@pytest.mark.thorough
@pytest.mark.parametrize("name", SEARCHING)
def test_what_searches_counts_what_it_looks_at(name: str) -> None:
    declared, found = declared_and_seen(name)
    assert declared == found
    assert sum(found) >= STEPS


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted(set(OPTIMISERS) - OF_A_MODEL - OF_EXAMPLES - IN_A_BATCH - {*SEARCHING})
)
def test_every_optimiser_counts_what_it_looks_at(name: str) -> None:
    declared, found = declared_and_seen(name)
    assert declared == found


@pytest.mark.thorough
def test_levenberg_marquardt_counts_its_passes() -> None:
    """A pass over n examples, in one call or one by one, is a value."""
    x, y = np.linspace(-1, 1, 5)[:, None], np.sin(3 * np.linspace(-1, 1, 5))[:, None]

    def outputs(weights: Any, x: Any) -> Any:
        return seen(len(x))(jnp.sin(9 * x @ weights["W"]) @ weights["a"])

    start = {"W": jnp.array([[8.0, -9.0]]), "a": jnp.array([[0.3], [4.0]])}
    model = tw.models.Applied(outputs, start=start)
    problem, member = tw.problems.supervised(model, (x, 10 * y)), tw.dynamics.levenberg_marquardt()
    SEEN.clear()
    state = member.init(problem, start)
    step = jax.jit(lambda state: member.step(problem, state, jax.random.key(0))[0])
    for _ in range(2 * STEPS):
        state = step(state)
    jax.effects_barrier()
    values = int(values_taken(member, problem, state))
    assert SEEN["value"] == len(x) * values
    assert SEEN["gradient"] == len(x) * 2 * STEPS == len(x) * int(state.evaluations)
    assert values > 3 * 2 * STEPS  # a damping was refused on the way


@pytest.mark.thorough
def test_a_value_of_a_batch_costs_its_share() -> None:
    x = np.linspace(-1, 1, 8)[:, None]
    problem = tw.problems.supervised(tw.models.linear([]), (x, 2 * x))
    member = tw.dynamics.optimiser("armijo", oracle=tw.oracles.minibatch(2))
    keys = jax.vmap(jax.random.key)(jnp.arange(1))
    price = price_of(member, problem)
    assert price == 0.25
    spent = spend(problem, member, keys, jnp.array([5.0]), jnp.asarray(price), "single")
    gradients, values = (int(a[0, -1]) for a in (spent.gradients, spent.values))
    assert values > 0
    assert float(spent.cost[0, -1]) == pytest.approx(0.25 * (gradients + VALUE * values))
