"""The least loss of nets whose kinks do not move: affine on every ray from the origin.

A unit without bias, whatever its inputs, is linear on each ray {t u : t > 0}. While no kink passes
an example, a ReLU net that started without biases is affine on each ray that carries examples.

Source: Holzmueller and Steinwart (2022), arXiv 2002.04861; C2 and C4 of the study.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from thalweg.core.errors import require

SAME_RAY = 1e-9  # distance of unit vectors below which two examples lie on one ray


def affine_per_ray_loss(
    inputs: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Least 1/2 sum p_j (y_j - g(x_j))^2 over all g that are affine on each ray from the origin.

    Args:
        inputs: Shape (N, d), none of them 0.
        targets: Shape (N,).
        weights: Of the examples, (N,), scaled to the sum 1; equal ones by default.

    Returns:
        The loss (unit: loss). Exact up to rounding; a regression line for each ray.

    Raises:
        InputError: If shapes do not fit, or an input is 0.

    Examples:
        >>> from thalweg.theory.relu_nets.affine_floors import affine_per_ray_loss
        >>> x = [[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [2.0, 0.0], [5.0, 0.0]]
        >>> floor = affine_per_ray_loss(x, [1.0, -2.0, 1.0, 7.0, 8.0])
        >>> round(floor, 12)  # one ray has errors 1, -2, 1 of its line, the other none
        0.6
    """
    x, y = np.asarray(inputs, float), np.asarray(targets, float)
    require(
        x.ndim == 2 and y.shape == x.shape[:1] and len(y) > 0,
        f"inputs and targets came with shapes {x.shape} and {y.shape}; give (N, d) and (N,)",
    )
    p = np.ones(len(y)) if weights is None else np.asarray(weights, float)
    require(
        p.shape == y.shape and bool(np.all(p >= 0)) and p.sum() > 0,
        f"weights came with shape {p.shape}; give {len(y)} numbers of at least 0, not all 0",
    )
    radius = np.linalg.norm(x, axis=1)
    require(bool(np.all(radius > 0)), "an input is 0, which lies on no ray; leave it out")
    units, left, total = x / radius[:, None], np.arange(len(y)), 0.0
    while left.size:
        apart = np.linalg.norm(units[left] - units[left[0]], axis=1)
        own, left = left[apart <= SAME_RAY], left[apart > SAME_RAY]
        root = np.sqrt(p[own])
        design = root[:, None] * np.stack([radius[own], np.ones(own.size)], axis=1)
        line = np.linalg.lstsq(design, root * y[own], rcond=None)[0]
        total += float(np.sum((root * y[own] - design @ line) ** 2))
    return total / (2 * float(p.sum()))


def affine_per_side_loss(x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> float:
    """`affine_per_ray_loss` of one input: a regression line for x < 0, another for x > 0.

    Args:
        x: Inputs, (N,), none of them 0.
        y: Targets, (N,).
        weights: As for `affine_per_ray_loss`.

    Raises:
        InputError: As `affine_per_ray_loss`.

    Examples:
        >>> from thalweg.theory.relu_nets.affine_floors import affine_per_side_loss
        >>> affine_per_side_loss([-3, -2, -1, 1, 2, 3], [-1, 2, -1, 1, -2, 1])
        1.0
    """
    return affine_per_ray_loss(np.asarray(x, float)[:, None], y, weights)
