"""The figures of the study of K-FAC."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure

AT = {"seed": 0}

FIGURES = (
    Figure(
        "training",
        "K-FAC leaves first-order methods behind, the more so with a damping that it finds itself",
        "Autoencoder of 8x8 digits, all 1797 images at each step, seed 0; no h is below 13.66, the "
        "entropy of grey pixels. (a) The objective. Where its own damping is not named, "
        "K-FAC has the paper's constants: a damping of 150 takes 200 iterations to come down, a "
        "line of trials at the first step has it at once. (b) Error of the reconstruction.",
        (
            curves(
                "X2-own",
                "h",
                over="step",
                at=AT,
                labels={"h": "K-FAC, own damping"},
                more=[
                    *series("X2", "h", over="step", at=AT, each="method"),
                    *series("X2-baselines", "h", over="step", at=AT, each="method", style="dash"),
                ],
                y_label="objective h (loss)",
                log="y",
            ),
            curves(
                "X2-own",
                "reconstruction",
                over="step",
                at=AT,
                labels={"reconstruction": "K-FAC, own damping"},
                more=series("X2", "reconstruction", over="step", at=AT, each="method"),
                y_label="squared error of an image",
                log="y",
            ),
        ),
    ),
    Figure(
        "large",
        "On 784 pixels, too, K-FAC is ahead from the first steps on",
        "Autoencoder of digits of MNIST, 784-200-100-30 and back on 500 of them (at full scale the "
        "paper's 784-1000-500-250-30 on 5,000), seed 0, the best of four Nesterov rates.",
        (curves("X4", "h", over="step", each="method", y_label="objective h (loss)", log="y"),),
    ),
    Figure(
        "structure",
        "Layers far apart meet in the matrix, and hardly in its inverse",
        "Last four layers of a 64-20-20-20-20-10 classifier of digits after 60 steps of Adam, "
        "seed 0, "
        "damped by gamma = 0.1: mean magnitude of the blocks of each row, over that of the "
        "diagonal "
        "blocks. (a) The Kronecker approximation. (b) Its inverse.",
        (
            curves("X3", "kronecker", over="column", each="row", at=AT, style="points", log="y"),
            curves("X3", "inverse", over="column", each="row", at=AT, style="points", log="y"),
        ),
    ),
)
