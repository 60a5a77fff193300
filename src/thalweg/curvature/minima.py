"""The directions along a manifold of minima, and those across it, by one tolerance of the rank."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.errors import require

Vector = Float[Array, " p"]


class NormalSplit(NamedTuple):
    """The eigenpairs of a Hessian at or near a manifold of minima, divided into two kinds.

    Attributes:
        values: Eigenvalues, ascending, shape (p,).
        vectors: Orthonormal columns.
        normal: Which count as across the manifold; the others span its tangent space.
        gap: The largest |eigenvalue| along it over the smallest across: the rank is well defined
            where it is far below 1; 0 if there are none along it.
    """

    values: Vector
    vectors: Float[Array, "p p"]
    normal: Bool[Array, " p"]
    gap: Float[Array, ""]

    @property
    def rank(self) -> Int[Array, ""]:
        """How many are across."""
        return jnp.sum(self.normal)

    def tangent(self, v: Vector) -> Vector:
        """The part of a vector along the manifold."""
        return v - self._weighed(v, self.normal.astype(v.dtype))

    def solved(self, v: Vector) -> Vector:
        """H^+ v, the pseudo-inverse on what is across (Newton's step to the manifold is -H^+ g)."""
        inverse = jnp.where(self.normal, 1 / jnp.where(self.normal, self.values, 1), 0)
        return self._weighed(v, inverse)

    def damped(self, v: Vector, shift: Float[Array, ""]) -> Vector:
        """(|H| + shift)^-1 v: a step downhill also where curvature is negative."""
        return self._weighed(v, 1 / (jnp.abs(self.values) + shift))

    def _weighed(self, v: Vector, weights: Vector) -> Vector:
        return self.vectors @ (weights * (self.vectors.T @ v))


def normal_split(
    hessian: Float[Array, "p p"],
    tolerance: float | Array = 1e-6,
    rank: Int[Array, ""] | None = None,
) -> NormalSplit:
    """Which directions a Hessian bends, and which it leaves flat.

    Args:
        hessian: Symmetric, shape (p, p).
        tolerance: |Eigenvalues| above this share of the largest are across.
        rank: How many are across, the largest in size, in the place of the tolerance: on the way
            back to a manifold of known dimension.

    Raises:
        InputError: If the Hessian is not a square matrix, or a number not one.

    Cost: an eigendecomposition, and p^2 numbers. Pure: `jit` and `vmap` it.

    Examples:
        >>> split = tw.curvature.normal_split(jnp.diag(jnp.array([0.0, 4.0, 1e-9])))
        >>> int(split.rank), split.tangent(jnp.ones(3)).tolist()
        (1, [1.0, 0.0, 1.0])
    """
    hessian = jnp.asarray(hessian)
    require(
        hessian.ndim == 2 and hessian.shape[0] == hessian.shape[1] > 0,
        f"the Hessian came with shape {hessian.shape}; give a square matrix",
    )
    for what, value in (("tolerance", tolerance), ("rank", rank)):
        shape = () if value is None else jnp.shape(value)
        require(shape == (), f"{what} came with shape {shape}; give one number")
    values, vectors = jnp.linalg.eigh(hessian)
    sizes = jnp.abs(values)
    if rank is None:
        normal = sizes > jnp.asarray(tolerance, sizes.dtype) * jnp.max(sizes)
    else:
        place = jnp.argsort(jnp.argsort(-sizes))
        normal = place < rank
    flat = jnp.max(jnp.where(normal, 0, sizes))
    least = jnp.min(jnp.where(normal, sizes, jnp.inf))
    return NormalSplit(values, vectors, normal, flat / least)
