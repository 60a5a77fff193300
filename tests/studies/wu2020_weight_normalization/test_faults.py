"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.studies.wu2020_weight_normalization import STUDY, descent, flow
from thalweg.theory.limits.minimum_norm import MinimumNorm, RowNullSplit
from thalweg.theory.linear_nets import weight_normalisation as theory

LAB = Lab(progress=False)


@pytest.fixture
def fault(monkeypatch):
    """A function that replaces `place.name` by wrong(right, *arguments)."""

    def plant(place, name, wrong):
        right = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, **k: wrong(right, *a, **k))

    return plant


def word(claim, **found):
    results = {name.replace("_", "-"): data for name, data in found.items()}
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    return verdict.word


# The flow.


@pytest.fixture
def short(monkeypatch):
    """X1 in short: up to time 300, at two ratios and on one other draw."""
    monkeypatch.setattr(flow, "TIMES", np.concatenate([[0.0], np.geomspace(1e-2, 300, 40)]))
    monkeypatch.setattr(flow, "RATIOS", (1.0, 4.0))
    monkeypatch.setattr(flow, "OTHER_DRAWS", (1,))


FOLLOWED = {}


def remembered(right, A, y, w0, g0, c, times, **k):
    """Flows that no fault has touched are followed once."""
    key = A.tobytes(), w0.tobytes(), g0, c
    if key not in FOLLOWED:
        FOLLOWED[key] = right(A, y, w0, g0, c, times, **k)
    return FOLLOWED[key]


def flows():
    return {"X1": flow.flow(LAB), "X1_draws": flow.flow_draws(LAB)}


def not_tangential(right, A, y, w, g, slope=theory.squared_slope):
    scale, direction = right(A, y, w, g, slope)
    u = w / np.linalg.norm(w)
    return theory.WNGradients(scale, direction + g * scale * u)


def weight_decay(right, A, y, w, g, slope=theory.squared_slope):
    scale, direction = right(A, y, w, g, slope)
    return theory.WNGradients(scale + 0.01 * g, direction)


def doubled_scale(right, A, y, w, g, slope=theory.squared_slope):
    scale, direction = right(A, y, w, g, slope)
    return theory.WNGradients(2 * scale, direction)


def without_factor_two(right, w, g, projector, c, g0=0.0):
    return right(w, g, projector, c / 2, g0)


def other_sign(right, w, g, projector, c, g0=0.0):
    return right(w, np.asarray(g), projector, -c, g0)


def row_space(right, w, g, projector, c, g0=0.0):
    return right(w, g, np.eye(len(projector)) - projector, c, g0)


def perp_not_squared(right, norm, perp, g0, c=1.0):
    return right(norm, perp**0.5, g0, c)


def half_ratio(right, norm, perp, g0, c=1.0):
    return right(norm, perp, g0, c / 2)


def start_forgotten(right, norm, perp, g0, c=1.0):
    return right(norm, perp, 0.0, c)


def sign_forgotten(right, A, y, w0, g0, c, times, **k):
    return right(A, y, w0, abs(g0), c, times, **k)


def larger_distance(right, *a):
    limit = right(*a)
    return limit._replace(distance=limit.distance**2)


def descent_forgets_perp(right, A, y, w0, g0, c=1.0):
    return right(A, y, w0, g0, c)._replace(descent_distance=abs(g0))


def swapped(right, self, v):
    row, null = right(self, v)
    return RowNullSplit(null, row)


def floor_too_high(right, perp, g0, c=1.0):
    return right(perp**0.5, g0, c)


def rate_of_the_fastest(right, A, y):
    found = right(A, y)
    return found._replace(least=found.most)


X1 = {
    "C1: radial part kept": ("C1", theory, "wn_gradients", not_tangential),
    "C1: weight decay": ("C1", theory, "wn_gradients", weight_decay),
    "C1: c for 2 c": ("C1", theory, "wn_invariant", without_factor_two),
    "C1: sign of the exponent": ("C1", theory, "wn_invariant", other_sign),
    "C1: P for P_perp": ("C1", theory, "wn_invariant", row_space),
    "C2: factor 2 in g'": ("C2", theory, "wn_gradients", doubled_scale),
    "C2: perp for its square": ("C2", theory, "limit_scale_squared", perp_not_squared),
    "C2: c/2": ("C2", theory, "limit_scale_squared", half_ratio),
    "C2: g0 left out": ("C2", theory, "limit_scale_squared", start_forgotten),
    "C2: sign of g0": ("C2", theory, "wn_flow", sign_forgotten),
    "C3: square in the distance": ("C3", theory, "wn_limit", larger_distance),
    "C3: descent without perp": ("C3", theory, "wn_limit", descent_forgets_perp),
    "C3: parts exchanged": ("C3", MinimumNorm, "split", swapped),
    "C3: factor 2 in g'": ("C3", theory, "wn_gradients", doubled_scale),
    "C4: perp for its square": ("C4", theory, "least_scale_squared", floor_too_high),
    "C4: largest eigenvalue in E9": ("C4", theory, "minimum_norm", rate_of_the_fastest),
}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", X1)
def test_the_flow_notices(fault, name):
    claim, *planted = X1[name]
    if "wn_gradients" not in planted:
        fault(theory, "wn_flow", remembered)
    fault(*planted)
    assert word(claim, **flows()) == "not reproduced"


@pytest.mark.usefixtures("short")
def test_c4_notices_the_larger_of_the_two(monkeypatch):
    monkeypatch.setattr(theory, "min", max, raising=False)
    assert word("C4", **flows()) == "not reproduced"


def norm_not_squared(right, c, w0):
    return c * np.linalg.norm(w0)


def norm_left_out(right, c, w0):
    return c


def length_left_out(right, A, y, w, g, slope):
    scale, direction = right(A, y, w, g, slope)
    return theory.WNGradients(scale, direction * np.linalg.norm(w))


X1_OTHERS = {
    "norm for its square": (theory, "effective_ratio", norm_not_squared),
    "c itself": (theory, "effective_ratio", norm_left_out),
    "weight decay": (theory, "wn_gradients", weight_decay),
    "||w|| left out of w'": (theory, "wn_gradients", length_left_out),
}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", X1_OTHERS)
def test_c11_fails(fault, name):
    fault(*X1_OTHERS[name])
    assert word("C11", X1_others=flow.other_flows(LAB)) == "not reproduced"


# Steps. What was compiled stays right: faults sit in what the programs are given, or in theory.


@pytest.fixture
def small(monkeypatch):
    """X2 and X3 in short, where the claims hold: the study's own test takes the same sizes."""
    for name, value in (
        ("SEEDS", (0, 1, 2, 3)),
        ("END", 60.0),
        ("RECORDS", 2),
        ("PHASE_ONE_MOST", 1000),
        ("PHASE_TWO_STEPS", 3000),
        ("NORM_STEPS", 30),
    ):
        monkeypatch.setattr(descent, name, value)


def kappa_inverted(right, perp, ratio, steps):
    return right(perp, 1 / ratio, steps)


def sum_left_out(right, perp, ratio, steps):
    return perp * ratio ** np.asarray(steps, float)


def kappa_not_squared(right, perp, ratio, steps):
    return right(perp, ratio**0.5, steps)


def changed(name, change):
    """A fault of `follow`: one array of the dynamics is another."""

    def wrong(right, dynamics, *a):
        if hasattr(dynamics, name):
            dynamics = dataclasses.replace(dynamics, **{name: change(getattr(dynamics, name))})
        return right(dynamics, *a)

    return wrong


X3 = {
    "C5: kappa inverted": ("C5", theory, "phase1_closed_form", kappa_inverted),
    "C5: geometric sum left out": ("C5", theory, "phase1_closed_form", sum_left_out),
    "C5: g0/g* for its square": ("C5", theory, "phase1_closed_form", kappa_not_squared),
    "C5: half the step": ("C5", descent, "follow", changed("step_size", lambda v: v / 2)),
    "C6: gamma larger": ("C6", descent, "follow", changed("scale_step_size", lambda v: 1.01 * v)),
    "C6: no phase I": ("C6", descent, "follow", changed("switch", jnp.zeros_like)),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", X3)
def test_orthonormal_rows_notice(fault, name):
    claim, *planted = X3[name]
    fault(*planted)
    assert word(claim, X3=descent.orthonormal_rows(LAB)) == "not reproduced"


def larger_phase_one(right, draws, lanes, first):
    return right(draws, lanes, 4 * first)


def always_small(right, draws, lanes, first):
    return right(draws, lanes, np.minimum(first, 0.4))


def never_aligned(right, lanes, *a):
    return jnp.zeros(lanes.g0.shape, jnp.int64)


def twice_the_start(right, lanes):
    return right(lanes._replace(g0=2 * lanes.g0))


C7 = {
    "phase I above g*": ("two_phase_end", larger_phase_one),
    "phase I never above g*": ("two_phase_end", always_small),
    "no phase I": ("aligned_after", never_aligned),
    "descent from 2 x0": ("plain_descent", twice_the_start),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", C7)
def test_c7_fails(fault, monkeypatch, name):
    monkeypatch.setattr(descent, "END", 1.0)
    fault(descent, *C7[name])
    assert word("C7", X2=descent.scale_sweep(LAB)) == "not reproduced"


def other_ratio(right, algorithm, step_size, lanes):
    dynamics = right(algorithm, step_size, lanes)
    return dataclasses.replace(dynamics, scale_step_size=2 * dynamics.scale_step_size)


def one_step_size(right, algorithm, step_size, lanes):
    return right(algorithm, 0.02, lanes)


def always_projected(right, algorithm, step_size, lanes):
    return right("rPGD", step_size, lanes)


SWEEP = {
    "C8: perp for its square": ("C8", theory, "limit_scale_squared", perp_not_squared),
    "C8: square in the distance": ("C8", theory, "wn_limit", larger_distance),
    "C8: gamma = 2 eta": ("C8", descent, "reparametrised", other_ratio),
    "C8: descent from 2 x0": ("C8", descent, "plain_descent", twice_the_start),
    "C9: c for 2 c": ("C9", theory, "wn_invariant", without_factor_two),
    "C9: one step size": ("C9", descent, "reparametrised", one_step_size),
    "C9: WN projected": ("C9", descent, "reparametrised", always_projected),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", SWEEP)
def test_the_sweep_notices(fault, monkeypatch, name):
    monkeypatch.setattr(descent, "PHASE_ONE_MOST", 1)
    monkeypatch.setattr(descent, "PHASE_TWO_STEPS", 1)
    claim, *planted = SWEEP[name]
    fault(*planted)
    assert word(claim, X2=descent.scale_sweep(LAB)) == "not reproduced"


def g_left_out(right, A, y, w, g, slope=theory.squared_slope):
    scale, direction = right(A, y, w, g, slope)
    return theory.WNGradients(scale, direction / np.asarray(g)[..., None])


def radial(right, A, y, w, g):
    scale, direction = right(A, y, w, g)
    return theory.WNGradients(scale, direction + (np.asarray(scale) * g)[..., None] * w)


C10 = {
    "radial part kept": (theory, "wn_gradients", radial),
    "g left out": (theory, "wn_gradients", g_left_out),
    "projected": (descent, "reparametrised", always_projected),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", C10)
def test_c10_fails(fault, name):
    fault(*C10[name])
    assert word("C10", X2_steps=descent.norm_growth(LAB)) == "not reproduced"
