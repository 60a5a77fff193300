"""The figures of the study of singular values."""

from __future__ import annotations

from typing import Any

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

SLOPES = ("ReLU", "leaky ReLU", "absolute value")
BY_SKIP: dict[str, Any] = {"each": "rho", "only": (0, 1)}


def _against_skip(scale: float) -> Panel:
    bounds = tuple(
        Series(
            "X1",
            "bound_median",
            "rho",
            "bound",
            {"scale": scale, "activation": name},
            style="dash",
            group=name,
        )
        for name in SLOPES
    )
    return curves(
        "X1",
        "condition_median",
        over="rho",
        each="activation",
        only=SLOPES,
        at={"scale": scale},
        error="condition_median_error",
        more=bounds,
        title=f"weights of scale c = {scale:g}",
        y_label="median condition number of DW + ρI",
        log="y",
    )


def _against_depth(y: str, title: str, log: str) -> Panel:
    error = f"{y}_error"
    at = {"scale": 0.5}
    return curves("X2", y, over="depth", at=at, error=error, title=title, log=log, **BY_SKIP)


def _descent(name: str) -> Panel:
    lines: list[Series] = []
    for rho in (0, 1):
        at: dict[str, Scalar] = {"activation": name, "rho": rho}
        told, first, group = f"ρ = {rho}, first region, seed 0", at | {"seed": 0}, f"rho {rho}"
        lines += [
            Series("X4", "loss", "step", f"ρ = {rho}", at, each="seed", group=group),
            Series("X4", "loss_theory", "step", told, first, style="dash", group=group),
        ]
    levels = (Level(1e-3, "end"),)
    return Panel(tuple(lines), title=name, x_log=True, y_log=True, levels=levels)


def _digits(y: str, over: str, title: str, error: str = "") -> Panel:
    return curves("X5", y, over=over, title=title, error=error, log="y", **BY_SKIP)


FIGURES = (
    Figure(
        "skip",
        "A skip brings the condition number of a layer down to a few",
        "Median condition number of random layers DW + ρI, 64 wide, a random half of the slopes "
        "switched off, beside the bound (ρ + s₁)/(ρ − s₁) (dashed, where s₁ < ρ), for weights of "
        "scale c (a) 0.2, (b) 0.5, (c) 1. Without a skip it is near a thousand, and infinite for "
        "ReLU (not drawn). The larger the weights, the stronger the skip must be: at c = 1 nothing "
        "is guaranteed at ρ = 1.",
        tuple(_against_skip(scale) for scale in (0.2, 0.5, 1.0)),
    ),
    Figure(
        "paths",
        "Singular values move along the skip at the cosine between their vectors",
        "(a) All singular values of a Gaussian matrix plus ρI, followed branch by branch, beside "
        "the integral of their slopes (dashed, hidden behind). Small ones may fall at first; "
        "none moves faster than ρ. (b) The slopes u·v, which tend to 1 as the skip "
        "outweighs the matrix; where the smallest singular value meets zero its slope changes "
        "sign.",
        (
            curves(
                "X3",
                "value",
                over="rho",
                each="branch",
                theory="integral",
                title="Singular values",
            ),
            curves(
                "X3",
                "slope",
                over="rho",
                each="branch",
                title="Slopes",
                levels=(Level(1.0, "largest possible"),),
            ),
        ),
    ),
    Figure(
        "depth",
        "Over depth condition numbers multiply, and a skip keeps the landscape steady",
        "Products of p leaky layers with weights of scale c = 0.5. (a) Without a skip the median "
        "condition number grows a hundredfold per layer. (b) After 4 of 64 slopes per layer "
        "are flipped, some singular value changes by half of itself or more without a skip, by a "
        "few per cent with one. Error bands: standard error of the median.",
        (
            _against_depth("log_median", "Condition number", ""),
            _against_depth("change_median", "Change under flipped slopes", "y"),
        ),
    ),
    Figure(
        "training",
        "One layer trains faster above which there are skips",
        "The first of four layers trained alone on one example, all seeds, at the step size "
        "1/sharpness, until the loss is a thousandth: (a) leaky ReLU, (b) absolute value. Dashed: "
        "what the quadratic of the first region alone predicts for one seed. Descents leave that "
        "region within a few steps, and without skips the next ones can be so much steeper that "
        "the loss oscillates.",
        (_descent("leaky ReLU"), _descent("absolute value")),
    ),
    Figure(
        "width",
        "Without a skip the condition number grows with the width",
        "(a) Mean logarithm of the condition number of Gaussian matrices, less log n, beside "
        "Edelman's limit: κ grows linearly in n. (b) The largest singular value, which decides "
        "how strong a skip must be, approaches 2c, or 1.707c with half of the rows zeroed. "
        "Bars: standard errors.",
        (
            curves(
                "gaussian",
                "offset_mean",
                over="size",
                style="points",
                error="offset_mean_error",
                title="Condition number",
                log="x",
                levels=(Level(("gaussian", "offset_theory"), "Edelman"),),
            ),
            curves(
                "gaussian",
                "norm_mean",
                over="size",
                labels={"norm_mean": "W"},
                style="points",
                error="norm_mean_error",
                more=series(
                    "gaussian",
                    "relu_norm_mean",
                    over="size",
                    label="DW, half zeroed",
                    style="points",
                    error="relu_norm_mean_error",
                ),
                title="Largest singular value",
                log="x",
                levels=(
                    Level(("gaussian", "norm_theory"), "limit"),
                    Level(("gaussian", "relu_norm_theory"), "limit, half zeroed"),
                ),
            ),
        ),
    ),
    Figure(
        "digits",
        "The same inside nets trained on digits",
        "A layer near the input of a leaky-ReLU net trained on handwritten digits, image by image. "
        "(a) Singular values of Q, relative to the largest (median over images, band: their "
        "spread). (b) Condition number of the next layer's local matrix, images in order. "
        "(c) The largest relative change of a singular value of Q where the nearest wall "
        "of the region is crossed.",
        (
            _digits("relative", "rank", "Spectrum of Q", "relative_error"),
            _digits("local", "image", "Next layer"),
            _digits("jump", "image", "Across a wall"),
        ),
    ),
)
