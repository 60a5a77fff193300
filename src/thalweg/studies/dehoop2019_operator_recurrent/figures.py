"""The figures of the study of operator recurrent networks."""

from __future__ import annotations

from typing import Any

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Panel
from thalweg.studies.dehoop2019_operator_recurrent.learning import LEARNERS

FIRST = {"seed": 0}


def learners(y: str, x: str = "", over: str = "", at: Any = None, x_label: str = "") -> Panel:
    """An error of each learner over another of its own, or over a label that all share."""
    lines = [
        line
        for name, said in LEARNERS.items()
        for line in series(
            "B", f"{name}_{y}", over=over or f"{name}_{x}", at=at, label=said, style="points"
        )
    ]
    wanted = "test error (volume²)"
    return Panel(tuple(lines), x_label=x_label, y_label=wanted, x_log=True, y_log=True)


FIGURES = (
    Figure(
        "speed",
        "What lies in the half line, from what is heard at its end",
        "A medium that is smooth with a jump, heard 80 times, reconstructed to the travel time of "
        "40 steps. (a) The speed by position: without noise it is the medium's own in every cell; "
        "in a noise of 0.03 of the largest response, as the slope of a smoothed volume, the jump "
        "is blurred. (b) The volume by travel time, whose slope is 1/c.",
        (
            Panel(
                series("A1", "speed_theory", over="position_theory", label="medium")
                + series("A1", "speed", over="position", label="found", style="points")
                + series("A1", "speed_noisy", over="position_noisy", label="in noise"),
                y_label="speed c (length/time)",
            ),
            curves("A1", "volume", over="travel_time", theory=True, style="points"),
        ),
    ),
    Figure(
        "iteration",
        "Time reversal converges at the rate of its spectrum",
        "Landweber's iteration from silence at a penalty of 1e-4 |K|. (a) The distance from its "
        "limit, dashed the prediction from all eigenvalues, and the bound from the smallest. (b) "
        "The volume is found long before the source is.",
        (
            curves(
                "A2", "distance", over="count", theory=True, style="points", log="xy",
                more=series("A2", "bound", over="count", style="dash"),
            ),
            curves("A2", "volume_error", over="count", log="xy"),
        ),
    ),
    Figure(
        "noise",
        "A penalty costs in proportion; noise has a price of its own",
        "Volumes V(1/2) of random media of five layers. (a) The median error by penalty: linear "
        "without noise, flat where noise has the say. (b) Where noise has made the quadratic form "
        "indefinite, no source is best, and a few errors are very large: the penalty must be above "
        "the noise. (c) Heard on a physical grid, the mean error falls by more than half as the "
        "grid is halved.",
        (
            curves("A3", "median", over="penalty", each="noise", log="xy"),
            curves(
                "A3", "indefinite", over="penalty", each="noise", log="x",
                y_label="share of media where K + alpha is indefinite",
            ),
            curves("A4", "error", over="steps", style="points", error="error_error", log="xy"),
        ),
    ),
    Figure(
        "learning",
        "A net that applies the map learns from few media",
        "V(1/2) of random media from what is heard. (a) Mean test error by the number of training "
        "media: the net that applies the map is ahead where examples are few; with many an MLP on "
        "the response is, if it starts small and entries of rounding are not scaled up with the "
        "others. (b) Test error against training error at the fewest media, a point for each draw: "
        "the net's are alike, the MLPs over-fit.",
        (
            learners("test_mean", over="training"),
            learners("test", "train", at={"training": 200}, x_label="training error (volume²)"),
        ),
    ),
    Figure(
        "gap",
        "A penalty on the factors closes the gap",
        "Twenty media with noisy labels, a net of rank-one factors, a penalty on the sum of their "
        "norms. (a) The gap by what the penalty has left of that sum, a point for each seed: on "
        "the right without a penalty, in the middle at a strength of 1e-4, on the left at 1e-3. "
        "(b) The error on clean labels falls, too. (c) Singular values of the matrices, their "
        "mean, on the first seed: few are left.",
        (
            curves("C", "gap", over="regulariser", each="seed", style="points", log="x"),
            curves("C", "clean", over="regulariser", each="seed", style="points", log="xy"),
            curves(
                "C", "singular", over="index", each="strength", at=FIRST, style="points", log="y"
            ),
        ),
    ),
    Figure(
        "inverses",
        "Inverses of matrices are learnt by applying them",
        "X^-1 (1, 1) of symmetric 2x2 matrices with eigenvalues from 1/2 to 3/2: test error over "
        "passes, first seed, of five layers with ReLU and of ten without, which are a polynomial.",
        (curves("D", "error", over="passes", each="net", at=FIRST, log="y"),),
    ),
    Figure(
        "start",
        "Training goes on from the solver",
        "Test error of V(1/2) for a net of few tied layers, two draws: as the iterations of "
        "boundary control, before training and after; and from a random start, at ten times the "
        "learning rate.",
        (
            curves(
                "E", ("solver_start", "solver_end", "random_start", "random_end"), over="draw",
                style="points", log="y", y_label="test error (volume²)",
            ),
        ),
    ),
)  # fmt: skip
