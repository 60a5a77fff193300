"""Side effects of learning from low-dimensional data, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Side effects of learning from data on a plane",
    source=(
        "J. He, R. Tsai, R. Ward: Side Effects of Learning from Low-dimensional Data Embedded in a "
        "Euclidean Space. Research in the Mathematical Sciences 10:13, 2023, arXiv:2203.00614"
    ),
    question=(
        "If the inputs lie on a plane, or near it, what does the trained network do in directions "
        "normal to that plane, of which the data say nothing?"
    ),
    minutes={"quick": 0.8, "full": 7.5},
    paper_size="none",
    full=(
        "More seeds, samples and depths, and a third hidden layer; the paper's sizes were "
        "not at hand."
    ),
    answer=(
        "It does what its start made it do. The first-layer weights that act on normal "
        "coordinates receive no gradient, so the normal derivative is a random number drawn "
        "before training, which the trained layers rescale: by a conservation law in deep linear "
        "nets, where a small start hardly helps at large depth, and to a Gaussian of known "
        "variance in ReLU nets. Noise off the plane removes it, if there are enough samples, "
        "N sigma^2 large, and enough time, on a clock of 1/sigma^2; and it costs accuracy on the "
        "plane. To see whether this concerns a network of yours, measure its normal derivative on "
        "the plane of its inputs: it is a probe."
    ),
    deviates=(
        "The paper's full text was not at hand: its abstract and its authors' project page were. "
        "Formulas and sizes are derived or chosen here to make their statements precise; the "
        "constants of the theorems, the exact sample size and the statement that the time may be "
        "exponential in 1/sigma^2 are not checked. The law derived here is 1/sigma^2.",
        "The normal derivative of X2 depends on the draw of the inputs and of the start; five "
        "draws of our own are each held to the prediction from their own start, at the step size "
        "and at half of it.",
        "C8 was asked of the law to leading order, sigma_r/(sigma sqrt(N)), to 5 % of it. "
        "With 30 samples that law is 5 % short. Here the law at finite N, with N - d_x - d_y - 1 = "
        "N - 3 in place of N, is held to 1 % and three standard errors, over 4 million points in "
        "each cell; it would be exact if what is left of sin 3x did not depend on x, and is 0.6 % "
        "too large with 30 samples. Slopes are held to 0.02, for which no tolerance was stated.",
        "The factor of two in C3 came without a tolerance, and is held to 5 %.",
        "Weight decay with the noise sweep (X6) is run for one hidden layer at quick scale, and "
        "has no claim. The larger map over noise and samples, a plane in fifty dimensions and "
        "nets 200 wide, is not run. At full scale there are ten seeds and a third hidden layer.",
    ),
)
