"""Entropic gradient descent algorithms and wide flat minima, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Entropic descent and wide flat minima",
    source=(
        "F. Pittorino, C. Lucibello, C. Feinauer, G. Perugini, C. Baldassi, E. Demyanenko, R. "
        "Zecchina: Entropic Gradient Descent Algorithms and Wide Flat Minima. ICLR 2021, "
        "arXiv:2006.07897"
    ),
    question=(
        "Do optimisers that descend the local entropy find flatter minima, and do flatter minima "
        "generalise better?"
    ),
    minutes={"quick": 2.0, "full": 3.5},
    paper_size="none",
    full="More seeds; the paper's nets on CIFAR and Tiny-ImageNet are not rerun.",
    answer=(
        "On a quadratic everything is known and holds: local entropy, local energy, a step of "
        "Entropy-SGD, its inner noise in both conventions, the barycentre of Replicated-SGD. On "
        "500 digits Replicated-SGD finds minima whose local energy is about six tenths of that of "
        "SGD, also of SGD three times as long, and does not generalise better; Entropy-SGD is not "
        "flatter than SGD there. With a fifth of the labels random both make fewer errors on the "
        "test set and are flatter than SGD at its end, in part because they memorise less."
    ),
    deviates=(
        "The paper's solvable models (perceptron and committee machine by belief propagation) and "
        "its nets on CIFAR-10, CIFAR-100 and Tiny-ImageNet are not rerun; the claims on digits are "
        "those of a smaller specification with its own numbers.",
        "Entropy-SGD takes a fresh mini-batch at every inner step and so five times the gradients "
        "of SGD at the same number of outer steps: no equal budget.",
        "Other seeds, splits and orders of batches than those that the numbers are quoted for.",
        "Half the first coupling, the mean loss at the start over the spread, is checked at every "
        "seed; in the mean over 12 it is 0.00896 +- 0.00005, where the specification quotes 0.0087 "
        "to 0.0089 of few starts.",
        "The local energy counts wrong training examples, noisy labels included, with the same "
        "draws for all methods and seeds.",
    ),
)
