"""Extreme eigenvalues of symmetric operators, each with what is known of its error.

Three different things are known of a value theta found for the j-th largest eigenvalue lambda_j:

- for certain (Courant-Fischer), up to rounding: theta is not above lambda_j;
- for certain, up to rounding: some eigenvalue is within the residual ||A v - theta v|| of theta,
  which need not be lambda_j;
- with probability at least 1 - 2 `failure`: lambda_j is not above theta + `missed`. This comes from
  a check: Lanczos from a random start in the complement W of the pairs found. With nu and nu_min
  its extreme Ritz values and f the fraction of `missed_fraction`, the largest eigenvalue of A on W
  is at most mu = nu + f/(1 - 2f) (nu - nu_min) (Kuczynski and Wozniakowski 1992), and
  lambda_j <= max(theta, mu) + rho, with rho the root sum of squares of all residuals (Weyl).

Rounding means about 100 eps ||A||.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.errors import require
from thalweg.core.lanczos import missed_fraction
from thalweg.core.result import Result
from thalweg.curvature.operator import Operator
from thalweg.curvature.thick_restart import Limits, search, whole

MOST_CHECKS = 32  # the c-th check may fail with probability failure / 2^c; later ones as the last


class Eigenpairs(NamedTuple):
    """Extreme eigenvalues, the outermost first.

    Attributes:
        values: Ritz values, unit of the operator.
        vectors: Orthonormal columns.
        residuals: ||A v - value v||, by a fresh product with the vector given: some eigenvalue
            is this near.
        missed: How far beyond its value the true eigenvalue of that place can lie, with
            probability at least 1 - 2 `failure` for all bounds together; infinite if no check
            was made.
        beyond: With the same probability, no eigenvalue that is not listed lies beyond this one
            (above it for the largest, below it for the smallest).
        results: A `Result` code for each pair: `NOT_CONVERGED` if the residual is above the
            tolerance, or if the last check still saw an eigenvalue beyond the values found.
        products: How many were spent.
    """

    values: Float[Array, " k"]
    vectors: Float[Array, "p k"]
    residuals: Float[Array, " k"]
    missed: Float[Array, " k"]
    beyond: Float[Array, ""]
    results: Int[Array, " k"]
    products: Int[Array, ""]


def top_k(
    operator: Operator,
    k: int,
    key: Array,
    *,
    start: Float[Array, "p b"] | None = None,
    tolerance: float | None = None,
    width: int | None = None,
    check: bool = True,
    most_products: int = 2000,
    failure: float = 0.005,
) -> Eigenpairs:
    """The k largest (signed) eigenvalues, descending, each as often as it occurs.

    Lanczos with full reorthogonalisation, restarted from its best Ritz vectors when `width` are
    held (thick restart, Wu and Simon 2000), then checked from a random start in the complement of
    the pairs, which finds the other copies of a multiple eigenvalue; whatever a check finds above
    them is pursued. Compiled once for every shape, k and width.

    Args:
        operator: A symmetric operator of size p.
        k: How many, at most p.
        key: Draws the starts.
        start: Columns near the eigenvectors, as the `vectors` of a nearby matrix.
        tolerance: Residual asked of every pair, in units of the largest |Ritz value| seen; by
            default 1e-6, or 1e-4 in single precision.
        width: How many vectors are held, and as many images: 2 * width * p numbers, three times
            that with working copies. By default 2 k + 20 and at least 40. If width reaches p, the
            whole spectrum is computed instead and `missed` is rounding.
        check: Whether to check, for about width - k products at every attempt.
        most_products: Never more; at least 2 (width + k).
        failure: Probability of the bounds.

    Returns:
        Pairs with residuals and bounds; see `Eigenpairs` and the head of this module. Cost:
        `products` times the operator's cost, about 2 width products for a few well separated
        eigenvalues, and k + width with a good start.

    Raises:
        InputError: If the operator is not symmetric, or a number is out of its range.

    Examples:
        >>> A = tw.curvature.Matrix(jnp.diag(jnp.array([1.0, 5.0, 5.0])))
        >>> tw.curvature.top_k(A, 2, jax.random.key(0)).values.round(6).tolist()
        [5.0, 5.0]
    """
    asked = _Asked(k, tolerance, width, check, most_products, failure)
    return _found(operator, asked, start, key, 1.0)


def smallest(
    operator: Operator,
    k: int,
    key: Array,
    *,
    start: Float[Array, "p b"] | None = None,
    tolerance: float | None = None,
    width: int | None = None,
    check: bool = True,
    most_products: int = 2000,
    failure: float = 0.005,
) -> Eigenpairs:
    """The k smallest (signed) eigenvalues, ascending: `top_k` of -A.

    No value is below its eigenvalue, which lies at most `missed` below it, and no eigenvalue that
    is not listed lies below `beyond`, with probability at least 1 - 2 `failure`.

    Examples:
        >>> A = tw.curvature.Matrix(jnp.diag(jnp.array([1.0, -3.0, 5.0])))
        >>> tw.curvature.smallest(A, 2, jax.random.key(0)).values.round(6).tolist()
        [-3.0, 1.0]
    """
    asked = _Asked(k, tolerance, width, check, most_products, failure)
    found = _found(operator, asked, start, key, -1.0)
    return found._replace(values=-found.values, beyond=-found.beyond)


def above(
    operator: Operator,
    threshold: float,
    key: Array,
    *,
    start: Float[Array, "p b"] | None = None,
    capacity: int = 8,
    tolerance: float | None = None,
    width: int | None = None,
    most_products: int = 2000,
    failure: float = 0.005,
) -> Eigenpairs:
    """All eigenvalues above a threshold, as 2/eta, descending; their number is found.

    Every value listed stands for an eigenvalue above the threshold, for certain. That there is no
    other has probability at least 1 - 2 `failure` where `beyond` is at most the threshold; where
    it is not, more `width` narrows it. `NOT_CONVERGED` says that a residual is above the tolerance
    or that the products ran out while the check still saw an eigenvalue above the threshold.

    Args:
        operator: A symmetric operator.
        threshold: In the operator's unit.
        key: Draws the starts.
        start: Columns near the eigenvectors.
        capacity: How many to look for at first; doubled, from the vectors found, until one fits.
        tolerance: As in `top_k`.
        width: As in `top_k` for k = capacity, and no less than twice the capacity plus 20.
        most_products: Over all capacities together.
        failure: As in `top_k`, over all capacities together.

    Returns:
        The pairs found, none if there are none. Not for use under `jax.jit`: the number of
        values depends on the matrix.

    Examples:
        >>> A = tw.curvature.Matrix(jnp.diag(jnp.array([1.0, 3.0, 5.0])))
        >>> tw.curvature.above(A, 2.0, jax.random.key(0)).values.round(6).tolist()
        [5.0, 3.0]
    """
    require(capacity >= 1, f"capacity came as {capacity}; give at least 1")
    p, spent = operator.shape[0], 0
    k = min(capacity, p)
    while True:
        key, failure = jax.random.fold_in(key, k), failure / 2
        room = None if width is None else max(width, 2 * k + 20)
        asked = _Asked(k, tolerance, room, True, most_products - spent, failure)
        found = _found(operator, asked, start, key, 1.0, threshold)
        spent += int(found.products)
        # A NaN is listed, with its code.
        count = int(np.sum(~(np.asarray(found.values) <= threshold)))
        full = bool(count == k < p and np.all(np.isfinite(found.values)))
        more = min(2 * k, p)
        if not full or most_products - spent < 2 * (_width(more, None, p) + more):
            break
        k, start = more, found.vectors
    late = jnp.asarray(int(Result.NOT_CONVERGED) if full else int(Result.OK), jnp.int32)
    return Eigenpairs(
        found.values[:count],
        found.vectors[:, :count],
        found.residuals[:count],
        found.missed[:count],
        found.beyond,
        jnp.maximum(found.results, late)[:count],
        jnp.asarray(spent),
    )


class _Asked(NamedTuple):
    """What a caller asks for; see `top_k`."""

    k: int
    tolerance: float | None
    width: int | None
    check: bool
    most_products: int
    failure: float


def _width(k: int, width: int | None, p: int) -> int:
    return min(max(2 * k + 20, 40) if width is None else width, p)


def _found(
    operator: Operator,
    asked: _Asked,
    start: Array | None,
    key: Array,
    sign: float,
    threshold: float | None = None,
) -> Eigenpairs:
    """Checks what was asked, and searches."""
    p, k = operator.shape[0], asked.k
    require(operator.symmetric, "a map that is not symmetric came; give a Hessian or its like")
    require(1 <= k <= p, f"k came as {k}; give 1 to {p}, the operator's size")
    require(0 < asked.failure < 0.5, f"failure came as {asked.failure}; give one in (0, 0.5)")
    width = _width(k, asked.width, p)
    require(
        width == p or width >= k + 2, f"width came as {asked.width}; give at least k + 2 = {k + 2}"
    )
    least = 2 * (width + k)
    require(
        asked.most_products >= least,
        f"most_products came as {asked.most_products}; give at least {least}, or a smaller width",
    )
    draw, search_key = jax.random.split(key)
    if start is None:
        start = jax.random.normal(draw, (p, 1), operator.dtype)
    start = jnp.asarray(start, operator.dtype)
    require(
        start.ndim == 2 and len(start) == p and start.shape[1] > 0,
        f"a start of shape {start.shape} came; give columns, shape ({p}, b)",
    )
    tolerance = asked.tolerance
    if tolerance is None:
        tolerance = 1e-4 if operator.dtype == jnp.float32 else 1e-6
    # Over all checks the failures add up to `failure`; a Krylov space of width - k at the least.
    shares = [
        _share(missed_fraction(width - k, p, asked.failure / 2 ** (c + 1)))
        for c in range(MOST_CHECKS)
    ]
    limits = Limits(
        jnp.asarray(-math.inf if threshold is None else threshold, operator.dtype),
        jnp.asarray(tolerance, operator.dtype),
        jnp.asarray(asked.most_products),
        jnp.asarray(shares, operator.dtype),
    )
    return _searched(
        operator,
        start[:, :k].T,
        search_key,
        jnp.asarray(sign, operator.dtype),
        limits,
        k=k,
        width=width,
        check=asked.check,
        counting=threshold is not None,
    )


def _share(fraction: float) -> float:
    """What is missed in units of the spread of Ritz values, which is short by as much."""
    return fraction / (1 - 2 * fraction) if fraction < 0.5 else math.inf


@eqx.filter_jit
def _searched(
    operator: Operator,
    start: Float[Array, "b p"],
    key: Array,
    sign: Float[Array, ""],
    limits: Limits,
    *,
    k: int,
    width: int,
    check: bool,
    counting: bool,
) -> Eigenpairs:
    prepared, p = operator.prepared(), operator.shape[0]

    def product(v: Array) -> Array:
        return sign * prepared(v)

    if width == p:
        found = whole(product, p, k, start.dtype)
    else:
        found = search(product, start, key, k, width, limits, check=check, counting=counting)
    rounding = 100 * jnp.finfo(start.dtype).eps * found.scale
    late = ~(found.residuals <= limits.tolerance * found.scale)
    missing = ~found.passed if check else jnp.asarray(False)
    results = jnp.where(late | missing, int(Result.NOT_CONVERGED), int(Result.OK))
    bad = ~jnp.isfinite(found.values + found.residuals)
    return Eigenpairs(
        found.values,
        found.vectors.T,
        found.residuals,
        jnp.maximum(found.upper - found.values, 0) + rounding,
        found.beyond + rounding,
        jnp.where(bad, int(Result.NONFINITE), results).astype(jnp.int32),
        found.products,
    )
