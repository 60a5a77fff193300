"""The figures of the study of singular values."""

from __future__ import annotations

from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

KAPPA = "condition number κ"
RHO = "skip strength ρ"
SLOPES = ("ReLU", "leaky ReLU", "absolute value")


def _against_skip(scale: float) -> Panel:
    shown = []
    for name in SLOPES:
        select: dict[str, Scalar] = {"scale": scale, "activation": name}
        shown += [
            Series("X1", "median", "rho", name, select, error="median_error", group=name),
            Series("X1", "median_bound", "rho", "bound", select, style="dash", group=name),
        ]
    return Panel(
        series=tuple(shown),
        title=f"weights of scale c = {scale:g}",
        x_label=RHO,
        y_label=f"median {KAPPA} of DW + ρI",
        y_log=True,
    )


def _against_depth(y: str, y_label: str, title: str, y_log: bool) -> Panel:
    return Panel(
        series=tuple(
            Series(
                "X2",
                y,
                "depth",
                f"ρ = {rho:g}",
                {"scale": 0.5, "rho": rho},
                error=f"{y}_error",
                group=f"rho {rho:g}",
            )
            for rho in (0, 1)
        ),
        title=title,
        x_label="number of layers p",
        y_label=y_label,
        y_log=y_log,
    )


def _descent(name: str) -> Panel:
    shown = []
    for rho in (0, 1):
        one: dict[str, Scalar] = {"activation": name, "rho": rho}
        group = f"rho {rho}"
        shown += [
            Series("X4", "loss", "step", f"ρ = {rho}", one, each="seed", group=group),
            Series(
                "X4",
                "loss_theory",
                "step",
                f"ρ = {rho}, first region, seed 0",
                one | {"seed": 0},
                style="dash",
                group=group,
            ),
        ]
    return Panel(
        series=tuple(shown),
        title=name,
        x_label="step of gradient descent",
        y_label="loss / initial loss",
        x_log=True,
        y_log=True,
        levels=(Level(1e-3, "end"),),
    )


def _digits(y: str, x: str, title: str, x_label: str, y_label: str, error: str = "") -> Panel:
    return Panel(
        series=tuple(
            Series("X5", y, x, f"ρ = {rho}", {"rho": rho}, error=error, group=f"rho {rho}")
            for rho in (0, 1)
        ),
        title=title,
        x_label=x_label,
        y_label=y_label,
        y_log=True,
    )


FIGURES = (
    Figure(
        "skip",
        "A skip brings the condition number of a layer down to a few",
        "Median condition number of random layers DW + ρI, 64 wide, a random half of the slopes "
        "switched off, beside the bound (ρ + s₁)/(ρ − s₁) (dashed, where s₁ < ρ). Without a skip "
        "it is near a thousand, and infinite for ReLU (not drawn). The larger the weights, the "
        "stronger the skip must be: at c = 1 nothing is guaranteed at ρ = 1.",
        tuple(_against_skip(scale) for scale in (0.2, 0.5, 1.0)),
    ),
    Figure(
        "paths",
        "Singular values move along the skip at the cosine between their vectors",
        "Left: all singular values of a Gaussian matrix plus ρI, followed branch by branch, beside "
        "the integral of their slopes (dashed, hidden behind). Small ones may fall at first; "
        "none moves faster than ρ. Right: the slopes u·v, which tend to 1 as the skip "
        "outweighs the matrix; where the smallest singular value meets zero its slope changes "
        "sign.",
        (
            Panel(
                series=(
                    Series("X3", "value", "rho", "s", each="branch", group="s"),
                    Series("X3", "integral", "rho", "∫u·v", each="branch", style="dash", group="s"),
                ),
                title="Singular values",
                x_label=RHO,
                y_label="singular value of A + ρI",
            ),
            Panel(
                series=(Series("X3", "slope", "rho", "u·v", each="branch", group="s"),),
                title="Slopes",
                x_label=RHO,
                y_label="slope u·v",
                levels=(Level(1.0, "largest possible"),),
            ),
        ),
    ),
    Figure(
        "depth",
        "Over depth condition numbers multiply, and a skip keeps the landscape steady",
        "Products of p leaky layers with weights of scale c = 0.5. Left: without a skip the median "
        "condition number grows a hundredfold per layer. Right: after 4 of 64 slopes per layer "
        "are flipped, some singular value changes by half of itself or more without a skip, by a "
        "few per cent with one. Error bands: standard error of the median.",
        (
            _against_depth("median_log", "median of log₁₀ κ(Q)", "Condition number", False),
            _against_depth(
                "median_change", "largest |Δs| / s", "Change under flipped slopes", True
            ),
        ),
    ),
    Figure(
        "training",
        "One layer trains faster above which there are skips",
        "The first of four layers trained alone on one example, all seeds, at the step size "
        "1/sharpness, until the loss is a thousandth. Dashed: what the quadratic of the first "
        "region alone predicts for one seed. Descents leave that region within a few steps, and "
        "without skips the next ones can be so much steeper that the loss oscillates.",
        (_descent("leaky ReLU"), _descent("absolute value")),
    ),
    Figure(
        "width",
        "Without a skip the condition number grows with the width",
        "Left: mean logarithm of the condition number of Gaussian matrices, less log n, beside "
        "Edelman's limit: κ grows linearly in n. Right: the largest singular value, which decides "
        "how strong a skip must be, approaches 2c, or 1.707c with half of the rows zeroed. "
        "Bars: standard errors.",
        (
            Panel(
                series=(
                    Series("gaussian", "offset", "size", error="offset_error", style="points"),
                ),
                title="Condition number",
                x_label="size n",
                y_label="mean of log κ − log n",
                x_log=True,
                levels=(Level(("gaussian", "offset_theory"), "Edelman"),),
            ),
            Panel(
                series=(
                    Series("gaussian", "norm", "size", "W", error="norm_error", style="points"),
                    Series(
                        "gaussian",
                        "relu_norm",
                        "size",
                        "DW, half zeroed",
                        error="relu_norm_error",
                        style="points",
                    ),
                ),
                title="Largest singular value",
                x_label="size n",
                y_label="mean s₁ / c",
                x_log=True,
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
        "First: singular values of Q, relative to the largest (median over images, band: their "
        "spread). Second: condition number of the next layer's local matrix, images in order. "
        "Third: the largest relative change of a singular value of Q where the nearest wall "
        "of the region is crossed.",
        (
            _digits(
                "relative", "rank", "Spectrum of Q", "rank i", "sᵢ(Q) / s₁(Q)", "relative_error"
            ),
            _digits("local", "image", "Next layer", "share of images", KAPPA),
            _digits("jump", "image", "Across a wall", "share of images", "largest |Δs| / s"),
        ),
    ),
)
