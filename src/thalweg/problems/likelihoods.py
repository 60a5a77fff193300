"""Losses that are likelihoods: what their Fisher matrix in the outputs is, and draws of targets."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import InputError
from thalweg.problems.losses import Loss, binary_cross_entropy, cross_entropy, squared_error

Outputs = Float[Array, "n k"]


class Likelihood(eqx.Module):
    """-log p(y | z) of a loss, for outputs z (n, k): its Fisher matrix in z, and draws of y.

    F_R = E_y[r r^T], r = d loss/d z, y drawn from p(. | z), is also the Hessian of the loss in z.
    Everything is O(k) for an example; `roots` has k columns.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def sample(self, key: Array, outputs: Outputs) -> Outputs:
        """A target of every example, drawn from the model."""

    @abc.abstractmethod
    def mean(self, outputs: Outputs) -> Outputs:
        """E[y | z]; the gradient of the loss in the outputs is this minus the target."""

    @abc.abstractmethod
    def product(self, outputs: Outputs, u: Outputs) -> Outputs:
        """F_R u, example by example."""

    @abc.abstractmethod
    def root(self, outputs: Outputs, u: Outputs) -> Outputs:
        """B^T u with B B^T = F_R, so that ||B^T u||^2 = u^T F_R u."""

    def roots(self, outputs: Outputs) -> Float[Array, "k n k"]:
        """The columns of B: sum_c b_c b_c^T = F_R for every example."""
        k = outputs.shape[1]

        def row(z: Array, e: Array) -> Array:
            return self.root(z[None], e[None])[0]

        units = jnp.eye(k, dtype=outputs.dtype)
        return jnp.moveaxis(jax.vmap(jax.vmap(row, (None, 0)), (0, None))(outputs, units), 2, 0)


class UnitGaussian(Likelihood):
    """A Gaussian of unit variance about the outputs: the squared error, F_R = I."""

    name = "Gaussian"

    def sample(self, key: Array, outputs: Outputs) -> Outputs:
        return outputs + jax.random.normal(key, outputs.shape, outputs.dtype)

    def mean(self, outputs: Outputs) -> Outputs:
        return outputs

    def product(self, outputs: Outputs, u: Outputs) -> Outputs:
        return u

    def root(self, outputs: Outputs, u: Outputs) -> Outputs:
        return u


class Bernoulli(Likelihood):
    """Independent coins with the outputs as logits, F_R = diag(p (1 - p))."""

    name = "Bernoulli"

    def sample(self, key: Array, outputs: Outputs) -> Outputs:
        p = jax.nn.sigmoid(outputs)
        return jax.random.bernoulli(key, p).astype(outputs.dtype)

    def mean(self, outputs: Outputs) -> Outputs:
        return jax.nn.sigmoid(outputs)

    def product(self, outputs: Outputs, u: Outputs) -> Outputs:
        p = jax.nn.sigmoid(outputs)
        return p * (1 - p) * u

    def root(self, outputs: Outputs, u: Outputs) -> Outputs:
        # sigmoid(z) sigmoid(-z), not p (1 - p): 1 - p is 0 long before its root is.
        return jnp.sqrt(jax.nn.sigmoid(outputs) * jax.nn.sigmoid(-outputs)) * u


class Categorical(Likelihood):
    """One class of k, softmax probabilities: F_R = diag(p) - p p^T, B = (I - p 1^T) diag(p)^1/2.

    Targets are one-hot.
    """

    name = "categorical"

    def sample(self, key: Array, outputs: Outputs) -> Outputs:
        drawn = jax.random.categorical(key, outputs, axis=1)
        return jax.nn.one_hot(drawn, outputs.shape[1], dtype=outputs.dtype)

    def mean(self, outputs: Outputs) -> Outputs:
        return jax.nn.softmax(outputs)

    def product(self, outputs: Outputs, u: Outputs) -> Outputs:
        p = jax.nn.softmax(outputs)
        return p * (u - jnp.sum(p * u, axis=1, keepdims=True))

    def root(self, outputs: Outputs, u: Outputs) -> Outputs:
        p = jax.nn.softmax(outputs)
        return jnp.sqrt(p) * (u - jnp.sum(p * u, axis=1, keepdims=True))


LIKELIHOODS: dict[Callable[..., Array], Likelihood] = {
    squared_error: UnitGaussian(),
    cross_entropy: Categorical(),
    binary_cross_entropy: Bernoulli(),
}


def likelihood(loss: Loss) -> Likelihood:
    """What a loss is the negative logarithm of.

    Args:
        loss: One of `LOSSES`.

    Raises:
        InputError: If it is known of no likelihood.

    Examples:
        >>> coins = tw.problems.likelihood(tw.problems.LOSSES["binary-cross-entropy"])
        >>> coins.product(jnp.zeros((1, 2)), jnp.array([[1.0, 2.0]])).tolist()  # p (1 - p) = 1/4
        [[0.25, 0.5]]
    """
    found = LIKELIHOODS.get(loss.one)
    if found is None:
        raise InputError(
            f"loss {loss.name!r} is no likelihood that is known here, so there are no targets to "
            f"draw from the model; give one of {', '.join(_NAMES)}"
        )
    return found


_NAMES = ("squared-error", "cross-entropy", "binary-cross-entropy")
