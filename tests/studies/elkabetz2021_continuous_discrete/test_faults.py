"""Planted faults: each claim must fail when an equation behind it is wrong."""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from thalweg.dynamics import GradientDescent
from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.problems.losses import as_loss
from thalweg.studies import elkabetz2021_continuous_discrete as study
from thalweg.studies.elkabetz2021_continuous_discrete import exact, points
from thalweg.theory.descent import certified_descent, euler
from thalweg.theory.linear_nets import homogeneous, scalar_linear

LAB = Lab(progress=False)


def verdict(claim: str, results: dict[str, xr.Dataset]) -> str:
    (chosen,) = (c for c in study.STUDY.claims if c.id == claim)
    return judge([chosen], results)[0].word


def scaled(module, name, factor):
    """The function, its result times a factor that may depend on its arguments."""
    right = getattr(module, name)

    def wrong(*args, **options):
        by = factor(*args) if callable(factor) else factor
        return right(*args, **options) * by

    return module, name, wrong


def replaced(module, name, make):
    return module, name, make(getattr(module, name))


def merged(*parts: xr.Dataset) -> xr.Dataset:
    return xr.merge(parts, combine_attrs="drop_conflicts")


def nets() -> xr.Dataset:
    return points._random_nets(LAB, 3, as_loss("cross-entropy"))


# What each claim reads, in the smallest form that can fail.
READS = {
    "C1": lambda: {"X5": merged(nets(), points._aligned(), points._slopes())},
    "C2": lambda: {"X5": merged(points._aligned(), points._negative())},
    "C3": lambda: {"X6": merged(exact._bound_integrals(), exact._chain_integrals())},
    "C4": lambda: {"X5": nets(), "X6": exact._layerwise(LAB)},
    "C5": lambda: {"X2": exact.certified(LAB)},
    "C6": lambda: {"X8": exact.certificates(LAB)},
    "C7": lambda: {"X1": exact.quadratics(LAB)},
    "C8": lambda: {"X7": exact.euler_error(LAB)},
    "C9": lambda: {"X3": study.refinement(LAB)},
    "C10": lambda: {"X3": study.refinement(LAB)},
    "C11": lambda: {"X4": study.curvature(LAB)},
    "C12": lambda: {"X6": exact._time_bounds()},
    "C13": lambda: {"X2": exact.certified(LAB)},
}
SLOW = {"C1", "C4", "C5", "C6", "C11", "C13"}
FAST = {"C1 without n-1"}  # one fault of a slow claim


class IterationClock(GradientDescent):
    """Counts iterations of the base step size as training time, whatever the step size."""

    def clock(self, steps):
        return np.asarray(steps) * 0.01

    def steps_until(self, time):
        return round(time / 0.01)


def wrong_sign(right):
    def wrong(weights, target, eps):
        tube = right(weights, target, eps)
        return tube._replace(m=-tube.m)

    return wrong


def half_of(promise):
    return dataclasses.replace(promise, steps=promise.steps // 2)


FAULTS = {
    "C1 without n-1": (
        "C1",
        scaled(homogeneous, "homogeneous_min_eig_bound", lambda w, *_: 1 / (len(w) - 1)),
    ),
    "C1 n-1 layers": (
        "C1",
        (homogeneous, "_product_of_largest", lambda s: jnp.prod(jnp.sort(s, -1)[..., 1:], -1)),
    ),
    "C1 slope to the n": (
        "C1",
        scaled(
            homogeneous, "homogeneous_min_eig_bound", lambda w, slopes, *_: max(map(abs, slopes))
        ),
    ),
    "C1 linear bound without n-1": (
        "C1",
        scaled(homogeneous, "linear_min_eig_bound", lambda w, *_: 1 / (len(w) - 1)),
    ),
    "C2 factor n": ("C2", scaled(homogeneous, "aligned_min_eig", 2.0)),
    "C2 eigenvalues exchanged": (
        "C2",
        replaced(homogeneous, "chain_eigenvalues", lambda f: lambda r, n: f(r, n)[::-1]),
    ),
    "C2 transpose": (
        "C2",
        replaced(homogeneous, "negative_curvature_min_eig", lambda f: lambda G, *a: f(G.T, *a)),
    ),
    "C3 n for n-1": ("C3", scaled(scalar_linear, "bound_integral", lambda r, r0, n: n / (n - 1))),
    "C3 chain factor": ("C3", scaled(homogeneous, "chain_negative_curvature_integral", 1.01)),
    "C4 wrong clock": (
        "C4",
        replaced(
            scalar_linear,
            "scalar_linear_flow",
            lambda f: lambda r, c, n, t: f(r, c, n, 2 * np.asarray(t)),
        ),
    ),
    "C4 activation not homogeneous": (
        "C4",
        (points, "homogeneous_outputs", lambda ws, x, s: jnp.tanh(x @ ws[0].T) @ (ws[2] @ ws[1]).T),
    ),
    "C5 sign of m": ("C5", replaced(homogeneous, "linear_tube_bounds", wrong_sign)),
    "C6 sign of m": ("C6", replaced(homogeneous, "linear_tube_bounds", wrong_sign)),
    "C7 factor 2": ("C7", scaled(euler, "largest_step_quadratic", 2.0)),
    "C7 limit without T": (
        "C7",
        scaled(euler, "largest_step_quadratic_asymptotic", lambda m, T, *_: T),
    ),
    "C7 convex factor": ("C7", scaled(euler, "convex_quadratic_peak_error", math.e)),
    "C8 factor 2": ("C8", scaled(euler, "leading_euler_error", 2.0)),
    "C9 equal iterations": ("C9", (study, "gradient_descent", IterationClock)),
    "C10 equal iterations": ("C10", (study, "gradient_descent", IterationClock)),
    "C11 sign of the Hessian": (
        "C11",
        replaced(study, "_hessian", lambda f: lambda *a: -f(*a)),
    ),
    "C11 bound too small": ("C11", scaled(homogeneous, "homogeneous_min_eig_bound", 0.001)),
    "C12 without M and r0": (
        "C12",
        scaled(
            scalar_linear,
            "flow_time_bound",
            lambda r0, nu, n, _: r0 / max(1.0, 1.5 * (1 - nu) / (1 + nu)) ** n,
        ),
    ),
    "C13 half the steps": (
        "C13",
        replaced(certified_descent, "descent_guarantee", lambda f: lambda *a: half_of(f(*a))),
    ),
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Sizes that show a fault in seconds."""
    nets = study.trainings(LAB)
    small = study.Training(nets["linear"].model, False, 0.01, 300, (2, 5, 10, 20), 1)
    monkeypatch.setattr(study, "trainings", lambda lab: {"linear": small})
    monkeypatch.setattr(study, "CURVATURE_SEEDS", 1)
    monkeypatch.setattr(points, "DEPTHS", (3,))
    monkeypatch.setattr(exact, "DEPTHS", (3,))


def cases(names):
    return [
        pytest.param(
            name, marks=[pytest.mark.slow] * (name.split()[0] in SLOW and name not in FAST)
        )
        for name in names
    ]


@pytest.mark.parametrize("claim", cases(READS))
def test_the_claim_holds_without_a_fault(claim):
    assert verdict(claim, READS[claim]()) == "reproduced"


@pytest.mark.parametrize("fault", cases(FAULTS))
def test_the_fault_is_found(fault, monkeypatch):
    claim, (module, name, wrong) = FAULTS[fault]
    monkeypatch.setattr(module, name, wrong)
    assert verdict(claim, READS[claim]()) == "not reproduced"


def test_every_claim_has_a_fault():
    assert {claim for claim, _ in FAULTS.values()} == {c.id for c in study.STUDY.claims}
