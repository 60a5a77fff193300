"""The figures of the study of numerical optimisers."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure

FIGURES = (
    Figure(
        "trap",
        "The method best for quadratics runs in a cycle",
        "A function with curvature between 1 and 25, from 3.3. Heavy ball with the step size and "
        "momentum that are best for quadratics between these curvatures never arrives; descent "
        "and Nesterov's method do.",
        (
            curves(
                "X3", "path", over="step", y_label="x (parameter)",
                more=series("X3", "path_other", over="step", each="algorithm"),
            ),
        ),
    ),
    Figure(
        "conditions",
        "Momentum takes the root of the condition number",
        "(a) Relative error on a quadratic of condition 100. (b) Steps to an error of 1e-6, by "
        "condition number.",
        (
            curves("X5", "error", over="step", each="algorithm", at={"condition": 100.0}, log="y"),
            curves("X5", "steps", over="condition", each="algorithm", log="xy", style="points"),
        ),
    ),
    Figure(
        "phases",
        "How fast errors shrink along an eigenvector",
        "Spectral radius against step size times curvature, for four momenta: (a) heavy ball, flat "
        "where there are ripples; (b) Nesterov's method. Above 1 it is unstable.",
        tuple(
            curves(
                "X1", "radius", over="scaled", each="momentum", at={"algorithm": name},
                title=name,
            )
            for name in ("heavy-ball", "nesterov")
        ),
    ),
    Figure(
        "chain",
        "On the worst function Nesterov's method is near what can be reached",
        "(a) Loss over its infimum on a chain of 401; dashed the least value in the span of the "
        "gradients so far. (b) Momentum of the optimal start for three condition numbers.",
        (
            curves(
                "X4", "gap", over="step", each="algorithm", log="xy",
                more=series("X4", "least", over="step", style="dash"),
            ),
            curves("X8", "momentum", over="step", each="condition"),
        ),
    ),
    Figure(
        "noise",
        "Noise leaves an error in proportion to the step size",
        "(a) Mean square error of SGD over runs for three step sizes, dashed the exact second "
        "moment. (b) Averaged iterates on |w|, dashed the bound.",
        (
            curves("X6", "square", over="step", each="step_size", theory=True, style="points",
                   log="y"),
            curves("X6-averages", "loss", over="steps", error="loss_error", theory=True,
                   style="points", log="xy"),
        ),
    ),
    Figure(
        "basis",
        "Adaptive methods need the eigenbasis to be that of the coordinates",
        "Steps to a relative loss of 1e-6 on a quadratic of condition 1000 in 10 dimensions, each "
        "method at the best of its learning rates, in the eigenbasis and rotated.",
        (
            curves("X7", ("axis", "rotated"), over="algorithm", style="points", log="y",
                   y_label="steps"),
        ),
    ),
)  # fmt: skip
