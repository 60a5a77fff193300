"""Robust regression: a loss that outliers cannot dominate, so that the objective is not convex."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.model import Model, Shape
from thalweg.problems.losses import Loss
from thalweg.problems.problem import Supervised, supervised


class Functional(Model):
    """f(x) = w . x, of parameters w (d,) that start at one number.

    Examples:
        >>> net = tw.problems.Functional(-2.0)
        >>> net.init(jax.random.key(0), (3,), 1).tolist()
        [-2.0, -2.0, -2.0]
    """

    start: float = eqx.field(static=True, default=0.0)

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        return jnp.full(inputs[0], self.start, dtype)

    def apply(self, params: Params, x: Float[Array, "n d"]) -> Float[Array, "n 1"]:
        return (x @ params)[:, None]


def saturating(outputs: Float[Array, " k"], target: Float[Array, " k"]) -> Float[Array, ""]:
    """t^2/(1 + t^2) of the residual t: at most 1, curvature from -1/2 to 2."""
    square = jnp.sum((outputs - target) ** 2)
    return square / (1 + square)


SATURATING = Loss("saturating", saturating, "regression")


def robust_regression(examples: int = 64, dimensions: int = 10, seed: int = 0) -> Supervised:
    """(1/m) sum_i rho(a_i . x - b_i), rho(t) = t^2/(1 + t^2), from x = -2 in every coordinate.

    a_i uniform on the unit sphere, so that every L_i is 2 at most; b = a . x_* + 0.1 N(0, 1) with
    x_* ~ N(0, I), and a sixth of the examples, gross outliers, moved by N(0, 25).

    Args:
        examples: m.
        dimensions: d.
        seed: Of the draw, by NumPy's default_rng.

    Raises:
        InputError: If a number is no whole number from 1 on (the seed from 0).

    Source: X1 of the study of Danilova et al. (2022).

    Examples:
        >>> problem = tw.problems.robust_regression(6, 3)
        >>> problem.inputs.shape, problem.init(jax.random.key(0)).tolist()
        ((6, 3), [-2.0, -2.0, -2.0])
    """
    for name, value, least in (("examples", examples, 1), ("dimensions", dimensions, 1),
                               ("seed", seed, 0)):  # fmt: skip
        require(
            not misfit(value, int) and value >= least,
            f"{name} came as {told(value)}; give a whole number from {least} on",
        )
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(examples, dimensions))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = a @ rng.normal(size=dimensions) + 0.1 * rng.normal(size=examples)
    b[: examples // 6] += 5 * rng.normal(size=examples // 6)
    return supervised(Functional(-2.0), (a, b[:, None]), SATURATING)
