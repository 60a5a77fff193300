"""The figures of the study of central flows."""

from __future__ import annotations

from typing import Any

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel

AT = {"seed": 0}
SHARP = {"middle_sharpness": "midpoints", "plain_sharpness": "plain flow"}


def steps(data: str, *names: str, **panel: Any) -> Panel:
    """Variables of the first seed over steps."""
    return curves(data, names, over="step", at=AT, **panel)


def distances(data: str) -> Panel:
    """How far midpoints are from both flows."""
    names = ("distance_central", "distance_plain", "distance_error")
    return steps(data, *names, log="y", y_label="distance (parameter)")


def variances(data: str) -> Panel:
    """The oscillation, measured and predicted."""
    return steps(data, "energy", "oscillation", log="y", y_label="variance (parameter²)")


def sharpness(data: str) -> Panel:
    """Effective sharpness of midpoints and of both flows."""
    central = series(data, "effective_sharpness", over="step", at=AT, label="central flow")
    return curves(
        data, tuple(SHARP), over="look", at=AT, style="points", levels=(Level(2.0, "edge"),),
        y_label="effective sharpness", labels=SHARP, more=central,
    )  # fmt: skip


FIGURES = (
    Figure(
        "loss",
        "The central flow tells the mean loss, oscillation included",
        "Gradient descent on a hundred digits, and both flows from its midpoint. (a) Loss of the "
        "steps, of their midpoints, along gradient flow, along the central flow, and the mean "
        "loss that it predicts, f + tr Sigma/eta. Steps lie above midpoints by what the "
        "oscillation costs. (b) Squared gradient norm: nearly all of it is the oscillation's.",
        (
            steps(
                "X2b", "loss", "smooth_loss", "plain_loss", "central_loss", "predicted_loss",
                log="y", y_label="loss",
            ),
            steps(
                "X2b", "square", "predicted_square", log="y",
                y_label="||grad f||² (loss²/parameter²)",
            ),
        ),
    ),
    Figure(
        "distance",
        "Without its oscillation descent stays with the central flow and leaves gradient flow",
        "Distance of the midpoints at equal times from the central flow and from gradient flow, "
        "and the estimated error of the central flow's integration.",
        (distances("X2b"),),
    ),
    Figure(
        "sharpness",
        "The central flow holds the sharpness at the edge, descent hovers just above",
        "(a) Effective sharpness, eta times the largest eigenvalue: of the central flow at 2, of "
        "midpoints at or above it, of gradient flow far beyond. (b) How many eigenvalues are at "
        "the edge along the central flow.",
        (sharpness("X2b"), steps("X2b", "critical", style="steps")),
    ),
    Figure(
        "variance",
        "The variance of the oscillation is tr Sigma on average",
        "(a) Squared distance of the steps from their midpoints, and tr Sigma. (b) Squared "
        "distance from the central flow along the eigenvectors at the edge, in units of the loss, "
        "and what the central flow predicts that the oscillation adds to the mean loss.",
        (
            variances("X2b"),
            steps("X2b", "variance", "added_loss", log="y", y_label="variance (loss)"),
        ),
    ),
    Figure(
        "onset",
        "Where no oscillation has grown, the central flow describes nothing",
        "A net of three layers from its first weights. (a) The squared distance of the steps from "
        "their midpoints goes on falling long after the central flow needs tr Sigma. (b) "
        "Midpoints pass the edge, which the central flow keeps.",
        (variances("X3"), sharpness("X3")),
    ),
    Figure(
        "one-average",
        "Scalar RMSProp follows its central flow, and lengthens its steps with it",
        "From a midpoint on digits. (a) Distance of the midpoints from the central flow and from "
        "the flow without oscillation. (b) Its step size over the root of the average.",
        (distances("X4"), steps("X4", "rate", "central_rate", y_label="step size")),
    ),
    Figure(
        "an-average-each",
        "RMSProp follows its central flow, whose preconditioned curvature stays at the edge",
        "From a midpoint on digits. (a) Distance of the midpoints from the central flow and from "
        "the flow without oscillation. (b) Largest eigenvalue of 1/P H.",
        (distances("X5"), sharpness("X5")),
    ),
    Figure(
        "rmsprop",
        "With scalar RMSProp the edge moves, and the variance is a closed form",
        "One valley, average 1 and 0.3: effective sharpness of the method less 2, from the "
        "variance of the closed form.",
        (curves("X4-exact", "side_off", over="step", each="nu", log="y"),),
    ),
)  # fmt: skip
