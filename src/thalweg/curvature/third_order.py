"""Gradients of curvature: of its forms, the largest Hessian eigenvalue and the trace."""

from __future__ import annotations

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.errors import choose, require
from thalweg.core.hessian_product import third_product
from thalweg.core.result import Reading, Result, exact, finite
from thalweg.core.sampling import student_factor
from thalweg.core.selection import Where
from thalweg.core.tree import Params
from thalweg.curvature.eigenvalues import top_k
from thalweg.curvature.operators import Hessian, hessian
from thalweg.problems.problem import Problem


class SharpnessGradient(NamedTuple):
    """The gradient of the largest Hessian eigenvalue.

    Attributes:
        gradient: In all parameters, flat in the order of `ravel_pytree`; loss/parameter^3.
        value: The eigenvalue, loss/parameter^2.
        vector: Its unit eigenvector (of the part chosen).
        gap: Distance to the second largest.
        angle: residual / gap, which bounds the sine of the angle between `vector` and the
            eigenvector if the two values are the two largest (Davis and Kahan). The gradient is
            off by at most about 2 `angle` times the largest change of curvature.
        result: `NOT_CONVERGED` if a residual is above the tolerance, or the gap is not above
            100 times the residuals: where the eigenvalue is multiple it has no gradient.
    """

    gradient: Float[Array, " p"]
    value: Float[Array, ""]
    vector: Float[Array, " q"]
    gap: Float[Array, ""]
    angle: Float[Array, ""]
    result: Int[Array, ""]


def sharpness_gradient(
    problem: Problem,
    params: Params,
    key: Array,
    *,
    where: Where = None,
    start: Float[Array, "q b"] | None = None,
    tolerance: float | None = None,
    most_products: int = 2000,
) -> SharpnessGradient:
    """The gradient of the sharpness, d lambda / d theta_i = v^T (dH / d theta_i) v.

    Holds for a simple eigenvalue lambda with unit eigenvector v (Hellmann-Feynman).

    Args:
        problem: What is trained; its objective must have three derivatives.
        params: The point.
        key: Draws the start of the eigenvalue search.
        where: The part whose Hessian block is meant; the gradient is in all parameters.
        start: Columns near the leading eigenvectors.
        tolerance: Residual asked, in units of the largest |Ritz value|; by default 1e-8, or 1e-4
            in single precision.
        most_products: For the eigenvalue; see `top_k`.

    Returns:
        A `SharpnessGradient`. Cost: that of `top_k` with k = 2, then about 4 gradients.

    Raises:
        InputError: If `where` or a number does not fit, or the part has a single parameter.

    Examples:
        >>> f = tw.problems.Function(lambda x: x[0] ** 3 + x[1] ** 2, start=jnp.ones(2))
        >>> found = tw.curvature.sharpness_gradient(f, f.start, jax.random.key(0))
        >>> round(float(found.value), 6), found.gradient.round(6).tolist()  # 6 x_0 at x_0 = 1
        (6.0, [6.0, 0.0])
    """
    operator = hessian(problem, params, where)
    require(operator.shape[0] >= 2, "the part has one parameter; give at least 2")
    if tolerance is None:
        tolerance = 1e-4 if operator.dtype == jnp.float32 else 1e-8
    found = top_k(operator, 2, key, start=start, tolerance=tolerance, most_products=most_products)
    v = found.vectors[:, 0]
    gradient = _form_gradient(operator, v)
    gap = found.values[0] - found.values[1]
    resolved = gap > 100 * jnp.max(found.residuals)
    code = jnp.where(resolved, int(Result.OK), int(Result.NOT_CONVERGED)).astype(jnp.int32)
    code = jnp.maximum(jnp.maximum(code, jnp.max(found.results)), finite(gradient, gap))
    angle = found.residuals[0] / jnp.where(gap > 0, gap, jnp.nan)
    return SharpnessGradient(gradient, found.values[0], v, gap, angle, code)


def trace_gradient(
    problem: Problem,
    params: Params,
    key: Array,
    *,
    where: Where = None,
    method: str = "hutchinson",
    samples: int = 30,
) -> Reading:
    """The gradient of the trace of the Hessian, sum_j e_j^T (dH / d theta_i) e_j.

    Args:
        problem: What is trained; its objective must have three derivatives.
        params: The point.
        key: Draws the signs.
        where: The part whose diagonal is summed; the gradient is in all parameters.
        method: "hutchinson", the mean over random signs z of the gradient of z^T H z; "exact", the
            sum over the unit vectors of the part.
        samples: How many sign vectors, at least 10.

    Returns:
        value (p,), loss/parameter^3, flat in the order of `ravel_pytree`; error (p,), of every
        entry, 0 if exact: the standard error, widened for few samples (`student_factor`). Cost:
        about 4 gradients for every sample or unit vector.

    Examples:
        >>> f = tw.problems.Function(lambda x: jnp.sum(x**3), start=jnp.ones(2))
        >>> slope = tw.curvature.trace_gradient(f, f.start, jax.random.key(0), method="exact")
        >>> slope.value.round(6).tolist()  # the trace is 6 (x_0 + x_1)
        [6.0, 6.0]
    """
    estimate = choose(method, {"hutchinson": _sampled, "exact": _summed}, "method")
    require(samples >= 10, f"samples came as {samples}; give at least 10, for an error")
    operator = hessian(problem, params, where)
    if estimate is _summed:
        return exact(_summed(operator))
    value, error = _sampled(operator, key, samples)
    return Reading(value, error, finite(value, error))


@eqx.filter_jit
def third_derivative(
    problem: Problem, params: Params, u: Float[Array, " p"], v: Float[Array, " p"]
) -> Float[Array, " p"]:
    """The gradient of u^T H v with u and v held fixed: T[u, v], T the third derivative.

    T[u, v]_i = sum_jk d^3 f/(d theta_i d theta_j d theta_k) u_j v_k. For two unit eigenvectors of
    the Hessian it is how their entry of the matrix changes with the parameters; for u = v it is the
    gradient of a simple eigenvalue. Never a tensor.

    Args:
        problem: What is trained; its objective must have three derivatives.
        params: The point.
        u: Flat, in the order of `ravel_pytree`.
        v: The same.

    Returns:
        (p,), loss/parameter^3 for unit vectors; exact up to rounding. Cost: about 4 gradients.

    Examples:
        >>> f = tw.problems.Function(lambda x: x[0] ** 2 * x[1], start=jnp.ones(2))
        >>> u, v = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
        >>> tw.curvature.third_derivative(f, f.start, u, v).tolist()  # of u^T H v = 2 x_0
        [2.0, 0.0]
    """
    size = tree.size(params)
    for name, given in (("u", u), ("v", v)):
        require(
            jnp.shape(given) == (size,),
            f"{name} came with shape {jnp.shape(given)}; give one number for each parameter, "
            f"({size},)",
        )
    return third_product(problem.objective, params)(jnp.asarray(u))(jnp.asarray(v))


def _quadratic_form(operator: Hessian, theta: Array, v: Float[Array, " q"]) -> Array:
    """v^T H(theta) v, of all parameters theta, as the second derivative along v."""
    part, unravel = operator.part, ravel_pytree(operator.part.tree(operator.part.theta))[1]
    direction = ravel_pytree(part.tree(v))[0]

    def slope(t: Array) -> Array:
        objective = operator.problem.objective
        return jax.jvp(lambda s: objective(unravel(s)), (t,), (direction,))[1]

    return jax.jvp(slope, (theta,), (direction,))[1]


def _all(operator: Hessian) -> Float[Array, " p"]:
    """All parameters, not only those of the part."""
    return ravel_pytree(operator.part.params(operator.part.theta))[0]


@eqx.filter_jit
def _form_gradient(operator: Hessian, v: Float[Array, " q"]) -> Float[Array, " p"]:
    return jax.grad(lambda t: _quadratic_form(operator, t, v))(_all(operator))


@eqx.filter_jit
def _summed(operator: Hessian) -> Float[Array, " p"]:
    theta, q = _all(operator), operator.shape[0]

    def on(total: Array, i: Array) -> tuple[Array, None]:
        return total + _form_gradient(operator, jnp.zeros(q, theta.dtype).at[i].set(1)), None

    return jax.lax.scan(on, jnp.zeros_like(theta), jnp.arange(q))[0]


@eqx.filter_jit
def _sampled(operator: Hessian, key: Array, samples: int) -> tuple[Array, Array]:
    """Mean and standard error by running sums (Welford), for two vectors of memory."""
    theta, q = _all(operator), operator.shape[0]

    def on(sums: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], None]:
        mean, spread = sums
        z = jax.random.rademacher(jax.random.fold_in(key, i), (q,), theta.dtype)
        drawn = _form_gradient(operator, z)
        moved = mean + (drawn - mean) / (i + 1).astype(theta.dtype)
        # The square root of Welford's sum: squares may leave the format.
        share = jnp.sqrt(i / (i + 1)).astype(theta.dtype)
        return (moved, jnp.hypot(spread, share * (drawn - mean))), None

    zero = jnp.zeros_like(theta)
    (mean, spread), _ = jax.lax.scan(on, (zero, zero), jnp.arange(samples))
    return mean, spread * (student_factor(samples) / math.sqrt(samples * (samples - 1)))
