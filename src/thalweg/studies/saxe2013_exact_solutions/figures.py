"""The figures of the study of exact linear dynamics."""

from __future__ import annotations

from typing import Any

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel, Scalar

BOUNDS = ("sharpness_bound", "stability_bound")
FASTEST = "fastest step size (step size)"


def _modes(net: str, **panel: Any) -> Panel:
    at: dict[str, Scalar] = {"net": net, "seed": 0}
    one_of_each = (1, 2, 3, 5)
    return curves("X1", "strength", each="mode", only=one_of_each, at=at, theory=True, **panel)


def _half(net: str, **panel: Any) -> Panel:
    return curves(
        "X1", "half_mean", over="singular_value", at={"net": net}, theory=True, style="points",
        error="half_spread", labels={"half_mean": "half rise"}, log="xy",
        y_label="time of half rise (step size)", **panel,
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
        "sharp transitions, in the order of the singular values.",
        (
            _modes("linear", title="Linear net", caption="The linear net follows the closed form."),
            _modes(
                "tanh", title="Tanh net", caption="The tanh net keeps the order and lags a little, "
                "as its units saturate.",
            ),
        ),
    ),
    Figure(
        "half-rise",
        "Learning time is inversely proportional to the singular value",
        "Time at which each mode has risen to half of its final strength, mean and standard "
        "deviation over seeds, beside the closed form from the same starts. Late modes lag the "
        "closed form a little: until they rise they compete with earlier ones, which the "
        "decoupled solution leaves out.",
        (_half("linear", title="Linear net"), _half("tanh", title="Tanh net")),
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
        "Random nets 200 wide, orthogonal and Gaussian, one draw.",
        (
            curves(
                "X4", "product", over="index", each="start", at={"product_depth": 20, "seed": 0},
                title="Product of 20", log="y", y_label="singular value (1)",
                levels=(Level(("X4", "product_floor"), "rounding"),),
                caption="A product of 20 matrices; Gaussian ones lose almost every direction.",
            ),
            curves(
                "X4", "jacobian", over="index", each="start", at={"gain": 1.05, "seed": 0},
                title="Tanh net, 100 layers", log="y", y_label="singular value (1)",
                caption="The Jacobian of a tanh net of 100 layers at gain 1.05, just above the "
                "critical one; the Gaussian values end at the rounding floor.",
            ),
            curves(
                "X4", "activity", over="layer", each="gain", at={"start": "orthogonal", "seed": 0},
                title="Activity", log="xy", y_label="mean square activity (activity²)",
                labels={"activity": "net"}, more=series(
                    "X4", "activity_theory", over="layer", each="gain", style="dash",
                    label="mean-field theory",
                ),
                caption="Mean square activity from layer to layer in orthogonal tanh nets: it dies "
                "below gain 1 and settles above.",
            ),
        ),
    ),
)  # fmt: skip
