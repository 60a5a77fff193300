"""What the structures of K-FAC share from a refresh on, and the direction that each leads to."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from thalweg.core.tree import Params
from thalweg.curvature.kronecker.block_diagonal import BlockDiagonal, Eigenbasis, Matrices
from thalweg.curvature.kronecker.eigenvalues import carried, moments_in_bases
from thalweg.curvature.kronecker.tridiagonal import Tridiagonal
from thalweg.dynamics.natural_gradient.history import corrected
from thalweg.dynamics.natural_gradient.seen import Scalar, StepView

STEPS_KEPT = {"eigenvalues": 20}  # steps between refreshes where none is asked for; else 1


def diagonal_of(seen: StepView) -> BlockDiagonal:
    """The factors in double precision, as gamma is small beside them."""
    wide = jax.tree.map(lambda a: a.astype(jnp.float64), seen.factors)
    return BlockDiagonal(seen.layers, wide)


def inverted(structure: str, seen: StepView, gamma: Scalar) -> Any:
    """What solutions with the damped factors share."""
    damped = diagonal_of(seen).damped(gamma)
    if structure == "tridiagonal":
        return Tridiagonal(seen.layers, damped).factorised()
    return damped.factorised()


def measured(seen: StepView, shared: Any, due: Array, share: Scalar) -> Any:
    """The eigenbases of the factors, and moving averages of the second moments of gradients there.

        s <- share s + (1 - share) E[(V_G^T DW V_A)^2]

    Where the bases are renewed the averages are carried over as the matrices that they stand for:
    started anew, they would stand on the examples and the draw of one step.

    Source: George et al. (2018, arXiv 1806.03884), section 3.2, who keep the basis for many steps.
    """
    diagonal = diagonal_of(seen)
    before, averages = shared

    def renewed() -> Any:
        new = diagonal.shifted(0.0).bases
        return new, carried(before, averages, new)

    bases, values = jax.lax.cond(due, renewed, lambda: shared)
    new = moments_in_bases(diagonal, bases, *seen.statistics)
    kept = [a + (1 - share) * (b.astype(a.dtype) - a) for a, b in zip(values, new, strict=True)]
    return bases, tuple(kept)


def preconditioned_direction(
    structure: str, seen: StepView, shared: Any, gamma: Scalar, lam: Scalar
) -> Params:
    """-(damped Kronecker factors)^-1 gradient, the inverse corrected by the pairs of past steps."""

    def inverse(vector: Params) -> Params:
        return _solved(structure, seen, shared, gamma, vector)

    return jax.tree.map(jnp.negative, corrected(seen.history, lam, seen.gradient, inverse))


def _solved(structure: str, seen: StepView, shared: Any, gamma: Scalar, vector: Params) -> Params:
    wide = [g.astype(jnp.float64) for g in jax.tree.leaves(vector)]
    blocks: Matrices = seen.layers.split(wide)
    diagonal = BlockDiagonal(seen.layers, seen.factors)
    if structure == "eigenvalues":
        bases, values = shared
        made = Eigenbasis(seen.layers, bases, values, gamma**2).solved((), blocks)
    elif structure == "tridiagonal":
        made = Tridiagonal(seen.layers, diagonal).solved(shared, blocks)
    else:
        made = diagonal.solved(shared, blocks)
    leaves = seen.layers.joined(made)
    kinds = jax.tree.leaves(seen.params)
    leaves = [a.astype(like.dtype) for a, like in zip(leaves, kinds, strict=True)]
    return jax.tree.unflatten(seen.layers.structure, leaves)
