"""Crossprop, rerun: features that learn from how they steered the learning above them."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Crossprop: representations by stochastic meta-gradient descent",
    source=(
        "V. Veeriah, S. Zhang, R. S. Sutton: Crossprop: Learning Representations by Stochastic "
        "Meta-Gradient Descent in Neural Networks. ECML-PKDD 2017, arXiv:1612.02879"
    ),
    question=(
        "If hidden weights follow how they steered the learning of the output weights instead of "
        "what those weights say now, does a net keep its features when the task changes?"
    ),
    minutes={"quick": 1.5, "full": 4.0},
    paper_size="part",
    full=(
        "The paper's stream of generic features with its 30 runs; digits of 8x8 pixels for MNIST, "
        "10 runs."
    ),
    answer=(
        "It keeps them: over six stages the hidden weights move a tenth as far (squared) as under "
        "backpropagation, and the output weights more than twice as far; the factored form moves "
        "them by less than a hundredth. The price is a loss some 15 % higher at the end of a "
        "stage, and on digits several times the mistakes. The rule's memory, one number per hidden "
        "weight, is the exact derivative of the learning for a single unit without an output bias "
        "and an approximation otherwise; weighted by lambda it goes over into gradient descent."
    ),
    deviates=(
        "Which of the rules the printed paper calls crossprop is taken from the default of the "
        "authors' public code (lambda = 0), not from the paper.",
        "In the public code one term of the mixed rule has the sign opposite to what "
        "differentiation gives; the rule here is the one that differentiates.",
        "Continual MNIST is not rerun: its place is taken by digits of 8x8 pixels with labels "
        "rolled on, 256 hidden units and step size 5e-3. Pixel permutations and pictures of the "
        "hidden features (t-SNE) are left out.",
        "The grid of two step sizes in the public code is not rerun: both layers have one.",
        "Adam, RMSProp and momentum are shown at the same step size, as in the paper; nothing is "
        "claimed of them.",
    ),
)
