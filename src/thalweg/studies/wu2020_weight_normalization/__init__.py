"""Implicit regularization and convergence for weight normalization, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Implicit regularisation and convergence of weight normalisation",
    source=(
        "X. Wu, E. Dobriban, T. Ren, S. Wu, Z. Li, S. Gunasekar, R. Ward, Q. Liu: Implicit "
        "Regularization and Convergence for Weight Normalization. NeurIPS 2020, arXiv:1911.07956"
    ),
    question=(
        "If the weights of an underdetermined regression are trained as scale times direction, do "
        "they end nearer to the solution of least norm than plain gradient descent does?"
    ),
    minutes={"quick": 0.3, "full": 20.0},
    paper_size="none",
    full=(
        "More draws and scales, and systems of 500 unknowns; the paper's sizes were not at hand."
    ),
    answer=(
        "For most starts, yes, and by an amount that is known before training. Plain descent "
        "never touches the part of x that the data do not see. With x = g w/||w|| that part of the "
        "direction is multiplied by exp(-g^2/(2c)) as the scale grows, c the ratio of the learning "
        "rates: the invariant holds to the solver's error, for any loss of the outputs, and gives "
        "the end of the flow as the root of one equation. So the end hardly depends on the start "
        "up to the scale g* of the solution. Two limits: from a scale near zero plain descent is "
        "better, as its error is proportional to the scale, and from one far above g* nothing is "
        "gained. The effect depends on the units, as g^2/c is no pure number of the problem. "
        "Holding a small scale until the direction is found, and releasing it then, gives the "
        "least-norm solution to rounding. In steps of size eta everything drifts in proportion "
        "to eta."
    ),
    deviates=(
        "The invariant, the limit and the closed forms are derived from the paper's flow; the "
        "constants of its theorem for steps and general rows were not at hand.",
        "Of X2's main draw only g* = 2.156 and ||w0_perp|| = 0.7660 are known, not the random "
        "stream: the limit is checked at these two numbers (to the digits that g* has), the runs "
        "on draws 0 to 4 of NumPy's default_rng, where the same tolerances hold. So the errors "
        "quoted for rPGD and WN on that draw are not compared one by one.",
        "The drift of the invariant is that of the whole vector w_perp exp(g^2/(2c)), which also "
        "sees a turn of its direction.",
        "The drift of X1 at c = 0.25 is shown but not held to 1e-8: w_perp falls to 3e-9 there, "
        "and what the solver errs relative to the whole of w rules.",
        "Larger systems with a given condition number (d = 100, at full scale 500) stand for the "
        "paper's, whose sizes were not at hand; its matrix sensing is not rerun.",
        "That WN loses to plain descent at g0 = 0.1 and 4 is checked on draws 0 to 3, for which it "
        "was stated; of twenty draws three win at one end, as the limit of the flow says.",
        "The solver's absolute tolerance is 1e-16, not 1e-14: on draws with a large solution "
        "w_perp falls to 3e-5 already at c = 1, and 1e-14 leaves a drift of 1.03e-8 on one of "
        "twenty, 1e-16 one of 4.5e-9.",
        "At full scale there are twenty draws of X1 and X2 and ten initial scales.",
    ),
)
