"""The study of Elkabetz and Cohen: its declarations, a fast part of its claims, its full scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.models import mlp
from thalweg.studies import STUDIES
from thalweg.studies import elkabetz2021_continuous_discrete as study
from thalweg.studies.elkabetz2021_continuous_discrete import exact, points
from thalweg.theory.descent import certified_descent
from thalweg.theory.linear_nets import scalar_linear

STUDY = study.STUDY
LAB = Lab(progress=False)
NETS = study.trainings(LAB)


def short(steps=300):
    """The linear net of X3, trained briefly."""
    return {"linear": study.Training(NETS["linear"].model, False, 0.01, steps, (2, 5, 10, 20), 1)}


def start(net):
    """Shapes of a net's parameters on 28x28 images."""
    inputs = (1, 28, 28) if net.image else (784,)
    return jax.eval_shape(lambda key: net.model.init(key, inputs, 10), jax.random.key(0))


def words(results):
    return {v.claim.id: v.word for v in judge(STUDY.claims, results) if v.check}


def test_declarations():
    assert STUDIES[STUDY.slug] == study.__name__
    assert [claim.id for claim in STUDY.claims] == [f"C{i}" for i in range(1, 14)]
    for claim in STUDY.claims:
        assert set(claim.needs) <= set(STUDY.experiments)
    for figure in STUDY.figures:
        assert set(figure.data_names()) <= set(STUDY.experiments)
        assert len(figure.caption) > 80
    assert 3 <= len(STUDY.figures) <= 6
    assert set(STUDY.minutes) == {"quick", "full"}


def test_nets_have_the_paper_s_sizes():
    """784-50-50-10; the adapted net and LeNet end in 400-120-84-10."""
    nets = study.trainings(Lab("full"))
    shapes = {name: [layer["weight"].shape for layer in start(net)] for name, net in nets.items()}
    dense = [(50, 784), (50, 50), (10, 50)]
    conv = [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]
    assert shapes == {"linear": dense, "relu": dense, "conv": conv, "lenet": conv}
    assert nets["lenet"].model.bias
    assert not nets["conv"].model.bias
    assert all(net.steps * net.step_size == 10.0 for net in nets.values())


@pytest.fixture(scope="module")
def quick() -> dict[str, xr.Dataset]:
    """The experiments that take seconds."""
    names = ("X1", "X7", "X8")
    return {name: STUDY.experiments[name](LAB) for name in names}


def test_fast_claims_hold(quick):
    assert words(quick) == {"C6": "reproduced", "C7": "reproduced", "C8": "reproduced"}


def refined(monkeypatch, **options):
    monkeypatch.setattr(study, "trainings", lambda lab: short(**options))
    return study.refinement(LAB)


def test_refinement(monkeypatch):
    x3 = refined(monkeypatch)
    found = words({"X3": x3})
    assert found == {"C9": "reproduced", "C10": "reproduced"}
    # The refined runs approach the flow, whose own error is far smaller.
    linear = x3.sel(model="linear", seed=0).isel(time=-1)
    assert np.all(np.diff(linear["flow_distance"]) < 0)
    assert float(linear["flow_distance_error"].max()) < 0.01 * float(linear["flow_distance"].min())
    assert_described({"X3": x3})


def assert_described(results):
    for data in results.values():
        for name, values in data.data_vars.items():
            assert values.attrs.get("units"), name
            assert values.attrs.get("long_name"), name


def test_every_variable_has_a_unit_and_a_name(quick):
    assert_described(quick)


@pytest.mark.slow
def test_all_figures_find_their_variables(monkeypatch, quick):
    monkeypatch.setattr(study, "CURVATURE_SEEDS", 1)
    monkeypatch.setattr(points, "DEPTHS", (3,))
    monkeypatch.setattr(exact, "DEPTHS", (3,))
    results = quick | {"X3": refined(monkeypatch, steps=100)}
    for name in ("X2", "X4", "X5", "X6"):
        results[name] = STUDY.experiments[name](LAB)
    assert_described(results)
    for figure in STUDY.figures:
        for series in (series for panel in figure.panels for series in panel.series):
            data = results[series.data]
            for name in (series.y, series.x, series.error):
                assert not name or name in data, f"{figure.name}: {name}"
            for dim in (*series.select, *([series.each] if series.each else [])):
                assert dim in data[series.y].dims, f"{figure.name}: {dim}"
    held = words(results)
    assert {held[claim] for claim in ("C1", "C2", "C3", "C4", "C5", "C12", "C13")} == {"reproduced"}


@pytest.mark.slow
def test_full_scale_runs(monkeypatch, tmp_path):
    """Every net at its full size on the images that are there, for two steps."""
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    nets = {
        name: study.Training(net.model, net.image, 0.001, 2, (2,), 1, full=True, records=2)
        for name, net in study.trainings(Lab("full")).items()
    }
    monkeypatch.setattr(study, "trainings", lambda lab: nets)
    x3 = study.refinement(Lab("full", tmp_path, progress=False))
    assert "resampled linearly to 28x28" in x3.attrs["data"]
    assert bool((x3["distance"].sel(refinement=2).isel(time=-1) > 0).all())
    assert bool((x3["displacement"].isel(time=-1) > 0).all())


def test_paper_images_are_mnist_if_there(monkeypatch):
    rows = np.arange(1200)

    class Fake:
        inputs = np.stack([rows, rows], axis=1).astype(float)
        targets = rows % 10

    monkeypatch.setattr(study.images, "mnist", lambda every, image: Fake)
    data = study._paper_images(False)
    assert data.inputs.shape == (1000, 2)
    assert data.inputs[-1, 0] == 999  # times 50: image 49950


def test_distances_leave_out_biases():
    like = start(study.trainings(Lab("full"))["lenet"])
    mask = study.tree.entries(like, "weight")
    biases = 6 + 16 + 120 + 84 + 10
    assert mask.size - mask.sum() == biases
    ones = [
        {k: jnp.full(v.shape, float(k == "weight")) for k, v in layer.items()} for layer in like
    ]
    np.testing.assert_array_equal(study.tree.flatten(ones), mask)


def test_curvature_at_a_known_point():
    """A linear net with all weights zero has Hessian zero for n = 3."""
    problem = study.supervised(mlp((3, 3), "relu", bias=False), study.images.digit_images(every=90))
    size = study.tree.size(problem.init(jax.random.key(0)))
    values, bounds = study._at(problem, np.zeros((1, size)))
    np.testing.assert_allclose(values, 0.0, atol=1e-15)
    np.testing.assert_allclose(bounds, 0.0, atol=1e-15)


@pytest.mark.parametrize(("r0", "nu", "n"), [(0.3, 1.0, 3), (0.2, -0.3, 2)])
def test_guarantee_is_consistent(r0, nu, n):
    promise = certified_descent.descent_guarantee(r0, nu, n, 0.02)
    T = promise.step_size * promise.steps
    assert scalar_linear.time_to_loss(r0, nu, n, 0.01) == pytest.approx(T, rel=1e-12)
    assert promise.step_size <= promise.certificate.step_size
    # One more or fewer step would not fit: K is the least possible.
    assert T / (promise.steps - 1) > promise.certificate.step_size


def test_deep_linear_start():
    problem = points.deep_linear(0.4, -0.6, 4, jax.random.key(1))
    product = np.linalg.multi_dot([np.asarray(w) for w in problem.start[::-1]])
    assert np.linalg.norm(product) == pytest.approx(0.4, abs=1e-14)
    assert product[0, 0] == pytest.approx(-0.24, abs=1e-14)
    for w, after in zip(problem.start, problem.start[1:], strict=False):
        np.testing.assert_allclose(after.T @ after, w @ w.T, atol=1e-14)


def test_simpson_error_is_an_estimate():
    t = np.linspace(0, np.pi, 201)
    value, error = exact._integral(np.sin(t), t)
    assert abs(value - 2) < error < 1e-6
