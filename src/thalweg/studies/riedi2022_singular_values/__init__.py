"""Singular value perturbation and deep network optimization, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Singular values, skip connections and the landscape of one layer",
    source=(
        "R. H. Riedi, R. Balestriero, R. G. Baraniuk: Singular Value Perturbation and Deep Network "
        "Optimization. Constructive Approximation 57 (2023), arXiv:2203.03099"
    ),
    question=(
        "Why do skip connections make a net easier to train: what do they do to the loss landscape "
        "of one layer while the others are held fixed?"
    ),
    minutes={"quick": 0.8, "full": 10.0},
    paper_size="none",
    full=("More draws and seeds, and one larger net; the paper's sizes could not be read."),
    answer=(
        "A net of ReLU-like activations is affine around every input, so that the squared error "
        "is, region by region, a quadratic in the weights of one layer, of a shape given by the "
        "singular values of Q, the product of the local matrices D W + rho I above. Without a skip "
        "each factor has a condition number that grows with the width, the factors multiply over "
        "depth, and gradient descent crawls along the flat axes. A skip rho moves every singular "
        "value to within s_1(D W) of rho: while the weights are small against rho the condition "
        "number has a bound that knows no width, and what a flipped activation changes is small "
        "against rho. The guarantee ends where s_1(D W) reaches rho, which is below the usual "
        "initialisation of ReLU nets; condition numbers are still smaller there, but not bounded."
    ),
    deviates=(
        "The sizes of the paper's own figures and its theorems on random weights could not be "
        "read; sizes are chosen here, and its probabilistic bounds are not checked. Gaussian "
        "limits come from random-matrix theory.",
        "Formulae were derived anew where the paper's wording was not at hand; the second "
        "derivative (E5) and the bound on scaled rows are derived, not quoted.",
        "The skip sits outside the activation, D W + rho I; with D (W + rho I) the bounds differ.",
        "Condition numbers above 1e14 count as infinite. At six layers without a skip the "
        "smallest singular values of X2 are within a factor of a hundred of rounding noise.",
        "That log kappa grows linearly with depth is held to growth per layer from one to three "
        "layers and from three to six within 25 %.",
        "In X4 a net of ReLU is left out: its dead units leave directions exactly flat with and "
        "without a skip. Descents that do not end in 3000 steps count as 3000.",
        "X5 takes a dense net of leaky ReLUs on the bundled digits in place of a convolutional "
        "one, and looks at a layer near the input after Adam has trained all of them; it carries "
        "no claim.",
    ),
)
