"""Separable data without descent: the machine, the flow in log-time, its limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.studies.soudry2017_separable.data import (
    ASYMMETRIC,
    DEGENERATE,
    THREE,
    even_or_odd,
    gaussian_classes,
    symmetric,
)
from thalweg.theory.limits.log_time_flow import log_time_flow, power_tail_flow
from thalweg.theory.limits.max_margin import hard_margin_svm, stack_classes
from thalweg.theory.limits.separable import (
    power_tail_direction,
    predicted_constants,
    residual_limit,
)

POWER = 2.0


def random_data(draw: int) -> np.ndarray:
    """A separable data set: Gaussian points of up to 12 dimensions on one side of a plane."""
    rng = np.random.default_rng(draw)
    n, d = int(rng.integers(2, 60)), int(rng.integers(2, 12))
    X = rng.normal(size=(n, d))
    return X * np.sign(X @ rng.normal(size=d))[:, None]


@dataclass(frozen=True)
class Sets:
    """How many random data sets the machine is tested on."""

    random: int = 20


@experiment("SVM", Sets(), full={"random": 200})
def machines(lab: Lab, size: Sets) -> xr.Dataset:
    """Optimality conditions on all data of the study and on random ones, labels absorbed."""
    sets = {
        "X1": symmetric(0),
        "X2": ASYMMETRIC,
        "X3": symmetric(0) * (1, 20),
        "digits": even_or_odd()[0],
        "three classes": stack_classes(*gaussian_classes(0)),
        **{f"random {draw}": random_data(draw) for draw in range(size.random)},
    }
    known = hard_margin_svm(ASYMMETRIC)
    groups = {
        "coordinate": {"w": (known.w, "weight", "w_svm of X2")},
        "example": {"alpha": (known.alpha, "weight/x", "alpha of X2")},
        "": {"square": (known.w @ known.w, "weight^2", "|w_svm|^2 of X2")},
    }
    return over(lambda data: _optimality(sets[data]), data=sets).merge(table(groups))


def _optimality(X: np.ndarray) -> xr.Dataset:
    svm = hard_margin_svm(X)
    off, dual = svm.w - X.T @ svm.alpha, svm.alpha.sum() / (svm.w @ svm.w) - 1
    found = {
        "least_margin": (np.min(X @ svm.w), "1", "min_n x_n . w"),
        "stationarity": (np.max(np.abs(off)), "weight", "max |w - X^T alpha|"),
        "dual_gap": (abs(dual), "1", "sum alpha / |w|^2 - 1"),
        "least_dual": (svm.alpha.min(), "weight/x", "min_n alpha_n"),
        "residual": (svm.error, "1", "violation of optimality"),
    }
    return table({"": found})


@dataclass(frozen=True)
class LogTime:
    """How far the flow is followed in s = log t, and at how many of its values it is kept."""

    until: float
    records: int


@experiment("Flow", LogTime(1e5, 61), full={"until": 1e6, "records": 141})
def flow(lab: Lab, size: LogTime) -> xr.Dataset:
    """X2 in log-time with eta = 1, beside its limit and the constants of its rates."""
    s = np.logspace(-1, np.log10(size.until), size.records)
    svm = hard_margin_svm(ASYMMETRIC)
    found = log_time_flow(ASYMMETRIC, s)
    unit = found.w / np.linalg.norm(found.w, axis=1, keepdims=True)
    gap = svm.margin - np.min(unit @ ASYMMETRIC.T, axis=1)
    distance = np.linalg.norm(unit - svm.w * svm.margin, axis=1)
    off = np.max(np.abs(found.rho - residual_limit(ASYMMETRIC, svm, 1.0)), axis=1)
    constants, limit = predicted_constants(ASYMMETRIC, svm, 1.0), "limit, predicted"
    groups = {
        "s coordinate": {"rho": (found.rho, "weight", "rho = w - w_svm log t")},
        "s": {
            "rho_error": (found.error, "weight", "error of rho by the solver"),
            "off_limit": (off, "weight", "max |rho - its limit|"),
            "loss_ratio": (found.scaled_loss / constants.loss, "1", "t L / |w_svm|^2"),
            "margin": (s * gap, "x", "log t (hard margin - margin)"),
            "distance": (s * distance, "1", "log t |w/|w| - w_svm/|w_svm||"),
            "angle": (s**2 * distance**2 / 2, "1", "log^2 t (1 - cos)"),
        },
        "": {
            "margin_constant": (constants.margin, "x", limit),
            "distance_constant": (constants.distance, "1", limit),
            "angle_constant": (constants.angle, "1", limit),
        },
    }
    return table(groups, s=(s, "1", "log t"))


@experiment("Degenerate", LogTime(1e5, 51), full={"until": 1e6, "records": 121})
def degenerate(lab: Lab, size: LogTime) -> xr.Dataset:
    """A support vector with alpha = 0, whose residual grows as log log t."""
    s = np.logspace(0, np.log10(size.until), size.records)
    found, growth = log_time_flow(DEGENERATE, s), np.log(s)
    groups = {
        "s coordinate": {"rho": (found.rho, "weight", "rho = w - w_svm log t")},
        "s": {
            "rho_error": (found.error, "weight", "error of rho by the solver"),
            "growth": (growth, "1", "log log t"),
            "difference": (found.rho[:, 1] - growth, "weight", "rho_2 - log log t"),
        },
    }
    return table(groups, s=(s, "1", "log t"))


@experiment("Power-tail", LogTime(100.0, 101), full={"until": 1000.0})
def power_tail(lab: Lab, size: LogTime) -> xr.Dataset:
    """The flow's direction for l(u) = u^-2, beside both candidates."""
    s = np.linspace(0, size.until, size.records)
    found, svm = power_tail_flow(THREE, POWER, s), hard_margin_svm(THREE)
    limit, machine = power_tail_direction(THREE, POWER), svm.w * svm.margin
    from_limit, from_machine = (
        np.sum((found.direction - v) ** 2, axis=1) / 2 for v in (limit, machine)
    )
    groups = {
        "s coordinate": {"direction": (found.direction, "1", "w/|w|")},
        "coordinate": {
            "limit": (limit, "1", "minimiser of sum (x . v)^-2"),
            "machine": (machine, "1", "w_svm/|w_svm|"),
        },
        "s": {
            "direction_error": (found.error, "1", "error by the solver"),
            "from_limit": (from_limit, "1", "1 - cos to the minimiser"),
            "from_machine": (from_machine, "1", "1 - cos to w_svm"),
        },
    }
    return table(groups, s=(s, "1", "log t"))
