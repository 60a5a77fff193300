"""A substep of the central flow: eigenpairs, third derivatives, covariance, and Euler's step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core.hessian_product import hessian_product, third_product
from thalweg.core.lanczos import track_largest
from thalweg.core.result import Result, finite
from thalweg.core.tree import Params
from thalweg.dynamics.flow.edge import EDGE, Scaling, assembled, thirds, turned
from thalweg.problems.problem import Problem

RESIDUAL = 5e-4  # asked of an eigenpair near the edge, relative to the largest eigenvalue
BLUR = 1e-2  # share of a random direction in the vector below the edge, which sees what rises
PRODUCTS = 200  # Hessian products in a substep, at most
TURNING = 0.1  # squared sine of the angle by which a vector may have left the last span, to go on
WIDTH = 3  # of the basis that they span, in vectors held: about one product each is needed
THIRD = 4  # gradients that a third-order product counts for
RENEWED = 8  # substeps for which third-order products serve
BEYOND = 1e-4  # above the edge, to which eigenvalues may go before they are taken anew
PROJECTIONS = 200  # for X from the last one, at most: where B is singular they never end
HELD = 1e-4  # residual of X, relative to ||A||, that is good enough
TURNED = 0.05  # squared sine of the angle of an eigenvector with the span that they are of, at most

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]
Count = Int[Array, ""]


class Bent(NamedTuple):
    """Third-order products, which serve for some substeps.

    Attributes:
        vectors: The eigenvectors that they are of, orthonormal rows, zero where none.
        thirds: svec of D_ij, (m, p).
        age: Substeps that they have served.
    """

    vectors: Float[Array, "c p"]
    thirds: Float[Array, "m p"]
    age: Count


class Followed(NamedTuple):
    """A path of Euler substeps.

    Attributes:
        theta: Parameters, flat (p,).
        nu: The average of squared gradients.
        loss: f.
        gradient: Of f.
        block: Where the search for the next eigenvectors begins, rows in order, zero where none.
        X: The covariance of the oscillation in the last eigenvectors.
        bent: Third-order products that are still of use.
        vectors: The last eigenvectors, rows, zero where none.
    """

    theta: Vector
    nu: Float[Array, "*n"]
    loss: Scalar
    gradient: Vector
    block: Float[Array, "c p"]
    X: Float[Array, "c c"]
    bent: Bent
    vectors: Float[Array, "c p"]


class Told(NamedTuple):
    """What a substep came to know, of the point where it began.

    Attributes:
        length: Of the substep, in steps.
        excess_loss: <H, Sigma>/2 = tr X.
        excess_square: What the oscillation adds to ||grad f||^2.
        oscillation: tr Sigma.
        critical: Eigenvalues above the threshold.
        largest: The largest s.
        residual: The largest of an eigenpair above the threshold, in units of s.
        complementarity: The residual of X over ||A||.
        evaluations: Gradients.
        result: NOT_CONVERGED where a residual is too large, or vectors are too few.
    """

    length: Scalar
    excess_loss: Scalar
    excess_square: Scalar
    oscillation: Scalar
    critical: Count
    largest: Scalar
    residual: Scalar
    complementarity: Scalar
    evaluations: Count
    result: Int[Array, ""]


def seen(problem: Problem, params: Params) -> tuple[Scalar, Vector]:
    """F and its gradient, flat."""
    loss, gradient = jax.value_and_grad(problem.objective)(params)
    return loss, ravel_pytree(gradient)[0]


def substep(
    problem: Problem,
    unravel: Callable[[Array], Params],
    scaling: Scaling,
    threshold: Scalar,
    at: Followed,
    h: Scalar,
    key: Array,
) -> tuple[Followed, Told]:
    """An Euler substep of h steps; the key blurs the vector below the edge."""
    kind, params = at.theta.dtype, unravel(at.theta)
    P = scaling.diagonal(at.nu, at.theta)
    root, c = jnp.sqrt(P), len(at.block)
    product = hessian_product(problem.objective, params)
    found = track_largest(
        lambda v: product(v / root) / root,
        at.block,
        jnp.asarray(RESIDUAL, kind),
        most_products=PRODUCTS,
        width=WIDTH,
        threshold=threshold.astype(kind),
    )
    values = jnp.where(jnp.isfinite(found.values), found.values, -jnp.inf)
    count = jnp.sum(values > threshold.astype(kind))
    third = third_product(problem.objective, params)
    overlap = found.vectors @ at.block.T

    near = jnp.arange(c) < count
    U = found.vectors / root[None]
    # The share of each eigenvector in the span that the products are of.
    within = jnp.sum((found.vectors @ at.bent.vectors.T) ** 2, axis=1)
    lost = (at.bent.age >= RENEWED) | jnp.any(near & (within < 1 - TURNED))
    # They did not hold what they were to hold.
    lost |= values[0] > EDGE + BEYOND
    anew = jnp.where(lost, count, 0)

    def held() -> tuple[Any, ...]:
        D = jnp.where(anew > 0, thirds(third, U, anew), at.bent.thirds)
        of = jnp.where(anew > 0, jnp.where(near[:, None], found.vectors, 0), at.bent.vectors)
        bent = Bent(of, D, jnp.where(anew > 0, 1, at.bent.age + 1))
        D = turned(D, jnp.where(near[:, None], found.vectors, 0) @ of.T)
        at_edge = assembled(scaling, D, at.gradient, at.nu, U, values, count, h)
        solved = at_edge.solved(overlap @ at.X @ overlap.T, PROJECTIONS)
        off = solved.residual / jnp.linalg.norm(at_edge.slack)
        excess = at_edge.excess(solved.X)
        spread = jnp.sum(at_edge.variances(solved.X))
        force = at_edge.force(at.gradient, solved.X)
        short = jnp.where(off > HELD, int(Result.NOT_CONVERGED), 0).astype(jnp.int32)
        code = jnp.maximum(short, finite(solved.X, off))
        return solved.X, force, excess, spread, off, code, bent

    def free() -> tuple[Any, ...]:
        none = jnp.zeros((), kind)
        code = jnp.asarray(int(Result.OK), jnp.int32)
        return jnp.zeros_like(at.X), at.gradient, jnp.zeros_like(P), none, none, code, at.bent

    X, force, excess, spread, off, code, bent = jax.lax.cond(count > 0, held, free)
    theta = at.theta - h.astype(kind) * force / P
    nu = at.nu
    if scaling.average != "none":
        # A long substep must not take more out of the average than is in it.
        nu = jnp.maximum(nu + h.astype(kind) * scaling.speed(nu, at.gradient**2 + excess), 0)
    loss, gradient = seen(problem, unravel(theta))
    residual = jnp.max(jnp.where(near, found.residuals, 0)) / values[0]
    late = (residual > 2 * RESIDUAL) | ((count == c) & (c < theta.size))
    code = jnp.maximum(code, jnp.where(late, int(Result.NOT_CONVERGED), 0).astype(jnp.int32))
    pairs = anew * (anew + 1) // 2
    told = Told(
        h,
        jnp.trace(X).astype(jnp.float64),
        jnp.sum(excess).astype(jnp.float64),
        spread.astype(jnp.float64),
        count,
        values[0].astype(jnp.float64),
        residual.astype(jnp.float64),
        off.astype(jnp.float64),
        1 + 2 * found.products.astype(jnp.int64) + THIRD * pairs,
        code,
    )
    vectors = jnp.where(jnp.isfinite(found.vectors), found.vectors, 0)
    # The span turns on as it has turned: what is new of each vector once more.
    beside = vectors - (vectors @ at.vectors.T) @ at.vectors
    known = jnp.sum(beside**2, axis=1, keepdims=True) < TURNING
    rows = found.ahead + jnp.where(known, beside, 0)
    block = _ahead(rows, jnp.maximum(count, 1), key)
    return Followed(theta, nu, loss, gradient, block, X, bent, vectors), told


def _ahead(rows: Float[Array, "c p"], spare: Count, key: Array) -> Float[Array, "c p"]:
    """Those near the edge and one below it, blurred: it sees what rises outside their span."""
    place = jnp.arange(len(rows))[:, None]
    random = jax.random.normal(key, rows.shape[1:], rows.dtype)
    noise = BLUR * random / jnp.linalg.norm(random)
    rows = jnp.where(jnp.isfinite(rows), rows, 0)
    return jnp.where(place <= spare, rows, 0) + jnp.where(place == spare, noise[None], 0)
