"""The figures of the study of wide nets."""

from __future__ import annotations

from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

NETS = ("fully-connected", "resnet")
STEP, WIDTH = "step k of gradient descent", "width m"


def _wide(y: str, x: str, name: str, select: dict[str, Scalar], **options: str) -> Series:
    return Series("X2", y, x, name, select, each="width", **options)


def _loss(net: str) -> Panel:
    at: dict[str, Scalar] = {"net": net, "draw": 0}
    return Panel(
        series=(
            _wide("loss", "step", "trained", at, group="width"),
            _wide("linearised", "step", "linearised", at, style="dash", group="width"),
            Series("X2", "bound", "step", "bound, m = 1024", at | {"width": 1024}, style="dash"),
        ),
        title=net,
        x_label=STEP,
        y_label="loss L",
        y_log=True,
    )


def _by_net(y: str, title: str, y_label: str, select: dict[str, Scalar] | None = None) -> Panel:
    return Panel(
        series=tuple(
            Series(
                "X2",
                f"{y}_mean",
                "width",
                net,
                {"net": net, **(select or {})},
                error=f"{y}_error",
                style="points",
                group=net,
            )
            for net in NETS
        ),
        title=title,
        x_label=WIDTH,
        y_label=y_label,
        x_log=True,
        y_log=True,
    )


def _two_layers(y: str, title: str, y_label: str, *more: Series) -> Panel:
    return Panel(
        series=(
            Series("X3", y, "width", "seed", each="seed", style="points"),
            Series("X3", f"{y}_mean", "width", "mean over seeds", error=f"{y}_mean_error"),
            *more,
        ),
        title=title,
        x_label=WIDTH,
        y_label=y_label,
        x_log=True,
        y_log=True,
    )


FIGURES = (
    Figure(
        "concentration",
        "Wide nets start with the Gram matrix of the infinitely wide one",
        "Left: relative distance of G^(H), the Gram matrix of gradients by the last hidden layer, "
        "of random nets from its limit K^(H), three hidden layers of softplus; bars are "
        "standard errors. It falls as the square root of the width. Right: the mean over the "
        "random nets beside what chance leaves of it (dashed), so the limit is the right one.",
        (
            Panel(
                series=tuple(
                    Series("X1", "rms", "width", n, {"net": n}, error="rms_error", style="points")
                    for n in (*NETS, "convolutional-resnet")
                ),
                title="Single nets",
                x_label=WIDTH,
                y_label="relative distance (rms)",
                x_log=True,
                y_log=True,
            ),
            Panel(
                series=tuple(
                    Series("X1", y, "width", f"{n}, {what}", {"net": n}, style=style, group=n)
                    for n in (*NETS, "convolutional-resnet")
                    for y, what, style in (
                        ("bias", "mean", "points"),
                        ("bias_error", "chance", "dash"),
                    )
                ),
                title="Mean over nets",
                x_label=WIDTH,
                y_label="relative distance",
                x_log=True,
                y_log=True,
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
                x_label="hidden layers H",
                y_label="λ₀(H) / λ₀(2)",
                y_log=True,
            ),
        ),
    ),
    Figure(
        "training",
        "Descent finds a global minimum at a geometric rate, far faster than the bound",
        "Loss of tanh nets with three hidden layers on eight labelled points, all layers trained, "
        "step size 0.5/λ_max(G(0)), first start. Dashed in the same colour: the net linearised at "
        "its start. The wider the net, the nearer the two. The theorem's bound, dashed at the "
        "top, holds at every width and is loose by orders of magnitude.",
        (_loss("fully-connected"), _loss("resnet")),
    ),
    Figure(
        "lazy",
        "Gram matrix and weights hardly move in wide nets",
        "Left: how far G^(H) has moved at the end, relative to its start, mean over starts: it "
        "falls with the width. Middle: the distance that the second layer's weights have "
        "moved does not depend on the width, so relative to their size, about m, it is "
        "nothing. Right: λ_min(G^(H)) on the way, fully connected; it stays above λ₀/2, the "
        "dotted line.",
        (
            _by_net("gram_drift", "Gram matrix", "relative drift"),
            _by_net("moved", "Second layer", "distance moved, |ΔW|", {"layer": 2}),
            Panel(
                series=(
                    _wide(
                        "gram_smallest",
                        "record",
                        "λ_min",
                        {"net": "fully-connected", "draw": 0},
                    ),
                ),
                title="Smallest eigenvalue",
                x_label=STEP,
                y_label="λ_min(G^(H)(k)) (output²/parameter²)",
                levels=(Level(("X2", "half_limit"), "λ₀/2"),),
            ),
        ),
    ),
    Figure(
        "two-layers",
        "Two layers of ReLUs: any width learns, a wide one without moving",
        "One trained layer of ReLUs, Gaussian labels. Left: loss beside the theorem's bound "
        "(dashed), first seed. Middle: fraction of pairs of neuron and example whose activation "
        "has changed at the end. Right: the way of the neuron that went farthest, and the "
        "theorem's bound on it (dashed). Both fall as m^(-1/2).",
        (
            Panel(
                series=(
                    Series(
                        "X3", "loss", "step", "trained", {"seed": 0}, each="width", group="width"
                    ),
                    Series(
                        "X3",
                        "bound",
                        "step",
                        "bound",
                        {"seed": 0},
                        each="width",
                        style="dash",
                        group="width",
                    ),
                ),
                title="Loss",
                x_label=STEP,
                y_label="loss L",
                y_log=True,
            ),
            _two_layers("pattern_change", "Patterns", "fraction changed"),
            _two_layers(
                "moved",
                "Neurons",
                "distance moved, |Δw|",
                Series("X3", "moved_bound_mean", "width", "bound", style="dash"),
            ),
        ),
    ),
)
