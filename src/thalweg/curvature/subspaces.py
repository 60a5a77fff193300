"""How much of a movement lies in a subspace, beside what a random walk would have there."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require


class Overlap(NamedTuple):
    """The share of squared length in a subspace, and that of random directions.

    Attributes:
        fraction: |V^T x|^2/|x|^2 of every vector.
        null: k/p, the mean of a direction drawn at random, as of a random walk's displacement.
        null_deviation: Its standard deviation, sqrt(2 k (p - k)/(p^2 (p + 2))).
    """

    fraction: Float[np.ndarray, "..."]
    null: float
    null_deviation: float


class WalkParticipation(NamedTuple):
    """The participation ratio of random walks.

    Attributes:
        mean: Over walks.
        deviation: Of one walk; 0 in the limit of many dimensions.
        error: Standard error of the mean.
    """

    mean: float
    deviation: float
    error: float


def subspace_overlap(basis: ArrayLike, vectors: ArrayLike) -> Overlap:
    """The share of gradients or updates that lies in a subspace, as the top Hessian eigenvectors.

    Of a random direction the share has the law Beta(k/2, (p - k)/2).

    Args:
        basis: Orthonormal columns (p, k), as `top_k(...).vectors`.
        vectors: (p,) or (..., p).

    Returns:
        Shares with their null; NaN for zero vectors. Exact up to rounding.

    Raises:
        InputError: If shapes do not agree, the columns are not orthonormal to 1e-6, or a
            vector is not finite.

    Source: Gur-Ari, Roberts and Dyer (2018), arXiv 1812.04754.

    Examples:
        >>> found = tw.curvature.subspace_overlap(np.eye(4)[:, :1], [[3.0, 0, 4, 0]])
        >>> found.fraction.round(6).tolist(), found.null
        ([0.36], 0.25)
    """
    V, x = np.asarray(basis, float), np.asarray(vectors, float)
    require(
        V.ndim == 2 and V.shape[1] >= 1 and x.ndim >= 1 and x.shape[-1] == V.shape[0],
        f"a basis of shape {V.shape} and vectors of shape {x.shape} came; give (p, k) and (..., p)",
    )
    off = float(np.max(np.abs(V.T @ V - np.eye(V.shape[1]))))
    require(off < 1e-6, f"the basis came with columns off orthonormal by {off:.2g}; give a basis")
    require(bool(np.all(np.isfinite(x))), "a vector is not finite; leave it out")
    p, k = V.shape
    most = np.max(np.abs(x), axis=-1, keepdims=True)
    x = x / np.where(most > 0, most, 1)  # squares of any size are numbers
    whole = np.sum(x * x, axis=-1)
    part = np.sum((x @ V) ** 2, axis=-1)
    fraction = part / np.where(whole > 0, whole, np.nan)
    return Overlap(fraction, k / p, (2 * k * (p - k) / (p**2 * (p + 2))) ** 0.5)


def participation_ratio(points: ArrayLike) -> float:
    """How many principal components a path spreads over: (sum l)^2/sum l^2 of their variances l.

    A low one says nothing by itself: a random walk in many dimensions has 2.5
    (`walk_participation`).

    Args:
        points: Iterates (n, p), n at least 2; they are centred.

    Raises:
        InputError: If there are fewer than two points, one is not finite, or all are one.

    Cost: a Gram matrix of the fewer of n and p. Exact up to rounding.

    Source: Antognini and Sohl-Dickstein (2018), arXiv 1806.08805.

    Examples:
        >>> round(tw.curvature.participation_ratio([[0.0, 1], [0, -1], [1, 0], [-1, 0]]), 6)
        2.0
    """
    x = np.asarray(points, float)
    require(
        x.ndim == 2 and len(x) >= 2, f"points came with shape {x.shape}; give (n, p), n at least 2"
    )
    require(bool(np.all(np.isfinite(x))), "a point is not finite; leave it out")
    x = x - x.mean(0)
    gram = x @ x.T if len(x) <= x.shape[1] else x.T @ x
    trace = float(np.trace(gram))
    require(trace > 0, "all points are one; give some that differ")
    return trace**2 / float(np.sum(gram * gram))


def walk_participation(
    points: int, dimensions: int | None = None, walks: int = 20, seed: int = 0
) -> WalkParticipation:
    """The participation ratio that a random walk has: the null of `participation_ratio`.

    In many dimensions the variances of a centred walk of n points are those of the inverse of a
    path's Laplacian, l_k = 1/(4 sin(pi k/(2n))^2), so that the ratio tends to
    (sum k^-2)^2/sum k^-4 = 2.5.

    Args:
        points: n, at least 2.
        dimensions: p; None for the limit of many, exact.
        walks: How many are drawn for a finite p.
        seed: Draws them.

    Raises:
        InputError: If a number is out of range.

    Examples:
        >>> round(tw.curvature.walk_participation(1000).mean, 3)
        2.5
    """
    require(points >= 2, f"points came as {points}; give at least 2")
    if dimensions is None:
        size = 1 / (4 * np.sin(np.pi * np.arange(1, points) / (2 * points)) ** 2)
        return WalkParticipation(float(size.sum() ** 2 / (size**2).sum()), 0.0, 0.0)
    require(dimensions >= 1, f"dimensions came as {dimensions}; give at least 1")
    require(walks >= 2, f"walks came as {walks}; give at least 2")

    def one(key: Array) -> Array:
        steps = jax.random.normal(key, (points - 1, dimensions))
        x = jnp.concatenate([jnp.zeros((1, dimensions)), jnp.cumsum(steps, axis=0)])
        x = x - jnp.mean(x, axis=0, keepdims=True)
        gram = x @ x.T if points <= dimensions else x.T @ x
        return jnp.trace(gram) ** 2 / jnp.sum(gram * gram)

    found = np.asarray(jax.lax.map(one, jax.random.split(jax.random.key(seed), walks)))
    spread = float(found.std(ddof=1))
    return WalkParticipation(float(found.mean()), spread, spread / walks**0.5)
