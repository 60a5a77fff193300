"""Manifolds of minima: normal and tangent directions at a point, and what E2 needs of them.

On a manifold of minima the Hessian H vanishes along it and is positive across. Which eigenvalues
count as zero is decided by one tolerance. Rounding leaves about p eps lambda_max of a zero, a
point d away from the manifold |T| d, T the third derivative; so a tolerance relative to lambda_max
of the square root of eps stands for distances of 1e-8 of the scale on which H changes, and keeps
condition numbers up to 1e7. `NormalSpace` tells the smallest eigenvalue kept and the largest left.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from thalweg.core import tree
from thalweg.core.errors import choose, require
from thalweg.core.hessian_product import dense_hessian, third_product
from thalweg.core.result import Result, finite
from thalweg.core.tree import Params
from thalweg.curvature.eigenvalues import top_k
from thalweg.curvature.operator import ABREAST
from thalweg.curvature.operators import hessian
from thalweg.problems.losses import squared_error
from thalweg.problems.problem import Problem, Supervised

DENSE = 300  # parameters up to which all eigenvalues are found, though few may be asked
APART = 10.0  # the smallest eigenvalue kept by the largest left, at least, to tell them apart
METHODS = ("auto", "dense", "jacobian", "lanczos")

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]


class NormalSpace(NamedTuple):
    """The directions across a manifold of minima at a point, with the curvature along each.

    Attributes:
        values: Eigenvalues of the Hessian (m,), loss/parameter^2.
        vectors: Their unit eigenvectors (p, m).
        normal: Which of them are normal: eigenvalues above the tolerance (m,).
        tolerance: Below which an eigenvalue counts as zero (unit: loss/parameter^2).
        least: The smallest eigenvalue taken for normal; infinite if there is none.
        left: The largest |eigenvalue| taken for zero among those computed, 0 if none was.
        distance: ||H^+ grad f||, about the distance from the manifold (unit: parameter).
        gradient: Of the objective at the point, flat (p,).
        result: NOT_CONVERGED if `least` is not 10 times `left`: the tolerance then does not tell
            the two apart, as away from the manifold, at saddles and where the rank changes.
    """

    values: Float[Array, " m"]
    vectors: Float[Array, "p m"]
    normal: Bool[Array, " m"]
    tolerance: Scalar
    least: Scalar
    left: Scalar
    distance: Scalar
    gradient: Vector
    result: Int[Array, ""]

    @property
    def rank(self) -> Int[Array, ""]:
        """How many directions are normal, the rank of the Hessian."""
        return jnp.sum(self.normal)

    @property
    def inverse(self) -> Float[Array, " m"]:
        """1/lambda of the normal directions, 0 of the others."""
        return jnp.where(self.normal, 1 / jnp.where(self.normal, self.values, 1), 0)

    @property
    def across(self) -> Float[Array, "p m"]:
        """The normal eigenvectors, zeros in the place of others."""
        return jnp.where(self.normal[None], self.vectors, 0)

    def to_normal(self, v: Float[Array, "p ..."]) -> Float[Array, "p ..."]:
        """P_n v, of vectors (p,) or columns (p, q)."""
        return self.across @ (self.across.T @ v)

    def to_tangent(self, v: Float[Array, "p ..."]) -> Float[Array, "p ..."]:
        """P_t v = v - P_n v: on the manifold the derivative of the limit map along v (E1)."""
        return v - self.to_normal(v)

    def pinv(self, v: Float[Array, "p ..."]) -> Float[Array, "p ..."]:
        """H^+ v, of vectors (p,) or columns (p, q)."""
        within = self.across.T @ v
        return self.across @ (within * self.inverse.reshape(-1, *[1] * (within.ndim - 1)))

    def lyapunov(self, factor: Float[Array, "p q"]) -> Float[Array, "p m"]:
        """B with B B^T = Q, where H Q + Q H = P_n F F^T P_n; see `lyapunov_solve`."""
        within = self.across.T @ factor
        sums = self.values[:, None] + self.values[None]
        both = self.normal[:, None] & self.normal[None]
        Q = jnp.where(both, (within @ within.T) / jnp.where(both, sums, 1), 0)
        squares, turned = jnp.linalg.eigh(Q)
        return (self.across @ turned) * jnp.sqrt(jnp.maximum(squares, 0))[None]


def normal_space(
    problem: Problem,
    params: Params,
    *,
    method: str = "auto",
    rank: int | None = None,
    tolerance: float | None = None,
) -> NormalSpace:
    """The directions across the manifold of minima that a point lies on.

    Pure: it can be compiled and mapped, the rank being a mask.

    Args:
        problem: What is minimised.
        params: A point on the manifold, or near it; p scalars in all.
        method: "dense", all eigenvalues of the Hessian: p products, 3 p^2 numbers. "jacobian", for
            a squared error that is fitted exactly, where H = J^T J (over n for means): n k
            backward passes of one example, 3 p n k numbers. "lanczos", the `rank` largest and one
            more: 2 width products, 6 width p numbers, width = 2 rank + 22, at least 40. "auto"
            takes jacobian for squared errors with n k < p, else lanczos if a rank is given and
            p > 300, else dense.
        rank: How many eigenvalues are normal, if that is known: the largest are, whatever the
            tolerance; needed for "lanczos". Off the manifold eigenvalues along it are of the order
            of the distance, and only the rank tells them from small ones across it.
        tolerance: Relative to the largest eigenvalue, what counts as zero; by default the square
            root of the precision, 1.5e-8 (see the head of this module).

    Returns:
        A `NormalSpace`. Error: eigenvectors are good to rounding / `least`; by "jacobian" H is off
        by the loss's residuals times their curvature, which `distance` bounds to first order.

    Raises:
        InputError: If a method is unknown or does not fit.

    Source: Li, Wang and Arora (2022), arXiv 2110.06914, assumption 1.

    Examples:
        >>> valley = tw.problems.Function(lambda z: (1 + z[0] ** 2) * z[1] ** 2, start=jnp.zeros(2))
        >>> space = tw.curvature.normal_space(valley, jnp.array([2.0, 0.0]))
        >>> int(space.rank), space.to_tangent(jnp.array([3.0, 4.0])).round(6).tolist()
        (1, [3.0, 0.0])
    """
    choose(method, {name: name for name in METHODS}, "method")
    p = tree.size(params)
    method = method_for(problem, p, method, rank)
    require(
        method != "jacobian" or squares(problem),
        "method='jacobian' is for a squared error; take 'dense', or 'lanczos' with a rank",
    )
    require(
        method != "lanczos" or (rank is not None and 1 <= rank < p),
        f"rank came as {rank}; give a whole number from 1 to {p - 1}, how many directions are "
        "normal",
    )
    require(
        tolerance is None or 0 < tolerance < 1,
        f"tolerance came as {tolerance}; give a number in (0, 1), or leave it out",
    )
    return _space(problem, params, method, rank, tolerance)


def squares(problem: Problem) -> bool:
    """Whether it is a squared error, of which H = J^T J (over n for means) at an exact fit."""
    # A term beside the loss, or a factor of one's own before it, would not be in J^T J.
    return isinstance(problem, Supervised) and problem.plain and problem.loss.one is squared_error


def method_for(problem: Problem, p: int, method: str, rank: int | None) -> str:
    """The method of `normal_space` that is taken where "auto" is asked, of p parameters."""
    if method != "auto":
        return method
    if squares(problem):
        assert isinstance(problem, Supervised)
        if problem.targets.size < p:
            return "jacobian"
    return "lanczos" if rank is not None and p > DENSE else "dense"


@eqx.filter_jit
def _space(
    problem: Problem, params: Params, method: str, rank: int | None, relative: float | None
) -> NormalSpace:
    theta, unravel = ravel_pytree(params)
    gradient = jax.grad(lambda t: problem.objective(unravel(t)))(theta)
    code = finite(gradient)
    if method == "dense":
        values, vectors = jnp.linalg.eigh(dense_hessian(problem.objective, params))
    elif method == "jacobian":
        assert isinstance(problem, Supervised)
        J = _jacobian(problem, params)
        _, s, rows = jnp.linalg.svd(J, full_matrices=False)
        scale = len(problem.inputs) if problem.reduction == "mean" else 1
        values, vectors = s**2 / scale, rows.T
    else:
        assert rank is not None
        found = top_k(hessian(problem, params), rank + 1, jax.random.key(0), tolerance=1e-9)
        values, vectors = found.values, found.vectors
        code = jnp.maximum(code, jnp.max(found.results))
    return space_of(values, vectors, gradient, relative, rank, code)


def space_of(
    values: Float[Array, " m"],
    vectors: Float[Array, "p m"],
    gradient: Vector,
    relative: float | Scalar | None = None,
    rank: int | Int[Array, ""] | None = None,
    code: Int[Array, ""] | None = None,
) -> NormalSpace:
    """The normal space from eigenpairs of the Hessian; see `normal_space`.

    Args:
        values: Eigenvalues.
        vectors: Their unit eigenvectors, columns.
        gradient: Of the objective there, flat.
        relative: The tolerance; by default `no_curvature` of the gradient's type.
        rank: How many are normal, if that is known.
        code: What became of the eigenvalues.
    """
    largest = jnp.max(jnp.abs(values))
    share = no_curvature(gradient) if relative is None else jnp.asarray(relative, values.dtype)
    tolerance = share * largest
    normal = values > tolerance
    if rank is not None:
        normal = (jnp.argsort(jnp.argsort(-values)) < rank) & (values > 0)
    least = jnp.min(jnp.where(normal, values, jnp.inf))
    left = jnp.max(jnp.where(normal, 0, jnp.abs(values)))
    apart = least > APART * left
    told = jnp.where(apart, int(Result.OK), int(Result.NOT_CONVERGED)).astype(jnp.int32)
    code = jnp.maximum(told if code is None else jnp.maximum(code, told), finite(values))
    space = NormalSpace(
        values, vectors, normal, tolerance, least, left, jnp.zeros_like(least), gradient, code
    )
    return space._replace(distance=jnp.linalg.norm(space.pinv(gradient)))


def no_curvature(like: Array) -> float:
    """The share of the largest eigenvalue below which one counts as zero: see the module."""
    return float(jnp.finfo(like.dtype).eps) ** 0.5


def _jacobian(problem: Supervised, params: Params) -> Float[Array, "nk p"]:
    """Of all outputs, a backward pass each, of one example where it does not need the others."""
    theta, unravel = ravel_pytree(params)
    if problem.model.separable:

        def one(x: Array) -> Array:
            return jax.jacrev(lambda t: problem.outputs(unravel(t), x[None])[0])(theta)

        each = jax.lax.map(one, problem.inputs, batch_size=min(64, len(problem.inputs)))
        return each.reshape(-1, theta.size)
    outputs, back = jax.vjp(lambda t: problem.outputs(unravel(t)).ravel(), theta)
    units = jnp.eye(outputs.size, dtype=outputs.dtype)
    return jax.lax.map(lambda e: back(e)[0], units, batch_size=min(64, outputs.size))


def retracted(
    problem: Problem, params: Params, *, method: str = "auto", rank: int | None = None
) -> Params:
    """A point on the manifold of minima near another: theta - H^+ grad f, Newton across it.

    From a distance d it ends O(d^2) away, and is off the nearest point along the manifold by as
    much.

    Args:
        problem: What is minimised.
        params: A point near the manifold.
        method: As for `normal_space`.
        rank: As for `normal_space`.

    Cost: that of `normal_space`.

    Examples:
        >>> circle = lambda z: (z @ z - 1) ** 2 / 8
        >>> ring = tw.problems.Function(circle, start=jnp.array([1.001, 0.0]))
        >>> tw.curvature.retracted(ring, ring.start).round(5).tolist()
        [1.0, 0.0]
    """
    theta, unravel = ravel_pytree(params)
    space = normal_space(problem, params, method=method, rank=rank)
    return unravel(theta - space.pinv(space.gradient))


def lyapunov_solve(
    H: ArrayLike, S: ArrayLike, tolerance: float | None = None
) -> Float[Array, "p p"]:
    """Q with H Q + Q H = P_n S P_n, P_n the projector on the range of H; Q lives there, too.

    In the eigenbasis of H, Q_ij = S_ij / (lambda_i + lambda_j).

    Args:
        H: Symmetric, positive semi-definite (p, p).
        S: Symmetric (p, p); its part beyond the range of H is left out.
        tolerance: As for `normal_space`.

    Raises:
        InputError: If the shapes differ or are not square.

    Cost: one eigendecomposition. Rounding: eps times the condition number on the range.

    Examples:
        >>> H, S = jnp.diag(jnp.array([2.0, 1.0, 0.0])), jnp.ones((3, 3))
        >>> tw.curvature.lyapunov_solve(H, S).round(6).tolist()
        [[0.25, 0.333333, 0.0], [0.333333, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    H, S = jnp.asarray(H, float), jnp.asarray(S, float)
    require(
        H.ndim == 2 and H.shape[0] == H.shape[1] and S.shape == H.shape,
        f"H came with shape {H.shape} and S with {S.shape}; give two square ones of one size",
    )
    values, V = jnp.linalg.eigh(H)
    normal = values > (tolerance or no_curvature(H)) * jnp.max(jnp.abs(values))
    both = normal[:, None] & normal[None]
    sums = jnp.where(both, values[:, None] + values[None], 1)
    return V @ jnp.where(both, (V.T @ S @ V) / sums, 0) @ V.T


def third_across(problem: Supervised, params: Params, factor: Float[Array, "p q"]) -> Vector:
    """The part along the minima of d(Q), Q = B B^T, at an exact fit of a squared error.

    There T[b, b] = sum_a 2 (J_a b) (d^2 h_a) b + J_a (b^T (d^2 h_a) b) over outputs h_a (over n for
    means), and the second is normal: so sum_a 2 (d^2 h_a) Q J_a is the rest, a product of each
    example for itself whatever the number of columns.

    Args:
        problem: A squared error whose model needs no other examples.
        params: A point on the minima.
        factor: B, (p, q).

    Returns:
        (p,), and something normal. Cost: about 3 gradients for each output of an example.
    """
    theta, unravel = ravel_pytree(params)

    def one(x: Array) -> Vector:
        def outputs(t: Array) -> Array:
            return problem.outputs(unravel(t), x[None])[0]

        way = (jax.jacrev(outputs)(theta) @ factor) @ factor.T

        def turns(t: Array) -> Scalar:
            """The sum over outputs of the slope of each in its own direction."""
            return jnp.trace(jax.vmap(lambda v: jax.jvp(outputs, (t,), (v,))[1])(way))

        return jax.grad(turns)(theta)

    each = jax.lax.map(one, problem.inputs, batch_size=min(64, len(problem.inputs)))
    scale = len(problem.inputs) if problem.reduction == "mean" else 1
    return 2 / scale * jnp.sum(each, axis=0)


@eqx.filter_jit
def third_contracted(
    problem: Problem, params: Params, left: Float[Array, "p q"], right: Float[Array, "p q"]
) -> Vector:
    """Sum over columns of T[a_r, b_r], T the third derivative: d^2(grad f)[A B^T].

    Args:
        problem: Its objective must have three derivatives.
        params: The point.
        left: Columns a_r, flat in the order of `ravel_pytree`.
        right: Columns b_r.

    Returns:
        (p,), exact up to rounding. Cost: about 4 gradients a column, never a tensor; memory for 8
        columns at a time beside the two arrays.

    Examples:
        >>> f = tw.problems.Function(lambda x: x[0] ** 2 * x[1], start=jnp.ones(2))
        >>> tw.curvature.third_contracted(f, f.start, jnp.eye(2), jnp.eye(2)).tolist()  # 2 x_1
        [0.0, 2.0]
    """
    size = tree.size(params)
    shapes = jnp.shape(left), jnp.shape(right)
    require(
        shapes[0] == shapes[1] and len(shapes[0]) == 2 and shapes[0][0] == size,
        f"left and right came with the shapes {shapes[0]} and {shapes[1]}; give columns "
        f"({size}, q) of one shape",
    )
    along = third_product(problem.objective, params)
    columns = (jnp.asarray(left).T, jnp.asarray(right).T)
    every = jax.lax.map(lambda ab: along(ab[0])(ab[1]), columns, batch_size=ABREAST)
    return jnp.sum(every, axis=0)
