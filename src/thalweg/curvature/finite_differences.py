"""Gradients from values of the objective alone, one coordinate after the other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from thalweg.core.ranges import require_positive
from thalweg.core.tree import Params
from thalweg.problems.problem import Problem


def difference_gradient(
    problem: Problem, params: Params, step: float, central: bool = False
) -> Params:
    """The gradient by differences of values along each coordinate.

    (f(x + h e_i) - f(x))/h, or (f(x + h e_i) - f(x - h e_i))/(2 h).

    Args:
        problem: What is trained.
        params: The point.
        step: h (unit: parameter).
        central: Whether differences are central.

    Returns:
        A tree like the parameters.

    Raises:
        InputError: If the step is not positive and finite.

    Error: With values exact to eps_f, sqrt(p) (L h/2 + 2 eps_f/h) forwards, and
        sqrt(p) (L_2 h^2/6 + eps_f/h) central. Cost: p + 1 or 2 p values.

    Source: Danilova et al. (2022), E13 of its study; Berahas et al. (2022).

    Examples:
        >>> cube = tw.problems.Function(lambda x: x[0] ** 3, start=jnp.ones(1))
        >>> forward = tw.curvature.difference_gradient(cube, jnp.ones(1), 0.1)
        >>> central = tw.curvature.difference_gradient(cube, jnp.ones(1), 0.1, central=True)
        >>> round(float(forward[0]), 9), round(float(central[0]), 9)  # 3 + 3 h + h^2, 3 + h^2
        (3.31, 3.01)
    """
    require_positive(step=step)
    theta, unravel = ravel_pytree(params)

    def value(at: Array) -> Array:
        return problem.objective(unravel(at))

    def slope(i: Array) -> Array:
        way = jnp.zeros_like(theta).at[i].set(step)
        if central:
            return (value(theta + way) - value(theta - way)) / (2 * step)
        return (value(theta + way) - here) / step

    here = value(theta)
    return unravel(jax.lax.map(slope, jnp.arange(theta.size)))
