"""Problems whose gradient flow is known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import is_array, real_array, told
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.problems.problem import Problem


class Quadratic(Problem):
    """f(z) = sum_i (h_i/2) z_i^2 + b_i z_i: independent one-dimensional problems side by side.

    Attributes:
        curvature: h, shape (d,); negative values are saddles.
        slope: b, shape (d,).
        start: z(0), shape (d,).

    Examples:
        >>> problem = tw.problems.Quadratic([2.0, -1.0], slope=[0.0, 1.0], start=[1.0, 1.0])
        >>> float(problem.objective(jnp.ones(2)))  # 2/2, then -1/2 + 1
        1.5
    """

    curvature: Float[Array, " d"] = eqx.field(converter=real_array)
    slope: Float[Array, " d"] = eqx.field(converter=real_array)
    start: Float[Array, " d"] = eqx.field(converter=real_array)

    def __check_init__(self) -> None:
        shapes = (self.curvature.shape, self.slope.shape, self.start.shape)
        require(
            len(set(shapes)) == 1 and len(shapes[0]) == 1,
            f"curvature, slope and start have shapes {shapes}; give three lists of one length.",
        )

    def init(self, key: Array) -> Params:
        return self.start

    def objective(self, params: Params) -> Float[Array, ""]:
        return jnp.sum(self.curvature / 2 * params**2 + self.slope * params)

    def describe(self) -> dict[str, Any]:
        return {"kind": "quadratic", "dimensions": int(self.start.size)}


def _matrices(weights: Any) -> Any:
    return tuple(map(real_array, weights)) if isinstance(weights, Sequence) else weights


class Factorisation(Problem):
    """f(W_1, ..., W_n) = (1/2) |W_n ... W_1 - target|_F^2, a deep linear net on whitened data.

    Leading axes hold independent problems, which are summed: their paths do not see each other.

    Attributes:
        target: Shape (..., d_n, d_0).
        start: [W_1, ..., W_n], W_j of shape (..., d_j, d_{j-1}).

    Examples:
        >>> problem = tw.problems.Factorisation(np.diag([2.0, 1.0]), [np.eye(2), np.eye(2)])
        >>> float(problem.objective(problem.init(jax.random.key(0))))  # (2 - 1)^2 / 2
        0.5
    """

    target: Float[Array, "*batch out in"] = eqx.field(converter=real_array)
    start: Sequence[Array] = eqx.field(converter=_matrices)

    def __check_init__(self) -> None:
        require(
            len(self.start) > 0
            and all(is_array(w) and w.ndim >= 2 for w in self.start)
            and all(b.shape[-1] == a.shape[-2] for a, b in pairwise(self.start)),
            f"start came as {told(self.start)}; give matrices [W_1, ..., W_n] whose product "
            "W_n ... W_1 can be formed",
        )
        shape = reduce(lambda product, w: w @ product, self.start).shape
        require(
            shape[-2:] == self.target.shape[-2:],
            f"the product of the weights has shape {shape}, the target {self.target.shape}; "
            "their last two sides must agree.",
        )

    def init(self, key: Array) -> Params:
        return list(self.start)

    def objective(self, params: Params) -> Float[Array, ""]:
        product = reduce(lambda product, w: w @ product, params)
        product, target = jnp.broadcast_arrays(product, self.target)
        return 0.5 * jnp.sum((product - target) ** 2)

    def describe(self) -> dict[str, Any]:
        return {"kind": "factorisation", "layers": [list(w.shape) for w in self.start]}
