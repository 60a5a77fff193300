"""The last, affine layer of a network: what it sees."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

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
