"""The spectral norm of a linear map that is known as a function: a dense layer or a convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.hessian_product import Product
from thalweg.core.result import Reading
from thalweg.curvature.eigenvalues import top_k
from thalweg.curvature.operator import Operator


class Gram(Operator):
    """A^T A of a linear map of arrays."""

    function: Callable[[Array], Array]
    like: Array
    cost: ClassVar[float] = 2.0

    @property
    def shape(self) -> tuple[int, int]:
        return self.like.size, self.like.size

    @property
    def dtype(self) -> np.dtype:
        return self.like.dtype

    def prepared(self) -> Product:
        def forward(flat: Array) -> Array:
            return self.function(flat.reshape(self.like.shape))

        back = jax.linear_transpose(forward, self.like.reshape(-1))
        return lambda v: back(forward(v))[0]


def spectral_norm(function: Callable[[Array], Array], like: Array, seed: int = 0) -> Reading:
    """The largest singular value of a linear map, by Lanczos on A^T A: no matrix is formed.

    The norm of a convolution is that of the map of images, not of its kernel as a matrix.

    Args:
        function: Linear, in JAX, from an array to an array: `lambda x: W @ x`, or a layer without
            its bias.
        like: An array of the shape that it takes.
        seed: Draws the start.

    Returns:
        The norm; the true one lies in [value, value + error] with probability 0.99.

    Raises:
        InputError: If the function is not linear at a drawn point.

    Cost: some tens of products with A and A^T.

    Examples:
        >>> W = jnp.array([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
        >>> round(float(tw.curvature.spectral_norm(lambda x: W @ x, jnp.zeros(3)).value), 6)
        4.0
    """
    like = jnp.asarray(like)
    if not jnp.issubdtype(like.dtype, jnp.floating):
        like = like.astype(jnp.float64)
    x, y = (jax.random.normal(jax.random.key(seed + i), like.shape, like.dtype) for i in (1, 2))
    gap = tree.length(function(x + 2 * y) - function(x) - 2 * function(y))
    size = tree.length(function(x)) + 2 * tree.length(function(y))
    allowed = 1e4 * float(jnp.finfo(like.dtype).eps) * float(size)
    require(
        float(gap) <= allowed,
        "the function is not linear; give a layer without bias and activation, as lambda x: W @ x",
    )
    found = _top(Gram(function, jnp.zeros_like(like)), jax.random.key(seed))
    square = jnp.maximum(found.values[0], 0)
    norm = jnp.sqrt(square)
    upper = jnp.sqrt(square + jnp.maximum(found.missed[0], 0) + found.residuals[0])
    return Reading(norm, upper - norm, found.results[0])


def _top(operator: Operator, key: Array) -> Any:
    return top_k(operator, 1, key, tolerance=1e-6 if operator.dtype == jnp.float64 else 1e-4)
