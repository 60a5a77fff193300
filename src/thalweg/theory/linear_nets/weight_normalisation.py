"""Weight normalisation on underdetermined least squares: its flow, invariant, limit and rates.

x = g w/||w||, h(w, g) = 1/2 ||A x - y||^2, r = A x - y, q = A^T r, u = w/||w||. With c the ratio of
the learning rates of g and w, the flow of weight normalisation, and of projected descent at
||w|| = 1, is

    g' = -c u^T q,    w' = -(g/||w||) (I - u u^T) q,    ||w(t)|| = ||w(0)||.

Where the norm of w is not 1, c ||w||^2 takes the place of c in all that follows: see
`effective_ratio`. The part of u outside the row space of A obeys u_perp' = -(g g'/c) u_perp.

Source: Wu, Dobriban, Ren, Wu, Li, Gunasekar, Ward, Liu (2020), arXiv 1911.07956; the invariant, the
limit and phase I are derived.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from thalweg.core.errors import InputError, require
from thalweg.theory.limits.minimum_norm import minimum_norm
from thalweg.theory.prediction import Prediction, make_prediction

Values = NDArray[np.float64]
Slope = Callable[[Values], Values]
SOURCE = "Wu et al. 2020 (arXiv 1911.07956)"


def squared_slope(residual: Values) -> Values:
    """The slope r of the loss 1/2 ||r||^2.

    Examples:
        >>> from thalweg.theory.linear_nets.weight_normalisation import squared_slope
        >>> squared_slope(np.array([2.0])).tolist()
        [2.0]
    """
    return residual


def pseudo_huber_slope(residual: Values) -> Values:
    """The slope r/sqrt(1 + r^2), entry by entry, of the loss sum (sqrt(1 + r^2) - 1).

    Examples:
        >>> from thalweg.theory.linear_nets.weight_normalisation import pseudo_huber_slope
        >>> pseudo_huber_slope(np.array([0.75])).round(6).tolist()
        [0.6]
    """
    return residual / np.sqrt(1 + residual**2)


class WNGradients(NamedTuple):
    """dh/dg, shape (...), and dh/dw, shape (..., d)."""

    scale: Values
    direction: Values


def wn_gradients(
    A: ArrayLike, y: ArrayLike, w: ArrayLike, g: ArrayLike, slope: Slope = squared_slope
) -> WNGradients:
    """dh/dg = u^T q and dh/dw = (g/||w||) (I - u u^T) q, q = A^T l'(A x - y), x = g u.

    Args:
        A: Shape (m, d).
        y: Shape (m,).
        w: Shape (..., d), not zero.
        g: Shape (...).
        slope: l' of the loss, by the residual (..., m); squared error by default.

    Source: E1.

    Examples:
        >>> from thalweg.theory.linear_nets.weight_normalisation import wn_gradients
        >>> found = wn_gradients([[1.0, 0.0]], [1.0], w=[0.0, 1.0], g=1.0)
        >>> abs(float(found.scale)), found.direction.tolist()
        (0.0, [-1.0, 0.0])
    """
    A, w, g = np.asarray(A, float), np.asarray(w, float), np.asarray(g, float)[..., None]
    norm = np.sqrt(np.sum(w**2, axis=-1, keepdims=True))
    u = w / norm
    q = slope(g * u @ A.T - np.asarray(y, float)) @ A
    along = np.sum(u * q, axis=-1, keepdims=True)
    return WNGradients(along[..., 0], g / norm * (q - along * u))


class WNFlow(NamedTuple):
    """The flow at the times asked for.

    Attributes:
        times: (T,).
        w: (T, d).
        g: (T,).
        contraction: Integral of min(c, g^2/||w||^2) from 0, (T,): see `rate_bound`.
    """

    times: Values
    w: Values
    g: Values
    contraction: Values

    @property
    def x(self) -> Values:
        """The vectors g w/||w||, shape (T, d)."""
        return (self.g / np.linalg.norm(self.w, axis=1))[:, None] * self.w


def wn_flow(
    A: ArrayLike,
    y: ArrayLike,
    w0: ArrayLike,
    g0: float,
    c: float,
    times: ArrayLike,
    *,
    slope: Slope = squared_slope,
    rtol: float = 1e-12,
    atol: float = 1e-14,
) -> WNFlow:
    """The flow of weight normalisation and of projected descent, by LSODA.

    Args:
        A: Shape (m, d).
        y: Shape (m,).
        w0: Shape (d,), not zero; norm 1 for projected descent.
        g0: The scale at the start.
        c: Learning rate of g over that of w, > 0. Time is that of w.
        times: Increasing, from 0 on.
        slope: l' of the loss; squared error by default.
        rtol: Tolerance of a step, relative.
        atol: Likewise absolute: a part of w that falls below it loses its digits.

    Raises:
        InputError: If c or ||w0|| is not positive, or the solver gives up.

    Error: Some hundred times the tolerances, at 1e-12 about 1e-10. Source: E4.

    Examples:
        >>> from thalweg.theory.linear_nets.weight_normalisation import wn_flow
        >>> flow = wn_flow([[1.0]], [2.0], w0=[1.0], g0=1.0, c=1.0, times=[0.0, 1.0])
        >>> bool(np.allclose(flow.x.ravel(), [1, 2 - np.exp(-1)]))
        True
    """
    w0, times = np.asarray(w0, float), np.asarray(times, float)
    require(c > 0, f"c came as {c}; give a positive ratio of learning rates")
    require(bool(np.any(w0)), "w0 is zero; give a vector with a direction")
    size = float(w0 @ w0)

    def velocity(t: float, state: Values) -> Values:
        g = state[-2]
        slopes = wn_gradients(A, y, state[:-2], g, slope)
        return np.concatenate([-slopes.direction, [-c * slopes.scale, min(c, g * g / size)]])

    start = np.concatenate([w0, [g0, 0.0]])
    found = solve_ivp(
        velocity, (0.0, times[-1]), start, "LSODA", times, rtol=rtol, atol=atol, first_step=1e-6
    )
    if not found.success:
        raise InputError(f"the flow stopped: {found.message}; ask for a looser tolerance")
    return WNFlow(times, found.y[:-2].T, found.y[-2], found.y[-1])


def effective_ratio(c: float, w0: ArrayLike) -> float:
    """The ratio c ||w_0||^2 at norm 1 whose flow of x weight normalisation from w_0 has.

    Time runs ||w_0||^2 times slower: ||w||^2 u' = -g (I - u u^T) q. Source: E4.

    Examples:
        >>> from thalweg.theory.linear_nets.weight_normalisation import effective_ratio
        >>> effective_ratio(2.0, [3.0, 4.0])
        50.0
    """
    w0 = np.asarray(w0, float)
    return float(c * (w0 @ w0))


def wn_invariant(
    w: ArrayLike, g: ArrayLike, null_projector: ArrayLike, c: float, g0: float = 0.0
) -> Values:
    """P_perp w exp((g^2 - g_0^2)/(2c)), constant along the flow for any loss of A x.

    With g_0 the scale at the start it stays P_perp w(0), so that the part of the direction that
    the data do not see shrinks as g^2 grows.

    Args:
        w: Shape (..., d).
        g: Shape (...).
        null_projector: P_perp = I - A^+ A, (d, d).
        c: The `effective_ratio`.
        g0: Any reference scale; without one the factor overflows beyond g^2 = 1400 c.

    Error: The projection rounds to 1e-16 ||w||, which the factor multiplies. Source: E6.

    Examples:
        >>> from thalweg.theory.linear_nets.weight_normalisation import wn_invariant
        >>> found = wn_invariant([1.0, 1.0], np.sqrt(2), np.diag([0.0, 1.0]), c=1.0)
        >>> bool(np.allclose(found, [0, np.e]))
        True
    """
    g = np.asarray(g, float)
    factor = np.exp((g**2 - g0**2) / (2 * c))
    return (np.asarray(w, float) @ np.asarray(null_projector, float)) * factor[..., None]


def limit_scale_squared(norm: float, perp: float, g0: float, c: float = 1.0) -> float:
    """The root G >= max(g*^2, g_0^2 + c ln b^2) of G (1 - b^2 e^{(g_0^2 - G)/c}) = g*^2.

    It is the squared scale at which the flow fits the data; unique, as the left side increases
    there.

    Args:
        norm: g* = ||x*|| > 0.
        perp: b = ||u_perp(0)||, in [0, 1].
        g0: The scale at the start.
        c: The `effective_ratio`, > 0.

    Raises:
        InputError: On arguments outside these ranges.

    Error: A few roundings. Source: E7.

    Examples:
        >>> from thalweg.theory.linear_nets.weight_normalisation import limit_scale_squared
        >>> limit_scale_squared(norm=2.0, perp=0.0, g0=1.0)  # nothing beside the rows: g*^2
        4.0
    """
    require(
        norm > 0 and 0 <= perp <= 1 and c > 0,
        f"g* {norm}, ||u_perp|| {perp}, c {c} came; give g* > 0, a part in [0, 1] and c > 0",
    )
    if perp == 0:
        return norm**2

    def gap(G: float) -> float:
        return G * (1 - perp**2 * math.exp((g0**2 - G) / c)) - norm**2

    low = max(norm**2, least_scale_squared(perp, g0, c))
    high = low + c
    while gap(high) < 0:
        high = low + 2 * (high - low)
    return float(brentq(gap, low, high, xtol=4e-16 * high, rtol=1e-15))


class WNLimit(NamedTuple):
    """Where the flow ends if it fits the data.

    Attributes:
        scale_squared: G = g(inf)^2; the sign of g is not told.
        distance: ||x(inf) - x*|| = ||x_perp(inf)|| = sqrt(G) b e^{(g_0^2 - G)/(2c)}.
        descent_distance: |g_0| b, the distance at which plain descent ends from x = g_0 u_0.
    """

    scale_squared: float
    distance: float
    descent_distance: float


def wn_limit(A: ArrayLike, y: ArrayLike, w0: ArrayLike, g0: float, c: float = 1.0) -> WNLimit:
    """The end of the flow in closed form up to one root; see `limit_scale_squared`.

    With k(s) = s e^{-s^2/(2c)} it ends nearer to x* than plain descent iff k(sqrt G) < k(|g_0|).

    Args:
        A: Shape (m, d), m < d, of full row rank.
        y: Shape (m,), not zero.
        w0: Shape (d,), any norm but zero.
        g0: The scale at the start.
        c: Learning rate of g over that of w; `effective_ratio` is applied here.

    Raises:
        InputError: If shapes, rank or numbers do not fit.

    Source: E7.

    Examples:
        >>> from thalweg.theory.linear_nets.weight_normalisation import wn_limit
        >>> found = wn_limit([[1.0, 0.0]], [2.0], w0=[1.0, 0.0], g0=1.0)
        >>> round(found.scale_squared, 6), round(found.distance, 6)
        (4.0, 0.0)
    """
    w0 = np.asarray(w0, float)
    target, ratio = minimum_norm(A, y), effective_ratio(c, w0)
    perp = float(np.linalg.norm(target.split(w0 / np.linalg.norm(w0)).null))
    G = limit_scale_squared(target.norm, perp, g0, ratio)
    distance = math.sqrt(G) * perp * math.exp((g0**2 - G) / (2 * ratio))
    return WNLimit(G, distance, abs(g0) * perp)


def least_scale_squared(perp: float, g0: float, c: float = 1.0) -> float:
    """g_0^2 + c ln b^2, which g(t)^2 never falls below; above 0 it keeps g off the saddles at 0.

    Args:
        perp: b = ||u_perp(0)|| in (0, 1].
        g0: The scale at the start.
        c: The `effective_ratio`.

    Source: E8.

    Examples:
        >>> from thalweg.theory.linear_nets.weight_normalisation import least_scale_squared
        >>> least_scale_squared(perp=1.0, g0=3.0)
        9.0
    """
    return g0**2 + 2 * c * math.log(perp)


def rate_bound(flow: WNFlow, A: ArrayLike, y: ArrayLike) -> Prediction:
    """L(t) <= L(0) exp(-2 lambda_min int_0^t min(c, g^2/||w||^2)), L = 1/2 ||A x - y||^2.

    Args:
        flow: A flow of the squared error from time 0; between two of its times the earlier
            value is given, which is a bound there too.
        A: Shape (m, d), of full row rank.
        y: Shape (m,).

    Source: E9.

    Examples:
        >>> from thalweg.theory.linear_nets.weight_normalisation import rate_bound, wn_flow
        >>> flow = wn_flow([[1.0]], [2.0], w0=[1.0], g0=1.0, c=1.0, times=[0.0, 1.0])
        >>> bound = rate_bound(flow, [[1.0]], [2.0]).at([0.0, 1.0])
        >>> bool(np.all(0.5 * (flow.x.ravel() - 2) ** 2 <= bound + 1e-9))
        True
    """
    target = minimum_norm(A, y)
    first = 0.5 * float(np.sum((np.asarray(A, float) @ flow.x[0] - np.asarray(y, float)) ** 2))

    def at(times: ArrayLike) -> Values:
        before = np.searchsorted(flow.times, np.asarray(times, float), side="right") - 1
        return first * np.exp(-2 * target.least * flow.contraction[before])

    return make_prediction(
        "loss",
        "loss",
        "upper",
        "the flow of weight normalisation on 1/2 ||A x - y||^2, A of full row rank",
        at,
        f"{SOURCE}, linear rate (E9)",
    )


def phase1_closed_form(perp: float, ratio: float, steps: ArrayLike) -> Values:
    """||w_perp|| after steps of projected descent with the scale held, A A^T = I, eta = 1/g_0^2.

    Q_t = ||w_t,perp||^{-2} obeys Q_{t+1} = 1 + kappa Q_t, kappa = (g*/g_0)^2, so that
    Q_t = kappa^t Q_0 + (kappa^t - 1)/(kappa - 1), and Q_0 + t at kappa = 1. It tends to zero as
    (g_0/g*)^t for g_0 < g*, and to sqrt(1 - kappa) for g_0 > g*.

    Args:
        perp: ||w_perp|| at the start, in (0, 1].
        ratio: g_0/g* > 0.
        steps: t, any shape.

    Raises:
        InputError: On arguments outside these ranges.

    Source: E10.

    Examples:
        >>> from thalweg.theory.linear_nets.weight_normalisation import phase1_closed_form
        >>> phase1_closed_form(perp=1.0, ratio=1.0, steps=[0, 3]).tolist()
        [1.0, 0.5]
    """
    require(
        0 < perp <= 1 and ratio > 0,
        f"||w_perp|| {perp} and g_0/g* {ratio} came; give a part in (0, 1] and a positive ratio",
    )
    t, kappa = np.asarray(steps, float), ratio**-2
    with np.errstate(over="ignore"):
        power = kappa**t
        total = t if kappa == 1 else np.expm1(t * math.log(kappa)) / (kappa - 1)
        return 1 / np.sqrt(power / perp**2 + total)


def phase2_closed_form(g0: float, norm: float, scale_step_size: float, steps: ArrayLike) -> Values:
    """The scale g* + (1 - gamma)^t (g_0 - g*) in phase II, A A^T = I, from w = x*/g*.

    Args:
        g0: The scale at the start of phase II.
        norm: g* = ||x*||.
        scale_step_size: gamma.
        steps: t, any shape.

    Source: E11.

    Examples:
        >>> from thalweg.theory.linear_nets.weight_normalisation import phase2_closed_form
        >>> phase2_closed_form(g0=1.0, norm=3.0, scale_step_size=0.5, steps=[0, 1, 2]).tolist()
        [1.0, 2.0, 2.5]
    """
    return norm + (1 - scale_step_size) ** np.asarray(steps, float) * (g0 - norm)
