"""The figures of the study of Kronecker trend filtering."""

from __future__ import annotations

from functools import partial
from typing import Any

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel, Series

MEAN = "mean squared error (signal²)"


def risks(data: str, over: str, **panel: Any) -> Panel:
    """Trend filtering with its standard error over draws, and the linear smoothers, exact."""
    points = partial(series, data, over=over, style="points")
    drawn = (*points("trend", error="trend_error"), *points("laplacian"), *points("eigenmap"))
    return curves(data, (), more=drawn, y_label=MEAN, **panel)


def freedom(y: str) -> tuple[Series, ...]:
    """Degrees of freedom by order, with their standard error."""
    return series("D", y, over="order", style="points", error=f"{y}_error")


FIGURES = (
    Figure(
        "spikes",
        "A spike that no linear smoother finds",
        "One spike as high as the canonical total variation allows, unit noise: mean squared error "
        "at the best penalty, of trend filtering over draws with its standard error, of linear "
        "smoothers exact. (a) On a plane linear smoothers stay at a sixteenth. (b) In space they "
        "get worse.",
        (
            risks("A2", "side", log="xy", levels=(Level(1 / 16, "1/16"),)),
            risks("A3", "side", log="xy"),
        ),
    ),
    Figure(
        "step",
        "A step on a line: both improve, at different rates",
        "A step of height 1 in noise 1/2: (a) linear smoothers fall as n^(-1/2), trend filtering "
        "faster. (b) A pyramid on a plane, by order: trend filtering and linear smoothers. Bars "
        "are standard errors over draws.",
        (risks("B", "side", log="xy"), risks("C", "order")),
    ),
    Figure(
        "freedom",
        "Degrees of freedom are counted, not simulated",
        "8 x 8, penalty 1: the covariance of fit and data and the mean nullity of the differences "
        "without active rows, for orders 0 and 1, with their standard errors over draws.",
        (Panel((*freedom("covariance"), *freedom("nullity")), y_label="degrees of freedom"),),
    ),
)
