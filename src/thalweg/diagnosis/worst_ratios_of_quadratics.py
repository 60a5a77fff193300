"""Bounds on quadratics, tried on random ones: linear methods, moments of SGD, lower bounds.

Radii, powers of transition matrices and second moments are exact, so that a ratio of 1 is reached.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from thalweg.theory.optimisers import noisy_descent
from thalweg.theory.quadratics import lower_bounds
from thalweg.theory.quadratics.linear_methods import (
    LINEAR_METHODS,
    error_moments,
    linear_method,
    spectral_radius,
    transient_bound,
    transition,
    tuned,
)

POWERS = (1, 2, 5, 20)
ROUNDING = 1e-12
DOUBLE_ROOT = 1e-7  # a double root has half of the digits
CHAIN = 200  # springs for an endless chain
FLOORS = ("chain, best of the span", "chain, convex", "chain, strongly convex")


def ratios_of_quadratics(
    instances: int, steps: int, seed: int
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Name, what was held against it, and the worst ratio of each instance."""
    rng = np.random.default_rng(seed + 6)
    rows: dict[str, list[float]] = {}
    for _ in range(instances):
        L, kappa = 10 ** rng.uniform(-4, 4), 10 ** rng.uniform(0, 6)
        lam = L / kappa * np.concatenate([[1, kappa], kappa ** rng.uniform(0, 1, 4)])
        found = _radii(L, lam) | _transient(rng) | _moments(rng, L, lam, steps)
        for name, ratio in (found | _floors(rng)).items():
            rows.setdefault(name, []).append(float(np.max(ratio)))
    for name, ratios in rows.items():
        about = "methods of the span" if name in FLOORS else "quadratics of condition up to 1e6"
        yield name, about, np.array(ratios)


def _radii(L: float, lam: np.ndarray) -> dict[str, np.ndarray]:
    found = {}
    for name in LINEAR_METHODS:
        best = tuned(name, lam[0], L)
        radius = spectral_radius(name, best.step_size * lam, best.momentum)
        found[f"tuned {name}, radius"] = (radius - DOUBLE_ROOT) / best.rate
    return found


def _transient(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Where the roots of heavy ball are complex."""
    beta = rng.uniform(0, 1)
    low, high = (1 - beta**0.5) ** 2, (1 + beta**0.5) ** 2
    ball = linear_method("heavy-ball", 1.0, beta)
    R = transition(ball, [low + rng.uniform() * (high - low)])[0]
    norms = np.array([np.linalg.norm(np.linalg.matrix_power(R, n), 2) for n in POWERS])
    return {"heavy ball, transient": norms / transient_bound(beta, POWERS)}


def _moments(
    rng: np.random.Generator, L: float, lam: np.ndarray, steps: int
) -> dict[str, np.ndarray]:
    """SGD at constant steps and on both schedules, its noise as large as is allowed."""
    mu, variance = lam[0], 10 ** rng.uniform(-4, 4)
    noise = rng.uniform(size=lam.size) * (rng.uniform(size=lam.size) < 0.5)
    noise[rng.integers(0, lam.size)] += 1e-3
    noise *= np.sqrt(variance * mu * L / np.sum(noise**2))
    start = rng.normal(size=lam.size) * (rng.uniform(size=lam.size) < 0.5)
    start[0] += 1e-3
    first = np.sum(start**2)

    def exact(h: float | np.ndarray, scale: float = 1.0) -> np.ndarray:
        descent = linear_method("gradient-descent", h)
        return error_moments(descent, lam, scale * start, noise, steps).sum(axis=1)

    h = rng.choice([1.0, rng.uniform(0.01, 1)]) * 2 / (L + mu)
    bound = noisy_descent.second_moment_bound(h, L, mu, variance, first, np.arange(steps + 1))
    sizes, E = noisy_descent.optimal_schedule(L, mu, variance, first, steps)
    late = int(np.argmax(sizes < sizes[0])) if np.any(sizes < sizes[0]) else steps + 1
    factor = (1 + mu / L) * (1 + L / mu)
    law = variance * factor / np.arange(1, steps + 2 - late) if late <= steps else np.inf
    small = min(1.0, np.sqrt(2 * variance / first))
    halved, fallen, at = noisy_descent.halving_schedule(
        L, mu, variance, small**2 * first * (1 - 1e-12), steps
    )
    c = 1 + 2 * np.log(2) * factor
    return {
        # Where it decays in a few steps it is of the order of rounding of its start.
        "SGD, second moment": (exact(h) - ROUNDING * first) / bound,
        "SGD, optimal schedule": exact(sizes) / E,
        "SGD, optimal schedule, 1/n": E[late:] / law if late <= steps else np.zeros(1),
        "SGD, halving schedule": exact(halved, small * (1 - 1e-12) ** 0.5) / fallen,
        "SGD, halving schedule, 1/N": np.append(fallen[at[1:]] * at[1:] / (c * variance), 0.0),
    }


def _floors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What no method can beat over what random ones reach on the chain."""
    n, L = int(rng.integers(1, 21)), 10 ** rng.uniform(-4, 4)
    d = 2 * n + 1
    value = _descended(rng, n, d, L, 0.0)[1]
    kappa = 10 ** rng.uniform(0.01, 2)
    far = _descended(rng, n, CHAIN, L, L / kappa)[0]
    q = (kappa**0.5 - 1) / (kappa**0.5 + 1)
    end = q ** np.arange(1, CHAIN + 1)
    away, R = float(np.linalg.norm(far - end)), float(np.linalg.norm(end))
    found = (
        lower_bounds.best_in_span(L, n) / value,
        lower_bounds.convex_floor(L, d**0.5, n) / value,
        lower_bounds.strongly_convex_floor(kappa, R, n) / away,
    )
    return dict(zip(FLOORS, map(np.asarray, found), strict=True))


def _descended(
    rng: np.random.Generator, n: int, d: int, L: float, mu: float
) -> tuple[np.ndarray, float]:
    """W_n of a method of the span on the chain, and f there: steps at random, or conjugate ones."""
    conjugate, momentum = rng.uniform() < 0.3, rng.uniform(0, 1)
    w, way, square = np.zeros(d), np.zeros(d), 1.0
    for k in range(n):
        g = _chain(w, L, mu)[1]
        if conjugate:
            way = -g + (np.sum(g**2) / square if k else 0.0) * way
            square = np.sum(g**2)
            curved = np.sum(way * (_chain(w + way, L, mu)[1] - g))
            w = w + square / curved * way if curved > 0 else w
        else:
            way = momentum * way - rng.uniform(0, 2) / L * g
            w = w + way
    return w, _chain(w, L, mu)[0]


def _chain(w: np.ndarray, L: float, mu: float) -> tuple[float, np.ndarray]:
    """Value and gradient of `thalweg.problems.hard_chain`."""
    stretched = np.diff(w, prepend=1.0)
    value = (L - mu) / 8 * np.sum(stretched**2) + mu / 2 * np.sum(w**2)
    return value, (L - mu) / 4 * (stretched - np.append(stretched[1:], 0.0)) + mu * w
