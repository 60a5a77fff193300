"""Steps in a row against the same steps one at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.driver.steps import BLOCKS, steps_on

KEY = jax.random.key(3)
VALLEY = tw.problems.Function(
    lambda p: 0.5 * (1 + p["x"] ** 2) * jnp.sum(p["y"] ** 2),
    start={"x": jnp.asarray(1.5), "y": jnp.array([0.1, -0.2])},
)
NOISY = tw.gradient_descent(0.05, oracle=tw.oracles.isotropic(0.5))


class Twice(type(tw.gradient_descent(0.1))):
    """Descent whose steps count for two on its clock."""

    def step(self, problem, state, key):
        after, info = super().step(problem, state, key)
        return after._replace(time=2 * after.time), info


def in_a_row(dynamics, count, first=0, state=None):
    state = dynamics.init(VALLEY, VALLEY.start) if state is None else state
    return jax.jit(lambda s: steps_on(VALLEY, dynamics, s, KEY, first, count))(state)


def one_at_a_time(dynamics, count):
    state = dynamics.init(VALLEY, VALLEY.start)
    size = dynamics.block(VALLEY, VALLEY.start)
    first = jax.random.fold_in(jax.random.fold_in(KEY, BLOCKS), 0)
    draws = dynamics.draws(VALLEY, VALLEY.start, first, size) if size else ()
    assert not size or count <= size
    for k in range(count):
        own = jax.random.fold_in(KEY, k)
        draw = jax.tree.map(lambda leaf, k=k: leaf[k], draws)
        state = dynamics.drawn_step(VALLEY, state, draw, own)[0]
    return state


@pytest.mark.parametrize(
    "dynamics", [tw.gradient_descent(0.05), NOISY, Twice(0.05)], ids=["plain", "noisy", "own"]
)
def test_a_row_of_steps_is_its_steps(dynamics):
    row, single = in_a_row(dynamics, 7), one_at_a_time(dynamics, 7)
    assert jax.tree.structure(row) == jax.tree.structure(single)
    for a, b in zip(jax.tree.leaves(row), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_a_row_may_end_anywhere():
    # Within a block of draws, beyond it, and after no step at all.
    size = NOISY.block(VALLEY, VALLEY.start)
    whole = in_a_row(NOISY, size + 9)
    state, taken = None, 0
    for count in (5, 0, size, 4):
        state = in_a_row(NOISY, count, taken, state)
        taken += count
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_divergence_within_a_row_is_told():
    wild = tw.gradient_descent(3.0, oracle=tw.oracles.isotropic(0.5))
    state = in_a_row(wild, 100)
    assert not np.all(np.isfinite(state.params["y"]))
    assert int(state.result) == tw.Result.NONFINITE
    assert float(state.time) == 300.0
