"""What is particular to the study of separable data: its data, and steps spaced in log-time."""

import numpy as np
import pytest

from thalweg.lab.experiment import Lab
from thalweg.studies.soudry2017_separable import data
from thalweg.theory.limits.max_margin import hard_margin_svm


def test_the_data_are_those_of_the_paper():
    for number in range(20):
        X = data.symmetric(number)
        svm = hard_margin_svm(X)
        assert X.shape == (16, 2)
        np.testing.assert_allclose(svm.w, 0.5, rtol=1e-13)
        assert list(np.flatnonzero(svm.support)) == [0, 1, 2, 3]
        assert np.all(X[4:] @ svm.w > 1.1)
    training, validation = data.even_or_odd()
    assert (training.shape, validation.shape) == ((60, 65), (1737, 65))
    assert np.all(np.abs(training[:, -1]) == 1)  # the constant feature times the label


@pytest.mark.parametrize("last", [100_000, 200_000, 1_000_000, 2_000_000])
def test_steps_are_spaced_in_log_time(last):
    steps = data.steps_to(last)
    assert {1, 10, 100, 1000, 10_000, 30_000, 100_000, last} <= set(steps)
    assert {200_000, 1_000_000} & set(range(last + 1)) <= set(steps)
    assert np.all(np.diff(steps) > 0)
    assert steps[-1] == last


@pytest.mark.slow
def test_full_scale_runs_shortened(study):
    """The same code at full scale, fewer draws and steps."""
    full = Lab("full", progress=False)
    for name in ("SVM", "Flow", "Degenerate", "Power-tail"):
        assert study.experiments[name](full)
    for name in ("X1", "X3"):
        assert study.experiments[name](full, draws=2, last=10_000)
