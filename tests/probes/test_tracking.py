"""Top eigenvalues, preconditioned sharpness, kernels and foreign loops against dense truth."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import thalweg as tw
from thalweg.core.complement import SMALL
from thalweg.core.errors import InputError
from thalweg.core.hessian_product import dense_hessian
from thalweg.core.result import Result
from thalweg.probes import (
    Tracker,
    kernel_alignment,
    kernel_drift,
    kernel_effective_rank,
    kernel_smallest_eigenvalue,
    loss,
    preconditioned_sharpness,
    second_moment,
    sharpness,
    top_eigenvalues,
)
from thalweg.problems import Function

X = np.random.default_rng(0).normal(size=(15, 4))
PROBLEM = tw.problems.supervised(tw.models.mlp([4, 3], "tanh"), (X, np.sin(X[:, :2])))
START, UNRAVEL = ravel_pytree(PROBLEM.init(jax.random.key(0)))


def hessians(points):
    one = jax.jit(jax.vmap(lambda t: dense_hessian(PROBLEM.objective, UNRAVEL(t))))
    return np.asarray(one(jnp.asarray(points)))


def jacobians(points):
    one = jax.jacrev(lambda t: PROBLEM.outputs(UNRAVEL(t)))
    return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(points)))


def descent(*probes):
    return tw.run(PROBLEM, tw.gradient_descent(0.2), until=16.0, records=40, probes=probes)


@pytest.mark.thorough
def test_top_eigenvalues_along_descent():
    run = descent(top_eigenvalues(3))
    truth = np.linalg.eigvalsh(hessians(run.parameters.values[0]))[:, :-4:-1]
    value, error, code = (np.asarray(part)[0] for part in run.reading("top_eigenvalues"))
    assert np.all(code == 0)
    assert np.all(value <= truth + 1e-9)
    assert np.all(truth - value <= error + 1e-9)
    assert np.all(error <= 1e-2 * value[:, :1])


def test_top_eigenvalues_of_few_dimensions():
    problem = Function(lambda x: 0.5 * jnp.sum(jnp.asarray([3.0, -1.0, 2.0]) * x**2), np.ones(3))
    reading = tw.measure(problem, problem.start, top_eigenvalues(3))
    assert np.allclose(reading.value, [3, 2, -1], atol=1e-10)
    with pytest.raises(InputError, match="4 eigenvalues were asked of a Hessian of size 3"):
        tw.measure(problem, problem.start, top_eigenvalues(4))


def test_kernel_probes_along_descent():
    probes = (kernel_drift, kernel_alignment, kernel_effective_rank, kernel_smallest_eigenvalue)
    run = descent(*(probe(12) for probe in probes))
    J = jacobians(run.parameters.values[0])[:, :12]
    K = np.einsum("tiap,tjap->tij", J, J)
    table = run.dataset
    drift = np.linalg.norm(K - K[0], axis=(1, 2)) / np.linalg.norm(K[0])
    assert np.allclose(table["kernel_drift"][0], drift, atol=1e-12)
    assert float(table["kernel_drift"][0, -1]) > 0.05
    values = np.linalg.eigvalsh(K)
    assert np.allclose(table["kernel_smallest_eigenvalue"][0], values[:, 0], atol=1e-12)
    p = values / values.sum(axis=1, keepdims=True)
    assert np.allclose(table["kernel_effective_rank"][0], np.exp(-(p * np.log(p)).sum(1)))
    y = np.asarray(PROBLEM.targets[:12])
    centring = np.eye(12) - 1 / 12
    C, M = centring @ K @ centring, centring @ y @ y.T @ centring
    cosine = np.einsum("tij,ij->t", C, M) / np.linalg.norm(C, axis=(1, 2)) / np.linalg.norm(M)
    assert np.allclose(table["kernel_alignment"][0], cosine)


def test_kernel_probes_need_examples():
    problem = Function(jnp.sum, np.ones(3))
    with pytest.raises(InputError, match="kernel_drift needs a problem with data"):
        tw.measure(problem, problem.start, kernel_drift())


@pytest.mark.thorough
@pytest.mark.parametrize("corrected", [True, False], ids=["adam", "rmsprop"])
def test_preconditioned_sharpness_along_adaptive_descent(corrected):
    adam, rmsprop = optax.adam(1e-2, b2=0.9), optax.rmsprop(1e-2, decay=0.9)
    method = adam if corrected else optax.chain(optax.clip(9.0), rmsprop)
    probe = preconditioned_sharpness(second_moment(0.9, 1e-8, corrected))
    run = tw.run(PROBLEM, tw.optax_dynamics(method, 1e-2), until=0.3, records=30, probes=[probe])
    value, error, code = (np.asarray(part)[0] for part in run.reading(probe.name))
    points, v = run.parameters.values[0], 0.0
    gradient = jax.jit(jax.grad(lambda t: PROBLEM.objective(UNRAVEL(t))))
    for k, H in enumerate(hessians(points)[1:], start=1):
        v = 0.9 * v + 0.1 * np.asarray(gradient(points[k - 1])) ** 2
        d = np.sqrt(v / (1 - 0.9**k if corrected else 1)) + 1e-8
        truth = np.linalg.eigvalsh(H / np.sqrt(np.outer(d, d)))[-1]
        assert value[k] <= truth * (1 + 1e-9)
        assert truth - value[k] <= error[k] + 1e-9 * truth
        assert error[k] <= 1e-2 * truth
    assert np.all(code[1:] == Result.OK)
    if corrected:  # before the first step 0/0, which is no preconditioner
        assert code[0] == Result.NOT_MEASURED
        assert np.isnan(value[0])


def test_plain_descent_has_no_preconditioner():
    with pytest.raises(InputError, match="gradient descent tells no preconditioner"):
        tw.run(PROBLEM, tw.gradient_descent(0.1), until=1.0, probes=[preconditioned_sharpness()])


def objective(params, batch):
    x, y = batch
    hidden = jnp.tanh(x @ params["in"])
    return jnp.mean((hidden @ params["out"] - y) ** 2)


@pytest.mark.thorough
def test_a_foreign_loop_is_tracked():
    rng = np.random.default_rng(1)
    params = {"in": jnp.asarray(rng.normal(size=(4, 6))), "out": jnp.asarray(rng.normal(size=6))}
    batch = (jnp.asarray(X), jnp.sin(X[:, 0]))
    track = Tracker(objective, [sharpness(), top_eigenvalues(2), loss()])
    memory = track.start(params, batch)
    step = jax.jit(
        lambda p: jax.tree.map(lambda a, g: a - 0.05 * g, p, jax.grad(objective)(p, batch))
    )
    for _ in range(60):
        readings, memory = track.measure(params, batch, memory)
        truth = np.linalg.eigvalsh(dense_hessian(lambda p: objective(p, batch), params))
        for name, wanted in (("sharpness", truth[-1]), ("top_eigenvalues", truth[:-3:-1])):
            value, error, code = readings[name]
            assert int(code) == Result.OK
            assert np.all(np.abs(np.asarray(value) - wanted) <= np.asarray(error) + 1e-9)
        assert float(readings["loss"].value) == pytest.approx(float(objective(params, batch)))
        params = step(params)
    assert int(memory[0]) == 60


def test_rechecks_come_early_and_then_evenly():
    """The rule in full: each pause twice the last, five at first, never above `recheck`."""
    size, tracked = SMALL + 1, (sharpness, top_eigenvalues, preconditioned_sharpness)
    for recheck, due in {
        25: [0, 5, 15, 35, 60, 85], 100: [0, 5, 15, 35, 75], 10: [0, 5, *range(15, 100, 10)],
        3: [*range(0, 100, 3)], 1: [*range(100)],
    }.items():  # fmt: skip
        for maker in tracked:
            probe = maker(recheck=recheck)
            assert [r for r in range(100) if probe.bounds(r, size)] == due
            assert all(probe.bounds(r, SMALL) for r in range(100))


@pytest.mark.slow
def test_records_between_rechecks_are_named():
    track = Tracker(lambda x, _: jnp.sum(x**2), [sharpness(recheck=5), loss()])
    start, told = jnp.ones(SMALL + 1), []
    memory = track.start(start, None)
    for _ in range(7):
        _, memory = track.measure(start, None, memory)
        told.append(track.unbounded(start, memory))
    assert told == [(), *[("sharpness",)] * 4, (), ("sharpness",)]


def test_what_a_tracker_cannot_follow_is_said():
    params, batch = {"w": jnp.ones(3)}, jnp.ones(3)
    with pytest.raises(InputError, match=r"value has shape \(3,\)"):
        Tracker(lambda p, b: p["w"] * b, [sharpness()]).start(params, batch)
    with pytest.raises(InputError, match="at least one, each once"):
        Tracker(lambda p, b: p["w"] @ b, [sharpness(), sharpness()])
    with pytest.raises(InputError, match="needs a problem with data"):
        Tracker(lambda p, b: p["w"] @ b, [kernel_drift()]).start(params, batch)
