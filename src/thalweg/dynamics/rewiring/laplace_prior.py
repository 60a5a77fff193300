"""The prior of gradient rewiring: Laplace, centred where a share p of its mass lies below zero."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.arguments import told
from thalweg.core.behaviour import traced
from thalweg.core.errors import require
from thalweg.core.ranges import require_positive


def laplace_centre(sparsity: float, alpha: float) -> Float[Array, ""]:
    """Mu = ln(2 (1 - p))/alpha, where the density (alpha/2) exp(-alpha |theta - mu|) has p below 0.

    Args:
        sparsity: p, from 1/2 to below 1: with less the centre would be a positive strength, and the
            prior would hold connections instead of pruning them.
        alpha: Inverse scale of the prior (unit: 1/parameter); traced as well, as within `jax.vmap`.

    Returns:
        The centre, at most 0 (unit: parameter).

    Raises:
        InputError: If p is below 1/2 or not below 1, or alpha is not positive.

    Source: Chen et al. (2021), section 3.3.

    Examples:
        >>> centre = tw.dynamics.laplace_centre(0.95, 10.0)
        >>> round(float(centre), 4), round(float(1 - jnp.exp(10 * centre) / 2), 12)
        (-0.2303, 0.95)
    """
    if not traced(sparsity):
        p = np.asarray(sparsity)
        require(
            bool(np.all((p >= 0.5) & (p < 1))),
            f"sparsity came as {told(sparsity)}; give a share from 0.5 to below 1: a Laplace prior "
            "with less of its mass below 0 is centred at a positive strength",
        )
    require_positive(alpha=alpha)
    return jnp.log(2 * (1 - jnp.asarray(sparsity, float))) / jnp.asarray(alpha, float)
