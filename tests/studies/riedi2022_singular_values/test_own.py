"""What is particular to the study of singular values: its medians, and its larger sizes."""

import numpy as np
import pytest

from thalweg.lab.table import table
from thalweg.studies.riedi2022_singular_values import random


def test_medians_have_their_standard_error():
    """sqrt(pi/2) of that of the mean for normal numbers; infinite ones leave it unknown."""
    drawn = np.random.default_rng(0).normal(size=(400, 300))
    found = table({"draw place": {"x": (drawn, "1", "a number")}})
    with_medians = random._with_medians(found, "x")
    np.testing.assert_array_equal(with_medians["x_median"], np.median(drawn, 0))
    error = float(with_medians["x_median_error"].mean())
    assert error == pytest.approx(np.sqrt(np.pi / 2 / 400), rel=0.05)
    spread = float(with_medians["x_median"].std())
    assert error == pytest.approx(spread, rel=0.15)
    endless = random._with_medians(found.where(found["x"] < -1, np.inf), "x")
    assert np.isnan(endless["x_median_error"]).all()


def test_the_full_scale_asks_for_more(study):
    full = {name: e.sizes["full"] for name, e in study.experiments.items()}
    assert full["X4"].seeds == 25
    assert full["X5"].samples is None
    assert full["gaussian"].draws == 4000
    assert full["X3"].points == 2001
    assert full["X3"].n == 64
