"""Pairs of past steps about the inverse of Kronecker factors: dense BFGS, and what counts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.dynamics.natural_gradient.history import corrected, extended, no_history

KEY = jax.random.key(0)
LATE = jnp.asarray(9), jnp.asarray(0.5)  # of factors averaged over two steps the ninth
RNG = np.random.default_rng(3)
P, M, DAMPING = 7, 3, 0.3
DATA = tw.problems.supervised(tw.models.linear([]), (RNG.normal(size=(6, P)), np.ones((6, 1))))


def definite() -> np.ndarray:
    A = RNG.normal(size=(P, P))
    return A @ A.T + np.eye(P)


@pytest.mark.thorough
def test_it_is_the_dense_bfgs_update_of_the_last_pairs() -> None:
    """Five pairs of a Hessian in a ring of three, damped; the newest is met exactly."""
    hessian, inverse = definite(), definite()
    steps = RNG.normal(size=(5, P))
    history, at = no_history(jnp.zeros(P), M), np.zeros(P)
    history = extended(history, jnp.zeros(P), jnp.asarray(hessian @ at), DATA, *LATE)  # no step yet
    for s in steps:
        at = at + s
        history = extended(history, jnp.asarray(s), jnp.asarray(hessian @ at), DATA, *LATE)
    dense = inverse
    for s in steps[-M:]:
        y = hessian @ s + DAMPING * s
        V = np.eye(P) - np.outer(y, s) / (s @ y)
        dense = V.T @ dense @ V + np.outer(s, s) / (s @ y)
    g = RNG.normal(size=P)

    def product(v: jax.Array) -> jax.Array:
        return jnp.asarray(inverse) @ v

    found = corrected(history, jnp.asarray(DAMPING), jnp.asarray(g), product)
    np.testing.assert_allclose(found, dense @ g, rtol=1e-11)
    newest = corrected(history, jnp.asarray(DAMPING), jnp.asarray(y), product)
    np.testing.assert_allclose(newest, steps[-1], rtol=1e-10)
    empty = corrected(no_history(jnp.zeros(P), M), jnp.asarray(DAMPING), jnp.asarray(g), product)
    np.testing.assert_allclose(empty, inverse @ g, rtol=1e-13)


def test_a_pair_needs_curvature_and_the_same_examples() -> None:
    """Each of other examples, in other places, with other targets, or curved down is left out."""
    start = extended(no_history(jnp.zeros(P), M), jnp.zeros(P), jnp.zeros(P), DATA, *LATE)
    s, count = jnp.ones(P), {}
    x, y = np.asarray(DATA.inputs), np.asarray(DATA.targets)
    others = {"moved": (x[::-1], y), "drawn": (x[[0, 1, 2, 3, 4, 4]], y), "labels": (x, y + 0.1)}
    for name, data in others.items():
        problem = tw.problems.supervised(tw.models.linear([]), data)
        count[name] = int(extended(start, s, s, problem, *LATE).taken)
    count["down"] = int(extended(start, s, -s, DATA, *LATE).taken)
    count["still"] = int(extended(start, 0 * s, s, DATA, *LATE).taken)
    assert not any(count.values()), count
    assert int(extended(start, s, s, DATA, *LATE).taken) == 1
    early = jnp.asarray(1), jnp.asarray(0.5)
    assert int(extended(start, s, s, DATA, *early).taken) == 0


@pytest.mark.thorough
@pytest.mark.parametrize(("batch", "taken"), [(None, 2), (4, 0)])
def test_batches_leave_no_pair_and_all_examples_do(batch: int | None, taken: int) -> None:
    x = RNG.normal(size=(12, 3))
    problem = tw.problems.supervised(tw.models.linear([]), (x, np.sin(x[:, :1])))
    dynamics = tw.kfac(0.1, average=0.0, history=10)
    if batch is not None:
        dynamics = tw.dynamics.noisy(dynamics, tw.oracles.minibatch(batch))
    state = dynamics.init(problem, problem.init(KEY))
    step = jax.jit(lambda s, key: dynamics.step(problem, s, key)[0])
    for k in range(3):
        state = step(state, jax.random.key(k))
    assert int(state.memory.history.taken) == taken


def test_pairs_are_kept_where_they_are_asked_for() -> None:
    assert (tw.kfac().pairs, tw.kfac(history=3).pairs) == (0, 3)
    with pytest.raises(InputError, match="history came as -1; give a whole number from 0 on"):
        tw.kfac(history=-1)
