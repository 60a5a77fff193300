"""The study of singular values: sound declarations, and what holds on a small part of it."""

import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.report.drawing import draw
from thalweg.studies.riedi2022_singular_values import STUDY, exact, random, training

LAB = Lab(progress=False)
FAST = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8")


@pytest.fixture(scope="module")
def results():
    """Every experiment, some in small."""
    small = {"width": 10, "hidden": 3, "layer": 1, "samples": 40, "steps": 30, "images": 4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "ACTIVATIONS", ("leaky-relu:0.1",))
        hessian = exact.hessians_of(n=12, frozen=3, batch=3, seeds=1)
    return {
        "hessian": hessian,
        "derivatives": exact.derivatives(LAB),
        "bounds": exact.bounds_of(draws=300, stacks=100),
        "gaussian": exact.gaussian_of(draws=200, sizes=(8, 16, 32, 64)),
        "X1": random.layers(LAB),
        "X2": random.depth(LAB),
        "X3": exact.singular_paths(LAB),
        "X4": training.training(LAB),
        "X5": training.digits_of(LAB, **small),
    }


def test_declarations_are_sound():
    assert [claim.id for claim in STUDY.claims] == [f"C{number}" for number in range(1, 9)]
    for claim in STUDY.claims:
        assert set(claim.needs) <= set(STUDY.experiments)
        assert not claim.failures
    drawn = {name for figure in STUDY.figures for name in figure.data_names()}
    used = {name for claim in STUDY.claims for name in claim.needs}
    assert drawn | used == set(STUDY.experiments)


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


def test_the_full_scale_asks_for_more(monkeypatch):
    asked = {}

    def noted(name):
        return lambda *a, **k: asked.setdefault(name, k)

    for place, names in (
        (exact, ("hessians_of", "derivatives_of", "bounds_of", "gaussian_of")),
        (random, ("layers_of", "depth_of")),
        (training, ("training_of", "digits_of")),
    ):
        for name in names:
            monkeypatch.setattr(place, name, noted(name))
    lab = Lab("full", progress=False)
    for name, experiment in STUDY.experiments.items():
        if name != "X3":
            experiment(lab)
    assert asked["training_of"] == {"seeds": 25}
    assert asked["digits_of"]["samples"] is None
    assert asked["gaussian_of"]["draws"] == 4000
    assert STUDY.experiments["X3"](lab).sizes == {"rho": 2001, "branch": 64}
