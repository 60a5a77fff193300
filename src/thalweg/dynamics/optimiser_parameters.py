"""The parameters of optimisers by name: what each means, and what it may be."""

from __future__ import annotations

from typing import Any

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require

# What a parameter means, for every optimiser that has it.
PARAMETERS = {
    "momentum": "Share of the last step that the next one keeps, from 0 to below 1.",
    "b1": "Decay of the average of gradients, from 0 to below 1.",
    "b2": "Decay of the average of squared gradients, from 0 to below 1.",
    "decay": "Decay of the average of squared gradients, from 0 to below 1.",
    "rho": "Decay of the averages of squared gradients and squared steps, from 0 to below 1.",
    "epsilon": "Added to the root of the second moment, so that small gradients are not blown up.",
    "weight_decay": "Decoupled decay of the weights, per step and unit of the learning rate.",
    "initial": "What the average or the sum of squared gradients begins with.",
    "memory": "How many past steps the curvature is estimated from.",
    "newton_schulz": "Newton-Schulz iterations that make a matrix of momentum orthogonal.",
    "warmup": "Steps over which the learning rate rises from 0.",
    "damping": "Damping of the curvature; of K-FAC that of the start, found by trials by default.",
    "radius": "Of SAM the length of its ascent, of a trust region the first radius, of perturbed "
    "descent the ball that moves are drawn from.",
    "convexity": "mu, the least curvature of the objective.",
    "hessian_lipschitz": "M of the cubic term, the Lipschitz constant of the Hessian.",
    "least": "f_*, the infimum of the objective.",
    "length": "The norm that gradients are cut to.",
    "krylov": "Dimension of the Krylov space that a step is sought in; 0 for the whole space.",
    "threshold": "Norm up to which a gradient counts as small.",
    "period": "Steps from one full gradient to the next; by default two passes over the data.",
    "reference": "Examples that stand for all where SPIDER begins anew.",
    "wait": "Steps between moves at least.",
    "tries": "How many dampings a step tries.",
    "replicas": "Copies that are drawn to their mean, which is what is trained.",
    "inner_steps": "Steps of the inner loop, a gradient each.",
    "inner_rate": "Step size of the inner loop.",
    "averaging": "Share of the inner loop's mean that a step keeps, from 0 to below 1.",
    "noise": "Size of the noise; of Entropy-SGD that of the inner loop.",
    "alpha": "Inverse scale of the Laplace prior on the strengths of connections: how it prunes.",
    "l1": "Strength of the pull towards 0 of connections.",
    "sparsity": "Share of connections that are to be absent; of Grad R from 0.5 on.",
    "begin": "Steps before the smallest weights are set to 0.",
    "coupling": "Stiffness that holds to the centre at first; balances the loss by default.",
    "coupling_steps": "Steps over which the coupling grows by 10^4.",
}
PARAMETER_ALIASES = {
    "beta": "momentum", "beta1": "b1", "beta2": "b2", "eps": "epsilon", "wd": "weight_decay",
    "alpha": "decay", "ns_steps": "newton_schulz", "memory_size": "memory",
    "warmup_steps": "warmup", "initial_accumulator_value": "initial",
}  # fmt: skip
SHARES = ("momentum", "b1", "b2", "decay", "rho", "averaging", "sparsity")  # from 0 to below 1
COUNTS = (
    "memory", "newton_schulz", "warmup", "replicas", "inner_steps", "coupling_steps", "krylov",
    "wait", "tries", "begin", "period", "reference",
)  # fmt: skip


def require_within(optimiser: str, name: str, value: Any) -> None:
    """Refuse a value that a parameter cannot have."""
    if name in COUNTS:
        allowed, least = misfit(value, int), 0 if name in ("warmup", "krylov", "begin") else 1
        fits, words = not allowed and value >= least, f"a whole number from {least} on"
    elif name in SHARES:
        allowed = misfit(value, float)
        fits, words = not allowed and 0 <= value < 1, "a number from 0 to below 1"
    elif name == "least":
        fits, words = not misfit(value, float) and abs(value) < float("inf"), "a finite number"
    else:
        allowed = misfit(value, float)
        fits, words = not allowed and 0 <= value < float("inf"), "a number from 0 on"
    require(fits, f"{name} of {optimiser} came as {told(value)}; give {words}")
