"""Evaluations of Optax transformations, against a callback on the host that sees every one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import thalweg as tw
from thalweg.problems import Function

pytestmark = pytest.mark.implicit  # Optax alone is beside it, which converts

START = jnp.asarray([-1.2, 1.0, 0.5])
PUSH = optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
SEARCH = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20))


def rosenbrock(x: jax.Array) -> jax.Array:
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


class Witness:
    """A function that keeps a list on the host of its evaluations, with gradient or without."""

    def __init__(self) -> None:
        self.values = self.gradients = 0
        self.function = jax.custom_vjp(self._value)
        self.function.defvjp(self._forward, lambda x, g: (g * jax.grad(rosenbrock)(x),))

    def _value(self, x: jax.Array) -> jax.Array:
        jax.debug.callback(lambda _: setattr(self, "values", self.values + 1), x[0])
        return rosenbrock(x)

    def _forward(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        jax.debug.callback(lambda _: setattr(self, "gradients", self.gradients + 1), x[0])
        return rosenbrock(x), x


def told_and_seen(transform, steps: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(gradients, values alone) as the run tells them and as the host saw them, steps only."""
    witness = Witness()
    problem = Function(witness.function, start=START)
    dynamics = tw.optax_dynamics(transform, 1.0)
    state = dynamics.init(problem, START)
    jax.effects_barrier()
    witness.values = witness.gradients = 0

    @jax.jit
    def go(state):
        key = jax.random.key(0)
        return jax.lax.fori_loop(0, steps, lambda _, s: dynamics.step(problem, s, key)[0], state)

    state = jax.block_until_ready(go(state))
    jax.effects_barrier()
    values = 0 if state.memory.values is None else int(state.memory.values)
    return (int(state.evaluations), values), (witness.gradients, witness.values)


@pytest.mark.parametrize(
    ("transform", "per_step"),
    [
        (SEARCH, None),
        (optax.contrib.sam(optax.sgd(1e-4), PUSH, sync_period=2, opaque_mode=True), 2),
        (optax.contrib.sam(optax.sgd(1e-4), PUSH, sync_period=4, opaque_mode=True), 4),
        (optax.contrib.sam(optax.sgd(1e-4), PUSH, sync_period=2), 1),
        (optax.contrib.schedule_free_sgd(1e-4), 1),
        (optax.polyak_sgd(), 1),
        (optax.MultiSteps(optax.sgd(1e-4), 2), 1),
    ],
    ids=["backtracking", "sam", "sam of four", "sam in turn", "schedule-free", "polyak", "multi"],
)
def test_evaluations_are_those_that_the_host_sees(transform, per_step):
    told, seen = told_and_seen(transform, 10)
    assert told == seen
    if per_step is not None:
        assert told == (10 * per_step, 0)
    else:
        assert told[0] == 10
        assert told[1] > 10


def test_lbfgs_counts_its_line_search():
    """Ten steps on this function take 28 gradients; the path is that of Optax's own loop."""
    told, seen = told_and_seen(optax.lbfgs(), 10)
    assert told == seen == (28, 0)


def test_a_search_that_keeps_slopes_counts_them_as_gradients():
    """Linearising refuses the witness: here the own count of the search is the truth."""
    transform = optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20, store_grad=True)
    )
    problem = Function(rosenbrock, start=START)
    dynamics = tw.optax_dynamics(transform, 1.0)
    step = jax.jit(lambda s: dynamics.step(problem, s, jax.random.key(0))[0])
    state, searched = dynamics.init(problem, START), 0
    for _ in range(4):
        state = step(state)
        searched += int(optax.tree_utils.tree_get(state.memory, "info").num_linesearch_steps)
    assert int(state.evaluations) == 4 + searched
    assert searched > 4


def test_a_hessian_product_counts_two_where_it_is_made():
    """Sophia renews its diagonal at every third step."""
    transform = optax.contrib.sophia(1e-3, update_interval=3)
    problem = Function(rosenbrock, start=START)
    run = tw.run(problem, tw.optax_dynamics(transform, 1.0), until=7.0, records=7, progress=False)
    assert run.dataset.evaluations.values[0].tolist() == [0, 3, 4, 5, 8, 9, 10, 13]


def test_seeds_together_count_what_each_needs_alone():
    problem = Function(rosenbrock, draw=lambda key: jax.random.normal(key, (3,)))
    options = {"until": 6.0, "records": 2, "progress": False}
    dynamics = tw.optax_dynamics(SEARCH, 1.0)
    together = tw.run(problem, dynamics, seeds=3, **options).dataset
    alone = [tw.run(problem, dynamics, seeds=[k], **options).dataset for k in range(3)]
    for name in ("evaluations", "value_evaluations"):
        assert together[name].values.tolist() == [a[name].values[0].tolist() for a in alone]
    assert len(set(together.value_evaluations.values[:, -1].tolist())) > 1


def test_evaluations_out_of_sight_are_said_to_be_a_lower_bound():
    def update(updates, state, params, *, value_fn, **_):
        def high(scale):
            return value_fn(params - scale * updates) > value_fn(params)

        scale = jax.lax.while_loop(high, lambda scale: scale / 2, jnp.ones(()))
        return -scale * updates, state

    transform = optax.GradientTransformationExtraArgs(lambda _: (), update)
    problem = Function(rosenbrock, start=START)
    run = tw.run(problem, tw.optax_dynamics(transform, 1.0), until=3.0, records=1, progress=False)
    assert "lower bound" in run.doubts[0]
    assert run.dataset.loss[0, -1] < run.dataset.loss[0, 0]
    assert tw.optax_dynamics(optax.lbfgs(), 1.0).doubts(problem) == ()


def test_what_is_meant_for_evaluation_is_recorded():
    """The slow parameters of lookahead and the averages of schedule-free, by Optax's own loops."""
    bowl = lambda x: 0.5 * jnp.sum(jnp.asarray([1.0, 4.0, 0.25]) * x**2)  # noqa: E731
    problem = Function(bowl, start=START)
    options = {"until": 0.7, "records": 7, "progress": False}

    transform = optax.lookahead(optax.sgd(0.1), 3, 0.5)
    run = tw.run(problem, tw.optax_dynamics(transform, 0.1), **options).dataset
    params = optax.LookaheadParams.init_synced(START)
    state, fast, slow = transform.init(params), [bowl(START)], [bowl(START)]
    for _ in range(7):
        updates, state = transform.update(jax.grad(bowl)(params.fast), state, params)
        params = optax.apply_updates(params, updates)
        fast.append(bowl(params.fast))
        slow.append(bowl(params.slow))
    assert np.allclose(run.loss[0], fast, rtol=1e-12)
    assert np.allclose(run.evaluation_loss[0], slow, rtol=1e-12)

    transform = optax.contrib.schedule_free_sgd(0.1)
    run = tw.run(problem, tw.optax_dynamics(transform, 0.1), **options).dataset
    params, state = START, transform.init(START)
    for k in range(8):
        x = optax.contrib.schedule_free_eval_params(state, params)
        assert np.isclose(run.evaluation_loss[0, k], bowl(x), rtol=1e-12)
        updates, state = transform.update(jax.grad(bowl)(params), state, params)
        params = optax.apply_updates(params, updates)
