"""The study of low-dimensional data: what is its own."""

from itertools import pairwise

import numpy as np
import pytest

from thalweg.lab.experiment import Lab
from thalweg.report import draw
from thalweg.studies import study_named
from thalweg.studies.he2022_low_dimensional_data import linear, relu


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
def test_full_scale_runs():
    """The larger sizes in short."""
    short = {"steps": 200, "redraws": 20, "end": 810.0, "records": 3}
    study, found = study_named("he2022"), {}
    for name, experiment in study.experiments.items():
        fields = vars(experiment.sizes["full"])
        changes = {k: v for k, v in short.items() if k in fields}
        found[name] = experiment(Lab("full", progress=False), **changes)
    assert found["X2"].sizes["seed"] == 20
    assert found["X4"].sizes == {"net": 3, "seed": 5, "x": 201}
    assert found["X5"].sizes["net"] == found["X6"].sizes["net"] == 3
    for figure in study.figures:
        assert draw(figure, found.__getitem__)["data"]
