"""The last, affine layer of a network: what it sees, and its parameters as one matrix."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from thalweg.core.tree import Params
from thalweg.models.model import Model


def last_layer_inputs(
    model: Model, params: Params, x: Float[Array, "n ..."]
) -> Float[Array, "n m"]:
    """A = [h(x), 1], so that the outputs are A V with V = [W^T; b^T]; A = h(x) without a bias.

    Args:
        model: A network that tells its features.
        params: Its parameters; `params[-1]` is the last layer.
        x: A batch.

    Raises:
        InputError: If the model has no affine last layer.

    Cost: One forward pass. Source: Kawaguchi and Huang (2019), A(theta).
    """
    h = model.features(params, x)
    if "bias" not in params[-1]:
        return h
    return jnp.concatenate([h, jnp.ones((len(h), 1), h.dtype)], axis=1)


def affine_matrix(layer: Params) -> Float[Array, "m k"]:
    """V = [W^T; b^T] of an affine layer, so that its outputs are [h, 1] V; W^T without a bias.

    Examples:
        >>> from thalweg.models.last_layer import affine_matrix
        >>> affine_matrix({"weight": jnp.array([[2.0, 3.0]]), "bias": jnp.array([4.0])}).tolist()
        [[2.0], [3.0], [4.0]]
    """
    rows = layer["weight"].T
    return jnp.concatenate([rows, layer["bias"][None]]) if "bias" in layer else rows


def affine_layer(V: Float[ArrayLike, "m k"]) -> Params:
    """The affine layer, with its bias, of a matrix [W^T; b^T].

    Examples:
        >>> from thalweg.models.last_layer import affine_layer
        >>> affine_layer([[2.0], [3.0], [4.0]])["bias"].tolist()
        [4.0]
    """
    matrix = jnp.asarray(V)
    return {"weight": matrix[:-1].T, "bias": matrix[-1]}
