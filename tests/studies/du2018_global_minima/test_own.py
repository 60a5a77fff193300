"""The study of wide nets: sound declarations, and what holds on a small part of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from thalweg.driver.recorded import run
from thalweg.dynamics import gradient_descent
from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.models import TwoLayerNet
from thalweg.problems import supervised
from thalweg.report.drawing import draw
from thalweg.studies.du2018_global_minima import STUDY, training
from thalweg.studies.du2018_global_minima import gram as grams

LAB = Lab(progress=False)
FAST = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "C12")


@pytest.fixture(scope="module")
def results():
    """Every experiment, those with random or trained nets in small."""
    return {
        "X1-formulas": grams.formulas(LAB),
        "X1-population": grams.population(LAB),
        "X1-depth": grams.depth(LAB),
        "X1": grams.distances({32: 200, 256: 60}, {32: 8, 64: 8}),
        "X2": training.deep_runs((64, 128), 2, steps=40),
        "X2-data": training.deep_data_runs(64, 2, steps=40),
        "X3-average": training.average(LAB),
        "X3": training.two_layer_runs((200, 800), 2, 20, 20, 60),
    }


def test_declarations_are_sound():
    ids = [claim.id for claim in STUDY.claims]
    assert ids == [f"C{number}" for number in range(1, 13)]
    for claim in STUDY.claims:
        assert set(claim.needs) <= set(STUDY.experiments)
    for figure in STUDY.figures:
        assert set(figure.data_names()) <= set(STUDY.experiments)
    used = {name for claim in STUDY.claims for name in claim.needs}
    assert used == set(STUDY.experiments)


@pytest.mark.slow
def test_every_variable_says_what_it_is(results):
    for data in results.values():
        for name, array in data.data_vars.items():
            assert array.attrs.get("units"), name
            assert array.attrs.get("long_name"), name


@pytest.mark.slow
@pytest.mark.parametrize("figure", STUDY.figures, ids=lambda figure: figure.name)
def test_every_figure_draws_what_is_there(results, figure):
    found = dict(results)
    wide = found["X2"].assign_coords(width=("width", [64, 1024]))  # as at quick scale
    assert draw(figure, (found | {"X2": wide}).__getitem__)["data"]


@pytest.mark.slow
@pytest.mark.parametrize("claim", FAST)
def test_claims_hold(results, claim):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    assert verdict.word == "reproduced", verdict.check


def test_descent_of_the_study_is_that_of_a_run():
    x, y = grams.unit((6, 5)), np.ones((6, 1))
    problem = supervised(TwoLayerNet(40), (x, y), reduction="sum")
    whole = run(problem, gradient_descent(0.1), 2.0, records=20, progress=False)
    unravel = ravel_pytree(problem.init(jax.random.key(0)))[1]
    start = unravel(jnp.asarray(whole.parameters[0].values[0]))
    found = training.descend(problem, start, 0.1, 20, training._two_layer_view)
    assert np.allclose(found.losses, whole.dataset["loss"][0], rtol=1e-12)
    assert found.seen["gram"].shape == (3, 6, 6)
    assert found.seen["moved"][0] == 0


def test_full_scale_asks_for_the_larger_sizes(monkeypatch):
    """The branches of the full scale, shortened."""
    asked = {}

    def keep(name, value):
        def small(*arguments, **options):
            asked[name] = arguments, options
            return value

        return small

    lab = Lab("full", progress=False)
    monkeypatch.setattr(grams, "distances", keep("distances", None))
    monkeypatch.setattr(training, "deep_runs", keep("deep", None))
    monkeypatch.setattr(training, "deep_data_runs", keep("data", None))
    monkeypatch.setattr(training, "two_layer_runs", keep("two", None))
    grams.concentration(lab)
    training.deep(lab)
    training.deep_data(lab)
    training.two_layers(lab)
    assert max(asked["distances"][0][0]) == 4096
    assert asked["deep"][0] == ((64, 256, 1024, 4096), 5)
    assert asked["data"][0] == (512, 32)
    assert asked["two"][1] == {"seeds": 3, "n": 1000, "d": 1000, "steps": 100}
    assert grams.depth(lab).sizes["depth"] == 5


@pytest.mark.slow
def test_two_layers_with_the_numbers_of_examples_of_the_paper():
    found = training.two_layer_runs((1000, 2000), 1, 1000, 1000, 10)
    assert bool((found["room"] > 0).all())
    assert bool((found["moved"] < found["moved_bound"]).all())
