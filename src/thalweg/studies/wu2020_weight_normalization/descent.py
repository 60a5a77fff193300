"""Experiments of weight normalisation in steps, all draws and initial scales side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.tree import Params
from thalweg.dynamics import gradient_descent
from thalweg.dynamics.dynamics import Discrete, State
from thalweg.dynamics.reparametrised_projected import ReparametrisedDescent, TwoPhaseProjected
from thalweg.lab.study import Lab, variable
from thalweg.models import Model, linear
from thalweg.models.scale_and_direction import ScaledDirection, weight_normalised
from thalweg.problems import Supervised
from thalweg.problems.losses import as_loss
from thalweg.studies.wu2020_weight_normalization.flow import Draw, draw, system
from thalweg.theory.linear_nets import weight_normalisation as theory

SIZE = (20, 50)
SEEDS = (0, 1, 2, 3, 4)
SCALES = (0.1, 0.5, 1.0, 2.0, 4.0)
FULL_SEEDS = tuple(range(20))
FULL_SCALES = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
ALGORITHMS = ("rPGD", "WN")
STEP_SIZES = (0.02, 0.005)
CURVE = tuple(np.geomspace(0.07, 5.0, 60))  # of g0, for the theory alone
END = 400.0
RECORDS = 100
DESCENT_STEPS = 2000
ALIGNED = 1e-13  # ||w_perp|| at which phase I ends
PHASE_ONE_MOST = 20_000
PHASE_TWO_STEPS = 20_000
QUOTED = (2.156, 0.7660)  # g* and ||w0_perp|| of a draw whose random stream is not recorded
PHASE_SCALES = (0.3, 0.9, 1.5)
PHASE_STEPS = 25
TWO_PHASE_STEPS = 200
NORM_STEPS = 500
CONDITIONS = (1.0, 10.0, 100.0)
RELATIVE_SCALES = (0.05, 0.2, 0.5, 1.0, 2.0)


class Lanes(NamedTuple):
    """Runs side by side, a leading axis on every leaf.

    Attributes:
        A: (lane, m, d).
        y: (lane, m).
        w0: (lane, d), of norm 1.
        g0: (lane,).
    """

    A: Float[Array, "lane m d"]
    y: Float[Array, "lane m"]
    w0: Float[Array, "lane d"]
    g0: Float[Array, " lane"]


class Path(NamedTuple):
    """Scale and direction at the records, (lane, record) and (lane, record, d)."""

    g: Float[Array, "lane record"]
    w: Float[Array, "lane record d"]


def lanes_of(draws: Sequence[Draw], scales: np.ndarray) -> Lanes:
    """Every draw from each of its scales (draw, scale), the scale running fastest."""
    A, y, w0 = (
        jnp.asarray(np.repeat([getattr(d, part) for d in draws], scales.shape[1], axis=0))
        for part in ("A", "y", "w0")
    )
    return Lanes(A, y, w0, jnp.asarray(scales.ravel()))


def least_squares(model: Model, lane: Lanes) -> Supervised:
    """1/2 ||A x - y||^2 of one lane, x the one row of weights of a linear model."""
    loss = as_loss("squared-error")
    return Supervised(model, loss, lane.A, lane.y[:, None], reduction="sum")


def pair(lane: Lanes) -> Params:
    """Where one lane starts: the parameters of a weight-normalised linear model."""
    return [{"weight": ScaledDirection(lane.g0[None], lane.w0[None])}]


def stepping(dynamics: Discrete, problem: Supervised) -> Callable[[State], State]:
    """One step; none of the dynamics here draws anything."""
    return lambda state: dynamics.step(problem, state, jax.random.key(0))[0]


@eqx.filter_jit
def follow(dynamics: Discrete, lanes: Lanes, every: Array, records: int) -> Path:
    """Each lane by its own entry of the dynamics, recorded every so many steps.

    Args:
        dynamics: Its arrays have a leading axis (lane,).
        lanes: Where the runs start, and on what.
        every: Steps between records; an array, so that another number compiles nothing.
        records: How many records after the first.
    """
    projected = not isinstance(dynamics, ReparametrisedDescent) or dynamics.projected
    model = weight_normalised(linear([]), sphere=projected)

    def one(dynamics: Discrete, lane: Lanes) -> Path:
        problem = least_squares(model, lane)
        step = stepping(dynamics, problem)

        def record(state: State, _: None) -> tuple[State, Path]:
            (layer,) = state.params
            told = Path(layer["weight"].scale[0], layer["weight"].direction[0])
            return jax.lax.fori_loop(0, every, lambda _, s: step(s), state), told

        first = dynamics.init(problem, pair(lane))
        return jax.lax.scan(record, first, None, length=records + 1)[1]

    return eqx.filter_vmap(one)(dynamics, lanes)


def reparametrised(algorithm: str, step_size: float, lanes: Lanes) -> ReparametrisedDescent:
    """One of the two algorithms with equal step sizes, for every lane."""
    eta = jnp.full(lanes.g0.shape, step_size)
    return ReparametrisedDescent(eta, eta, projected=algorithm == "rPGD")


@jax.jit
def aligned_after(lanes: Lanes, step_size: Array, basis: Array, most: int) -> Array:
    """Steps of rPGD with the scale held until ||w_perp|| < 1e-13, at most `most`, (lane,)."""
    model = weight_normalised(linear([]), sphere=True)

    def one(lane: Lanes, eta: Array, basis: Array) -> Array:
        dynamics = ReparametrisedDescent(eta, jnp.zeros(()), projected=True)
        problem = least_squares(model, lane)

        def going(state: State) -> Array:
            w = state.params[0]["weight"].direction[0]
            aside = jnp.linalg.norm(w - basis.T @ (basis @ w))
            return (aside >= ALIGNED) & (state.step < most)

        first = dynamics.init(problem, pair(lane))
        return jax.lax.while_loop(going, stepping(dynamics, problem), first).step

    return jax.vmap(one)(lanes, step_size, basis)


@jax.jit
def plain_descent(lanes: Lanes) -> Float[Array, "lane d"]:
    """Gradient descent on x from g0 w0, eta = 1/lambda_max."""

    def one(lane: Lanes) -> Array:
        problem = least_squares(linear([]), lane)
        dynamics = gradient_descent(1 / jnp.linalg.norm(lane.A, 2) ** 2)
        step = stepping(dynamics, problem)
        first = dynamics.init(problem, [{"weight": lane.g0 * lane.w0[None]}])
        last = jax.lax.fori_loop(0, DESCENT_STEPS, lambda _, s: step(s), first)
        return last.params[0]["weight"][0]

    return jax.vmap(one)(lanes)


def two_phase_end(draws: Sequence[Draw], lanes: Lanes, first: np.ndarray) -> np.ndarray:
    """The x after two-phase rPGD whose phase I holds the scales `first` (draw, scale)."""
    most, norms = (
        np.repeat([getattr(at.target, name) for at in draws], first.shape[1])
        for name in ("most", "norm")
    )
    held = lanes._replace(g0=jnp.asarray(first.ravel()))
    basis = jnp.asarray(np.repeat([at.target.basis for at in draws], first.shape[1], axis=0))
    eta1 = 1 / (held.g0**2 * most)
    switch = aligned_after(held, eta1, basis, PHASE_ONE_MOST)
    eta2 = jnp.asarray(0.2 / (most * np.maximum(1, norms**2)))
    dynamics = TwoPhaseProjected(eta1, switch, eta2, jnp.asarray(0.2 / most))
    path = follow(dynamics, held, jnp.max(switch) + PHASE_TWO_STEPS, 1)
    return np.asarray(path.g[:, -1, None] * path.w[:, -1]).reshape(*first.shape, -1)


def scale_sweep(lab: Lab) -> xr.Dataset:
    """X2: where plain descent, rPGD, WN and two-phase rPGD end, against the initial scale."""
    seeds, scales = (FULL_SEEDS, FULL_SCALES) if lab.full else (SEEDS, SCALES)
    m, d = SIZE
    draws = [draw(seed, m, d, 3 / np.sqrt(d)) for seed in seeds]
    g0 = np.tile(scales, (len(draws), 1))
    lanes = lanes_of(draws, g0)
    paths = _paths(draws, lanes, g0.shape)
    norms = np.array([at.target.norm for at in draws])
    first = np.minimum(g0, norms[:, None] / 2)
    at, unit = ("draw", "g0"), "parameter"
    predicted = _limits(draws, scales)
    curves = _limits(draws, CURVE)
    ends = {
        "descent": (np.asarray(plain_descent(lanes)), "||x - x*||, gradient descent"),
        "two_phase": (two_phase_end(draws, lanes, first), "||x - x*||, two-phase rPGD"),
        "held_large": (two_phase_end(draws, lanes, g0), "the same with phase I at g0 itself"),
    }
    found = {
        name: variable(at, distances(draws, x.reshape(*g0.shape, -1)), unit, words)
        for name, (x, words) in ends.items()
    }
    found |= {
        "limit": variable(at, predicted[0], unit, "||x - x*||, flow by E7"),
        "limit_curve": variable(("draw", "scale"), curves[0], unit, "||x - x*||, flow by E7"),
        "descent_curve": variable(("draw", "scale"), curves[1], unit, "the same, plain descent"),
        "quoted": variable("quoted_g0", _quoted(), unit, "||x - x*|| by E7, g* = 2.156"),
        "perp": variable("draw", [at.perp for at in draws], "1", "||w0_perp||"),
        "norm": variable("draw", norms, unit, "g* = ||x*||"),
    }
    coords = {"draw": list(seeds), "g0": list(scales), "quoted_g0": list(SCALES)}
    return xr.Dataset(found, coords | {"scale": list(CURVE)}).merge(paths)


def _limits(draws: Sequence[Draw], scales: Sequence[float]) -> np.ndarray:
    """E7 and the end of plain descent, (2, draw, scale)."""
    found = [[theory.wn_limit(*at[:3], g)[1:] for g in scales] for at in draws]
    return np.moveaxis(np.array(found), -1, 0)


def _quoted() -> list[float]:
    """E7 for the draw that the specification quotes: two numbers of it decide."""
    squares = [theory.limit_scale_squared(*QUOTED, g) for g in SCALES]
    return [math.sqrt(G - QUOTED[0] ** 2) for G in squares]


def _paths(draws: Sequence[Draw], lanes: Lanes, shape: tuple[int, ...]) -> xr.Dataset:
    """Both algorithms at both step sizes: distance at the end, invariant and norm along the run."""
    rows = []
    for algorithm in ALGORITHMS:
        for eta in STEP_SIZES:
            every = round(END / eta / RECORDS)
            path = follow(reparametrised(algorithm, eta, lanes), lanes, jnp.asarray(every), RECORDS)
            g = np.asarray(path.g).reshape(*shape, -1)
            w = np.asarray(path.w).reshape(*shape, RECORDS + 1, -1)
            rows.append(
                (distances(draws, unit_product(g, w)[:, :, -1]), ratio(draws, g, w), norm(w))
            )
    distance, kept, length = (
        np.reshape(part, (len(ALGORITHMS), len(STEP_SIZES), *np.shape(part[0])))
        for part in zip(*rows, strict=True)
    )
    runs = ("algorithm", "eta", "draw", "g0")
    time = variable("time", np.linspace(0, END, RECORDS + 1), "step size", "training time")
    return xr.Dataset(
        {
            "distance": variable(runs, distance, "parameter", "||x - x*|| after the last step"),
            "invariant": variable((*runs, "time"), kept, "1", "invariant over its start, less 1"),
            "length": variable((*runs, "time"), length, "1", "||w||"),
        },
        {"algorithm": list(ALGORITHMS), "eta": list(STEP_SIZES), "time": time},
    )


def norm(w: np.ndarray) -> np.ndarray:
    """||w|| over the last axis."""
    return np.linalg.norm(w, axis=-1)


def unit_product(g: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The product g w/||w||."""
    return (g / norm(w))[..., None] * w


def distances(draws: Sequence[Draw], x: np.ndarray) -> np.ndarray:
    """||x - x*|| for x of shape (draw, scale, d)."""
    return norm(x - np.array([at.target.solution for at in draws])[:, None])


def ratio(draws: Sequence[Draw], g: np.ndarray, w: np.ndarray) -> np.ndarray:
    """||u_perp|| e^(g^2/2) over its start, less 1, u = w/||w||."""
    rows = []
    for at, scale, direction in zip(draws, g, w, strict=True):
        u = unit_product(np.ones_like(scale), direction)
        size = norm(theory.wn_invariant(u, scale, at.target.null_projector, 1.0))
        rows.append(size / size[:, :1] - 1)
    return np.array(rows)


def norm_growth(lab: Lab) -> xr.Dataset:
    """X2-steps: ||w||^2 of weight normalisation step by step, beside eta^2 ||dh/dw||^2."""
    eta = STEP_SIZES[0]
    at = draw(SEEDS[0], *SIZE, 3 / np.sqrt(SIZE[1]))
    lanes = lanes_of([at], np.array([SCALES]))
    path = follow(reparametrised("WN", eta, lanes), lanes, jnp.asarray(1), NORM_STEPS)
    slope = theory.wn_gradients(at.A, at.y, path.w, path.g).direction
    squares = np.sum(np.asarray(path.w) ** 2, axis=-1)
    expected = squares[:, :-1] + eta**2 * np.sum(slope**2, axis=-1)[:, :-1]
    dims = ("g0", "step")
    return xr.Dataset(
        {
            "squared": variable(dims, squares[:, 1:], "1", "||w||^2 after the step"),
            "expected": variable(dims, expected, "1", "||w||^2 before, plus eta^2 ||dh/dw||^2"),
        },
        {"g0": list(SCALES), "step": np.arange(1, NORM_STEPS + 1)},
    )


def orthonormal(seed: int) -> Draw:
    """A draw of X2 whose rows are made orthonormal, A A^T = I; x stays."""
    at = draw(seed, *SIZE, 3 / np.sqrt(SIZE[1]))
    basis = np.linalg.qr(at.A.T)[0].T
    return system(basis, basis @ at.target.solution, at.w0)


def orthonormal_rows(lab: Lab) -> xr.Dataset:
    """X3: phase I with eta = 1/g0^2 beside its closed form, and both phases from g0 = g*/2."""
    seeds = FULL_SEEDS if lab.full else SEEDS
    draws = [orthonormal(seed) for seed in seeds]
    norms = np.array([at.target.norm for at in draws])[:, None]
    g0 = norms * PHASE_SCALES
    lanes = lanes_of(draws, g0)
    held = ReparametrisedDescent(1 / lanes.g0**2, jnp.zeros_like(lanes.g0), projected=True)
    w = np.asarray(follow(held, lanes, jnp.asarray(1), PHASE_STEPS).w).reshape(
        *g0.shape, PHASE_STEPS + 1, -1
    )
    perp = np.array([norm(at.target.split(rows).null) for at, rows in zip(draws, w, strict=True)])
    steps = np.arange(PHASE_STEPS + 1)
    closed = [[theory.phase1_closed_form(at.perp, r, steps) for r in PHASE_SCALES] for at in draws]
    runs, unit = ("draw", "relative_scale", "step"), "parameter"
    both = _both_phases(draws, norms / 2)
    return xr.Dataset(
        {
            "perp": variable(runs, perp, "1", "||w_perp|| in phase I"),
            "perp_theory": variable(runs, closed, "1", "||w_perp|| in phase I, E10"),
            "gap": variable(("draw", "later"), both[0], unit, "g* - g in phase II"),
            "gap_theory": variable(("draw", "later"), both[1], unit, "g* - g in phase II, E11"),
            "final": variable("draw", both[2], unit, "||x - x*|| after both phases"),
            "norm": variable("draw", norms[:, 0], unit, "g* = ||x*||"),
        },
        {
            "draw": list(seeds),
            "relative_scale": list(PHASE_SCALES),
            "step": steps,
            "later": np.arange(both[0].shape[1]),
        },
    )


def _both_phases(draws: Sequence[Draw], g0: np.ndarray) -> tuple[np.ndarray, ...]:
    """The gap g* - g in phase II, measured and in closed form, and the last ||x - x*||."""
    lanes, rate, switch = lanes_of(draws, g0), 0.2, TWO_PHASE_STEPS // 3
    same = jnp.full(len(draws), rate)
    dynamics = TwoPhaseProjected(1 / lanes.g0**2, jnp.full(len(draws), switch), same, same)
    path = follow(dynamics, lanes, jnp.asarray(1), TWO_PHASE_STEPS)
    g, w = np.asarray(path.g), np.asarray(path.w)
    norms = np.array([at.target.norm for at in draws])
    steps = np.arange(TWO_PHASE_STEPS + 1 - switch)
    closed = [
        full - theory.phase2_closed_form(half, full, rate, steps)
        for half, full in zip(g0[:, 0], norms, strict=True)
    ]
    final = distances(draws, unit_product(g, w)[:, None, -1])[:, 0]
    return norms[:, None] - g[:, switch:], np.array(closed), final


def conditioned(condition: float, m: int, d: int) -> Draw:
    """Singular values of A from 1 to condition^(-1/2), evenly in the logarithm; Gaussian x, w0."""
    rng = np.random.default_rng(0)
    left, _, right = np.linalg.svd(rng.normal(size=(m, d)), full_matrices=False)
    A = (left * np.geomspace(1, condition**-0.5, m)) @ right
    return system(A, A @ (3 * rng.normal(size=d) / np.sqrt(d)), rng.normal(size=d))


def condition_sweep(lab: Lab) -> xr.Dataset:
    """X2-condition: larger systems whose A A^T has a given condition number, both algorithms."""
    m, d = (100, 500) if lab.full else (40, 100)
    eta = 0.05
    draws = [conditioned(condition, m, d) for condition in CONDITIONS]
    norms = np.array([at.target.norm for at in draws])[:, None]
    g0 = norms * RELATIVE_SCALES
    lanes = lanes_of(draws, g0)
    steps = round(20 * max(CONDITIONS) / eta)
    ends = []
    for algorithm in ALGORITHMS:
        path = follow(reparametrised(algorithm, eta, lanes), lanes, jnp.asarray(steps), 1)
        x = unit_product(np.asarray(path.g[:, -1]), np.asarray(path.w[:, -1]))
        ends.append(distances(draws, x.reshape(*g0.shape, -1)) / norms)
    predicted = [_limits([at], row)[:, 0] for at, row in zip(draws, g0, strict=True)]
    limit, plain = np.stack(predicted, axis=1) / norms
    dims = ("condition", "relative_scale")
    return xr.Dataset(
        {
            "distance": variable(
                ("algorithm", *dims), ends, "1", "||x - x*||/g* after the last step"
            ),
            "limit": variable(dims, limit, "1", "||x - x*||/g*, flow by E7"),
            "descent": variable(dims, plain, "1", "||x - x*||/g*, plain descent"),
        },
        {
            "algorithm": list(ALGORITHMS),
            "condition": list(CONDITIONS),
            "relative_scale": list(RELATIVE_SCALES),
        },
    )
