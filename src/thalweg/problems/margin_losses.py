"""Losses of a margin: what is lost on an example that lies on the right side by u."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.ranges import require_positive


class ExponentialTail(NamedTuple):
    """-l'(u) ~ scale * exp(-rate * u) for large margins u."""

    rate: float
    scale: float


class MarginLoss(eqx.Module):
    """A positive, decreasing loss l(u) of the margin u = y f(x), entry by entry.

    Attributes:
        name: Its name.
        value: l(u).
        log: log l(u), also where l(u) is below the smallest positive number.
        tail: Rate and scale of an exponential tail, or None for any other tail.

    Examples:
        >>> loss = tw.problems.MARGIN_LOSSES["logistic"]
        >>> round(float(loss.value(jnp.array(0.0))), 6), round(float(loss.log(jnp.array(1e4))), 6)
        (0.693147, -10000.0)
    """

    name: str = eqx.field(static=True)
    value: Callable[[Array], Array] = eqx.field(static=True)
    log: Callable[[Array], Array] = eqx.field(static=True)
    tail: ExponentialTail | None = eqx.field(static=True, default=None)


def logistic(u: Float[Array, "..."]) -> Float[Array, "..."]:
    """log(1 + exp(-u)), without cancellation; its second derivative is at most 1/4."""
    return jax.nn.softplus(-u)


def log_logistic(u: Float[Array, "..."]) -> Float[Array, "..."]:
    """The logarithm of `logistic`: -u - exp(-u)/2 + O(exp(-2u)), used for u > 30."""
    far, near = _split(u, 30.0)
    return jnp.where(u > 30.0, -far - jnp.exp(-far) / 2, jnp.log(jax.nn.softplus(-near)))


def _split(u: Array, at: float) -> tuple[Array, Array]:
    """The parts of u above `at` and not, each `at` elsewhere: safe to differentiate."""
    return jnp.where(u > at, u, at), jnp.where(u > at, at, u)


def exponential(u: Float[Array, "..."]) -> Float[Array, "..."]:
    """exp(-u)."""
    return jnp.exp(-u)


MARGIN_LOSSES: dict[str, MarginLoss] = {
    "logistic": MarginLoss("logistic", logistic, log_logistic, ExponentialTail(1.0, 1.0)),
    "exponential": MarginLoss("exponential", exponential, jnp.negative, ExponentialTail(1.0, 1.0)),
}


@cache  # one object per power, so that what was compiled with it is found again
def power_tail(power: float) -> MarginLoss:
    """u^(-power) for u > 1, and its tangent 1 - power (u - 1) below.

    Convex, once differentiable, l'' at most power (power + 1). Descent on it does not maximise
    the L2 margin: see `thalweg.theory.limits.separable.power_tail_direction`.

    Raises:
        InputError: If the power is not positive.

    Examples:
        >>> loss = tw.problems.power_tail(2)
        >>> loss.value(jnp.array([0.0, 1.0, 2.0])).tolist()  # 1 + 2, 1, 1/4
        [3.0, 1.0, 0.25]
    """
    require_positive(power=power)

    def value(u: Array) -> Array:
        tail, below = _split(u, 1.0)
        return jnp.where(u > 1, tail**-power, 1 - power * (below - 1))

    def log(u: Array) -> Array:
        tail, below = _split(u, 1.0)
        return jnp.where(u > 1, -power * jnp.log(tail), jnp.log1p(power * (1 - below)))

    return MarginLoss(f"power tail {power:g}", value, log)


@cache
def stretched_exponential(exponent: float) -> MarginLoss:
    """exp(-u^exponent) for u > 1, and its tangent (1 - exponent (u - 1))/e below.

    Convex and once differentiable; exponent 1 has the exponential tail.

    Raises:
        InputError: If the exponent is not positive.

    Examples:
        >>> loss = tw.problems.stretched_exponential(0.5)
        >>> round(float(loss.log(jnp.array(9.0))), 6)  # -sqrt(9)
        -3.0
    """
    require_positive(exponent=exponent)

    def value(u: Array) -> Array:
        tail, below = _split(u, 1.0)
        return jnp.where(u > 1, jnp.exp(-(tail**exponent)), (1 - exponent * (below - 1)) / jnp.e)

    def log(u: Array) -> Array:
        tail, below = _split(u, 1.0)
        return jnp.where(u > 1, -(tail**exponent), jnp.log1p(exponent * (1 - below)) - 1)

    kind = ExponentialTail(1.0, 1.0) if exponent == 1 else None
    return MarginLoss(f"exp(-u^{exponent:g})", value, log, kind)
