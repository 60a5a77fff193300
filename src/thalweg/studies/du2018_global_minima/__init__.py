"""Gradient descent finds global minima of deep neural networks, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Gradient descent finds global minima of wide nets",
    source=(
        "S. S. Du, J. D. Lee, H. Li, L. Wang, X. Zhai: Gradient descent finds global minima of "
        "deep neural networks. ICML 2019, arXiv:1811.03804; with S. S. Du, X. Zhai, B. Poczos, "
        "A. Singh: Gradient descent provably optimizes over-parameterized neural networks. ICLR "
        "2019, arXiv:1810.02054"
    ),
    question=(
        "Why does gradient descent bring the training loss of a wide net to zero although the "
        "loss is not convex, how fast, and what do depth and skip connections change?"
    ),
    minutes={"quick": 1.5, "full": 100.0},
    paper_size="part",
    full=(
        "Two layers with the precursor's 1000 examples in 1000 dimensions and 100 steps; "
        "the deep paper has no experiment, and its nets here are up to 4096 wide on eight "
        "examples."
    ),
    answer=(
        "A wide net is trained through its Gram matrix of gradients, which starts near a fixed "
        "matrix and hardly moves: the wider the net, the less any weight has to. The loss then "
        "falls by a factor per step that the smallest eigenvalue sets. The theorem uses one "
        "layer of the Gram matrix and half of its smallest eigenvalue; the true rate is that of "
        "the whole matrix, an order of magnitude faster, and the net linearised at its start "
        "predicts it. Without skip connections the smallest eigenvalue falls by a factor of three "
        "per layer, with them as the square of the depth, already before any training."
    ),
    deviates=(
        "The deep paper has no experiment; sizes and claims are those of the study's "
        "specification. The theorem's step size lambda_0/n^2 would take millions of steps: "
        "0.5/lambda_max(G(0)) is taken, half of what keeps every mode from overshooting.",
        "The tail of the loss (C8) is held against the linearised net over the same steps. Its "
        "limit -2 ln(1 - eta lambda_min(G(0))) is the rate of the slowest mode alone, which has "
        "not taken over after 300 steps where other modes are nearly as slow or start larger: "
        "for the residual net it is 12 to 25 % below.",
        "C8 was to hold ln L within 0.3 at every step. What the linearised net errs in the rate "
        "adds up, so the error is in proportion to the fall of ln L, which depends on the data: "
        "0.003 to 3.2 on fourteen draws at m = 1024. So it is held to a tenth of the fall, and, at "
        "m = 512 on 6 data sets (32 at full scale), as a statement about more than half of all "
        "data sets with 95 % confidence.",
        "C10 gives no tolerance: the slopes of the distance moved in the width are held to 0.2. "
        "C5 allows rounding, 1e-12 of the norm.",
        "Of the numbers that the specification observed on single draws (distances, rates, the "
        "factor between movement and bound) only those are held that do not hang on the draw.",
        "X2 at full scale has widths up to 4096 and five starts; X3 at full scale has the "
        "precursor's 1000 examples in 1000 dimensions and 100 steps, three seeds, widths to "
        "32 000.",
    ),
)
