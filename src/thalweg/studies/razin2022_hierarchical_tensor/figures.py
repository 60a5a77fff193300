"""The figures of the study of tensor factorisations."""

from __future__ import annotations

from typing import Any

from thalweg.lab.curves import curves
from thalweg.report.spec import Figure, Level, Panel

STEP = "steps of GroupRMSprop"
FIVE = (1, 2, 3, 4, 5)


def _components(data: str, y: str, std: float, **more: Any) -> Panel:
    return curves(
        data, y, over="step", each="component", only=FIVE, at={"std": std, "draw": 0},
        title=f"Start of scale {std:g}", x_label=STEP, y_label="component norm (norm)", **more,
    )  # fmt: skip


def _starts(data: str, y: str, stds: tuple[float, ...], **more: Any) -> Panel:
    return curves(data, y, over="step", each="std", only=stds, at={"draw": 0}, x_label=STEP, **more)


def _first(y: str, **more: Any) -> Panel:
    return curves("X4", y, over="std", each="draw", style="points", **more)


def _net(y: str, **more: Any) -> Panel:
    return curves(
        "X5", f"mean_{y}", over="epoch", each="strength", at={"distance": 40},
        error=f"{y}_spread", **more,
    )  # fmt: skip


FIGURES = (
    Figure(
        "components",
        "From a small start components appear one at a time",
        "The five largest of 32 components of a CP factorisation that completes an 8 × 8 × 8 "
        "tensor of rank 3 from half of its entries. From large weights many components share the "
        "work; from small ones a few appear in three waves, some side by side and sharing one "
        "component of the target, and all others stay near zero: nobody asked for low rank, "
        "gradient descent prefers it.",
        tuple(_components("X1", "norm", std) for std in (0.3, 0.1, 0.01)),
    ),
    Figure(
        "completion",
        "The smaller the start, the better the unseen entries",
        "One draw of target and entries, from starts of four scales (std).",
        (
            _starts(
                "X1", "loss", (0.3, 0.1, 0.03, 0.01), title="Observed entries", log="y",
                y_label="mean square (norm²)", caption="The loss on observed entries reaches zero "
                "from every start.",
            ),
            _starts(
                "X1", "error", (0.3, 0.1, 0.03, 0.01), title="All entries", log="y",
                y_label="relative error (1)", caption="The error over all entries, seen and "
                "unseen, does so only where the start was small.",
            ),
        ),
    ),
    Figure(
        "growth",
        "Why: the richer a component, the faster it grows",
        "The closed form for a balanced component under a constant gradient, from three starts. "
        "With two vectors (matrices) growth is exponential and ratios double at a steady pace; "
        "with three or four the larger start escapes to infinity before the others have "
        "moved, so that components are learned apart in time.",
        tuple(
            curves(
                "growth", "norm", each="start", at={"order": L}, log="y",
                title=f"{L} vectors in a component",
            )
            for L in (2, 3, 4)
        ),
    ),
    Figure(
        "rank-one",
        "The way out of the origin is of rank one",
        "The tensor when its norm first is 0.5, by draw. Each half-decade of the start's scale "
        "takes the rest down by one and a half to three decades.",
        (
            _first(
                "residue", title="Beyond rank one", log="xy",
                y_label="share of squared singular values (1)", caption="What is left of the "
                "mode-0 matricisation beyond its first singular value.",
            ),
            _first(
                "share", title="Largest component", log="x",
                y_label="share of all component norms (1)", caption="The share of the largest "
                "component.",
            ),
        ),
    ),
    Figure(
        "hierarchical",
        "Local components of a hierarchical factorisation do the same",
        "Order 4, sixteen components at every node, target of three: the five largest local "
        "components at the root, from (a) a larger and (b) a smaller start. (c) The effective rank "
        "of modes {0, 1} against the others ends at the target's (line) from the smaller start "
        "only. That rank measures how the two halves of an input depend on each other: low means "
        "local.",
        (
            _components("X2", "root_norm", 0.3),
            _components("X2", "root_norm", 0.1),
            _starts(
                "X2", "effective_rank", (0.3, 0.1), title="Effective rank",
                y_label="effective rank of modes {0, 1}",
                levels=(Level(("X2", "first_target_rank"), "target"),),
            ),
        ),
    ),
    Figure(
        "locality",
        "The regulariser makes distant windows interact",
        "A convolutional net that tells whether two noisy windows show one prototype; bands are "
        "standard deviations over seeds.",
        (
            _net("loss", title="Training loss", y_label="logistic loss (1)",
                 caption="The loss during training at distance 40."),
            _net("interaction", title="Regulariser", y_label="R (1)",
                 caption="With the term R falls, so that the gradient at one window depends more "
                 "on the other."),
            curves(
                "X5", "mean_test", over="strength", each="distance", error="mean_test_error",
                title="Test accuracy", y_label="mean test accuracy (1)", caption="Mean test "
                "accuracy; bands are standard errors over seeds, as large as the differences.",
            ),
        ),
    ),
)  # fmt: skip
