"""The over-parametrised linear model: linear regression through w = u^2 - v^2."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.arguments import told
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.model import Model, Shape
from thalweg.problems.problem import Supervised, supervised


class SquaresModel(Model):
    """f(z) = z . (u^2 - v^2), of parameters {"u": (d,), "v": (d,)}, that start at one number.

    Examples:
        >>> net = tw.problems.SquaresModel(2.0)
        >>> params = net.init(jax.random.key(0), (3,), 1)
        >>> params["u"].tolist(), net.apply(params, jnp.ones((1, 3))).tolist()
        ([2.0, 2.0, 2.0], [[0.0]])
    """

    scale: float = eqx.field(static=True, default=1.0)

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        return {name: jnp.full(inputs[0], self.scale, dtype) for name in ("u", "v")}

    def apply(self, params: Params, x: Float[Array, "n d"]) -> Float[Array, "n 1"]:
        return (x @ linear_weights(params))[:, None]


def linear_weights(params: Params) -> Float[Array, " d"]:
    """The linear weights w = u^2 - v^2 of the model, entry by entry.

    Examples:
        >>> params = {"u": jnp.array([2.0]), "v": jnp.array([1.0])}
        >>> tw.problems.linear_weights(params).tolist()
        [3.0]
    """
    require(
        isinstance(params, dict) and {"u", "v"} <= set(params),
        f"params came as {told(params)}; give those of the model, as problem.init draws them",
    )
    return params["u"] ** 2 - params["v"] ** 2


def over_parametrised_linear(Z: ArrayLike, y: ArrayLike, scale: float = 1.0) -> Supervised:
    """(1/2n) sum_i (z_i . (u^2 - v^2) - y_i)^2, from u = v = `scale`.

    Its minima for n < d are a manifold of many solutions w = u^2 - v^2 of Z w = y. (The paper's
    loss has no 1/2: its step size eta is 2 eta here, its slow time T is 4 T.)

    Args:
        Z: Inputs, shape (n, d).
        y: Targets, shape (n,).
        scale: Of the start, not 0: zeros stay zeros.

    Raises:
        InputError: If shapes or the scale do not fit.

    Source: Li, Wang and Arora (2022), section 6; Woodworth et al. (2020).

    Examples:
        >>> problem = tw.problems.over_parametrised_linear([[1.0, 2.0]], [3.0])
        >>> float(problem.objective(problem.init(jax.random.key(0))))  # w = 0: 3^2/2
        4.5
    """
    Z, y = np.asarray(Z, float), np.asarray(y, float)
    require(
        Z.ndim == 2 and y.shape == Z.shape[:1],
        f"Z came with shape {Z.shape} and y with {y.shape}; give (n, d) and (n,)",
    )
    require(
        bool(np.isfinite(scale) and scale != 0),
        f"scale came as {scale}; give a finite number other than 0, as 1.0",
    )
    return supervised(SquaresModel(float(scale)), (Z, y[:, None]), "squared-error")


def fitted_trace(problem: Supervised, params: Params) -> Float[Array, ""]:
    """Tr H of the over-parametrised linear model where it fits all examples, in closed form (E9).

    (4/n) sum_j (sum_i z_ij^2) (u_j^2 + v_j^2), half of what it is for the paper's loss.

    Args:
        problem: From `over_parametrised_linear`.
        params: A point with zero loss; elsewhere the residuals add to the trace.

    Examples:
        >>> problem = tw.problems.over_parametrised_linear([[1.0, 2.0]], [0.0])
        >>> float(tw.problems.fitted_trace(problem, problem.init(jax.random.key(0))))
        40.0
    """
    weights = jnp.sum(problem.inputs**2, axis=0)
    squares = jax.tree.reduce(jnp.add, jax.tree.map(jnp.square, params))
    return 4 / len(problem.inputs) * (weights @ squares)
