"""The solvers that follow gradient flow: one line each."""

from __future__ import annotations

from typing import NamedTuple

import diffrax


class FlowSolver(NamedTuple):
    """A solver behind the interface of `GradientFlow`.

    Attributes:
        solver: Any Diffrax solver with an embedded error estimate.
        cost: Gradients per attempted step.
        about: When to take it.
    """

    solver: diffrax.AbstractSolver
    cost: int
    about: str


# First-same-as-last methods reuse their last gradient: one less per step than stages.
FLOW_SOLVERS: dict[str, FlowSolver] = {
    "tsit5": FlowSolver(diffrax.Tsit5(), 6, "order 5; the default for mild flows"),
    "bosh3": FlowSolver(diffrax.Bosh3(), 3, "order 3; cheapest at loose tolerance"),
    "dopri5": FlowSolver(diffrax.Dopri5(), 6, "order 5; the classical pair"),
    "dopri8": FlowSolver(diffrax.Dopri8(), 13, "order 8; for very tight tolerance"),
}
