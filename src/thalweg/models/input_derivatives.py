"""Derivatives of a network by its inputs, in directions that the data may say nothing of.

Data on a plane say nothing of df/dn, the derivative normal to it. It decides what a trained network
answers slightly off the plane. Bases are orthonormal: see `thalweg.problems.data.planes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.model import Model

Network = Callable[[Array], Array]


class NormalDerivatives(NamedTuple):
    """Derivatives of a network's outputs in normal directions.

    Attributes:
        value: df_k/dy_j at every point, shape (n, k, d_y), unit output/input.
        per_point: sqrt(sum_kj value^2), shape (n,).
        per_direction: Root mean square over points of the norm over outputs, shape (d_y,).
        rms: sqrt(mean over points of per_point^2), shape ().
    """

    value: Float[Array, "n k dy"]
    per_point: Float[Array, " n"]
    per_direction: Float[Array, " dy"]
    rms: Float[Array, ""]


def normal_derivatives(
    f: Network, points: Float[ArrayLike, "n d"], normal: Float[ArrayLike, "d dy"]
) -> NormalDerivatives:
    """df/dy_j = N_j . grad f at every point, by reverse differentiation.

    Args:
        f: Maps a batch (n, d) to outputs (n, k) or (n,), every example by itself.
        points: Where: on M, or off it; the kinks of a ReLU net make the two differ.
        normal: N, orthonormal columns.

    Error: rounding. Cost: a forward pass and one backward pass per output.

    Raises:
        InputError: If the basis does not fit the points.

    Source: He, Tsai and Ward (2023), arXiv 2203.00614, df/dn.

    Examples:
        >>> f = lambda z: z[:, 0] ** 2 + 5 * z[:, 1]
        >>> points, axis = jnp.array([[1.0, 0.0]]), jnp.array([[0.0], [1.0]])
        >>> normal = tw.models.normal_derivatives(f, points, axis)
        >>> normal.value.ravel().tolist()
        [5.0]
    """
    points, normal = jnp.asarray(points), jnp.asarray(normal)
    require(
        points.ndim == normal.ndim == 2 and points.shape[1] == normal.shape[0],
        f"points of shape {points.shape} and a basis of shape {normal.shape} came; give (n, d) "
        "and (d, d_y)",
    )
    value = jnp.einsum("nkd,dj->nkj", _gradients(f, points), normal)
    square = value**2
    return NormalDerivatives(
        value,
        jnp.sqrt(jnp.sum(square, (1, 2))),
        jnp.sqrt(jnp.mean(jnp.sum(square, 1), 0)),
        jnp.sqrt(jnp.mean(jnp.sum(square, (1, 2)))),
    )


def _gradients(f: Network, points: Float[Array, "n d"]) -> Float[Array, "n k d"]:
    """Gradients of all outputs in the inputs."""
    outputs, pull = jax.vjp(lambda z: f(z).reshape(len(z), -1), points)
    k = outputs.shape[1]
    seeds = jnp.broadcast_to(jnp.eye(k, dtype=outputs.dtype)[:, None], (k, *outputs.shape))
    return jnp.moveaxis(jax.vmap(lambda seed: pull(seed)[0])(seeds), 0, 1)


def first_layer_gradient(
    model: Model, params: Params, points: Float[Array, "n d"]
) -> Float[Array, "n width"]:
    """g_1(z), the derivative of a dense net's one output by its first pre-activations.

    df/dy = B^T g_1 with B = W_1 N, and the gradient of the loss in B is the mean of
    residual * g_1 y^T: 0 when all y are.

    Args:
        model: A dense net with biases and one output.
        params: Its parameters.
        points: Shape (n, d).

    Error: rounding. Cost: a forward and a backward pass at every point.

    Raises:
        InputError: If the first layer has no bias.

    Examples:
        >>> net = tw.models.mlp([2], "relu")
        >>> params = [
        ...     {"weight": jnp.eye(2), "bias": jnp.zeros(2)},
        ...     {"weight": jnp.array([[5.0, 7.0]]), "bias": jnp.zeros(1)},
        ... ]
        >>> tw.models.first_layer_gradient(net, params, jnp.array([[1.0, -1.0]])).tolist()
        [[5.0, 0.0]]
    """
    require(
        isinstance(params, list) and "bias" in params[0],
        "the derivative by pre-activations is taken by the first layer's bias; give a dense net "
        "with biases",
    )

    def output(bias: Array, z: Array) -> Array:
        return model.apply([params[0] | {"bias": bias}, *params[1:]], z[None])[0, 0]

    return jax.vmap(jax.grad(output), (None, 0))(params[0]["bias"], points)
