"""The figures of the study of crossprop."""

from __future__ import annotations

from thalweg.lab.curves import curves
from thalweg.report.spec import Figure, Panel

RULES = ("backpropagation", "crossprop", "factored", "half of each")
OPTIMISERS = ("backpropagation", "momentum", "RMSProp", "Adam")


def learners(data: str, name: str, only: tuple[str, ...] = (), log: str = "") -> Panel:
    """A line for each learner over the examples, its mean over runs with the standard error."""
    error = f"{name}_mean_error"
    return curves(
        data, f"{name}_mean", over="example", each="learner", only=only, error=error, log=log
    )


FIGURES = (
    Figure(
        "learning",
        "Crossprop learns nearly as fast, and each task faster at the second visit",
        "Stream of generic features, stages A, B, C, A, B, C: loss of each example before its own "
        "step, means over windows and runs, the band their standard error. (a) The rules. (b) "
        "Optimisers at the same step size, beside backpropagation.",
        (
            learners("X1", "loss", RULES, log="y"),
            learners("X1", "loss", OPTIMISERS, log="y"),
        ),
    ),
    Figure(
        "drift",
        "Crossprop keeps its features and moves its output weights instead",
        "The same runs. (a) Squared distance of the hidden layer from its start. (b) That of the "
        "output layer. Means over runs with their standard error.",
        (
            learners("X1", "features", log="y"),
            learners("X1", "outputs", log="y"),
        ),
    ),
    Figure(
        "digits",
        "On digits the hidden layer hardly moves, and mistakes cost their price",
        "Digits with labels rolled on by 0, 1, 2, 0, 1, 2, three passes each. (a) Share of "
        "mistakes, each image judged before its own step. (b) Squared distance of the hidden "
        "layer from its start.",
        (
            learners("X2", "mistakes"),
            learners("X2", "features", log="y"),
        ),
    ),
    Figure(
        "forgetting",
        "Without errors a trace fades as its own step size says",
        "What is left of traces of ones after eight examples without errors, dashed the product of "
        "1 - eta phi^2, draw 0: they fade at step size 0.3, and grow at 2.5 where eta phi^2 > 2.",
        (
            curves(
                "X0", "left", over="unit", each="eta", at={"draw": 0}, theory=True, style="points"
            ),
        ),
    ),
)
