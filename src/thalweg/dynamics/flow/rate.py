"""How fast anything changes along gradient flow, by automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from thalweg.core.tree import Params


def flow_rate(
    quantity: Callable[[Params], Any], objective: Callable[[Params], Array], params: Params
) -> Any:
    """The rate d quantity / dt along gradient flow, its derivative along -grad objective.

    Args:
        quantity: Maps parameters to arrays, differentiable there.
        objective: What the flow descends.
        params: Where.

    Returns:
        Shaped as the quantity, exact up to rounding. Cost: one gradient and one tangent pass.
    """
    downhill = jax.tree.map(jnp.negative, jax.grad(objective)(params))
    return jax.jvp(quantity, (params,), (downhill,))[1]
