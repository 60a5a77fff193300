"""What the page of practical sizes draws."""

from __future__ import annotations

from typing import Any

from thalweg.lab.curves import curves
from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

BY_RATIO: dict[str, Any] = {
    "over": "ratio",
    "each": "examples",
    "levels": (Level(1.0, "d = n", axis="x"),),
}
ALONG: dict[str, Any] = {"over": "step", "each": "examples", "at": {"seed": 0}, "log": "y"}


def _accuracies(name: str) -> tuple[Series, ...]:
    """Training and test accuracy on one kind of data."""
    at: dict[str, Scalar] = {"data": name, "seed": 0}
    return (
        Series("X3", "train", "step", f"{name}, training", at),
        Series("X3", "test", "step", f"{name}, test", at, error="test_error"),
    )


FIGURES = (
    Figure(
        "threshold",
        "No net fits more random labels than it has parameters",
        "Two-layer tanh nets of d parameters on n random real labels, fitted by "
        "Levenberg-Marquardt, an optimiser much stronger than gradient descent. (a) How many of "
        "the data sets are fitted to a mean squared residual below 1e-12. (b) The median "
        "residual. Below one parameter per label there is not a single success, whatever n; a "
        "little above it nearly every set is fitted. The theorem excludes success below d = n; "
        "what is seen above leaves almost nothing to gain.",
        (
            curves("X1", "success", error="success_error", title="Success", **BY_RATIO),
            curves("X1", "median_residual", title="Residual", log="y", **BY_RATIO),
        ),
    ),
    Figure(
        "descent",
        "Gradient descent on all layers fits random labels with of order n parameters",
        "Hidden layers of 16, 16 and 1.2 n units, random labels ±1, one seed. (a) The loss falls "
        "to zero for every n, more slowly for more examples. Dashed: what the smallest "
        "singular value along the run guarantees (E3); it is true and far too modest. (b) That "
        "singular value stays within a factor of two of its start, so that the features keep "
        "telling the examples apart although all layers are trained.",
        (
            curves("X2", "loss", theory=True, title="Training loss", **ALONG),
            curves(
                "X2",
                "sigma",
                error="sigma_error",
                title="Smallest singular value of the features",
                **ALONG,
            ),
        ),
    ),
    Figure(
        "domination",
        "The gradient is far larger than the last layer guarantees",
        "The constant of the Polyak-Łojasiewicz inequality along the same runs, "
        "‖∇L‖²/(2L), beside its lower bound σₙ(A)²/n (dashed, same colour). The bound holds by "
        "more than three orders of magnitude all along: it is attained only by residuals in the "
        "weakest direction of the features, and those of a run are not.",
        (
            curves(
                "X2",
                "constant",
                theory="constant_bound",
                title="Polyak-Łojasiewicz constant",
                **ALONG,
            ),
        ),
    ),
    Figure(
        "narrow",
        "Two parameters per example are often enough",
        "Training accuracy of nets with hidden layers of 8, 8 and a few units on random labels ±1 "
        "after 4000 steps; every point is a start with data of its own. With 8 units in the last "
        "hidden layer all runs are nearly perfect; with fewer, some collapse to a constant output "
        "at chance level. The guarantee asks for more parameters than practice does, not for a "
        "different order of them.",
        (
            Panel(
                tuple(
                    Series(
                        "X2-narrow",
                        "accuracy",
                        "ratio",
                        f"{m} units",
                        {"width": m},
                        each="seed",
                        style="points",
                        group=f"{m} units",
                    )
                    for m in (2, 4, 8)
                ),
                title="Small nets on random labels",
                x_log=True,
            ),
        ),
    ),
    Figure(
        "natural",
        "What is fitted generalises if there is something to learn",
        "One net of 7802 parameters on 200 examples: handwritten digits, and random images with "
        "random labels. Both are fitted completely. On 1000 unseen examples the first is right "
        "nine times in ten, the second is at chance (dotted). So the size of the net, which is the "
        "same, does not decide whether it generalises.",
        (
            Panel(
                (*_accuracies("digits"), *_accuracies("random")),
                title="Natural and random data",
                y_label="accuracy",
                levels=(Level(0.1, "chance"),),
            ),
        ),
    ),
)
