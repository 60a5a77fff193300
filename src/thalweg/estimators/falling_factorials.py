"""Discrete splines: the falling-factorial basis, its coefficients, functions between the points.

On a design x_1 < ... < x_N the basis of degree k is

    h_j(x) = prod_{l=1}^{j-1} (x - x_l) / (j - 1)!                            j <= k + 1
    h_j(x) = prod_{l=j-k}^{j-1} (x - x_l) / k!  for x > x_{j-1}, else 0       j >= k + 2

A trend filtering fit of order k holds the values at the design of a function in its span, which any
k + 1 neighbouring values give between the points, at a cost that does not grow with N.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.estimators.differences import orders_of

Points = Float[np.ndarray, "..."]


def checked_design(design: ArrayLike, order: int) -> Float[np.ndarray, " N"]:
    """A design as an array, increasing and long enough for an order."""
    x = np.asarray(design, dtype=float)
    require(x.ndim == 1, f"design has {x.ndim} dims; give the increasing coordinates of one axis.")
    require(order >= 0, f"order={order} is negative; 0 is piecewise constant.")
    require(
        len(x) > order,
        f"design has {len(x)} points; polynomials of degree {order} take at least {order + 1}.",
    )
    require(
        bool(np.isfinite(x).all() and (np.diff(x) > 0).all()),
        "design must be finite and increase; sort it and drop ties.",
    )
    return x


def falling_factorial_basis(
    design: ArrayLike, order: int, points: ArrayLike | None = None
) -> Float[np.ndarray, "points N"]:
    """The basis functions h_1 ... h_N of degree k, at the design or elsewhere.

    Args:
        design: x, increasing.
        order: k.
        points: Where to evaluate; the design by default.

    Raises:
        InputError: If the design does not increase or is too short.

    References:
        Tibshirani (2020); Sadhanala et al. (2021), E7.

    Examples:
        >>> tw.estimators.falling_factorial_basis([0.0, 1.0, 2.0], 0).tolist()
        [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    """
    x = checked_design(design, order)
    at = x if points is None else np.asarray(points, dtype=float)
    require(at.ndim == 1, f"points have {at.ndim} dims; give coordinates on one axis.")
    basis = np.empty((len(at), len(x)))
    for j in range(min(order + 1, len(x))):
        basis[:, j] = np.prod(at[:, None] - x[:j], axis=1) / math.factorial(j)
    for j in range(order + 1, len(x)):
        factors = np.prod(at[:, None] - x[j - order : j], axis=1) / math.factorial(order)
        basis[:, j] = np.where(at > x[j - 1], factors, 0.0)
    return basis


def divided_differences(
    design: ArrayLike, values: ArrayLike, order: int
) -> Float[np.ndarray, "..."]:
    """f[x_i, ..., x_{i+m}] for every i, along the last axis of the values.

    Args:
        design: x, increasing.
        values: f at the design.
        order: m.

    Raises:
        InputError: If the design does not increase, or the values are not at it.

    Examples:
        >>> tw.estimators.divided_differences([0.0, 1.0, 3.0], [0.0, 1.0, 9.0], 2).tolist()
        [1.0]
    """
    x = checked_design(design, order)
    f = np.asarray(values, dtype=float)
    require(
        f.shape[-1:] == x.shape,
        f"values have shape {f.shape} on a design of {len(x)} points; their last dims must agree.",
    )
    for m in range(1, order + 1):
        f = np.diff(f, axis=-1) / (x[m:] - x[:-m])
    return f


def falling_factorial_coefficients(
    design: ArrayLike, values: ArrayLike, order: int
) -> Float[np.ndarray, "..."]:
    """Alpha with f = sum_j alpha_j h_j for the values of f at the design, without a solve.

        alpha_j = (j-1)! f[x_1, ..., x_j]                                  j <= k + 1
        alpha_j = (x_j - x_{j-k-1}) k! f[x_{j-k-1}, ..., x_j]              j >= k + 2

    The matrix of the basis is ill-conditioned; divided differences lose a few digits only where
    points nearly coincide.

    Args:
        design: x, increasing.
        values: f at the design, along the last axis.
        order: k.

    Raises:
        InputError: If the design does not increase, or the values are not at it.

    References:
        Sadhanala et al. (2021), E8.

    Examples:
        >>> coefficients = tw.estimators.falling_factorial_coefficients
        >>> coefficients([0.0, 1.0, 2.0], [0.0, 1.0, 4.0], 1).tolist()
        [0.0, 1.0, 2.0]
    """
    x = checked_design(design, order)
    low = [math.factorial(j) * divided_differences(x, values, j)[..., :1] for j in range(order + 1)]
    if len(x) == order + 1:
        return np.concatenate(low, axis=-1)
    high = divided_differences(x, values, order + 1)
    scaled = math.factorial(order) * (x[order + 1 :] - x[: -order - 1]) * high
    return np.concatenate([*low, scaled], axis=-1)


def spline_total_variation(
    design: ArrayLike, values: ArrayLike, order: int
) -> Float[np.ndarray, "..."]:
    """TV(f^(k)) of the discrete spline with given values: sum of |alpha_j| over j >= k + 2.

    On an even design x_i = i / N it is N^k ||D^(k+1) f||_1.

    Args:
        design: x, increasing.
        values: f at the design, along the last axis.
        order: k.

    Raises:
        InputError: If the design does not increase, or the values are not at it.

    References:
        Sadhanala et al. (2021), E9.

    Examples:
        >>> float(tw.estimators.spline_total_variation([0.0, 1.0, 2.0], [0.0, 1.0, 4.0], 1))
        2.0
    """
    coefficients = falling_factorial_coefficients(design, values, order)
    return np.abs(coefficients[..., order + 1 :]).sum(axis=-1)


def interpolate(
    points: ArrayLike,
    values: ArrayLike,
    order: int | Sequence[int],
    designs: Sequence[ArrayLike],
) -> Float[np.ndarray, " points"]:
    """The discrete spline through values on a lattice, at any points, in O((k+1)^d) each.

    Along each axis, with x_i the first point of the design not below x (the last one beyond it), it
    is the polynomial of degree k through x_{i-k}, ..., x_i (x_1, ..., x_{k+1} near the start): f
    has f[x_{i-k}, ..., x_i, x] = 0. For k = 0 it is constant on (x_{i-1}, x_i]. It is not the
    centred interpolation of bilinear or cubic splines, which leaves the span of the basis.

    Args:
        points: (m, d), or (m,) on a line; also beyond the lattice, where polynomials go on.
        values: On the lattice.
        order: k, one for all axes or one for each.
        designs: Increasing coordinates of each axis.

    Raises:
        InputError: If the shapes do not fit, or a design does not increase.

    Cost:
        (k + 1)^d values and d binary searches for each point, whatever the lattice.

    References:
        Sadhanala et al. (2021), E10.

    Examples:
        >>> x, f = [0.0, 1.0, 2.0], [1.0, 2.0, 3.0]
        >>> tw.estimators.interpolate([0.5, 1.0, 1.5], f, 0, [x]).tolist()
        [2.0, 2.0, 3.0]
    """
    f = np.asarray(values, dtype=float)
    at = np.asarray(points, dtype=float)
    at = at[:, None] if at.ndim == 1 and f.ndim == 1 else at
    require(
        at.ndim == 2 and at.shape[1] == f.ndim == len(designs),
        f"points have shape {at.shape}, values {f.ndim} dims and there are {len(designs)} designs;"
        " give points as (how many, d) on a lattice of d axes.",
    )
    orders = orders_of(order, f.ndim)
    require(not isinstance(designs, dict), "designs must be a list of coordinates, one each axis.")
    places, weights = [], []
    for axis, (design, k) in enumerate(zip(designs, orders, strict=True)):
        x = checked_design(design, k)
        require(
            len(x) == f.shape[axis],
            f"the design of axis {axis} has {len(x)} points for {f.shape[axis]} values.",
        )
        first = np.clip(np.searchsorted(x, at[:, axis], side="left"), k, len(x) - 1) - k
        place = first[:, None] + np.arange(k + 1)
        near = x[place]
        weight = np.ones(near.shape)
        for i in range(k + 1):
            for other in range(k + 1):
                if other != i:
                    weight[:, i] *= (at[:, axis] - near[:, other]) / (near[:, i] - near[:, other])
        places.append(place)
        weights.append(weight)
    total = np.zeros(len(at))
    for corner in np.ndindex(*(k + 1 for k in orders)):
        share = np.ones(len(at))
        for axis, i in enumerate(corner):
            share = share * weights[axis][:, i]
        total += share * f[tuple(places[axis][:, i] for axis, i in enumerate(corner))]
    return total
