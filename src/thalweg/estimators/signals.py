"""Truths on lattices that tell adaptive estimators from linear ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import require


def centred_spike(side: int, dims: int = 2, order: int = 0) -> Float[np.ndarray, "..."]:
    """One cell in the middle of a lattice, as high as the canonical total variation allows.

        ||D x||_1 = d 2^{k+1} H = C_n = n^{1 - (k+1)/d},   n = N^d

    Args:
        side: N, at least 2 k + 3, so that no difference is cut off by the boundary.
        dims: d.
        order: k.

    Raises:
        InputError: If the side is too short or there are no dims.

    References:
        Sadhanala et al. (2021).

    Examples:
        >>> spike = tw.estimators.centred_spike(8)
        >>> float(spike.sum()), float(tw.estimators.difference_operator((8, 8), 0).norm(spike))
        (2.0, 8.0)
    """
    require(dims >= 1, f"dims={dims} must be at least 1.")
    require(order >= 0, f"order={order} is negative; 0 is piecewise constant.")
    require(
        side >= 2 * order + 3,
        f"side={side} is too short for order {order}; give at least {2 * order + 3}.",
    )
    require(side**dims <= 2**26, f"side={side} in {dims} dims has over 2^26 cells; give fewer.")
    spike = np.zeros((side,) * dims)
    spike[(side // 2,) * dims] = side ** (dims - order - 1) / (dims * 2 ** (order + 1))
    return spike


def pyramid_on_plane(side: int) -> Float[np.ndarray, "N N"]:
    """A steep pyramid on a gentle slope: 4 max(0, 1 - max(|u - .3|, |v - .3|)/.12) + u/2.

    Args:
        side: N; u, v = 1/N, ..., 1.

    Raises:
        InputError: If the side is below 1.

    Examples:
        >>> tw.estimators.pyramid_on_plane(10)[[2, 9], [2, 9]].round(12).tolist()
        [4.15, 0.5]
    """
    require(1 <= side <= 2**13, f"side={side} must be between 1 and {2**13}.")
    u, v = np.meshgrid(*[np.arange(1, side + 1) / side] * 2, indexing="ij")
    away = np.maximum(np.abs(u - 0.3), np.abs(v - 0.3))
    return 4 * np.maximum(0, 1 - away / 0.12) + 0.5 * u
