"""Experiments of descent in steps on separable data."""

from __future__ import annotations

from functools import cache

import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Float

from thalweg.dynamics import gradient_descent, optax_dynamics
from thalweg.dynamics.dynamics import Discrete
from thalweg.dynamics.normalised import inverse_root_steps, normalised_descent
from thalweg.lab.study import Lab, variable
from thalweg.models import Applied
from thalweg.probes import margin, validation_error, validation_loss
from thalweg.problems import supervised
from thalweg.problems.linear_classification import linear_classifier
from thalweg.problems.margin_losses import MARGIN_LOSSES
from thalweg.studies.soudry2017_separable.data import (
    ASYMMETRIC,
    CLASSES,
    THREE,
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
DRAWS, CLASS_DRAWS, FULL_DRAWS = 5, 4, 20
STEPS = 1_000_000
SCALE = (1.0, 20.0)  # of the coordinates in X3
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


def asymmetric(lab: Lab) -> xr.Dataset:
    """X2: gradient descent on asymmetric data, logistic loss, beside what is predicted."""
    eta, svm = inverse_square(ASYMMETRIC), hard_margin_svm(ASYMMETRIC)
    problem = linear_classifier(ASYMMETRIC)
    last = 10_000_000 if lab.full else 100_000
    constants = predicted_constants(ASYMMETRIC, svm, eta)
    data = follow(lab, "X2", problem, optimiser(DESCENT, eta), last, svm, constant=constants.loss)
    t = data["step"].values
    path = asymptotic_path(svm, residual_limit(ASYMMETRIC, svm, eta), t)
    path[t < EARLY] = np.nan  # an asymptote says nothing there
    unit = path / np.linalg.norm(path, axis=1, keepdims=True)
    gap = svm.margin - np.min(unit @ ASYMMETRIC.T, axis=1)
    angle = np.sum((unit - svm.w * svm.margin) ** 2, axis=1) / 2
    data["margin_gap_theory"] = variable("step", gap, "x", "margin gap of w_svm log t + limit")
    data["angle_gap_theory"] = variable("step", angle, "1", "1 - cos of w_svm log t + limit")
    data["step_size"] = variable((), eta, "1/x^2", "step size eta")
    return data


def _planar(lab: Lab, name: str, methods: tuple[str, ...], scale: tuple, last: int) -> xr.Dataset:
    """Methods on draws of X1's data with scaled coordinates, dims (draw, optimiser, step)."""
    draws = range(FULL_DRAWS if lab.full else DRAWS)
    return xr.concat(
        [
            xr.concat(
                [
                    _planar_run(lab, f"{name}-{draw}", symmetric(draw) * scale, m, last)
                    for m in methods
                ],
                xr.Variable("optimiser", list(methods)),
            )
            for draw in draws
        ],
        xr.Variable("draw", list(draws)),
    )


def _planar_run(lab: Lab, name: str, X: np.ndarray, method: str, last: int) -> xr.Dataset:
    eta, svm = inverse_square(X), hard_margin_svm(X)
    momentum = MU if method == MOMENTUM else 0.0
    limit = loss_constant(svm, eta, momentum=momentum)
    dynamics, run = optimiser(method, eta), f"{name}-{method.replace(' ', '-')}"
    data = follow(lab, run, linear_classifier(X), dynamics, last, svm, constant=limit)
    data["machine_norm"] = variable((), np.linalg.norm(svm.w), "weight", "|w_svm|")
    data["support"] = variable((), svm.support.sum(), "1", "number of support vectors")
    data["sigma"] = variable((), eta**-0.5, "x", "sigma_max")
    growth = asymptotic_path(svm, 0 * svm.w, data["step"].values)
    data["growth"] = variable("step", np.linalg.norm(growth, axis=1), "weight", "|w_svm| log t")
    return data


def planar(lab: Lab) -> xr.Dataset:
    """X1: gradient descent and momentum on the paper's plane data, from zero."""
    return _planar(lab, "X1", (DESCENT, MOMENTUM), (1.0, 1.0), STEPS)


def badly_scaled(lab: Lab) -> xr.Dataset:
    """X3: the same with the second coordinate times 20, and Adam."""
    last = 2 * STEPS if lab.full else STEPS
    data = _planar(lab, "X3", (DESCENT, MOMENTUM, ADAM), SCALE, last)
    apart = [_apart(symmetric(int(draw)) * SCALE) for draw in data["draw"]]
    data["apart"] = variable("draw", apart, "1", "1 - cos(w_svm, maximiser of the linf margin)")
    return data.drop_vars("loss_ratio")  # Adam's loss has no such limit


def _apart(X: np.ndarray) -> float:
    """1 - cos of the angle between the hard-margin vector and the one of the linf norm."""
    w, v = hard_margin_svm(X).w, separability(X).w
    return float(np.sum((w / np.linalg.norm(w) - v / np.linalg.norm(v)) ** 2) / 2)


def validation(lab: Lab) -> xr.Dataset:
    """X4: even against odd digits, 60 for training, the others for validation."""
    X, V = even_or_odd()
    svm, eta = hard_margin_svm(X), 4 * inverse_square(X)
    last = 1_000_000 if lab.full else 100_000
    probes = (margin(), validation_loss(V, MARGIN_LOSSES["logistic"]), validation_error(V))
    data = follow(
        lab,
        "X4",
        linear_classifier(X),
        optimiser(DESCENT, eta),
        last,
        svm,
        constant=loss_constant(svm, eta),
        probes=probes,
    )
    slope = np.mean(np.maximum(0, -V @ svm.w))
    data["slope_theory"] = variable((), slope, "loss", "mean_v max(0, -v . w_svm)")
    steps, end = data["step"].values, float(data["validation_loss"].sel(step=last))
    line = end + slope * np.log(steps / last)
    data["line"] = variable(
        "step",
        np.where(steps < EARLY, np.nan, line),
        "loss",
        "straight line of the predicted slope",
    )
    return data


def normalised(lab: Lab) -> xr.Dataset:
    """Normalised: steps along grad L/L with eta_0/sqrt(t), beside gradient descent."""
    svm, eta = hard_margin_svm(THREE), inverse_square(THREE)
    limit = loss_constant(svm, eta)
    last = 1_000_000 if lab.full else 100_000
    plain = optimiser(DESCENT, eta)
    runs = {
        DESCENT: (plain, "exponential"),
        LOGISTIC: (plain, "logistic"),
        NORMALISED: (normalised_descent(inverse_root_steps(FIRST), by="loss"), "exponential"),
    }
    found = [
        follow(lab, f"normalised-{i}", linear_classifier(THREE, loss), d, last, svm, constant=limit)
        for i, (d, loss) in enumerate(runs.values())
    ]
    return xr.concat(found, xr.Variable("optimiser", list(runs))).drop_vars("loss_ratio")


def linear_map(W: Float[Array, "k d"], x: Float[Array, "n d"]) -> Float[Array, "n k"]:
    """The outputs x W^T of a linear net without bias."""
    return x @ W.T


def classes(lab: Lab) -> xr.Dataset:
    """Classes: softmax cross-entropy, summed, on three separable Gaussian classes."""
    draws = range(FULL_DRAWS if lab.full else CLASS_DRAWS)
    last = 1_000_000 if lab.full else 200_000
    runs = [_classes(lab, draw, last) for draw in draws]
    return xr.concat(runs, xr.Variable("draw", list(draws)))


def _classes(lab: Lab, draw: int, last: int) -> xr.Dataset:
    X, labels = gaussian_classes(draw)
    svm, eta = hard_margin_svm(stack_classes(X, labels)), inverse_square(X)
    model = Applied(linear_map, start=jnp.zeros((CLASSES, X.shape[1])))
    problem = supervised(model, (X, labels), reduction="sum")
    limit = loss_constant(svm, eta)
    dynamics = optimiser(DESCENT, eta)
    data = follow(lab, f"classes-{draw}", problem, dynamics, last, svm, constant=limit)
    W = data["w"].values.reshape(len(data["step"]), CLASSES, -1)
    total = np.max(np.abs(W.sum(axis=1)), axis=1)
    data["total"] = variable("step", total, "weight", "max |sum_k w_k|")
    return data
