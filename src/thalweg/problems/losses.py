"""Losses: what is lost on one example, with every factor stated once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import framework, told
from thalweg.core.doors import Checked
from thalweg.core.errors import choose, require


class Loss(Checked):
    """A convex loss of one example's outputs.

    Attributes:
        name: Its name in the registry.
        one: Maps outputs (k,) and a target (k,) to a scalar.
        task: "classification", "regression" or "either". Labels come one-hot.

    Raises:
        InputError: If the name is that of a bundled loss and the function is another: closed
            forms go by the name.
    """

    name: str = eqx.field(static=True)
    one: Callable[[Array, Array], Array] = eqx.field(static=True)
    task: str = eqx.field(static=True)

    def __check_init__(self) -> None:
        bundled = (squared_error, cross_entropy, binary_cross_entropy)
        named = {function.__name__.replace("_", "-"): function for function in bundled}
        require(
            type(self) is not Loss or named.get(self.name, self.one) is self.one,
            f"a loss of one's own came with the name {self.name!r}, which is the bundled loss's; "
            "give another name",
        )


class ScaledLoss(Loss):
    """A loss times a number: what a batch shows of an objective that sums over all examples.

    Attributes:
        base: The loss itself.
        factor: What `one` is times as much of.
    """

    base: Loss
    factor: float = eqx.field(static=True)


def squared_error(outputs: Float[Array, " k"], target: Float[Array, " k"]) -> Float[Array, ""]:
    """1/2 ||outputs - target||^2."""
    return 0.5 * jnp.sum((outputs - target) ** 2)


def cross_entropy(outputs: Float[Array, " k"], target: Float[Array, " k"]) -> Float[Array, ""]:
    """-sum_c target_c log softmax(outputs)_c."""
    return -jnp.sum(target * jax.nn.log_softmax(outputs))


def binary_cross_entropy(
    outputs: Float[Array, " k"], target: Float[Array, " k"]
) -> Float[Array, ""]:
    """sum_c log(1 + exp(outputs_c)) - target_c outputs_c: every output its own logit."""
    return jnp.sum(jax.nn.softplus(outputs) - target * outputs)


LOSSES: dict[str, Loss] = {
    "squared-error": Loss("squared-error", squared_error, "either"),
    "cross-entropy": Loss("cross-entropy", cross_entropy, "classification"),
    "binary-cross-entropy": Loss("binary-cross-entropy", binary_cross_entropy, "either"),
}


def as_loss(given: str | Loss | Callable[..., Any]) -> Loss:
    """A loss, from itself, its name, or a function of one example's outputs and target.

    Raises:
        InputError: If it is none of these.
    """
    if isinstance(given, Loss):
        return given
    if isinstance(given, str):
        return choose(given, LOSSES, "loss")
    functions = {known.one: known for known in LOSSES.values()}
    require(
        callable(given) and not isinstance(given, type) and not framework(given),
        f"loss came as {told(given)}; give a name ({', '.join(LOSSES)}), or a function of JAX "
        "that maps the outputs and the target of one example to one number",
    )
    return functions.get(given) or Loss(getattr(given, "__name__", "loss"), given, "either")
