"""How long noisy descent stays near a set of minima, and how far it spreads there.

theta <- theta - eta (grad f + sigma xi), xi standard normal, about a set M from which f is
essentially convex: <grad f, u> >= c |u|^2 and |grad f| <= M |u| for the offset u from M.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.theory.prediction import Prediction, make_prediction

Values = NDArray[np.float64]
SHARES = np.linspace(0.02, 0.99, 98)  # s, over which the bound is optimised
KAPPAS = np.geomspace(1e-4, 10, 60)
PAPER = "Imaizumi & Schmidt-Hieber 2022 (arXiv 2201.04545)"


class Staying(NamedTuple):
    """A lower bound of the probability of staying in a tube.

    Attributes:
        probability: At least this; 0 where the bound says nothing.
        log_exit: The logarithm of the bound of the exit probability, not cut at 0.
        share: s at which it is attained.
    """

    probability: float
    log_exit: float
    share: float


def staying_probability(
    steps: float,
    radius: float,
    start: float,
    codimension: int,
    step_size: float,
    sigma: float,
    convexity: float,
    smoothness: float,
    gradient_error: float = 0.0,
) -> Staying:
    """A lower bound of P(dist(theta_t, M) <= delta for t = 0..T), for an affine M.

        r^2 = 1 - 2 eta c + eta^2 M^2,  q = 1 - s(1 - r^2),  L = s(1 - r^2)/(2 eta^2 sigma^2),
        P >= 1 - T exp(max{L d_0^2, (k/2)(-ln q) q/((1 - s)(1 - r^2))} - L delta^2),

    the best of 98 s in (0, 1). Only the codimension k of M enters, not the dimension. With the
    gradient of a sample, off by at most e across M, r^2 becomes (1 + kappa) r^2 and the second
    entry gains L (1 + 1/kappa) eta^2 e^2/((1 - s)(1 - r^2)); the best kappa is taken, too.

    Args:
        steps: T.
        radius: delta, above 0.
        start: d_0, the distance at the start, below delta.
        codimension: k, the number of stiff directions.
        step_size: eta.
        sigma: Standard deviation of the noise of every coordinate of the gradient, above 0.
        convexity: c, above 0.
        smoothness: M, at least c.
        gradient_error: e, the largest distance of the sample's gradient from the population's,
            across M.

    Returns:
        The bound; a theorem up to rounding. Probability 0 where r^2 is not below 1.

    Raises:
        InputError: If a number is out of range.

    Source: derived (supermartingale exp(L |u|^2)); the setting is that of Imaizumi and
    Schmidt-Hieber (2022), whose own theorem has other constants.

    Examples:
        >>> from thalweg.theory.landscape.stagnation import staying_probability
        >>> found = staying_probability(500, 0.8, 0.2, 2, 0.1, 0.5, 1.0, 2.0)
        >>> round(1 - found.probability, 6)
        0.001579
    """
    require_positive(radius=radius, step_size=step_size, sigma=sigma, convexity=convexity)
    require(steps >= 0, f"steps came as {steps}; give at least 0")
    require(codimension >= 1, f"codimension came as {codimension}; give at least 1")
    require(0 <= start < radius, f"start came as {start}; give a distance below {radius}")
    require(
        smoothness >= convexity,
        f"smoothness {smoothness} is below the convexity {convexity}; give M of at least c",
    )
    require(gradient_error >= 0, f"gradient_error came as {gradient_error}; give at least 0")
    if steps == 0:
        return Staying(1.0, -math.inf, 0.0)
    radius, start, sigma, step_size = map(np.float64, (radius, start, sigma, step_size))
    with np.errstate(over="ignore"):
        plain = 1 - 2 * step_size * convexity + (step_size * smoothness) ** 2
    kappas = np.array([0.0]) if gradient_error == 0 else KAPPAS
    found = Staying(0.0, math.inf, math.nan)
    for kappa in kappas:
        r2 = (1 + kappa) * plain
        if not 0 <= r2 < 1:
            continue
        s, room = SHARES, 1 - r2
        q = 1 - s * room
        with np.errstate(all="ignore"):  # beyond doubles the bound says nothing
            rate = s * room / (2 * np.square(step_size * sigma))
            grown = codimension / 2 * -np.log(q) * q
            if kappa:
                grown = grown + rate * (1 + 1 / kappa) * np.square(step_size * gradient_error)
            held = np.maximum(rate * np.square(start), grown / ((1 - s) * room))
            exponent = np.nan_to_num(held - rate * np.square(radius), nan=np.inf)
        best = int(np.argmin(exponent))
        log_exit = math.log(steps) + float(exponent[best])
        if log_exit < found.log_exit:
            staying = -math.expm1(log_exit) if log_exit < 0 else 0.0
            found = Staying(staying, log_exit, float(s[best]))
    return found


def staying_prediction(
    radius: float,
    start: float,
    codimension: int,
    step_size: float,
    sigma: float,
    convexity: float,
    smoothness: float,
) -> Prediction:
    """`staying_probability` as a prediction over training time t = T eta: a lower bound.

    Args:
        radius: As for `staying_probability`, like the others.
        start: d_0.
        codimension: k.
        step_size: eta.
        sigma: Of the noise.
        convexity: c.
        smoothness: M.

    Raises:
        InputError: If a number is out of range.

    Examples:
        >>> from thalweg.theory.landscape.stagnation import staying_prediction
        >>> bound = staying_prediction(0.8, 0.2, 2, 0.1, 0.5, 1.0, 2.0)
        >>> bound.kind, bound.at([0.0, 50.0]).round(6).tolist()
        ('lower', [1.0, 0.998421])
    """

    def at(times: ArrayLike) -> Values:
        steps = np.rint(np.asarray(times, float) / step_size)

        def one(T: float) -> float:
            return staying_probability(
                T, radius, start, codimension, step_size, sigma, convexity, smoothness
            ).probability

        return np.vectorize(one, otypes=[float])(steps)

    at(0.0)  # numbers out of range are told now
    return make_prediction(
        "staying",
        "1",
        "lower",
        "normal noise on the gradient, f essentially convex in a tube about an affine set",
        at,
        f"derived, in the setting of {PAPER}",
    )


def noisy_variance(
    curvatures: ArrayLike, step_size: float, sigma: float, steps: float = math.inf
) -> Values:
    """Variance of noisy descent on a quadratic after some steps from a point, in each direction.

        eta^2 sigma^2 (1 - a^(2T))/(1 - a^2),    a = 1 - eta h,

    eta^2 sigma^2 T in flat directions: free diffusion. Without `steps` the stationary one, infinite
    where |a| is not below 1.

    Args:
        curvatures: h, any shape.
        step_size: eta.
        sigma: Standard deviation of the noise of every coordinate of the gradient.
        steps: T; infinite by default.

    Returns:
        Variances (unit: parameter^2), shaped as the curvatures. Exact.

    Raises:
        InputError: If a number is out of range.

    Examples:
        >>> from thalweg.theory.landscape.stagnation import noisy_variance
        >>> noisy_variance([1.0, 1.5, 2.0], step_size=0.1, sigma=0.5).round(6).tolist()
        [0.013158, 0.009009, 0.006944]
        >>> round(float(noisy_variance(0.0, 0.1, 0.5, steps=100)), 6)
        0.25
    """
    require_positive(step_size=step_size, sigma=sigma)
    require(steps >= 0, f"steps came as {steps}; give at least 0")
    h = np.asarray(curvatures, float)
    require(bool(np.all(np.isfinite(h))), "curvatures came with NaN or infinity; give numbers")
    x = step_size * h
    lost = x * (2 - x)  # 1 - a^2, without cancellation where a direction is nearly flat
    noise = (step_size * sigma) ** 2
    if math.isinf(steps):
        return np.where(lost > 0, noise / np.where(lost > 0, lost, 1.0), np.inf)
    flat = lost == 0
    moving = np.where(flat, 0.5, lost)
    with np.errstate(divide="ignore", over="ignore"):  # a = 0 forgets at once; |a| > 1 diverges
        left = -np.expm1(max(steps, 1) * np.log1p(-moving))
    return noise * np.where(flat, steps, (left if steps >= 1 else 0.0) / moving)


def sphere_offset(dimension: int, step_size: float, sigma: float, curvature: float) -> float:
    """D = E|theta| - 1 of noisy descent on (c/2)(|theta| - 1)^2: tangential noise pushes outward.

        d (1 + d) = eta sigma^2 (D - 1)/(2c),

    to leading order in the step size. So the dimension of a curved set enters the radius of the
    tube that descent stays in.

    Args:
        dimension: D, at least 1.
        step_size: eta.
        sigma: Standard deviation of the noise of every coordinate of the gradient.
        curvature: c, above 0.

    Raises:
        InputError: If a number is out of range.

    Source: derived.

    Examples:
        >>> from thalweg.theory.landscape.stagnation import sphere_offset
        >>> round(sphere_offset(50, step_size=0.01, sigma=0.5, curvature=1.0), 4)
        0.0579
    """
    require_positive(step_size=step_size, sigma=sigma, curvature=curvature)
    require(dimension >= 1, f"dimension came as {dimension}; give at least 1")
    push = step_size * sigma**2 * (dimension - 1) / (2 * curvature)
    return 2 * push / (math.sqrt(1 + 4 * push) + 1)
