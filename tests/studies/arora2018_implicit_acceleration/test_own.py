"""The study of implicit acceleration: sound declarations, and what holds on a small part of it."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.problems import Function
from thalweg.report.drawing import draw
from thalweg.studies.arora2018_implicit_acceleration import STUDY, exact, regression

LAB = Lab(progress=False)
BEST = {
    "depth 1": 11,
    "depth 2": 12,
    "depth 3": 12,
    "AdaGrad": 10,
    "AdaDelta": 0,
    "AdaDelta, tuned": 14,
}


def at_best(methods, names):
    """Methods at the one setting that is best at power 4, and near it at power 2."""
    return {
        name: methods[name]._replace(settings=methods[name].settings[[BEST[name]]])
        for name in names
    }


SQUARES = {
    name: regression.DESCENTS[name]._replace(settings=np.array([rate]))
    for name, rate in (("depth 1", 10**0.25), ("depth 2", 10**-0.5), ("depth 3", 0.1))
}


@pytest.fixture(scope="module")
def results():
    """Every experiment in small."""
    methods = {**regression.DESCENTS, **regression.BASELINES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "TIMES", np.linspace(0, 0.5, 6))
        patch.setattr(exact, "SHAPES", ((3, 4),))
        patch.setattr(exact, "DEPTHS", (1, 2, 4, 8))
        patch.setattr(exact, "INTEGRAL_DEPTHS", (1, 2, 3, 4, 8))
        patch.setattr(exact, "DRAWS", 2)
        return {
            "X1": exact.flows_of(exact.CASES[:2], 1),
            "X1-widths": exact.widths(LAB),
            "X1-steps": exact.descents(LAB),
            "preconditioner": exact.preconditioner(LAB),
            "single-output": exact.single_output(LAB),
            "integral": exact.integrals(LAB),
            "asymmetry": exact.tilts(LAB),
            "X2-l4": regression.regression(4, at_best(methods, BEST), 1, 20_000),
            "X2-l2": regression.regression(2, SQUARES, 1, 3000),
            "X3": regression.toy(LAB),
            "X4": regression.network_of(1, 10, 20, (0.1, 0.3), hidden=4),
        }


def test_declarations_are_sound():
    assert [claim.id for claim in STUDY.claims] == [f"C{number}" for number in range(1, 11)]
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
@pytest.mark.parametrize("claim", [claim.id for claim in STUDY.claims])
def test_claims_hold(results, claim):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    assert verdict.word == "reproduced", verdict.check


def test_the_baselines_are_those_of_the_paper():
    target = np.array([1.0, -2.0, 0.5])
    problem = Function(lambda w: jnp.sum((w - target) ** 4), np.full(3, 0.3))

    def steps(dynamics):
        state = dynamics.init(problem, jnp.asarray(problem.start))
        for _ in range(4):
            state = dynamics.step(problem, state, None)[0]
        return state.params

    w, total = np.full(3, 0.3), np.zeros(3)
    for _ in range(4):
        g = 4 * (w - target) ** 3
        total = total + g**2
        w = w - 0.2 * g / np.sqrt(total + 1e-8)
    np.testing.assert_allclose(steps(regression.adagrad(jnp.asarray(0.2))), w, rtol=1e-13)
    w, slopes, moves = np.full(3, 0.3), np.zeros(3), np.zeros(3)
    for _ in range(4):
        g = 4 * (w - target) ** 3
        slopes = 0.95 * slopes + 0.05 * g**2
        move = np.sqrt(moves + 1e-6) / np.sqrt(slopes + 1e-6) * g
        moves = 0.95 * moves + 0.05 * move**2
        w = w - 3.0 * move
    np.testing.assert_allclose(steps(regression.adadelta(jnp.asarray(3.0))), w, rtol=1e-12)


def test_data_and_starts():
    X, y, direction = regression.sample(0)
    assert X.shape == (300, 32)
    scales = np.linalg.svd(X, compute_uv=False) / np.sqrt(300)
    np.testing.assert_allclose(scales[:8] * np.arange(1, 9), 1, atol=0.2)
    assert y.mean() == pytest.approx(0, abs=1e-14)
    assert y.std() == pytest.approx(1)
    start = regression.balanced(0.01 * direction, 3)
    norms = [np.linalg.norm(layer["weight"]) for layer in start]
    np.testing.assert_allclose(norms, 0.01 ** (1 / 3))
    np.testing.assert_allclose(exact.whole(start)[0], 0.01 * direction)
