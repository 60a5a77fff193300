"""The figures of the study of implicit acceleration."""

from __future__ import annotations

from collections.abc import Sequence

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel

OPTIMISERS = ("depth 1", "depth 2", "depth 3", "AdaGrad", "AdaDelta", "AdaDelta, tuned")
DEPTHS = (1, 2, 4, 8)
VALUES = "singular values of W (parameter)"


def _strengths(case: str) -> Panel:
    at, labels = {"case": case}, {"strength": "factors"}
    return curves(
        "X1", "strength", each="rank", at=at, theory=True, labels=labels, title=case, y_label=VALUES
    )


def _methods(data: str, title: str, names: Sequence[str]) -> Panel:
    return curves(
        data,
        "excess",
        over="step",
        each="optimiser",
        only=names,
        at={"draw": 0},
        title=title,
        levels=(Level(1e-5, "counted to here"),),
        log="xy",
    )


def _toy(p: int) -> Panel:
    return curves(
        "X3", "updates", over="rate", each="depth", at={"p": p}, style="points", title=f"p = {p}",
        log="xy",
    )  # fmt: skip


FIGURES = (
    Figure(
        "rule",
        "The product of the matrices obeys a rule of its own",
        "(a), (b) Singular values of the product while all matrices follow gradient flow with "
        "weight decay, beside the rule for the product alone (dashed, hidden behind). (c) For "
        "finite steps the two differ in proportion to the step size (dashed), once steps are so "
        "short that descent is far from unstable.",
        (
            _strengths("3x4, width 5, depth 2"),
            _strengths("3x4, width 5, depth 3"),
            curves(
                "X1-steps",
                "deviation",
                over="rate",
                each="draw",
                labels={"deviation": "draw"},
                style="points",
                more=series(
                    "X1-steps", "proportional", over="rate", label="in proportion", style="dash"
                ),
                title="Descent, depth 3",
                log="xy",
            ),
        ),
    ),
    Figure(
        "preconditioner",
        "Depth multiplies the gradient by a matrix made of the current weights",
        "(a) Eigenvalues of the preconditioner of a Gaussian 3x4 matrix, dense (points) and by "
        "formula (dashed). At depth 1 all are 1; with depth they spread, so that some directions "
        "take larger steps than others. (b) The factor N s^(2-2/N) along a singular direction "
        "grows with what is there already, and is near zero near the origin.",
        (
            curves(
                "preconditioner",
                "spectrum",
                over="index",
                each="depth",
                only=DEPTHS,
                theory=True,
                style="points",
                title="Spectrum",
                x_label="rank of the eigenvalue",
                y_label="eigenvalue",
                log="y",
            ),
            curves(
                "preconditioner",
                "gain",
                over="s",
                each="depth",
                only=DEPTHS,
                title="Along a singular direction",
                levels=(Level(1.0, "descent on W"),),
            ),
        ),
    ),
    Figure(
        "no-gradient",
        "From depth 3 on the rule descends no function",
        "(a) The integral of the rule along a closed curve (points) and its closed form (dashed), "
        "for a loss of constant gradient; a gradient would give 0, as depths 1 and 2 do. (b) "
        "Asymmetry of the rule's Jacobian at depth 2 for 200 random points, in order. With a "
        "generic square it never vanishes, so that depth 2 descends no function either; with "
        "Q = I it is rounding.",
        (
            curves(
                "integral",
                "integral",
                over="depth",
                theory=True,
                style="points",
                error="integral_error",
                title="Closed line integral",
            ),
            curves(
                "asymmetry",
                ("generic", "isotropic"),
                over="draw",
                title="Depth 2, quadratic loss",
                y_label="largest |J − Jᵀ| (loss/parameter)",
                log="y",
            ),
        ),
    ),
    Figure(
        "regression",
        "Two scalars accelerate the fourth power, not the square",
        "Linear regression, one draw of the data, every method at its best step size. (a) With "
        "the fourth power the deeper nets pass plain descent and AdaGrad after some ten steps and "
        "leave them behind; AdaDelta with a tuned multiplier ends lowest of all. (b) With squares "
        "depth gains nothing.",
        (_methods("X2-l4", "p = 4", OPTIMISERS), _methods("X2-l2", "p = 2", OPTIMISERS[:3])),
    ),
    Figure(
        "toy",
        "Why: a large target sets the step size, a small one the time",
        "Two targets, 10 and 1, one weight each: updates until both are within 0.1 (none are drawn "
        "where 4000 do not suffice). (a) With the fourth power the largest stable step is set by "
        "the target 10 and the other weight crawls; a factor grows in between and lends it speed. "
        "Counts at large steps hang on details of the start. (b) With squares no weight crawls, "
        "and depth costs updates.",
        (_toy(4), _toy(2)),
    ),
    Figure(
        "network",
        "A net on digits with each layer as a product",
        "Full-batch descent on 200 digits, one hidden layer of tanh, all seeds, each at its best "
        "step size; the nets start as the same function. Every dense layer is one matrix, or a "
        "product of two or three: the products begin slower and are a little ahead in the end.",
        (
            Panel(
                tuple(
                    line
                    for factors, words in ((1, "one matrix"), (2, "two"), (3, "three"))
                    for line in series(
                        "X4", "loss", over="step", each="seed", at={"factors": factors}, label=words
                    )
                ),
                title="Training loss",
                y_label="cross-entropy (nat)",
                y_log=True,
            ),
        ),
    ),
)
