"""The figures of the study of Kronecker trend filtering."""

from __future__ import annotations

from thalweg.lab.curves import curves
from thalweg.report.spec import Figure

RISKS = ("trend", "laplacian", "eigenmap")
MEAN = "mean squared error (signal^2)"

FIGURES = (
    Figure(
        "spikes",
        "A spike that no linear smoother finds",
        "One spike as high as the canonical total variation allows, unit noise: mean squared error "
        "at the best penalty, of trend filtering over draws, of linear smoothers exact. (a) On a "
        "plane linear smoothers stay at a sixteenth. (b) In space they get worse.",
        tuple(
            curves(name, RISKS, over="side", style="points", log="xy", y_label=MEAN)
            for name in ("A2", "A3")
        ),
    ),
    Figure(
        "step",
        "A step on a line: both improve, at different rates",
        "A step of height 1 in noise 1/2: (a) linear smoothers fall as n^(-1/2), trend filtering "
        "faster. (b) A pyramid on a plane, by order: trend filtering and linear smoothers.",
        (
            curves("B", RISKS, over="side", style="points", log="xy", y_label=MEAN),
            curves("C", RISKS, over="order", style="points", y_label=MEAN),
        ),
    ),
    Figure(
        "freedom",
        "Degrees of freedom are counted, not simulated",
        "8 x 8, penalty 1: the covariance of fit and data and the mean nullity of the differences "
        "without active rows, for orders 0 and 1.",
        (
            curves(
                "D", ("covariance", "nullity"), over="order", style="points",
                y_label="degrees of freedom",
            ),
        ),
    ),
)  # fmt: skip
