"""The study of weight normalisation: sound declarations, and what holds on a small part of it."""

import numpy as np
import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.report.drawing import draw as figure_of
from thalweg.studies.wu2020_weight_normalization import STUDY, descent, flow

LAB = Lab(progress=False)
IDS = [f"C{number}" for number in range(1, 12)]


@pytest.fixture(scope="module")
def results():
    """Every experiment, shorter and on four draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "OTHER_DRAWS", (1,))
        patch.setattr(descent, "SEEDS", (0, 1, 2, 3))
        patch.setattr(descent, "END", 60.0)
        patch.setattr(descent, "RECORDS", 10)
        patch.setattr(descent, "PHASE_ONE_MOST", 1000)
        patch.setattr(descent, "PHASE_TWO_STEPS", 3000)
        patch.setattr(descent, "CONDITIONS", (1.0,))
        patch.setattr(descent, "NORM_STEPS", 100)
        return {name: experiment(LAB) for name, experiment in STUDY.experiments.items()}


def test_declarations_are_sound():
    assert [claim.id for claim in STUDY.claims] == IDS
    for claim in STUDY.claims:
        assert set(claim.needs) <= set(STUDY.experiments)
        assert not claim.failures
    drawn = {name for figure in STUDY.figures for name in figure.data_names()}
    used = {name for claim in STUDY.claims for name in claim.needs}
    assert drawn | used == set(STUDY.experiments)


def test_every_figure_draws_what_is_there(results):
    for figure in STUDY.figures:
        assert figure_of(figure, results.__getitem__)["data"]


def test_every_variable_says_what_it_is(results):
    for data in results.values():
        for name, array in data.data_vars.items():
            assert array.attrs.get("units"), name
            assert array.attrs.get("long_name"), name


@pytest.mark.parametrize("claim", IDS)
def test_claims_hold(results, claim):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    assert verdict.word == "reproduced", verdict.check


def test_the_draw_is_that_of_the_specification():
    at = flow.draw(0, 10, 30, 1.0)
    assert at.target.norm == pytest.approx(3.1198, abs=5e-5)
    assert at.target.least == pytest.approx(0.2495, abs=5e-5)
    assert at.perp == pytest.approx(0.72762, abs=5e-6)


def test_orthonormal_rows_have_the_same_solution():
    at, plain = descent.orthonormal(2), flow.draw(2, *descent.SIZE, 3 / np.sqrt(50))
    np.testing.assert_allclose(at.A @ at.A.T, np.eye(20), atol=1e-14)
    np.testing.assert_allclose(at.target.solution, plain.target.solution, atol=1e-13)


@pytest.mark.parametrize("condition", [1.0, 30.0])
def test_the_condition_number_is_that_asked_for(condition):
    target = descent.conditioned(condition, 6, 15).target
    assert target.most == pytest.approx(1.0)
    assert target.most / target.least == pytest.approx(condition)


@pytest.mark.slow
def test_full_scale_runs(monkeypatch):
    """More draws, scales and parameters, in short."""
    monkeypatch.setattr(flow, "FULL_OTHER_DRAWS", (1, 2))
    for name, value in (
        ("FULL_SEEDS", (0, 1, 2, 3, 19)),
        ("END", 4.0),
        ("RECORDS", 5),
        ("PHASE_ONE_MOST", 50),
        ("PHASE_TWO_STEPS", 50),
        ("NORM_STEPS", 5),
        ("CONDITIONS", (0.1,)),
    ):
        monkeypatch.setattr(descent, name, value)
    lab = Lab("full", progress=False)
    found = {name: experiment(lab) for name, experiment in STUDY.experiments.items()}
    assert found["X1-draws"].sizes["draw"] == 2
    assert dict(found["X2"].sizes)["g0"] == len(descent.FULL_SCALES)
    assert found["X2"]["draw"].values.tolist() == [0, 1, 2, 3, 19]
