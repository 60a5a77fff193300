"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import jax
import numpy as np
import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.problems.data.planes import random_plane
from thalweg.studies.he2022_low_dimensional_data import STUDY, flow, linear, relu
from thalweg.theory.linear_nets import low_dimensional as theory

LAB = Lab(progress=False)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Fewer depths, nets, seeds and steps, on which the claims hold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "LATE", np.linspace(800.0, 900.0, 11))
        patch.setattr(linear, "SEEDS", 1)
        patch.setattr(linear, "DEPTHS", (2,))
        patch.setattr(linear, "STEPS", 20_000)
        patch.setattr(relu, "NETS", {"one hidden": (40,)})
        patch.setattr(relu, "SWEEP_NETS", ("one hidden",))
        patch.setattr(relu, "SEEDS", 1)
        patch.setattr(relu, "STEPS", 200)
        yield


class Tape:
    """What a function returned, call by call, to be had again without computing it."""

    def __init__(self, place, name, experiment):
        self.place, self.name, self.taken = place, name, []
        right = getattr(place, name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, name, lambda *a, **k: self._keep(right(*a, **k)))
            self.data = experiment(LAB)

    def _keep(self, value):
        self.taken.append(value)
        return value

    def play(self, patch):
        calls = iter(self.taken)
        patch.setattr(self.place, self.name, lambda *a, **k: next(calls))


@pytest.fixture(scope="module")
def linear_runs(small):
    return Tape(linear, "follow", linear.descent)


@pytest.fixture(scope="module")
def relu_runs(small):
    return Tape(relu, "follow", relu.clean)


@pytest.fixture(scope="module")
def decay_runs(small):
    return Tape(relu, "follow", relu.decay)


@pytest.fixture(scope="module")
def noise_flows(small):
    return Tape(flow, "reduced_flow", flow.noise_rate)


@pytest.fixture
def fault(monkeypatch):
    """A function that replaces `place.name` by wrong(right, *arguments)."""

    def plant(place, name, wrong):
        right = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, **k: wrong(right, *a, **k))

    return plant


@pytest.fixture
def fresh():
    """Nothing compiled with the right parts is used with the wrong ones, nor the reverse."""
    jax.clear_caches()
    yield
    jax.clear_caches()


def word(claim, **found):
    results = {name.replace("_", "-"): data for name, data in found.items()}
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    return verdict.word


# C1


def off_by_a_hair(right, plane, n, target, noise=0.0, **options):
    return right(plane, n, target, noise + 1e-9, **options)


def turned(right, dimension, codimension):
    return random_plane(dimension, codimension)


def no_step_size(right, start, decay, step_size, steps):
    return right(start, decay, 1.0, steps)


def no_decay(right, start, decay, step_size, steps):
    return right(start, 0.0, step_size, steps)


C1 = {
    "noise in a linear net's data": ("X2", linear, "near_plane", off_by_a_hair),
    "noise in a ReLU net's data": ("X4", relu, "near_plane", off_by_a_hair),
    "a rotated plane": ("X4", relu, "coordinate_plane", turned),
    "decay without step size": ("X4_decay", relu, "decayed_columns", no_step_size),
    "no decay": ("X4_decay", relu, "decayed_columns", no_decay),
}


@pytest.mark.parametrize("name", C1)
def test_c1_fails(fault, monkeypatch, linear_runs, relu_runs, decay_runs, name):
    tapes = {"X2": linear_runs, "X4": relu_runs, "X4_decay": decay_runs}
    results = {experiment: tape.data for experiment, tape in tapes.items()}
    assert word("C1", **results) == "reproduced"
    experiment, *planted = C1[name]
    monkeypatch.setattr(relu, "REDRAWS", 20)
    monkeypatch.setattr(linear, "STEPS", 200)
    fault(*planted)
    rerun = {"X2": linear.descent, "X4": relu.clean, "X4_decay": relu.decay}[experiment]
    assert word("C1", **results | {experiment: rerun(LAB)}) == "not reproduced"


# The reduced flow.


def no_rank_one_term(right, w, gradient, L):
    return -(np.linalg.norm(w) ** (2 - 2 / L)) * gradient


def depth_for_depth_less_one(right, w, gradient, L):
    square = w @ w
    return -(square ** (1 - 1 / L)) * (gradient + L * w * (w @ gradient) / square)


def no_speed(right, w, gradient, L):
    return right(w, gradient, L) / np.linalg.norm(w) ** (2 - 2 / L)


def other_speed(right, w, gradient, L):
    return right(w, gradient, L) * np.linalg.norm(w) ** (1 / L)


def depth_blind(right, w, gradient, L):
    return right(w, gradient, 2)


def noisy(right, a, codimension, noise=0.0, **options):
    return right(a, codimension, 0.3, **options)


def silent(right, a, codimension, noise=0.0, **options):
    return right(a, codimension, 0.0, **options)


def power_one_over_depth(right, w_norm, normal_norm, L):
    return normal_norm / w_norm ** (1 / L)


def power_depth(right, w_norm, normal_norm, L):
    return normal_norm**L / w_norm**L * 0.9


def powers_exchanged(right, w_norm, normal_norm, L):
    return normal_norm ** (L - 1) / w_norm ** (L - 2)


FLOW = {
    "C2: no rank-one term": ("C2", flow.invariant, theory, "reduced_velocity", no_rank_one_term),
    "C2: L for L - 1": ("C2", flow.invariant, theory, "reduced_velocity", depth_for_depth_less_one),
    "C2: noise": ("C2", flow.invariant, flow, "plane_loss", noisy),
    "C2: power 1/L": ("C2", flow.invariant, flow, "frozen_invariant", power_one_over_depth),
    "C4: no rank-one term": (
        "C4",
        flow.initial_scale,
        theory,
        "reduced_velocity",
        no_rank_one_term,
    ),
    "C4: depth-blind": ("C4", flow.initial_scale, theory, "reduced_velocity", depth_blind),
    "C5: no rank-one term": ("C5", flow.closest, theory, "reduced_velocity", no_rank_one_term),
    "C5: depth-blind": ("C5", flow.closest, theory, "reduced_velocity", depth_blind),
    "C5: power of ||w||": ("C5", flow.closest, flow, "closest_norm", power_depth),
    "C5: powers exchanged": ("C5", flow.closest, flow, "closest_norm", powers_exchanged),
    "C5: noise without effect": ("C5", flow.closest, flow, "plane_loss", silent),
    "C6: no power of ||w||": ("C6", flow.escape, theory, "reduced_velocity", no_speed),
    "C6: 2 - 1/L": ("C6", flow.escape, theory, "reduced_velocity", other_speed),
    "C6: no rank-one term": ("C6", flow.escape, theory, "reduced_velocity", no_rank_one_term),
}


@pytest.mark.parametrize("name", FLOW)
def test_the_flow_notices(fault, monkeypatch, name):
    monkeypatch.setattr(flow, "ESCAPE_SCALES", np.array([1e-6, 1e-4]))
    monkeypatch.setattr(flow, "SCALES", np.array([1e-3, 1e-2]))
    claim, experiment, *planted = FLOW[name]
    needed = {c.id: c.needs[0].replace("-", "_") for c in STUDY.claims}[claim]
    fault(*planted)
    assert word(claim, **{needed: experiment(LAB)}) == "not reproduced"


# C7


def no_power_of_a(right, a_norm, noise, L):
    return right(1.0, noise, L)


def unsquared_noise(right, a_norm, noise, L):
    return right(a_norm, noise, L) / noise


def power_two(right, a_norm, noise, L):
    return right(a_norm, noise, L) * a_norm ** (2 / L)


C7 = {"||a|| left out": no_power_of_a, "noise": unsquared_noise, "||a||^2": power_two}


@pytest.mark.parametrize("name", C7)
def test_c7_fails(fault, monkeypatch, noise_flows, name):
    assert word("C7", X1_noise=noise_flows.data) == "reproduced"
    noise_flows.play(monkeypatch)
    fault(flow, "normal_decay_rate", C7[name])
    assert word("C7", X1_noise=flow.noise_rate(LAB)) == "not reproduced"


@pytest.mark.slow
def test_c7_fails_on_the_flow(fault):
    fault(theory, "reduced_velocity", other_speed)
    assert word("C7", X1_noise=flow.noise_rate(LAB)) == "not reproduced"


# C3


def depth_blind_prediction(right, w_norm, normal_norm, fitted_norm, L):
    return normal_norm


def deeper(right, w_norm, normal_norm, fitted_norm, L):
    return right(w_norm, normal_norm, fitted_norm, L + 1)


def tangent_norm(right, w_norm, normal_norm, fitted_norm, L):
    return normal_norm * (fitted_norm / np.sqrt(w_norm**2 - normal_norm**2)) ** (1 - 1 / L)


def target_for_end(right, w_norm, normal_norm, fitted_norm, L):
    return normal_norm * (fitted_norm / w_norm) ** (1 - 1 / L)


C3 = {
    "depth-blind": depth_blind_prediction,
    "one layer more": deeper,
    "norm of w_x": tangent_norm,
    "||a|| for ||w||": target_for_end,
}


@pytest.mark.parametrize("name", C3)
def test_c3_fails(fault, monkeypatch, linear_runs, name):
    assert word("C3", X2=linear_runs.data) == "reproduced"
    linear_runs.play(monkeypatch)
    fault(linear, "settled_normal_norm", C3[name])
    assert word("C3", X2=linear.descent(LAB)) == "not reproduced"


def unbalanced(right, L, inputs, seed):
    first, *rest = right(L, inputs, seed)
    return [{"weight": 1.1 * first["weight"]}, *rest]


def one_step_size(right, step_size):
    return right(linear.STEP)


@pytest.mark.parametrize(
    ("name", "wrong"), [("balanced_start", unbalanced), ("gradient_descent", one_step_size)]
)
def test_c3_fails_on_the_run(fault, name, wrong):
    fault(linear, name, wrong)
    assert word("C3", X2=linear.descent(LAB)) == "not reproduced"


# C8


def without_root(right, residual, noise, n):
    return residual / (noise * n)


def leading_order(right, residual, noise, n):
    return residual / (noise * np.sqrt(n))


def one_coordinate_more(right, residual, noise, n):
    return right(residual, noise, n, codimension=2)


def without_noise(right, residual, noise, n):
    return right(residual, noise**0, n)


def squared_noise(right, residual, noise, n):
    return right(residual, noise**2, n)


def whole_target(right):
    return np.sqrt(0.5 - np.sin(6) / 12)


def squares(right, n, noise, repeats):
    return right(n, noise, repeats) ** 2


@pytest.fixture(scope="module")
def fits(small):
    return Tape(linear, "_fitted", linear.least_squares)


C8 = {
    "no root": ("least_squares_normal", without_root),
    "N for N - 3": ("least_squares_normal", leading_order),
    "N - 4 for N - 3": ("least_squares_normal", one_coordinate_more),
    "no noise": ("least_squares_normal", without_noise),
    "noise^2": ("least_squares_normal", squared_noise),
    "the target for its residual": ("sine_residual", whole_target),
    "the square": ("_fitted", squares),
}


@pytest.mark.parametrize("name", C8)
def test_c8_fails(fault, monkeypatch, fits, name):
    assert word("C8", X2_samples=fits.data) == "reproduced"
    fits.play(monkeypatch)
    fault(linear, *C8[name])
    assert word("C8", X2_samples=linear.least_squares(LAB)) == "not reproduced"


# C9


def other_variance(right, variance, g):
    return right(variance / 2, g)


def deviation(right, variance, g):
    return right(variance**0.5, g)


def unsquared(right, variance, g):
    return variance * np.abs(g).sum(-1)


def untrained(right, model, params, points):
    return right(model, relu.start_of("one hidden", 0), points)


def scaled(right, f, points, normal):
    found = right(f, points, normal)
    return found._replace(value=1.1 * found.value)


def tangent_direction(right, f, points, normal):
    return right(f, points, np.eye(3)[:, :2])


C9 = {
    "half of the variance": ("redrawn_variance", other_variance),
    "s for s^2": ("redrawn_variance", deviation),
    "entries not squared": ("redrawn_variance", unsquared),
    "g_1 of the start": ("first_layer_gradient", untrained),
}


@pytest.mark.parametrize("name", C9)
def test_c9_fails(fault, monkeypatch, relu_runs, name):
    assert word("C9", X4=relu_runs.data) == "reproduced"
    relu_runs.play(monkeypatch)
    fault(relu, *C9[name])
    assert word("C9", X4=relu.clean(LAB)) == "not reproduced"


@pytest.mark.slow  # compiles everything anew
@pytest.mark.parametrize("wrong", [scaled, tangent_direction])
def test_c9_fails_on_the_derivative(fault, monkeypatch, fresh, relu_runs, wrong):
    relu_runs.play(monkeypatch)
    fault(relu, "normal_derivatives", wrong)
    assert word("C9", X4=relu.clean(LAB)) == "not reproduced"


# C10


@pytest.fixture(scope="module")
def sweep(small):
    return Tape(relu, "follow", relu.noise_sweep)


def no_noise(right, plane, n, target, noise=0.0, **options):
    return right(plane, n, target, 0.0, **options)


def first_tangent(right, f, points, normal):
    return right(f, points, np.eye(3)[:, :1])


def test_c10_fails_without_noise(fault, monkeypatch, sweep):
    assert word("C10", X5=sweep.data) == "reproduced"
    fault(relu, "near_plane", no_noise)
    assert word("C10", X5=relu.noise_sweep(LAB)) == "not reproduced"


@pytest.mark.slow  # compiles everything anew
def test_c10_fails_along_the_line(fault, monkeypatch, fresh, sweep):
    sweep.play(monkeypatch)
    fault(relu, "normal_derivatives", first_tangent)
    assert word("C10", X5=relu.noise_sweep(LAB)) == "not reproduced"


def test_c10_fails_for_the_start(monkeypatch, sweep):
    first = [jax.tree.map(lambda p: p[:, :1].repeat(p.shape[1], 1), t) for t in sweep.taken]
    calls = iter(first)
    monkeypatch.setattr(relu, "follow", lambda *a: next(calls))
    assert word("C10", X5=relu.noise_sweep(LAB)) == "not reproduced"
