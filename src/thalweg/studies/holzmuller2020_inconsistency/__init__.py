"""Training two-layer ReLU networks with gradient descent is inconsistent, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Training two-layer ReLU networks with gradient descent is inconsistent",
    source=(
        "D. Holzmueller, I. Steinwart: Training Two-Layer ReLU Networks with Gradient Descent is "
        "Inconsistent. JMLR 23 (2022), arXiv:2002.04861"
    ),
    question=(
        "If all hidden biases start at zero, can gradient descent move the kinks of a two-layer "
        "ReLU net past the examples, or does the net stay a pair of lines however wide it is?"
    ),
    minutes={"quick": 3.0, "full": 60.0},
    paper_size="part",
    full=(
        "Crossing probabilities for widths 16 to 2048 with 10,000 runs each, as in the paper; "
        "more nets of the star data. The grid of optimisers and learning rates is not rerun."
    ),
    answer=(
        "It stays a pair of lines, with a probability that falls about as 1/sqrt(n) in the width "
        "n, if the best lines of both sides pass through zero. Slopes settle in a time of 1/n, in "
        "which a bias moves by n^(-3/2), so that only a kink of an untypically small weight "
        "passes an example. Until then the whole run is thirteen numbers, whatever the width, and "
        "a certificate tells when no kink can cross any more: every run of 64 units ends crossed "
        "or certified. With an offset of 0.1 the intercepts have to move, and the probability "
        "rises again from about 100 units on. Biases that start spread over the examples repair "
        "it, best with one kink through each of many examples."
    ),
    deviates=(
        "Crossing probabilities come from the reduced dynamics, which are exact until a kink "
        "crosses, over 200 n steps; the paper runs full nets for up to a million steps.",
        "A unit whose input weight changes its sign in one step has crossed, too, as its kink "
        "went through infinity; the authors' ratio |b/a| alone does not see that, in 2 % of runs "
        "of 16 units.",
        "The reduction, and that two kinks a side are all one has to watch, are our derivation; "
        "the bounds of the certificate are the authors' code, their derivation was not checked, "
        "and its soundness is observed.",
        "The certificate takes the columns of the eigenvectors, as its derivation needs; the "
        "authors' code takes the rows.",
        "Quoted probabilities were found with other random streams of the same size, not in the "
        "paper, and are compared with the errors of both.",
        "Repairs are compared under gradient descent at two learning rates from one draw, where "
        "the paper has 100 repetitions, three optimisers and a grid; radial data and the tangent "
        "parametrisation are left out.",
        "Losses have a factor 1/2 here; learning rates of the repairs, stated for the mean squared "
        "error without it, are doubled.",
        "Star data: widths 64 and 256 and 4,000 steps, in the place of up to 8,192 and a million.",
    ),
)
