"""The figures of the study of separable data."""

from __future__ import annotations

from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

DESCENT, MOMENTUM, ADAM = "gradient descent", "momentum", "Adam"
NORMALISED = "normalised descent"
STEP, LOG = "steps t", "log t"
FIRST: dict[str, Scalar] = {"draw": 0}


def _methods(
    data: str, y: str, names: tuple[str, ...], title: str, y_label: str, **k: bool
) -> Panel:
    return Panel(
        series=tuple(
            Series(data, y, "step", name, FIRST | {"optimiser": name}, group=name) for name in names
        ),
        title=title,
        x_label=STEP,
        y_label=y_label,
        x_log=True,
        y_log=k.get("y_log", True),
    )


def _norm() -> Panel:
    panel = _methods("X1", "norm", (DESCENT, MOMENTUM), "norm", "|w|", y_log=False)
    at = FIRST | {"optimiser": DESCENT}
    dash = Series("X1", "growth", "step", "|w_svm| log t", at, style="dash")
    return Panel((*panel.series, dash), panel.title, STEP, "|w|", x_log=True)


def _scaled(y: str, constant: str, title: str, y_label: str) -> Panel:
    return Panel(
        series=(Series("Flow", y, "s", "flow"),),
        title=title,
        x_label=LOG,
        y_label=y_label,
        x_log=True,
        levels=(Level(("Flow", constant), "predicted limit"),),
    )


FIGURES = (
    Figure(
        "plane",
        "The loss falls as 1/t, the norm grows as log t",
        "The paper's plane data, logistic loss, from zero. The norm of the weights becomes a "
        "straight line in log t, parallel to |w_svm| log t (dashed). The loss times t over its "
        "predicted limit |w_svm|^2/(eta t) tends to 1, for momentum with eta/(1 - mu). Angle and "
        "margin gap fall faster here than in general, since both support vectors have one alpha.",
        (
            _norm(),
            _methods("X1", "loss_ratio", (DESCENT, MOMENTUM), "loss", "t L / limit", y_log=False),
            _methods("X1", "angle_gap", (DESCENT, MOMENTUM), "angle gap", "1 - cos(w, w_svm)"),
            _methods("X1", "margin_gap", (DESCENT, MOMENTUM), "margin gap", "margin gap (input)"),
        ),
    ),
    Figure(
        "log-time",
        "In logarithmic time the constants of the slow rates can be seen",
        "Gradient flow on asymmetric data, followed to log t = 10^5. The residual "
        "rho = w - w_svm log t approaches its predicted limit exponentially in log t, to rounding. "
        "The gaps of margin and direction, times log t, settle at the constants that the dual "
        "variables predict; at t = e^10, where experiments end, they are not there.",
        (
            Panel(
                series=(
                    Series("Flow", "off_limit", "s", "distance from limit"),
                    Series("Flow", "rho_error", "s", "error of the solver", style="dash"),
                ),
                title="residual",
                x_label=LOG,
                y_label="max |rho - limit|",
                x_log=True,
                y_log=True,
            ),
            _scaled("margin", "margin_constant", "margin gap", "log t x margin gap (input)"),
            _scaled("distance", "distance_constant", "direction", "log t x distance"),
        ),
    ),
    Figure(
        "other-limits",
        "Where the hard-margin direction is not the limit, or the residual not bounded",
        "Adam: on badly scaled plane data gradient descent and momentum turn to the hard-margin "
        "vector, Adam does not. Polynomial tail: with l(u) = u^-2 the flow turns away from it, to "
        "the minimiser of sum (x . v)^-2. Degenerate data: a support vector with alpha = 0 makes "
        "the residual grow as log log t (dashed).",
        (
            _methods("X3", "angle_gap", (DESCENT, MOMENTUM, ADAM), "Adam", "1 - cos(w, w_svm)"),
            Panel(
                series=(
                    Series("Power-tail", "from_limit", "s", "to the minimiser"),
                    Series("Power-tail", "from_machine", "s", "to the hard margin"),
                ),
                title="polynomial tail",
                x_label=LOG,
                y_label="1 - cos",
                y_log=True,
            ),
            Panel(
                series=(
                    Series("Degenerate", "rho", "s", "rho_2", {"coordinate": 1}, group="rho"),
                    Series("Degenerate", "growth", "s", "log log t", style="dash", group="rho"),
                ),
                title="degenerate data",
                x_label=LOG,
                y_label="rho_2",
                x_log=True,
            ),
        ),
    ),
    Figure(
        "validation",
        "The validation loss grows while the classifier gets no worse",
        "Even against odd digits, 60 training images. After the training error is zero the "
        "validation loss grows along a line in log t whose slope is known from the validation "
        "images that the hard-margin machine gets wrong (dashed); their share, the validation "
        "error, hardly moves, and the margin comes near the hard margin.",
        (
            Panel(
                series=(
                    Series("X4", "validation_loss", "step", "validation loss", group="loss"),
                    Series("X4", "line", "step", "predicted slope", style="dash", group="loss"),
                ),
                title="validation loss",
                x_label=STEP,
                y_label="loss per image (nat)",
                x_log=True,
            ),
            Panel(
                series=(Series("X4", "validation_error", "step", "validation error"),),
                title="validation error",
                x_label=STEP,
                y_label="share of images",
                x_log=True,
            ),
            Panel(
                series=(Series("X4", "margin_ratio", "step", "margin / hard margin"),),
                title="training margin",
                x_label=STEP,
                y_label="margin / hard margin",
                x_log=True,
                levels=(Level(1.0, "hard margin"),),
            ),
        ),
    ),
    Figure(
        "rates",
        "Sharp constants in discrete time, and a method that is faster",
        "Loss: t L over its predicted limit grows to 1 on asymmetric plane data and for softmax "
        "with three classes. Margin gap: that of gradient descent comes near that of "
        "w_svm log t + limit (dashed) slowly. Normalised steps: along grad L/L the gap falls as "
        "1/sqrt(t), where descent on the same data hardly moves.",
        (
            Panel(
                series=(
                    Series("X2", "loss_ratio", "step", "two classes"),
                    Series("Classes", "loss_ratio", "step", "three classes", FIRST),
                ),
                title="loss",
                x_label=STEP,
                y_label="eta t L / |w_svm|^2",
                x_log=True,
                levels=(Level(1.0, "predicted limit"),),
            ),
            Panel(
                series=(
                    Series("X2", "margin_gap", "step", "descent", group="gap"),
                    Series("X2", "margin_gap_theory", "step", "theory", style="dash", group="gap"),
                ),
                title="margin gap",
                x_label=STEP,
                y_label="margin gap (input)",
                x_log=True,
                y_log=True,
            ),
            Panel(
                series=tuple(
                    Series("Normalised", "margin_gap", "step", name, {"optimiser": name})
                    for name in (DESCENT, NORMALISED)
                ),
                title="normalised steps",
                x_label=STEP,
                y_label="margin gap (input)",
                x_log=True,
                y_log=True,
            ),
        ),
    ),
)
