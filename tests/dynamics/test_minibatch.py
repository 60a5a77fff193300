"""Mini-batches: unbiased, without replacement, reproducible, and no different at full size."""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.driver import chunks
from thalweg.models import linear, mlp
from thalweg.problems import Function, supervised

X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.random.default_rng(1).normal(size=(12, 2))
PROBLEM = supervised(mlp([5]), (X, Y))
KEY = jax.random.key(4)


def dynamics(batch: int | None) -> tw.dynamics.Discrete:
    return tw.optax_dynamics(optax.sgd(0.1, momentum=0.9), 0.1, batch=batch)


def test_a_problem_on_some_examples_is_that_problem():
    index = jnp.asarray([7, 2, 2])
    params = PROBLEM.init(KEY)
    part = PROBLEM.on(index)
    by_hand = supervised(mlp([5]), (X[[7, 2, 2]], Y[[7, 2, 2]]))
    assert part.objective(params) == by_hand.objective(params)
    assert PROBLEM.on(jnp.arange(12)).objective(params) == PROBLEM.objective(params)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("microbatch", [None, 2])
def test_the_gradient_is_unbiased(reduction, microbatch):
    """Over all batches of 3 of 5 examples exactly; over many keys to its standard error."""
    problem = supervised(linear([]), (X[:5], Y[:5]), reduction=reduction, microbatch=microbatch)
    params = problem.init(KEY)
    full = jax.grad(problem.objective)(params)[0]["weight"]
    scale = 1.0 if reduction == "mean" else 5 / 3
    each = [
        scale * jax.grad(problem.on(jnp.asarray(c)).objective)(params)[0]["weight"]
        for c in itertools.combinations(range(5), 3)
    ]
    assert np.allclose(np.mean(each, axis=0), full, rtol=1e-12, atol=1e-14)

    state = dynamics(3).init(problem, params)

    def one(key):
        seen = dynamics(3).seen(problem, state, key)
        return jax.grad(seen.objective)(params)[0]["weight"]

    drawn = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, 4000)))
    error = drawn.std(0) / np.sqrt(len(drawn))
    assert np.all(np.abs(drawn.mean(0) - full) < 4.5 * error)
    found = np.unique(np.round(drawn.reshape(len(drawn), -1), 9), axis=0)
    wanted = np.unique(np.round(np.reshape(each, (len(each), -1)), 9), axis=0)
    assert np.allclose(found, wanted, atol=1e-8)  # all ten batches, and no example twice in any


def test_all_examples_as_a_batch_is_full_batch_to_rounding():
    full = tw.run(PROBLEM, dynamics(None), until=3.0, records=3, progress=False)
    batch = tw.run(PROBLEM, dynamics(12), until=3.0, records=3, progress=False)
    assert np.allclose(full.parameters, batch.parameters, rtol=1e-11, atol=1e-13)


def test_the_loss_shown_is_that_of_the_batch_and_a_step_counts_once():
    process = dynamics(4)
    state = process.init(PROBLEM, PROBLEM.init(KEY))
    after, info = process.step(PROBLEM, state, KEY)
    assert info.loss == process.seen(PROBLEM, state, KEY).objective(state.params)
    assert info.loss != PROBLEM.objective(state.params)
    assert after.evaluations == 1


def test_full_batch_steps_are_those_of_optax_to_the_bit():
    transform, params = optax.sgd(0.1, momentum=0.9), PROBLEM.init(KEY)

    @jax.jit
    def plain(params, memory):
        gradient = jax.value_and_grad(PROBLEM.objective)(params)[1]
        updates, memory = transform.update(gradient, memory, params)
        return optax.apply_updates(params, updates), memory

    process = dynamics(None)
    step = eqx.filter_jit(lambda s: process.step(PROBLEM, s, KEY)[0])
    state, memory = process.init(PROBLEM, params), transform.init(params)
    for _ in range(5):
        state = step(state)
        params, memory = plain(params, memory)
    for ours, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        assert np.array_equal(ours, theirs)


def test_runs_are_reproducible_and_resume_to_the_same_bits(tmp_path, monkeypatch):
    options = {"until": 2.0, "records": 4, "seeds": [0, 5], "progress": False}
    whole = tw.run(PROBLEM, dynamics(4), **options)
    alone = tw.run(PROBLEM, dynamics(4), **options | {"seeds": [5], "records": 2})
    assert np.allclose(alone.parameters[0, -1], whole.parameters[1, -1], rtol=1e-12, atol=1e-14)
    assert not np.allclose(whole.parameters[0, -1], whole.parameters[1, -1])
    record, taken = chunks.Loop.record, []

    def stopped(self, states):
        record(self, states)
        taken.append(1)
        if len(taken) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(chunks.Loop, "record", stopped)
    with pytest.raises(tw.Interrupted):
        tw.run(PROBLEM, dynamics(4), out=tmp_path / "a.zarr", **options)
    monkeypatch.undo()
    resumed = tw.run(PROBLEM, dynamics(4), out=tmp_path / "a.zarr", **options)
    assert np.array_equal(resumed.parameters, whole.parameters)


def test_what_does_not_fit_is_refused():
    with pytest.raises(tw.InputError, match="a batch of 13 of 12 examples came"):
        dynamics(13).init(PROBLEM, PROBLEM.init(KEY))
    for batch in (0, -1):
        with pytest.raises(tw.InputError, match=f"a batch of {batch} examples came"):
            dynamics(batch)
    bowl = Function(lambda x: jnp.sum(x**2), np.ones(2))
    with pytest.raises(tw.InputError, match="a Function has no examples"):
        dynamics(1).init(bowl, bowl.start)


def test_passes_are_told_of_examples_under_weight_decay():
    decayed = tw.problems.Decayed(PROBLEM, 0.1)
    passes = tw.gradient_descent(0.1, tw.oracles.minibatch(3)).clocks(decayed)["passes"]
    np.testing.assert_allclose(passes.of(np.array([0, 4, 8])), [0, 1, 2])  # 3 of 12 a step


def test_an_objective_with_a_term_of_its_own_has_no_known_covariance():
    patches = [[[True, True, False], [False, False, True]]]
    beyond = tw.problems.long_range(supervised(mlp([5]), (X, Y[:, :1])), patches, 0.5)
    params = beyond.init(KEY)
    with pytest.raises(tw.InputError, match="no known covariance"):
        tw.oracles.minibatch(3).noise(beyond, params, jnp.ones(12))


def test_the_batch_is_in_the_record():
    assert "batch" not in dynamics(None).describe()
    assert dynamics(4).describe()["batch"] == 4
