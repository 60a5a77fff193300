"""The figures of the study of exact linear dynamics."""

from __future__ import annotations

from typing import Any

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel, Scalar

HALF = {"half": "measured", "half_theory": "closed form from the same start"}
BOUNDS = ("sharpness_bound", "stability_bound")
FASTEST = "fastest step size (step size)"


def _modes(net: str) -> Panel:
    at: dict[str, Scalar] = {"net": net, "seed": 0}
    modes = (0, 1, 2, 4)  # one of each singular value
    return curves("X1", "strength", each="mode", only=modes, at=at, theory=True, title=f"{net} net")


def _half(net: str) -> Panel:
    return curves(
        "X1", list(HALF), over="singular_value", each="seed", at={"net": net}, labels=HALF,
        style="points", title=f"{net} net", y_label="time of half rise (step size)", log="xy",
    )  # fmt: skip


def _step_size(data: str, **which: Any) -> Panel:
    bounds = [line for y in BOUNDS for line in series(data, y, over="depth", style="dash")]
    return curves(
        data, "step_size", over="depth", style="points", more=bounds, title="Fastest step size",
        y_label=FASTEST, log="xy", **which,
    )  # fmt: skip


FIGURES = (
    Figure(
        "modes",
        "Each mode is learned along its own sigmoid, strong ones first",
        "Strengths of four of the eight singular modes of the tree data, one of each singular "
        "value, while a net with one hidden layer learns them from a small random start (one "
        "seed). Solid: trained; dashed: the closed form from the same start. Long plateaus end in "
        "sharp transitions, in the order of the singular values. (a) The linear net. (b) The tanh "
        "net keeps the order and lags the closed form a little, as its units saturate.",
        (_modes("linear"), _modes("tanh")),
    ),
    Figure(
        "half-rise",
        "Learning time is inversely proportional to the singular value",
        "Time at which each mode has risen to half of its final strength, all seeds, beside the "
        "closed form from the same starts, in (a) the linear and (b) the tanh net. Late modes lag "
        "the closed form a little: until they rise they compete with earlier ones, which the "
        "decoupled solution leaves out.",
        (_half("linear"), _half("tanh")),
    ),
    Figure(
        "infinite-depth",
        "An infinitely deep net is only a finite delay slower",
        "(a) Depth times learning time of one mode (from 0.1 to 1.2, s = 1.5) tends to a finite "
        "limit, the dotted line. Since the best step size falls as 1/L, this is the number of "
        "steps. (b) One mode of L equal layers, by gradient flow (points), beside the implicit "
        "solution (dashed, drawn at the time that theory gives to each strength).",
        (
            curves(
                "X2-limit", "scaled_time", over="depth", style="points", title="Learning time",
                log="x", levels=(Level(("X2-limit", "scaled_time_limit"), "infinite depth"),),
            ),
            curves(
                "X2-chain", "strength", each="depth", style="points", title="Sigmoids of depth L",
                labels={"strength": "flow"}, more=series(
                    "X2-chain", "strength", over="time_theory", each="depth", style="dash",
                    label="theory",
                ),
            ),
        ),
    ),
    Figure(
        "depth",
        "Good starts make learning time independent of depth",
        "(a) Fewest steps of gradient descent to 1 % of the loss, at the best step size of each "
        "net (mean and standard deviation over seeds; a gap where a seed needed more than 600 "
        "steps). Decoupled and orthogonal starts level off, Gaussian starts do not. (b) That "
        "best step size (one seed) falls as 1/L, between once and twice the inverse of the "
        "largest sharpness on the path (dashed).",
        (
            curves(
                "X3", "steps_mean", over="depth", each="start", error="steps_mean_error",
                title="Steps", y_label="steps to 1 % of the loss", log="xy",
            ),
            _step_size("X3", each="start", at={"seed": 0}),
        ),
    ),
    Figure(
        "digits",
        "The same on handwritten digits",
        "Deep linear nets learn whitened images of digits from decoupled starts of strength "
        "0.001, at the best of twenty step sizes. (a) The steps are those that the equation of "
        "the modes predicts (dashed); they rise to a finite limit, which is far off for so small "
        "a start. (b) The best step size follows the inverse of the largest sharpness.",
        (
            curves(
                "X5", "steps", over="depth", at={"start": "decoupled", "seed": 0}, theory=True,
                labels={"steps": "decoupled"}, style="points", title="Steps", log="x",
                y_label="steps to 1 % of the loss",
            ),
            _step_size(
                "X5", at={"start": "decoupled", "seed": 0}, labels={"step_size": "decoupled"}
            ),
        ),
    ),
    Figure(
        "isometry",
        "Orthogonal weights keep signals and gradients alive at depth 100",
        "(a) Singular values of a product of 20 random 200 × 200 matrices; Gaussian ones lose "
        "almost every direction. (b) Singular values of the Jacobian of a tanh net of 100 "
        "layers at gain 1.05, just above the critical one; the Gaussian ones end at the rounding "
        "floor. (c) Mean square activity from layer to layer in orthogonal tanh nets, beside "
        "mean-field theory (dashed): it dies below gain 1 and settles above.",
        (
            curves(
                "X4", "product", over="index", each="start", at={"product_depth": 20, "seed": 0},
                title="Product of 20", log="y",
            ),
            curves(
                "X4", "jacobian", over="index", each="start", at={"gain": 1.05, "seed": 0},
                title="Tanh net, 100 layers", log="y",
            ),
            curves(
                "X4", "activity", over="layer", each="gain", at={"start": "orthogonal", "seed": 0},
                title="Activity", more=series(
                    "X4", "activity_theory", over="layer", each="gain", style="dash",
                    label="theory",
                ), log="xy",
            ),
        ),
    ),
)  # fmt: skip
