"""How signals and singular values pass through wide random nets x' = phi(g W x).

Mean-field theory (width to infinity): the mean square activity follows q' = E[phi(g sqrt(q) z)^2],
z ~ N(0, 1), the same for Gaussian weights N(0, 1/width) and for orthogonal ones. For tanh the
gain g = 1 is critical: below it activity dies out, above it q tends to a positive fixed point
(Saxe, McClelland and Ganguli 2014, sec. 4). Linear Gaussian products have known exponents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import digamma

from thalweg.core.errors import require
from thalweg.core.gaussian import normal_rule

Values = NDArray[np.float64]
Activation = Callable[[Values], Values]
NODES = 120


class MeanField(NamedTuple):
    """A mean-field value and its quadrature error, the distance to the rule of half the nodes."""

    value: float
    error: float


def gaussian_expectation(function: Callable[[Values], Values], nodes: int = NODES) -> MeanField:
    """E[f(z)], z ~ N(0, 1), by the rule of `thalweg.core.gaussian.normal_rule`.

    Args:
        function: Vectorised f.
        nodes: Number of nodes. The error is the distance to the rule with half as many, an
            estimate and for smooth f a cautious one.

    Examples:
        >>> from thalweg.theory.linear_nets.isometry import gaussian_expectation
        >>> round(gaussian_expectation(lambda z: z**4).value, 6)
        3.0
    """
    fine, coarse = _mean(function, nodes), _mean(function, nodes // 2)
    return MeanField(fine, abs(fine - coarse))


def mean_square_activity(
    gain: float, q: float, activation: Activation = np.tanh, nodes: int = NODES
) -> MeanField:
    """One layer of the activity map, E[phi(g sqrt(q) z)^2].

    Args:
        gain: g, at least 0.
        q: Mean square activity of the layer below, at least 0.
        activation: phi, vectorised.
        nodes: Nodes of the quadrature, see `gaussian_expectation`.

    Raises:
        InputError: If the gain or q is negative.

    Examples:
        >>> from thalweg.theory.linear_nets.isometry import mean_square_activity
        >>> round(mean_square_activity(2.0, 1.0, activation=lambda z: z).value, 6)
        4.0
    """
    _check(gain, nodes)
    require(q >= 0, f"the mean square activity is {q}: it must be at least 0.")
    return gaussian_expectation(lambda z: activation(gain * np.sqrt(q) * z) ** 2, nodes)


def activity_profile(
    gain: float, depth: int, q0: float = 1.0, activation: Activation = np.tanh, nodes: int = NODES
) -> Values:
    """Mean square activity after layers 1..depth, the map of `mean_square_activity` iterated.

    At g = 1 tanh decays as a power, q ~ 1/(2 depth); below, as g^(2 depth).

    Args:
        gain: g, at least 0.
        depth: Number of layers.
        q0: Mean square of the input.
        activation: phi, vectorised.
        nodes: Nodes of the quadrature.

    Returns:
        Shape (depth,).

    Examples:
        >>> from thalweg.theory.linear_nets.isometry import activity_profile
        >>> activity_profile(0.5, 2, activation=lambda z: z).round(6).tolist()
        [0.25, 0.0625]
    """
    profile, q = np.empty(depth), q0
    for layer in range(depth):
        q = mean_square_activity(gain, q, activation, nodes).value
        profile[layer] = q
    return profile


def activity_fixed_point(gain: float, nodes: int = NODES) -> MeanField:
    """Stable fixed point q = E[tanh(g sqrt(q) z)^2] of the activity of a deep tanh net.

    0 for g <= 1; above, the only positive root, found by Brent's method between
    (g^2 - 1)/(2 g^4), where the map still grows activity, and 1.

    Args:
        gain: g, at least 0.
        nodes: Nodes of the quadrature.

    Returns:
        The root, and its distance to the root of the rule with half the nodes.

    Raises:
        InputError: If the gain is negative.

    Source: the paper, sec. 4; Sompolinsky, Crisanti and Sommers (1988).

    Examples:
        >>> from thalweg.theory.linear_nets.isometry import activity_fixed_point
        >>> activity_fixed_point(0.9).value, activity_fixed_point(1.5).value > 0.1
        (0.0, True)
    """
    _check(gain, nodes)
    fine, coarse = _root(gain, nodes), _root(gain, nodes // 2)
    return MeanField(fine, abs(fine - coarse))


def mean_square_singular_value(gain: float, q: float, nodes: int = NODES) -> MeanField:
    """Mean square singular value chi = g^2 E[(1 - tanh(g sqrt(q) z)^2)^2] of one tanh layer.

    A layer's Jacobian is diag(phi') g W; over L layers at constant q the mean square singular
    value is chi^L. At the fixed point of the activity chi = g^2 below the critical gain, 1 at it
    and above 1 beyond (chaos).

    Args:
        gain: g, at least 0.
        q: Mean square activity of the layer below.
        nodes: Nodes of the quadrature.

    Raises:
        InputError: If the gain or q is negative.

    Source: Poole et al. (2016), Schoenholz et al. (2017).

    Examples:
        >>> from thalweg.theory.linear_nets.isometry import mean_square_singular_value
        >>> round(mean_square_singular_value(0.5, 0.0).value, 6)  # g^2 where nothing saturates
        0.25
    """
    _check(gain, nodes)
    require(q >= 0, f"the mean square activity is {q}: it must be at least 0.")
    mean = gaussian_expectation(lambda z: (1 - np.tanh(gain * np.sqrt(q) * z) ** 2) ** 2, nodes)
    return MeanField(gain**2 * mean.value, gain**2 * mean.error)


def gaussian_exponents(width: int) -> Values:
    """Rates lambda_i of the singular values e^{L lambda_i} of a product of L Gaussian matrices.

    lambda_i = (1/2) [psi((width - i + 1)/2) + ln(2/width)], i = 1..width, psi the digamma
    function, for entries N(0, 1/width). Exact as L -> infinity at any width; their mean tends to
    -1/2 as the width grows.

    Args:
        width: Size of the square matrices.

    Returns:
        Descending, shape (width,).

    Source: Newman (1986), "The distribution of Lyapunov exponents: exact results for random
    matrices".

    Examples:
        >>> from thalweg.theory.linear_nets.isometry import gaussian_exponents
        >>> one = gaussian_exponents(1)[0]  # E ln |z|
        >>> bool(np.isclose(one, -(np.euler_gamma + np.log(2)) / 2))
        True
    """
    require(width >= 1, f"the width is {width}: it must be at least 1.")
    freedom = width - np.arange(width)
    return (digamma(freedom / 2) + np.log(2 / width)) / 2


def gaussian_product_median(depth: ArrayLike) -> Values:
    """Median singular value 2^{-depth/2} of a product of wide Gaussian matrices N(0, 1/width).

    Asymptotic in width and depth: the middle exponent of `gaussian_exponents`. Orthogonal
    products keep every singular value at 1.

    Examples:
        >>> from thalweg.theory.linear_nets.isometry import gaussian_product_median
        >>> gaussian_product_median([0, 2, 4]).tolist()
        [1.0, 0.5, 0.25]
    """
    return 2.0 ** (-np.asarray(depth, dtype=np.float64) / 2)


def gaussian_mean_square_spread(depth: int, width: int) -> float:
    """Standard deviation of the mean square singular value m of a Gaussian product; its mean is 1.

    m = ||P||_F^2/width and r = tr[(P P^T)^2]/width^2 of P = W_L ... W_1, entries N(0, 1/width),
    obey E[m'^2] = E[m^2] + (2/width) E[r] and E[r'] = (1 + 1/width) E[r] + E[m^2]/width from
    m = 1, r = 1/width. Exact; about depth/width while that is small: norms are preserved on
    average only.

    Args:
        depth: Number of matrices, at least 0.
        width: Size of the square matrices.

    Source: fourth moments of a Gaussian matrix (Wick's theorem).

    Examples:
        >>> from thalweg.theory.linear_nets.isometry import gaussian_mean_square_spread
        >>> round(gaussian_mean_square_spread(1, width=1) ** 2, 6)  # the variance of z^2
        2.0
    """
    require(depth >= 0 and width >= 1, f"depth {depth}, width {width}: give at least 0 and 1.")
    m2, r = 1.0, 1 / width
    for _ in range(depth):
        m2, r = m2 + 2 / width * r, (1 + 1 / width) * r + m2 / width
    return float(np.sqrt(max(m2 - 1, 0.0)))


def _mean(function: Callable[[Values], Values], nodes: int) -> float:
    z, weights = map(np.asarray, normal_rule(nodes))
    return float(weights @ function(z))


def _root(gain: float, nodes: int) -> float:
    if gain <= 1:
        return 0.0

    def growth(q: float) -> float:  # per unit of q: no root at 0 to fall into
        return _mean(lambda z: np.tanh(gain * np.sqrt(q) * z) ** 2, nodes) / q - 1

    low = (gain**2 - 1) / (2 * gain**4)
    return float(brentq(growth, low, 1.0, xtol=1e-300, rtol=1e-14))


def _check(gain: float, nodes: int) -> None:
    require(gain >= 0, f"the gain is {gain}: it must be at least 0.")
    require(nodes >= 4, f"the number of quadrature nodes is {nodes}: it must be at least 4.")
