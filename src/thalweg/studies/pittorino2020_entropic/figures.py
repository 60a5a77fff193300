"""The figures of the study of entropic descent."""

from __future__ import annotations

from thalweg.lab.curves import curves
from thalweg.report.spec import Figure

FIGURES = (
    Figure(
        "local-energy",
        "Copies that are drawn together end at flatter minima",
        "Mean rise of the training error when every weight and bias is multiplied by 1 + sigma z, "
        "z normal; one line a method, the first seed. (a) Clean labels. (b) A fifth of the "
        "training labels drawn anew: part of the difference is that SGD memorises them.",
        tuple(
            curves(
                data, "rise", over="sigma", each="optimiser", at={"seed": 0},
                x_label="sigma, size of the multiplicative noise",
            )
            for data in ("X5", "X6")
        ),
    ),
    Figure(
        "errors",
        "Flatter is not better on clean labels, and is on noisy ones",
        "Test error of every seed. (a) Clean labels: no method gains. (b) Noisy labels.",
        (
            curves("X5", "test", over="seed", each="optimiser", style="points"),
            curves("X6", "test", over="seed", each="optimiser", style="points"),
        ),
    ),
)  # fmt: skip
