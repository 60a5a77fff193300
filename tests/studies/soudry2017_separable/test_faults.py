"""Planted faults: every claim of the study fails when what it rests on is wrong."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.dynamics import gradient_descent, optax_dynamics
from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.problems.margin_losses import stretched_exponential
from thalweg.studies.soudry2017_separable import STUDY, descent, exact
from thalweg.theory.limits import log_time_flow, separable

LAB = Lab(progress=False)


@pytest.fixture
def fault(monkeypatch):
    """A function that replaces `place.name` by wrong(right, *arguments)."""

    def plant(place, name, wrong):
        right = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, **k: wrong(right, *a, **k))

    return plant


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(descent, "DRAWS", 1)
    monkeypatch.setattr(descent, "CLASS_DRAWS", 1)


def word(claim):
    """The verdict on one claim, from the experiments that it needs."""
    (chosen,) = [c for c in STUDY.claims if c.id == claim]
    results = {name: STUDY.experiments[name](LAB) for name in chosen.needs}
    (verdict,) = judge([chosen], results)
    return verdict.word


# The machine and the flow in logarithmic time: plain NumPy.


def scaled_svm(**factors):
    def wrong(right, X):
        svm = right(X)
        return svm._replace(**{k: getattr(svm, k) * v for k, v in factors.items()})

    return wrong


def all_points(right, X):
    """The w of least norm that has every example on the margin, as nearly as it can."""
    w = np.linalg.lstsq(X, np.ones(len(X)), rcond=None)[0]
    return right(X)._replace(w=w, margin=1 / np.linalg.norm(w))


def perceptron(right, X):
    """A separator that is not the one of largest margin."""
    svm = right(X)
    mean = np.mean(X, axis=0)
    w = mean / np.min(X @ mean)
    return svm._replace(w=w, margin=1 / np.linalg.norm(w))


def half_pull(right, slope, jacobian, first, s):
    """The term -w_svm (or the shrinking of q) twice as strong."""
    rest = slope(1e9, np.full(len(first), 1e9))  # all exponentials are gone there
    return right(lambda s, r: slope(s, r) + rest, jacobian, first, s)


def double_slope(right, slope, jacobian, first, s):
    return right(lambda s, r: 2 * slope(s, r), lambda s, r: 2 * jacobian(s, r), first, s)


def other_step(factor):
    def wrong(right, X, svm, step_size, *a, **k):
        return right(X, svm, factor * step_size, *a, **k)

    return wrong


def swapped_margin(right, *a, **k):
    c = right(*a, **k)
    return c._replace(margin=c.distance, distance=c.margin)


def unlogged(right, *a, **k):
    c = right(*a, **k)
    return c._replace(angle=2 * c.angle)


def other_power(right, X, power, *a):
    return right(X, power + 1, *a)


EXACT = {
    "C1: w twice too long": ("C1", exact, "hard_margin_svm", scaled_svm(w=2)),
    "C1: alpha without its factor": ("C1", exact, "hard_margin_svm", scaled_svm(alpha=0.5)),
    "C1: all examples on the margin": ("C1", exact, "hard_margin_svm", all_points),
    "C1: not the largest margin": ("C1", exact, "hard_margin_svm", perceptron),
    "C2: eta twice as large": ("C2", exact, "residual_limit", other_step(2)),
    "C2: loss constant": ("C2", separable, "loss_constant", lambda r, *a, **k: 2 * r(*a, **k)),
    "C2: flow twice as fast": ("C2", log_time_flow, "_follow", half_pull),
    "C2: constants exchanged": ("C2", exact, "predicted_constants", swapped_margin),
    "C2: factor 1/2 of the angle": ("C2", exact, "predicted_constants", unlogged),
    "C6: twice the time": ("C6", log_time_flow, "_follow", double_slope),
    "C6: pull of w_svm": ("C6", log_time_flow, "_follow", half_pull),
    "C8: u^-3": ("C8", exact, "power_tail_flow", other_power),
    "C8: minimiser of u^-3": ("C8", exact, "power_tail_direction", other_power),
    "C8: not the largest margin": ("C8", exact, "hard_margin_svm", perceptron),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_claims_fail(fault, name):
    claim, *planted = EXACT[name]
    fault(*planted)
    assert word(claim) == "not reproduced"


# Descent: what is compared is wrong, or the method is.


def mean_loss(right, lab, name, problem, dynamics, last, svm, **k):
    """Descent on the mean instead of the sum: a step that is n times smaller."""
    n = len(problem.X)
    return right(lab, name, problem, gradient_descent(dynamics.step_size / n), last, svm, **k)


def averaged(right, lab, name, problem, dynamics, last, svm, constant, **k):
    n = len(problem.X)
    return right(lab, name, problem, dynamics, last, svm, constant=constant / n, **k)


def twice(right, *a, **k):
    return 2 * right(*a, **k)


def momentum_forgotten(right, svm, step_size, **k):
    return right(svm, step_size)


def halved(right, X):
    svm = right(X)
    return svm._replace(w=svm.w / 2, margin=2 * svm.margin)


def other_tail(right, X):
    return right(X, stretched_exponential(0.5))


def only_descent(right, method, step_size):
    return right("gradient descent", step_size)


@cache
def large_epsilon(right, method, step_size):
    """Adam with an epsilon far above the gradients is gradient descent with momentum."""
    if method == "Adam":
        return optax_dynamics(optax.adam(100 * step_size, eps=100.0), step_size, method)
    return right(method, step_size)


def constant_steps(right, first):
    return lambda k: first + 0.0 * k


def shorter_steps(right, first):
    return lambda k: first / (k + 1.0)


def labels_lost(right):
    X, V = right()
    return X, V * np.sign(V[:, -1:])


def doubled_outputs(right, V, loss):
    return right(2 * V, loss)


def stretched_rows(right, X, labels):
    return 2 * right(X, labels)


def uneven(right, W, x):
    return right(W, x) * jnp.array([1.0, 2.0, 1.0])


DESCENT = {
    "C3: mean for sum": ("C3", descent, "follow", mean_loss),
    "C3: another step size": ("C3", descent, "inverse_square", twice),
    "C3: |w_svm|/2": ("C3", descent, "hard_margin_svm", halved),
    "C3: loss averaged": ("C3", descent, "follow", averaged),
    "C4: |w_svm|/2": ("C4", descent, "hard_margin_svm", halved),
    "C5: momentum forgotten": ("C5", descent, "loss_constant", momentum_forgotten),
    "C7: descent in Adam's place": ("C7", descent, "optimiser", only_descent),
    "C9: constant steps": ("C9", descent, "inverse_root_steps", constant_steps),
    "C10: labels lost": ("C10", descent, "even_or_odd", labels_lost),
    "C10: |w_svm|/2": ("C10", descent, "hard_margin_svm", halved),
    "C11: factor 2 in the rows": ("C11", descent, "stack_classes", stretched_rows),
}
MORE = {
    "C4: another tail": ("C4", descent, "linear_classifier", other_tail),
    "C5: loss averaged": ("C5", descent, "follow", averaged),
    "C7: epsilon large": ("C7", descent, "optimiser", large_epsilon),
    "C9: eta_0/t": ("C9", descent, "inverse_root_steps", shorter_steps),
    "C10: outputs doubled": ("C10", descent, "validation_loss", doubled_outputs),
    "C10: mean for sum": ("C10", descent, "follow", mean_loss),
    "C11: classes not alike": ("C11", descent, "linear_map", uneven),
}


@pytest.mark.parametrize("name", DESCENT)
def test_claims_on_descent_fail(fault, name):
    claim, *planted = DESCENT[name]
    fault(*planted)
    assert word(claim) == "not reproduced"


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_claims_on_descent_fail_for_other_reasons(fault, name):
    claim, *planted = MORE[name]
    fault(*planted)
    assert word(claim) == "not reproduced"


def test_every_claim_has_a_fault():
    planted = {row[0] for row in (*EXACT.values(), *DESCENT.values())}
    assert planted == {claim.id for claim in STUDY.claims}
