"""The study of exact linear dynamics: sound declarations, and what holds on a small part of it."""

import jax
import numpy as np
import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.models import linear, mlp
from thalweg.problems.linear_targets import random_modes
from thalweg.report.drawing import draw
from thalweg.studies.saxe2013_exact_solutions import STUDY, modes
from thalweg.studies.saxe2013_exact_solutions import depth as deep

LAB = Lab(progress=False)
FAST = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "C11")


@pytest.fixture(scope="module")
def results():
    """Every experiment, those of depth in small."""
    target = random_modes(jax.random.key(1), (2.0, 1.1), 2, 4)
    found = deep.depth_search(
        target,
        deep.STARTS,
        2,
        {2: np.array([0.1, 0.3]), 4: np.array([0.05, 0.1])},
        strength=0.05,
        width=4,
        most_steps=300,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modes, "CHAINS", (2, 5))
        nets = {"linear": linear([16]), "tanh": mlp([16], "tanh", bias=False)}
        tree = [modes.tree_modes(LAB, name, net, 3) for name, net in nets.items()]
        closed = {n: STUDY.experiments[n](LAB) for n in STUDY.experiments if n.startswith("X2")}
    extra = {"steps_theory": found["steps"]}
    small = {
        "X1": tree[0].merge(tree[1], compat="identical"),
        "X3": found,
        "X5": found.assign(extra),
    }
    return small | closed | {"X4": deep.spectra_of(seeds=1, N=12, L=25)}


def test_declarations_are_sound():
    ids = [claim.id for claim in STUDY.claims]
    assert ids == [f"C{number}" for number in range(1, 13)]
    for claim in STUDY.claims:
        assert set(claim.needs) <= set(STUDY.experiments)
        assert not claim.failures
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
    for data in results.values():
        for name, array in data.data_vars.items():
            assert array.attrs.get("units"), name
            assert array.attrs.get("long_name"), name


@pytest.mark.slow
@pytest.mark.parametrize("claim", FAST)
def test_claims_hold(results, claim):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    assert verdict.word == "reproduced", verdict.check


def test_the_digits_are_learned_at_full_scale_too(monkeypatch):
    """The paper's own sizes, but for the width and the depths."""
    search = deep.depth_search

    def small(modes, starts, seeds, rates, *, width, at_once, **options):
        assert (width, at_once, len(rates), min(rates), max(rates)) == (1000, 1, 15, 2, 99)
        few = {L: sizes for L, sizes in rates.items() if L <= 3}
        return search(modes, starts, seeds, few, width=20, at_once=at_once, **options)

    monkeypatch.setattr(deep, "depth_search", small)
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    found = deep.digits(Lab("full", progress=False))
    assert "load_digits" in found.attrs["data"]
    (verdict,) = judge([c for c in STUDY.claims if c.id == "C12"], {"X5": found})
    assert verdict.word == "reproduced", verdict.check
