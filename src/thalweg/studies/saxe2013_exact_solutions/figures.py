"""The figures of the study of exact linear dynamics."""

from __future__ import annotations

from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

TIME = "training time t/τ (step size × steps)"


def _modes(net: str) -> Panel:
    return Panel(
        series=(
            Series("X1", net, each="mode", select={"seed": 0}, group="modes", label="trained"),
            Series(
                "X1",
                f"{net}_theory",
                each="mode",
                select={"seed": 0},
                style="dash",
                group="modes",
                label="theory",
            ),
        ),
        title=f"{net} net",
        x_label=TIME,
        y_label="mode strength (output/input)",
    )


def _half(net: str) -> Panel:
    shown = (
        ("measured", f"{net}_half", "points"),
        ("closed form from the same start", f"{net}_half_theory", "points"),
    )
    return Panel(
        series=tuple(
            Series("X1", y, x="singular_value", each="seed", label=label, style=style)
            for label, y, style in shown
        ),
        title=f"{net} net",
        x_label="singular value s (output/input)",
        y_label="time of half rise t/τ",
        x_log=True,
        y_log=True,
    )


def _starts(y: str, error: str, style: str) -> tuple[Series, ...]:
    return tuple(
        Series("X3", y, "depth", name, {"start": start}, error=error, style=style, group=name)
        for start, name in (
            ("decoupled", "decoupled"),
            ("orthogonal", "orthogonal"),
            ("gaussian", "Gaussian"),
        )
    )


def _bounds(data: str) -> tuple[Series, ...]:
    return (
        Series(data, "sharpness_bound", "depth", "1/largest sharpness", style="dash"),
        Series(data, "stability_bound", "depth", "2/largest sharpness", style="dash"),
    )


def _spectra(y: str, select: dict[str, Scalar], title: str, y_label: str) -> Panel:
    return Panel(
        series=tuple(
            Series("X4", y, "index", name, select | {"start": start, "seed": 0}, group=name)
            for start, name in (("orthogonal", "orthogonal"), ("gaussian", "Gaussian"))
        ),
        title=title,
        x_label="rank / width",
        y_label=y_label,
        y_log=True,
    )


FIGURES = (
    Figure(
        "modes",
        "Each mode is learned along its own sigmoid, strong ones first",
        "Strengths of the eight singular modes of the tree data while a net with one hidden layer "
        "learns them from a small random start (one seed). Solid: trained; dashed: the closed "
        "form from the same start. Long plateaus end in sharp transitions, in the order of the "
        "singular values. The tanh net keeps the order and lags the closed form a little, as its "
        "units saturate.",
        (_modes("linear"), _modes("tanh")),
    ),
    Figure(
        "half-rise",
        "Learning time is inversely proportional to the singular value",
        "Time at which each mode has risen to half of its final strength, all seeds, beside the "
        "closed form from the same starts. Late modes lag the closed form a little: until "
        "they rise they compete with earlier ones, which the decoupled solution leaves out.",
        (_half("linear"), _half("tanh")),
    ),
    Figure(
        "infinite-depth",
        "An infinitely deep net is only a finite delay slower",
        "Left: depth times learning time of one mode (from 0.1 to 1.2, s = 1.5) tends to a finite "
        "limit, the dotted line. Since the best step size falls as 1/L, this is the number of "
        "steps. Right: one mode of L equal layers, by gradient flow, beside the implicit "
        "solution (dashed, drawn at the time that theory gives to each strength).",
        (
            Panel(
                series=(Series("X2-limit", "scaled_time", "depth", "L t(L)", style="points"),),
                title="Learning time",
                x_label="number of weight matrices L",
                y_label="depth × time, L t/τ",
                x_log=True,
                levels=(Level(("X2-limit", "scaled_time_limit"), "infinite depth"),),
            ),
            Panel(
                series=(
                    Series(
                        "X2-chain",
                        "strength",
                        each="depth",
                        label="flow",
                        style="points",
                        group="L",
                    ),
                    Series(
                        "X2-chain",
                        "strength",
                        "time_theory",
                        each="depth",
                        label="theory",
                        style="dash",
                        group="L",
                    ),
                ),
                title="Sigmoids of depth L",
                x_label="training time t/τ",
                y_label="mode strength (output/input)",
            ),
        ),
    ),
    Figure(
        "depth",
        "Good starts make learning time independent of depth",
        "Left: fewest steps of gradient descent to 1 % of the loss, at the best step size of each "
        "net (mean and standard deviation over seeds; a gap where a seed needed more than 600 "
        "steps). Decoupled and orthogonal starts level off, Gaussian starts do not. Right: that "
        "best step size falls as 1/L, between once and twice the inverse of the largest "
        "sharpness on the path (dashed).",
        (
            Panel(
                series=_starts("steps_mean", "steps_mean_error", "line"),
                title="Steps",
                x_label="number of weight matrices L",
                y_label="steps to 1 % of the loss",
                x_log=True,
                y_log=True,
            ),
            Panel(
                series=(
                    *(
                        Series(
                            "X3",
                            "step_size",
                            "depth",
                            name,
                            {"start": start, "seed": 0},
                            style="points",
                            group=name,
                        )
                        for start, name in (
                            ("decoupled", "decoupled"),
                            ("orthogonal", "orthogonal"),
                            ("gaussian", "Gaussian"),
                        )
                    ),
                    *_bounds("X3"),
                ),
                title="Best step size",
                x_label="number of weight matrices L",
                y_label="step size",
                x_log=True,
                y_log=True,
            ),
        ),
    ),
    Figure(
        "digits",
        "The same on handwritten digits",
        "Deep linear nets learn whitened images of digits from decoupled starts of strength "
        "0.001, at the best of twenty step sizes. The steps are those that the equation of the "
        "modes predicts (dashed); they rise to a finite limit, which is far off for so small a "
        "start. The best step size follows the inverse of the largest sharpness.",
        (
            Panel(
                series=(
                    Series(
                        "X5",
                        "steps",
                        "depth",
                        "decoupled",
                        {"start": "decoupled", "seed": 0},
                        style="points",
                    ),
                    Series(
                        "X5",
                        "steps_theory",
                        "depth",
                        "gradient flow, in theory",
                        {"start": "decoupled", "seed": 0},
                        style="dash",
                        group="decoupled",
                    ),
                ),
                title="Steps",
                x_label="number of weight matrices L",
                y_label="steps to 1 % of the loss",
                x_log=True,
            ),
            Panel(
                series=(
                    Series(
                        "X5",
                        "step_size",
                        "depth",
                        "decoupled",
                        {"start": "decoupled", "seed": 0},
                        style="points",
                    ),
                    *_bounds("X5"),
                ),
                title="Best step size",
                x_label="number of weight matrices L",
                y_label="step size",
                x_log=True,
                y_log=True,
            ),
        ),
    ),
    Figure(
        "isometry",
        "Orthogonal weights keep signals and gradients alive at depth 100",
        "First: singular values of a product of 20 random 200 × 200 matrices; Gaussian ones lose "
        "almost every direction. Second: singular values of the Jacobian of a tanh net of 100 "
        "layers at gain 1.05, just above the critical one; the Gaussian ones end at the rounding "
        "floor. Third: mean square activity from layer to layer in orthogonal tanh nets, beside "
        "mean-field theory (dashed): it dies below gain 1 and settles above.",
        (
            _spectra("product", {"product_depth": 20}, "Product of 20", "singular value"),
            _spectra("jacobian", {"gain": 1.05}, "Tanh net, 100 layers", "Jacobian singular value"),
            Panel(
                series=(
                    Series(
                        "X4",
                        "activity",
                        "layer",
                        "net",
                        {"start": "orthogonal", "seed": 0},
                        each="gain",
                        group="gain",
                    ),
                    Series(
                        "X4",
                        "activity_theory",
                        "layer",
                        "theory",
                        each="gain",
                        style="dash",
                        group="gain",
                    ),
                ),
                title="Activity",
                x_label="layer",
                y_label="mean square activity",
                x_log=True,
                y_log=True,
            ),
        ),
    ),
)
