"""Curvature products: the Hessian as a linear map on flat vectors."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.tree import Params

Objective = Callable[[Params], Float[Array, ""]]
Product = Callable[[Float[Array, " p"]], Float[Array, " p"]]


def hessian_product(objective: Objective, params: Params) -> Product:
    """The map v -> H v, H the Hessian of a scalar objective at the parameters.

    The gradient is linearised once, so that k products cost one gradient and k tangent passes
    instead of k of each.

    Args:
        objective: Maps a pytree of parameters to a scalar (unit: loss).
        params: The point; p scalars in all.

    Returns:
        A function of flat vectors (p,) in the order of `jax.flatten_util.ravel_pytree`
        (unit: loss/parameter^2). Exact up to rounding; for piecewise smooth nets it is the
        Hessian of the linear piece. Cost of a product: about one gradient.
    """
    theta, unravel = ravel_pytree(params)
    gradient = jax.grad(lambda flat: objective(unravel(flat)))
    return jax.linearize(gradient, theta)[1]


def third_product(objective: Objective, params: Params) -> Callable[[Array], Product]:
    """The map u -> (v -> T[u, v]), T the third derivative of a scalar objective.

    T[u, v]_i = sum_jk d^3 f/(d theta_i d theta_j d theta_k) u_j v_k, the gradient of u^T H v with u
    and v held fixed. The product with u is linearised once for all v.

    Args:
        objective: Maps a pytree of parameters to a scalar (unit: loss).
        params: The point; p scalars in all.

    Returns:
        A function of a flat vector (p,) in the order of `ravel_pytree` to a function of another
        (unit: loss/parameter^3). Exact up to rounding. Cost of a product: counted as 4 gradients.
    """
    theta, unravel = ravel_pytree(params)
    gradient = jax.grad(lambda flat: objective(unravel(flat)))

    def along(u: Float[Array, " p"]) -> Product:
        return jax.linearize(lambda t: jax.jvp(gradient, (t,), (u,))[1], theta)[1]

    return along


def dense_hessian(objective: Objective, params: Params) -> Float[Array, "p p"]:
    """The Hessian as a matrix, for small p: p products, p^2 numbers (unit: loss/parameter^2)."""
    theta, unravel = ravel_pytree(params)
    return jax.hessian(lambda flat: objective(unravel(flat)))(theta)
