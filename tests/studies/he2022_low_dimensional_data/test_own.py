"""The study of low-dimensional data: sound declarations, and what holds on a small part of it."""

from itertools import pairwise

import numpy as np
import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.report.drawing import draw
from thalweg.studies.he2022_low_dimensional_data import STUDY, flow, linear, relu

LAB = Lab(progress=False)


@pytest.fixture(scope="module")
def results():
    """Every experiment in small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "LATE", np.linspace(800.0, 900.0, 11))
        patch.setattr(linear, "SEEDS", 2)
        patch.setattr(linear, "DEPTHS", (2,))
        patch.setattr(linear, "STEPS", 20_000)
        patch.setattr(relu, "NETS", {"one hidden": (40,)})
        patch.setattr(relu, "SWEEP_NETS", ("one hidden",))
        patch.setattr(relu, "SEEDS", 1)
        patch.setattr(relu, "STEPS", 500)
        return {name: experiment(LAB) for name, experiment in STUDY.experiments.items()}


def test_declarations_are_sound():
    assert [claim.id for claim in STUDY.claims] == [f"C{i}" for i in range(1, 11)]
    for claim in STUDY.claims:
        assert set(claim.needs) <= set(STUDY.experiments)
    used = {name for claim in STUDY.claims for name in claim.needs}
    drawn = {name for figure in STUDY.figures for name in figure.data_names()}
    assert used | drawn == set(STUDY.experiments)


@pytest.mark.parametrize("figure", STUDY.figures, ids=lambda figure: figure.name)
def test_every_figure_names_what_is_there(results, figure):
    for panel in figure.panels:
        for series in panel.series:
            data = results[series.data]
            for name in (series.y, series.x, series.error):
                assert not name or name in data.variables, (series.data, name)
            assert {*series.select, series.each} - {""} <= set(data.dims)
    if figure.name != "trade":  # which also draws the second net
        assert draw(figure, results.__getitem__)["data"]


def test_every_variable_says_what_it_is(results):
    for data in results.values():
        for name, array in data.data_vars.items():
            assert array.attrs.get("units"), name
            assert array.attrs.get("long_name"), name


@pytest.mark.parametrize("claim", [claim.id for claim in STUDY.claims])
def test_claims_hold(results, claim):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    assert verdict.word == "reproduced", verdict.check


def test_starts_are_balanced():
    """Rank one, of one norm, uniform input directions: w(0) = 0.6^L v."""
    for L in (2, 4):
        start = linear.balanced_start(L, 5, 3)
        W = [np.asarray(layer["weight"]) for layer in start]
        for below, above in pairwise(W):
            np.testing.assert_allclose(above.T @ above, below @ below.T, atol=1e-15)
        assert all(np.linalg.norm(w) == pytest.approx(0.6) for w in W)
        assert np.linalg.norm(linear.effective(start)) == pytest.approx(0.6**L)


def test_the_nets_are_those_of_the_specification():
    start = relu.start_of("two hidden", 0)
    assert [layer["weight"].shape for layer in start] == [(30, 3), (30, 30), (1, 30)]
    assert float(np.std(start[1]["weight"])) == pytest.approx((2 / 30) ** 0.5, rel=0.1)
    assert not any(np.any(layer["bias"]) for layer in start)


def test_the_residual_of_the_sine():
    """E g^2 - (E g x)^2/E x^2 with E g^2 = 1/2 - sin(6)/12, E g x = (sin 3 - 3 cos 3)/9."""
    square = 0.5 - np.sin(6) / 12
    inner = (np.sin(3) - 3 * np.cos(3)) / 9
    assert linear.sine_residual() == pytest.approx(np.sqrt(square - 3 * inner**2), rel=1e-13)


@pytest.mark.slow
def test_full_scale_runs(monkeypatch):
    """The larger sizes in short."""
    for name in ("STEPS", "DECAY_STEPS", "SWEEP_STEPS"):
        monkeypatch.setattr(relu, name, 60)
    monkeypatch.setattr(relu, "REDRAWS", 20)
    monkeypatch.setattr(linear, "STEPS", 200)
    monkeypatch.setattr(flow, "LATE", np.linspace(800.0, 810.0, 3))
    found = {name: run(Lab("full", progress=False)) for name, run in STUDY.experiments.items()}
    assert found["X2"].sizes["seed"] == 20
    assert found["X4"].sizes == {"net": 3, "seed": 5, "x": 201}
    assert found["X5"].sizes["net"] == found["X6"].sizes["net"] == 3
    for figure in STUDY.figures:
        assert draw(figure, found.__getitem__)["data"]
