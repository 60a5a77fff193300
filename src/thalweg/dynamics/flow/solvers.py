"""The solvers that follow gradient flow: one line each."""

from __future__ import annotations

from typing import NamedTuple

import diffrax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.dynamics.flow.methods import Chebyshev, Extrapolated, Method, explicit


class FlowSolver(NamedTuple):
    """A solver behind the interface of `GradientFlow`.

    Attributes:
        methods: The methods it takes steps by; of several, the cheapest at each step.
        about: When to take it.
    """

    methods: tuple[Method, ...]
    about: str

    def tolerances(self, error: Float[Array, ""], rtol: Array | None) -> Float[Array, " m"]:
        """The relative tolerance of a step by each method; 0 for one that is not offered."""
        each = [
            jnp.minimum(m.tolerance(error) if rtol is None else rtol, m.loosest)
            for m in self.methods
        ]
        if len(each) > 1:
            ranges = [m.offered for m in self.methods]
            each = [
                jnp.where((low < error) & (error <= high), tolerance, 0.0)
                for (low, high), tolerance in zip(ranges, each, strict=True)
            ]
        return jnp.stack(each)


TSIT5 = explicit(diffrax.Tsit5())

FLOW_SOLVERS: dict[str, FlowSolver] = {
    "auto": FlowSolver(
        (TSIT5, Chebyshev(), Extrapolated()), "the cheapest of tsit5, rkc2 and rkl2x at each step"
    ),
    "rkc2": FlowSolver((Chebyshev(),), "order 2, stabilised; for stiff flows"),
    "rkl2x": FlowSolver((Extrapolated(),), "order 3, stabilised; for errors below about 3e-4"),
    "tsit5": FlowSolver((TSIT5,), "order 5; for mild flows"),
    "bosh3": FlowSolver((explicit(diffrax.Bosh3()),), "order 3; cheap at loose tolerance"),
    "dopri5": FlowSolver((explicit(diffrax.Dopri5()),), "order 5; the classical pair"),
    "dopri8": FlowSolver((explicit(diffrax.Dopri8()),), "order 8; for very tight tolerance"),
}
