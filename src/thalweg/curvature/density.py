"""The spectral density by stochastic Lanczos quadrature, with its standard error."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from thalweg.core.errors import require
from thalweg.core.lanczos import tridiagonalise
from thalweg.core.ranges import require_positive
from thalweg.core.result import finite
from thalweg.core.sampling import form_mean
from thalweg.curvature.operator import Operator


class Density(NamedTuple):
    """A smoothed spectral density on a grid; its integral is 1.

    Attributes:
        grid: Where, in the operator's unit.
        value: phi(t) = 1/p sum_i N(t; lambda_i, width^2), in 1/unit.
        error: Error of `value` from the random probes, three of which hold it in 99.7 % of draws
            (`thalweg.core.sampling`); it knows nothing of the bias of a finite depth.
        width: Standard deviation of the Gaussian that stands for an eigenvalue.
        nodes: Ritz values of every probe, shape (probes, depth).
        weights: The quadrature weight of each; a probe's weights sum to 1.
        result: `NONFINITE` if anything is, else `OK`.
    """

    grid: Float[Array, " g"]
    value: Float[Array, " g"]
    error: Float[Array, " g"]
    width: Float[Array, ""]
    nodes: Float[Array, "probes depth"]
    weights: Float[Array, "probes depth"]
    result: Int[Array, ""]


def spectral_density(
    operator: Operator,
    key: Array,
    *,
    probes: int = 10,
    depth: int = 60,
    grid: Float[Array, " g"] | int = 400,
    width: float | None = None,
) -> Density:
    """The spectral density of a symmetric operator, smoothed by a Gaussian.

    For a probe z, uniform on the unit sphere, Lanczos of depth m gives Ritz values theta_j and
    weights w_j (squared first components of the eigenvectors of T), and the estimate
    sum_j w_j N(t; theta_j, width^2) of 1/p sum_i N(t; lambda_i, width^2); probes are averaged.
    The quadrature of a probe is exact for polynomials of degree 2 m - 1, so that its bias is small
    where `width` is well above the spacing of Ritz values, and zero if depth reaches p. Source:
    Ubaru, Chen and Saad (2017); Ghorbani, Krishnan and Xiao (2019).

    Args:
        operator: A symmetric operator of size p.
        key: Draws the probes.
        probes: How many, at least 2. The standard error falls as 1/sqrt(probes * p).
        depth: Products for each probe, and vectors held at a time; at most p are used.
        grid: Points, or how many between the extreme Ritz values and 4 widths beyond.
        width: Of the Gaussian; by default 1/50 of the spread of the Ritz values.

    Returns:
        A `Density`. Cost: probes * depth products.

    Raises:
        InputError: If the operator is not symmetric, or a number is out of its range.

    Examples:
        >>> A = tw.curvature.Matrix(2 * jnp.eye(3))
        >>> grid, key = jnp.array([2.0]), jax.random.key(0)
        >>> density = tw.curvature.spectral_density(A, key, grid=grid, width=0.1)
        >>> peak = 1 / (0.1 * np.sqrt(2 * np.pi))  # of the Gaussian that stands for the eigenvalue
        >>> bool(jnp.isclose(density.value[0], peak))
        True
    """
    p = operator.shape[0]
    require(operator.symmetric, "a map that is not symmetric came; give a Hessian or its like")
    require(probes >= 2, f"probes came as {probes}; give at least 2, for a standard error")
    require(depth >= 1, f"depth came as {depth}; give at least 1")
    require(not isinstance(grid, int) or grid >= 1, f"grid came as {grid}; give at least 1 point")
    require_positive(width=width)
    nodes, weights = _quadratures(operator, jax.random.split(key, probes), min(depth, p))
    low, high = jnp.min(nodes), jnp.max(nodes)
    # Equal eigenvalues differ by rounding alone, which is no width.
    most = jnp.max(jnp.abs(nodes))
    spread = jnp.maximum(high - low, math.sqrt(jnp.finfo(nodes.dtype).eps) * most)
    spread = jnp.where(most > 0, spread, jnp.ones_like(most))
    sigma = spread / 50 if width is None else jnp.asarray(width, operator.dtype)
    if isinstance(grid, int):
        points = jnp.linspace(low - 4 * sigma, high + 4 * sigma, int(grid))
    else:
        points = jnp.asarray(grid, operator.dtype)
    # In units of the width, where bells and their squares stay in the format.
    value, error = form_mean(*_smoothed(points, nodes, weights, sigma, p))
    value, error = value / sigma, error / sigma
    return Density(points, value, error, sigma, nodes, weights, finite(value, error))


@eqx.filter_jit
def _quadratures(
    operator: Operator, keys: Array, depth: int
) -> tuple[Float[Array, "probes depth"], Float[Array, "probes depth"]]:
    product, p = operator.prepared(), operator.shape[0]

    def one(key: Array) -> tuple[Array, Array]:
        draw, refill = jax.random.split(key)
        start = jax.random.normal(draw, (p,), operator.dtype)
        nodes, vectors = jnp.linalg.eigh(tridiagonalise(product, start, depth, refill).projected)
        return nodes, vectors[0] ** 2

    return jax.lax.map(one, keys)


@functools.partial(jax.jit, static_argnums=4)
def _smoothed(
    points: Array, nodes: Array, weights: Array, sigma: Array, p: int
) -> tuple[Float[Array, "probes g"], Float[Array, "probes g"]]:
    """Densities of single probes times sigma, and what each tells of their standard deviation.

    z^T f(A) z / p for z on the sphere has the variance 2 (tr f^2 / p - (tr f / p)^2) / (p + 2), and
    a probe's quadrature knows both means.
    """

    def one(quadrature: tuple[Array, Array]) -> tuple[Array, Array]:
        theta, w = quadrature
        bells = jax.scipy.stats.norm.pdf((points[:, None] - theta[None]) / sigma)
        mean = bells @ w
        return mean, jnp.sqrt(2 * ((bells - mean[:, None]) ** 2 @ w) / (p + 2))

    return jax.lax.map(one, (nodes, weights))
