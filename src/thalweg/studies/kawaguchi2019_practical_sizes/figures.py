"""What the page of practical sizes draws."""

from __future__ import annotations

from thalweg.report.spec import Figure, Level, Panel, Series

_ONE = Level(1.0, "d = n", axis="x")


def _along(y: str, label: str, style: str = "line", **options: str) -> Series:
    return Series(
        "X2", y, "step", label, {"seed": 0}, each="examples", style=style, group="n", **options
    )


def _curves(name: str, label: str) -> tuple[Series, ...]:
    """Training and test accuracy on one kind of data."""
    return tuple(
        Series("X3", y, "step", text, {"data": name, "seed": 0}, error=error)
        for y, text, error in (
            ("train", f"{label}, training", ""),
            ("test", f"{label}, test", "test_error"),
        )
    )


FIGURES = (
    Figure(
        "threshold",
        "No net fits more random labels than it has parameters",
        "Two-layer tanh nets of d parameters on n random real labels, fitted by "
        "Levenberg-Marquardt, an optimiser much stronger than gradient descent. Left: how many of "
        "the data sets are fitted to a mean squared residual below 1e-12. Right: the median "
        "residual. Below one parameter per label there is not a single success, whatever n; a "
        "little above it nearly every set is fitted. The theorem excludes the left side; the right "
        "side shows that it leaves almost nothing to gain.",
        (
            Panel(
                series=(
                    Series(
                        "X1",
                        "success",
                        "ratio",
                        "fits",
                        each="examples",
                        error="success_error",
                        group="n",
                    ),
                ),
                title="Success",
                x_label="parameters per label d/n",
                y_label="fraction of data sets fitted",
                levels=(_ONE,),
            ),
            Panel(
                series=(
                    Series("X1", "median_residual", "ratio", "fits", each="examples", group="n"),
                ),
                title="Residual",
                x_label="parameters per label d/n",
                y_label="median of the mean squared residual (label²)",
                y_log=True,
                levels=(_ONE,),
            ),
        ),
    ),
    Figure(
        "descent",
        "Gradient descent on all layers fits random labels with of order n parameters",
        "Hidden layers of 16, 16 and 1.2 n units, random labels ±1, one seed. Left: the loss falls "
        "to zero for every n, more slowly for more examples. Dashed: what the smallest "
        "singular value along the run guarantees (E3); it is true and far too modest. Right: that "
        "singular value stays within a factor of two of its start, so that the features keep "
        "telling the examples apart although all layers are trained.",
        (
            Panel(
                series=(_along("loss", "descent"), _along("loss_bound", "E3", "dash")),
                title="Training loss",
                x_label="steps of gradient descent",
                y_label="loss",
                y_log=True,
            ),
            Panel(
                series=(_along("sigma", "descent", error="sigma_error"),),
                title="Smallest singular value of the features",
                x_label="steps of gradient descent",
                y_label="σₙ(A) (features)",
                y_log=True,
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
            Panel(
                series=(_along("constant", "descent"), _along("constant_bound", "bound", "dash")),
                title="Polyak-Łojasiewicz constant",
                x_label="steps of gradient descent",
                y_label="constant (loss/parameter²)",
                y_log=True,
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
                series=tuple(
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
                x_label="parameters per example d/n",
                y_label="training accuracy",
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
                series=(*_curves("digits", "digits"), *_curves("random", "random")),
                title="Natural and random data",
                x_label="steps of gradient descent with momentum",
                y_label="accuracy",
                levels=(Level(0.1, "chance"),),
            ),
        ),
    ),
)
