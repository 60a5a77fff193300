"""Descent in steps on separable data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Float

from thalweg.dynamics import gradient_descent, optax_dynamics
from thalweg.dynamics.dynamics import Discrete
from thalweg.dynamics.normalised import inverse_root_steps, normalised_descent
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import Applied
from thalweg.probes import margin, validation_error, validation_loss
from thalweg.problems import supervised
from thalweg.problems.linear_classification import linear_classifier
from thalweg.problems.margin_losses import MARGIN_LOSSES
from thalweg.studies.soudry2017_separable.data import (
    ASYMMETRIC,
    CLASSES,
    THREE,
    Runs,
    even_or_odd,
    follow,
    gaussian_classes,
    inverse_square,
    symmetric,
)
from thalweg.theory.limits.max_margin import hard_margin_svm, separability, stack_classes
from thalweg.theory.limits.separable import (
    asymptotic_path,
    loss_constant,
    predicted_constants,
    residual_limit,
)

DESCENT, MOMENTUM, ADAM = "gradient descent", "momentum", "Adam"
LOGISTIC, NORMALISED = "gradient descent, logistic loss", "normalised descent"
MU = 0.9
PLAIN, SCALED = (1.0, 1.0), (1.0, 20.0)  # of the coordinates in X1 and X3
EARLY = 1000
FIRST = 0.3  # eta_0 of normalised descent


@cache  # one transformation per rate, so that what was compiled with it is found again
def optimiser(method: str, step_size: float) -> Discrete:
    """One of the three methods by name."""
    if method == MOMENTUM:
        return optax_dynamics(optax.sgd(step_size, momentum=MU), step_size, method)
    if method == ADAM:
        return optax_dynamics(optax.adam(1e-3, b1=0.9, b2=0.999, eps=1e-8), 1e-3, method)
    return gradient_descent(step_size)


@experiment("X2", Runs(100_000), full={"last": 10_000_000})
def asymmetric(lab: Lab, size: Runs) -> xr.Dataset:
    """Gradient descent on asymmetric data, logistic loss, beside what is predicted."""
    eta, svm = inverse_square(ASYMMETRIC), hard_margin_svm(ASYMMETRIC)
    problem, dynamics = linear_classifier(ASYMMETRIC), optimiser(DESCENT, eta)
    constants = predicted_constants(ASYMMETRIC, svm, eta)
    found = follow(lab, "X2", problem, dynamics, size.last, svm, constant=constants.loss)
    t = found["step"].values
    path = asymptotic_path(svm, residual_limit(ASYMMETRIC, svm, eta), t)
    path[t < EARLY] = np.nan  # an asymptote says nothing there
    unit = path / np.linalg.norm(path, axis=1, keepdims=True)
    gap = svm.margin - np.min(unit @ ASYMMETRIC.T, axis=1)
    angle = np.sum((unit - svm.w * svm.margin) ** 2, axis=1) / 2
    theory = {
        "margin_gap_theory": (gap, "x", "margin gap of w_svm log t + limit"),
        "angle_gap_theory": (angle, "1", "1 - cos of w_svm log t + limit"),
    }
    once = {"step_size": (eta, "1/x^2", "step size eta")}
    return found.merge(table({"step": theory, "": once}))


def _planar(
    lab: Lab, name: str, methods: Sequence[str], scale: tuple[float, float], size: Runs
) -> xr.Dataset:
    """Methods on draws of X1's data with scaled coordinates, dims (draw, optimiser, step)."""

    def one(draw: int, optimiser: str) -> xr.Dataset:
        run = f"{name}-{draw}-{optimiser.replace(' ', '-')}"
        return _planar_run(lab, run, symmetric(draw) * scale, optimiser, size.last)

    return over(one, draw=range(size.draws), optimiser=methods)


def _planar_run(lab: Lab, name: str, X: np.ndarray, method: str, last: int) -> xr.Dataset:
    eta, svm = inverse_square(X), hard_margin_svm(X)
    momentum = MU if method == MOMENTUM else 0.0
    limit = loss_constant(svm, eta, momentum=momentum)
    dynamics, problem = optimiser(method, eta), linear_classifier(X)
    found = follow(lab, name, problem, dynamics, last, svm, constant=limit)
    growth = np.linalg.norm(asymptotic_path(svm, 0 * svm.w, found["step"].values), axis=1)
    once = {
        "machine_norm": (np.linalg.norm(svm.w), "weight", "|w_svm|"),
        "support": (svm.support.sum(), "1", "number of support vectors"),
        "sigma": (eta**-0.5, "x", "sigma_max"),
    }
    along = {"growth": (growth, "weight", "|w_svm| log t")}
    return found.merge(table({"": once, "step": along}))


@experiment("X1", Runs(1_000_000, draws=5), smoke={"last": 100_000, "draws": 1}, full={"draws": 20})
def planar(lab: Lab, size: Runs) -> xr.Dataset:
    """Gradient descent and momentum on the paper's plane data, from zero."""
    return _planar(lab, "X1", (DESCENT, MOMENTUM), PLAIN, size)


@experiment(
    "X3",
    Runs(1_000_000, draws=5),
    smoke={"last": 100_000, "draws": 1},
    full={"last": 2_000_000, "draws": 20},
)
def badly_scaled(lab: Lab, size: Runs) -> xr.Dataset:
    """The same with the second coordinate times 20, and Adam, whose loss has no known limit."""
    found = _planar(lab, "X3", (DESCENT, MOMENTUM, ADAM), SCALED, size)
    return found.drop_vars("loss_ratio").merge(over(_apart, draw=range(size.draws)))


def _apart(draw: int) -> xr.Dataset:
    """1 - cos of the angle between the hard-margin vector and the one of the linf norm."""
    X = symmetric(draw) * SCALED
    w, v = hard_margin_svm(X).w, separability(X).w
    gap = np.sum((w / np.linalg.norm(w) - v / np.linalg.norm(v)) ** 2) / 2
    return table({"": {"apart": (gap, "1", "1 - cos(w_svm, maximiser of the linf margin)")}})


@experiment("X4", Runs(100_000), full={"last": 1_000_000})
def validation(lab: Lab, size: Runs) -> xr.Dataset:
    """Even against odd digits, 60 for training, the others for validation."""
    X, V = even_or_odd()
    svm, eta = hard_margin_svm(X), 4 * inverse_square(X)
    probes = (margin(), validation_loss(V, MARGIN_LOSSES["logistic"]), validation_error(V))
    problem, dynamics, limit = (
        linear_classifier(X),
        optimiser(DESCENT, eta),
        loss_constant(svm, eta),
    )
    found = follow(lab, "X4", problem, dynamics, size.last, svm, constant=limit, probes=probes)
    slope = np.mean(np.maximum(0, -V @ svm.w))
    steps, end = found["step"].values, float(found["validation_loss"].sel(step=size.last))
    line = np.where(steps < EARLY, np.nan, end + slope * np.log(steps / size.last))
    groups = {
        "": {"slope_theory": (slope, "loss", "mean_v max(0, -v . w_svm)")},
        "step": {"line": (line, "loss", "straight line of the predicted slope")},
    }
    return found.merge(table(groups))


@experiment("Normalised", Runs(100_000), full={"last": 1_000_000})
def normalised(lab: Lab, size: Runs) -> xr.Dataset:
    """Steps along grad L/L with eta_0/sqrt(t), beside gradient descent."""
    svm, eta = hard_margin_svm(THREE), inverse_square(THREE)
    limit, plain = loss_constant(svm, eta), optimiser(DESCENT, eta)
    runs = {
        DESCENT: (plain, "exponential"),
        LOGISTIC: (plain, "logistic"),
        NORMALISED: (normalised_descent(inverse_root_steps(FIRST), by="loss"), "exponential"),
    }

    def one(optimiser: str) -> xr.Dataset:
        dynamics, loss = runs[optimiser]
        name = f"normalised-{list(runs).index(optimiser)}"
        problem = linear_classifier(THREE, loss)
        return follow(lab, name, problem, dynamics, size.last, svm, constant=limit)

    return over(one, optimiser=runs).drop_vars("loss_ratio")


def linear_map(W: Float[Array, "k d"], x: Float[Array, "n d"]) -> Float[Array, "n k"]:
    """The outputs x W^T of a linear net without bias."""
    return x @ W.T


@experiment(
    "Classes",
    Runs(200_000, draws=4),
    smoke={"draws": 1},
    full={"last": 1_000_000, "draws": 20},
)
def classes(lab: Lab, size: Runs) -> xr.Dataset:
    """Softmax cross-entropy, summed, on three separable Gaussian classes."""
    return over(lambda draw: _classes(lab, draw, size.last), draw=range(size.draws))


def _classes(lab: Lab, draw: int, last: int) -> xr.Dataset:
    X, labels = gaussian_classes(draw)
    svm, eta = hard_margin_svm(stack_classes(X, labels)), inverse_square(X)
    model = Applied(linear_map, start=jnp.zeros((CLASSES, X.shape[1])))
    problem, limit = supervised(model, (X, labels), reduction="sum"), loss_constant(svm, eta)
    dynamics = optimiser(DESCENT, eta)
    found = follow(lab, f"classes-{draw}", problem, dynamics, last, svm, constant=limit)
    W = found["w"].values.reshape(len(found["step"]), CLASSES, -1)
    total = np.max(np.abs(W.sum(axis=1)), axis=1)
    return found.merge(table({"step": {"total": (total, "weight", "max |sum_k w_k|")}}))
