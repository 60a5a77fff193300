"""Distances at equal time, and the regimes on problems where they are known."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import thalweg as tw
from thalweg.problems import Function
from thalweg.trajectory import Trajectory

CURVATURE = jnp.asarray([4.0, 1.0, 0.25])
PROBES = (tw.probes.sharpness(), tw.probes.smallest_eigenvalue(), tw.probes.gradient_norm())


def pair(problem, step: float, until: float, seeds: int = 1, records: int = 40):
    """Descent and flow from the same starts at the same times."""
    options = {"probes": PROBES, "seeds": seeds}
    descent = tw.run(problem, tw.gradient_descent(step), until=until, records=records, **options)
    times = np.unique(np.round(np.linspace(0, until, records + 1) / step)) * step
    return descent, tw.run(problem, tw.gradient_flow(1e-8), times=times, **options)


def quadratic(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum(CURVATURE * x**2)


def normal_start(key: jax.Array) -> jax.Array:
    return jax.random.normal(key, (3,))


def bowl() -> Function:
    return Function(quadratic, draw=normal_start)


@pytest.mark.thorough
def test_distance_on_a_quadratic() -> None:
    """||(1 - eta lambda)^k x_0 - e^{-lambda k eta} x_0||."""
    descent, flow = pair(bowl(), 0.1, 4.0, seeds=2)
    table = tw.distance(descent, flow)
    k, c = np.round(table["time"].values / 0.1)[:, None], np.asarray(CURVATURE)
    for i in range(2):
        start = descent.parameters[i, 0].values
        gap = ((1 - 0.1 * c) ** k - np.exp(-c * k * 0.1)) * start
        way = (1 - np.exp(-c * k * 0.1)) * start
        exact, far = np.linalg.norm(gap, axis=1), np.linalg.norm(way, axis=1)
        error = table["distance_error"][i].values
        assert np.all(np.abs(table["distance"][i].values - exact) <= 5 * error + 1e-13)
        np.testing.assert_allclose(table["displacement"][i], far, atol=1e-6)
        np.testing.assert_allclose(
            table["relative_distance"][i, 1:], exact[1:] / far[1:], rtol=1e-4
        )
    assert float(table["relative_distance"][0, 0]) == 0.0


@pytest.mark.thorough
def test_distance_counts_only_what_is_asked() -> None:
    descent, flow = pair(bowl(), 0.1, 2.0)
    table = tw.distance(descent, flow, mask=np.asarray([True, False, False]))
    gap = np.abs(descent.parameters[0, :, 0].values - flow.parameters[0, :, 0].values)
    np.testing.assert_allclose(table["distance"][0], gap, atol=1e-15)


def test_small_steps_follow_the_flow() -> None:
    verdict = tw.compare(*pair(bowl(), 0.01, 2.0))
    assert verdict.regime == "on the flow"
    # On a convex quadratic what the theorem indicates is kept by descent itself.
    (certificate,) = verdict.certificates
    step = certificate.certificate.step_size
    assert 0 < step < np.inf
    again = tw.compare(*pair(bowl(), step, 2.0))
    assert float(again.dataset["distance"].max()) <= certificate.certificate.eps


def test_large_steps_leave_the_flow() -> None:
    verdict = tw.compare(*pair(bowl(), 0.4, 4.0), eps=0.01)
    assert verdict.regime == "off the flow"
    assert float(verdict.dataset["distance"].max()) > 0.01


def test_beyond_the_threshold_a_quadratic_diverges() -> None:
    verdict = tw.compare(*pair(bowl(), 0.6, 12.0))  # 2/lambda = 0.5
    assert verdict.regime == "divergent"
    assert "diverges" in str(verdict)


@pytest.mark.thorough
def test_seeds_may_differ_and_the_worst_is_told() -> None:
    """f = x^4/4: whether 2/eta is exceeded depends on the start."""
    problem = Function(
        lambda x: 0.25 * jnp.sum(x**4), draw=lambda key: 2.0 * jax.random.normal(key, (1,))
    )
    verdict = tw.compare(*pair(problem, 0.5, 20.0, seeds=8))
    assert verdict.regime == "divergent"
    assert len(set(verdict.regimes.values())) > 1
    assert "worst of 8 seeds" in verdict.sentence


def test_the_edge_of_stability() -> None:
    """Descent settles where the sharpness is near 2/eta.

    On f(u, v) = (u v - 1)^2 / 2 the minima u v = 1 have sharpness u^2 + v^2. From an unbalanced
    start the flow ends at a sharpness above 2/eta; descent cannot stay there, and comes to rest
    just below the threshold.
    """
    problem = Function(lambda p: 0.5 * (p[0] * p[1] - 1.0) ** 2, start=jnp.asarray([4.0, 0.3]))
    descent, flow = pair(problem, 0.128, 200.0, records=100)  # 2/eta = 15.6, the flow ends at 16
    assert float(flow.dataset["sharpness"][0, -1]) > 2 / 0.128
    verdict = tw.compare(descent, flow)
    assert verdict.regime == "edge of stability"
    assert any("above 2/eta" in reason for reason in verdict.reasons)


def test_misfits_are_sentences() -> None:
    problem, dynamics, until = bowl(), tw.gradient_flow(1e-3), {"until": 0.4, "records": 2}
    descent, flow = (tw.run(problem, d, **until) for d in (tw.gradient_descent(0.1), dynamics))
    with pytest.raises(tw.InputError, match="has no step size of its own"):
        tw.compare(flow, descent)
    with pytest.raises(tw.InputError, match="eps came as"):
        tw.compare(descent, flow, eps=-1.0)
    other = tw.run(problem, dynamics, times=[0.123, 0.456])
    with pytest.raises(tw.InputError, match="share no seed or no recorded time"):
        tw.compare(descent, other)
    bare = tw.run(problem, dynamics, parameters=False, **until)
    with pytest.raises(tw.InputError, match="did not record its parameters"):
        tw.compare(descent, bare)


def test_a_path_that_does_not_tell_its_error_is_no_flow() -> None:
    descent, _ = pair(bowl(), 0.1, 2.0, records=4)
    trained = tw.run(bowl(), tw.stabilised_descent(), times=descent.dataset["time"].values)
    with pytest.raises(
        tw.InputError,
        match=r"stabilised descent.* give a run of gradient_flow .*tw.distance.*equal_loss",
    ):
        tw.compare(descent, trained)


def test_a_coarse_flow_is_owned_up_to() -> None:
    descent, _ = pair(bowl(), 1e-5, 1.0, records=4)
    coarse = tw.run(bowl(), tw.gradient_flow(0.1, "bosh3"), times=descent.dataset["time"].values)
    verdict = tw.compare(descent, coarse)
    assert any("flow's own error" in warning for warning in verdict.warnings)


def table(seeds, paths, times, step: float | None, curvature: float = 1.0, **codes) -> Trajectory:
    """A trajectory made by hand; `paths` maps a seed to its parameters (time, parameter)."""
    params = np.stack([paths[s] for s in seeds])
    loss = 0.5 * curvature * np.sum(params**2, -1)
    whole = np.zeros(loss.shape, int)
    data = {
        "parameters": (("seed", "time", "parameter"), params),
        "loss": (("seed", "time"), loss),
        "loss_result": (("seed", "time"), np.where(np.isfinite(loss), 0, 4)),
        "sharpness": (("seed", "time"), np.full(loss.shape, curvature)),
        "sharpness_error": (("seed", "time"), np.zeros(loss.shape)),
        "sharpness_result": (("seed", "time"), whole),
        "result": (("seed", "time"), codes.get("result", whole)),
        "evaluations": (("seed", "time"), whole),
    }
    if step is None:
        data["path_error"] = (("seed", "time"), np.full(loss.shape, 1e-9))
    configuration = {"dynamics": {"step_size": step} if step else {}}
    attrs = {
        "dynamics": "gradient descent" if step else "gradient flow",
        "provenance": json.dumps({"configuration": configuration}),
    }
    return Trajectory(xr.Dataset(data, coords={"seed": list(seeds), "time": times}, attrs=attrs))


TIMES = np.linspace(0.0, 1.0, 11)


def line(end: float) -> np.ndarray:
    return np.stack([np.linspace(1.0, end, 11), np.zeros(11)], axis=1)


def test_seeds_are_matched_by_name_and_not_by_place() -> None:
    """Descent has seeds (7, 1, 3), the flow (3, 1): of the two in common only 3 diverges."""
    lost = line(0.5)
    lost[6:] = np.nan
    result = np.zeros((3, 11), int)
    result[2, 6:] = 4
    descent = table((7, 1, 3), {7: line(0.0), 1: line(0.5), 3: lost}, TIMES, 0.1, result=result)
    flow = table((3, 1), {3: line(0.5), 1: line(0.51)}, TIMES, None)
    verdict = tw.compare(descent, flow)
    assert verdict.regimes == {1: "on the flow", 3: "divergent"}
    assert "worst of 2 seeds (1 on gradient flow, 1 divergent)" in verdict.sentence
    gaps = tw.distance(descent, flow)
    assert gaps["seed"].values.tolist() == [1, 3]
    np.testing.assert_allclose(gaps["distance"].sel(seed=1), np.linspace(0, 0.01, 11), atol=1e-15)
    np.testing.assert_allclose(gaps["distance_error"].sel(seed=1), 1e-9)
    # The first one of descent diverges instead: it is not in common, and does not count.
    other = np.zeros((3, 11), int)
    other[0, 6:] = 4
    fine = table((7, 1, 3), {7: lost, 1: line(0.5), 3: line(0.5)}, TIMES, 0.1, result=other)
    assert tw.compare(fine, flow).regime == "on the flow"


def test_a_loss_lost_at_the_last_record_is_divergence() -> None:
    """The step's own code comes one step late."""
    lost = line(0.5)
    lost[-1] = np.inf
    descent, flow = table((0,), {0: lost}, TIMES, 0.1), table((0,), {0: line(0.5)}, TIMES, None)
    assert tw.compare(descent, flow).regime == "divergent"


def test_times_in_common_are_found_up_to_rounding() -> None:
    """k eta against a sum of etas, and records that only one of them has."""
    long = np.stack([np.linspace(1.0, 0.0, 31), np.zeros(31)], axis=1)
    descent = table((0,), {0: long}, 0.1 * np.arange(31), 0.1)
    flow = table((0,), {0: long}, np.cumsum([0.0] + [0.1] * 30), None)
    assert not np.array_equal(descent.dataset["time"], flow.dataset["time"])
    both = tw.distance(descent, flow)
    assert both.sizes["time"] == 31
    np.testing.assert_allclose(both["distance"], 0)
    third = Trajectory(flow.dataset.isel(time=slice(None, None, 3)))
    for pair_ in ((descent, third), (third, descent)):
        np.testing.assert_allclose(tw.distance(*pair_)["time"], 0.3 * np.arange(11))
    single = Trajectory(flow.dataset.isel(time=[30]))
    assert tw.distance(descent, single).sizes["time"] == 1
    near = Trajectory(flow.dataset.assign_coords(time=np.linspace(0, 3, 31) + 1e-5))
    with pytest.raises(tw.InputError, match="share no seed or no recorded time"):
        tw.distance(descent, near)


@pytest.mark.parametrize(
    ("share", "regime"), [(1.0, "edge of stability"), (0.4, "edge of stability"), (0.1, "off")]
)
def test_the_edge_needs_a_share_of_the_second_half(share: float, regime: str) -> None:
    times, far = np.linspace(0.0, 1.0, 41), np.linspace(1, 0, 41)[:, None] * np.ones(2)
    descent = table((0,), {0: far}, times, 0.1)
    late = np.flatnonzero(times >= 0.5)
    high = late[: round(share * len(late))]
    descent.dataset["sharpness"].values[0, high] = 0.97 * 2 / 0.1
    flow = table((0,), {0: np.flip(far, 0) + far}, times, None)
    assert tw.compare(descent, flow).regime.startswith(regime)


def test_readings_that_did_not_converge_are_told() -> None:
    descent, flow = (table((0,), {0: line(0.5)}, TIMES, step) for step in (0.1, None))
    flow.dataset["sharpness_result"].values[0, 3:5] = 1
    told = tw.compare(descent, flow).warnings
    assert any("2 values of sharpness along gradient flow did not converge" in t for t in told)
