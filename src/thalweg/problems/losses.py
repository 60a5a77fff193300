"""Losses: what is lost on one example, with every factor stated once."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import choose


class Loss(eqx.Module):
    """A convex loss of one example's outputs.

    Attributes:
        name: Its name in the registry.
        one: Maps outputs (k,) and a target (k,) to a scalar.
        task: "classification", "regression" or "either". Labels come one-hot.
    """

    name: str = eqx.field(static=True)
    one: Callable[[Array, Array], Array] = eqx.field(static=True)
    task: str = eqx.field(static=True)


def squared_error(outputs: Float[Array, " k"], target: Float[Array, " k"]) -> Float[Array, ""]:
    """1/2 ||outputs - target||^2."""
    return 0.5 * jnp.sum((outputs - target) ** 2)


def cross_entropy(outputs: Float[Array, " k"], target: Float[Array, " k"]) -> Float[Array, ""]:
    """-sum_c target_c log softmax(outputs)_c."""
    return -jnp.sum(target * jax.nn.log_softmax(outputs))


LOSSES: dict[str, Loss] = {
    "squared-error": Loss("squared-error", squared_error, "either"),
    "cross-entropy": Loss("cross-entropy", cross_entropy, "classification"),
}


def loss_named(name: str) -> Loss:
    """A loss by name, with the nearest right name in the error."""
    return choose(name, LOSSES, "loss")
