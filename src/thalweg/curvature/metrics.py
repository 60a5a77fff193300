"""Matrices on the outputs of single examples, as products: what J^T C J has in the middle."""

from __future__ import annotations

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from thalweg.problems.likelihoods import LIKELIHOODS, likelihood
from thalweg.problems.losses import Loss, cross_entropy

OutputProduct = Callable[[Float[Array, "n k"]], Float[Array, "n k"]]


class Metric(eqx.Module):
    """A positive semidefinite k x k matrix for every example."""

    @abc.abstractmethod
    def __call__(
        self,
        loss: Loss,
        outputs: Float[Array, "n k"],
        targets: Float[Array, "n k"],
        index: Int[Array, " n"],
    ) -> OutputProduct:
        """The map u -> C u, example by example; `index` is their place in the data."""


class LossHessian(Metric):
    """The Hessian of the loss in the outputs; O(k) for an example."""

    def __call__(self, loss: Loss, outputs: Array, targets: Array, index: Array) -> OutputProduct:
        if loss.one is cross_entropy:  # its targets may be shares that do not add up to 1
            weight = jnp.sum(targets, axis=1, keepdims=True)
            return lambda u: weight * likelihood(loss).product(outputs, u)
        if loss.one in LIKELIHOODS:
            return lambda u: likelihood(loss).product(outputs, u)
        return jax.linearize(lambda out: _gradients(loss, out, targets), outputs)[1]


class OwnGradient(Metric):
    """r r^T, r the gradient of the loss in the outputs."""

    def __call__(self, loss: Loss, outputs: Array, targets: Array, index: Array) -> OutputProduct:
        r = _gradients(loss, outputs, targets)
        return lambda u: r * jnp.sum(r * u, axis=1, keepdims=True)


class SampledGradients(Metric):
    """The mean of r r^T over draws of the target from the model.

    An example's draws depend on the key and its place in the data alone, so that micro-batches
    change nothing.
    """

    key: Array
    samples: int = eqx.field(static=True)

    def __call__(self, loss: Loss, outputs: Array, targets: Array, index: Array) -> OutputProduct:
        keys = jax.vmap(lambda i: jax.random.fold_in(self.key, i))(index)
        model = likelihood(loss)

        def residuals(key: Array, out: Array) -> Float[Array, "s k"]:
            alike = jnp.broadcast_to(out, (self.samples, len(out)))
            return model.mean(alike) - model.sample(key, alike)

        r = jax.vmap(residuals)(keys, outputs)

        def product(u: Array) -> Array:
            return jnp.einsum("nsk,ns->nk", r, jnp.einsum("nsk,nk->ns", r, u)) / self.samples

        return product


def _gradients(loss: Loss, outputs: Array, targets: Array) -> Float[Array, "n k"]:
    return jax.vmap(jax.grad(loss.one))(outputs, targets)
