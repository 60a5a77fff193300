"""Gradient descent finds global minima for generalizable nets of practical sizes, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Gradient descent fits any labels with of order n parameters",
    source=(
        "K. Kawaguchi, J. Huang: Gradient Descent Finds Global Minima for Generalizable Deep "
        "Neural Networks of Practical Sizes. Allerton 2019, arXiv:1908.02419"
    ),
    question=(
        "How many parameters does a deep net need so that gradient descent can fit any labels, "
        "and does a net of that size still generalise?"
    ),
    minutes={"quick": 1.7, "full": 5.0},
    paper_size="none",
    full=(
        "The same sizes with more seeds and data sets, and one wider net; the paper's "
        "ResNet-18 is not rerun."
    ),
    answer=(
        "As many as there are numbers to fit, up to a factor. With fewer parameters than labels "
        "no algorithm fits generic labels, and a strong optimiser fails in every trial; with a "
        "quarter more it succeeds in every trial. Plain gradient descent on all layers needs more, "
        "but of the same order: a net whose last hidden layer is a little wider than the number "
        "of examples, behind narrow layers, fits random labels completely, and its parameters "
        "grow linearly in the number of examples. The reason is the last layer: while its inputs "
        "tell the examples apart, its gradient alone cannot vanish before the loss does. That "
        "condition is sufficient, not necessary, and the rate it guarantees is far too modest: "
        "nets with two parameters per example mostly do as well. Fitting says nothing of "
        "generalisation: one and the same net learns digits and memorises noise."
    ),
    deviates=(
        "The constants of the upper-bound theorem (widths, probability, rate) are not tested: its "
        "working parts are, namely the count of parameters, the gradient of the last layer and the "
        "runs.",
        "The paper trains a ResNet-18 on standard image sets and on 50 000 random images; here a "
        "dense net of 7802 parameters learns 200 digits and 200 random images.",
        "At quick scale X2, X2-rank and X3 have one seed, at full scale three; X2-narrow goes up "
        "to 8 units in the last hidden layer, at full scale to 16; X1 has 4 data sets, at full "
        "scale 16. Sizes and numbers of steps are the same.",
        "E3 (dashed in the figure of the loss) takes the smallest singular value over the 31 "
        "records of a run, and the step size is 1/M for the problem of the last layer alone, so "
        "the figure shows it and no claim rests on it.",
        "C7 of the specification says that A has rank 11; that is the most that 10 units and a "
        "constant can have, and a unit that starts dead leaves 10, so at most 11 is asked.",
        "Every data set and start has a seed of its own, drawn with NumPy and JAX, so single runs "
        "differ from those of the specification; the tolerances are its own, but for sigma_n(A) "
        "in C5, which it gave as the spread of a few starts, 0.010 to 0.033: of 60 starts 22 to 43 "
        "% leave it, by n. A factor of two on either side holds for more than 0.8 of all draws, as "
        "40 starts for each n (100 at full scale) show with 95 % confidence.",
    ),
)
