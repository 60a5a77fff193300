"""What happens after SGD reaches zero loss, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="What happens after SGD reaches zero loss",
    source=(
        "Z. Li, T. Wang, S. Arora: What Happens after SGD Reaches Zero Loss? A Mathematical "
        "Framework. ICLR 2022, arXiv:2110.06914"
    ),
    question=(
        "Where does the noise of SGD lead once the loss is zero, and does a flow without any noise "
        "predict it?"
    ),
    minutes={"quick": 2.0, "full": 2.5},
    paper_size="all",
    full=(
        "The paper is a theory without sizes of its own; more draws of the regression, four times "
        "the copies of the ensembles."
    ),
    answer=(
        "Along the manifold of minima, on the clock eta^2 k, as the second derivative of the limit "
        "map of gradient flow says: its closed form agrees with the flow's variational equations "
        "to eleven digits. Noise of labels descends the trace of the Hessian and needs no random "
        "numbers to be predicted; isotropic noise diffuses and descends a quarter of the "
        "log-determinant. On the over-parametrised linear model the flow finds the sparse solution "
        "that plain descent misses, from half as many examples as unknowns, and SGD follows it to "
        "a few percent. The drift need not descend anything: a motor turns for ever."
    ),
    deviates=(
        "The claims are those of a specification written from the abstract and re-derived; no "
        "official code was found. The coefficient 1/4 of the log-determinant is what the theorem "
        "gives and what ensembles confirm.",
        "The squared error here has a factor 1/2: step sizes are doubled, slow time is four times "
        "as long, and both are told in the paper's units.",
        "SGD on the linear model takes the full gradient with the label noise of one random "
        "example, which has the same covariance on the manifold as single-example steps.",
        "The probabilities and constants of the recovery theorem are not tested, nor the public "
        "companion run of 300,000 steps.",
    ),
)
