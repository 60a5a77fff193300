"""What moves along the flow of an optimiser that keeps averages."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Averages(NamedTuple):
    """What moves, cut into its parts.

    Attributes:
        theta: Parameters (p,).
        second: v, the average of squared gradients (p,), not corrected.
        first: m, the average of gradients (p,); empty where there is none.
        highest: The largest v^ so far (p,), as AMSGrad keeps it; empty where none is kept.
        rate: r, training time by the solver's clock; with a schedule, steps by it.
        second_share: 1 - exp(-alpha_2 t), integrated as v is.
        first_share: 1 - exp(-alpha_1 t), integrated as m is.
        steps: k, (1,); empty where there is no schedule.
    """

    theta: Float[Array, " p"]
    second: Float[Array, " p"]
    first: Float[Array, " p"]
    highest: Float[Array, " p"]
    rate: Float[Array, ""]
    second_share: Float[Array, ""]
    first_share: Float[Array, ""]
    steps: Float[Array, " n"]


def joined(parts: Averages) -> Float[Array, " y"]:
    """All parts as one vector."""
    return jnp.concatenate([*parts[:4], jnp.stack(parts[4:7]), parts.steps])
