"""The study of tensor factorisations: sound declarations, and what holds on a small part of it."""

import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.models.signal_convolutional import SignalConvNet
from thalweg.report.drawing import draw
from thalweg.studies.razin2022_hierarchical_tensor import STUDY, exact, locality, training

LAB = Lab(progress=False)
FAST = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")
APART = {"C6b", "C8b"}  # of C6 and C8


@pytest.fixture(scope="module")
def results():
    """Every experiment but the net's, which takes long to compile, in small."""
    cp = training.CP._replace(steps=6000)
    htf = training.HTF._replace(steps=300)
    return {
        "X3": exact.identities_of(draws=4),
        "growth": exact.growth(LAB),
        "ranks": exact.ranks(LAB),
        "regulariser": exact.regulariser_of(draws=2),
        "X1": training.cp_completion_of(cp, training.CP_STDS, draws=1),
        "X2": training.htf_completion_of(htf, training.HTF_STDS, draws=1),
        "X4": training.rank_one_of(cp, training.FIRST_STDS, draws=1),
    }


def test_declarations_are_sound():
    ids = [f"C{number}" for number in range(1, 10)]
    assert [claim.id for claim in STUDY.claims if claim.id not in APART] == ids
    for claim in STUDY.claims:
        assert set(claim.needs) <= set(STUDY.experiments)
        assert not claim.failures
    drawn = {name for figure in STUDY.figures for name in figure.data_names()}
    used = {name for claim in STUDY.claims for name in claim.needs}
    assert drawn | used == set(STUDY.experiments)


@pytest.mark.slow
def test_every_figure_draws_what_is_there(results):
    for figure in STUDY.figures:
        if figure.name != "locality":
            assert draw(figure, results.__getitem__)["data"]


@pytest.mark.slow
def test_every_variable_says_what_it_is(results):
    for data in results.values():
        described(data)


@pytest.mark.slow
def test_the_net_is_drawn_and_described(monkeypatch):
    monkeypatch.setattr(locality, "NET", SignalConvNet((4,)))
    monkeypatch.setattr(locality, "TEST", 20)
    found = {"X5": locality.locality_of(range(2), epochs=20)}
    described(found["X5"])
    (figure,) = (f for f in STUDY.figures if f.name == "locality")
    assert draw(figure, found.__getitem__)["data"]


def described(data):
    for name, array in data.data_vars.items():
        assert array.attrs.get("units"), name
        assert array.attrs.get("long_name"), name


@pytest.mark.slow
@pytest.mark.parametrize("claim", FAST)
def test_claims_hold(results, claim):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    assert verdict.word == "reproduced", verdict.check


@pytest.mark.slow
@pytest.mark.parametrize("claim", ["C6b", "C8", "C8b", "C9"])
def test_slow_claims_hold(claim):
    (one,) = (c for c in STUDY.claims if c.id == claim)
    results = {name: STUDY.experiments[name](LAB) for name in one.needs}
    (verdict,) = judge([one], results)
    assert verdict.word == "reproduced", verdict.check


def test_the_full_scale_asks_for_more(monkeypatch):
    asked = {}

    def noted(name):
        return lambda *a, **k: asked.setdefault(name, (a, k))

    for place, names in (
        (exact, ("identities_of", "regulariser_of")),
        (training, ("cp_completion_of", "htf_completion_of", "rank_one_of")),
        (locality, ("locality_of",)),
    ):
        for name in names:
            monkeypatch.setattr(place, name, noted(name))
    lab = Lab("full", progress=False)
    for name in ("X1-draws", "X2-draws"):
        STUDY.experiments[name](lab)
    assert [asked.pop(f"{name}_completion_of")[1]["draws"] for name in ("cp", "htf")] == [40, 40]
    for name in ("X1", "X2", "X3", "X4", "X5", "regulariser"):
        STUDY.experiments[name](lab)
    assert {k["draws"] for name, (_, k) in asked.items() if name != "locality_of"} == {20}
    assert asked["locality_of"] == ((range(10),), {"epochs": 100})
    assert STUDY.experiments["ranks"](lab).sizes["draw"] == 20
