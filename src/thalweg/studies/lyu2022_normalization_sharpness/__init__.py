"""Sharpness reduction by normalisation and weight decay, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Normalisation and weight decay reduce sharpness",
    source=(
        "K. Lyu, Z. Li, S. Arora: Understanding the Generalization Benefit of Normalization "
        "Layers: Sharpness Reduction. NeurIPS 2022, arXiv:2206.07085"
    ),
    question=(
        "If normalisation makes the loss indifferent to the scale of the weights, where do small "
        "steps and weight decay take their direction once the loss is zero?"
    ),
    minutes={"quick": 1.0, "full": 1.5},
    paper_size="none",
    full="More draws of the regression and the matrix; the paper's nets on CIFAR-10 are not rerun.",
    answer=(
        "Towards flatter minima, at a speed that is known. Weight decay shrinks the weights and so "
        "raises the step size of their direction until that times the spherical sharpness is 2; "
        "from then on the direction oscillates and drifts along the minima by the "
        "sharpness-reduction flow, on the clock of step size times weight decay. On a circle of "
        "minima descent stays within 0.01 of it, and the term with the squared slope in the "
        "denominator is needed. In regression with batch normalisation the flow is solved: the "
        "tangent of the angle to the least-norm regressor decays as exp(-tau), and so it does in "
        "steps. In matrix completion the test error falls with the sharpness; without decay both "
        "stand still."
    ),
    deviates=(
        "The paper's figures for VGG-11 and ResNet-20 on CIFAR-10 are not rerun, nor a small net "
        "on digits (C11 of the specification): it shows a lower sharpness and no clear gain in "
        "accuracy at that size.",
        "The constants of batch-normalised regression (K, and that the tangent decays as "
        "exp(-tau)) and the flow of the scheduler for C other than 2 are derived; the paper's "
        "theorem may fix scale and shift differently.",
        "Averages at the edge are taken over pairs of consecutive steps: the sharpness alternates "
        "with the oscillation, and a record at every even step alone is off by up to 4 %.",
        "The matrices of the completion are other draws than those that numbers are quoted for, so "
        "that what is checked are ratios between runs with and without decay.",
        "The flow is compared with the angle of descent at every step; the paper's distance is "
        "that on the sphere.",
    ),
)
