"""The figures of the study of separable data."""

from __future__ import annotations

from typing import Any

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel, Scalar

DESCENT, MOMENTUM, ADAM = "gradient descent", "momentum", "Adam"
NORMALISED = "normalised descent"
FIRST: dict[str, Scalar] = {"draw": 0}


def _methods(data: str, y: str, title: str, *names: str, log: str = "xy", **more: Any) -> Panel:
    return curves(
        data, y, over="step", each="optimiser", only=names, at=FIRST, title=title, log=log, **more
    )


def _norm() -> Panel:
    at = FIRST | {"optimiser": DESCENT}
    growth = series("X1", "growth", over="step", at=at, label="|w_svm| log t", style="dash")
    return _methods("X1", "norm", "norm", DESCENT, MOMENTUM, log="x", more=growth)


def _constant(y: str, title: str) -> Panel:
    levels = (Level(("Flow", f"{y}_constant"), "predicted limit"),)
    return curves("Flow", y, over="s", labels={y: "flow"}, title=title, levels=levels, log="x")


def _along(data: str, y: str, title: str, log: str = "x", **options: Any) -> Panel:
    return curves(data, y, over="step", title=title, log=log, **options)


FIGURES = (
    Figure(
        "plane",
        "The loss falls as 1/t, the norm grows as log t",
        "The paper's plane data, logistic loss, from zero. (a) The norm of the weights becomes a "
        "straight line in log t, parallel to |w_svm| log t (dashed). (b) The loss times t over its "
        "predicted limit |w_svm|^2/(eta t) tends to 1, for momentum with eta/(1 - mu). (c) Angle "
        "and (d) margin gap fall faster here than in general, since both support vectors have one "
        "alpha.",
        (
            _norm(),
            _methods("X1", "loss_ratio", "loss", DESCENT, MOMENTUM, log="x"),
            _methods("X1", "angle_gap", "angle gap", DESCENT, MOMENTUM),
            _methods("X1", "margin_gap", "margin gap", DESCENT, MOMENTUM),
        ),
    ),
    Figure(
        "log-time",
        "In logarithmic time the constants of the slow rates can be seen",
        "Gradient flow on asymmetric data, followed to log t = 10^5. (a) The residual "
        "rho = w - w_svm log t approaches its predicted limit exponentially in log t, to rounding. "
        "(b), (c) The gaps of margin and direction, times log t, settle at the constants that the "
        "dual variables predict; at t = e^10, where experiments end, they are not there.",
        (
            curves(
                "Flow",
                "off_limit",
                over="s",
                labels={"off_limit": "distance from limit"},
                more=series(
                    "Flow", "rho_error", over="s", label="error of the solver", style="dash"
                ),
                title="residual",
                log="xy",
            ),
            _constant("margin", "margin gap"),
            _constant("distance", "direction"),
        ),
    ),
    Figure(
        "other-limits",
        "Where the hard-margin direction is not the limit, or the residual not bounded",
        "(a) Adam: on badly scaled plane data gradient descent and momentum turn to the "
        "hard-margin vector, Adam does not. (b) Polynomial tail: with l(u) = u^-2 the flow turns "
        "away from it, to the minimiser of sum (x . v)^-2. (c) Degenerate data: a support vector "
        "with alpha = 0 makes the residual grow as log log t (dashed).",
        (
            _methods("X3", "angle_gap", "Adam", DESCENT, MOMENTUM, ADAM),
            curves(
                "Power-tail",
                ("from_limit", "from_machine"),
                over="s",
                labels={"from_limit": "to the minimiser", "from_machine": "to the hard margin"},
                title="polynomial tail",
                y_label="1 - cos",
                log="y",
            ),
            curves(
                "Degenerate",
                "rho",
                over="s",
                at={"coordinate": 1},
                labels={"rho": "rho_2"},
                more=series("Degenerate", "growth", over="s", label="log log t", style="dash"),
                title="degenerate data",
                y_label="rho_2 (weight)",
                log="x",
            ),
        ),
    ),
    Figure(
        "validation",
        "The validation loss grows while the classifier gets no worse",
        "Even against odd digits, 60 training images. (a) After the training error is zero the "
        "validation loss grows along a line in log t whose slope is known from the validation "
        "images that the hard-margin machine gets wrong (dashed); (b) their share, the validation "
        "error, hardly moves, and (c) the margin comes near the hard margin.",
        (
            _along("X4", "validation_loss", "validation loss", theory="line"),
            _along("X4", "validation_error", "validation error"),
            _along("X4", "margin_ratio", "training margin", levels=(Level(1.0, "hard margin"),)),
        ),
    ),
    Figure(
        "rates",
        "Sharp constants in discrete time, and a method that is faster",
        "(a) Loss: t L over its predicted limit grows to 1 on asymmetric plane data and for "
        "softmax with three classes. (b) Margin gap: that of gradient descent comes near that of "
        "w_svm log t + limit (dashed) slowly. (c) Normalised steps: along grad L/L the gap falls "
        "as 1/sqrt(t), where descent on the same data hardly moves.",
        (
            _along(
                "X2",
                "loss_ratio",
                "loss",
                labels={"loss_ratio": "two classes"},
                more=series("Classes", "loss_ratio", over="step", at=FIRST, label="three classes"),
                levels=(Level(1.0, "predicted limit"),),
            ),
            _along("X2", "margin_gap", "margin gap", log="xy", theory=True),
            _along(
                "Normalised",
                "margin_gap",
                "normalised steps",
                log="xy",
                each="optimiser",
                only=(DESCENT, NORMALISED),
            ),
        ),
    ),
)
