"""The size of noise as an array, so that another one compiles nothing."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require


def noise_size(value: float | Array, name: str = "sigma") -> Float[Array, "*lanes"]:
    """A number of at least 0, or one for each lane of dynamics that are mapped over.

    Raises:
        InputError: If it is none.
    """
    within = not isinstance(value, int | float | np.number) or bool(0 <= value < np.inf)
    require(
        not misfit(value, float | Array) and within,
        f"{name} came as {told(value)}; give a finite number of at least 0, as 0.1",
    )
    return jnp.asarray(value, jnp.float64)
