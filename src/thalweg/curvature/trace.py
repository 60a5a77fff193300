"""Trace and diagonal of an operator, exact or estimated with a standard error.

The estimators draw random vectors, and their errors are standard errors: about a third of the
estimates lie further from the truth. Those of Hutchinson and Hutch++ come from independent draws;
those of XTrace and XDiag from leave-one-out values, which are correlated: where a spectrum decays
slowly they are up to a third too small. All values are unbiased. Where an error is 0, the value is
exact up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.curvature import Product
from thalweg.core.errors import choose, require
from thalweg.core.result import Reading, exact, finite
from thalweg.curvature.operator import Operator

Estimator = Callable[[Product, int, int, Array, jnp.dtype], tuple[Array, Array]]


def trace(operator: Operator, key: Array, *, method: str = "xtrace", products: int = 60) -> Reading:
    """The trace of a symmetric operator.

    Args:
        operator: A symmetric operator of size p; a layer's by `where`.
        key: Draws the random vectors ("exact" draws none).
        method: "hutchinson", the mean of z^T A z over random signs z, error
            sqrt(2 (||A||_F^2 - sum_i A_ii^2) / products) (Hutchinson 1990; the error is estimated
            from the draws); "hutch++", which takes out a third of the products' worth of leading
            directions exactly first (Meyer et al. 2021); "xtrace", which makes every product serve
            both ends (Epperly, Tropp and Webber 2024); "exact", by the p unit vectors.
        products: How many to spend; "exact" takes p whatever is asked, and so does every method
            for which `products` reaches p.

    Returns:
        value (), the operator's unit; error (), a standard error as the module says; 0 if exact.
        Memory: up to `products` vectors.

    Raises:
        InputError: If the operator is not symmetric, the method unknown, or `products` too few.
    """
    return _reading(operator, key, choose(method, TRACES, "method"), products)


def diagonal(
    operator: Operator, key: Array, *, method: str = "xdiag", products: int = 60
) -> Reading:
    """The diagonal of a symmetric operator, in the order of its flat vectors.

    Args:
        operator: A symmetric operator of size p.
        key: Draws the random vectors.
        method: "hutchinson", the mean of z * (A z) over random signs z, error in place i
            sqrt(sum_{j != i} A_ij^2 / products) (Bekas et al. 2007); "xdiag" (Epperly, Tropp and
            Webber 2024); "exact", by the p unit vectors.
        products: As in `trace`.

    Returns:
        value (p,), the operator's unit; error (p,), a standard error of every entry.

    Raises:
        InputError: As `trace`.
    """
    return _reading(operator, key, choose(method, DIAGONALS, "method"), products)


def _reading(operator: Operator, key: Array, estimate: Estimator, products: int) -> Reading:
    require(operator.symmetric, "a map that is not symmetric came; give a Hessian or its like")
    require(products >= 6, f"products came as {products}; give at least 6, for a standard error")
    p = operator.shape[0]
    if products >= p or estimate in (_exact_trace, _exact_diagonal):
        whole = TRACES if estimate in TRACES.values() else DIAGONALS
        return exact(_estimated(operator, key, whole["exact"], p)[0])
    value, error = _estimated(operator, key, estimate, products)
    return Reading(value, error, finite(value, error))


@eqx.filter_jit
def _estimated(
    operator: Operator, key: Array, estimate: Estimator, products: int
) -> tuple[Array, Array]:
    return estimate(operator.prepared(), operator.shape[0], products, key, operator.dtype)


def _exact_trace(
    product: Product, p: int, products: int, key: Array, dtype: jnp.dtype
) -> tuple[Array, Array]:
    entries, none = _exact_diagonal(product, p, products, key, dtype)
    return jnp.sum(entries), none[0]


def _exact_diagonal(
    product: Product, p: int, products: int, key: Array, dtype: jnp.dtype
) -> tuple[Array, Array]:
    def entry(i: Array) -> Array:
        return product(jnp.zeros(p, dtype).at[i].set(1))[i]

    return jax.lax.map(entry, jnp.arange(p)), jnp.zeros(p, dtype)


def _signs(key: Array, count: int, p: int, dtype: jnp.dtype) -> Float[Array, "count p"]:
    return jax.random.rademacher(key, (count, p), dtype)


def _mean(draws: Float[Array, "m ..."]) -> tuple[Array, Array]:
    """Mean and standard error of independent draws."""
    return jnp.mean(draws, axis=0), jnp.std(draws, axis=0, ddof=1) / math.sqrt(len(draws))


def _hutchinson_trace(
    product: Product, p: int, products: int, key: Array, dtype: jnp.dtype
) -> tuple[Array, Array]:
    return _mean(jax.lax.map(lambda z: z @ product(z), _signs(key, products, p, dtype)))


def _hutchinson_diagonal(
    product: Product, p: int, products: int, key: Array, dtype: jnp.dtype
) -> tuple[Array, Array]:
    return _mean(jax.lax.map(lambda z: z * product(z), _signs(key, products, p, dtype)))


def _hutch_plus_plus(
    product: Product, p: int, products: int, key: Array, dtype: jnp.dtype
) -> tuple[Array, Array]:
    third = products // 3
    one, other = jax.random.split(key)
    sketch = jax.lax.map(product, _signs(one, third, p, dtype))
    Q = jnp.linalg.qr(sketch.T)[0]
    leading = jnp.sum(Q.T * jax.lax.map(product, Q.T))

    def rest(z: Array) -> Array:
        z = z - Q @ (Q.T @ z)
        return z @ product(z)

    mean, error = _mean(jax.lax.map(rest, _signs(other, products - 2 * third, p, dtype)))
    return leading + mean, error


class _LeaveOneOut(NamedTuple):
    """What XTrace and XDiag share: probes, a basis Q of their images, and how it shrinks.

    Without probe i the projector on the images is Q (I - s_i s_i^T) Q^T, and what it leaves of
    A omega_i is Q s_i / n_i, where s_i n_i is row i of R^-1 in the decomposition A Omega = Q R.
    """

    probes: Float[Array, "p m"]
    Q: Float[Array, "p m"]
    image: Float[Array, "p m"]
    s: Float[Array, "m m"]
    n: Float[Array, " m"]


def _left_out(product: Product, probes: Float[Array, "m p"]) -> _LeaveOneOut:
    """The decomposition, for two products a probe."""
    Q, R = jnp.linalg.qr(jax.lax.map(product, probes).T)
    size = jnp.max(jnp.abs(R))
    tiny = jnp.finfo(R.dtype).eps * jnp.where(size > 0, size, 1)
    # A zero on the diagonal (low rank) becomes rounding: its direction then counts for nothing.
    pivots = jnp.diag(R)
    R = R + jnp.diag(jnp.where(jnp.abs(pivots) < tiny, tiny, pivots) - pivots)
    rows = jax.scipy.linalg.solve_triangular(R, jnp.eye(len(R), dtype=R.dtype), lower=False).T
    n = jnp.linalg.norm(rows, axis=0)
    return _LeaveOneOut(probes.T, Q, jax.lax.map(product, Q.T).T, rows / n, n)


def _xtrace(
    product: Product, p: int, products: int, key: Array, dtype: jnp.dtype
) -> tuple[Array, Array]:
    return _mean(_xtraces(_left_out(product, jax.random.normal(key, (products // 2, p), dtype))))


def _xtraces(d: _LeaveOneOut) -> Float[Array, " m"]:
    """tr(P_i A) + w_i^T (I - P_i) A (I - P_i) w_i with w_i, normal, scaled to unit covariance."""
    p, m = d.Q.shape
    H, w, t = d.Q.T @ d.image, d.Q.T @ d.probes, d.image.T @ d.probes
    along = jnp.sum(w * d.s, axis=0)
    x = w - d.s * along
    rest = along / d.n - jnp.sum(t * x, axis=0) + jnp.sum(x * (H @ x), axis=0)
    left = jnp.sum(d.probes**2, axis=0) - jnp.sum(x**2, axis=0)
    return jnp.trace(H) - jnp.sum(d.s * (H @ d.s), axis=0) + (p - m + 1) * rest / left


def _xdiag(
    product: Product, p: int, products: int, key: Array, dtype: jnp.dtype
) -> tuple[Array, Array]:
    return _mean(_xdiagonals(_left_out(product, _signs(key, products // 2, p, dtype))))


def _xdiagonals(d: _LeaveOneOut) -> Float[Array, "m p"]:
    """diag(P_i A) + w_i * ((I - P_i) A w_i)."""
    gone = d.Q @ d.s
    kept = jnp.sum(d.Q * d.image, axis=1)[:, None] - gone * (d.image @ d.s)
    return (kept + d.probes * gone / d.n).T


TRACES: dict[str, Estimator] = {
    "exact": _exact_trace,
    "hutchinson": _hutchinson_trace,
    "hutch++": _hutch_plus_plus,
    "xtrace": _xtrace,
}
DIAGONALS: dict[str, Estimator] = {
    "exact": _exact_diagonal,
    "hutchinson": _hutchinson_diagonal,
    "xdiag": _xdiag,
}
