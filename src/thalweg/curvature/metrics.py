"""Matrices on the outputs of single examples, as products: what J^T C J has in the middle."""

from __future__ import annotations

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from thalweg.problems.losses import Loss, cross_entropy, squared_error

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
        if loss.one is squared_error:
            return lambda u: u
        if loss.one is cross_entropy:
            p, weight = jax.nn.softmax(outputs), jnp.sum(targets, axis=1, keepdims=True)
            return lambda u: weight * p * (u - jnp.sum(p * u, axis=1, keepdims=True))
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
        k, kind = outputs.shape[1], outputs.dtype

        def residuals(key: Array, out: Array) -> Float[Array, "s k"]:
            if loss.one is cross_entropy:
                drawn = jax.random.categorical(key, out, shape=(self.samples,))
                return jax.nn.softmax(out)[None] - jax.nn.one_hot(drawn, k, dtype=kind)
            return jax.random.normal(key, (self.samples, k), kind)

        r = jax.vmap(residuals)(keys, outputs)

        def product(u: Array) -> Array:
            return jnp.einsum("nsk,ns->nk", r, jnp.einsum("nsk,nk->ns", r, u)) / self.samples

        return product


def _gradients(loss: Loss, outputs: Array, targets: Array) -> Float[Array, "n k"]:
    return jax.vmap(jax.grad(loss.one))(outputs, targets)
