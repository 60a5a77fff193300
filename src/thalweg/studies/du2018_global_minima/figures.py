"""The figures of the study of wide nets."""

from __future__ import annotations

from typing import Any

from thalweg.lab.curves import curves, series
from thalweg.models.wide import ARCHITECTURES
from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

NETS = ARCHITECTURES[:2]
POINTS: dict[str, Any] = {"over": "width", "each": "net", "style": "points", "log": "xy"}
WAY: dict[str, Any] = {"over": "step", "each": "width", "log": "y"}


def _loss(net: str) -> Panel:
    at: dict[str, Scalar] = {"net": net, "draw": 0}
    straight = Series("X2", "linearised", "step", "linearised", at, "width", "", "dash", "loss")
    widest = at | {"width": 1024}
    bound = series("X2", "bound", over="step", at=widest, label="bound", style="dash")
    return curves("X2", "loss", at=at, more=(straight, *bound), title=net, **WAY)


def _over_seeds(y: str, title: str, *more: Series) -> Panel:
    mean = Series("X3", f"{y}_mean", "width", "mean over seeds", error=f"{y}_mean_error")
    each = Series("X3", y, "width", "seed", each="seed", style="points")
    return Panel((each, mean, *more), title=title, x_log=True, y_log=True)


FIGURES = (
    Figure(
        "concentration",
        "Wide nets start with the Gram matrix of the infinitely wide one",
        "(a) Relative distance of G^(H), the Gram matrix of gradients by the last hidden layer, "
        "of random nets from its limit K^(H), three hidden layers of softplus; bars are "
        "standard errors. It falls as the square root of the width. (b) The mean over the "
        "random nets beside what chance leaves of it (dashed), so the limit is the right one.",
        (
            curves(
                "X1",
                "rms",
                only=ARCHITECTURES,
                error="rms_error",
                title="Single nets",
                **POINTS,
            ),
            curves(
                "X1",
                "bias",
                only=ARCHITECTURES,
                more=tuple(
                    Series("X1", "bias_error", "width", "chance", {"net": n}, style="dash", group=n)
                    for n in ARCHITECTURES
                ),
                title="Mean over nets",
                **POINTS,
            ),
        ),
    ),
    Figure(
        "depth",
        "Depth is paid exponentially without skips, as a power with them",
        "Smallest eigenvalue lambda_0 of K^(H) relative to two hidden layers, four data sets, no "
        "training. Without skips each layer costs a factor of about three; with skips "
        "lambda_0 follows 1/H^2 (dashed). The width that the theorem asks for grows accordingly.",
        (
            Panel(
                series=(
                    *(
                        Series("X1-depth", "relative", "depth", n, {"net": n}, each="seed", group=n)
                        for n in NETS
                    ),
                    Series("X1-depth", "square_law", "depth", "(2/H)²", style="dash"),
                ),
                y_label="λ₀(H) / λ₀(2)",
                y_log=True,
            ),
        ),
    ),
    Figure(
        "training",
        "Descent finds a global minimum at a geometric rate, far faster than the bound",
        "Loss of tanh nets with three hidden layers on eight labelled points, all layers trained, "
        "step size 0.5/λ_max(G(0)), first start: (a) without skips, (b) with them. Dashed in the "
        "same colour: the net linearised at its start. The wider the net, the nearer the two. "
        "The theorem's bound, dashed at the top for a width of 1024, holds at every width and is "
        "loose by orders of magnitude.",
        tuple(_loss(net) for net in NETS),
    ),
    Figure(
        "lazy",
        "Gram matrix and weights hardly move in wide nets",
        "(a) How far G^(H) has moved at the end, relative to its start, mean over starts: it "
        "falls with the width. (b) The distance that the second layer's weights have "
        "moved does not depend on the width, so relative to their size, about m, it is "
        "nothing. (c) λ_min(G^(H)) on the way, fully connected; it stays above λ₀/2, the "
        "dotted line.",
        (
            curves(
                "X2",
                "gram_drift_end_mean",
                only=NETS,
                error="gram_drift_end_mean_error",
                title="Gram matrix",
                **POINTS,
            ),
            curves(
                "X2",
                "moved_end_mean",
                only=NETS,
                at={"layer": 2},
                error="moved_end_mean_error",
                title="Second layer",
                **POINTS,
            ),
            curves(
                "X2",
                "gram_smallest",
                over="record",
                each="width",
                at={"net": "fully-connected", "draw": 0},
                title="Smallest eigenvalue",
                levels=(Level(("X2", "half_limit"), "λ₀/2"),),
            ),
        ),
    ),
    Figure(
        "two-layers",
        "Two layers of ReLUs: any width learns, a wide one without moving",
        "One trained layer of ReLUs, Gaussian labels. (a) Loss beside the theorem's bound "
        "(dashed), first seed. (b) Fraction of pairs of neuron and example whose activation "
        "has changed at the end. (c) The way of the neuron that went farthest, and the "
        "theorem's bound on it (dashed). Both fall as m^(-1/2).",
        (
            curves(
                "X3",
                "loss",
                at={"seed": 0},
                more=(
                    Series(
                        "X3", "bound", "step", "bound", {"seed": 0}, "width", "", "dash", "loss"
                    ),
                ),
                title="Loss",
                **WAY,
            ),
            _over_seeds("pattern_change", "Patterns"),
            _over_seeds(
                "moved",
                "Neurons",
                *series("X3", "moved_bound_mean", over="width", label="bound", style="dash"),
            ),
        ),
    ),
)
