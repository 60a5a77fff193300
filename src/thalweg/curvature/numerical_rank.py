"""The rank of a Jacobian, as far as rounding lets it be told."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.core.rank import rounding_of


class JacobianRank(NamedTuple):
    """Rank of the Jacobian of a net's outputs in its parameters.

    Attributes:
        rank: Number of singular values above `tolerance`.
        singular_values: Descending, shape (min(n k, d),), unit output/parameter.
        tolerance: eps * max(n k, d) * the largest one, with the eps of the precision in which J
            came: what rounding cannot tell from zero.
        complement: Orthonormal columns c with c^T J = 0 within the tolerance, (n k, n k - rank):
            directions in which the outputs cannot move to first order.
    """

    rank: int
    singular_values: Float[np.ndarray, " s"]
    tolerance: float
    complement: Float[np.ndarray, "nk rest"]


def jacobian_rank(J: ArrayLike) -> JacobianRank:
    """Numerical rank of J = d outputs / d params, which is at most min(n k, d).

    If d < n k the complement is never empty: at every point some combination of the outputs does
    not move to first order, and which one depends on the point.

    Args:
        J: Shape (n k, d), as `thalweg.curvature.jacobian(problem, params).dense()`.

    Cost: A dense singular value decomposition, no gradients.
    Source: Kawaguchi and Huang (2019), lower bound; E6 of the study.

    Examples:
        >>> from thalweg.curvature import jacobian_rank
        >>> jacobian_rank([[1.0, 0.0], [2.0, 0.0]]).rank
        1
    """
    eps = rounding_of(J)
    J = np.asarray(J, float)
    require(
        J.ndim == 2 and J.size > 0 and bool(np.isfinite(J).all()),
        f"a Jacobian of shape {J.shape} came; give a matrix (n k, d) of finite numbers",
    )
    U, values, _ = np.linalg.svd(J, full_matrices=True)
    tolerance = float(eps * max(J.shape) * values[0])
    rank = int(np.sum(values > tolerance))
    return JacobianRank(rank, values, tolerance, U[:, rank:])
