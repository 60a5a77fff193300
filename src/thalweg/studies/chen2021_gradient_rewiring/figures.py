"""The figures of the study of gradient rewiring."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure

FIRST = {"seed": 0}
DENSE = series("X1", "dense", over="passes", at=FIRST, label="dense", style="dash")
CUT = series("X1", "one_shot", over="alpha", at=FIRST, label="dense, cut at once", style="points")

FIGURES = (
    Figure(
        "passes",
        "Connections go while the net learns, the faster the stronger the prior",
        "Spiking net on digits (at full scale on MNIST's 5000), seed 0, each alpha a line. (a) "
        "Accuracy on what is held out, dashed the dense net. (b) Share of connections present.",
        (
            curves("X1", "accuracy", over="passes", each="alpha", at=FIRST, more=DENSE),
            curves("X1", "connectivity", over="passes", each="alpha", at=FIRST, log="y"),
        ),
    ),
    Figure(
        "turnover",
        "Pruning and growth compete",
        "The same runs, connections compared between passes. (a) Pruned in a pass. (b) Grown again "
        "in a pass: few, as a strength must climb against the prior.",
        (
            curves("X1", "pruned", over="after", each="alpha", at=FIRST),
            curves("X1", "regrown", over="after", each="alpha", at=FIRST),
        ),
    ),
    Figure(
        "methods",
        "At these sizes ways to prune cannot be told apart, but for cutting at once",
        "Seed 0. (a) Final accuracy of Grad R against alpha, beside the dense net cut to the same "
        "number of connections at once. (b) Other methods: the accurate gradient, Deep R and "
        "pruning by size with training after it; points are alphas, the axis is what was left.",
        (
            curves("X1", "final", over="alpha", at=FIRST, style="points", more=CUT),
            curves(
                "X1",
                "others",
                over="others_left",
                each="method",
                at=FIRST,
                style="points",
                more=series("X1", "final", over="left", at=FIRST, label="Grad R", style="points"),
            ),
        ),
    ),
    Figure(
        "distributions",
        "Strengths spread below zero, where weights cannot go",
        "Grad R at the end, seed 0. (a) Shares of hidden strengths: those below zero are absent. "
        "(b) Shares of weights: the absent ones are the peak at zero.",
        (
            curves("X1", "strengths", over="strength", each="alpha", log="y"),
            curves("X1", "weights", over="strength", each="alpha", log="y"),
        ),
    ),
    Figure(
        "centre",
        "Without a loss strengths go to the centre of the prior and chatter",
        "Two of eight strengths under a prior of alpha 10 and sparsity 0.95, without a gradient: "
        "solid the steps of Adam's form, dashed the line to the centre, -0.23.",
        (
            curves(
                "X0", "free", over="late", each="entry", only=(0, 7), theory=True, named="strength"
            ),
        ),
    ),
)
