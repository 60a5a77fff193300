"""EKFAC: the second moments of the gradient in the eigenbasis of the Kronecker factors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.curvature.kronecker.block_diagonal import BlockDiagonal, Eigenbasis
from thalweg.curvature.kronecker.layers import Layer
from thalweg.curvature.kronecker.passes import Passes

TOGETHER = 16  # examples whose gradients are held at once where they are no single outer products


def in_eigenbasis(
    diagonal: BlockDiagonal, at: Passes, covectors: Float[Array, "c n k"], weight: Array | float
) -> Eigenbasis:
    """The best diagonal of the Fisher matrix in the eigenbasis of its Kronecker factors.

    s = E[(V_G^T DW V_A)^2], entry by entry: of all matrices that this basis makes diagonal the
    nearest in the Frobenius norm. Blocks that are no Kronecker products stay.

    Args:
        diagonal: The factors, not damped.
        at: The forward pass of examples.
        covectors: As in `factors_of`.
        weight: As there.

    Source: George et al. (2018, arXiv 1806.03884).
    """
    basis, n = diagonal.shifted(0.0), len(at.outputs)

    def squares(r: Array) -> list[Array]:
        sent = at.pull(r)[1]
        made = []
        for layer, axes, h, g in zip(
            diagonal.layers.blocks, basis.bases, at.vectors, sent, strict=True
        ):
            if layer.kronecker:
                U, V = axes
                made.append(_squared(layer, U, V, h, g))
        return made

    found = iter(jax.tree.map(lambda s: jnp.sum(s, axis=0), jax.lax.map(squares, covectors)))
    values = tuple(
        weight / n * next(found) if layer.kronecker else s
        for layer, s in zip(diagonal.layers.blocks, basis.values, strict=True)
    )
    return Eigenbasis(diagonal.layers, basis.bases, values, basis.damping)


def _squared(layer: Layer, U: Array, V: Array, h: list[Array], g: list[Array]) -> Array:
    """The sum over examples of (V^T DW U)^2."""
    if layer.single:
        return ((g[0][:, 0] @ V) ** 2).T @ ((h[0][:, 0] @ U) ** 2)

    def one(example: tuple[list[Array], list[Array]]) -> Array:
        total = jnp.zeros((len(V), len(U)), U.dtype)
        for a, b, place in zip(*example, layer.places, strict=True):
            left, right = (a, b) if place.turned else (b, a)
            total += (left @ V).T @ (right @ U)
        return total**2

    return jnp.sum(jax.lax.map(one, (h, g), batch_size=TOGETHER), axis=0)
