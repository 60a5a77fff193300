"""What can be proved of methods for non-convex minimisation, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Recent theoretical advances in non-convex optimization",
    source=(
        "M. Danilova, P. Dvurechensky, A. Gasnikov, E. Gorbunov, S. Guminov, D. Kamzolov, "
        "I. Shibaev: Recent Theoretical Advances in Non-Convex Optimization. 2022, arXiv:2012.06188"
    ),
    question=(
        "Do the methods of the survey, at the step sizes of their theorems, keep the bounds that "
        "are proved of them, and does variance reduction pay as its table says?"
    ),
    minutes={"quick": 1.5, "full": 4.0},
    paper_size="all",
    full="The survey has no experiment of its own; more draws of the bounds.",
    answer=(
        "Every bound that is held against a run holds: descent with and without errors of the "
        "gradient, under the inequality of Polyak and Lojasiewicz and under weak quasi-convexity, "
        "the accelerated method without constants on convex and non-convex problems, cubic Newton "
        "step by step, estimators from values alone. On finite sums PAGE and SPIDER take the root "
        "of m less than full gradients, SVRG the cube root, as their closed forms say. A little "
        "noise leaves every strict saddle."
    ),
    deviates=(
        "The survey has no main figure; its tables are checked on the instances of a "
        "specification, which was written from a public text copy without displayed formulas.",
        "Where the specification leaves a function open (errors of differences, SGD, random "
        "directions) one of known constants is taken, sum of x^2 + 3 sin^2 x and a rotated sum of "
        "log cosh; its printed numbers for those are orders of magnitude and are not held.",
        "Random-direction descent takes central differences, which agree with the limit of small "
        "steps. Three-point search is left out: its figure is of a function that is not given.",
        "A full gradient of PAGE and SPIDER counts m gradients of examples, a corrected batch "
        "twice its size; which was taken is read off what the method remembers, not off a formula.",
    ),
)
