"""The study of separable data: sound declarations, and claims on few draws."""

import numpy as np
import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.report.drawing import draw
from thalweg.studies.soudry2017_separable import STUDY, data, descent
from thalweg.theory.limits.max_margin import hard_margin_svm

LAB = Lab(progress=False)


@pytest.fixture(scope="module")
def results():
    """Every experiment, one draw each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descent, "DRAWS", 1)
        patch.setattr(descent, "CLASS_DRAWS", 1)
        return {name: experiment(LAB) for name, experiment in STUDY.experiments.items()}


def test_declarations_are_sound():
    assert [claim.id for claim in STUDY.claims] == [f"C{i}" for i in range(1, 12)]
    for claim in STUDY.claims:
        assert set(claim.needs) <= set(STUDY.experiments)
        assert not claim.failures
    used = {name for claim in STUDY.claims for name in claim.needs}
    assert used == set(STUDY.experiments)


def test_every_figure_draws_what_is_there(results):
    for figure in STUDY.figures:
        assert draw(figure, results.__getitem__)["data"]


def test_every_variable_says_what_it_is(results):
    for found in results.values():
        for name, array in found.data_vars.items():
            assert array.attrs.get("units"), name
            assert array.attrs.get("long_name"), name


@pytest.mark.parametrize("claim", [claim.id for claim in STUDY.claims])
def test_claims_hold(results, claim):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    assert verdict.word == "reproduced", verdict.check


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
def test_full_scale_runs_shortened(monkeypatch):
    """The same code at full scale, fewer draws and steps."""
    monkeypatch.setattr(descent, "FULL_DRAWS", 2)
    monkeypatch.setattr(descent, "STEPS", 10_000)
    full = Lab("full", progress=False)
    for name in ("SVM", "Flow", "Degenerate", "Power-tail", "X1", "X3"):
        assert STUDY.experiments[name](full)
