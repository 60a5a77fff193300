"""The exact quadratic model of a step, and how far along it to go.

    M(delta) = h + g . delta + 1/2 delta^T (F + lambda I) delta,
    delta = alpha Delta + mu delta_0,

F the exact Fisher matrix of the examples, of which only products with Delta and the last step
delta_0 are needed: two passes forward, none backward. Source: Martens and Grosse (2015), sections
6.4 and 7 (E11).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, ""]
PARALLEL = 1e-9  # 1 - cos^2 of two directions in the metric F + lambda I, below which they are one


class QuadraticModel(NamedTuple):
    """M on the plane of two directions, Delta and delta_0.

    Attributes:
        slope: g . Delta and g . delta_0 (2,).
        curvature: The matrix of F + lambda I on the plane (2, 2).
        damping: That of lambda I alone (2, 2).
    """

    slope: Float[Array, "2"]
    curvature: Float[Array, "2 2"]
    damping: Float[Array, "2 2"]

    def change(self, by: Float[Array, "2"], damped: bool = True) -> Scalar:
        """M(delta) - M(0) at (alpha, mu); without lambda where not `damped`."""
        matrix = self.curvature if damped else self.curvature - self.damping
        return self.slope @ by + by @ matrix @ by / 2

    def lowest(self, alpha: Scalar | None = None, mu: Scalar | None = None) -> Float[Array, "2"]:
        """(alpha, mu) where M is least; what is given stays. Of one direction alone mu is 0."""
        (b1, b2), ((c1, c12), (_, c2)) = self.slope, self.curvature
        one, two = jnp.where(c1 > 0, c1, 1), jnp.where(c2 > 0, c2, 1)
        if alpha is not None and mu is not None:
            return jnp.stack([alpha, mu])
        if mu is not None:
            return jnp.stack([-(b1 + c12 * mu) / one, mu])
        if alpha is not None:
            return jnp.stack([alpha, jnp.where(c2 > 0, -(b2 + c12 * alpha) / two, 0)])
        # Scaled so that both directions have length 1 in the metric.
        d1, d2 = jnp.sqrt(one), jnp.sqrt(two)
        r, u1, u2 = c12 / (d1 * d2), b1 / d1, b2 / d2
        apart = (1 - r) * (1 + r)
        both = (c2 > 0) & (apart > PARALLEL)
        room = jnp.where(both, apart, 1)
        a = jnp.where(both, -(u1 - r * u2) / room, -u1) / d1
        m = jnp.where(both, -(u2 - r * u1) / room, 0) / d2
        return jnp.stack([a, m])


def next_damping(damping: Scalar, ratio: Scalar, factor: Scalar) -> Scalar:
    """The damping after a look at the ratio of true to foretold change (E12).

    Above 3/4 it is multiplied by `factor`, below 1/4 (or where it is no number) divided.
    """
    worse = ~(ratio >= 0.25)
    return jnp.where(ratio > 0.75, damping * factor, jnp.where(worse, damping / factor, damping))
