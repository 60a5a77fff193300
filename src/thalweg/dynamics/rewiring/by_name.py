"""Rewiring and pruning as optimisers that a name and numbers stand for."""

from __future__ import annotations

import optax

from thalweg.dynamics.optimiser_entry import Optimiser
from thalweg.dynamics.rewiring.deep_rewiring import deep_r, soft_deep_r
from thalweg.dynamics.rewiring.gradient_rewiring import grad_r
from thalweg.dynamics.rewiring.magnitude import magnitude_pruning

_MOMENTS = {"b1": 0.9, "b2": 0.999, "epsilon": 1e-8}

REWIRING: dict[str, Optimiser] = {
    "grad-r": Optimiser(
        "Adam on strengths of connections under a prior: absent ones can grow again",
        grad_r,
        {"alpha": 0.01, "sparsity": 0.95, **_MOMENTS},
        "Grad R",
    ),
    "deep-r": Optimiser(
        "Adam with an l1 pull; what changes sign is pruned, beyond a sparsity some comes back",
        deep_r,
        {"l1": 0.01, "sparsity": 0.95, "noise": 0.0, **_MOMENTS},
        "Deep R",
        draws=True,
    ),
    "soft-deep-r": Optimiser(
        "Deep R whose absent connections walk at random until they come back",
        soft_deep_r,
        {"l1": 0.01, "noise": 0.01, "sparsity": 0.95, **_MOMENTS},
        "soft Deep R",
        draws=True,
    ),
    "magnitude-pruning": Optimiser(
        "Adam; after some steps the smallest weights are set to 0 and the rest trained on",
        lambda rate, sparsity, begin, b1, b2, epsilon: magnitude_pruning(
            optax.adam(rate, b1, b2, epsilon), sparsity, begin
        ),
        {"sparsity": 0.95, "begin": 1000, **_MOMENTS},
        "magnitude pruning",
    ),
}
