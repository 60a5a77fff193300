"""Generalisation of deep networks by sets of minima that noisy descent stays near, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Stagnation sets: where noisy descent stays, and what that says of generalisation",
    source=(
        "M. Imaizumi, J. Schmidt-Hieber: On Generalization Bounds for Deep Networks Based on Loss "
        "Surface Implicit Regularization. IEEE Transactions on Information Theory, 2022, "
        "arXiv:2201.04545"
    ),
    question=(
        "Does noisy descent stay in a thin tube about a set of minima, for how long, and does a "
        "bound of the generalisation gap follow that does not count parameters?"
    ),
    minutes={"quick": 2.0, "full": 5.0},
    paper_size="none",
    full=(
        "The paper is a theory without experiments; four times the runs, four seeds of the digits "
        "and a third width. C7 is not reproduced then: its ranges are of widths 16 and 48. At 128 "
        "one seed of four has 141 stiff directions, noise goes up to 1.28 times as far in the top "
        "20 as a quadratic says, and the top ten carry 0.26 to 0.31 of the gradient; at 16 one "
        "seed's carry 0.50."
    ),
    answer=(
        "About a flat floor it stays, and a bound with the number of stiff directions alone holds "
        "in every configuration tried: the dimension enters not even in the last bit. The bound "
        "is far from tight: it says something only of tubes that a few runs in a thousand leave. A "
        "curved floor brings the dimension back, through an outward push in proportion to it. On "
        "digits three times the weights change neither the spectral norms nor the gap much, but "
        "the bound of the gap by tubes is some 250 to 400, for a loss of at most 1. Noise that is "
        "the same in all directions leaves the minimum where it is flat: confinement is seen in "
        "the stiff directions alone, and principal components of the iterates tell nothing, since "
        "a random walk has the same."
    ),
    deviates=(
        "The body of the paper was not accessible: setting and framework are its, the theorem of "
        "staying (E5) and the bound of the gap (E10) were derived, with constants of their own. "
        "Nothing here is to be attributed to the paper's theorems verbatim.",
        "The digits' reference minimum is that of the sample itself, which the bounds do not "
        "allow: their values are told, and no claim rests on them.",
    ),
)
