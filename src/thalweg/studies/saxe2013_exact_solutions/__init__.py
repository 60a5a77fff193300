"""Exact solutions to the nonlinear dynamics of learning in deep linear networks, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Exact solutions to the learning dynamics of deep linear networks",
    source=(
        "A. M. Saxe, J. L. McClelland, S. Ganguli: Exact solutions to the nonlinear dynamics of "
        "learning in deep linear neural networks. ICLR 2014, arXiv:1312.6120"
    ),
    question=(
        "How do the singular modes of a task, the depth of a net and its initial weights decide "
        "when and how fast it learns?"
    ),
    minutes={"quick": 1.2, "full": 200.0},
    paper_size="part",
    full=(
        "The paper's depths, step sizes and 1000 units for the digits (MNIST's if its files "
        "are at hand, THALWEG_DATA, or mnist5k, extra images5k); more seeds for the rest, whose "
        "sizes are our own."
    ),
    answer=(
        "A deep linear net computes a linear map, yet learns it mode by mode: each singular mode "
        "of the input-output correlation waits on a plateau for a time in 1/s and then rises "
        "along a sigmoid that is known in closed form. Depth multiplies the sharpness by L, so the "
        "step size must fall as 1/L; in return the time to learn falls as 1/L too, and the number "
        "of steps stays finite at any depth, provided that the product of the layers starts with "
        "a strength of order one in every mode. Decoupled and orthogonal starts give that, "
        "Gaussian ones do not: their products lose almost every direction. Orthogonal weights at "
        "or just above the critical gain do the same for tanh nets."
    ),
    deviates=(
        "Greedy layer-wise pretraining and the task consistency that it needs are not rerun; "
        "decoupled starts are set up directly.",
        "The paper gives learning times in epochs of its own grids; here the nets of X3 are 24 "
        "wide with targets of known singular values, so that the numbers do not hang on a data "
        "set, and every depth has its grid of step sizes in ratios of the square root of two.",
        "The digits (X5) are whitened, the loss is the mean over examples above its least value, "
        "and the criterion is 1 % of the loss of the zero map. The paper's twenty step sizes, 1e-7 "
        "to 1e-4, are read as those of a sum over 60000 examples: 0.006 to 6 for the mean.",
        "At full scale X5 takes MNIST if its files are at hand (THALWEG_DATA), else mnist5k (extra "
        "images5k), else the digits that scikit-learn bundles; the data set says which. At quick "
        "scale it takes the bundled digits, nets 32 wide and 3 to 65 layers of neurons.",
        "Sigma_11 and Sigma_31 are sums over examples in the paper; X1 and X2 keep that.",
        "The mean square singular value of Gaussian products fluctuates by depth/width from draw "
        "to draw, so C9 holds its mean over seeds to three standard errors of the exact spread.",
    ),
)
