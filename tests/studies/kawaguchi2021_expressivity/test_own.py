"""The study of the expressivity condition: sound declarations, and what holds on a part of it."""

import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.report.drawing import draw
from thalweg.studies.kawaguchi2021_expressivity import STUDY, condition, training
from thalweg.studies.kawaguchi2021_expressivity import phase_two as last

LAB = Lab(progress=False)
FAST = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "C9", "C10")


@pytest.fixture(scope="module")
def results():
    """Every experiment in small, but for X1: fewer draws do not show what C7 says of all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(condition, "STAGES", {"resnet": ((8, 1), (16, 1), (128, 1))})
        patch.setattr(last, "STEPS", 20)
        patch.setattr(last, "WIDTHS", (20, 150, 220))
        names = ("X1-witness", "X1-degenerate", "X1-resnets", "X2-leak")
        names += ("X3-steps", "X3-floors", "X3-smoothness")
        found = {name: STUDY.experiments[name](LAB) for name in names}
    return found | {
        "X1": condition.condition(LAB),
        "X2": training.compare(LAB, 20, 40, 10, 1),
        "X3": last.phases(LAB, 60, 60, 1),
    }


def test_declarations_are_sound():
    assert [claim.id for claim in STUDY.claims] == [f"C{number}" for number in range(1, 11)]
    for claim in STUDY.claims:
        assert set(claim.needs) <= set(STUDY.experiments)
    for figure in STUDY.figures:
        assert set(figure.data_names()) <= set(STUDY.experiments)
    assert {name for claim in STUDY.claims for name in claim.needs} == set(STUDY.experiments)


@pytest.mark.slow
def test_every_figure_draws_what_is_there(results):
    for figure in STUDY.figures:
        assert draw(figure, results.__getitem__)["data"]


@pytest.mark.slow
def test_every_variable_says_what_it_is(results):
    for data in results.values():
        for name, array in data.data_vars.items():
            assert array.attrs.get("units"), name
            assert array.attrs.get("long_name"), name


@pytest.mark.slow
@pytest.mark.parametrize("claim", FAST)
def test_claims_hold(results, claim):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    assert verdict.word == "reproduced", verdict.check


def test_full_scale_asks_for_the_sizes_of_the_paper(monkeypatch):
    """A ResNet-18 on all digits, 1.1 n units wide; the search itself is replaced."""
    asked = []

    def search(model, x, key, **options):
        asked.append((model.stages, model.hidden, x.shape))
        small = condition.net((300,))
        return real(small, x[:20].reshape(20, -1), key)

    real = condition.expressivity.expressivity_search
    monkeypatch.setattr(condition.expressivity, "expressivity_search", search)
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    condition.resnets(Lab("full", progress=False))
    assert asked == [(((64, 2), (128, 2), (256, 2), (512, 2)), (1977,), (1797, 1, 8, 8))]
