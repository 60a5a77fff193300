"""The figures of the study of implicit acceleration."""

from __future__ import annotations

from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

RATE = "step size η"
OPTIMISERS = ("depth 1", "depth 2", "depth 3", "AdaGrad", "AdaDelta", "AdaDelta, tuned")


def _strengths(case: str) -> Panel:
    select: dict[str, Scalar] = {"case": case, "draw": 0}
    return Panel(
        series=(
            Series("X1", "strength", "time", "factors", select, "rank", group="s"),
            Series(
                "X1", "strength_theory", "time", "rule", select, "rank", style="dash", group="s"
            ),
        ),
        title=case,
        x_label="training time",
        y_label="singular values of the product",
    )


def _curves(data: str, title: str, names: tuple[str, ...]) -> Panel:
    return Panel(
        series=tuple(
            Series(data, "excess", "step", name, {"optimiser": name, "draw": 0}, group=name)
            for name in names
        ),
        title=title,
        x_label="step",
        y_label="loss above the least loss",
        x_log=True,
        y_log=True,
        levels=(Level(1e-5, "counted to here"),),
    )


def _toy(p: int, title: str) -> Panel:
    return Panel(
        series=tuple(
            Series("X3", "updates", "rate", f"depth {N}", {"p": p, "depth": N}, style="points")
            for N in (1, 2, 3)
        ),
        title=title,
        x_label=RATE,
        y_label="updates until both are there",
        x_log=True,
        y_log=True,
    )


FIGURES = (
    Figure(
        "rule",
        "The product of the matrices obeys a rule of its own",
        "Left and middle: singular values of the product while all matrices follow gradient flow "
        "with weight decay, beside the rule for the product alone (dashed, hidden behind). Right: "
        "for finite steps the two differ in proportion to the step size (dashed), once steps are "
        "so short that descent is far from unstable.",
        (
            _strengths("3x4, width 5, depth 2"),
            _strengths("3x4, width 5, depth 3"),
            Panel(
                series=(
                    Series("X1-steps", "deviation", "rate", "draw", each="draw", style="points"),
                    Series("X1-steps", "proportional", "rate", "in proportion", style="dash"),
                ),
                title="Descent, depth 3",
                x_label=RATE,
                y_label="largest distance",
                x_log=True,
                y_log=True,
            ),
        ),
    ),
    Figure(
        "preconditioner",
        "Depth multiplies the gradient by a matrix made of the current weights",
        "Left: eigenvalues of the preconditioner of a Gaussian 3x4 matrix, dense (points) and by "
        "formula (dashed). At depth 1 all are 1; with depth they spread, so that some directions "
        "take larger steps than others. Right: the factor N s^(2-2/N) along a singular direction "
        "grows with what is there already, and is near zero near the origin.",
        (
            Panel(
                series=tuple(
                    Series(
                        "preconditioner",
                        y,
                        "index",
                        f"depth {N}{words}",
                        {"depth": N},
                        style=style,
                        group=f"depth {N}",
                    )
                    for N in (1, 2, 4, 8)
                    for y, words, style in (
                        ("spectrum", "", "points"),
                        ("spectrum_theory", ", formula", "dash"),
                    )
                ),
                title="Spectrum",
                x_label="rank of the eigenvalue",
                y_label="eigenvalue",
                y_log=True,
            ),
            Panel(
                series=tuple(
                    Series(
                        "preconditioner",
                        "gain",
                        "s",
                        f"depth {N}",
                        {"depth": N},
                        group=f"depth {N}",
                    )
                    for N in (1, 2, 4, 8)
                ),
                title="Along a singular direction",
                x_label="singular value s of W",
                y_label="factor on the gradient",
                levels=(Level(1.0, "descent on W"),),
            ),
        ),
    ),
    Figure(
        "no-gradient",
        "From depth 3 on the rule descends no function",
        "Left: the integral of the rule along a closed curve (points) and its closed form "
        "(dashed), for a loss of constant gradient; a gradient would give 0, as depths 1 and 2 do. "
        "Right: asymmetry of the rule's Jacobian at depth 2 for 200 random points, in order. With "
        "a generic square it never vanishes, so that depth 2 descends no function either; with "
        "Q = I it is rounding.",
        (
            Panel(
                series=(
                    Series(
                        "integral",
                        "integral",
                        "depth",
                        "measured",
                        style="points",
                        error="integral_error",
                        group="integral",
                    ),
                    Series(
                        "integral",
                        "theory",
                        "depth",
                        "closed form",
                        style="dash",
                        group="integral",
                    ),
                ),
                title="Closed line integral",
                x_label="depth N",
                y_label="integral (loss · parameter)",
            ),
            Panel(
                series=(
                    Series("asymmetry", "generic", "draw", "Q = diag(1, 2, 3, 4)"),
                    Series("asymmetry", "isotropic", "draw", "Q = I"),
                ),
                title="Depth 2, quadratic loss",
                x_label="share of draws",
                y_label="largest |J − Jᵀ|",
                y_log=True,
            ),
        ),
    ),
    Figure(
        "regression",
        "Two scalars accelerate the fourth power, not the square",
        "Linear regression, one draw of the data, every method at its best step size. Left: with "
        "the fourth power the deeper nets pass plain descent and AdaGrad after some ten steps and "
        "leave them behind; AdaDelta with a tuned multiplier ends lowest of all. Right: with "
        "squares depth gains nothing.",
        (
            _curves("X2-l4", "p = 4", OPTIMISERS),
            _curves("X2-l2", "p = 2", OPTIMISERS[:3]),
        ),
    ),
    Figure(
        "toy",
        "Why: a large target sets the step size, a small one the time",
        "Two targets, 10 and 1, one weight each: updates until both are within 0.1 (none are drawn "
        "where 4000 do not suffice). With the fourth power the largest stable step is set by the "
        "target 10 and the other weight crawls; a factor grows in between and lends it speed. "
        "Counts at large steps hang on details of the start. With squares no weight crawls, and "
        "depth costs updates.",
        (_toy(4, "p = 4"), _toy(2, "p = 2")),
    ),
    Figure(
        "network",
        "A net on digits with each layer as a product",
        "Full-batch descent on 200 digits, one hidden layer of tanh, all seeds, each at its best "
        "step size; the nets start as the same function. Every dense layer is one matrix, or a "
        "product of two or three: the products begin slower and are a little ahead in the end.",
        (
            Panel(
                series=tuple(
                    Series("X4", "loss", "step", words, {"factors": N}, "seed", group=words)
                    for N, words in ((1, "one matrix"), (2, "two"), (3, "three"))
                ),
                title="Training loss",
                x_label="step",
                y_label="cross-entropy (nat)",
                y_log=True,
            ),
        ),
    ),
)
