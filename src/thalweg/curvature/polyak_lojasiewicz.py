"""The constant of the Polyak-Lojasiewicz inequality at a point, ||grad L||^2 = 2 mu (L - L*).

What the last layer guarantees of it is in `thalweg.theory.landscape.polyak_lojasiewicz`.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.last_layer import last_layer_inputs
from thalweg.problems.problem import Supervised


def pl_constant(gradient_norm: ArrayLike, loss: ArrayLike, least: float = 0.0) -> np.ndarray:
    """The constant ||grad L||^2 / (2 (L - L*)) at the points of a trajectory, any shape.

    Args:
        gradient_norm: ||grad L||.
        loss: L.
        least: L*, the infimum of the loss.

    Returns:
        mu (unit: loss/parameter^2); NaN where the loss is not above `least`. Its relative error is
        twice that of the gradient plus that of L - L*.

    Source: Polyak (1963).

    Examples:
        >>> from thalweg.curvature import pl_constant
        >>> float(pl_constant(gradient_norm=2.0, loss=1.0))
        2.0
    """
    slope, gap = np.asarray(gradient_norm, float), np.asarray(loss, float) - least
    require(
        slope.shape == gap.shape or not slope.ndim or not gap.ndim,
        f"gradient_norm came with shape {slope.shape}, loss with {gap.shape}; give both at the "
        "same points",
    )
    above = gap > 0
    return np.where(above, slope**2 / (2 * np.where(above, gap, 1.0)), np.nan)


class Domination(NamedTuple):
    """The chain whole >= last_layer >= bound at one point (unit: loss/parameter^2).

    Attributes:
        whole: ||grad L||^2 / (2 L).
        last_layer: ||dL/dV||^2 / (2 L).
        bound: sigma_n(A)^2 / n.
    """

    whole: Float[Array, ""]
    last_layer: Float[Array, ""]
    bound: Float[Array, ""]


def gradient_domination(problem: Supervised, params: Params) -> Domination:
    """The gradient of a mean squared error beside what its last layer guarantees.

    Args:
        problem: Squared error, mean over examples, on a model with an affine last layer.
        params: Where.

    Raises:
        InputError: For another loss or reduction.

    Error: Rounding; sigma_n(A) is good to eps sigma_1(A). Cost: One gradient, one decomposition.
    Source: E2 of the study of Kawaguchi and Huang (2019).

    Examples:
        >>> from thalweg.curvature import gradient_domination
        >>> problem = tw.problems.supervised(tw.models.mlp([]), (np.ones((1, 1)), np.zeros((1, 1))))
        >>> params = [{"weight": jnp.ones((1, 1)), "bias": jnp.zeros(1)}]
        >>> [round(float(v), 6) for v in gradient_domination(problem, params)]
        [2.0, 2.0, 2.0]
    """
    require(
        problem.loss.name == "squared-error" and problem.reduction == "mean" and problem.plain,
        f"a {problem.reduction} of {problem.loss.name}"
        f"{'' if problem.plain else ', with a term or factor of its own,'} came; "
        "give the mean of squared-error",
    )
    return _domination(problem, params)


@eqx.filter_jit
def _domination(problem: Supervised, params: Params) -> Domination:
    loss, slope = jax.value_and_grad(problem.objective)(params)
    A = last_layer_inputs(problem.model, params, problem.inputs)
    n = A.shape[0]
    sigma = jnp.linalg.svd(A, compute_uv=False)[-1] if A.shape[1] >= n else jnp.zeros(())
    return Domination(
        tree.dot(slope, slope) / (2 * loss),
        tree.dot(slope[-1], slope[-1]) / (2 * loss),
        sigma**2 / n,
    )
