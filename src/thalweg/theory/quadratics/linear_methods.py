"""Linear methods on quadratics: exact trajectories, radii, phases and second moments.

Gradient descent, heavy ball and Nesterov's method,

    w_{n+1} = w_n + beta_n (w_n - w_{n-1}) - alpha_n grad f(w_n + ahead beta_n (w_n - w_{n-1})),

with ahead = 1 for Nesterov, act on each eigenvector of a quadratic alone: with e = <w - w*, v> and
curvature lambda, (e_n, e_{n+1}) = R (e_{n-1}, e_n),

    R = [[0, 1], [-beta (1 - ahead alpha lambda), (1 + beta)(1 - alpha lambda)]]    (Nesterov)
    R = [[0, 1], [-beta, 1 + beta - alpha lambda]]                                  (heavy ball).

Source: Benning (2021), sections on heavy ball and Nesterov momentum; Polyak (1964).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg.blas import dtbsv

from thalweg.core.errors import choose, require

# For each method whether it looks ahead, and whether it keeps momentum.
LINEAR_METHODS = {
    "gradient-descent": (False, False),
    "heavy-ball": (False, True),
    "nesterov": (True, True),
}
PHASES = ("unstable", "monotone", "ripples", "alternating")


class LinearMethod(NamedTuple):
    """A linear method with the numbers of its steps.

    Attributes:
        name: A key of `LINEAR_METHODS`.
        step_size: alpha, a number or one for each step (unit: parameter^2/loss).
        momentum: beta, a number or one for each step.
    """

    name: str
    step_size: np.ndarray
    momentum: np.ndarray

    def at(self, step: int) -> tuple[float, float]:
        """The numbers alpha and beta of a step, counted from 0."""
        return _of(self.step_size, step, "step_size"), _of(self.momentum, step, "momentum")


class Tuned(NamedTuple):
    """The numbers of a method that are best on a spectrum, and what they reach.

    Attributes:
        step_size: alpha.
        momentum: beta.
        rate: The largest spectral radius over the spectrum: errors shrink so a step.
    """

    step_size: float
    momentum: float
    rate: float


def linear_method(name: str, step_size: ArrayLike, momentum: ArrayLike = 0.0) -> LinearMethod:
    """A linear method; see `LinearMethod`.

    Args:
        name: "gradient-descent", "heavy-ball" or "nesterov".
        step_size: alpha, a number or one for each step.
        momentum: beta, likewise; 0 for gradient descent.

    Raises:
        InputError: If the name is unknown, or gradient descent is given momentum.

    Examples:
        >>> from thalweg.theory.quadratics.linear_methods import linear_method
        >>> linear_method("heavy-ball", 0.1, 0.9).at(3)
        (0.1, 0.9)
    """
    _, keeps = choose(name, LINEAR_METHODS, "linear method")
    alpha, beta = np.asarray(step_size, float), np.asarray(momentum, float)
    require(
        alpha.ndim <= 1 and beta.ndim <= 1,
        f"step_size and momentum came with shapes {alpha.shape} and {beta.shape}; give a number or "
        "one for each step",
    )
    require(
        bool(keeps or np.all(beta == 0)),
        "gradient descent keeps no momentum; give momentum=0, or take heavy-ball or nesterov",
    )
    return LinearMethod(name, alpha, beta)


def transition(method: LinearMethod, eigenvalues: ArrayLike, step: int = 0) -> np.ndarray:
    """R of a step for each eigenvalue, shape (d, 2, 2): (e_{n-1}, e_n) to (e_n, e_{n+1}).

    Examples:
        >>> from thalweg.theory.quadratics.linear_methods import linear_method, transition
        >>> transition(linear_method("heavy-ball", 0.5, 0.25), [1.0]).tolist()
        [[[0.0, 1.0], [-0.25, 0.75]]]
    """
    lam = np.asarray(eigenvalues, float)
    R = np.zeros((*lam.shape, 2, 2))
    R[..., 0, 1] = 1
    R[..., 1, 0], R[..., 1, 1] = _last_row(method.name, *method.at(step), lam)
    return R


def modal_trajectory(
    method: LinearMethod, eigenvalues: ArrayLike, start: ArrayLike, steps: int
) -> np.ndarray:
    """The components of the error along eigenvectors, shape (steps + 1, d), from w_{-1} = w_0.

    Args:
        method: The method.
        eigenvalues: Of the Hessian, shape (d,); negative ones are saddles.
        start: <w_0 - w*, v_i>, shape (d,).
        steps: How many.

    Error: Rounding. Cost: O(steps d).

    Examples:
        >>> from thalweg.theory.quadratics.linear_methods import linear_method, modal_trajectory
        >>> descent = linear_method("gradient-descent", 0.5)
        >>> modal_trajectory(descent, [1.0, -1.0], [1.0, 1.0], 2).tolist()
        [[1.0, 1.0], [0.5, 1.5], [0.25, 2.25]]
    """
    e = np.asarray(start, float)
    pair, found = np.stack([e, e], axis=-1), [e]
    for step in range(steps):
        pair = np.einsum("...ij,...j->...i", transition(method, eigenvalues, step), pair)
        found.append(pair[..., 1])
    return np.stack(found)


def characteristic_roots(name: str, scaled: ArrayLike, momentum: ArrayLike) -> np.ndarray:
    """The two eigenvalues r of R, complex, shape (..., 2).

    Args:
        name: A key of `LINEAR_METHODS`.
        scaled: alpha lambda.
        momentum: beta.

    Error: Rounding; near a double root its square root.

    Examples:
        >>> from thalweg.theory.quadratics.linear_methods import characteristic_roots
        >>> [round(float(abs(r)), 12) for r in characteristic_roots("heavy-ball", 1.0, 0.25)]
        [0.5, 0.5]
    """
    x, beta = np.broadcast_arrays(np.asarray(scaled, float), np.asarray(momentum, float))
    half, product = _half_sum_and_product(name, x, beta)
    root = np.sqrt((half**2 - product).astype(complex))
    return np.stack([half + root, half - root], axis=-1)


def spectral_radius(name: str, scaled: ArrayLike, momentum: ArrayLike = 0.0) -> np.ndarray:
    """The larger |r|: by how much errors shrink a step in the long run.

    Args:
        name: A key of `LINEAR_METHODS`.
        scaled: alpha lambda.
        momentum: beta.

    Examples:
        >>> from thalweg.theory.quadratics.linear_methods import spectral_radius
        >>> float(spectral_radius("gradient-descent", 0.25))
        0.75
    """
    return np.max(np.abs(characteristic_roots(name, scaled, momentum)), axis=-1)


def is_stable(name: str, scaled: ArrayLike, momentum: ArrayLike = 0.0) -> np.ndarray:
    """Whether errors die out, by the inequalities of the theorems, not by the roots.

    Heavy ball: |beta| < 1 and 0 < x < 2 (1 + beta), x = alpha lambda. Nesterov: x > 0,
    |beta (1 - x)| < 1 and 1 + (1 + 2 beta)(1 - x) > 0, which for 0 <= beta <= 1 alone is
    0 < x < (2 + 2 beta)/(1 + 2 beta). Gradient descent: 0 < x < 2.

    Examples:
        >>> from thalweg.theory.quadratics.linear_methods import is_stable
        >>> is_stable("heavy-ball", [3.7, 3.9], 0.9).tolist(), bool(is_stable("nesterov", 1.4, 0.9))
        ([True, False], False)
    """
    ahead, _ = choose(name, LINEAR_METHODS, "linear method")
    x, beta = np.asarray(scaled, float), np.asarray(momentum, float)
    if ahead:
        return (x > 0) & (np.abs(beta * (1 - x)) < 1) & (1 + (1 + 2 * beta) * (1 - x) > 0)
    return (np.abs(beta) < 1) & (x > 0) & (x < 2 * (1 + beta))


def phase(name: str, scaled: ArrayLike, momentum: ArrayLike = 0.0) -> np.ndarray:
    """How an error along an eigenvector goes: an index of `PHASES`.

    Unstable; monotone, both roots real and the larger of them positive; ripples, the roots complex,
    where heavy ball has |r| = sqrt(beta) whatever the curvature; alternating, the larger negative.

    Examples:
        >>> from thalweg.theory.quadratics.linear_methods import PHASES, phase
        >>> [PHASES[i] for i in phase("heavy-ball", [0.05, 1.0, 2.3, 2.6], 0.25)]
        ['monotone', 'ripples', 'alternating', 'unstable']
    """
    x, beta = np.broadcast_arrays(np.asarray(scaled, float), np.asarray(momentum, float))
    half, product = _half_sum_and_product(name, x, beta)
    real = np.where(half >= 0, PHASES.index("monotone"), PHASES.index("alternating"))
    found = np.where(half**2 < product, PHASES.index("ripples"), real)
    return np.where(is_stable(name, x, beta), found, PHASES.index("unstable"))


def tuned(name: str, convexity: float, smoothness: float) -> Tuned:
    """The numbers that are best for eigenvalues from mu to L, and the rate that they reach.

    Gradient descent 2/(L + mu): 1 - 2/(1 + kappa). Heavy ball (2/(sqrt L + sqrt mu))^2,
    beta = (1 - 2/(1 + sqrt kappa))^2: sqrt beta, the lower bound of all. Nesterov with alpha = 1/L,
    beta = (sqrt kappa - 1)/(sqrt kappa + 1): 1 - 1/sqrt kappa.

    Args:
        name: A key of `LINEAR_METHODS`.
        convexity: mu, the smallest eigenvalue.
        smoothness: L, the largest.

    Raises:
        InputError: Unless 0 < mu <= L.

    Examples:
        >>> from thalweg.theory.quadratics.linear_methods import tuned
        >>> [round(tuned(name, 1.0, 100.0).rate, 4) for name in ("heavy-ball", "nesterov")]
        [0.8182, 0.9]
    """
    choose(name, LINEAR_METHODS, "linear method")
    mu, L = float(convexity), float(smoothness)
    require(0 < mu <= L, f"convexity came as {mu:g}, smoothness as {L:g}; give 0 < mu <= L")
    root = float(np.sqrt(L / mu))
    if name == "gradient-descent":
        return Tuned(2 / (L + mu), 0.0, 1 - 2 / (1 + L / mu))
    if name == "heavy-ball":
        rate = 1 - 2 / (1 + root)
        return Tuned(4 / (L**0.5 + mu**0.5) ** 2, rate**2, rate)
    return Tuned(1 / L, (root - 1) / (root + 1), 1 - 1 / root)


def best_momentum(step_size: float, convexity: float, smoothness: float) -> float:
    """The momentum of heavy ball that is best for a step size.

    beta = max((1 - sqrt(alpha mu))^2, (1 - sqrt(alpha L))^2).

    Examples:
        >>> from thalweg.theory.quadratics.linear_methods import best_momentum
        >>> best_momentum(1.0, 0.25, 1.0)
        0.25
    """
    ends = np.sqrt(step_size * np.array([convexity, smoothness]))
    return float(np.max((1 - ends) ** 2))


def transient_bound(momentum: float, steps: ArrayLike) -> np.ndarray:
    """A bound on ||R^n|| of heavy ball where its roots are complex.

    ||R^n|| <= rho^(n-1) (rho + n (1 + rho^2)), rho = sqrt(beta): errors may grow in proportion to n
    before they decay.

    Examples:
        >>> from thalweg.theory.quadratics.linear_methods import transient_bound
        >>> float(transient_bound(0.25, 1))
        1.75
    """
    n, rho = np.asarray(steps, float), np.sqrt(momentum)
    return rho ** (n - 1) * (rho + n * (1 + rho**2))


def error_moments(
    method: LinearMethod, eigenvalues: ArrayLike, start: ArrayLike, noise: ArrayLike, steps: int
) -> np.ndarray:
    """E e_n^2 with noise of standard deviation s added to each gradient, shape (steps + 1, d).

    The moments of (e_{n-1}, e_n) follow S <- R S R^T + alpha^2 s^2 diag(0, 1); for gradient descent
    e^2 <- (1 - alpha lambda)^2 e^2 + alpha^2 s^2.

    Args:
        method: The method.
        eigenvalues: Of the Hessian, shape (d,).
        start: <w_0 - w*, v_i>, shape (d,).
        noise: s, along each eigenvector (unit: loss/parameter).
        steps: How many.

    Error: Rounding. Cost: O(steps d), in compiled code.

    Examples:
        >>> from thalweg.theory.quadratics.linear_methods import linear_method, error_moments
        >>> descent = linear_method("gradient-descent", 1.0)
        >>> error_moments(descent, [1.0], [3.0], [0.5], 2)[:, 0].tolist()
        [9.0, 0.25, 0.25]
    """
    e = np.asarray(start, float)
    lam = np.broadcast_to(np.asarray(eigenvalues, float), e.shape)
    variance = np.broadcast_to(np.asarray(noise, float) ** 2, e.shape)
    method.at(max(steps - 1, 0))  # refused where there are fewer numbers
    alpha, beta = (np.broadcast_to(a[:steps] if a.ndim else a, steps) for a in method[1:])
    found = np.empty((steps + 1, *e.shape))
    for mode in np.ndindex(e.shape):
        # All steps at once are a banded triangular system, unknowns E e_{n-1} e_n and E e_n^2 in
        # turn: substitution by BLAS is the recursion without a loop of Python.
        c, m = _last_row(method.name, alpha, beta, lam[mode])
        band, known = np.zeros((5, 2 * steps + 2)), np.zeros(2 * steps + 2)
        band[2, 0:-2:2], band[1, 1:-2:2] = -c, -m
        band[3, 0:-2:2], band[2, 1:-2:2] = -2 * c * m, -(m**2)
        band[4, 1:-4:2] = -(c[1:] ** 2)
        known[:2] = e[mode] ** 2
        known[3::2] = alpha**2 * variance[mode]
        known[3:4] += c[:1] ** 2 * e[mode] ** 2  # w_{-1} = w_0
        found[(slice(None), *mode)] = dtbsv(4, band, known, lower=1, diag=1)[1::2]
    return found


def stationary_second_moment(
    method: LinearMethod, eigenvalues: ArrayLike, noise: ArrayLike
) -> np.ndarray:
    """What `error_moments` tends to with constant numbers, shape (d,); inf where unstable.

    Gradient descent: alpha s^2/(lambda (2 - alpha lambda)).

    Examples:
        >>> from thalweg.theory.quadratics.linear_methods import (
        ...     linear_method, stationary_second_moment)
        >>> descent = linear_method("gradient-descent", 0.5)
        >>> round(float(stationary_second_moment(descent, [2.0], 1.0)[0]), 12)
        0.25
    """
    lam = np.asarray(eigenvalues, float)
    alpha, beta = method.at(0)
    R = transition(method, lam)
    grown = np.eye(4) - np.einsum("...ij,...kl->...ikjl", R, R).reshape(*lam.shape, 4, 4)
    added = np.zeros((*lam.shape, 4, 1))
    added[..., 3, 0] = alpha**2 * np.broadcast_to(np.asarray(noise, float) ** 2, lam.shape)
    stable = is_stable(method.name, alpha * lam, beta)
    safe = np.where(stable[..., None, None], grown, np.eye(4))
    return np.where(stable, np.linalg.solve(safe, added)[..., 3, 0], np.inf)


def _of(numbers: np.ndarray, step: int, name: str) -> float:
    require(
        not numbers.ndim or step < len(numbers),
        f"{name} came for {numbers.size} steps, and step {step + 1} was asked for; give more",
    )
    return float(numbers[step] if numbers.ndim else numbers)


def _last_row(name: str, alpha: Any, beta: Any, lam: Any) -> tuple[Any, Any]:
    """The entries of R that are not 0 or 1, by broadcasting."""
    if LINEAR_METHODS[name][0]:
        return -beta * (1 - alpha * lam), (1 + beta) * (1 - alpha * lam)
    return -beta, 1 + beta - alpha * lam


def _half_sum_and_product(
    name: str, x: np.ndarray, beta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(r_1 + r_2)/2 and r_1 r_2."""
    ahead, _ = choose(name, LINEAR_METHODS, "linear method")
    if ahead:
        return (1 + beta) * (1 - x) / 2, beta * (1 - x)
    return (1 + beta - x) / 2, beta
