"""The figures of the study of central flows."""

from __future__ import annotations

from thalweg.lab.curves import curves
from thalweg.report.spec import Figure, Level

AT = {"seed": 0}
EDGE = Level(2.0, "edge")

FIGURES = (
    Figure(
        "loss",
        "The central flow tells the mean loss, oscillation included",
        "Gradient descent on a hundred digits, and both flows from its midpoint. (a) Loss of the "
        "steps, of their midpoints, along gradient flow, along the central flow, and the mean "
        "loss that it predicts, f + tr Sigma/eta. Steps lie above midpoints by what the "
        "oscillation costs. (b) Squared gradient norm: nearly all of it is the oscillation's.",
        (
            curves(
                "X2b",
                ("loss", "smooth_loss", "plain_loss", "central_loss", "predicted_loss"),
                over="step",
                at=AT,
                log="y",
                y_label="loss",
            ),
            curves(
                "X2b", ("square", "predicted_square"), over="step", at=AT, log="y",
                y_label="||grad f||^2 (loss^2/parameter^2)",
            ),
        ),
    ),
    Figure(
        "distance",
        "Without its oscillation descent stays with the central flow and leaves gradient flow",
        "Distance of the midpoints at equal times from the central flow and from gradient flow, "
        "and the estimated error of the central flow's integration.",
        (
            curves(
                "X2b", ("distance_central", "distance_plain", "distance_error"), over="step",
                at=AT, log="y", y_label="distance (parameter)",
            ),
        ),
    ),
    Figure(
        "sharpness",
        "The central flow holds the sharpness at the edge, descent hovers just above",
        "(a) Effective sharpness, eta times the largest eigenvalue: of the central flow at 2, of "
        "midpoints at or above it, of gradient flow far beyond. (b) How many eigenvalues are at "
        "the edge along the central flow.",
        (
            curves(
                "X2b", ("middle_sharpness", "plain_sharpness"), over="look", at=AT,
                style="points", levels=(EDGE,), y_label="eta times the sharpness",
                more=curves("X2b", "effective_sharpness", over="step", at=AT).series,
            ),
            curves("X2b", "critical", over="step", at=AT, style="steps"),
        ),
    ),
    Figure(
        "variance",
        "The variance of the oscillation is tr Sigma on average",
        "Squared distance of the steps from their midpoints, squared distance from the central "
        "flow along the eigenvectors at the edge, and tr Sigma.",
        (
            curves(
                "X2b", ("energy", "variance", "oscillation"), over="step", at=AT, log="y",
                y_label="variance (parameter^2)",
            ),
        ),
    ),
    Figure(
        "rmsprop",
        "With scalar RMSProp the edge moves, and the variance is a closed form",
        "One valley, average 1 and 0.3: effective sharpness of the method less 2, from the "
        "variance of the closed form.",
        (curves("X4-exact", "side_off", over="step", each="nu", log="y"),),
    ),
)  # fmt: skip
