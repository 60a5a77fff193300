"""On the optimization of deep networks: implicit acceleration by overparameterization, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Depth as an accelerator of linear models",
    source=(
        "S. Arora, N. Cohen, E. Hazan: On the Optimization of Deep Networks: Implicit Acceleration "
        "by Overparameterization. ICML 2018, arXiv:1802.06509"
    ),
    question=(
        "What does replacing the matrix of a linear model by a product of matrices do to gradient "
        "descent, and can it be faster, though the model expresses nothing new?"
    ),
    minutes={"quick": 1.1, "full": 10.0},
    paper_size="none",
    full=(
        "Ten draws, and 20000 steps with squares; the paper's gas-sensor data (2565 "
        "examples of 128 features, up to a million steps) are not rerun."
    ),
    answer=(
        "From balanced matrices the product W moves by a closed rule: descent on W with a "
        "preconditioner made of W itself, whatever the hidden widths. It makes steps longer far "
        "from the origin and along directions already taken, as an adaptive step size and momentum "
        "do; near the origin it makes them shorter, so that a start must not be too small. From "
        "depth 3 on the rule is the gradient of no function, so that no regulariser does the same. "
        "Whether this is faster depends on the loss. With fourth powers of the error plain descent "
        "is slowed down by the steepest direction, and one or two scalar factors gain a factor of "
        "three or more in steps; with squares they gain nothing. Each method must have its own "
        "best step size for the comparison to be fair. AdaDelta with a tuned multiplier is faster "
        "still here."
    ),
    deviates=(
        "The paper's data (gas sensors, 2565 examples of 128 features, up to a million steps) are "
        "not bundled; Gaussian inputs of falling scales in a random basis take their place, 300 "
        "examples of 32 features and 20000 steps, at both scales; full scale has more draws.",
        "That descent and the rule part in proportion to the step size is a limit. The slope is "
        "taken over step sizes from 0.0025 down, not from 0.02 as was first stated: of six draws "
        "three are on the edge of stability there, and slopes over 0.02 to 0.00125 are 1.03 to "
        "1.48; local slopes fall to 1.00 to 1.02 at the smallest steps. Both are stored. Of "
        "thirty draws one needs smaller steps still (1.13).",
        "X1 is the same at both scales. In five draws of the flows the balance defect was up to "
        "2.8e-12, the error of the solver at the stated tolerance; the 1e-12 of C1 is held to the "
        "first draw.",
        "The factor of three in the last loss (C8) holds for all ten draws of full scale (7.6 at "
        "least). In ten further draws of the same recipe one fell short of it (2.1), as plain "
        "descent did well there; the factors in steps held.",
        "With squares, 5000 steps instead of 20000 are taken at quick scale: no method needs more "
        "for the loss that is asked of it.",
        "At depth 2 the Jacobian's asymmetry is by automatic differentiation, not by differences.",
        "The network with layers as products reads 8x8 digits with dense layers, in place of a "
        "convolutional net on MNIST, and carries no claim. That depth beats AdaDelta is not "
        "claimed either: with a tuned multiplier AdaDelta is faster.",
    ),
)
