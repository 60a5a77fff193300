"""Linear methods on quadratics: phases, rates, transients, saddles, and what adapts to a basis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core import tree
from thalweg.driver.path import iterates, path_until
from thalweg.dynamics import State, gradient_descent, method, optimiser
from thalweg.dynamics.dynamics import Discrete
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import linear
from thalweg.problems import Problem, Quadratic, supervised
from thalweg.theory.quadratics.linear_methods import (
    PHASES,
    best_momentum,
    characteristic_roots,
    is_stable,
    linear_method,
    modal_trajectory,
    phase,
    spectral_radius,
    transient_bound,
    transition,
    tuned,
)

MOMENTUM = ("heavy-ball", "nesterov")
SHELF = {
    "gradient-descent": "tuned-descent", "heavy-ball": "heavy-ball",
    "nesterov": "nesterov-constant",
}  # fmt: skip
SMALL = 1e-6


def bowl(eigenvalues: Any, start: Any) -> Quadratic:
    """A quadratic with its minimum, or saddle, at 0."""
    lam = jnp.asarray(eigenvalues, float)
    return Quadratic(lam, jnp.zeros_like(lam), jnp.asarray(start, float))


@dataclass(frozen=True)
class Plane:
    """How many momenta are drawn, and curvatures for each."""

    momenta: int = 600
    curvatures: int = 100


@experiment("X1", Plane(), smoke={"momenta": 200}, full={"momenta": 6000})
def phases(lab: Lab, size: Plane) -> xr.Dataset:
    """Rules of stability and ripples beside eigenvalues of the matrix, at random (x, beta)."""
    rng = np.random.default_rng(0)
    # One momentum from each of as many equal parts, so that shares of the plane are even.
    parts = (np.arange(size.momenta) + rng.uniform(size=size.momenta)) / size.momenta
    beta = (3 * parts - 1.5)[:, None]
    x = rng.uniform(-1, 6, size=(size.momenta, size.curvatures))
    wrong, share, inside, modulus, ripples = [], [], [], [], []
    for name in MOMENTUM:
        rows = zip(beta, x, strict=True)
        r = np.linalg.eigvals([transition(linear_method(name, 1.0, b[0]), row) for b, row in rows])
        radius = np.abs(r).max(axis=-1)
        wrong.append(int(np.sum(is_stable(name, x, beta) != (radius < 1))))
        with np.errstate(divide="ignore"):
            edge = 2 * (1 + beta) / (1 + 2 * beta * (name == "nesterov"))
        odd = ((x > 0) & (x < edge)) != (radius < 1)
        share.append(odd.mean())
        inside.append(int(np.sum(odd & (beta >= 0) & (beta <= 1))))
        found = phase(name, x, beta) == PHASES.index("ripples")
        complex_pair = (np.abs(r.imag).max(axis=-1) > 0) & (radius < 1)
        ripples.append(int(np.sum(found != complex_pair)))
        product = beta * (1 - x) if name == "nesterov" else beta + 0 * x
        modulus.append(np.abs(radius[found] - np.sqrt(product[found])).max())
    grid, momenta = np.linspace(0.01, 4, 400), [0.0, 0.25, 0.5, 0.9]
    shown = [[spectral_radius(name, grid, b) for b in momenta] for name in MOMENTUM]
    return table(
        {
            "algorithm": {
                "wrong": (np.array(wrong, float), "1", "points at which the rule is wrong"),
                "ripples": (np.array(ripples, float), "1", "points at which ripples are wrong"),
                "modulus": (modulus, "1", "largest error of |r| where there are ripples"),
                "interval": (share, "1", "share of points at which the interval alone is wrong"),
                "inside": (np.array(inside, float), "1", "of them with beta from 0 to 1"),
            },
            "algorithm momentum scaled": {"radius": (shown, "1", "spectral radius")},
        },
        algorithm=list(MOMENTUM),
        scaled=(grid, "1", "step size times curvature"),
        momentum=(momenta, "1", "momentum"),
    )


@experiment("X2")
def saddle(lab: Lab) -> xr.Dataset:
    """A plateau that is a saddle: descent, Newton's method and the saddle-free one."""
    problem = bowl([-1.0, 2.0], [0.001, 4.0])
    w = iterates(gradient_descent(0.34), problem, 30)
    theory = modal_trajectory(
        linear_method("gradient-descent", 0.34), [-1.0, 2.0], problem.start, 30
    )
    loss = np.asarray(jax.vmap(problem.objective)(jnp.asarray(w)))
    near = bowl([-1.0, 2.0], [0.1, 1.0])
    ends = {name: iterates(method(name), near, 1)[-1] for name in ("newton", "saddle-free")}
    flat = np.abs(loss) < 0.05
    return table(
        {
            "": {
                "trajectory": (np.abs(w - theory).max(), "parameter", "largest |w - closed form|"),
                "stays": (float(flat.sum()), "1", "steps at which the loss is within 0.05 of 0"),
                "leaves": (float(np.argmax(loss < -1)), "1", "first step with a loss below -1"),
            },
            "coordinate": {
                "newton": (ends["newton"], "parameter", "Newton's step from (0.1, 1)"),
                "saddle_free": (ends["saddle-free"], "parameter", "the saddle-free step"),
            },
            "step": {"loss": (loss, "loss", "loss of gradient descent")},
        },
        step=np.arange(31),
        coordinate=[0, 1],
    )


@experiment("X5-theory")
def tuning(lab: Lab) -> xr.Dataset:
    """Rates at the tuned numbers, whether others do better, and transients; kappa = 100."""
    lam = np.geomspace(0.01, 1, 50)
    best = {name: tuned(name, 0.01, 1.0) for name in SHELF}
    radius = [
        spectral_radius(name, lam * t.step_size, t.momentum).max() for name, t in best.items()
    ]
    sizes, momenta = np.linspace(0.5, 4, 71), np.linspace(0.3, 0.95, 66)
    grid = spectral_radius(
        "heavy-ball", sizes[:, None, None] * lam, momenta[None, :, None] + 0 * lam
    ).max(axis=-1)
    at = np.unravel_index(int(np.argmin(grid)), grid.shape)
    # For one step size: no momentum of the grid beats that of the closed form.
    chosen = [(a * lam, best_momentum(a, 0.01, 1.0)) for a in sizes]
    formula = [spectral_radius("heavy-ball", *at).max() for at in chosen]
    by_step = np.max(formula - grid.min(axis=1))
    t = best["heavy-ball"]
    R = transition(linear_method("heavy-ball", t.step_size, t.momentum), lam)
    power, norms = np.eye(2), []
    for _ in range(299):
        power = R @ power
        norms.append(np.linalg.norm(power, 2, axis=(-2, -1)))
    n = np.arange(1, 300)
    bound = transient_bound(t.momentum, n)
    ratio = np.array(norms) / bound[:, None]
    coarse = np.max(bound / ((2 * n + 1) * np.sqrt(t.momentum) ** (n - 1)))
    rules = (best["gradient-descent"].step_size, 1.0)
    observed, error = np.array([_observed(h) for h in rules]).T
    roots = np.abs(characteristic_roots("heavy-ball", t.step_size * lam, t.momentum))
    spread = np.abs(roots - np.sqrt(t.momentum)).max()
    return table(
        {
            "": {
                "grid": (grid[at], "1", "least radius on a grid of heavy balls"),
                "grid_step": (sizes[at[0]], "parameter^2/loss", "its step size"),
                "grid_momentum": (momenta[at[1]], "1", "its momentum"),
                "by_step": (by_step, "1", "radius at the best momentum of a step over the grid's"),
                "ratio": (ratio.max(), "1", "norm of a power over its bound, the largest"),
                "late": (ratio[-1].max(), "1", "that ratio after 299 steps"),
                "coarse": (coarse, "1", "bound over (2 n + 1) rho^(n - 1), the largest"),
                "spread": (spread, "1", "largest | |r| - sqrt beta |"),
            },
            "algorithm": {"radius": (radius, "1", "spectral radius at the tuned numbers")},
            "rule": {
                "rate": (observed, "1", "observed factor a step of gradient descent"),
                "trajectory": (error, "1", "relative error of its closed form"),
            },
        },
        algorithm=list(SHELF),
        rule=["2/(L + mu)", "1/L"],
    )  # fmt: skip


def _observed(step_size: float) -> tuple[float, float]:
    """Factor a step of descent on eigenvalues 0.01 ... 1 late on; error of the closed form."""
    lam, steps = np.linspace(0.01, 1, 50), 600
    w = iterates(gradient_descent(step_size), bowl(lam, np.ones(50)), steps)
    exact = modal_trajectory(linear_method("gradient-descent", step_size), lam, np.ones(50), steps)
    size = np.linalg.norm(w, axis=1)
    error = np.linalg.norm(w - exact, axis=1) / np.linalg.norm(exact, axis=1)
    return float((size[-1] / size[-101]) ** 0.01), float(error.max())


def _arrived(problem: Problem, state: State) -> Array:
    return jnp.linalg.norm(state.params) <= SMALL * jnp.linalg.norm(problem.init(jax.random.key(0)))


@eqx.filter_jit
def _steps(dynamics: Discrete, problem: Problem, most: Any) -> Array:
    start = problem.init(jax.random.key(0))
    return path_until(dynamics, problem, start, _arrived, most).step


@experiment("X5")
def counts(lab: Lab) -> xr.Dataset:
    """Steps of tuned methods until the error has fallen to 1e-6."""

    def one(condition: float) -> xr.Dataset:
        problem = bowl(np.geomspace(1 / condition, 1, 50), np.ones(50))
        chosen = [method(n, smoothness=1.0, convexity=1 / condition) for n in SHELF.values()]
        found = [float(_steps(d, problem, jnp.asarray(100_000))) for d in chosen]
        sizes = [np.linalg.norm(iterates(d, problem, 150), axis=1) / 50**0.5 for d in chosen]
        return table(
            {
                "algorithm": {"steps": (found, "1", "steps to a relative error of 1e-6")},
                "algorithm step": {"error": (sizes, "1", "relative error")},
            },
            algorithm=list(SHELF),
            step=np.arange(151),
        )

    return over(one, condition=([100.0, 1e4], "1", "condition number"))


@dataclass(frozen=True)
class Sweep:
    """How finely learning rates are tuned, and how many rotations are drawn."""

    rates: int = 41
    rotations: int = 3


ADAPTIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "gd": ("sgd", {}),
    "adagrad": ("adagrad", {"initial": 0.0, "epsilon": 1e-10}),
    "rmsprop": ("rmsprop", {}),
    "adam": ("adam", {}),
}
MOST = 4000


@experiment("X7", Sweep(), smoke={"rates": 21, "rotations": 1}, full={"rates": 81, "rotations": 10})
def adaptive(lab: Lab, size: Sweep) -> xr.Dataset:
    """Adaptive methods on one spectrum, in its eigenbasis and rotated, each tuned."""
    lam = np.geomspace(1e-3, 1, 10)
    drawn = [np.random.default_rng(s).normal(size=(10, 10)) for s in range(size.rotations)]
    turned = [np.linalg.qr(matrix)[0] for matrix in drawn]
    rates = np.geomspace(1e-3, 2.2, size.rates)
    steps = {}
    for name, (kind, options) in ADAPTIVE.items():
        many = tree.stacked([optimiser(kind, float(r), **options) for r in rates])
        found = [_tuned_steps(many, lam, Q) for Q in (np.eye(10), *turned)]
        steps[name] = (found[0], float(np.median(found[1:])))
    both = np.array(list(steps.values()))
    spectra = [np.full(10, 1.0), np.geomspace(1e-3, 1, 10), np.geomspace(1, 1e3, 10)]
    bowls = [bowl(s, np.linspace(1, 2, 10)) for s in spectra]
    adagrad = optimiser("adagrad", 0.3, initial=0.0, epsilon=1e-30)
    w, other = (
        np.array([iterates(how, problem, 200) for problem in bowls])
        for how in (adagrad, gradient_descent(3e-4))
    )
    plain = np.abs(other - other[0]).max()
    return table(
        {
            "": {
                "apart": (np.abs(w - w[0]).max(), "parameter", "how far AdaGrad's paths differ"),
                "moved": (np.abs(w[0, -1] - w[0, 0]).min(), "parameter", "how far they go"),
                "apart_plain": (plain, "parameter", "how far plain descent's differ"),
            },
            "algorithm": {
                "axis": (both[:, 0], "1", "steps to a relative loss of 1e-6, eigenbasis"),
                "rotated": (both[:, 1], "1", "steps to it, rotated, the median"),
                "advantage": (both[:, 1] / both[:, 0], "1", "steps rotated over steps in it"),
            },
        },
        algorithm=list(ADAPTIVE),
    )  # fmt: skip


@eqx.filter_jit
def _swept(dynamics: Discrete, problem: Problem, start: Any) -> Array:
    target = SMALL * problem.objective(start)

    def low(problem: Problem, state: State) -> Array:
        return problem.objective(state.params) <= target

    found = eqx.filter_vmap(lambda one: path_until(one, problem, start, low, MOST))(dynamics)
    return jnp.where(jax.vmap(problem.objective)(found.params) <= target, found.step, MOST)


def _tuned_steps(many: Discrete, lam: np.ndarray, Q: np.ndarray) -> float:
    """The fewest steps over all learning rates; the start has components 1 in the eigenbasis."""
    A = 10**0.5 * np.sqrt(lam)[:, None] * Q.T
    problem = supervised(linear([]), (A, np.zeros((10, 1))))
    start = jax.tree.map(
        lambda w: jnp.asarray(Q @ np.ones(10)).reshape(w.shape), problem.init(jax.random.key(0))
    )
    return float(_swept(many, problem, start).min())
