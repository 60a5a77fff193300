"""Valleys with a known floor: exits from tubes, variances, and the outward push of a sphere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.tree import Params
from thalweg.curvature import AffineSet, affine_set
from thalweg.driver.path import Path, path, paths
from thalweg.dynamics import Discrete, Monitored, gradient_descent, monitored, noisy
from thalweg.dynamics.dynamics import State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import mean_and_error, over, table
from thalweg.oracles import gaussian, isotropic
from thalweg.problems import Function, Problem, Quadratic
from thalweg.theory.landscape.stagnation import noisy_variance, sphere_offset, staying_probability
from thalweg.trajectory import staying_share

ETA, SIGMA, START = 0.1, 0.5, 0.2
CURVATURES = (1.0, 2.0)  # c and M
EVERY = 50  # steps from one look at the sphere's radius to the next
SETTLED = 1000  # steps until the radius is stationary


def quadratic(stiff: int, dimensions: int) -> Quadratic:
    """Curvatures from c to M in the first directions, a floor in the others; START away from it."""
    h = np.zeros(dimensions)
    h[:stiff] = np.linspace(*CURVATURES, stiff)
    start = np.where(np.arange(dimensions) < stiff, START / stiff**0.5, 0.0)
    return Quadratic(jnp.asarray(h), jnp.zeros(dimensions), jnp.asarray(start))


def separately_noisy(stiff: int, dimensions: int) -> Discrete:
    """Descent with the noise of stiff and of flat directions from keys of their own."""

    def across(x: Array, xi: Array) -> Array:
        return SIGMA * jnp.concatenate([xi, jnp.zeros(dimensions - stiff)])

    def along(x: Array, xi: Array) -> Array:
        return SIGMA * jnp.concatenate([jnp.zeros(stiff), xi])

    flat = gradient_descent(ETA, oracle=gaussian(along, columns=dimensions - stiff))
    return noisy(flat, gaussian(across, columns=stiff))


def ends(problem: Problem, state: State) -> tuple[Params, Array]:
    """Where a run is, and when it left each tube."""
    return state.params, state.memory.exit


def tubes(stiff: int, dimensions: int, size: Valley) -> tuple[np.ndarray, np.ndarray]:
    """Of many runs the last point (run, D) and the step of each exit (run, radius)."""
    floor = affine_set(jnp.zeros(dimensions), jnp.eye(dimensions)[:, :stiff])
    problem = quadratic(stiff, dimensions)
    seen = monitored(separately_noisy(stiff, dimensions), floor, size.radii)
    keys = jax.random.split(jax.random.key(stiff), size.runs)
    found = paths(seen, problem, problem.start, size.steps, 1, ends, keys, over=("key",))
    last, exits = found.seen
    return np.asarray(last)[:, -1], np.asarray(exits)[:, -1]


@dataclass(frozen=True)
class Valley:
    """Runs of each codimension, and the tubes."""

    runs: int = 1000
    steps: int = 500
    stiff: tuple[int, ...] = (2, 5, 10)
    radii: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    dimensions: int = 40
    wider: int = 80
    times: tuple[int, ...] = (10, 20, 50, 100, 200, 350, 500)


@experiment("X1", Valley(), smoke={"stiff": (2,), "wider": 44}, full={"runs": 16_000})
def exits_from_tubes(lab: Lab, size: Valley) -> xr.Dataset:
    """How many runs left tubes about a flat floor, beside the bound, in 40 and 80 dimensions."""

    def one(stiff: int) -> xr.Dataset:
        k = stiff
        last, exits = tubes(k, size.dimensions, size)
        bound = [
            [
                staying_probability(T, radius, START, k, ETA, SIGMA, *CURVATURES).probability
                for T in size.times
            ]
            for radius in size.radii
        ]
        shares = [staying_share(column, size.times, size.steps) for column in exits.T]
        flat = np.sqrt(np.mean(np.sum(last[:, k:] ** 2, axis=1)))
        variance = (size.dimensions - k) * noisy_variance(0.0, ETA, SIGMA, size.steps)
        known = {
            "staying": ([s["staying"] for s in shares], "1", "share of runs that stayed"),
            "staying_error": ([s["staying_error"] for s in shares], "1", "its standard error"),
            "staying_theory": (bound, "1", "lower bound of the probability of staying"),
        }
        there = {"flat": (flat, "parameter", "rms distance along the floor")}
        there["flat_theory"] = (float(variance) ** 0.5, "parameter", "free diffusion along it")
        return table(
            {"radius step": known, "": there},
            radius=(list(size.radii), "parameter", "radius of the tube"),
            step=list(size.times),
        )

    found = over(one, stiff=(list(size.stiff), "1", "stiff directions"))
    k = size.stiff[0]
    alone, among = (tubes(k, d, size) for d in (size.dimensions, size.wider))
    other = int(np.sum(~((alone[1] == among[1]) | np.isnan(alone[1]) & np.isnan(among[1]))))
    gap = float(np.max(np.abs(alone[0][:, :k] - among[0][:, :k])))
    return found.assign(
        other_exits=((), other, {"units": "1", "long_name": "exits that the dimension moved"}),
        stiff_gap=((), gap, {"units": "parameter", "long_name": "stiff ends in 40 less 80"}),
    )


@dataclass(frozen=True)
class Draws:
    """Random valleys, and the runs in each."""

    valleys: int = 60
    runs: int = 1000
    seed: int = 1


@experiment("X1-random", Draws(), smoke={"runs": 250}, full={"runs": 8000, "valleys": 200})
def random_valleys(lab: Lab, size: Draws) -> xr.Dataset:
    """The bound and the share of exits in valleys, step sizes and tubes that are drawn."""
    rng, most = np.random.default_rng(size.seed), 5
    rows = []
    for _ in range(size.valleys):
        n, M = int(rng.integers(1, most + 1)), rng.uniform(1, 1.5)
        drawn = np.concatenate([[1.0], rng.uniform(1, M, n - 1)])
        e, T = rng.uniform(0.05, 0.3), int(rng.integers(20, 201))
        reach = rng.uniform(1.5, 3.5) * np.sqrt(np.sum(noisy_variance(drawn, e, SIGMA)))
        rows.append((n, M, np.pad(drawn, (0, most - n)), e, T, reach))
    k, top, h, eta, steps, radius = (np.array(column) for column in zip(*rows, strict=True))
    stiff = h > 0
    start = np.where(stiff, 0.2 * radius[:, None] / k[:, None] ** 0.5, 0.0)
    valleys = jax.vmap(lambda h, x: Quadratic(h, jnp.zeros(most), x))(h, start)
    # Directions that are not stiff have a zero column: they are along the floor.
    normals = np.eye(most) * stiff[:, :, None]

    def watch(eta: Array, normal: Array, radius: Array) -> Discrete:
        descent = gradient_descent(eta, oracle=isotropic(SIGMA))
        return Monitored(descent, AffineSet(jnp.zeros(most), normal), radius)

    watched = eqx.filter_vmap(watch)(eta, normals, radius[:, None])
    keys = jax.random.split(jax.random.key(size.seed), size.runs)
    exits = np.asarray(all_exits(watched, valleys, jnp.asarray(start), keys, 200))
    left = np.mean(exits <= steps[:, None], axis=1)
    share = (left * size.runs + 0.5) / (size.runs + 1)
    bounds = [
        1 - staying_probability(T, r, 0.2 * r, n, e, SIGMA, 1.0, M).probability
        for T, r, n, e, M in zip(steps, radius, k, eta, top, strict=True)
    ]
    return table(
        {
            "valley": {
                "exits": (left, "1", "share of runs that left"),
                "exits_error": (np.sqrt(share * (1 - share) / size.runs), "1", "standard error"),
                "exits_theory": (bounds, "1", "bound of the exit probability"),
            }
        },
        valley=(np.arange(size.valleys), "1", "valley"),
    )


@eqx.filter_jit
def all_exits(
    dynamics: Discrete, problems: Problem, starts: Array, keys: Array, steps: int
) -> Float[Array, "valley run"]:
    """The step at which each run left its tube, one valley after the other."""
    arrays, rest = eqx.partition((dynamics, problems), eqx.is_array)

    def one(given: Any) -> Array:
        mine, start = given
        dynamics, problem = eqx.combine(mine, rest)

        def run(key: Array) -> Path:
            return path(dynamics, problem, start, steps, 1, ends, key)

        return jax.vmap(run)(keys).seen[1][:, -1, 0]

    return jax.lax.map(one, (arrays, starts))


@dataclass(frozen=True)
class Chains:
    """Chains in a valley of three curvatures."""

    chains: int = 4000
    first: int = 100
    last: int = 300


@experiment("X4", Chains(), smoke={"chains": 2000}, full={"chains": 16_000})
def stationary_variances(lab: Lab, size: Chains) -> xr.Dataset:
    """Variances across a valley, over chains and steps, beside those of the recursion."""
    h = np.array([1.0, 1.5, 2.0])
    problem = Quadratic(jnp.asarray(h), jnp.zeros(3), jnp.zeros(3))
    descent = gradient_descent(ETA, oracle=isotropic(SIGMA))
    keys = jax.random.split(jax.random.key(4), size.chains)
    gaps = np.array([size.first, *[20] * ((size.last - size.first) // 20)])
    found = paths(descent, problem, problem.start, gaps, key=keys, over=("key",))
    squares = np.mean(np.asarray(found.seen)[:, 1:] ** 2, axis=1)
    return table(
        {
            "curvature": {
                **mean_and_error(
                    "variance", squares, "parameter^2", "variance, steps 100 to 300"
                ),
                "variance_theory": (noisy_variance(h, ETA, SIGMA), "parameter^2", "stationary"),
            }
        },
        curvature=(h, "loss/parameter^2", "curvature"),
    )  # fmt: skip


def sphere(x: Float[Array, " d"]) -> Float[Array, ""]:
    """(|x| - 1)^2/2."""
    return 0.5 * (jnp.linalg.norm(x) - 1) ** 2


def radius(problem: Problem, state: State) -> Array:
    """|x|."""
    return jnp.linalg.norm(state.params)


@dataclass(frozen=True)
class Sphere:
    """Dimensions of the sphere's space, runs in each, their steps and step size."""

    dimensions: tuple[int, ...] = (2, 10, 50)
    runs: int = 200
    steps: int = 4000
    eta: float = 0.01


@experiment("X2", Sphere(), smoke={"dimensions": (2, 10)}, full={"runs": 1600})
def pushed_outward(lab: Lab, size: Sphere) -> xr.Dataset:
    """The mean distance from a sphere of minima, which tangential noise leaves outward."""

    def one(dimension: int) -> xr.Dataset:
        problem = Function(sphere, start=jnp.eye(dimension)[0])
        descent = gradient_descent(size.eta, oracle=isotropic(SIGMA))
        keys = jax.random.split(jax.random.key(dimension), size.runs)
        found = paths(
            descent, problem, problem.start, EVERY, size.steps // EVERY, radius, keys, over=("key",)
        )
        r = np.asarray(found.seen)[:, SETTLED // EVERY :] - 1
        means = r.mean(1)
        told = {
            **mean_and_error("offset", means, "parameter", "mean distance outward"),
            "offset_theory": (
                sphere_offset(dimension, size.eta, SIGMA, 1.0), "parameter", "leading order",
            ),
            "spread": (r.std(), "parameter", "standard deviation of the distance"),
            "spread_theory": (
                float(noisy_variance(1.0, size.eta, SIGMA)) ** 0.5, "parameter", "of a valley",
            ),
        }  # fmt: skip
        return table({"": told})

    return over(one, dimension=(list(size.dimensions), "1", "dimension"))
