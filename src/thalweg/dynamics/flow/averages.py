"""What moves along the flow of an optimiser that keeps averages."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Begin(NamedTuple):
    """What averages hold where a path begins that goes on from another.

    Attributes:
        second: v (p,), not corrected.
        first: m (p,), not corrected; None where there is none.
        highest: The largest v^ so far (p,); None where none is kept.
        since: Training time over which they were taken.
    """

    second: Float[Array, " p"]
    first: Float[Array, " p"] | None
    highest: Float[Array, " p"] | None
    since: Float[Array, ""] | float


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
    first: Float[Array, " m"]
    highest: Float[Array, " h"]
    rate: Float[Array, ""]
    second_share: Float[Array, ""]
    first_share: Float[Array, ""]
    steps: Float[Array, " n"]


def joined(parts: Averages) -> Float[Array, " y"]:
    """All parts as one vector."""
    return jnp.concatenate([*parts[:4], jnp.stack(parts[4:7]), parts.steps])


def begun_at(begin: Begin, start: Averages, rates: tuple[Array, Array] | None) -> Averages:
    """What moves, where averages begin that were taken for a while.

    Args:
        begin: The averages.
        start: What moves where they hold nothing.
        rates: alpha_2 and alpha_1, by which the averages are corrected; None if they are not.
    """
    kind = start.theta.dtype
    start = start._replace(second=begin.second.astype(kind))
    if start.first.size and begin.first is not None:
        start = start._replace(first=begin.first.astype(kind))
    if start.highest.size and begin.highest is not None:
        start = start._replace(highest=begin.highest.astype(kind))
    if rates is None:
        return start
    shares = [-jnp.expm1(-rate * jnp.asarray(begin.since, jnp.float64)) for rate in rates]
    return start._replace(second_share=shares[0].astype(kind), first_share=shares[1].astype(kind))
