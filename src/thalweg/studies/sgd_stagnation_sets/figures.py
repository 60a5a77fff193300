"""The figures of the study of stagnation sets."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure

AT = {"seed": 0}

FIGURES = (
    Figure(
        "tubes",
        "About a flat floor noisy descent stays, and a bound says so before it runs",
        "Quadratic valley of 40 dimensions, step size 0.1, noise 0.5: share of 1000 runs that "
        "has not left a tube, dashed the lower bound. (a) Two stiff directions, by radius. (b) At "
        "500 steps, by the number of stiff directions.",
        (
            curves(
                "X1", "staying", over="step", each="radius",
                only=(0.5, 0.6, 0.7, 0.8), at={"stiff": 2},
                theory=True, error="staying_error", log="x",
            ),
            curves(
                "X1", "staying", over="radius", each="stiff", at={"step": 500},
                theory=True, error="staying_error",
            ),
        ),
    ),
    Figure(
        "random",
        "Sixty valleys that were drawn: the bound holds in each",
        "Share of 1000 runs that left their tube, and the bound, by valley. Where the bound is 1 "
        "it says nothing; where it stands alone no run left.",
        (
            curves(
                "X1-random", ("exits", "exits_theory"), over="valley", style="points",
                labels={"exits": "measured", "exits_theory": "bound"},
                y_label="share of runs that left", log="y",
            ),
        ),
    ),
    Figure(
        "sphere",
        "On a curved floor the dimension returns",
        "Mean distance outward from the unit sphere, whose points are all minima, over 200 runs "
        "and 3000 steps; dashed the leading order.",
        (
            curves(
                "X2", "offset", over="dimension", theory=True, error="offset_error",
                style="points",
            ),
        ),
    ),
    Figure(
        "digits",
        "Noise about a minimum is confined where it is stiff, and free elsewhere",
        "A net on 400 digits, noise on every coordinate of the gradient: distance from the minimum "
        "(a) in the top 20 eigenvectors of the Hessian, (b) in all others, dashed free diffusion.",
        (
            curves("X3", "inside", over="step", each="width", at=AT),
            curves("X3", "outside", over="step", each="width", at=AT, theory=True),
        ),
    ),
    Figure(
        "bounds",
        "Bounds of the gap without the number of parameters",
        "At fixed spectral norms: (a) by tubes about a reference minimum, which leave a floor; by "
        "covering numbers, which fall as ln n/sqrt(n). (b) The eigenvalues of the Hessian of the "
        "net on digits: some 90 stand above a hundredth of the largest.",
        (
            curves(
                "X6", "tube", over="examples", at={"width": 64}, log="xy",
                y_label="bound of the gap",
                more=series("X6", "entropy", over="examples"),
            ),
            curves("X3", "eigenvalue", over="mode", each="width", at=AT, log="y"),
        ),
    ),
)  # fmt: skip
