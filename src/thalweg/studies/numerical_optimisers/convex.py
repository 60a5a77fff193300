"""Convex problems: a trap for heavy ball, the chain, the general schema, conjugate directions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core.lanczos import tridiagonalise
from thalweg.core.subproblems import cubic_step, damped_step_of, trust_region_step
from thalweg.driver.path import iterates, paths
from thalweg.dynamics import State, accelerated_descent, method
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import over, table
from thalweg.problems import Problem, hard_chain, heavy_ball_trap
from thalweg.studies.numerical_optimisers.quadratics import bowl
from thalweg.theory.optimisers.rates import momentum_schedule, schema_bound, theorem_bound
from thalweg.theory.quadratics.lower_bounds import (
    HEAVY_BALL_CYCLE,
    best_in_span,
    convex_floor,
    strongly_convex_floor,
)

CAUGHT = (1.0, 2.9, 3.07, 3.2, 3.3, 3.46)
FREE = (0.5, -2.0, 4.0)
TRAP = {"smoothness": 25.0, "convexity": 1.0}


@experiment("X3")
def trap(lab: Lab) -> xr.Dataset:
    """Heavy ball with the numbers best for quadratics where the curvature is not constant."""
    problem = heavy_ball_trap()
    starts = jnp.array(CAUGHT + FREE)[:, None]
    w = paths(method("heavy-ball", **TRAP), problem, starts, 1, 600, over=("params",)).seen
    ends = np.asarray(w)[:, -3:, 0]
    cycle = np.array([float(part) for part in HEAVY_BALL_CYCLE])
    # Whichever of the three comes first.
    apart = [min(np.abs(end - np.roll(cycle, k)).max() for k in range(3)) for end in ends]
    others = {
        name: iterates(method(name, **TRAP), problem, 600)[:, 0]
        for name in ("tuned-descent", "nesterov-constant")
    }
    x, at_end, path = "parameter", "|x| in the end", np.asarray(w)[CAUGHT.index(3.3), :61, 0]
    return table(
        {
            "caught": {"apart": (apart[: len(CAUGHT)], x, "distance from the cycle, in the end")},
            "free": {"end": (np.abs(ends[len(CAUGHT) :, -1]), x, at_end)},
            "algorithm": {"other": ([abs(p[-1]) for p in others.values()], x, at_end)},
            "algorithm step": {"path_other": ([p[:61] for p in others.values()], x, "x from 3.3")},
            "step": {"path": (path, x, "x of heavy ball")},
        },
        caught=list(CAUGHT),
        free=list(FREE),
        algorithm=list(others),
        step=np.arange(61),
    )


def losses(dynamics: Any, problem: Problem, steps: int) -> np.ndarray:
    """The objective at every step."""
    return np.asarray(iterates(dynamics, problem, steps, observe=_objective))


def _objective(problem: Problem, state: State) -> Array:
    return problem.objective(state.params)


@experiment("X4")
def chain(lab: Lab) -> xr.Dataset:
    """Gradient descent and Nesterov's method on the chain, beside upper and lower bounds."""
    d, steps = 401, 200
    problem, square, n = hard_chain(d), float(d), np.arange(1, steps + 1)
    gaps = {
        name: losses(method(name, smoothness=1.0), problem, steps)
        for name in ("gradient-descent", "nesterov")
    }
    bounds = [
        theorem_bound("gradient-descent-convex", n, smoothness=1.0, distance=square**0.5),
        theorem_bound("nesterov", n, smoothness=1.0, convexity=0.0, distance=square**0.5),
    ]
    found = np.array(list(gaps.values()))[:, 1:]
    least = best_in_span(1.0, n)
    scaled = np.max(found[1] * n**2 / (2 * square))
    over_span = np.min(found / least, axis=1)
    return table(
        {
            "": {"scaled": (scaled, "1", "gap n^2/(2 L R^2), the largest")},
            "algorithm": {
                "ratio": (np.max(found / np.array(bounds), axis=1), "1", "gap over its bound"),
                "over_span": (over_span, "1", "gap over the best of the span, the least"),
            },
            "algorithm step": {"gap": (found, "loss", "loss over its infimum")},
            "step": {"least": (least, "loss", "least in the span of n gradients")},
        },
        algorithm=list(gaps),
        step=n,
    )


@experiment("X4-span")
def span(lab: Lab) -> xr.Dataset:
    """The least value of the chain on its first n coordinates, and what is left of the distance."""

    def one(n: int) -> xr.Dataset:
        d = 2 * n + 1
        problem = hard_chain(d)
        H = np.asarray(jax.hessian(problem.objective)(problem.start))
        g = np.asarray(jax.grad(problem.objective)(problem.start))
        w = np.zeros(d)
        w[:n] = -np.linalg.solve(H[:n, :n], g[:n])
        value = float(problem.objective(jnp.asarray(w)))
        found = {
            "value": (value, "loss", "the least value in the span"),
            "value_theory": (best_in_span(1.0, n), "loss", "L/(8 (n + 1))"),
            "left": (np.sum((w - 1) ** 2) / d, "1", "share of R^2 that is left"),
            "floor": (value / convex_floor(1.0, d**0.5, n), "1", "value over L R^2/(16...)"),
        }
        return table({"": found})

    return over(one, n=[5, 20, 80])


INVERSES = (0.001, 0.5, 1.0, 3.001)  # 1/kappa_0; kappa = 1000


@experiment("X8")
def schema(lab: Lab) -> xr.Dataset:
    """Nesterov's general schema from several starts, and the momentum that it takes."""
    q, steps = 1e-3, 400
    problem = bowl(np.geomspace(q, 1, 50), np.ones(50))
    gap, R = float(problem.objective(problem.start)), 50**0.5

    def one(inverse: float) -> xr.Dataset:
        loss = losses(accelerated_descent(1.0, q, inverse), problem, steps)
        bound = schema_bound(q, inverse, 1.0, gap, R, steps)
        return table({"": {"ratio": (np.max(loss / bound), "1", "gap over its bound")}})

    t = [1.0]
    for _ in range(steps):
        t.append((1 + (1 + 4 * t[-1] ** 2) ** 0.5) / 2)
    gamma, beta = momentum_schedule(0.0, steps)
    times = np.array(t)
    off = (gamma * times - 1, beta - (times[:-1] - 1) / times[1:])
    error = max(np.abs(part).max() for part in off)
    strong = losses(method("nesterov", smoothness=1.0, convexity=q), problem, steps)
    n = np.arange(1, steps + 1)
    optimal = theorem_bound("nesterov", n, smoothness=1.0, convexity=q, distance=R)
    conditions = [10.0, 100.0, 1000.0]
    shown = [momentum_schedule(1 / k, steps) for k in conditions]
    limit = [abs(g[-1] * k**0.5 - 1) for (g, _), k in zip(shown, conditions, strict=True)]
    worst = hard_chain(601, convexity=1 / 100)
    H, g = jax.hessian(worst.objective)(worst.start), jax.grad(worst.objective)(worst.start)
    least = np.linalg.solve(np.asarray(H), -np.asarray(g))
    ball = iterates(method("heavy-ball", smoothness=1.0, convexity=1 / 100), worst, 60)
    away = np.linalg.norm(ball - least, axis=1)
    floor = strongly_convex_floor(100.0, away[0], np.arange(61))
    start = over(one, inverse=(list(INVERSES), "1", "1/kappa_0"))
    rest = table(
        {
            "": {
                "schedule": (error, "1", "error of gamma and beta beside the t_n recursion"),
                "optimal": (np.max(strong[1:] / optimal), "1", "gap over E13, the largest"),
                "over_floor": (np.min(away[1:] / floor[1:]), "1", "distance over its lower bound"),
            },
            "condition": {"limit": (limit, "1", "|gamma sqrt kappa - 1| in the end")},
            "condition step": {"momentum": ([b[:100] for _, b in shown], "1", "momentum")},
        },
        condition=(conditions, "1", "condition number"),
        step=np.arange(100),
    )
    return xr.merge([start, rest])


SEARCHED = ("conjugate-gradients", "bfgs", "dfp")


@experiment("X11", Draws(4), smoke={"draws": 1}, full={"draws": 20})
def directions(lab: Lab, size: Draws) -> xr.Dataset:
    """Conjugate gradients, quasi-Newton and Newton-type steps beside what they are equal to."""
    return over(_directions, draw=range(size.draws))


class Bowl(Problem):
    """w^T H w/2 - b^T w from 0: matrix and slope are leaves, so that all draws share programs."""

    H: Array
    slope: Array

    def init(self, key: Array) -> Array:
        return jnp.zeros_like(self.slope)

    def objective(self, params: Array) -> Array:
        return 0.5 * params @ self.H @ params - self.slope @ params


def _remembered(problem: Problem, state: State) -> tuple[Array, Array]:
    """Parameters, and the inverse Hessian that a quasi-Newton method believes in."""
    return state.params, state.memory.f_info.hessian_inv.as_matrix()


def _directions(draw: int) -> xr.Dataset:
    rng, d = np.random.default_rng(draw), 8
    Q = np.linalg.qr(rng.normal(size=(d, d)))[0]
    A, b = (Q * np.geomspace(1, 30, d)) @ Q.T, rng.normal(size=d)
    H, slope = jnp.asarray((A + A.T) / 2), jnp.asarray(b)
    problem = Bowl(H, slope)
    krylov = _krylov_minimisers(H, slope)
    paths_of = {name: iterates(method(name), problem, d) for name in SEARCHED}
    size = np.abs(krylov).max()
    apart = [np.abs(w[1:] - krylov).max() / size for w in paths_of.values()]
    inverse, secant = zip(*[_believed(name, problem, A) for name in SEARCHED[1:]], strict=True)
    e, g = jnp.asarray(rng.normal(size=d)), jnp.asarray(rng.normal(size=d))
    M = jnp.maximum(0.0, -e.min()) + 0.3
    damped = damped_step_of(e, g, M)
    trusted = trust_region_step(e, g, jnp.linalg.norm(damped))
    s = np.asarray(cubic_step(e, g, jnp.asarray(1.0)))
    away = s + np.geomspace(1e-3, 10, 4000)[:, None] * rng.normal(size=(4000, d))
    lower = _cubic_model(e, g, s) - _cubic_model(e, g, away)
    r = np.linalg.norm(s)
    slack = np.linalg.norm((np.asarray(e) + r / 2) * s + np.asarray(g))
    words = "Levenberg-Marquardt's step less the trust region's of its length"
    return table(
        {
            "": {
                "damped": (jnp.abs(damped - trusted).max(), "parameter", words),
                "stationary": (slack, "loss/parameter", "slope of the cubic model at its step"),
                "shift": (float(e.min()) + r / 2, "loss/parameter^2", "e_min + M r/2"),
                "lowest": (lower.max(), "loss", "the model at the cubic step less elsewhere"),
            },
            "algorithm": {"apart": (apart, "1", "distance from the minimiser in the Krylov space")},
            "quasi": {
                "inverse": (inverse, "1", "relative error of the inverse Hessian after d steps"),
                "secant": (secant, "1", "relative error of the secant equation"),
            },
        },
        algorithm=list(SEARCHED),
        quasi=list(SEARCHED[1:]),
    )  # fmt: skip


def _krylov_minimisers(H: Array, slope: Array) -> np.ndarray:
    """Argmin of w^T H w/2 - b^T w over span(b, H b, ...) of 1 to d dimensions, by elimination."""
    d = len(slope)
    basis = np.asarray(tridiagonalise(lambda v: H @ v, slope, d, jax.random.key(0)).basis).T
    found = []
    for k in range(1, d + 1):
        V = basis[:, :k]
        found.append(V @ np.linalg.solve(V.T @ np.asarray(H) @ V, V.T @ np.asarray(slope)))
    return np.array(found)


def _believed(name: str, problem: Bowl, A: np.ndarray) -> tuple[float, float]:
    """Errors of the inverse Hessian in the end and of the secant equation on the way."""
    d = len(A)
    seen = paths(method(name), problem, jnp.zeros(d), 1, d, _remembered, over=()).seen
    w, inverse = (np.asarray(part) for part in seen)
    moved = np.diff(w, axis=0)
    told = np.einsum("kij,kj->ki", inverse[1:], moved @ A)
    secant = np.linalg.norm(told - moved, axis=1) / np.linalg.norm(moved, axis=1)
    truth = np.linalg.inv(A)
    return float(np.abs(inverse[-1] - truth).max() / np.abs(truth).max()), float(secant.max())


def _cubic_model(e: Array, g: Array, s: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(s, axis=-1)
    return s @ np.asarray(g) + (s**2 @ np.asarray(e)) / 2 + length**3 / 6
