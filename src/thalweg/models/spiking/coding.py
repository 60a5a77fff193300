"""Numbers as trains of spikes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import require


def rate_coded(x: Float[Array, "n ..."], steps: int, key: Array) -> Float[Array, "n t ..."]:
    """Examples as spikes: at each step each entry is 1 with probability x, cut to [0, 1], else 0.

    The mean over steps is unbiased for entries in [0, 1], with variance x (1 - x) / steps. The
    result is data for a net with presentation="by-step"; drawn once, so that its loss is a function
    of the parameters.

    Args:
        x: A batch of examples, entries in [0, 1].
        steps: How many steps the trains last, at least 1.
        key: Source of randomness.

    Returns:
        Spikes (n, steps, ...), in the type of x.

    Raises:
        InputError: If `steps` is below 1.

    Examples:
        >>> trains = tw.models.rate_coded(jnp.array([[0.0, 1.0]]), 3, jax.random.key(0))
        >>> trains.tolist()
        [[[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]]
    """
    require(steps >= 1, f"steps came as {steps}; give at least 1")
    x = jnp.asarray(x)
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)
    require(x.ndim >= 1, "x came as one number; give a batch of examples, of axes (examples, ...)")
    drawn = jax.random.uniform(key, (x.shape[0], steps, *x.shape[1:]), x.dtype)
    return (drawn < x[:, None]).astype(x.dtype)
