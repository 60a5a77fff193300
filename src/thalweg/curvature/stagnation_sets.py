"""Sets of minima that noise stays near: how far a point is from one, and in what direction."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.arguments import misfit, told
from thalweg.core.doors import Checked
from thalweg.core.errors import reason, require
from thalweg.core.tree import Params
from thalweg.curvature.eigenvalues import above, top_k
from thalweg.curvature.operators import hessian
from thalweg.problems.problem import Problem

MOST_DENSE = 1500  # parameters up to which all eigenpairs of a Hessian are computed


class StagnationSet(Checked):
    """A set M of minima, by the nearest point pi(theta) of it; the tube S_delta is |u| <= delta.

    u = theta - pi(theta) is the offset. See `affine_set` and `nearest_points`.
    """

    @abc.abstractmethod
    def nearest(self, params: Params) -> Params:
        """pi(theta), the nearest point of the set."""

    def offset(self, params: Params) -> Float[Array, " p"]:
        """u, in one vector."""
        return tree.flatten(tree.difference(params, self.nearest(params)))

    def distance(self, params: Params) -> Float[Array, ""]:
        """|u| (unit: parameter)."""
        return tree.length(self.offset(params))

    def across(self, params: Params, vector: Float[Array, " p"]) -> Float[Array, " p"]:
        """The part of a vector across the set; all of it where no normal space is known."""
        return vector


class AffineSet(StagnationSet):
    """centre + the orthogonal complement of some normal directions; see `affine_set`.

    Attributes:
        centre: A point of it.
        normal: Orthonormal columns (p, k); None for the point alone.
    """

    centre: Params
    normal: Float[Array, "p k"] | None = None

    @property
    def codimension(self) -> int:
        """k, how many directions are across it."""
        return tree.size(self.centre) if self.normal is None else self.normal.shape[1]

    def offset(self, params: Params) -> Float[Array, " p"]:
        return self.across(params, tree.flatten(tree.difference(params, self.centre)))

    def distance(self, params: Params) -> Float[Array, ""]:
        moved = tree.flatten(tree.difference(params, self.centre))
        return tree.length(moved if self.normal is None else moved @ self.normal)

    def across(self, params: Params, vector: Float[Array, " p"]) -> Float[Array, " p"]:
        if self.normal is None:
            return vector
        return self.normal @ (vector @ self.normal)

    def nearest(self, params: Params) -> Params:
        flat, unravel = ravel_pytree(params)
        return unravel(flat - self.offset(params))

    def draws(self, radius: float | Array, count: int, key: Array) -> Params:
        """Points centre + u with u uniform in the ball of the normal directions, stacked.

        Args:
            radius: delta, of the ball.
            count: How many.
            key: Draws them.
        """
        flat, unravel = ravel_pytree(self.centre)
        k = self.codimension
        way, far = jax.random.split(key)
        g = jax.random.normal(way, (count, k), flat.dtype)
        length = jnp.sqrt(jnp.sum(g * g, axis=1, keepdims=True))
        reach = radius * jax.random.uniform(far, (count, 1), flat.dtype) ** (1 / k)
        u = g / length * jnp.asarray(reach, flat.dtype)
        points = flat[None] + (u if self.normal is None else u @ self.normal.T)
        return jax.vmap(unravel)(points)


class NearestPoints(StagnationSet):
    """A set by a function to its nearest point; see `nearest_points`."""

    function: Callable[[Params], Params] = eqx.field(static=True)

    def nearest(self, params: Params) -> Params:
        return self.function(params)


def affine_set(centre: Params, normal: Float[Array, "p k"] | None = None) -> AffineSet:
    """A minimum alone, or the flat through it that some stiff directions are normal to.

        u = N N^T (theta - theta*),    N N^T the projector on the normal directions.

    Args:
        centre: theta*, parameters.
        normal: Orthonormal columns N (p, k), as eigenvectors of the Hessian; None for the point.

    Raises:
        InputError: If the columns do not fit or are not orthonormal to 1e-6.

    Examples:
        >>> floor = tw.curvature.affine_set(jnp.zeros(3), jnp.eye(3)[:, :1])
        >>> float(floor.distance(jnp.array([3.0, 4.0, 5.0])))
        3.0
    """
    leaves = jax.tree.leaves(centre)
    require(
        bool(leaves) and not any(misfit(leaf, Array) for leaf in leaves),
        f"centre came as {told(centre)}; give parameters, as problem.init(jax.random.key(0))",
    )
    centre = jax.tree.map(jnp.asarray, centre)
    require(
        all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(centre)),
        "centre came with whole numbers; give parameters as numbers with a point",
    )
    p = tree.size(centre)
    if normal is not None:
        N = jnp.asarray(normal)
        require(
            N.ndim == 2 and N.shape[0] == p and 1 <= N.shape[1] <= p,
            f"normal came with shape {N.shape}; give orthonormal columns ({p}, k)",
        )
        off = float(jnp.max(jnp.abs(N.T @ N - jnp.eye(N.shape[1], dtype=N.dtype))))
        require(off < 1e-6, f"normal came with columns off orthonormal by {off:.2g}; give a basis")
        normal = N.astype(ravel_pytree(centre)[0].dtype)
    return AffineSet(centre, normal)


def nearest_points(function: Callable[[Any], Any]) -> NearestPoints:
    """A set of minima of any shape, by the function that maps parameters to its nearest point.

    Args:
        function: pi, from parameters to parameters, in JAX: of a sphere theta/|theta|, or the end
            of a descent.

    Examples:
        >>> circle = tw.curvature.nearest_points(lambda x: x / jnp.linalg.norm(x))
        >>> float(circle.distance(jnp.array([3.0, 4.0])))
        4.0
    """
    require(not misfit(function, Callable), f"function came as {told(function)}; give a function")
    return NearestPoints(function)


def require_nearest(region: StagnationSet, params: Params) -> None:
    """Refuse a set whose nearest points are not shaped as the parameters.

    Raises:
        InputError: What it gave.
    """
    try:
        found = jax.eval_shape(region.nearest, params)
        shapes = [[a.shape for a in jax.tree.leaves(t)] for t in (found, params)]
        wrong = "" if shapes[0] == shapes[1] else f"shapes {shapes[0]}, not {shapes[1]}"
    except Exception as error:  # a user's function may raise anything
        wrong = f"an error: {reason(error)}"
    require(not wrong, f"the nearest point of the set gave {wrong}; give one for these parameters")


def stiff_set(problem: Problem, params: Params, share: float = 0.01, seed: int = 0) -> AffineSet:
    """The flat through a minimum that its stiff directions are normal to.

    Stiff are eigenvectors of the Hessian whose eigenvalue is above `share` of the largest. To
    first order it is the set of minima itself, if the others are flat.

    Args:
        problem: f.
        params: theta*, near a minimum.
        share: Of the largest eigenvalue, in (0, 1).
        seed: Draws the starts of Lanczos.

    Raises:
        InputError: If the share is not in (0, 1), or the largest eigenvalue is not positive.

    Cost: up to 1500 parameters p Hessian products and an eigendecomposition; above, Lanczos for
    the stiff eigenpairs.

    Examples:
        >>> valley = tw.problems.Function(lambda x: 2 * x[0] ** 2 + 1e-3 * x[1] ** 2, jnp.ones(2))
        >>> floor = tw.curvature.stiff_set(valley, jnp.zeros(2))
        >>> floor.codimension, float(floor.distance(jnp.array([3.0, 4.0])))
        (1, 3.0)
    """
    require(0 < share < 1, f"share came as {told(share)}; give a number between 0 and 1")
    operator = hessian(problem, params)
    if operator.shape[0] <= MOST_DENSE:
        values, vectors = jnp.linalg.eigh(operator.dense())
        largest = float(values[-1])
        stiff = vectors[:, values > share * largest]
    else:
        key = jax.random.key(seed)
        largest = float(top_k(operator, 1, key).values[0])
        found = above(operator, share * max(largest, 0.0), key, capacity=32, most_products=20_000)
        stiff = found.vectors
    require(
        largest > 0,
        f"the largest eigenvalue of the Hessian is {largest:.3g}; give a point near a minimum",
    )
    return affine_set(params, stiff)
