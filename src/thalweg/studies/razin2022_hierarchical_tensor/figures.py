"""The figures of the study of tensor factorisations."""

from __future__ import annotations

from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

STEP = "steps of GroupRMSprop"
STD = "standard deviation of the starting weights"


def _components(data: str, y: str, std: float) -> Panel:
    select: dict[str, Scalar] = {"std": std, "draw": 0}
    return Panel(
        series=(Series(data, y, "step", "component", select, each="component"),),
        title=f"start of scale {std:g}",
        x_label=STEP,
        y_label="component norm",
    )


def _curves(data: str, y: str, title: str, y_label: str, stds: tuple[float, ...]) -> Panel:
    return Panel(
        series=tuple(
            Series(data, y, "step", f"scale {std:g}", {"std": std, "draw": 0}) for std in stds
        ),
        title=title,
        x_label=STEP,
        y_label=y_label,
        y_log=True,
    )


def _growth(L: int) -> Panel:
    return Panel(
        series=(
            Series("growth", "norm", "time", "from", {"order": L}, each="start", style="dash"),
        ),
        title=f"{L} vectors in a component",
        x_label="training time",
        y_label="component norm",
        y_log=True,
    )


def _first(y: str, title: str, y_label: str, y_log: bool) -> Panel:
    return Panel(
        series=(Series("X4", y, "std", "draw", each="draw", style="points"),),
        title=title,
        x_label=STD,
        y_label=y_label,
        x_log=True,
        y_log=y_log,
    )


def _net(y: str, title: str, y_label: str) -> Panel:
    return Panel(
        series=tuple(
            Series(
                "X5",
                y,
                "epoch",
                f"λ = {strength:g}",
                {"strength": strength, "distance": 40},
                each="seed",
            )
            for strength in (0, 0.3, 1)
        ),
        title=title,
        x_label="epochs",
        y_label=y_label,
    )


FIGURES = (
    Figure(
        "components",
        "From a small start components appear one at a time",
        "The ten largest of 32 components of a CP factorisation that completes an 8 × 8 × 8 tensor "
        "of rank 3 from half of its entries. From large weights many components share the work; "
        "from small ones a few appear in three waves, some side by side and sharing one component "
        "of the target, and all others stay near zero: nobody asked for low rank, gradient "
        "descent prefers it.",
        tuple(_components("X1", "norm", std) for std in (0.3, 0.1, 0.01)),
    ),
    Figure(
        "completion",
        "The smaller the start, the better the unseen entries",
        "Left: the loss on observed entries reaches zero from every start. Right: the error over "
        "all entries, seen and unseen, does so only where the start was small.",
        (
            _curves("X1", "loss", "Observed entries", "mean square", (0.3, 0.1, 0.03, 0.01)),
            _curves("X1", "error", "All entries", "relative error", (0.3, 0.1, 0.03, 0.01)),
        ),
    ),
    Figure(
        "growth",
        "Why: the richer a component, the faster it grows",
        "The closed form for a balanced component under a constant gradient, from three starts. "
        "With two vectors (matrices) growth is exponential and ratios double at a steady pace; "
        "with three or four the larger start escapes to infinity before the others have "
        "moved, so that components are learned apart in time.",
        tuple(_growth(L) for L in (2, 3, 4)),
    ),
    Figure(
        "rank-one",
        "The way out of the origin is of rank one",
        "The tensor when its norm first is 0.5, by draw. Left: what is left of the mode-0 "
        "matricisation beyond its first singular value; right: the share of the "
        "largest component. Each half-decade of the start's scale takes the rest down by one and a "
        "half to three decades.",
        (
            _first("residue", "Beyond rank one", "share of squared singular values", True),
            _first("share", "Largest component", "share of all component norms", False),
        ),
    ),
    Figure(
        "hierarchical",
        "Local components of a hierarchical factorisation do the same",
        "Order 4, sixteen components at every node, target of three. Left and middle: local "
        "components at the root, from a larger and a smaller start. Right: the effective rank of "
        "modes {0, 1} against the others ends at the target's (line) from the smaller start only. "
        "That rank measures how the two halves of an input depend on each other: low "
        "means local.",
        (
            _components("X2", "root_norm", 0.3),
            _components("X2", "root_norm", 0.1),
            Panel(
                series=tuple(
                    Series(
                        "X2",
                        "effective_rank",
                        "step",
                        f"scale {std:g}",
                        {"std": std, "draw": 0},
                    )
                    for std in (0.3, 0.1)
                ),
                title="Effective rank",
                x_label=STEP,
                y_label="effective rank of modes {0, 1}",
                levels=(Level(("X2", "first_target_rank"), "target"),),
            ),
        ),
    ),
    Figure(
        "locality",
        "The regulariser makes distant windows interact",
        "A convolutional net that tells whether two noisy windows show one prototype. Left and "
        "middle: loss and R during training at distance 40, all seeds: with the term R falls, so "
        "that the gradient at one window depends more on the other. Right: mean test accuracy; "
        "bars are standard errors over seeds, as large as the differences.",
        (
            _net("loss", "Training loss", "logistic loss"),
            _net("interaction", "Regulariser", "R"),
            Panel(
                series=tuple(
                    Series(
                        "X5",
                        "mean_test",
                        "strength",
                        f"distance {distance}",
                        {"distance": distance},
                        error="mean_test_error",
                        style="points",
                    )
                    for distance in (0, 40)
                ),
                title="Test accuracy",
                x_label="strength λ",
                y_label="mean test accuracy",
            ),
        ),
    ),
)
