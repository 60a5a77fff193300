"""The figures of the study of low-dimensional data."""

from __future__ import annotations

from typing import Any

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel, Series

DERIVATIVE = "rms |∂f/∂n| (output/input)"
NORMAL = "normal part ‖w_y‖ (output/input)"
EPSILON = "norm ε of the start (output/input)"
STEPS = "steps"


def _portrait(case: str, title: str, a: float) -> Panel:
    return curves(
        "X1", "w_y", over="w_x", each="draw", at={"case": case}, title=title,
        labels={"w_y": "paths"},
        x_label="tangent part w_x (output/input)", y_label="normal part w_y (output/input)",
        levels=(Level(a, f"w_x = {a:g}", axis="x"), Level(0.0)),
    )  # fmt: skip


def _sweep(y: str, **panel: Any) -> Panel:
    def runs(data: str, net: str, label: str) -> tuple[Series, ...]:
        return series(
            data, f"{y}_mean", over="place", at={"net": net}, label=label, error=f"{y}_mean_error"
        )

    lines = (
        *runs("X5", "one hidden", "one hidden layer"),
        *runs("X5", "two hidden", "two hidden layers"),
        *runs("X6", "one hidden", "one hidden layer, weight decay"),
    )
    return Panel(
        series=lines, x_label="noise σ off the line (input)", x_log=True, y_log=True, **panel
    )


def _fan(y: str, over: str, **panel: Any) -> Panel:
    return curves(
        "X5", f"{y}_mean", over=over, each="noise", at={"net": "one hidden"},
        error=f"{y}_mean_error", log="y", **panel,
    )  # fmt: skip


FIGURES = (
    Figure(
        "portrait",
        "Clean data leave a line of equilibria, noise a single one",
        "Paths of the reduced flow of a two-layer linear net, from twelve starts. Those on the far "
        "side are drawn towards the saddle at the origin first.",
        (
            _portrait("clean", "Data on the plane, σ = 0", 2.0),
            _portrait("noisy", "Noise off the plane, σ = 0.2", 1.1),
        ),
    ),
    Figure(
        "depth",
        "Depth keeps what a small start was to remove",
        "(a) Normal part after training from a start of norm ε, with the conservation law "
        "(dashed): slope 1/L. A thousandfold smaller start removes it a thousandfold at depth "
        "one, fourfold at depth five. (b) Gradient descent on the layers settles at the prediction "
        "from its start (dashed). (c) How near to the origin a start on the wrong side comes: "
        "exponentially nearer with depth, and nearer with noise; dashed: theory for clean data.",
        (
            curves(
                "X3", "normal", over="scale", each="depth", style="points", theory=True,
                error="normal_error", title="After training", log="xy", x_label=EPSILON,
                y_label=NORMAL,
            ),
            curves(
                "X2", "normal", each="depth", at={"seed": 0, "cut": 1}, theory="predicted_line",
                title="Gradient descent", y_label=NORMAL, residual=False,
            ),
            Panel(
                series=(
                    *(
                        line
                        for noise in (0.0, 0.3)
                        for line in series(
                            "X1-closest", "closest", over="depth", at={"noise": noise},
                            style="points", error="closest_error", label=f"noise {noise:g}",
                        )
                    ),
                    Series(
                        "X1-closest", "closest_theory", "depth", "noise 0, theory", style="dash",
                        group="noise 0",
                    ),
                ),
                title="Closest approach to the origin",
                y_label="least ‖w‖ (output/input)",
                y_log=True,
            ),
        ),
    ),
    Figure(
        "clocks",
        "Two slow clocks: leaving the origin, and unlearning the normal part",
        "(a) Time in which a small aligned start reaches half of its target; dashed: by "
        "quadrature. It grows as a logarithm at depth two and as a power of 1/ε beyond. (b) Noise "
        "of variance 0.01 drives the normal part to zero; dashed: the rate ‖a‖^(2 − 2/L) σ². The "
        "training loss looks converged long before.",
        (
            curves(
                "X1-escape", "time", over="scale", each="depth", style="points", theory=True,
                error="time_error", title="Escape", log="xy", x_label=EPSILON,
                y_label="time to half of the target (step size)",
            ),
            curves(
                "X1-noise", "normal", each="depth", theory=True, title="Decay under noise",
                log="y", y_label=NORMAL,
            ),
        ),
    ),
    Figure(
        "samples",
        "Little noise needs many samples",
        "Normal part of a linear least-squares fit of sin 3x, root mean square over repeats "
        "(points, with standard errors), and σ_r/(σ√(N − 3)) (dashed). The fit uses the noise to "
        "explain what a linear function of x cannot; ten times less noise takes a hundred times "
        "more samples.",
        (
            curves(
                "X2-samples", "normal", over="n", each="noise", style="points", theory=True,
                error="normal_error", log="xy", y_label="rms w_y (output/input)",
            ),
        ),
    ),
    Figure(
        "redraw",
        "The normal derivative of a ReLU net is a draw of its start",
        "Nets trained on the line itself. Their normal columns never move, and drawing them "
        "again changes nothing on the line. Lines: root mean square of ∂f/∂y over 2000 draws; "
        "dashed: theory, s‖g₁(x)‖, from the trained part alone. The spread is of the size of the "
        "slope of the target itself (three at most).",
        (
            curves(
                "X4", "derivative", over="x", each="net", at={"seed": 0}, theory="predicted",
                y_label="rms ∂f/∂y (output/input)",
            ),
        ),
    ),
    Figure(
        "trade",
        "Noise buys stability off the line with accuracy on it",
        "ReLU nets trained on points with noise σ off the line (0 is drawn at 0.003), means over "
        "seeds with their standard errors.",
        (
            _sweep(
                "derivative", title="Stability", y_label=DERIVATIVE, caption="The normal "
                "derivative falls until σ is 0.1 to 0.3, and no further: larger noise is fitted in "
                "turn.",
            ),
            _sweep(
                "rmse", title="Accuracy on the line", y_label="rms error (output)",
                caption="The error on the line grows with σ. Weight decay without noise lowers the "
                "derivative by less than half, at a few times the error.",
            ),
            _fan(
                "off", "distance", title="Off the line", y_label="rms error (output)",
                caption="One hidden layer, the error at a distance from the line: without noise it "
                "grows at once, with noise only from about 2σ on.",
            ),
            _fan(
                "derivative_path", "step", title="Along training", x_label=STEPS,
                y_label=DERIVATIVE, caption="The derivative along training: with small noise it "
                "keeps falling at the end.",
            ),
        ),
    ),
)  # fmt: skip
