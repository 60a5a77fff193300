"""The figures of the study of inconsistency."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level

LAWS = ("zero", "unif", "pytorch", "kink-neg-point")

FIGURES = (
    Figure(
        "crossing",
        "A kink passes an example about as rarely as 1/sqrt(n), unless intercepts have to move",
        "(a) Share of runs in which a kink crosses, against the width n, with standard errors; the "
        "same draws for all offsets. Without offset the best lines of both sides pass through "
        "zero. With an offset of 0.1 every intercept has to move, and the share rises again. (b) "
        "Share of draws outside the event of the theorem (gamma = 1/4), by condition: smallest "
        "weights and sums of squares come to hold, but no largest weight does at these widths, so "
        "that the event as a whole never occurs, although kinks hardly ever cross.",
        (
            curves(
                "X1",
                "crossed",
                over="width",
                each="offset",
                error="crossed_error",
                style="points",
                log="xy",
            ),
            curves(
                "X1-event",
                "fails",
                over="width",
                each="condition",
                only=("all", "min |a|", "best lines", "max |w|", "sum a^2"),
                log="x",
            ),
        ),
    ),
    Figure(
        "kinks",
        "Kinks start at zero and stay short of the examples, the loss above that of two lines",
        "Sixteen units on the six points, step size 0.001, full nets. (a) Kinks of seed 0: the "
        "nearest examples lie at -1 and 1. (b) Loss above its floor for four seeds.",
        (
            curves(
                "X2",
                "kink",
                over="step",
                each="unit",
                levels=(Level(1.0, "nearest example"), Level(-1.0, "nearest example")),
            ),
            curves("X2", "excess", over="step", each="seed", only=(0, 1, 2, 3), log="y"),
        ),
    ),
    Figure(
        "network",
        "Before and after: a pair of lines becomes the best pair of lines",
        "The net of seed 0 at the start and later, and the examples: in the end it is zero, "
        "the line of least squares on either side.",
        (
            curves(
                "X2",
                "output",
                over="x",
                each="when",
                more=series("X2", "target", over="input", style="points"),
            ),
        ),
    ),
    Figure(
        "repair",
        "Kinks spread over the examples repair it",
        "512 units on 256 examples (smoke scale: fewer), full-batch descent at the rate 0.004. (a) "
        "Training RMSE by the law of the hidden biases: from zero it sticks to that of two lines. "
        "(b) What each net has learned, over the examples.",
        (
            curves(
                "X3",
                "rmse",
                over="step",
                each="law",
                only=LAWS,
                at={"rate": 4e-3},
            ),
            curves(
                "X3",
                "fit",
                over="x",
                each="law",
                only=("zero", "pytorch", "kink-neg-point"),
                at={"rate": 4e-3},
                more=series("X3", "y", over="x", style="points", label="examples"),
            ),
        ),
    ),
    Figure(
        "star",
        "Two inputs: units do change sides, and the loss still sticks",
        "Star data: eleven rays of three examples. (a) Median loss over the nets; 1 is the least "
        "loss of nets that are affine on each ray. (b) Share of (example, unit) of the first net "
        "that are on another side than at the start.",
        (
            curves(
                "X4", "median", over="step", each="width", levels=(Level(1.0, "affine on rays"),)
            ),
            curves(
                "X4",
                "moved",
                over="step",
                each="width",
                at={"net": 0},
                y_label="share on the other side",
            ),
        ),
    ),
)
