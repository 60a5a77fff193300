"""The figures of `continuous_vs_discrete`: variables of its data sets, named."""

from __future__ import annotations

from typing import Any

from thalweg.report.spec import Figure, Level, Panel, Series

TIME, DISTANCE = "training time", "distance (parameter)"
EIGENVALUE = "eigenvalue (loss/parameter²)"


def _losses(model: str, title: str) -> Panel:
    select: dict[str, Any] = {"model": model, "seed": 0}
    lines = Series(data="X3", y="loss", each="refinement", select=select, label="step η/r")
    flow = Series(data="X3", y="flow_loss", select=select, label="gradient flow", style="dash")
    return Panel((lines, flow), title=title, x_label=TIME, y_label="loss")


def _paths(model: str, title: str) -> Panel:
    select: dict[str, Any] = {"model": model, "seed": 0}
    way = Series(data="X3", y="displacement", select=select, label="travelled", style="dash")
    gaps = Series(data="X3", y="distance", each="refinement", select=select, label="step η/r")
    return Panel((way, gaps), title=title, x_label=TIME, y_label=DISTANCE)


def _from_flow(model: str, title: str) -> Panel:
    gaps = Series(
        data="X3",
        y="flow_distance",
        each="refinement",
        select={"model": model, "seed": 0},
        error="flow_distance_error",
        label="step η/r",
    )
    return Panel((gaps,), title=title, x_label=TIME, y_label=DISTANCE, y_log=True)


def _euler(depth: int) -> Panel:
    shared: dict[str, Any] = {"data": "X7", "each": "r0", "select": {"chain_depth": depth}}
    return Panel(
        (
            Series(y="scaled_distance", label="measured", group="r0", **shared),
            Series(y="leading_error", label="theory", group="r0", style="dash", **shared),
        ),
        title=f"{depth} weights",
        x_label=TIME,
        y_label="distance / η",
    )


FIGURES = (
    Figure(
        name="refinement-linear",
        title="A linear net: smaller steps, the same path",
        caption=(
            "Gradient descent on digits with step size η and with η/r, at equal training time. "
            "The losses, that of gradient flow among them, lie on each other. The distance "
            "travelled (dashed) dwarfs the distances to the refined runs. On a logarithmic scale "
            "the distance from gradient flow is seen to be proportional to the step size: "
            "Euler's method has order one."
        ),
        panels=(
            _losses("linear", "Loss"),
            _paths("linear", "Distance"),
            _from_flow("linear", "Distance from gradient flow"),
        ),
    ),
    Figure(
        name="refinement-relu",
        title="Nets with kinks: the same, but for a branch now and then",
        caption=(
            "The same for a ReLU net and a convolutional net. At quick scale the seed shown takes "
            "another branch at a kink, which about one seed in fifteen does; even so the path is "
            "followed to a few per cent and the losses cannot be told apart. Then the distances "
            "to refined runs for all seeds, and those of the convolutional net to gradient flow, "
            "with the flow's own estimated error: over kinks it is larger."
        ),
        panels=(
            _losses("relu", "ReLU: loss"),
            _paths("relu", "ReLU: distance"),
            Panel(
                (
                    Series(
                        data="X3",
                        y="distance",
                        each="seed",
                        select={"model": "relu", "refinement": 20},
                        label="ReLU, r = 20",
                    ),
                    Series(
                        data="X3",
                        y="distance",
                        each="seed",
                        select={"model": "conv", "refinement": 5},
                        label="conv, r = 5",
                    ),
                ),
                title="All seeds",
                x_label=TIME,
                y_label=DISTANCE,
                y_log=True,
            ),
            _from_flow("conv", "Convolutional: distance from gradient flow"),
        ),
    ),
    Figure(
        name="curvature",
        title="The landscape is roughly convex where gradient descent goes",
        caption=(
            "Smallest Hessian eigenvalue along training on digits: a matrix-free estimate, and at "
            "four times from the whole Hessian. It rises towards zero as the loss falls. At "
            "Gaussian random points with the norm of the trained weights it is several times more "
            "negative, and at twice the norm many times."
        ),
        panels=(
            *(
                Panel(
                    (
                        Series(
                            data="X4",
                            y="smallest_eigenvalue",
                            each="seed",
                            select={"model": model},
                            label="matrix-free",
                        ),
                        Series(
                            data="X4",
                            y="path_min_eig",
                            x="checkpoint",
                            each="seed",
                            select={"model": model},
                            label="whole Hessian",
                            style="points",
                        ),
                    ),
                    title=title,
                    x_label=TIME,
                    y_label=EIGENVALUE,
                    levels=(Level(0.0),),
                )
                for model, title in (("linear", "Linear net"), ("relu", "ReLU net"))
            ),
            Panel(
                tuple(
                    Series(
                        data="X4",
                        y="random_min_eig",
                        x="radius",
                        each="seed",
                        select={"model": model},
                        label=model,
                        style="points",
                    )
                    for model in ("linear", "relu")
                ),
                title="Random points",
                x_label="norm / norm of the trained weights",
                y_label=EIGENVALUE,
            ),
        ),
    ),
    Figure(
        name="certified",
        title="The certificate is kept, with room to spare",
        caption=(
            "Deep linear nets with one output and the step size that the theorem certifies: "
            "the distance of descent from the exact flow (solid) stays below what the theorem "
            "allows (dashed), which stays below the radius of the tube, and the losses of "
            "descent and flow agree."
        ),
        panels=(
            Panel(
                (
                    Series(
                        data="X2", y="distance", each="setting", label="measured", group="setting"
                    ),
                    Series(
                        data="X2",
                        y="bound",
                        each="setting",
                        label="allowed",
                        group="setting",
                        style="dash",
                    ),
                ),
                title="Distance from gradient flow",
                x_label=TIME,
                y_label=DISTANCE,
                y_log=True,
                levels=(Level(0.02, "radius of the tube"),),
            ),
            Panel(
                (
                    Series(data="X2", y="loss", each="setting", label="descent", group="setting"),
                    Series(
                        data="X2",
                        y="flow_loss",
                        each="setting",
                        label="flow",
                        group="setting",
                        style="dash",
                    ),
                ),
                title="Loss",
                x_label=TIME,
                y_label="loss",
                y_log=True,
            ),
        ),
    ),
    Figure(
        name="certificates",
        title="Polynomial, not exponential",
        caption=(
            "The step size that the theorem certifies for following the flow from an aligned "
            "start of size r₀ to loss 1e-4 at distance 0.01. With the curvature known along the "
            "flow (solid) it is a power of r₀; with only its largest value known (dashed) it is "
            "exponentially small. The second panel shows the reason: on the flow the smallest "
            "eigenvalue (lines: theory, points: whole Hessian) is only mildly negative, and near "
            "zero at small weights (for three layers or more) and at the minimum."
        ),
        panels=(
            Panel(
                (
                    Series(
                        data="X8",
                        y="step_size",
                        x="r0",
                        each="depth",
                        label="path known",
                        group="depth",
                    ),
                    Series(
                        data="X8",
                        y="step_size_constant",
                        x="r0",
                        each="depth",
                        label="path unknown",
                        group="depth",
                        style="dash",
                    ),
                ),
                title="Certified step size",
                x_label="r₀",
                y_label="step size",
                x_log=True,
                y_log=True,
            ),
            Panel(
                (
                    Series(
                        data="X5",
                        y="aligned_min_eig",
                        x="product",
                        each="layers",
                        label="whole Hessian",
                        group="aligned",
                        style="points",
                    ),
                    Series(
                        data="X5",
                        y="aligned_exact",
                        x="product",
                        each="layers",
                        label="theory",
                        group="aligned",
                        style="dash",
                    ),
                ),
                title="Smallest eigenvalue on the flow",
                x_label="norm of the product",
                y_label=EIGENVALUE,
            ),
        ),
    ),
    Figure(
        name="euler-error",
        title="How far descent is from flow, in closed form",
        caption=(
            "Chains of equal scalar weights from products r₀: the distance of descent from flow "
            "over the step size (solid) and Euler's leading error (dashed) lie on each other. The "
            "error is made while the loss falls, is forgotten afterwards, and at its worst grows "
            "only like the logarithm of 1/r₀. The last panel shows the norm of the product on "
            "the exact flow of a net with three layers (dashed) and as followed by a solver."
        ),
        panels=(
            _euler(3),
            _euler(4),
            Panel(
                (
                    Series(
                        data="X6",
                        y="norm",
                        each="cosine",
                        select={"depth": 3},
                        label="solver",
                        group="cosine",
                    ),
                    Series(
                        data="X6",
                        y="exact_norm",
                        each="cosine",
                        select={"depth": 3},
                        label="closed form",
                        group="cosine",
                        style="dash",
                    ),
                ),
                title="Exact flow",
                x_label=TIME,
                y_label="norm of the product",
            ),
        ),
    ),
)
