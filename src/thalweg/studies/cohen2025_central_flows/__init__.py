"""Central flows, the mean paths of descent at the edge of stability, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Central flows: training beyond the edge of stability on average",
    source=(
        "J. Cohen, A. Damian, A. Talwalkar, J. Z. Kolter, J. D. Lee: Understanding Optimization in "
        "Deep Learning with Central Flows. ICLR 2025, arXiv:2410.24206"
    ),
    question=(
        "Gradient descent on nets oscillates once the sharpness reaches 2/eta, and leaves gradient "
        "flow. Is there a differential equation for its path without the oscillation?"
    ),
    minutes={"quick": 3.4, "full": 10.0},
    paper_size="none",
    full=(
        "Five seeds in place of two; the paper's nets on a thousand images of CIFAR-10 are not run."
    ),
    answer=(
        "Yes, once the oscillation exists. Its covariance Sigma is what keeps all curvature at or "
        "below 2/eta, found at each instant from a small complementarity problem without constants "
        "to fit, and the mean path follows gradient flow on f + <H, Sigma>/2. On a hundred digits, "
        "with two to four eigenvalues at the edge, the midpoints of descent are six to seven times "
        "nearer to it than to gradient flow, and it tells the mean loss, the mean squared gradient "
        "and the variance of the steps to a few per cent. The loss of the central flow falls "
        "always, that of descent does not: the difference is tr Sigma/eta. Scalar RMSProp and "
        "RMSProp are five times nearer to theirs than to the flow without oscillation. Where the "
        "answer is known, in valleys and for scalar RMSProp at the edge, the equations give it to "
        "rounding."
    ),
    deviates=(
        "The paper has no table of numbers to match. What is checked are exact consequences of its "
        "equations, derived here, and a net of 64-20-20-20-10 tanh units on a hundred digits.",
        "Both flows begin at a midpoint of the method after the oscillation exists (steps 120 and "
        "130 of seeds 0 and 1 for descent, 300 and 120 for scalar RMSProp and RMSProp), and, for "
        "what comes before it, at the first weights (seed 0). The net of three layers, which does "
        "not oscillate, is followed to step 580: later it oscillates out of rounding, and with "
        "another seed (3) from step 530 on.",
        "RMSProp that forgets faster and takes longer steps (0.95, 0.003), for which the "
        "specification states no tolerance, is not run.",
        "The equations with an average (C3) and what a substep leaves of the energy balance are "
        "held against differences in the tests of the central flow, not here.",
        "The variance at the edge is taken on the eigenvectors found every fifth step.",
        "At smoke scale a net of 370 parameters on thirty pooled digits stands for it, where the "
        "ratio of distances is held to 0.5 in place of 0.25, gradient flow's sharpness to 2.2, and "
        "RMSProp takes longer steps.",
    ),
)
