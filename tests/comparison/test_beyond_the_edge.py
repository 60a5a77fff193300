"""What predicts a run beyond the edge: the smoothing is exact, and the verdict says how well."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import thalweg as tw
from thalweg.comparison.beyond import nearer, smoothed
from thalweg.problems import Function


def test_a_period_of_two_and_a_drift_are_told_apart_exactly():
    """Steps of curvature 2/eta change their sign, those of a slope go on: (-1)^k a + b + c k."""
    eta, slope = 0.1, 0.3
    problem = Function(lambda z: z[0] ** 2 / eta + slope * z[1], start=np.array([0.7, 0.2]))
    k = np.arange(4)
    records = np.stack([0.7 * (-1.0) ** k, 0.2 - eta * slope * k], 1)
    found = smoothed(problem, jnp.asarray(eta), jnp.asarray(records))
    np.testing.assert_allclose(found.path[:, 0], 0, atol=1e-15)
    np.testing.assert_allclose(found.path[:, 1], records[:, 1], atol=1e-15)
    np.testing.assert_allclose(found.energy, 0.49, rtol=1e-12)


@pytest.mark.parametrize(
    ("other", "told"), [(1.02, ""), (0.5, ""), (1.5, "is 1.5 times as near its mean path")]
)
def test_as_near_is_not_nearer(other: float, told: str):
    rows = {
        "central_oscillation": 1.0,
        "central_distance": 2.0,
        "flow_smoothed_distance": 2 * other,
    }
    table = xr.Dataset(
        {name: (("seed", "time"), np.full((1, 4), value)) for name, value in rows.items()},
        {"time": np.arange(4.0)},
    )
    said = nearer(table, "gradient flow")
    assert told in said
    assert bool(told) == bool(said)


@pytest.mark.slow
@pytest.mark.parametrize("sought", [True, False])
def test_a_run_without_a_central_flow_is_said_not_to_be_predicted(sought: bool):
    valley = Function(lambda z: z[1] * (z[0] ** 2 / 2 - 0.01), start=np.array([0.3, 19.9]))
    options = {"until": 8.0, "records": 40, "probes": "sharpness", "progress": False}
    descent, flow = (
        tw.run(valley, d, **options) for d in (tw.gradient_descent(0.1), tw.gradient_flow())
    )
    found = tw.compare(descent, flow, problem=valley, central=(lambda: None) if sought else None)
    assert found.regime == "edge of stability"
    assert ("no central flow of this run is known" in str(found)) == sought


def net():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(20, 5)), np.eye(3)[np.arange(20) % 3]
    return tw.problems.supervised(tw.models.mlp([8, 8], "tanh"), data)


@pytest.mark.thorough
def test_a_verdict_at_the_edge_says_what_predicts_the_run(tmp_path):
    found = tw.diagnose(net(), 0.28, until=140.0, out=tmp_path / "run", progress=False)
    verdict = found.comparison
    assert verdict.regime == "edge of stability"
    table = verdict.dataset.isel(seed=0, time=verdict.dataset["time"].values > 77)
    assert table["central_distance"].mean() < 0.3 * table["flow_smoothed_distance"].mean()
    predicted = float(table["central_predicted_loss"].mean() / table["descent_loss"].mean())
    plain = float(table["flow_loss"].mean() / table["descent_loss"].mean())
    assert abs(predicted - 1) < 0.15
    assert abs(predicted - 1) < abs(plain - 1)
    np.testing.assert_allclose(table["central_sharpness"], 2 / 0.28, rtol=1e-3)
    text = str(verdict)
    assert "the central flow is" in verdict.sentence
    assert "Delayed onset" in text  # no oscillation has grown when the edge is met
    pictures = {figure.name: figure for figure in verdict.figures}
    for name in ("loss", "distance", "curvature"):
        drawn = {s.y for panel in pictures[name].panels for s in panel.series}
        assert any(variable.startswith("central_") for variable in drawn), name


@pytest.mark.thorough
def test_below_the_edge_no_central_flow_is_followed(tmp_path):
    found = tw.diagnose(net(), 0.02, until=2.0, out=tmp_path / "run", progress=False)
    assert found.comparison.regime != "edge of stability"
    assert not (tmp_path / "run" / "central.zarr").exists()
    assert "central_loss" not in found.comparison.dataset


@pytest.mark.thorough
def test_the_error_that_is_told_holds_beyond_the_edge():
    options = {"until": 42.0, "records": 3, "progress": False}
    path, fine = (tw.run(net(), tw.dynamics.central_flow(0.28, m), **options) for m in (4, 32))
    assert (path.dataset["critical"][0, 2:] >= 1).all()
    off = np.linalg.norm((path.parameters - fine.parameters).values[0, 1:], axis=1)
    told = path.dataset["path_error"].values[0, 1:] - fine.dataset["path_error"].values[0, 1:]
    assert (off <= told).all()
    assert (told <= 2.5 * off).all()


@pytest.mark.slow
def test_the_edge_of_rmsprop_has_its_central_flow(tmp_path):
    rmsprop = tw.dynamics.optimiser("rmsprop", 0.02, initial=0.01, epsilon=1e-3)
    found = tw.diagnose(net(), rmsprop, until=8.0, out=tmp_path / "run", progress=False)
    verdict = found.comparison
    assert verdict.regime == "edge of stability"
    table = verdict.dataset.isel(seed=0, time=verdict.dataset["time"].values > 5)
    assert table["central_distance"].mean() < 0.5 * table["flow_smoothed_distance"].mean()
    assert table["central_preconditioned_sharpness"].max() < 2 / 0.02 * 1.001
    assert "the central flow is" in verdict.sentence
