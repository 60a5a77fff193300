"""The figures of the study of the expressivity condition."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel, Scalar

ROUNDING = Level(222 * 2.0**-52, "rounding")  # of the margin of a matrix (200, 222)
EXAMPLES = Level(200.0, "examples n")
BEGINS = Level(("X2", "phase_two"), "phase 2", "x")


def _shaken(y: str, title: str, level: Level, log: str) -> Panel:
    lines = [
        line
        for net in ("64-221", "16-16-221")
        for line in series(
            "X1-degenerate",
            y,
            over="noise",
            each="seed",
            at={"net": net},
            label=net,
            style="points",
        )
    ]
    return Panel(tuple(lines), title=title, levels=(level,), x_log=True, y_log="y" in log)


def _trained(y: str, title: str, log: str = "", error: str = "") -> Panel:
    return curves(
        "X2",
        y,
        over="step",
        each="optimiser",
        only=("SGD", "EXP-SGD"),
        at={"seed": 0},
        error=error,
        title=title,
        levels=(BEGINS,),
        log=log,
    )


def _phase_two(label: str) -> Panel:
    at: dict[str, Scalar] = {"labels": label, "seed": 0}
    bound = series("X3", "loss_bound", over="step", at=at, label="bound", style="dash")
    labels = {"loss": "descent"}
    title = f"{label} labels"
    return curves(
        "X3", "loss", over="step", at=at, theory=True, labels=labels, more=bound, title=title,
        log="xy",
    )  # fmt: skip


FIGURES = (
    Figure(
        "spectra",
        "A wide layer tells 200 digits apart, unless the layers before it are too narrow",
        "(a) Singular values of A = [h, 1] at a random start, one line per net (hidden widths). "
        "Below the dotted line float64 does not tell them from zero. (b) How many are above it, "
        "all starts; the narrower the layers before, the fewer. The condition is about some "
        "parameters, so that a failure of a random start proves nothing: for the nets with two "
        "units and one a constructed witness passes.",
        (
            curves(
                "X1",
                "singular_values",
                over="index",
                each="net",
                title="Singular values, first seed",
                levels=(ROUNDING,),
                log="y",
            ),
            curves(
                "X1",
                "rank",
                over="seed",
                each="net",
                style="points",
                title="Numerical rank",
                levels=(EXAMPLES,),
            ),
        ),
    ),
    Figure(
        "perturbation",
        "A perturbation of zero parameters gives full rank, as far as float64 can see",
        "All parameters start at zero, where the rank is 1, and are perturbed once by Gaussian "
        "noise of the given size. (a) In exact arithmetic any size gives rank n with probability "
        "1. (b) In float64 the margin of the deeper net is below rounding (dotted) for small "
        "noise.",
        (
            _shaken("rank", "Numerical rank", EXAMPLES, "x"),
            _shaken("margin", "Margin", ROUNDING, "xy"),
        ),
    ),
    Figure(
        "two-phases",
        "Two phases cost no accuracy",
        "SGD with momentum on 200 digits, and the same with hidden layers perturbed and frozen "
        "after 1200 steps (dotted line); same starts, batches and number of steps, one seed. (a) "
        "The training loss goes on falling, more slowly, as only the last layer learns; (b) the "
        "test accuracy (1000 digits, band: standard error) is the same.",
        (
            _trained("loss", "Training loss", log="y"),
            _trained("accuracy", "Test accuracy", error="accuracy_error"),
        ),
    ),
    Figure(
        "certificates",
        "Phase 2 follows its closed form; the guarantee is about the limit",
        "Descent on the last layer with step size 1/L_H, squared error, from a perturbed random "
        "start (solid), the closed form of its residual (dashed, on top of it) and the bound of "
        "the theorem. The bound holds and is loose: the nearest minimiser is far away, as the "
        "smallest singular value is tiny. (a) True labels are fitted sooner than (b) random ones; "
        "both are fitted in the end.",
        (_phase_two("true"), _phase_two("random")),
    ),
    Figure(
        "floor",
        "Too few units leave a floor",
        "Random labels: the least loss that the last layer can reach, over the width of the last "
        "hidden layer, one point per draw, beside its expectation 0.45 (1 - r/n) at the rank r "
        "that was measured. From about n units on the floor is zero.",
        (
            curves(
                "X3-floors",
                "floor",
                over="width",
                each="seed",
                labels={"floor": "measured"},
                style="points",
                more=series(
                    "X3-floors",
                    "floor_theory",
                    over="width",
                    at={"seed": 0},
                    label="expected",
                    style="dash",
                ),
                y_label="least loss, 1/(2n) |A V - Y|²",
            ),
        ),
    ),
)
