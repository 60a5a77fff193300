"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import importlib

import jax
import numpy as np
import pytest

from thalweg.dynamics.two_phase_training import TwoPhase
from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.models import expressivity
from thalweg.studies.kawaguchi2021_expressivity import STUDY, condition, training
from thalweg.studies.kawaguchi2021_expressivity import phase_two as last
from thalweg.theory.descent import last_layer

LAB = Lab(progress=False)
# The package gives the function of this name; faults go into its module.
two_phase = importlib.import_module("thalweg.dynamics.two_phase_training")
COMPILED = (TwoPhase, two_phase)


@pytest.fixture
def fault(monkeypatch):
    """A function that replaces `place.name` by wrong(right, *arguments)."""
    stale = False

    def plant(place, name, wrong):
        nonlocal stale
        if place in COMPILED:  # what was compiled with the right one must not be met again
            stale = True
            jax.clear_caches()
        right = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, **k: wrong(right, *a, **k))

    yield plant
    if stale:
        jax.clear_caches()


def word(claim, **found):
    results = {name.replace("_", "-"): data for name, data in found.items()}
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    return verdict.word


def all_layers(right, self, problem, state, key):
    return self._all_layers(problem, state, key)


def gradient_masked_only(right, self, problem, state, key):
    objective, base = self.base.objective(problem, key), state.memory.base

    def masked(params):
        return objective([*jax.lax.stop_gradient(params[:-1]), params[-1]])

    after, info = self.base.descend(masked, state._replace(memory=base))
    return after._replace(memory=state.memory._replace(base=after.memory)), info


def no_ones(right, *a, **k):
    A = right(*a, **k)
    return A.at[:, -1].set(0.0)


def with_tolerance(factor):
    def wrong(right, A):
        found = right(A)
        rank = int(np.sum(found.singular_values > factor * found.tolerance))
        return found._replace(rank=rank)

    return wrong


def not_squared(right, A, residual, steps):
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    return right(U @ np.diag(np.sqrt(s)) @ Vt, residual, steps)


TRAINS_ALL = (TwoPhase, "_last_layer", all_layers)
X3 = {
    "singular values not squared": ("C1", (last_layer, "descent_residual", not_squared)),
    "away from the minimiser": (
        "C2",
        (last_layer, "nearest_minimiser", lambda right, A, Y, V: 2 * V - right(A, Y, V)),
    ),
}
X3_SLOW = {
    "no column of ones": ("C1", (expressivity, "feature_matrix", no_ones)),
    "all layers move": ("C4", TRAINS_ALL),
    "all layers are trained": ("C1", TRAINS_ALL),
    "twice the step size": ("C1", (two_phase, "_certified", lambda right, *a: 2 * right(*a))),
}


@pytest.fixture(scope="module")
def every_step():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(last, "STEPS", 20)
        return last.every_step(LAB)


@pytest.mark.parametrize(
    "name", [*X3, *(pytest.param(name, marks=pytest.mark.slow) for name in X3_SLOW)]
)
def test_c1_c2_and_c4_fail(fault, every_step, name):
    claim, where = (X3 | X3_SLOW)[name]
    fault(*where)
    found = last.phases(LAB, 60, 60, 1)
    assert word(claim, X3=found, X3_steps=every_step) == "not reproduced"


FLOORS = {
    "no factor 1/2": (last_layer, "least_squares_floor", lambda right, A, Y: 2 * right(A, Y)),
    "labels of mean zero": (
        last_layer,
        "random_label_floor",
        lambda right, n, r, c: 0.5 * (1 - r / n),
    ),
    "no column of ones": (last_layer, "range_basis", lambda right, A: right(A[:, :-1])),
}


@pytest.fixture(scope="module")
def narrow():
    return last.narrow(LAB, 20)


@pytest.mark.parametrize("name", FLOORS)
def test_c3_fails(fault, monkeypatch, narrow, name):
    monkeypatch.setattr(last, "WIDTHS", (20, 220))
    monkeypatch.setattr(last, "narrow", lambda lab, steps: narrow)
    fault(*FLOORS[name])
    assert word("C3", X3_floors=last.floors(LAB)) == "not reproduced"


@pytest.mark.slow
def test_c3_fails_where_all_layers_are_trained(fault):
    fault(*TRAINS_ALL)
    assert word("C3", X3_floors=last.floors(LAB)) == "not reproduced"


@pytest.mark.parametrize("factor", [0.0, 1e4])
def test_c5_fails(fault, factor):
    fault(expressivity, "rank_of", with_tolerance(factor))
    assert word("C5", X1_degenerate=condition.degenerate(LAB)) == "not reproduced"


def unshifted(right, *a, **k):
    params = right(*a, **k)
    params[0]["bias"] = 0 * params[0]["bias"]
    return params


def kinks_of_one_sign(right, *a, **k):
    params = right(*a, **k)
    params[-2]["bias"] = -params[-2]["bias"]
    return params


@pytest.mark.parametrize("wrong", [unshifted, kinks_of_one_sign])
def test_c6_fails(fault, wrong):
    fault(expressivity, "constructed_witness", wrong)
    assert word("C6", X1_witness=condition.witnesses(LAB)) == "not reproduced"


@pytest.fixture(scope="module")
def residual_nets():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(condition, "STAGES", {"resnet": ((8, 1), (16, 1), (128, 1))})
        return condition.resnets(LAB)


C7 = {
    "no tolerance": (expressivity, "rank_of", with_tolerance(0.0)),
    "witness without shift": (expressivity, "constructed_witness", unshifted),
    "tolerance 1e10 times larger": (expressivity, "rank_of", with_tolerance(1e10)),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) for n in C7])
def test_c7_fails(fault, residual_nets, name):
    """Over as many draws as show it without a fault (see the study's own test)."""
    fault(*C7[name])
    found = {"X1": condition.condition(LAB), "X1_resnets": residual_nets}
    assert word("C7", **found) == "not reproduced"


def kinked(right, hidden):
    """ReLU, without the tail by which a softplus unit still tells inputs apart."""
    return condition.mlp(hidden, "relu", initialiser="he-normal")


def narrower(right, hidden):
    """6 and 6 units for 16 and 16."""
    return right((6, 6, hidden[-1]) if len(hidden) == 3 else hidden)


SHARES = {
    "ReLU for softplus": (condition, "net", kinked, "16-16-221: rank from 185 to 200"),
    "6 units for 16": (condition, "net", narrower, "16-16-221: rank from 185 to 200"),
    "a looser tolerance": (expressivity, "rank_of", with_tolerance(1e3), "2-221: rank from"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARES)
def test_what_c7_says_of_most_draws_fails(fault, residual_nets, name):
    *where, part = SHARES[name]
    fault(*where)
    results = {"X1": condition.condition(LAB), "X1-resnets": residual_nets}
    (verdict,) = judge([c for c in STUDY.claims if c.id == "C7"], results)
    assert any(part in told for told in verdict.surprises), verdict.surprises


def stuck(right, self, problem, state, key):
    after, info = right(self, problem, state, key)
    return after._replace(params=state.params), info


@pytest.mark.slow
@pytest.mark.parametrize(
    "where",
    [
        (TwoPhase, "_last_layer", stuck),
        TRAINS_ALL,
        (training, "two_phase", lambda right, *a, **k: right(*a[:3], 1.0, **k)),
    ],
    ids=["nothing is trained", "all layers are trained", "noise of size 1"],
)
def test_c8_fails(fault, where):
    fault(*where)
    found = training.compare(LAB, training.TAU, training.STEPS, training.EVERY, 1)
    assert word("C8", X2=found) == "not reproduced"


C9 = {
    "no square": (
        last_layer,
        "last_layer_smoothness",
        lambda right, A, L=1.0: L * np.linalg.norm(A, 2) / len(A),
    ),
    "no column of ones": (expressivity, "feature_matrix", no_ones),
    "twice the cross-entropy": (last, "cross_entropy", lambda right, *a: 2 * right(*a)),
}


@pytest.mark.parametrize(
    "name", ["no square", *(pytest.param(n, marks=pytest.mark.slow) for n in list(C9)[1:])]
)
def test_c9_fails(fault, name):
    fault(*C9[name])
    assert word("C9", X3_smoothness=last.smoothness(LAB)) == "not reproduced"


@pytest.fixture(scope="module")
def leak():
    return training.leak(LAB)


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong", [pytest.param(all_layers, marks=pytest.mark.slow), gradient_masked_only]
)
def test_c10_fails(fault, leak, wrong):
    fault(TwoPhase, "_last_layer", wrong)
    found = training.compare(LAB, 20, 40, 10, 1)
    assert word("C10", X2=found, X2_leak=leak) == "not reproduced"


@pytest.mark.slow
def test_c10_fails_with_another_sum_of_momentum(leak):
    found = training.compare(LAB, 20, 40, 10, 1)
    half = leak.assign(drift_theory=leak["drift_theory"] * training.MOMENTUM)
    assert word("C10", X2=found, X2_leak=leak) == "reproduced"
    assert word("C10", X2=found, X2_leak=half) == "not reproduced"
