"""Problems that are hard for first-order methods: a chain that shows one coordinate a step, a trap.

What they prove is in `thalweg.theory.quadratics.lower_bounds`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require
from thalweg.problems.problem import Function


def hard_chain(dimensions: int, smoothness: float = 1.0, convexity: float = 0.0) -> Function:
    """The worst function in the world: a chain of springs, from w = 0.

    f(w) = ((L - mu)/8) ((w_1 - 1)^2 + sum_i (w_{i+1} - w_i)^2) + (mu/2) ||w||^2; for mu = 0 its
    minimum is 0, at w = 1. Each gradient in the span of those before shows one new coordinate.

    Args:
        dimensions: d, from 2 on; 2 n + 1 for a lower bound on n steps.
        smoothness: L, an upper bound on the Hessian.
        convexity: mu, a lower bound on the Hessian; 0 for a convex problem.

    Raises:
        InputError: If d is below 2, or not 0 <= mu < L.

    Source: Nesterov (2004), section 2.1.2; Benning (2021).

    Examples:
        >>> chain = tw.problems.hard_chain(3, smoothness=8.0)
        >>> float(chain.objective(jnp.zeros(3))), jax.grad(chain.objective)(jnp.zeros(3)).tolist()
        (1.0, [-2.0, 0.0, 0.0])
    """
    require(
        not misfit(dimensions, int) and dimensions >= 2,
        f"dimensions came as {told(dimensions)}; give a whole number from 2 on",
    )
    require(
        0 <= convexity < smoothness < float("inf"),
        f"convexity came as {convexity:g}, smoothness as {smoothness:g}; give 0 <= convexity < "
        "smoothness",
    )

    def springs(w: Float[Array, " d"]) -> Float[Array, ""]:
        stretched = (w[0] - 1) ** 2 + jnp.sum(jnp.diff(w) ** 2)
        return (smoothness - convexity) / 8 * stretched + convexity / 2 * jnp.sum(w**2)

    return Function(springs, jnp.zeros(int(dimensions)))


def heavy_ball_trap(start: float = 3.3) -> Function:
    """A strongly convex function on which tuned heavy ball runs in a cycle for ever.

    f'(x) = 25 x below 1, x + 24 up to 2, 25 x - 24 above; mu = 1, L = 25, minimum at 0. With
    alpha = 1/9, beta = 4/9, best for quadratics of these, heavy ball from 3.3 ends in the cycle
    (792, -2208, 2592)/1225.

    Args:
        start: x_0.

    Source: Lessard, Recht and Packard (2016), section 4.6.

    Examples:
        >>> trap = tw.problems.heavy_ball_trap()
        >>> [float(jax.grad(trap.objective)(jnp.array([x]))[0]) for x in (0.5, 1.5, 3.0)]
        [12.5, 25.5, 51.0]
    """
    require(not misfit(start, float), f"start came as {told(start)}; give a number, as in 3.3")
    return Function(_trap, jnp.asarray([float(start)]))


def _trap(w: Array) -> Array:
    x = w[0]
    inner = jnp.where(x < 2, x**2 / 2 + 24 * x - 12, 12.5 * x**2 - 24 * x + 36)
    return jnp.where(x < 1, 12.5 * x**2, inner)
