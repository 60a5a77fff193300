"""The figures of the study of adaptive geometry."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

SHORT = (("SGD with momentum", "SGD"), ("Adam", "Adam"))
UNIFORM = (Level(1.0, "uniform diagonal"),)


def _both(data: str, y: str, x: str, at: dict[str, Scalar], style: str, **panel: object) -> Panel:
    """SGD and Adam, a line or a point for each seed."""
    lines = tuple(
        Series(data, y, x, label, {"optimiser": name, **at}, "seed", style=style)
        for name, label in SHORT
    )
    return Panel(series=lines, y_log=True, **panel)  # type: ignore[arg-type]


def _linear(d: int) -> Panel:
    return _both(
        "X1",
        "ratio",
        "loss",
        {"d": d, "layer": 1},
        "line",
        x_log=True,
        y_label="R_1 (largest / median entry)",
        title=f"{d} hidden units",
        levels=UNIFORM,
    )


def _network(layer: int) -> Panel:
    return _both(
        "X2", "ratio", "level", {"layer": layer}, "points", x_log=True, title=f"layer {layer}"
    )


def _vectors(y: str, title: str) -> Panel:
    return _both(
        "X2",
        y,
        "layer",
        {"level": 0.05},
        "points",
        x_label="layer",
        title=title,
        y_label="largest / median square entry",
    )


MEASURED = tuple(
    Series(
        "X1",
        "matched_ratio",
        "predicted",
        f"{label}, d = {d}",
        {"optimiser": name, "d": d, "fraction": 0.01, "layer": 1},
        style="points",
    )
    for name, label in SHORT
    for d in (16, 64, 128)
)
DIAGONAL = series("X1", "predicted", over="predicted", at={"d": 128}, label="R_pred", style="dash")

FIGURES = (
    Figure(
        "linear-net",
        "At equal loss Adam has a uniform diagonal, gradient descent has not",
        "Ratio of the largest to the median diagonal entry of the Hessian in the first layer of a "
        "two-layer linear net, against the loss it has reached (five seeds; training runs from "
        "right to left). Both optimisers begin at the ratio of their Gaussian start. Adam falls to "
        "1 before the loss does; gradient descent with momentum settles at a value of its own for "
        "every start and keeps it to the end.",
        tuple(_linear(d) for d in (16, 64, 128)),
    ),
    Figure(
        "predicted",
        "The start alone decides the ratio of gradient descent",
        "(a) The ratio at one percent of the first loss against R_pred, which is computed from "
        "the start: descent lies on the diagonal (dashed), Adam at 1. "
        "(b) The mean of R_pred over random starts grows as the logarithm of the number of "
        "hidden units; dashed: the leading term 2 ln d / 0.4549, which it approaches slowly.",
        (
            Panel(
                series=(*MEASURED, *DIAGONAL),
                title="measured against predicted",
                x_label="R_pred from the start",
                y_label="R_1 measured",
                x_log=True,
                y_log=True,
            ),
            curves(
                "X1-expectation",
                "mean",
                over="d",
                labels={"mean": "Monte Carlo"},
                error="mean_error",
                more=series("X1-expectation", "limit", over="d", style="dash"),
                title="mean over starts",
                log="x",
            ),
        ),
    ),
    Figure(
        "epsilon",
        "Adam makes the diagonal uniform only where epsilon is below its gradients",
        "Ratio of the first layer along training by Adam with d = 32, for growing epsilon (five "
        "seeds). The first gradients are as small as the start; an epsilon of their size turns "
        "Adam into gradient descent with momentum, which keeps the uneven start.",
        (
            Panel(
                series=tuple(
                    Series("X1-epsilon", "ratio", "step", f"epsilon {text}", {"epsilon": e}, "seed")
                    for e, text in ((1e-8, "1e-8"), (1e-4, "1e-4"), (1e-2, "1e-2"), (1e-1, "1e-1"))
                ),
                y_log=True,
            ),
        ),
    ),
    Figure(
        "network",
        "In a network that reads digits Adam's diagonal is more uniform in every layer",
        "R_med of the four layers on 200 fixed coordinates each, where SGD with momentum and Adam "
        "have the same training loss (a point for each seed; training runs from right to left). "
        "At a loss near 1.4 the two overlap in places; at small losses Adam lies below in every "
        "layer, mostly by a factor of three and more.",
        tuple(_network(layer) for layer in (1, 2, 3, 4)),
    ),
    Figure(
        "singular-vectors",
        "Adam's leading singular vectors are more even",
        "Largest over median square entry of the leading (a) left, output, and (b) right, input, "
        "singular vectors of every weight matrix at loss 0.05, a point for each seed. The paper's "
        "mechanism carries over to the network in part: Adam's vectors are more even in most "
        "layers, though the weights are far from rank one here.",
        (_vectors("left", "left vectors"), _vectors("right", "right vectors")),
    ),
    Figure(
        "estimators",
        "Hutchinson's estimate of the diagonal is noise until many products are spent",
        "Relative error of the estimated diagonal at Adam's iterate of loss 0.05, layer by layer "
        "(root mean square over draws with its standard error), and dashed the error that the "
        "estimate tells of itself. It falls as one over the root of the number of products, but "
        "starts at several times the diagonal: the largest and the median entry are then those of "
        "the noise, so R_med needs exact entries on a sample.",
        (
            curves(
                "X2-estimators",
                "error",
                over="products",
                each="layer",
                only=(1, 2, 3, 4),
                theory="error_told",
                error="error_error",
                style="points",
                log="xy",
                y_label="relative error of the diagonal",
                levels=(Level(1.0, "as large as the diagonal"),),
            ),
        ),
    ),
)
