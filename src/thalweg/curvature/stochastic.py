"""Trace and diagonal of an operator, exact or estimated with a standard error.

The estimators draw random vectors, and three of their errors hold the truth in 99.7 % of draws
(`thalweg.core.sampling`): an error is the standard error, widened for what few draws cannot tell.
The variance of a trace is estimated from all entries of the products, not from the scatter of the
traces. Leave-one-out values of XTrace and XDiag are correlated: what two of them share counts
twice, so that their errors are widened by sqrt(2), the most that it can be. All values are
unbiased. Where an error is 0, the value is exact up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import choose, require
from thalweg.core.hessian_product import Product
from thalweg.core.result import Reading, exact, finite
from thalweg.core.sampling import form_mean, sample_mean
from thalweg.core.tree import binade, length
from thalweg.curvature.operator import Operator

SHARED = math.sqrt(2)  # see the head of the module
Estimator = Callable[[Product, int, int, Array, jnp.dtype], tuple[Array, Array]]


def trace(operator: Operator, key: Array, *, method: str = "xtrace", products: int = 60) -> Reading:
    """The trace of a symmetric operator.

    Args:
        operator: A symmetric operator of size p; a layer's by `where`.
        key: Draws the random vectors ("exact" draws none).
        method: "hutchinson", the mean of z^T A z over random signs z, standard error
            sqrt(2 (||A||_F^2 - sum_i A_ii^2) / products) (Hutchinson 1990); "hutch++", which takes
            out a third of the products' worth of leading directions exactly first (Meyer et al.
            2021), here with directions of equal length for what is left; "xtrace", which makes
            every product serve both ends (Epperly, Tropp and Webber 2024); "exact", by the p unit
            vectors.
        products: How many to spend, at least 10 (20 for "xdiag"); "exact" takes p whatever is
            asked, and so does every method for which `products` reaches p.

    Returns:
        value (), the operator's unit; error (), as the module says; 0 if exact. From 60 products
        it is above the standard error by 1.1 (hutchinson), 1.4 (hutch++), up to 1.8 (xtrace).
        Memory: up to `products` vectors.

    Raises:
        InputError: If the operator is not symmetric, the method unknown, or `products` too few.

    Examples:
        >>> A = tw.curvature.Matrix(jnp.array([[2.0, 1.0], [1.0, 3.0]]))
        >>> reading = tw.curvature.trace(A, jax.random.key(0))  # two unit vectors tell it exactly
        >>> round(float(reading.value), 6), float(reading.error)
        (5.0, 0.0)
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
        value (p,), the operator's unit; error (p,), of every entry, as the module says.

    Raises:
        InputError: As `trace`.

    Examples:
        >>> A = tw.curvature.Matrix(jnp.array([[2.0, 1.0], [1.0, 3.0]]))
        >>> tw.curvature.diagonal(A, jax.random.key(0), method="exact").value.tolist()
        [2.0, 3.0]
    """
    return _reading(operator, key, choose(method, DIAGONALS, "method"), products)


def _reading(operator: Operator, key: Array, estimate: Estimator, products: int) -> Reading:
    require(operator.symmetric, "a map that is not symmetric came; give a Hessian or its like")
    # Fewer signs agree too often by chance for their scatter to say anything.
    least = 20 if estimate is _xdiag else 10
    require(products >= least, f"products came as {products}; give at least {least}, for an error")
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


def _hutchinson_trace(
    product: Product, p: int, products: int, key: Array, dtype: jnp.dtype
) -> tuple[Array, Array]:
    draws = _diagonal_draws(product, _signs(key, products, p, dtype))
    # The variances of the entries of z * (A z) add up to half that of their sum.
    apart = jax.vmap(length)(draws - jnp.mean(draws, axis=0, keepdims=True))
    return form_mean(jnp.sum(draws, axis=1), apart * math.sqrt(2 * products / (products - 1)))


def _hutchinson_diagonal(
    product: Product, p: int, products: int, key: Array, dtype: jnp.dtype
) -> tuple[Array, Array]:
    return sample_mean(_diagonal_draws(product, _signs(key, products, p, dtype)))


def _diagonal_draws(product: Product, signs: Float[Array, "m p"]) -> Float[Array, "m p"]:
    return jax.lax.map(lambda z: z * product(z), signs)


def _hutch_plus_plus(
    product: Product, p: int, products: int, key: Array, dtype: jnp.dtype
) -> tuple[Array, Array]:
    third = products // 3
    one, other = jax.random.split(key)
    sketch = jax.lax.map(product, _signs(one, third, p, dtype))
    Q = jnp.linalg.qr(sketch.T / binade(sketch))[0]
    leading = jnp.sum(Q.T * jax.lax.map(product, Q.T))

    def rest(z: Array) -> tuple[Array, Array]:
        z = z - Q @ (Q.T @ z)
        # Of one length: else that of what is left of z would make the noise on a flat spectrum.
        z = z * (math.sqrt(p - third) / length(z))
        image = product(z)
        return z @ image, _deviation(z, image - Q @ (Q.T @ image))

    normal = jax.random.normal(other, (products - 2 * third, p), dtype)
    mean, error = form_mean(*jax.lax.map(rest, normal))
    return leading + mean, error


def _deviation(z: Float[Array, " p"], image: Float[Array, " p"]) -> Float[Array, ""]:
    """What one z tells of the standard deviation of z^T A z: see `form_mean`."""
    return math.sqrt(2) * length(image - (z @ image / (z @ z)) * z)


class _LeaveOneOut(NamedTuple):
    """What XTrace and XDiag share: probes, a basis Q of their images, and how it shrinks.

    `first` are the images of the probes, `image` those of Q; both are in units of `scale`, a power
    of two, so that no square leaves the format.

    Without probe i the projector on the images is Q (I - s_i s_i^T) Q^T, and what it leaves of
    A omega_i is Q s_i / n_i, where s_i n_i is row i of R^-1 in the decomposition A Omega = Q R.
    """

    probes: Float[Array, "p m"]
    Q: Float[Array, "p m"]
    image: Float[Array, "p m"]
    first: Float[Array, "p m"]
    s: Float[Array, "m m"]
    n: Float[Array, " m"]
    scale: Float[Array, ""]


def _left_out(product: Product, probes: Float[Array, "m p"]) -> _LeaveOneOut:
    """The decomposition, for two products a probe."""
    images = jax.lax.map(product, probes).T
    scale = binade(images)
    Q, R = jnp.linalg.qr(images / scale)
    size = jnp.max(jnp.abs(R))
    tiny = jnp.finfo(R.dtype).eps * jnp.where(size > 0, size, 1)
    # A zero on the diagonal (low rank) becomes rounding: its direction then counts for nothing.
    pivots = jnp.diag(R)
    R = R + jnp.diag(jnp.where(jnp.abs(pivots) < tiny, tiny, pivots) - pivots)
    rows = jax.scipy.linalg.solve_triangular(R, jnp.eye(len(R), dtype=R.dtype), lower=False).T
    n = jnp.linalg.norm(rows, axis=0)
    image = jax.lax.map(product, Q.T).T / scale
    return _LeaveOneOut(probes.T, Q, image, images / scale, rows / n[None], n, scale)


def _xtrace(
    product: Product, p: int, products: int, key: Array, dtype: jnp.dtype
) -> tuple[Array, Array]:
    d = _left_out(product, jax.random.normal(key, (products // 2, p), dtype))
    mean, error = form_mean(*_xtraces(d))
    return d.scale * mean, SHARED * d.scale * error


def _xtraces(d: _LeaveOneOut) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    """tr(P_i A) + w_i^T (I - P_i) A (I - P_i) w_i with w_i, normal, scaled to unit covariance.

    With what each tells of the standard deviation of its second part.
    """
    p, m = d.Q.shape
    H, w, t = d.Q.T @ d.image, d.Q.T @ d.probes, d.image.T @ d.probes
    along = jnp.sum(w * d.s, axis=0)
    x = w - d.s * along[None]
    rest = along / d.n - jnp.sum(t * x, axis=0) + jnp.sum(x * (H @ x), axis=0)
    left = jnp.sum(d.probes**2, axis=0) - jnp.sum(x**2, axis=0)

    def outside(v: Array) -> Array:
        """(I - P_i) v_i."""
        coordinates = d.Q.T @ v
        return v - d.Q @ (coordinates - d.s * jnp.sum(coordinates * d.s, axis=0, keepdims=True))

    z, image = outside(d.probes), outside(d.first - d.image @ x)
    deviations = (p - m + 1) / left * jax.vmap(_deviation, 1)(z, image)
    values = jnp.trace(H) - jnp.sum(d.s * (H @ d.s), axis=0) + (p - m + 1) * rest / left
    return values, deviations


def _xdiag(
    product: Product, p: int, products: int, key: Array, dtype: jnp.dtype
) -> tuple[Array, Array]:
    d = _left_out(product, _signs(key, products // 2, p, dtype))
    mean, error = sample_mean(_xdiagonals(d))
    return d.scale * mean, SHARED * d.scale * error


def _xdiagonals(d: _LeaveOneOut) -> Float[Array, "m p"]:
    """diag(P_i A) + w_i * ((I - P_i) A w_i)."""
    gone = d.Q @ d.s
    kept = jnp.sum(d.Q * d.image, axis=1)[:, None] - gone * (d.image @ d.s)
    return (kept + d.probes * gone / d.n[None]).T


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
