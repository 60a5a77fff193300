"""Magnitude pruning: how many, which, and that nothing pruned comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.dynamics import magnitude_pruned, magnitude_pruning
from thalweg.dynamics.optax_update import optax_converts

RNG = np.random.default_rng(5)
START = {
    "wide": jnp.asarray(RNG.normal(size=(6, 3))),
    "bias": jnp.asarray(1e-3 * RNG.normal(size=3)),
    "narrow": jnp.asarray(0.1 * RNG.normal(size=(3, 2))),
}


@pytest.fixture(autouse=True)
def _as_users_have_it() -> Iterator[None]:
    """Optax mixes types and ranks."""
    with optax_converts():
        yield


def test_the_smallest_of_all_arrays_go() -> None:
    pruned = magnitude_pruned(START, 0.5)
    sizes = np.sort(np.abs(np.concatenate([START["wide"].ravel(), START["narrow"].ravel()])))
    edge = sizes[12]  # of 24 the smaller half
    for k in ("wide", "narrow"):
        np.testing.assert_array_equal(pruned[k], np.where(np.abs(START[k]) >= edge, START[k], 0))
    np.testing.assert_array_equal(pruned["bias"], START["bias"])
    assert not np.any(magnitude_pruned(jnp.ones((2, 3)), 0.99))  # ties are broken, all are counted
    np.testing.assert_array_equal(
        magnitude_pruned(jnp.ones((2, 3)), 0.5).ravel(), [0, 0, 0, 1, 1, 1]
    )
    shares = jax.vmap(lambda p: jnp.sum(magnitude_pruned(START, p)["wide"] != 0))
    assert np.all(np.diff(shares(jnp.array([0.0, 0.3, 0.6, 0.9]))) < 0)


def drive(transform: Any, steps: int, slope: Any) -> list[Any]:
    p, state, told = START, transform.init(START), []
    for _ in range(steps):
        updates, state = transform.update(slope(p), state, p)
        p = optax.apply_updates(p, updates)
        told.append((p, state))
    return told


def pull(p: Any) -> Any:
    return jax.tree.map(lambda w: 0.3 * w + jnp.cos(5 * w), p)


@pytest.mark.thorough
def test_momentum_moves_nothing_that_was_pruned() -> None:
    told = drive(magnitude_pruning(optax.adam(0.05), 0.75, begin=4), 30, pull)
    plain = drive(optax.adam(0.05), 4, pull)
    for k in START:
        np.testing.assert_array_equal(told[3][0][k], plain[3][0][k])
    gone = {k: told[4][0][k] == 0 for k in ("wide", "narrow")}
    assert sum(int(g.sum()) for g in gone.values()) == 18
    moment = optax.tree_utils.tree_get(told[4][1], "mu")
    assert any(bool(jnp.any(jnp.where(g, moment[k], 0) != 0)) for k, g in gone.items())
    for p, _ in told[5:]:
        for k, g in gone.items():
            assert np.all(np.asarray(p[k])[np.asarray(g)] == 0)
    assert not np.allclose(told[-1][0]["wide"], told[4][0]["wide"])  # the rest goes on


@pytest.mark.thorough
def test_a_schedule_prunes_step_by_step() -> None:
    cubic = optax.polynomial_schedule(0.0, 0.75, 3, 20, transition_begin=5)
    told = drive(magnitude_pruning(optax.sgd(0.01), cubic, begin=5, every=5), 40, pull)
    counts = [int(jnp.sum(p["wide"] == 0) + jnp.sum(p["narrow"] == 0)) for p, _ in told]
    for step, count in enumerate(counts):
        last = max(5, step - step % 5)
        share = 0.0 if step < 5 else 0.75 * (1 - (1 - min((last - 5) / 20, 1)) ** 3)
        assert count == round(24 * share)
    assert counts[-1] == 18


def test_what_it_cannot_be_given_is_one_sentence() -> None:
    with pytest.raises(tw.InputError, match="sparsity came as 1"):
        magnitude_pruning(optax.sgd(0.1), 1.0)
    with pytest.raises(tw.InputError, match="begin came as -1"):
        magnitude_pruning(optax.sgd(0.1), 0.5, begin=-1)
    with pytest.raises(tw.InputError, match="there is nothing to rewire"):
        magnitude_pruned(jnp.ones(3), 0.5)
