"""Implicit regularization in deep matrix factorization, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Depth and the rank of what it finds",
    source=(
        "S. Arora, N. Cohen, W. Hu, Y. Luo: Implicit Regularization in Deep Matrix Factorization. "
        "NeurIPS 2019, arXiv:1905.13655"
    ),
    question=(
        "Of all matrices that agree with a few known entries, which one does gradient descent on a "
        "product of matrices find, and is it the one of least nuclear norm?"
    ),
    minutes={"quick": 0.6, "full": 60.0},
    paper_size="part",
    full=(
        "Four draws of the 40x40 matrices, and one completion without claims at the paper's "
        "100x100 of rank 5 with 2000 entries."
    ),
    answer=(
        "Not the one of least nuclear norm, where entries are few. A factorisation of depth 3 or "
        "more from a small start finds a matrix of larger nuclear norm and lower effective rank, "
        "and with it the truth, where the least-norm completion and depth 2 do not. In the special "
        "case of commuting measurements every depth does end at the least nuclear norm, so that no "
        "norm that changes with depth explains the difference. The dynamics does: a singular value "
        "grows in proportion to a power of itself, higher for deeper products, so that the large "
        "ones are learnt one after another and the small ones wait at zero. With more entries the "
        "least-norm completion comes near too, and depth 2 can fall behind it. Methods that leave "
        "the path of gradient flow reach the same training loss at another, worse matrix."
    ),
    deviates=(
        "Matrices are 40x40 of rank 3 with 400 or 480 entries seen, where the paper has 100x100 of "
        "rank 5 with 2000 or 5000; one experiment without claims has the paper's size at full "
        "scale. MovieLens and Gaussian sensing runs are left out.",
        "Velocities of singular vectors carry the sign of the singular value outside the span, "
        "S (S^2)^{-1/N}; the stated (S^2)^{1/2-1/N} is the same for positive values only.",
        "Only runs that reach a mean square of 1e-6 count, as stated; at depth 4 two draws of "
        "eight do not within 20000 steps.",
        "C7 was to hold the order of errors in every draw. It depends on the draw: depth 2 is "
        "behind the least norm in 4 of 8, as where that is nearly right already (error 0.010), and "
        "one run of depth 3 in 8 and of depth 4 in 6 ends at a wrong completion. Its claim is on "
        "shares of all draws, shown with 95 % confidence by 8 of them (24 at full scale).",
        "Curves of two modes are compared up to the shortest of them, since a first singular "
        "value beyond its end has no second to compare with; halving is held to 0.5 +- 0.15, for "
        "which no tolerance was stated.",
    ),
)
