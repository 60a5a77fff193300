"""The figures of the study of non-convex optimisation."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Panel

FIGURES = (
    Figure(
        "sums",
        "What variance reduction saves grows with the number of examples",
        "Robust regression in 10 dimensions, to a gradient norm of 5e-3. (a) Passes of full "
        "gradients over those of each method, the median over seeds; dashed the closed form, "
        "step size times steps a pass. (b) Gradient norm of the first seed with the most examples, "
        "against passes over the data.",
        (
            curves("X1", "speed_up", over="m", each="algorithm", theory=True, log="xy",
                   style="points"),
            Panel(
                series(
                    "X1", "gradient_norm", over="spent", each="algorithm", at={"m": 4096},
                ),
                x_label="passes over the data",
                y_label="gradient norm (loss/parameter)",
                y_log=True,
            ),
        ),
    ),
    Figure(
        "saddle",
        "A little noise leaves a strict saddle",
        "(a) Loss on x^2/2 + y^4/4 - y^2/2 from (1, 0): gradient descent stays at the saddle, "
        "perturbed descent finds a minimum of -1/4. (b) Steps until |y| = 1/2 from a distance of "
        "the saddle, dashed the linearised count.",
        (
            curves("X3", ("stuck", "kicked"), over="step", y_label="loss"),
            curves("X3", "escape", over="radius", theory=True, log="x", style="points"),
        ),
    ),
    Figure(
        "values",
        "Gradients from values alone",
        "Error of forward and central differences of a function in 20 dimensions, dashed their "
        "bounds: slopes 1 and 2.",
        (
            curves(
                "X2-values",
                "forward",
                over="step",
                style="points",
                theory="forward_bound",
                more=series(
                    "X2-values", "central", over="step", style="points", theory="central_bound"
                ),
                y_label="error (loss/parameter)",
                log="xy",
            ),
        ),
    ),
)  # fmt: skip
