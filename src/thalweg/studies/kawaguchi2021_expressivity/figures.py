"""The figures of the study of the expressivity condition."""

from __future__ import annotations

from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

ROUNDING = 222 * 2.0**-52  # of the margin of a matrix (200, 222)


def _curves(y: str, error: str = "") -> tuple[Series, ...]:
    return tuple(
        Series("X2", y, "step", name, {"optimiser": name, "seed": 0}, error=error)
        for name in ("SGD", "EXP-SGD")
    )


def _phase_two(label: str) -> Panel:
    chosen: dict[str, Scalar] = {"labels": label, "seed": 0}
    return Panel(
        series=(
            Series("X3", "loss", "step", "descent", chosen, group="loss"),
            Series("X3", "loss_theory", "step", "closed form", chosen, style="dash", group="loss"),
            Series("X3", "loss_bound", "step", "bound", chosen, style="dash"),
        ),
        title=f"{label} labels",
        x_label="steps of phase 2",
        y_label="training loss",
        x_log=True,
        y_log=True,
    )


FIGURES = (
    Figure(
        "spectra",
        "A wide layer tells 200 digits apart, unless the layers before it are too narrow",
        "Left: singular values of A = [h, 1] at a random start, one line per net (hidden widths). "
        "Below the dotted line float64 does not tell them from zero. Right: how many are above it, "
        "all starts; the narrower the layers before, the fewer. The condition is about some "
        "parameters, so that a failure of a random start "
        "proves nothing: for the nets with two units and one a constructed witness passes.",
        (
            Panel(
                series=(Series("X1", "singular_values", "index", each="net", group="net"),),
                title="Singular values, first seed",
                x_label="index",
                y_label="singular value/largest",
                y_log=True,
                levels=(Level(ROUNDING, "rounding"),),
            ),
            Panel(
                series=(Series("X1", "rank", "seed", each="net", style="points", group="net"),),
                title="Numerical rank",
                x_label="seed",
                y_label="rank of [h, 1]",
                levels=(Level(200.0, "examples n"),),
            ),
        ),
    ),
    Figure(
        "perturbation",
        "A perturbation of zero parameters gives full rank, as far as float64 can see",
        "All parameters start at zero, where the rank is 1, and are perturbed once by Gaussian "
        "noise of the given size. In exact arithmetic any size gives rank n with probability 1. In "
        "float64 the margin of the deeper net is below rounding (dotted) for small noise.",
        (
            Panel(
                series=(
                    Series(
                        "X1-degenerate",
                        "rank",
                        "noise",
                        "64-221",
                        {"net": "64-221"},
                        "seed",
                        style="points",
                    ),
                    Series(
                        "X1-degenerate",
                        "rank",
                        "noise",
                        "16-16-221",
                        {"net": "16-16-221"},
                        "seed",
                        style="points",
                    ),
                ),
                title="Numerical rank",
                x_label="size of the perturbation (parameter)",
                y_label="rank of [h, 1]",
                x_log=True,
                levels=(Level(200.0, "examples n"),),
            ),
            Panel(
                series=(
                    Series(
                        "X1-degenerate",
                        "margin",
                        "noise",
                        "64-221",
                        {"net": "64-221"},
                        "seed",
                        style="points",
                    ),
                    Series(
                        "X1-degenerate",
                        "margin",
                        "noise",
                        "16-16-221",
                        {"net": "16-16-221"},
                        "seed",
                        style="points",
                    ),
                ),
                title="Margin",
                x_label="size of the perturbation (parameter)",
                y_label="smallest/largest singular value",
                x_log=True,
                y_log=True,
                levels=(Level(ROUNDING, "rounding"),),
            ),
        ),
    ),
    Figure(
        "two-phases",
        "Two phases cost no accuracy",
        "SGD with momentum on 200 digits, and the same with hidden layers perturbed and frozen "
        "after 1200 steps (dotted line); same starts, batches and number of steps, one seed. The "
        "training loss goes on falling, more slowly, as only the last layer learns; the test "
        "accuracy (1000 digits, band: standard error) is the same.",
        (
            Panel(
                series=_curves("loss"),
                title="Training loss",
                x_label="steps",
                y_label="cross-entropy, all examples",
                y_log=True,
                levels=(Level(("X2", "phase_two"), "phase 2", "x"),),
            ),
            Panel(
                series=_curves("accuracy", "accuracy_error"),
                title="Test accuracy",
                x_label="steps",
                y_label="share of right answers",
                levels=(Level(("X2", "phase_two"), "phase 2", "x"),),
            ),
        ),
    ),
    Figure(
        "certificates",
        "Phase 2 follows its closed form; the guarantee is about the limit",
        "Descent on the last layer with step size 1/L_H, squared error, from a perturbed random "
        "start (solid), the closed form of its residual (dashed, on top of it) and the bound of "
        "the theorem. The bound holds and is loose: the nearest minimiser is far away, as the "
        "smallest singular value is tiny. True labels are fitted sooner than random ones; both "
        "are fitted in the end.",
        (_phase_two("true"), _phase_two("random")),
    ),
    Figure(
        "floor",
        "Too few units leave a floor",
        "Random labels: the least loss that the last layer can reach, over the width of the last "
        "hidden layer, one point per draw, beside its expectation 0.45 (1 - r/n) at the rank r "
        "that was measured. From about n units on the floor is zero.",
        (
            Panel(
                series=(
                    Series("X3-floors", "floor", "width", "measured", each="seed", style="points"),
                    Series(
                        "X3-floors",
                        "floor_theory",
                        "width",
                        "expected",
                        {"seed": 0},
                        style="dash",
                    ),
                ),
                x_label="units of the last hidden layer",
                y_label="least loss, 1/(2n) |A V - Y|²",
            ),
        ),
    ),
)
