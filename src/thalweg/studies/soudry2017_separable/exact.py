"""Experiments on separable data without descent: the machine, the flow in log-time, its limits."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.lab.study import Lab, variable
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
RANDOM = 20  # random data sets of the machine


def random_data(draw: int) -> np.ndarray:
    """A separable data set: Gaussian points of up to 12 dimensions on one side of a plane."""
    rng = np.random.default_rng(draw)
    n, d = int(rng.integers(2, 60)), int(rng.integers(2, 12))
    X = rng.normal(size=(n, d))
    return X * np.sign(X @ rng.normal(size=d))[:, None]


def machines(lab: Lab) -> xr.Dataset:
    """SVM: optimality conditions on all data of the study and on random ones, labels absorbed."""
    count = 10 * RANDOM if lab.full else RANDOM
    sets = {
        "X1": symmetric(0),
        "X2": ASYMMETRIC,
        "X3": symmetric(0) * (1, 20),
        "digits": even_or_odd()[0],
        "three classes": stack_classes(*gaussian_classes(0)),
        **{f"random {draw}": random_data(draw) for draw in range(count)},
    }
    found = [(X, hard_margin_svm(X)) for X in sets.values()]
    least = [np.min(X @ svm.w) for X, svm in found]
    stationary = [np.max(np.abs(svm.w - X.T @ svm.alpha)) for X, svm in found]
    duals = [abs(svm.alpha.sum() / (svm.w @ svm.w) - 1) for _, svm in found]
    lowest = [svm.alpha.min() for _, svm in found]
    known = hard_margin_svm(ASYMMETRIC)
    return xr.Dataset(
        {
            "least_margin": variable("data", least, "1", "min_n x_n . w"),
            "stationarity": variable("data", stationary, "weight", "max |w - X^T alpha|"),
            "dual_gap": variable("data", duals, "1", "sum alpha / |w|^2 - 1"),
            "least_dual": variable("data", lowest, "weight/x", "min_n alpha_n"),
            "residual": variable(
                "data", [svm.error for _, svm in found], "1", "violation of optimality"
            ),
            "w": variable("coordinate", known.w, "weight", "w_svm of X2"),
            "alpha": variable("example", known.alpha, "weight/x", "alpha of X2"),
            "square": variable((), known.w @ known.w, "weight^2", "|w_svm|^2 of X2"),
        },
        {"data": list(sets)},
    )


def flow(lab: Lab) -> xr.Dataset:
    """Flow: X2 in log-time with eta = 1, beside its limit and the constants of its rates."""
    s = np.logspace(-1, 6 if lab.full else 5, 141 if lab.full else 61)
    svm = hard_margin_svm(ASYMMETRIC)
    found = log_time_flow(ASYMMETRIC, s)
    unit = found.w / np.linalg.norm(found.w, axis=1, keepdims=True)
    gap = svm.margin - np.min(unit @ ASYMMETRIC.T, axis=1)
    distance = np.linalg.norm(unit - svm.w * svm.margin, axis=1)
    off = np.max(np.abs(found.rho - residual_limit(ASYMMETRIC, svm, 1.0)), axis=1)
    constants = predicted_constants(ASYMMETRIC, svm, 1.0)
    return xr.Dataset(
        {
            "rho": variable(("s", "coordinate"), found.rho, "weight", "rho = w - w_svm log t"),
            "rho_error": variable("s", found.error, "weight", "error of rho by the solver"),
            "off_limit": variable("s", off, "weight", "max |rho - its limit|"),
            "loss_ratio": variable("s", found.scaled_loss / constants.loss, "1", "t L / |w_svm|^2"),
            "margin": variable("s", s * gap, "x", "log t (hard margin - margin)"),
            "distance": variable("s", s * distance, "1", "log t |w/|w| - w_svm/|w_svm||"),
            "angle": variable("s", s**2 * distance**2 / 2, "1", "log^2 t (1 - cos)"),
            "margin_constant": variable((), constants.margin, "x", "limit, predicted"),
            "distance_constant": variable((), constants.distance, "1", "limit, predicted"),
            "angle_constant": variable((), constants.angle, "1", "limit, predicted"),
        },
        {"s": variable("s", s, "1", "log t")},
    )


def degenerate(lab: Lab) -> xr.Dataset:
    """Degenerate: a support vector with alpha = 0, whose residual grows as log log t."""
    s = np.logspace(0, 6 if lab.full else 5, 121 if lab.full else 51)
    found = log_time_flow(DEGENERATE, s)
    return xr.Dataset(
        {
            "rho": variable(("s", "coordinate"), found.rho, "weight", "rho = w - w_svm log t"),
            "rho_error": variable("s", found.error, "weight", "error of rho by the solver"),
            "growth": variable("s", np.log(s), "1", "log log t"),
            "difference": variable("s", found.rho[:, 1] - np.log(s), "weight", "rho_2 - log log t"),
        },
        {"s": variable("s", s, "1", "log t")},
    )


def power_tail(lab: Lab) -> xr.Dataset:
    """Power tail: the flow's direction for l(u) = u^-2, beside both candidates."""
    s = np.linspace(0, 1000 if lab.full else 100, 101)
    found = power_tail_flow(THREE, POWER, s)
    svm = hard_margin_svm(THREE)
    limit = power_tail_direction(THREE, POWER)
    machine = svm.w * svm.margin

    def angle_from(v: np.ndarray) -> np.ndarray:
        return np.sum((found.direction - v) ** 2, axis=1) / 2

    along = ("s", "coordinate")
    return xr.Dataset(
        {
            "direction": variable(along, found.direction, "1", "w/|w|"),
            "direction_error": variable("s", found.error, "1", "error by the solver"),
            "limit": variable("coordinate", limit, "1", "minimiser of sum (x . v)^-2"),
            "machine": variable("coordinate", machine, "1", "w_svm/|w_svm|"),
            "from_limit": variable("s", angle_from(limit), "1", "1 - cos to the minimiser"),
            "from_machine": variable("s", angle_from(machine), "1", "1 - cos to w_svm"),
        },
        {"s": variable("s", s, "1", "log t")},
    )
