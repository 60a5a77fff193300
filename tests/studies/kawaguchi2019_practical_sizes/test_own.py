"""The study of practical sizes: sound declarations, and what holds on a small part of it."""

import numpy as np
import pytest
import xarray as xr

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.report.drawing import draw
from thalweg.studies.kawaguchi2019_practical_sizes import STUDY, descent, exact, threshold

LAB = Lab(progress=False)
FAST = ("C1", "C2", "C3", "C9")


@pytest.fixture(scope="module")
def results():
    """Every experiment, the runs in small."""
    with pytest.MonkeyPatch.context() as patch:
        nets = {"d < n": (12, 1, 1), "d > n": (12, 2, 1)}
        patch.setattr(exact, "NETS", nets)
        rank = exact.rank(LAB)
    small = descent.narrow_nets(LAB, (50,), (8,), 1, steps=5)
    return {
        "counts": exact.counts(LAB),
        "domination": exact.domination(LAB),
        "rank": rank,
        "X1": threshold.threshold_of(LAB, (12, 20), 2, steps=5),
        "X2": descent.wide_nets(LAB, (50,), 1, steps=60),
        # The figures name three widths; one was run.
        "X2-starts": descent.starts_of((50,), 2),
        "X2-narrow": xr.concat([small.assign_coords(width=[m]) for m in (2, 4, 8)], "width"),
        "X2-rank": descent.few_feature_nets(LAB, 1, steps=5),
        "X3": descent.natural_and_random(LAB, 1, steps=20),
    }


def test_declarations_are_sound():
    ids = [claim.id for claim in STUDY.claims]
    assert ids == [f"C{number}" for number in range(1, 10)]
    for claim in STUDY.claims:
        assert set(claim.needs) <= set(STUDY.experiments)
    for figure in STUDY.figures:
        assert set(figure.data_names()) <= set(STUDY.experiments)
    used = {name for claim in STUDY.claims for name in claim.needs}
    assert used == set(STUDY.experiments)


@pytest.mark.slow
def test_every_figure_draws_what_is_there(results):
    for figure in STUDY.figures:
        assert draw(figure, results.__getitem__)["data"]


@pytest.mark.slow
def test_every_variable_says_what_it_is(results):
    assert set(results) == set(STUDY.experiments)
    for data in results.values():
        for name, array in data.data_vars.items():
            assert array.attrs.get("units"), name
            assert array.attrs.get("long_name"), name


@pytest.mark.slow
@pytest.mark.parametrize("claim", FAST)
def test_claims_hold(results, claim):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    assert verdict.word == "reproduced", verdict.check


@pytest.mark.slow
def test_the_bound_of_e3_lies_above_the_loss(results):
    d = results["X2"]
    assert np.all(d["loss_bound"] >= d["loss"])
    assert np.all(d["constant"] >= d["constant_bound"])


def test_training_data_are_not_test_data():
    data = descent.digits(0)
    joined = np.unique(data.inputs, axis=0)
    assert data.inputs.shape == (1200, 64)
    assert len(joined) == 1200
    assert 0 <= data.inputs.min() < data.inputs.max() <= 1


def test_full_scale_asks_for_more(monkeypatch):
    """The full branches, with the runs replaced by what they are asked for."""
    asked = {}
    for place, name in (
        (descent, "wide_nets"),
        (descent, "narrow_nets"),
        (descent, "few_feature_nets"),
        (descent, "natural_and_random"),
        (descent, "starts_of"),
        (threshold, "threshold_of"),
    ):
        monkeypatch.setattr(
            place, name, lambda *a, n=name: asked.update({n: a[isinstance(a[0], Lab) :]})
        )
    for name in ("X1", "X2", "X2-starts", "X2-narrow", "X2-rank", "X3"):
        STUDY.experiments[name](Lab("full"))
    assert asked == {
        "threshold_of": ((20, 40, 80), 16),
        "wide_nets": ((50, 100, 200), 3),
        "narrow_nets": ((50, 100, 200), (2, 4, 8, 16), 3),
        "few_feature_nets": (3,),
        "natural_and_random": (3,),
        "starts_of": ((50, 100, 200), 100),
    }


@pytest.mark.slow
@pytest.mark.parametrize("claim", ["C4", "C5", "C6", "C7", "C8"])
def test_empirical_claims_hold(claim):
    (declared,) = (c for c in STUDY.claims if c.id == claim)
    found: dict[str, xr.Dataset] = {n: STUDY.experiments[n](LAB) for n in declared.needs}
    (verdict,) = judge([declared], found)
    assert verdict.word == "reproduced", verdict.check
