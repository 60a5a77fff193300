"""Closed forms of scale-invariant training: its edge of stability, drift and two solved examples.

Descent with weight decay, w <- (1 - eta lambda) w - eta grad f(w), for f(c w) = f(w). Time is
tau = eta lambda k. See `thalweg.dynamics.sharpness_reduction_flow` for the flow of any problem;
nothing is shared with it.

Source: Lyu, Li and Arora (2022, arXiv 2206.07085); E2, E6, E7's constant and E8 are derived.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from thalweg.core.errors import require
from thalweg.theory.limits.minimum_norm import MinimumNorm, minimum_norm

Values = NDArray[np.float64]


def effective_rate(step_size: float, weight_decay: float, squared_norm: ArrayLike) -> Values:
    """eta/((1 - eta lambda) ||w||^2), the step size on the sphere (E1; exact).

    Examples:
        >>> from thalweg.theory.limits.sharpness_reduction import effective_rate
        >>> float(effective_rate(0.5, 1.0, 4.0))
        0.25
    """
    return step_size / (1 - step_size * weight_decay) / np.asarray(squared_norm, float)


def next_inverse_square(rate: ArrayLike, squared_gradient: ArrayLike, decay: float) -> Values:
    """1/rate^2 of the next step: (1 - decay)^4 (1/rate^2 + 2 G + rate^2 G^2) (E2; exact).

    Args:
        rate: The effective learning rate at a step.
        squared_gradient: G = ||grad f(theta)||^2 on the sphere there.
        decay: eta lambda.

    Examples:
        >>> from thalweg.theory.limits.sharpness_reduction import next_inverse_square
        >>> float(next_inverse_square(0.5, 0.0, 0.5))  # (1/2)^4 * 4
        0.25
    """
    r, G = np.asarray(rate, float), np.asarray(squared_gradient, float)
    return (1 - decay) ** 4 * (1 / r**2 + 2 * G + r**2 * G**2)


def edge_time(decay: float, step_size: float, squared_norm: float, sharpness: float) -> float:
    """Steps until the rate meets 2 over the sharpness, while gradients are zero (E4).

    ln(2 (1 - eta lambda) ||w_0||^2/(eta sharpness)) / (-2 ln(1 - eta lambda)).

    Args:
        decay: eta lambda.
        step_size: eta.
        squared_norm: ||w_0||^2.
        sharpness: The spherical sharpness at the minimum.

    Examples:
        >>> from thalweg.theory.limits.sharpness_reduction import edge_time
        >>> round(edge_time(1e-3, 0.1, 4.0, 1 + 3 * np.sin(1.3) ** 2), 1)
        1524.2
    """
    ratio = 2 * (1 - decay) * squared_norm / (step_size * sharpness)
    return math.log(ratio) / (-2 * math.log1p(-decay))


def reduction_speed(slope: ArrayLike, averaging: float = 2.0) -> Values:
    """-C g/(2 C + g^2): speed along one direction of log-slope g, in tau (E5, E6; asymptotic).

    Examples:
        >>> from thalweg.theory.limits.sharpness_reduction import reduction_speed
        >>> float(reduction_speed(2.0))  # 2 * 2/(4 + 4)
        -0.5
    """
    g = np.asarray(slope, float)
    return -averaging * g / (2 * averaging + g**2)


def mean_square(slope: ArrayLike, averaging: float = 2.0) -> Values:
    """C/(2 C + g^2), the mean squared oscillation across the minima over eta lambda (E6).

    Examples:
        >>> from thalweg.theory.limits.sharpness_reduction import mean_square
        >>> float(mean_square(2.0))  # 2/(4 + 4)
        0.25
    """
    return averaging / (2 * averaging + np.asarray(slope, float) ** 2)


class Circle(NamedTuple):
    """The minima of (1/2) (1 + b theta_2^2) theta_3^2 on the sphere, by their angle.

    Attributes:
        b: How much sharper the sharpest minimum is than the flattest, over the flattest.
    """

    b: float

    def sharpness(self, angle: ArrayLike) -> Values:
        """1 + b sin^2 phi."""
        return 1 + self.b * np.sin(angle) ** 2

    def slope(self, angle: ArrayLike) -> Values:
        """D log sharpness/d phi."""
        return self.b * np.sin(2 * np.asarray(angle)) / self.sharpness(angle)

    def angles(
        self, start: float, times: ArrayLike, averaging: float = 2.0, squared: bool = True
    ) -> Values:
        """The angle along the flow at times tau, (T,), to 1e-10.

        Args:
            start: At tau = 0.
            times: Increasing, from 0 on.
            averaging: C.
            squared: False leaves ||g||^2 out of the denominator: the plain flow of the logarithm.
        """

        def speed(_: float, angle: Values) -> Values:
            g = self.slope(angle)
            return reduction_speed(g, averaging) if squared else -g / 2

        t = np.asarray(times, float)
        found = solve_ivp(speed, (0.0, float(t[-1])), [start], "DOP853", t, rtol=1e-11, atol=1e-13)
        return found.y[0]


class NormalisedTarget(NamedTuple):
    """What is known of `thalweg.problems.NormalisedRegression` in closed form.

    Attributes:
        flattest: w* = X_c^+ y_c, the linear regressor of least norm, with its projectors.
        constant: K = (2/n) lambda_max(X_c^T (I - y y^T/||y||^2) X_c), y centred.
    """

    flattest: MinimumNorm
    constant: float

    def sharpness(self, regressor: ArrayLike) -> Values:
        """K ||w_lin||^2, the spherical sharpness at the minimum of a regressor (..., d) (E7)."""
        return self.constant * np.sum(np.asarray(regressor, float) ** 2, axis=-1)

    @property
    def least_sharpness(self) -> float:
        """K ||w*||^2."""
        return self.constant * self.flattest.norm**2

    def tangent(self, regressor: ArrayLike) -> Values:
        """Tan psi = ||P_null w_lin||/||w*||, (...); exp(-tau) of its start along the flow (E8)."""
        null = self.flattest.split(regressor).null
        return np.linalg.norm(null, axis=-1) / self.flattest.norm

    def row_norm_squared(self, step_size: float) -> float:
        """||P_row w||^2 = eta K ||w*||^2/2 of the raw weights at the edge of stability (E8)."""
        return step_size * self.least_sharpness / 2


def normalised_target(inputs: ArrayLike, targets: ArrayLike) -> NormalisedTarget:
    """The closed forms of linear regression with batch normalisation.

    Args:
        inputs: X, shape (n, d), d >= n, X centred of rank n - 1.
        targets: y, shape (n,).

    Raises:
        InputError: If shapes do not fit, or the rank of centred inputs is below n - 1.

    Cost: two singular value decompositions.

    Examples:
        >>> from thalweg.theory.limits.sharpness_reduction import normalised_target
        >>> X = np.array([[1.0, 0, 0], [-1.0, 1.0, 0], [0, -1.0, 1.0]])
        >>> target = normalised_target(X, np.array([1.0, 0.0, -1.0]))
        >>> bool(np.isclose(target.tangent(2 * target.flattest.solution), 0))
        True
    """
    X, y = np.asarray(inputs, float), np.asarray(targets, float)
    require(
        X.ndim == 2 and y.shape == X.shape[:1] and 3 <= X.shape[0] <= X.shape[1],
        f"inputs came with shape {X.shape} and targets with {y.shape}; give (n, d), 3 <= n <= d, "
        "and (n,)",
    )
    n = len(y)
    centred, y = X - X.mean(0), y - y.mean()
    # Rows of centred inputs add up to zero: n - 1 of their combinations are as good as all.
    basis = np.linalg.qr(np.concatenate([np.ones((n, 1)), np.eye(n)[:, 1:]], axis=1))[0][:, 1:].T
    across = y / np.linalg.norm(y)
    rest = centred - np.outer(across, across @ centred)
    constant = 2 / n * np.linalg.norm(rest, 2) ** 2
    return NormalisedTarget(minimum_norm(basis @ centred, basis @ y), float(constant))
