"""Sharpness and smallest eigenvalue against dense Hessians, along paths and at bad points."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.complement import SMALL
from thalweg.core.hessian_product import dense_hessian
from thalweg.core.result import Result
from thalweg.probes import Moment, sharpness, smallest_eigenvalue
from thalweg.problems import Function

CURVATURE = jnp.asarray([4.0, 1.0, -7.0])
SADDLE = Function(lambda x: 0.5 * jnp.sum(CURVATURE.astype(x.dtype) * x**2), np.ones(3))
EXTREME = {"largest": (sharpness, jnp.max), "smallest": (smallest_eigenvalue, jnp.min)}


def small_net(loss: str):
    x = np.random.default_rng(0).normal(size=(15, 4))
    labels = np.arange(15) % 3 if loss == "cross-entropy" else np.sin(x[:, :3])
    return tw.problems.supervised(tw.models.mlp([3, 2], "tanh"), (x, labels), loss)


@pytest.mark.thorough(after=2)
@pytest.mark.parametrize("which", EXTREME)
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_a_saddle_has_signed_eigenvalues(which, dtype):
    probe, pick = EXTREME[which]
    reading = tw.measure(SADDLE, jnp.ones(3, dtype), probe())
    assert reading.value.dtype == dtype
    assert reading.value == pytest.approx(float(pick(CURVATURE)), rel=1e-5)
    assert reading.error <= 1e-3
    assert reading.result == Result.OK


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("curvature", [[-1.0, -2.0, -9.0], [0.0, 0.0, 0.0], [3.0, 3.0, 3.0], [5.0]])
def test_definite_flat_round_and_single(curvature):
    lam = jnp.asarray(curvature)
    problem = Function(lambda x: 0.5 * jnp.sum(lam * x**2), np.ones(len(curvature)))
    top = tw.measure(problem, problem.start, sharpness())
    bottom = tw.measure(problem, problem.start, smallest_eigenvalue())
    assert top.value == pytest.approx(max(curvature), abs=1e-10)
    assert bottom.value == pytest.approx(min(curvature), abs=1e-10)
    assert top.result == bottom.result == Result.OK


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("loss", ["squared-error", "cross-entropy"])
def test_nets_along_descent_against_the_dense_hessian(loss):
    """At every record: the truth is within the error; sharpness is never too high."""
    problem = small_net(loss)
    probes = [sharpness(), smallest_eigenvalue(products=25)]
    run = tw.run(problem, tw.gradient_descent(0.2), until=16.0, records=40, probes=probes)
    _, unravel = jax.flatten_util.ravel_pytree(problem.init(jax.random.key(0)))
    hessians = jax.jit(jax.vmap(lambda t: dense_hessian(problem.objective, unravel(t))))
    spectra = np.linalg.eigvalsh(hessians(jnp.asarray(run.parameters.values[0])))
    top, bottom = spectra[:, -1], spectra[:, 0]
    value, error, code = (np.asarray(part)[0] for part in run.reading("sharpness"))
    assert np.all(code == 0)
    assert np.all(value <= top * (1 + 1e-9))
    assert np.all(np.abs(spectra - value[:, None]).min(1) <= error * (1 + 1e-6) + 1e-9)
    # The residual is at most a per cent of the value, so the value errs by its square over the gap.
    assert np.all(value >= top * (1 - 1e-2))
    value, error, code = (np.asarray(part)[0] for part in run.reading("smallest_eigenvalue"))
    assert np.all(code == 0)
    assert np.all(value >= bottom - 1e-9)
    assert np.all(value - error <= bottom + 1e-9)
    assert run.dataset["smallest_eigenvalue"].attrs["units"] == "loss/parameter^2"


def test_enough_products_leave_rounding_only():
    problem = small_net("squared-error")
    params = problem.init(jax.random.key(1))
    truth = np.linalg.eigvalsh(dense_hessian(problem.objective, params))
    reading = tw.measure(problem, params, smallest_eigenvalue(products=len(truth)))
    assert reading.value == pytest.approx(truth[0], abs=1e-12)
    assert reading.error <= 1e-11


def test_few_products_admit_that_they_know_nothing():
    problem = Function(lambda x: jnp.sum(x**2), np.ones(500))
    reading = tw.measure(problem, problem.start, smallest_eigenvalue(products=3))
    assert np.isposinf(reading.error)
    assert reading.result == Result.NOT_CONVERGED


@pytest.mark.thorough
def test_a_limit_of_products_is_told():
    lam = jnp.linspace(0.0, 1.0, 300)
    problem = Function(lambda x: 0.5 * jnp.sum(lam * x**2), np.ones(300))
    reading = tw.measure(problem, problem.start, sharpness(tolerance=1e-8, most_products=20))
    assert reading.result == Result.NOT_CONVERGED
    assert 0.9 < reading.value <= 1
    assert np.abs(lam - reading.value).min() <= reading.error


@pytest.mark.thorough
@pytest.mark.parametrize("which", EXTREME)
def test_bad_points_are_coded_and_forgotten(which):
    probe = EXTREME[which][0]()
    measure = jax.jit(lambda p, m, r: probe.measure(SADDLE, p, m, Moment(r, jax.random.key(0))))
    memory = probe.start(SADDLE, jnp.ones(3))
    for bad in (jnp.nan, jnp.inf):
        nonsense = Function(lambda x, bad=bad: jnp.sum(x**2) * bad, np.ones(3))
        assert tw.measure(nonsense, jnp.ones(3), probe).result == Result.NONFINITE
    quartic = Function(lambda x: jnp.sum(x**4), np.ones(3))
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        assert tw.measure(quartic, jnp.asarray([1.0, bad, 1.0]), probe).result == Result.NONFINITE
    memory = jax.tree.map(lambda m: jnp.full_like(m, jnp.nan), memory)
    for record in (0, 1, 24, 25):
        reading, memory = measure(jnp.ones(3), memory, jnp.asarray(record))
        assert reading.result == Result.OK
        assert np.all(np.isfinite(memory))


@pytest.mark.thorough
@pytest.mark.parametrize("which", EXTREME)
def test_vmap_is_a_loop(which):
    probe, pick = EXTREME[which]
    probe = probe()
    quartic = Function(lambda x: jnp.sum(x**4) / 12 - 2 * x[0] * x[1], np.ones(6))
    points = jax.random.normal(jax.random.key(5), (7, 6)).at[3].set(jnp.nan)
    keys = jax.random.split(jax.random.key(0), 7)

    def one(point, key):
        moment = Moment(jnp.asarray(0), key)
        return probe.measure(quartic, point, probe.start(quartic, point), moment)[0]

    together = jax.jit(jax.vmap(one))(points, keys)
    for i in range(7):
        alone = jax.jit(one)(points[i], keys[i])
        assert alone.result == together.result[i] == (Result.NONFINITE if i == 3 else Result.OK)
        if i != 3:
            truth = pick(jnp.linalg.eigvalsh(dense_hessian(quartic.objective, points[i])))
            assert together.value[i] == pytest.approx(float(truth), rel=1e-2)
            assert together.value[i] == pytest.approx(float(alone.value), rel=1e-7)


@pytest.mark.thorough
def test_an_eigenvalue_from_outside_the_block_is_found_at_a_recheck():
    """A direction that both carried vectors are blind to rises above them."""
    rank = SMALL + 4

    def f(x):
        # x[-1] plays the clock: it sets the curvature of the direction x[2].
        fixed = jnp.asarray([5.0, 4.0] + [0.0] * (rank - 3))
        clock = jax.lax.stop_gradient(x[-1])
        others = 0.5 * jnp.sum(fixed * x[: rank - 1] ** 2)
        return others + 0.5 * clock * x[2] ** 2 - 0.5 * 2.0 * x[3] ** 2

    problem, probe = Function(f, np.zeros(rank)), sharpness(recheck=10)
    measure = jax.jit(lambda p, m, r, k: probe.measure(problem, p, m, Moment(r, k)))
    memory, late = probe.start(problem, problem.start), []
    for record in range(31):
        point = jnp.zeros(rank).at[-1].set(0.4 * record)
        key = jax.random.fold_in(jax.random.key(2), record)
        reading, memory = measure(point, memory, jnp.asarray(record), key)
        truth = max(5.0, 0.4 * record)
        assert reading.value <= truth + 1e-12
        if reading.value < 0.97 * truth:
            late.append(record)
    assert len(late) <= 10
    assert late == [] or max(late) <= 20


def test_modes_that_take_over_in_turn_from_a_symmetric_start_are_seen_at_once():
    """Of a diagonal linear net no flow leads into the directions whose curvature takes over."""
    target = np.diag([3.0, 1.0])
    problem = tw.problem((np.eye(2), target), model="linear:2", loss="squared-error")
    start = jax.tree.map(lambda w: 1e-3 * jnp.eye(*w.shape), problem.init(jax.random.key(0)))
    flow = tw.run(
        problem, tw.gradient_flow(error=1e-4), until=14.0, records=14, start=start,
        probes="sharpness",
    )  # fmt: skip
    unravel = jax.flatten_util.ravel_pytree(start)[1]
    hessian = jax.vmap(lambda flat: dense_hessian(problem.objective, unravel(flat)))
    truth = np.linalg.eigvalsh(hessian(jnp.asarray(flow.parameters.values[0])))[:, -1]
    value = flow.dataset["sharpness"].values[0]
    assert np.all(value <= truth + 1e-9)
    assert np.all(truth <= value + flow.dataset["sharpness_error"].values[0])


def test_bad_settings_are_refused():
    for bad in (0, 1, -3):
        with pytest.raises(tw.InputError, match="products came as"):
            smallest_eigenvalue(products=bad)
    for bad in (0.0, 0.5, -1.0, np.nan):
        with pytest.raises(tw.InputError, match="failure came as"):
            smallest_eigenvalue(failure=bad)
