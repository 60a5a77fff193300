"""Gradient descent as Euler's method: how far it can be from gradient flow, and a certificate.

With theta' = -grad f (the flow), m(t) >= -lambda_min(Hessian) on the ball of radius eps around
theta(t), beta_t and gamma_t bounds on the norms of Hessian and gradient over the tube up to t,
gradient descent of step size eta stays within eps of the flow up to T if

    0 < eta < inf_{t in (0, T]} (eps - rho e^{mu(t)}) / (beta_t gamma_t I(t)),
    mu(t) = int_0^t m,    I(t) = int_0^t e^{mu(t) - mu(s)} ds        (the discrepancy integral).

The sign matters: the logarithmic norm of the flow is -lambda_min, not lambda_max.

Sources: Elkabetz & Cohen 2021 (arXiv 2107.06608); the fundamental theorem is Theorem 10.6 of
Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from thalweg.core.errors import choose, require
from thalweg.core.ranges import require_positive
from thalweg.theory.prediction import Prediction, make_prediction

SOURCE = "Elkabetz & Cohen 2021, main theorem; Hairer, Norsett & Wanner I, Theorem 10.6"

_TUBE = {
    "certified": "m, beta and gamma bound the whole tube of radius eps around the flow.",
    "indicative": (
        "m, beta and gamma are values on the flow itself, not bounds on the tube around it: "
        "the result indicates a step size and guarantees none."
    ),
}


@dataclass(frozen=True)
class EulerCertificate:
    """What `euler_certificate` found. Arrays have shape (T,), on the time grid it was given.

    Attributes:
        time: Training time.
        step_size: Every step size in (0, step_size] keeps gradient descent within `eps` of the
            flow; 0 if none is certified, infinity if the flow has no curvature or no gradient.
        binding_time: The time at which the infimum is attained.
        growth: mu(t) = int_0^t m.
        log_discrepancy: ln I(t), padded by `log_error`; -inf at the start.
        log_error: Estimated quadrature error of mu and of ln I, never decreasing.
        beta: Running maximum of the bound on the Hessian's norm, 1/time.
        gamma: Running maximum of the bound on the gradient's norm, distance/time.
        eps: Radius of the tube.
        rho: Distance of the two starting points.
        kind: "certified" or "indicative".
        assumed: What the theorem takes for granted, one sentence each.
        estimated: What was computed with an error, one sentence each.
    """

    time: np.ndarray
    step_size: float
    binding_time: float
    growth: np.ndarray
    log_discrepancy: np.ndarray
    log_error: np.ndarray
    beta: np.ndarray
    gamma: np.ndarray
    eps: float
    rho: float
    kind: str
    assumed: tuple[str, ...]
    estimated: tuple[str, ...]

    @property
    def discrepancy(self) -> Float[np.ndarray, " time"]:
        """I(t) = int_0^t e^{mu(t) - mu(s)} ds, in units of time, on the safe side."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_discrepancy)

    def error_bound(self, step_size: float) -> Float[np.ndarray, " time"]:
        """Bound on the distance between gradient descent and the flow, at the grid's times.

        e^{mu(t)} rho + eta beta_t gamma_t I(t), as long as it has stayed <= eps on [0, t];
        infinity from there on, where the theorem is silent.

        Raises:
            InputError: If the step size is not positive and finite.

        Source: Elkabetz & Cohen 2021, proof of the main theorem.
        """
        require_positive(step_size=step_size)
        bound = _bound(self.growth + self.log_error, self.log_discrepancy, self, step_size)
        peak = np.maximum.accumulate(_peaks(bound, self, step_size))
        return np.where(peak <= self.eps, bound, np.inf)

    def prediction(self, step_size: float) -> Prediction:
        """The error bound as a `Prediction` of the distance; between grid times it stays a bound.

        Times beyond the grid get infinity.
        """
        bound = self.error_bound(step_size)
        peak = np.where(np.isfinite(bound), _peaks(bound, self, step_size), np.inf)
        peak = np.append(peak, np.inf)

        def at(times: ArrayLike) -> np.ndarray:
            return peak[np.searchsorted(self.time, np.asarray(times, dtype=float))]

        return make_prediction(
            "distance",
            "parameter",
            "upper" if self.kind == "certified" else "indicative",
            " ".join(self.assumed + self.estimated),
            at,
            SOURCE,
        )


def euler_certificate(
    time: ArrayLike,
    m: ArrayLike,
    beta: ArrayLike,
    gamma: ArrayLike,
    eps: float,
    rho: float = 0.0,
    kind: str = "certified",
) -> EulerCertificate:
    """Certify a step size with which gradient descent stays within eps of gradient flow.

    eta < inf_{t in (0,T]} (eps - rho e^{mu(t)}) / (beta_t gamma_t I(t)), see the module's head.

    All exponentials are evaluated in log space. On each grid interval m is replaced by the mean
    of its end values (second order, as the trapezoidal rule); the same on every second point
    gives an error estimate, by which mu and ln I are then raised. With m constant on an interval
    I and e^mu are monotone there, so the infimum over all times is the one over the grid.

    Args:
        time: Training times (T,), increasing, T >= 3; the first is the common start.
        m: Bound (T,) on -lambda_min of the Hessian over the ball of radius eps around theta(t).
        beta: Bound (T,) on the Hessian's spectral norm over the same ball.
        gamma: Bound (T,) on the gradient's norm over the same ball.
        eps: Allowed distance, in the units of the parameters.
        rho: Distance of the starting points.
        kind: "certified", or "indicative" where the arrays hold values at theta(t) alone.

    Returns:
        The certificate, with the error bound for any step size.

    Raises:
        InputError: On arrays of other shapes, non-finite values, times that do not increase,
            negative beta or gamma, eps <= 0, rho < 0, or an unknown kind.

    Source: Elkabetz & Cohen 2021, main theorem.

    Examples:
        >>> from thalweg.theory.descent.euler import euler_certificate
        >>> ones = np.ones(3)  # no curvature below zero: eta < eps/(beta gamma T)
        >>> found = euler_certificate([0.0, 0.5, 1.0], 0 * ones, ones, ones, eps=0.1)
        >>> round(found.step_size, 6), found.binding_time
        (0.1, 1.0)
    """
    choose(kind, _TUBE, "kind of certificate")
    t, m_, beta_, gamma_ = _checked_grid(time, m, beta, gamma)
    require_positive(eps=eps)
    require(math.isfinite(rho) and rho >= 0, f"rho is {rho}; a finite number >= 0 is allowed.")

    growth, log_integral = _grow(t, m_)
    log_error = _log_error(t, m_, growth, log_integral)
    beta_, gamma_ = np.maximum.accumulate(beta_), np.maximum.accumulate(gamma_)
    log_integral = log_integral + log_error

    with np.errstate(divide="ignore", over="ignore"):
        start = np.exp(_pairwise_max(growth + log_error)) * rho if rho else np.zeros(t.size)
        log_rate = np.log(beta_) + np.log(gamma_) + _pairwise_max(log_integral)
        log_room = np.log(np.maximum(eps - start, 0.0))
    # 0/0, no room left although nothing moves, certifies nothing.
    log_step = np.where(log_room == -np.inf, -np.inf, log_room - np.maximum(log_rate, -1e308))
    binding = 1 + int(np.argmin(log_step[1:]))
    smallest = log_step[binding]
    # The theorem wants a strict inequality, and the logarithms are rounded.
    step_size = math.inf if smallest > 700 else math.exp(smallest) * (1 - 1e-12)

    return EulerCertificate(
        time=t,
        step_size=step_size,
        binding_time=float(t[binding]),
        growth=growth,
        log_discrepancy=log_integral,
        log_error=log_error,
        beta=beta_,
        gamma=gamma_,
        eps=float(eps),
        rho=float(rho),
        kind=kind,
        assumed=(
            "The loss is twice continuously differentiable on the tube.",
            _TUBE[kind],
            "Between two grid times beta and gamma stay below their running maximum at the later.",
        ),
        estimated=(
            f"The integrals of m come from {t.size} grid values; against every second of them "
            f"ln I differs by at most {log_error[-1]:.1e}, and is raised by that.",
        ),
    )


def constant_m_integral(m: ArrayLike, time: ArrayLike) -> Float[np.ndarray, "..."]:
    """The discrepancy integral for a constant m: (e^{mt} - 1)/m, and t for m = 0.

    Bounded by 1/|m| for m < 0 (strong convexity: one step size serves all time), growing like
    e^{mt}/m for m > 0. Broadcasts; in units of time; exact up to rounding.

    Source: Elkabetz & Cohen 2021, corollaries of the main theorem.

    Examples:
        >>> from thalweg.theory.descent.euler import constant_m_integral
        >>> constant_m_integral([0.0, -1.0], [3.0, 50.0]).round(6).tolist()
        [3.0, 1.0]
    """
    with np.errstate(over="ignore"):
        return np.exp(log_constant_m_integral(m, time))


def log_constant_m_integral(m: ArrayLike, time: ArrayLike) -> Float[np.ndarray, "..."]:
    """ln[(e^{mt} - 1)/m] without overflow, for t >= 0; ln t for m = 0, -inf for t = 0.

    Examples:
        >>> from thalweg.theory.descent.euler import log_constant_m_integral
        >>> log_constant_m_integral([0.0, 1.0], [np.e, 1000.0]).round(6).tolist()  # no overflow
        [1.0, 1000.0]
    """
    m_, t = np.broadcast_arrays(np.asarray(m, dtype=float), np.asarray(time, dtype=float))
    x = m_ * t
    size = np.abs(x)
    # (e^x - 1)/x = e^{max(x, 0)} (1 - e^{-|x|})/|x|
    ratio = np.divide(-np.expm1(-size), size, out=np.ones_like(size), where=size > 0)
    with np.errstate(divide="ignore"):
        return np.log(t) + np.maximum(x, 0.0) + np.log(ratio)


def largest_step_quadratic(m: float, time: float, z0: float, eps: float) -> float:
    """Largest step size with which descent on f(z) = -(m/2) z^2 is within eps of flow at time T.

    Solves |z0| (e^{mT} - (1 + eta m)^{T/eta}) = eps for eta, with T/eta a real number of steps.
    Infinity if every step size will do.

    Args:
        m: Negative curvature, > 0, in 1/time.
        time: T, time of the comparison, > 0.
        z0: Common starting point, not 0.
        eps: Allowed error at T, > 0.

    Raises:
        InputError: If an argument is outside these ranges.

    Source: derived from Elkabetz & Cohen 2021, on the necessity of the exponential.

    Examples:
        >>> from thalweg.theory.descent.euler import largest_step_quadratic
        >>> round(largest_step_quadratic(m=1.0, time=1.0, z0=1.0, eps=np.e - 2), 6)  # one step
        1.0
    """
    _check_quadratic(m, time, z0, eps)
    log_q = math.log(eps / abs(z0)) - m * time
    if log_q >= math.log(-math.expm1(-m * time)):
        return math.inf
    if log_q < -600:  # the limit is exact to all digits, the equation would underflow
        return largest_step_quadratic_asymptotic(m, time, z0, eps)
    # (1 + x)^{mT/x} = (1 - q) e^{mT} with x = eta m, as an equation in ln x.
    target = math.log(-math.log1p(-math.exp(log_q)))
    log_mt = math.log(m * time)

    def excess(log_x: float) -> float:
        return log_mt + math.log(_one_minus_log1p_over(math.exp(log_x))) - target

    low, high = target - log_mt, 700.0  # 1 - ln(1 + x)/x < x
    if excess(high) <= 0:
        return math.inf
    return math.exp(brentq(excess, low, high, xtol=1e-14, rtol=8.9e-16)) / m


def largest_step_quadratic_asymptotic(m: float, time: float, z0: float, eps: float) -> float:
    """The limit of `largest_step_quadratic` as T -> infinity: 2 eps e^{-mT} / (m^2 T |z0|).

    Raises:
        InputError: As `largest_step_quadratic`.

    Source: derived from Elkabetz & Cohen 2021, on the necessity of the exponential.

    Examples:
        >>> from thalweg.theory.descent.euler import largest_step_quadratic_asymptotic
        >>> round(largest_step_quadratic_asymptotic(m=1.0, time=1.0, z0=1.0, eps=0.5) * np.e, 6)
        1.0
    """
    _check_quadratic(m, time, z0, eps)
    return 2 * eps * math.exp(-m * time) / (m**2 * time * abs(z0))


def convex_quadratic_peak_error(h: float, z0: float, step_size: float) -> float:
    """Largest error of descent on f(z) = (h/2) z^2 over all time, for h eta -> 0: eta h |z0|/(2e).

    It is attained at t = 1/h.

    Raises:
        InputError: If h or the step size is not positive.

    Source: derived from Elkabetz & Cohen 2021, strongly convex case.

    Examples:
        >>> from thalweg.theory.descent.euler import convex_quadratic_peak_error
        >>> round(convex_quadratic_peak_error(h=1.0, z0=1.0, step_size=2 * np.e), 6)
        1.0
    """
    require_positive(h=h, step_size=step_size)
    return step_size * h * abs(z0) / (2 * math.e)


def leading_euler_error(
    velocity: ArrayLike, initial_velocity: ArrayLike, step_size: float
) -> Float[np.ndarray, "..."]:
    """Leading error, descent minus flow, of Euler's method on a flow y' = F(y) in one dimension.

    -(eta/2) F(y(t)) ln(F(y(t))/F(y(0))) + O(eta^2).

    For a chain of n equal scalar weights, F(y) = y^{n-1}(1 - y^n), multiply by sqrt(n) to have
    the distance in weight space.

    Args:
        velocity: F(y(t)), any shape, of the sign of `initial_velocity`, not 0.
        initial_velocity: F(y(0)).
        step_size: eta.

    Raises:
        InputError: If the velocities differ in sign (a flow in one dimension never turns) or are 0.

    Source: derived from Elkabetz & Cohen 2021, section on one-dimensional examples.

    Examples:
        >>> from thalweg.theory.descent.euler import leading_euler_error
        >>> float(leading_euler_error(velocity=2.0, initial_velocity=2.0, step_size=0.1))
        -0.0
    """
    v, v0 = np.asarray(velocity, dtype=float), np.asarray(initial_velocity, dtype=float)
    require(
        bool(np.all(v * v0 > 0)),
        "the velocity changes sign or is 0; give F(y(t)) along one flow that is not at rest.",
    )
    return -0.5 * step_size * v * np.log(v / v0)


def _grow(t: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Growth mu and ln I, with m on each interval constant at the mean of its end values."""
    h = np.diff(t)
    mean = (m[1:] + m[:-1]) / 2
    growth = np.concatenate([[0.0], np.cumsum(mean * h)])
    # I_i = sum_j e^{mu_i - mu_{j+1}} J_j, J_j the integral over interval j alone.
    pieces = log_constant_m_integral(mean, h) - growth[1:]
    log_integral = growth[1:] + np.logaddexp.accumulate(pieces)
    return growth, np.concatenate([[-np.inf], log_integral])


def _log_error(
    t: np.ndarray, m: np.ndarray, growth: np.ndarray, log_integral: np.ndarray
) -> np.ndarray:
    """Difference to every second grid point, plus rounding; never decreasing in time."""
    coarse = np.unique(np.append(np.arange(0, t.size, 2), t.size - 1))
    growth_2, log_integral_2 = _grow(t[coarse], m[coarse])
    gap = np.abs(growth_2 - growth[coarse])
    gap[1:] = np.maximum(gap[1:], np.abs(log_integral_2[1:] - log_integral[coarse[1:]]))
    gap = np.maximum.accumulate(gap)
    on_grid = gap[np.searchsorted(coarse, np.arange(t.size))]
    travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(growth)))])
    return on_grid + np.finfo(float).eps * (np.arange(t.size) + 4 * travelled)


def _bound(
    growth: np.ndarray, log_integral: np.ndarray, c: EulerCertificate, step_size: float
) -> np.ndarray:
    """e^mu rho + eta beta gamma I from logarithms; overflow means infinity."""
    with np.errstate(over="ignore", divide="ignore"):
        drift = np.exp(np.log(step_size) + np.log(c.beta) + np.log(c.gamma) + log_integral)
        return drift + (np.exp(growth) * c.rho if c.rho else 0.0)


def _peaks(bound: np.ndarray, c: EulerCertificate, step_size: float) -> np.ndarray:
    """Largest value of the error bound on the interval that ends at each grid time."""
    inside = _bound(
        _pairwise_max(c.growth + c.log_error), _pairwise_max(c.log_discrepancy), c, step_size
    )
    return np.maximum(bound, inside)


def _pairwise_max(values: np.ndarray) -> np.ndarray:
    """Each value or its predecessor, whichever is larger."""
    return np.concatenate([values[:1], np.maximum(values[1:], values[:-1])])


def _one_minus_log1p_over(x: float) -> float:
    """1 - ln(1 + x)/x, by its series where the difference would cancel."""
    if x > 0.05:
        return 1.0 - math.log1p(x) / x
    return sum((-1) ** (j + 1) * x**j / (j + 1) for j in range(1, 14))


def _checked_grid(
    time: ArrayLike, m: ArrayLike, beta: ArrayLike, gamma: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    arrays = [np.asarray(a, dtype=float) for a in (time, m, beta, gamma)]
    for name, a in zip(("time", "m", "beta", "gamma"), arrays, strict=True):
        require(
            a.ndim == 1 and a.shape == arrays[0].shape,
            f"{name} has shape {a.shape}, time has {arrays[0].shape}; give one value per time.",
        )
        require(bool(np.all(np.isfinite(a))), f"{name} has values that are not finite.")
    t, m_, beta_, gamma_ = arrays
    require(t.size >= 3, f"{t.size} times are given; at least 3 are needed for an error estimate.")
    require(bool(np.all(np.diff(t) > 0)), "the times do not increase; sort them, drop repetitions.")
    require(
        bool(np.all(beta_ >= 0) and np.all(gamma_ >= 0)),
        "beta or gamma has negative values; they are norms, so >= 0 is allowed.",
    )
    return t, m_, beta_, gamma_


def _check_quadratic(m: float, T: float, z0: float, eps: float) -> None:
    require_positive(m=m, T=T, eps=eps)
    require(z0 != 0 and math.isfinite(z0), f"z0 is {z0}; a finite number other than 0 is allowed.")
