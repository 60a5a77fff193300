"""Certificates from measured curvature, on tables made by hand and on real paths."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import thalweg as tw
from thalweg.comparison.certificates import along_flow, homogeneous_bound
from thalweg.core.hessian_product import dense_hessian
from thalweg.problems import Function
from thalweg.theory.descent.euler import euler_certificate
from thalweg.trajectory import Trajectory

TIMES = np.linspace(0.0, 2.0, 9)


def made_up(seeds=(0,), times=TIMES, lift=0.0, **holes) -> Trajectory:
    """A flow whose readings are simple functions of time and seed."""
    seed = np.asarray(seeds, float)[:, None]
    columns = {
        "sharpness": 3.0 + times + seed + lift,
        "sharpness_error": 0.1 + 0 * times + 0 * seed,
        "smallest_eigenvalue": -0.5 - 0.1 * times - seed - lift,
        "smallest_eigenvalue_error": 0.2 + 0 * times + 0 * seed,
        "gradient_norm": 2.0 - 0.5 * times + seed + lift,
        "gradient_norm_error": 0 * times + 0 * seed,
    }
    for name, positions in holes.items():
        columns[name][:, positions] = np.nan
    dataset = xr.Dataset(
        {name: (("seed", "time"), value) for name, value in columns.items()},
        coords={"seed": list(seeds), "time": times},
    )
    return Trajectory(dataset)


def expected(seed=0, times=TIMES, lift=0.0, eps=0.1):
    """The theorem on the same functions."""
    m = 0.5 + 0.1 * times + seed + lift + 0.2
    beta = np.maximum(3.0 + times + seed + lift + 0.1, m)
    return euler_certificate(
        times, m, beta, 2.0 - 0.5 * times + seed + lift, eps, kind="indicative"
    )


def test_readings_go_into_the_theorem_with_their_errors():
    (found,) = along_flow(made_up(), {0: 0.1})
    assert found.seed == 0
    assert found.certificate.step_size == pytest.approx(expected().step_size)
    assert found.certificate.kind == "indicative"
    assert np.allclose(found.certificate.gamma, 2.0)  # the running maximum


def test_seeds_are_matched_by_name_and_not_by_place():
    flow, other = made_up((0, 4, 2)), made_up((2, 0), lift=0.3)
    for seed in (2, 0):
        (found,) = along_flow(flow, {seed: 0.1}, (other,))
        assert found.seed == seed
        both = expected(seed, lift=0.3)
        assert found.certificate.step_size == pytest.approx(both.step_size)
    assert [c.seed for c in along_flow(flow, {4: 0.1, 0: 0.2})] == [4, 0]
    assert along_flow(flow, {4: 0.1})[0].certificate.step_size == pytest.approx(
        expected(4).step_size
    )


def test_times_are_matched_up_to_rounding():
    other = made_up(times=TIMES * (1 + 3e-16), lift=0.3)
    (found,) = along_flow(made_up(), {0: 0.1}, (other,))
    assert len(found.certificate.time) == len(TIMES)
    assert found.certificate.step_size == pytest.approx(expected(lift=0.3).step_size)


def test_gaps_are_left_out():
    (found,) = along_flow(made_up(smallest_eigenvalue=[1, 3, 5, 7]), {0: 0.1})
    assert np.array_equal(found.certificate.time, TIMES[::2])
    assert found.certificate.step_size == pytest.approx(expected(times=TIMES[::2]).step_size)
    assert along_flow(made_up(sharpness=[0]), {0: 0.1}) == []
    assert along_flow(made_up(gradient_norm=list(range(2, 9))), {0: 0.1}) == []
    bare = made_up()
    assert along_flow(Trajectory(bare.dataset.drop_vars("sharpness")), {0: 0.1}) == []


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize(
    ("objective", "start", "until"),
    [
        (lambda x: 0.5 * jnp.sum(jnp.asarray([3.0, 0.5]) * x**2), [1.0, -1.0], 3.0),
        (lambda x: 0.5 * jnp.sum(jnp.asarray([3.0, -0.5]) * x**2), [1.0, 0.1], 3.0),
        (lambda x: 0.5 * (x[0] * x[1] - 1) ** 2, [1.4, 0.2], 4.0),
    ],
)
def test_the_indicated_step_size_keeps_descent_near(objective, start, until):
    problem = Function(objective, np.asarray(start))
    probes = [tw.probes.sharpness(), tw.probes.smallest_eigenvalue(), tw.probes.gradient_norm()]
    flow = tw.run(problem, tw.gradient_flow(1e-8), until=until, records=60, probes=probes)
    (found,) = along_flow(flow, {0: 0.05})
    size = until / np.ceil(until / found.certificate.step_size)
    descent = tw.run(problem, tw.gradient_descent(size), until=until, records=60)
    exact = tw.run(problem, tw.gradient_flow(1e-8), times=descent.dataset["time"].values)
    gaps = tw.distance(descent, exact)["distance"].values[0]
    assert 0 < gaps.max() <= 0.05
    bound = np.interp(
        descent.dataset["time"], flow.dataset["time"], found.certificate.error_bound(size)
    )
    assert np.all(gaps[1:] <= bound[1:] * 1.1)


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("activation", ["linear", "relu", "leaky-relu"])
@pytest.mark.parametrize("loss", ["squared-error", "cross-entropy"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_homogeneous_bound_is_below_the_hessian(activation, loss, reduction):
    x = np.random.default_rng(0).normal(size=(8, 3))
    targets = np.arange(8) % 2 if loss == "cross-entropy" else np.sin(x[:, :2])
    model = tw.models.mlp([4], activation, bias=False)
    problem = tw.problems.supervised(model, (x, targets), loss, reduction=reduction)
    run = tw.run(problem, tw.gradient_descent(0.05), until=1.0, records=2, seeds=2)
    bound = homogeneous_bound(problem, run)
    assert bound.dims == ("seed", "time")
    _, unravel = jax.flatten_util.ravel_pytree(problem.init(jax.random.key(0)))
    hessian = jax.jit(lambda t: dense_hessian(problem.objective, unravel(t)))
    for s in range(2):
        for t in range(3):
            least = np.linalg.eigvalsh(hessian(jnp.asarray(run.parameters[s, t].values)))[0]
            assert float(bound[s, t]) <= least + 1e-10
            assert float(bound[s, t]) < 0


def test_the_homogeneous_bound_is_for_homogeneous_nets_only():
    x = np.random.default_rng(0).normal(size=(8, 3))
    for model in (tw.models.mlp([4], "tanh", bias=False), tw.models.mlp([4], "relu")):
        problem = tw.problems.supervised(model, (x, x))
        run = tw.run(problem, tw.gradient_descent(0.1), times=[0.0])
        assert homogeneous_bound(problem, run) is None
    assert homogeneous_bound(Function(jnp.sum, np.ones(2)), run) is None
