"""Kronecker-factored approximate curvature, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Kronecker-factored approximate curvature",
    source=(
        "J. Martens, R. Grosse: Optimizing Neural Networks with Kronecker-factored Approximate "
        "Curvature. ICML 2015, arXiv:1503.05671; R. Grosse, J. Martens: KFC, ICML 2016, "
        "arXiv:1602.01407"
    ),
    question=(
        "Can the natural gradient of a net be followed at the price of a few gradients a step, if "
        "each layer's block of the Fisher matrix is taken for a product of two small matrices?"
    ),
    minutes={"quick": 2.5, "full": 90.0},
    paper_size="part",
    full=(
        "More draws and seeds, and the paper's MNIST autoencoder on 5,000 real digits for a few "
        "steps; CURVES and FACES are not rerun."
    ),
    answer=(
        "Yes. The products are exact for deep linear nets and for one convolution; for tanh nets "
        "they are off by half of F and more, and yet their inverse is nearly block-tridiagonal. "
        "Steps rescaled by the exact Fisher matrix leave tuned Nesterov momentum and Adam "
        "behind on "
        "an autoencoder of digits in half of their iterations. Momentum is worth a tenth; the "
        "tridiagonal inverse nothing at this size. The paper's damping starts a hundred times too "
        "high here: started where a line of trials puts it, K-FAC is after 50 iterations where "
        "the paper's constants lead in 200."
    ),
    deviates=(
        "Autoencoder of 8x8 digits (64-100-50-10-50-100-64) on all 1797 images for the paper's "
        "784-1000-500-250-30; full batches, so that the growing batches of the paper are not "
        "tried.",
        "That the tridiagonal inverse gains 25 to 40 % an iteration needs the large nets; what it "
        "gains here is reported (C10).",
        "Speed in seconds is not a claim of this study: benchmarks/kfac.py measures it.",
        "That K-FAC is below SOAP at equal time (part of C8b of the specification) is not checked: "
        "SOAP comes with PyTorch libraries that thalweg does not depend on.",
        "The invariance is checked with a coin for each output, as softmax makes the last factor "
        "singular without damping.",
    ),
)
