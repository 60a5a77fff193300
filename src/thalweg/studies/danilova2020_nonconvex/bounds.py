"""Bounds of the survey's theorems beside runs on functions of known constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import xarray as xr
from jaxtyping import Array

from thalweg.curvature import difference_gradient
from thalweg.driver.path import Path, paths
from thalweg.dynamics import State, gradient_descent, method
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import over, table
from thalweg.oracles import isotropic, two_point
from thalweg.probes import measured_assumptions
from thalweg.problems import Function, Problem
from thalweg.studies.danilova2020_nonconvex import functions
from thalweg.theory.optimisers.rates import theorem_bound

L = 8.0  # of `functions.wavy`
WAVY = Function(functions.wavy, jnp.array([3.0, -2.2, 1.4, 4.1, -0.7]))
RADII = (1.0, 3.0, 10.0)
STEPS = (1e-1, 1e-2, 1e-3)


def observe(problem: Problem, state: State) -> tuple[Array, Array, Array]:
    """Value, gradient and parameters."""
    value, gradient = jax.value_and_grad(problem.objective)(state.params)
    return value, gradient, state.params


def along(dynamics: Any, problem: Problem, steps: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """What `observe` shows at every step."""
    found = _path(dynamics, problem, steps, seed)
    return tuple(np.asarray(part) for part in found.seen)


def _path(dynamics: Any, problem: Problem, steps: int, seed: int) -> Path:
    start = problem.init(jax.random.key(0))
    return paths(dynamics, problem, start, 1, steps, observe, jax.random.key(seed), over=())


@dataclass(frozen=True)
class Descents:
    """How long descents are followed."""

    steps: int = 200
    noisy: int = 500


@experiment("X2-descent", Descents(), smoke={"steps": 100})
def descent(lab: Lab, size: Descents) -> xr.Dataset:
    """Descent with exact, noisy and wrong gradients, beside E1, E2, E3, E9 and E10."""
    f, g, _ = along(gradient_descent(1 / L), WAVY, size.steps)
    square = np.sum(g**2, axis=1)
    lemma = f[1:] - f[:-1] + square[:-1] / (2 * L)
    N = np.arange(1, size.steps + 1)
    least = np.minimum.accumulate(square)[:-1]
    E1 = least / theorem_bound("gradient-descent", N, smoothness=L, gap=float(f[0]))
    h = 1 / (2 * L)
    nf, ng, nx = along(gradient_descent(h, oracle=isotropic(0.5)), WAVY, size.noisy)
    shown = (nx[:-1] - nx[1:]) / h
    away = np.sum((ng[:-1] - shown) ** 2, axis=1)
    noisy = nf[1:] - nf[:-1] + h / 4 * np.sum(shown**2, axis=1) - h / 2 * away
    variance = 5 * 0.5**2
    mean = np.cumsum(np.sum(ng**2, axis=1))[:-1] / np.arange(1, size.noisy + 1)
    E3 = mean / theorem_bound(
        "sgd", np.arange(1, size.noisy + 1), smoothness=L, gap=float(nf[0]), variance=variance,
        step_size=h,
    )  # fmt: skip
    constant = _dominated()
    rows = {"exact": 0.0, "above": 0.5, "below": 0.5}
    E9 = [_relative(name, error, constant, size.steps) for name, error in rows.items()]
    fall = "rise of f less what the lemma allows, the largest"
    return table(
        {
            "": {
                "lemma": (lemma.max(), "loss", f"{fall}, of E1"),
                "noisy_lemma": (noisy.max(), "loss", f"{fall}, of E2"),
                "noise": (away.max() ** 0.5, "loss/parameter", "largest error of a gradient"),
                "ratio_E1": (E1.max(), "1", "least squared gradient over its bound"),
                "ratio_E3": (E3.max(), "1", "mean squared gradient of SGD over its bound"),
                "domination": (constant, "loss/parameter^2", "best constant mu of x^2 + 3 sin^2 x"),
                "curvature": (float(_steepest()), "loss/parameter^2", "largest f''"),
            },
            "error": {
                "ratio_E9": (E9, "1", "gap over its bound, the largest"),
            },
        },
        error=list(rows),
    )


def _dominated() -> float:
    """Inf f'^2/(2 f) of x^2 + 3 sin^2 x, from a grid and Brent's method."""

    def share(t: float) -> float:
        f = t**2 + 3 * np.sin(t) ** 2
        return float((2 * t + 3 * np.sin(2 * t)) ** 2 / (2 * f))

    grid = np.linspace(0.01, 12, 4001)
    low = grid[int(np.argmin([share(t) for t in grid]))]
    return float(scipy.optimize.minimize_scalar(share, bracket=(low - 0.01, low, low + 0.01)).fun)


def _steepest() -> float:
    one = Function(functions.wavy, jnp.ones(1))
    return float(functions.curve(one, jnp.linspace(-7, 7, 2001)).max())


def _relative(name: str, error: float, constant: float, steps: int) -> float:
    """Descent whose gradient is too long or too short by a share, beside E9."""
    one = Function(functions.wavy, jnp.array([6.0]))
    h = (1 - error) / (L * (1 + error) ** 2)
    size = h * {"exact": 1.0, "above": 1 + error, "below": 1 - error}[name]
    f, _, _ = along(gradient_descent(size), one, steps)
    bound = theorem_bound(
        "gradient-descent-dominated", np.arange(1, steps + 1), smoothness=L, domination=constant,
        gap=float(f[0]), error=error,
    )  # fmt: skip
    # Below rounding of where it began nothing is left to be held.
    return float(np.max(np.where(f[1:] > 1e-12 * f[0], f[1:] / bound, 0.0)))


@experiment("X2-classes")
def classes(lab: Lab) -> xr.Dataset:
    """Weak quasi-convexity: its constants on grids, and descent beside E10."""
    star = Function(functions.bent, jnp.ones(1))
    grid = jnp.linspace(0.001, 12, 4001)
    bent = _alpha(star, grid)
    flat = [_alpha(Function(functions.saturated, jnp.ones(1)), jnp.linspace(-R, R, 801))
            for R in RADII]  # fmt: skip
    f, _, _ = along(gradient_descent(0.5), Function(functions.saturated, jnp.array([3.0])), 400)
    ratio = f[1:] / theorem_bound(
        "gradient-descent-quasi-convex", np.arange(1, 401), smoothness=2.0, quasi_convexity=0.2,
        distance=3.0, gap=float(f[0]),
    )  # fmt: skip
    return table(
        {
            "": {
                "star": (bent, "1", "alpha of |x| (1 - exp(-|x|))"),
                "star_curvature": (
                    float(functions.curve(star, grid).min()), "loss/parameter^2", "its least f''",
                ),
                "ratio_E10": (ratio.max(), "1", "gap over its bound, the largest"),
            },
            "radius": {
                "alpha": (flat, "1", "alpha of t^2/(1 + t^2) up to a radius"),
                "alpha_theory": (2 / (1 + np.array(RADII) ** 2), "1", "2/(1 + R^2)"),
            },
        },
        radius=(list(RADII), "parameter", "radius"),
    )  # fmt: skip


def _alpha(f: Function, grid: Array) -> float:
    found = measured_assumptions(f, grid[:, None], jnp.zeros(1), 0.0)
    return next(a.value for a in found if a.name == "quasi_convexity")


@experiment("X2-accelerated", Draws(3), smoke={"draws": 1}, full={"draws": 10})
def accelerated(lab: Lab, size: Draws) -> xr.Dataset:
    """AGMsDR on a convex quadratic and on a function that is not convex, beside E5."""
    return over(_accelerated, draw=range(size.draws))


def _agmsdr(problem: Problem, steps: int) -> tuple[np.ndarray, Any]:
    def told(problem: Problem, state: State) -> Any:
        return problem.objective(state.params), state.memory

    start = problem.init(jax.random.key(0))
    loss, memory = paths(method("agmsdr"), problem, start, 1, steps, told, over=()).seen
    return np.asarray(loss), memory


def _accelerated(draw: int) -> xr.Dataset:
    steps, N = 80, np.arange(1, 81)
    convex = functions.ill_conditioned(draw)
    loss, memory = _agmsdr(convex, steps)
    R = float(jnp.linalg.norm(convex.start))
    bound = theorem_bound("agmsdr-convex", N, smoothness=1.0, distance=R)
    rough, other = _agmsdr(WAVY, steps)
    non_convex = theorem_bound("agmsdr", N, smoothness=L, gap=float(rough[0]))
    weights = np.asarray(memory.weight)
    return table(
        {
            "": {
                "ratio_convex": (np.max(loss[1:] / bound), "1", "gap over its bound, the largest"),
                "weight": (weights[-1], "parameter^2/loss", "A after 80 steps"),
                "weight_ratio": (
                    np.min(weights[1:] / (N**2 / 4)), "1", "A over N^2/(4 L), the least",
                ),
                "ratio_non_convex": (
                    np.max(np.asarray(other.squared_gradient)[1:] / non_convex), "1",
                    "least squared gradient over its bound, the largest",
                ),
                "rise": (max(np.diff(loss).max(), np.diff(rough).max()), "loss", "largest rise"),
            }
        }
    )  # fmt: skip


@experiment("X2-cubic", Draws(4), smoke={"draws": 1}, full={"draws": 10})
def cubic_newton(lab: Lab, size: Draws) -> xr.Dataset:
    """Cubic Newton from a saddle's slope, step by step beside E11."""
    return over(_cubic, draw=range(size.draws))


def _cubic(draw: int) -> xr.Dataset:
    problem, M, steps = functions.cubic(draw), 1.0, 14
    f, g, x = along(method("cubic-newton", hessian_lipschitz=M), problem, steps)
    low = np.linalg.eigvalsh(np.asarray(jax.vmap(jax.hessian(problem.objective))(jnp.asarray(x))))
    r = np.linalg.norm(np.diff(x, axis=0), axis=1)
    norm = np.linalg.norm(g, axis=1)
    bound = theorem_bound(
        "cubic-newton", np.arange(1, steps + 1), hessian_lipschitz=M, gap=float(f[0] - f.min())
    )
    small = norm <= 1e-10
    return table(
        {
            "": {
                "fall": (np.max(M / 12 * r**3 + np.diff(f)), "loss", "M r^3/12 less the fall"),
                "slope": (np.max(norm[1:] - r**2), "loss/parameter", "|grad f| less r^2"),
                "curve": (
                    np.max(-low[1:, 0] - 1.5 * r), "loss/parameter^2", "-lambda_min less 3 r/2",
                ),
                "ratio": (
                    np.max(np.minimum.accumulate(r) / bound), "1", "least step over its bound",
                ),
                "start": (low[0, 0], "loss/parameter^2", "least curvature at the start"),
                "end": (low[-1, 0], "loss/parameter^2", "least curvature at the end"),
                "steps": (
                    int(np.argmax(small)) if small.any() else np.nan, "1", "steps to 1e-10",
                ),
            }
        }
    )  # fmt: skip


@dataclass(frozen=True)
class Values:
    """How many random directions are drawn, and how long descent along them is followed."""

    samples: int = 20_000
    steps: int = 2000


@experiment("X2-values", Values(), smoke={"samples": 5000, "steps": 500})
def values_alone(lab: Lab, size: Values) -> xr.Dataset:
    """Gradients from values alone: differences, random directions, and descent along them."""
    problem, n = functions.cosh(), 20
    x = problem.init(jax.random.key(0))
    truth = jax.grad(problem.objective)(x)

    def error(h: float, central: bool) -> float:
        found = difference_gradient(problem, x, h, central)
        return float(jnp.linalg.norm(found - truth))

    steps = np.array(STEPS)
    found = {
        "forward": [error(h, False) for h in STEPS],
        "central": [error(h, True) for h in STEPS],
    }
    limits = {
        "forward": n**0.5 * steps / 2,
        "central": n**0.5 * functions.COSH_HESSIAN_LIPSCHITZ * steps**2 / 6,
    }
    ratios = {law: _growth(problem, x, law, size.samples) for law in ("normal", "sphere")}
    h = 1 / (4 * (n + 4))
    _, g, _ = along(gradient_descent(h, oracle=two_point()), problem, size.steps)
    N = np.arange(1, size.steps + 1)
    mean = np.cumsum(np.sum(g**2, axis=1))[:-1] / N
    gap = float(problem.objective(x) - problem.objective(0 * x))
    E14 = mean / theorem_bound("random-direction", N, smoothness=1.0, gap=gap, dimensions=n)
    unit = "loss/parameter"
    return table(
        {
            "": {
                "ratio_E14": (E14.max(), "1", "mean squared gradient over its bound"),
                **{
                    law: (ratio[0], "1", f"E|g|^2/|grad f|^2, directions {law}")
                    for law, ratio in ratios.items()
                },
                **{
                    f"{law}_error": (ratio[1], "1", "its standard error")
                    for law, ratio in ratios.items()
                },
            },
            "step": {
                **{k: (v, unit, f"error of {k} differences") for k, v in found.items()},
                **{f"{k}_bound": (v, unit, f"its bound, {k}") for k, v in limits.items()},
            },
        },
        step=(steps, "parameter", "step of the difference"),
    )


def _growth(problem: Function, x: Array, law: str, samples: int) -> tuple[float, float]:
    """E ||g||^2/||grad f||^2 over draws, and its standard error."""
    oracle = two_point(1e-5, law=law)
    draws = oracle.draws(problem, x, jax.random.key(3), samples)

    def square(draw: Any) -> Array:
        g = jax.grad(oracle.see(problem, x, draw).objective)(x)
        return jnp.sum(g**2)

    found = np.asarray(jax.jit(lambda d: jax.lax.map(square, d, batch_size=500))(draws))
    truth = float(jnp.sum(jax.grad(problem.objective)(x) ** 2))
    return found.mean() / truth, found.std(ddof=1) / np.sqrt(samples) / truth
