"""Continuous versus discrete optimisation of deep neural networks, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Continuous versus discrete optimization of deep neural networks",
    source=(
        "O. Elkabetz and N. Cohen, Continuous vs. Discrete Optimization of Deep Neural Networks, "
        "NeurIPS 2021, arXiv 2107.06608"
    ),
    question=(
        "When does gradient descent follow gradient flow? Gradient descent is Euler's method on "
        "the flow; how small must its step be, and does what is proven of the flow hold for it?"
    ),
    minutes={"quick": 3.1, "full": 6000.0},
    paper_size="all",
    full=(
        "The paper's nets, 1000 images of MNIST and 10000 steps; the images are those of its "
        "files if they are at hand (THALWEG_DATA), else of mnist5k (extra images5k), else digits "
        "resampled to their size."
    ),
    answer=(
        "How far descent strays from flow is decided by the negative curvature met on the way, not "
        "by the worst of the landscape. Along the flow of homogeneous nets from small weights "
        "there is little of it, so a step size that is a power of the start, not an exponential, "
        "is certified, and what is proven of the flow holds for descent. The certificate is "
        "safe and loose: real distances are 100 to 500 times smaller. On digits, dividing the step "
        "size by 20 changes the path by less than one per cent of its length, save when a ReLU net "
        "takes another branch at a kink."
    ),
    deviates=(
        "At quick scale 200 digits of 8x8 pixels and small nets stand for 1000 MNIST images; the "
        "step size is 0.01 for 1000 steps. Beside them the paper's nets without convolutions are "
        "trained on 1000 images of MNIST (X3-published), with 1000 steps of 0.01 for its 10000 of "
        "0.001. At full scale the paper's nets and sizes are used, on "
        "1000 images of MNIST: its files' if they are there (THALWEG_DATA), else those of mnist5k "
        "(extra images5k); without both on scikit-learn's digits, resampled to 28x28 pixels. The "
        "provenance below says which.",
        "Paths are compared at 100 equally spaced times, as in the paper, so largest values are "
        "over these. Relative distances leave out the first tenth of training: at the first step "
        "the quotient is half the curvature times the step size, whatever comes later.",
        "All nets are compared with gradient flow itself as well as with refined runs; over the "
        "kinks of the ReLU and convolutional nets it is followed to 1e-3, elsewhere to 1e-6.",
        "Curvature along the path (X4) is not in the paper, nor are the exact formulas for "
        "eigenvalues, flow and Euler's error, which are derived from it.",
        "The flow in X2 is the closed form rather than a solver's, so its error is rounding; "
        "distances are taken at 200 of the steps.",
        "C5 and C6 compare certified step sizes with two- or three-digit numbers; the paper's own "
        "step size for descent carries unknown constants, so C13 checks a computed one instead.",
        "The convolutional net's final loss changes by 2e-3 to 3e-3 between step sizes 0.01 and "
        "0.002 (1e-3 was expected of other seeds): at 0.5 to 1.2 it is still falling fast. Only "
        "its relative distance is claimed.",
    ),
)
