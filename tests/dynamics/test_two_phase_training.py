"""Two-phase training: phase 1 is the base, one shake, then the last layer alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import thalweg as tw
from thalweg.driver import chunks
from thalweg.dynamics.two_phase_training import CERTIFIED, two_phase
from thalweg.models import ResidualMLP, mlp
from thalweg.problems import Function, supervised
from thalweg.problems.last_layer import last_layer_problem

X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.random.default_rng(1).normal(size=(12, 2))
LABELS = np.arange(12) % 3
NET = mlp([5, 4], "softplus")
PROBLEM = supervised(NET, (X, Y))
MOMENTUM = optax.sgd(0.1, momentum=0.9)
HIDDEN = 3 * 5 + 5 + 5 * 4 + 4
STEPS = np.array([0, 1, 4, 5, 6, 9, 15])  # phase 2 begins at 5


def path(dynamics, problem=PROBLEM, seeds=1, steps=STEPS, **options):
    return tw.run(
        problem, dynamics, times=dynamics.clock(steps), seeds=seeds, progress=False, **options
    )


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize(("batch", "seeds"), [(None, 1), (4, 3)])
def test_phases(batch, seeds):
    base = path(tw.optax_dynamics(MOMENTUM, 0.1, batch=batch), seeds=seeds).parameters.values
    both = path(two_phase(MOMENTUM, 0.1, 5, 0.01, batch=batch), seeds=seeds).parameters.values
    assert np.allclose(both[:, :4], base[:, :4], rtol=1e-12, atol=1e-14)  # steps 0 to 5
    hidden = both[:, :, :HIDDEN]
    assert np.array_equal(hidden[:, 4:], np.repeat(hidden[:, 4:5], 3, axis=1))
    shake = hidden[:, 4] - hidden[:, 3]
    assert np.all(shake != 0)
    assert 0.005 < shake.std() < 0.02
    if seeds > 1:
        assert not np.allclose(shake[0], shake[1])
    moved = np.diff(both[:, 4:, HIDDEN:], axis=1)
    assert np.all(np.abs(moved) > 0)


def test_the_shake_is_standard_normal():
    wide = supervised(mlp([400], "softplus"), (X, Y))
    process = two_phase(MOMENTUM, 0.1, 0, 0.5)
    found = path(process, wide, steps=np.array([0, 1])).parameters.values[0, :, : 4 * 400]
    z = (found[1] - found[0]) / 0.5
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.std() - 1) < 4 / np.sqrt(2 * z.size)
    again = path(process, wide, steps=np.array([0, 1])).parameters.values[0, :, : 4 * 400]
    assert np.array_equal(found, again)


@pytest.mark.parametrize("reset", [False, True])
def test_phase_two_is_the_base_on_the_last_layer(reset):
    """Momentum of the last layer is kept or reset; by hand, step by step."""
    process = two_phase(MOMENTUM, 0.1, 5, 0.0, reset=reset)
    found = path(process).parameters.values[0]
    unravel = ravel_pytree(PROBLEM.init(jax.random.key(0)))[1]
    params = unravel(jnp.asarray(found[0]))
    trace = jax.tree.map(jnp.zeros_like, params)
    for k in range(15):
        gradient = jax.grad(PROBLEM.objective)(params)
        if k == 5 and reset:
            trace = jax.tree.map(jnp.zeros_like, params)
        trace = jax.tree.map(lambda m, g: 0.9 * m + g, trace, gradient)
        moved = jax.tree.map(lambda p, m: p - 0.1 * m, params, trace)
        params = moved if k < 5 else [*params[:-1], moved[-1]]
    assert np.allclose(ravel_pytree(params)[0], found[-1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("size", [0.03, CERTIFIED])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("targets", "smoothness"), [(Y, 1.0), (LABELS, 0.5)])
def test_a_step_size_of_its_own(size, reduction, targets, smoothness):
    problem = supervised(NET, (X, targets), reduction=reduction)
    slow = optax.sgd(0.01, momentum=0.9)  # the sum over examples allows no more
    process = two_phase(slow, 0.01, 5, 0.01, batch=4, last_step_size=size)
    found = path(process, problem).parameters.values[0]
    unravel = ravel_pytree(problem.init(jax.random.key(0)))[1]
    params = unravel(jnp.asarray(np.concatenate([found[4, :HIDDEN], found[3, HIDDEN:]])))
    A = np.column_stack([NET.features(params, problem.inputs), np.ones(12)])
    share = 12 if reduction == "mean" else 1
    eta = share / (smoothness * np.linalg.norm(A, 2) ** 2) if size == CERTIFIED else size
    for _ in range(10):
        slope = jax.grad(problem.objective)(params)[-1]
        last = jax.tree.map(lambda p, g, eta=eta: p - eta * g, params[-1], slope)
        params = [*params[:-1], last]
    assert np.allclose(ravel_pytree(params)[0], found[-1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("targets", "tight"), [(Y, True), (LABELS, False)])
def test_the_certified_step_is_one_over_the_sharpness_of_the_last_layer(reduction, targets, tight):
    """1/L_H against the dense Hessian: equal for squared error, never above for cross-entropy."""
    problem = supervised(NET, (X, targets), reduction=reduction)
    process = two_phase(optax.sgd(0.01), 0.01, 0, 0.0, last_step_size=CERTIFIED)
    state = state_after(process, problem, 1)
    last = last_layer_problem(problem, state.params)
    flat, unravel = ravel_pytree(state.params[-1])
    # At outputs of zero the curvature of cross-entropy is largest.
    hessian = jax.hessian(lambda v: last.objective(unravel(v)))(0 * flat)
    product = float(state.memory.step_size) * float(jnp.linalg.eigvalsh(hessian)[-1])
    assert product == pytest.approx(1, rel=1e-10) if tight else 0.3 < product <= 1


def state_after(process, problem, count):
    state = process.init(problem, problem.init(jax.random.key(0)))
    step = jax.jit(lambda s: process.step(problem, s, jax.random.key(1))[0])
    for _ in range(count):
        state = step(state)
    return state


def test_the_clock():
    schedule = optax.linear_schedule(0.2, 0.1, 20)
    for size in (0.1, schedule):
        process = two_phase(MOMENTUM, size, 5, 0.01, last_step_size=0.03)
        one = tw.optax_dynamics(MOMENTUM, size).clock(np.array([5]))[0]
        assert np.allclose(process.clock(np.array([5, 6, 15])), one + 0.03 * np.array([0, 1, 10]))
        for k in (0, 3, 5, 6, 15):
            assert process.steps_until(process.clock(np.array([k]))[0]) == k
        reached = state_after(process, PROBLEM, 8)
        assert reached.time == pytest.approx(process.clock(np.array([8]))[0], rel=1e-6)
        assert reached.evaluations == reached.step == 8
    process = two_phase(MOMENTUM, 0.1, 5, 0.01)
    assert np.allclose(process.clock(np.array([3, 8])), [0.3, 0.8])


def test_only_one_branch_is_taken_over_seeds():
    """Both phases under vmap would cost both, at every step."""
    process = two_phase(MOMENTUM, 0.1, 5, 0.01)
    keys = jax.random.split(jax.random.key(0), 2)
    states = jax.vmap(lambda k: process.init(PROBLEM, PROBLEM.init(k)))(keys)
    text = str(jax.make_jaxpr(jax.vmap(lambda s, k: process.step(PROBLEM, s, k)[0]))(states, keys))
    assert text.count(" cond[") == 2


def test_batch_normalisation_keeps_the_moments_of_all_examples():
    net = ResidualMLP((6,), "softplus", normalised=True)
    problem = supervised(net, (X, Y))
    process = two_phase(MOMENTUM, 0.1, 2, 0.01, batch=4)
    found = path(process, problem, steps=np.array([0, 2, 3, 6])).parameters.values[0]
    unravel = ravel_pytree(problem.init(jax.random.key(0)))[1]
    state = state_after(process, problem, 3)
    fixed = net.at_moments_of(state.params, problem.inputs)
    for row in (0, 5):
        alone = fixed.features(state.params, problem.inputs[row : row + 1])
        assert np.allclose(alone[0], state.memory.features[row], rtol=1e-12)
    before, after = (unravel(jnp.asarray(flat)) for flat in found[2:])
    for a, b in zip(jax.tree.leaves(before[:-1]), jax.tree.leaves(after[:-1]), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("microbatch", [None, 5])
def test_the_problem_of_the_last_layer_is_the_problem(microbatch):
    problem = supervised(NET, (X, LABELS), microbatch=microbatch)
    params = problem.init(jax.random.key(2))
    last = last_layer_problem(problem, params)
    other = jax.tree.map(lambda leaf: leaf + 0.3, last.init(jax.random.key(0)))
    whole = float(problem.objective([*params[:-1], other]))
    assert last.objective(other) == pytest.approx(whole, rel=1e-13)
    slope = jax.grad(problem.objective)([*params[:-1], other])[-1]
    for a, b in zip(
        jax.tree.leaves(jax.grad(last.objective)(other)), jax.tree.leaves(slope), strict=True
    ):
        assert np.allclose(a, b, rtol=1e-11, atol=1e-14)


def test_float32_stays_float32():
    problem = supervised(NET, (X, Y), precision="float32")
    for size in (None, CERTIFIED):
        state = state_after(two_phase(MOMENTUM, 0.1, 1, 0.01, last_step_size=size), problem, 3)
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(state.params)} == {"float32"}


def test_a_run_resumes_to_the_same_bits_across_the_phases(tmp_path, monkeypatch):
    process = two_phase(MOMENTUM, 0.1, 5, 0.01, batch=4)
    whole = path(process, seeds=2)
    record, taken = chunks.Loop.record, []

    def stopped(self, states):
        record(self, states)
        taken.append(1)
        if len(taken) == 5:  # just into phase 2
            raise KeyboardInterrupt

    monkeypatch.setattr(chunks.Loop, "record", stopped)
    with pytest.raises(tw.Interrupted):
        path(process, seeds=2, out=tmp_path / "a.zarr")
    monkeypatch.undo()
    resumed = path(process, seeds=2, out=tmp_path / "a.zarr")
    assert np.array_equal(resumed.parameters, whole.parameters)


def test_what_does_not_fit_is_refused():
    with pytest.raises(tw.InputError, match="tau came as -1"):
        two_phase(MOMENTUM, 0.1, -1, 0.01)
    with pytest.raises(tw.InputError, match="perturbation's size came as -1"):
        two_phase(MOMENTUM, 0.1, 5, -1)
    with pytest.raises(tw.InputError, match="last_step_size came as '1/L'"):
        two_phase(MOMENTUM, 0.1, 5, 0.01, last_step_size="1/L")
    with pytest.raises(tw.InputError, match="step size came as 0"):
        two_phase(MOMENTUM, 0.1, 5, 0.01, last_step_size=0.0)
    process = two_phase(MOMENTUM, 0.1, 5, 0.01)
    bowl = Function(lambda x: jnp.sum(x**2), np.ones(2))
    with pytest.raises(tw.InputError, match="no last layer"):
        process.init(bowl, bowl.start)
    bare = supervised(tw.models.Applied(lambda p, x: x @ p, start=np.ones((3, 2))), (X, Y))
    with pytest.raises(tw.InputError, match="does not say which layer is its last"):
        process.init(bare, bare.init(jax.random.key(0)))
