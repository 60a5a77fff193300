"""First-order methods from quadratics to convex functions, and what stands beside them, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="High-dimensional optimization through the lens of machine learning",
    source=(
        "F. Benning: High-Dimensional Optimization through the Lens of Machine Learning. Master's "
        "thesis, University of Mannheim, 2021, arXiv:2112.15392"
    ),
    question=(
        "Which first-order methods do quadratics recommend, which of their rates hold on convex "
        "functions, and what do noise and the choice of coordinates change?"
    ),
    minutes={"quick": 1.0, "full": 3.0},
    paper_size="all",
    full="More draws and runs, longer schedules.",
    answer=(
        "On quadratics every rate is what its closed form says: descent takes steps in proportion "
        "to the condition number, heavy ball and Nesterov's method to its root. Tuned heavy ball "
        "is as fast as can be there, and runs in a cycle for ever on a convex function of the same "
        "constants. Nesterov's schema keeps its bounds from every start. With noise, steps in "
        "proportion to the error, or halved, give an error of 1/n; those of a/(n + b) need a large "
        "enough. Adaptive methods are fast only where the eigenbasis is that of the coordinates."
    ),
    deviates=(
        "The claims are those of a specification that corrects slips of the thesis: a squared "
        "distance in the convex bounds, Nesterov's rule of stability outside 0 <= beta <= 1, the "
        "constant and start of halved steps.",
        "One eigenvalue with a = 1/2 has the slope -0.99 (the specification -0.92): it depends on "
        "the noise, which is not given there; both lie in the range that is held.",
        "Counts of tuned adaptive methods are held as orders: start, rotation and grid are not "
        "given.",
        "SGD with 1/(n + 1) is compared with the sample mean in its second moment, not draw by "
        "draw.",
        "Of Armijo's count (E5), safe regions of heavy ball (E10), the path-wise "
        "bound beside gradient flow (E20), products of limited-memory BFGS by two loops, and "
        "random coordinate descent nothing is rerun.",
    ),
)
