"""The study of deep matrix factorisation: declarations, exact claims, and claims about runs."""

import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.report.drawing import draw
from thalweg.studies.arora2019_deep_matrix_factorization import STUDY, completion
from thalweg.studies.arora2019_deep_matrix_factorization import dynamics as growth

LAB = Lab(progress=False)
EXACT = {"C1", "C2", "C3"}
RUNS = [claim for claim in STUDY.claims if claim.id not in EXACT]


@pytest.fixture(scope="module")
def results():
    """The exact experiments, and the others in small."""
    small = completion.Setting(10, 1, 45)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth, "DENSER", small)
        patch.setattr(growth, "CURVE_STEPS", 400)
        patch.setattr(growth, "CURVE_LENGTH", 1.2)
        patch.setattr(completion, "METHOD_STEPS", 200)
        plans = [growth.Descent(N, 0.05, 300) for N in (1, 2, 3)]
        runs = completion.completion(small, 2, (1e-3, 1e-4), most=500)
        return {
            **{name: STUDY.experiments[name](LAB) for name in ("X4", "closed", "X3")},
            "X1": runs,
            "X1-480": runs.isel(alpha=[0]),
            "X1-scaled": runs,
            "X2": growth.growth_of(LAB, [0], plans),
            "X5": completion.methods_of(small, 1e-2, (2,)),
            "X6": growth.curves(LAB),
        }


def test_declarations_are_sound():
    assert [claim.id for claim in STUDY.claims] == [f"C{number}" for number in range(1, 10)]
    for claim in STUDY.claims:
        assert set(claim.needs) <= set(STUDY.experiments)
    drawn = {name for figure in STUDY.figures for name in figure.data_names()}
    used = {name for claim in STUDY.claims for name in claim.needs}
    assert drawn | used == set(STUDY.experiments)


def test_every_figure_draws_what_is_there(results):
    for figure in STUDY.figures:
        assert draw(figure, results.__getitem__)["data"]


def test_every_variable_says_what_it_is(results):
    for data in results.values():
        for name, array in data.data_vars.items():
            assert array.attrs.get("units"), name
            assert array.attrs.get("long_name"), name


@pytest.mark.parametrize("claim", sorted(EXACT))
def test_exact_claims_hold(results, claim):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    assert verdict.word == "reproduced", verdict.check


@pytest.mark.slow
@pytest.mark.parametrize("claim", RUNS, ids=lambda c: c.id)
def test_claims_about_runs(claim, whole):
    (verdict,) = judge([claim], whole)
    assert not verdict.surprises


@pytest.fixture(scope="module")
def whole():
    """The quick experiments at their own size."""
    return {name: STUDY.experiments[name](LAB) for name in ("X1", "X1-480", "X2", "X6")}
