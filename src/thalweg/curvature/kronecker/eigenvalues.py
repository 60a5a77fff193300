"""EKFAC: the second moments of the gradient in the eigenbasis of the Kronecker factors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.curvature.kronecker.block_diagonal import BlockDiagonal, Eigenbasis
from thalweg.curvature.kronecker.layers import Layer
from thalweg.curvature.kronecker.passes import Passes

Bases = tuple[tuple[Array, ...], ...]  # (V_A, V_G) of each block, () where it is diagonal
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
    basis = diagonal.shifted(0.0)
    values = moments_in_bases(diagonal, basis.bases, at, covectors, weight)
    return Eigenbasis(diagonal.layers, basis.bases, values, basis.damping)


def moments_in_bases(
    diagonal: BlockDiagonal,
    bases: Bases,
    at: Passes,
    covectors: Float[Array, "c n k"],
    weight: Array | float,
) -> tuple[Array, ...]:
    """The s of `in_eigenbasis` in any orthogonal bases (V_A, V_G) of the blocks."""
    layers, n = diagonal.layers.blocks, len(at.outputs)

    def squares(r: Array) -> list[Array]:
        sent = at.pull(r)[1]
        made = []
        for layer, axes, h, g in zip(layers, bases, at.vectors, sent, strict=True):
            if layer.kronecker:
                U, V = axes
                made.append(_squared(layer, U, V, h, g))
        return made

    if len(covectors) == 1:
        each = squares(covectors[0])
    else:
        each = jax.tree.map(lambda s: jnp.sum(s, axis=0), jax.lax.map(squares, covectors))
    found = iter(each)
    return tuple(
        weight / n * next(found) if layer.kronecker else A[None]
        for layer, A in zip(layers, diagonal.factors.inputs, strict=True)
    )


def carried(old: Bases, values: tuple[Array, ...], new: Bases) -> tuple[Array, ...]:
    """The diagonal in new bases of blocks that are diagonal in old ones: V'^T V diag(s) V^T V'.

        s' = (V_G'^T V_G)^2 s (V_A^T V_A')^2,    squares entry by entry.

    Each matrix of squares has rows and columns that add up to 1, so that the trace stays.
    """
    made = []
    for axes, others, s in zip(old, new, values, strict=True):
        if not axes:
            made.append(s)
            continue
        (U, V), (W, Z) = axes, others
        made.append((Z.T @ V) ** 2 @ s @ (U.T @ W) ** 2)
    return tuple(made)


def _squared(layer: Layer, U: Array, V: Array, h: list[Array], g: list[Array]) -> Array:
    """The sum over examples of (V^T DW U)^2."""
    U, V = U.astype(h[0].dtype), V.astype(g[0].dtype)
    if layer.single:
        return ((g[0][:, 0] @ V) ** 2).T @ ((h[0][:, 0] @ U) ** 2)

    def one(example: tuple[list[Array], list[Array]]) -> Array:
        total = jnp.zeros((len(V), len(U)), U.dtype)
        for a, b, place in zip(*example, layer.places, strict=True):
            left, right = (a, b) if place.turned else (b, a)
            total += (left @ V).T @ (right @ U)
        return total**2

    return jnp.sum(jax.lax.map(one, (h, g), batch_size=TOGETHER), axis=0)
