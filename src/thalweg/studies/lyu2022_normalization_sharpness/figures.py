"""The figures of the study of sharpness reduction."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level

CLOCK = "τ = step size × weight decay × steps"
SLOW = {"decay": 1e-3}
TWO = (Level(2.0, "edge of stability"),)

FIGURES = (
    Figure(
        "circle",
        "At the edge of stability the direction drifts along its minima, to the flattest",
        "A circle of minima whose sharpness is 1 + 3 sin^2 of the angle. (a) Angle of descent with "
        "weight decay at step size times weight decay 1e-3, dashed the sharpness-reduction flow, "
        "and the flow without the squared slope in its denominator. (b) Effective learning rate "
        "times spherical sharpness. (c) The quasi-RMSProp scheduler, dashed the flow of its C.",
        (
            curves(
                "X1",
                "angle",
                over="tau",
                at=SLOW,
                theory=True,
                labels={"angle": "descent"},
                more=series(
                    "X1", "angle_plain", over="tau", at=SLOW, label="without the squared slope"
                ),
                x_label=CLOCK,
            ),
            curves("X1", "edge", over="tau", each="decay", only=(1e-3,), levels=TWO, x_label=CLOCK),
            curves(
                "X1-scheduler",
                "angle",
                over="tau",
                each="averaging",
                only=(1.0, 2.0, 4.0),
                named="C",
                theory=True,
                x_label="τ = step size² / 2 × steps",
            ),
        ),
    ),
    Figure(
        "oscillation",
        "The oscillation has the size that the drift needs, and costs its share of loss",
        "Means over windows of steps on the circle at step size times weight decay 2.5e-4, beside "
        "theory. (a) Squared height over the circle in units of step size times weight decay: "
        "2/(4 + g^2), smallest where the slope g of the logarithm is largest. (b) Loss.",
        tuple(
            curves("X1-oscillation", y, over="tau", theory=True, style="points", x_label=CLOCK)
            for y in ("square", "excess")
        ),
    ),
    Figure(
        "regression",
        "Batch-normalised regression ends at the least-norm regressor",
        "n = 20, d = 50, means over pairs of consecutive steps. (a) Tangent of the angle between "
        "the regressor and the least-norm one, dashed exp(-tau) from tau = 1 on. (b) Effective "
        "learning rate times spherical sharpness at odd and at even steps: it alternates with the "
        "oscillation, and only the mean of both is 2.",
        (
            curves(
                "X2",
                "tangent",
                over="tau",
                each="decay",
                only=(1e-3, 2.5e-4),
                at={"draw": 0},
                theory=True,
                log="y",
                x_label=CLOCK,
            ),
            curves(
                "X2",
                "edge",
                over="tau",
                each="parity",
                only=("odd", "even"),
                at={"draw": 0, "decay": 1e-3},
                levels=TWO,
                x_label=CLOCK,
            ),
        ),
    ),
    Figure(
        "completion",
        "In matrix completion the test error falls with the sharpness, if weights decay",
        "A matrix of rank 2 through a full product, half of its entries known (draw 0). (a) Test "
        "error. (b) Spherical sharpness. (c) Effective learning rate times spherical sharpness.",
        tuple(
            curves(
                "X3",
                y,
                over="step",
                each="decay",
                only=("with weight decay", "without"),
                at={"draw": 0},
                log="xy" if y == "test" else "x",
            )
            for y in ("test", "sharpness", "edge")
        ),
    ),
)
