"""The figures of the study of low-dimensional data."""

from __future__ import annotations

from thalweg.report.spec import Figure, Level, Panel, Series

DERIVATIVE = "rms |df/dn| (output/input)"
NETS = (("one hidden", "one hidden layer"), ("two hidden", "two hidden layers"))
SIGMA = "noise σ off the line (0 is drawn at 0.003)"


def _portrait(case: str, title: str, a: float) -> Panel:
    return Panel(
        series=(Series("X1", "w_y", "w_x", "", {"case": case}, each="start"),),
        title=title,
        x_label="tangent part w_x (output/input)",
        y_label="normal part w_y (output/input)",
        levels=(Level(a, f"w_x = {a:g}", axis="x"), Level(0.0)),
    )


def _pair(data: str, y: str, x: str, each: str, style: str = "points") -> tuple[Series, Series]:
    """A measurement and its theory, dashed, in one colour for every value of `each`."""
    error = f"{y}_error" if style == "points" else ""
    return (
        Series(data, y, x, each=each, error=error, style=style, group=each),
        Series(data, f"{y}_theory", x, "theory", each=each, style="dash", group=each),
    )


def _sweep(y: str, title: str, y_label: str) -> Panel:
    runs = [("X5", name, label) for name, label in NETS]
    runs.append(("X6", "one hidden", "one hidden layer, weight decay"))
    return Panel(
        series=tuple(
            Series(data, f"{y}_mean", "place", label, {"net": name}, error=f"{y}_mean_error")
            for data, name, label in runs
        ),
        title=title,
        x_label=SIGMA,
        y_label=y_label,
        x_log=True,
        y_log=True,
    )


def _fan(y: str, x: str, title: str, x_label: str, y_label: str) -> Panel:
    return Panel(
        series=(Series("X5", y, x, "", {"net": "one hidden"}, each="noise", error=f"{y}_error"),),
        title=title,
        x_label=x_label,
        y_label=y_label,
        y_log=True,
    )


FIGURES = (
    Figure(
        "portrait",
        "Clean data leave a line of equilibria, noise a single one",
        "Paths of the reduced flow of a two-layer linear net, from twelve starts. Left: data on "
        "the plane. Every point of the line w_x = 2 is an equilibrium; paths fan out as they "
        "leave the origin, and where they end is decided by where they began. Right: noise off "
        "the plane. The paths run quickly to w_x = 1.1 and then slide slowly along it to w_y = 0. "
        "In both, starts on the left are drawn towards the saddle at the origin first.",
        (_portrait("clean", "σ = 0", 2.0), _portrait("noisy", "σ = 0.2", 1.1)),
    ),
    Figure(
        "depth",
        "Depth keeps what a small start was to remove",
        "Left: normal part after training from a start of norm ε, with the conservation law "
        "(dashed): slope 1/L. A thousandfold smaller start removes it a thousandfold at depth "
        "one, fourfold at depth five. Middle: gradient descent on the layers (lines) settles at "
        "the prediction from its start (dashed). Right: how near to the origin a start on the "
        "wrong side comes: exponentially nearer with depth, and nearer with noise σ; dashed: "
        "theory for clean data.",
        (
            Panel(
                series=_pair("X3", "normal", "scale", "depth"),
                title="After training",
                x_label="norm ε of the start (output/input)",
                y_label="‖w_y‖ (output/input)",
                x_log=True,
                y_log=True,
            ),
            Panel(
                series=(
                    Series(
                        "X2",
                        "normal",
                        "time",
                        "",
                        {"seed": 0, "step_size": 2e-3},
                        "depth",
                        group="L",
                    ),
                    Series(
                        "X2",
                        "predicted_line",
                        "time",
                        "predicted",
                        {"seed": 0},
                        "depth",
                        style="dash",
                        group="L",
                    ),
                ),
                title="Gradient descent",
                x_label="training time",
                y_label="‖w_y‖ (output/input)",
            ),
            Panel(
                series=(
                    Series(
                        "X1-closest",
                        "closest",
                        "depth",
                        each="noise",
                        error="closest_error",
                        style="points",
                    ),
                    Series("X1-closest", "closest_theory", "depth", "theory, σ = 0", style="dash"),
                ),
                title="Closest approach to the origin",
                x_label="depth L",
                y_label="least ‖w‖ (output/input)",
                y_log=True,
            ),
        ),
    ),
    Figure(
        "clocks",
        "Two slow clocks: leaving the origin, and unlearning the normal part",
        "Left: time in which a small aligned start reaches half of its target; dashed: by "
        "quadrature. It grows as a logarithm at depth two and as a power of 1/ε beyond. Right: "
        "noise of variance 0.01 drives the normal part to zero; dashed: the rate "
        "‖a‖^(2 − 2/L) σ². The training loss looks converged long before.",
        (
            Panel(
                series=_pair("X1-escape", "time", "scale", "depth"),
                title="Escape",
                x_label="norm ε of the start (output/input)",
                y_label="time to half of the target",
                x_log=True,
                y_log=True,
            ),
            Panel(
                series=_pair("X1-noise", "normal", "time", "depth", "line"),
                title="Decay under noise",
                x_label="training time",
                y_label="‖w_y‖ (output/input)",
                y_log=True,
            ),
        ),
    ),
    Figure(
        "samples",
        "Little noise needs many samples",
        "Normal part of a linear least-squares fit of sin 3x, root mean square over repeats "
        "(points, with standard errors), and σ_r/(σ√(N - 3)) (dashed). The fit uses the noise to "
        "explain what a linear function of x cannot; ten times less noise takes a hundred times "
        "more samples.",
        (
            Panel(
                series=_pair("X2-samples", "normal", "n", "noise"),
                x_label="samples N",
                y_label="rms w_y (output/input)",
                x_log=True,
                y_log=True,
            ),
        ),
    ),
    Figure(
        "redraw",
        "The normal derivative of a ReLU net is a draw of its start",
        "Nets trained on the line itself. Their normal columns never move, and drawing them "
        "again changes nothing on the line. Lines: root mean square of ∂f/∂y over 2000 draws; "
        "dashed: s‖g_1(x)‖, from the trained part alone. The spread is of the size of the slope "
        "of the target itself (three at most).",
        (
            Panel(
                series=(
                    Series("X4", "derivative", "x", "", {"seed": 0}, "net", group="net"),
                    Series(
                        "X4",
                        "predicted",
                        "x",
                        "s‖g_1‖",
                        {"seed": 0},
                        "net",
                        style="dash",
                        group="net",
                    ),
                ),
                x_label="x on the line",
                y_label="rms ∂f/∂y (output/input)",
            ),
        ),
    ),
    Figure(
        "trade",
        "Noise buys stability off the line with accuracy on it",
        "ReLU nets trained on points with noise σ off the line, means over seeds with their "
        "standard errors. First: the normal derivative falls until σ is 0.1 to 0.3, and no "
        "further: larger noise is fitted in turn. Second: the error on the line grows with σ. "
        "Weight decay without noise lowers the derivative by less than half, at a few times the "
        "error. Third, one hidden layer: the error at a distance from the line: without noise it "
        "grows at once, with noise only from about 2σ on. Fourth: the derivative along training: "
        "with small noise it keeps falling at the end.",
        (
            _sweep("derivative", "Stability", DERIVATIVE),
            _sweep("rmse", "Accuracy on the line", "rms error (output)"),
            _fan("off", "distance", "Off the line", "distance from the line", "rms error (output)"),
            _fan("derivative_path", "step", "Along training", "steps", DERIVATIVE),
        ),
    ),
)
