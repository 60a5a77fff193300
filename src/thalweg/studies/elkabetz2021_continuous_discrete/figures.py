"""The figures of the study of continuous and discrete optimisation: variables of its tables."""

from __future__ import annotations

from typing import Any

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

EIGENVALUE = "smallest Hessian eigenvalue (loss/parameter²)"
DISTANCE = "distance (parameter)"
REFINED = (2, 5, 10, 20)
RELU: dict[str, Scalar] = {"model": "relu", "refinement": 20}
CONV: dict[str, Scalar] = {"model": "conv", "refinement": 5}


def _first_seed(model: str) -> dict[str, Scalar]:
    return {"model": model, "seed": 0}


def _refined(y: str, model: str, title: str, **options: Any) -> Panel:
    """A line for each of the refined runs of one net."""
    at, labels = _first_seed(model), {y: "step η/r"}
    return curves("X3", y, each="refinement", at=at, labels=labels, title=title, **options)


def _losses(model: str, title: str) -> Panel:
    at = _first_seed(model)
    flow = series("X3", "flow_loss", at=at, label="gradient flow", style="dash")
    return _refined("loss", model, title, more=flow)


def _paths(model: str, title: str) -> Panel:
    at = _first_seed(model)
    way = series("X3", "displacement", at=at, label="travelled", style="dash")
    return _refined("distance", model, title, only=REFINED, more=way, y_label=DISTANCE)


def _from_flow(model: str, title: str) -> Panel:
    return _refined("flow_distance", model, title, error="flow_distance_error", log="y")


def _published(y: str, title: str, **options: Any) -> Panel:
    what = f"published_{y}"
    ends = Series(
        "X3-published", what, "time", "published", each="model", style="points", group="model"
    )
    return curves("X3-published", y, each="model", more=(ends,), title=title, **options)


def _by_seed(y: str, label: str, model: str, **options: Any) -> tuple[Series, ...]:
    return series("X4", y, each="seed", at={"model": model}, label=label, **options)


def _curvature(model: str, title: str) -> Panel:
    tracked = _by_seed("smallest_eigenvalue", "matrix-free", model)
    whole = _by_seed("path_min_eig", "whole Hessian", model, over="checkpoint", style="points")
    return Panel(tracked + whole, title, y_label=EIGENVALUE, levels=(Level(0.0),))


def _euler(depth: int) -> Panel:
    at, title = {"chain_depth": depth}, f"{depth} weights"
    return curves("X7", "scaled_distance", each="r0", at=at, theory="leading_error", title=title)


def _certificate(y: str, label: str, style: str = "line") -> tuple[Series, ...]:
    return (Series("X8", y, "r0", label, each="depth", style=style, group="depth"),)


FIGURES = (
    Figure(
        "refinement-linear",
        "A linear net: smaller steps, the same path",
        "Gradient descent on digits with step size η and with η/r, at equal training time. "
        "(a) The losses, that of gradient flow among them, lie on each other. (b) The distance "
        "travelled (dashed) dwarfs the distances to the refined runs. (c) On a logarithmic "
        "scale the distance from gradient flow is seen to be proportional to the step size: "
        "Euler's method has order one.",
        (
            _losses("linear", "Loss"),
            _paths("linear", "Distance"),
            _from_flow("linear", "Distance from gradient flow"),
        ),
    ),
    Figure(
        "refinement-relu",
        "Nets with kinks: the same, but for a branch now and then",
        "The same for a ReLU net and a convolutional net. (a), (b) At quick scale the seed "
        "shown takes another branch at a kink, which about one seed in fifteen does; even so "
        "the path is followed to a few per cent and the losses cannot be told apart. (c) The "
        "distances to refined runs for all seeds, and (d) those of the convolutional net to "
        "gradient flow, with the flow's own estimated error: over kinks it is larger.",
        (
            _losses("relu", "ReLU: loss"),
            _paths("relu", "ReLU: distance"),
            Panel(
                series("X3", "distance", each="seed", at=RELU, label="ReLU, r = 20")
                + series("X3", "distance", each="seed", at=CONV, label="conv, r = 5"),
                title="All seeds",
                y_label=DISTANCE,
                y_log=True,
            ),
            _from_flow("conv", "Convolutional: distance from gradient flow"),
        ),
    ),
    Figure(
        "curvature",
        "The landscape is roughly convex where gradient descent goes",
        "Smallest Hessian eigenvalue. (a), (b) Along training on digits: a matrix-free "
        "estimate, and at four times from the whole Hessian. It rises towards zero as the loss "
        "falls. (c) At Gaussian random points with the norm of the trained weights it is "
        "several times more negative, and at twice the norm many times.",
        (
            _curvature("linear", "Linear net"),
            _curvature("relu", "ReLU net"),
            Panel(
                _by_seed("random_min_eig", "linear", "linear", over="radius", style="points")
                + _by_seed("random_min_eig", "relu", "relu", over="radius", style="points"),
                title="Random points",
                y_label=EIGENVALUE,
            ),
        ),
    ),
    Figure(
        "certified",
        "The certificate is kept, with room to spare",
        "Deep linear nets with one output and the step size that the theorem certifies. (a) "
        "The distance of descent from the exact flow (solid) stays below what the theorem "
        "allows (dashed), which stays below the radius of the tube. (b) The losses of descent "
        "and flow agree.",
        (
            curves(
                "X2",
                "distance",
                each="setting",
                theory=True,
                title="Distance from gradient flow",
                log="y",
                levels=(Level(0.02, "radius of the tube"),),
            ),
            curves("X2", "loss", each="setting", theory="flow_loss", title="Loss", log="y"),
        ),
    ),
    Figure(
        "certificates",
        "Polynomial, not exponential",
        "(a) The step size that the theorem certifies for following the flow from an aligned "
        "start of size r₀ to loss 1e-4 at distance 0.01. With the curvature known along the "
        "flow (solid) it is a power of r₀; with only its largest value known (dashed) it is "
        "exponentially small. (b) The reason: on the flow the smallest eigenvalue (lines: "
        "theory, points: whole Hessian) is only mildly negative, and near zero at small "
        "weights (for three layers or more) and at the minimum.",
        (
            Panel(
                _certificate("step_size", "path known")
                + _certificate("step_size_constant", "path unknown", "dash"),
                title="Certified step size",
                x_log=True,
                y_log=True,
            ),
            curves(
                "X5",
                "aligned_min_eig",
                over="product",
                each="layers",
                theory="aligned_exact",
                style="points",
                title="Smallest eigenvalue on the flow",
                y_label=EIGENVALUE,
            ),
        ),
    ),
    Figure(
        "euler-error",
        "How far descent is from flow, in closed form",
        "(a), (b) Chains of equal scalar weights from products r₀: the distance of descent "
        "from flow over the step size (solid) and Euler's leading error (dashed) lie on each "
        "other. The error is made while the loss falls, is forgotten afterwards, and at its "
        "worst grows only like the logarithm of 1/r₀. (c) The norm of the product on the exact "
        "flow of a net with three layers (dashed) and as followed by a solver.",
        (
            _euler(3),
            _euler(4),
            curves(
                "X6",
                "norm",
                each="cosine",
                at={"depth": 3},
                theory="exact_norm",
                title="Exact flow",
            ),
        ),
    ),
    Figure(
        "published",
        "On images of MNIST the paper's nets end where its curves end",
        "The paper's nets on 1000 images of MNIST, one seed, against training time: (a) loss, (b) "
        "distance of the weights from their start. Points: where the published curves end, read "
        "off the paper's figures; the images are others of the same kind.",
        (_published("loss", "Loss", log="y"), _published("displacement", "Distance travelled")),
    ),
)
