"""Experiments of weight normalisation in steps, all draws and initial scales side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.tree import Params
from thalweg.driver.path import path_until, paths
from thalweg.dynamics import GradientDescent
from thalweg.dynamics.dynamics import Discrete, State
from thalweg.dynamics.reparametrised_projected import ReparametrisedDescent, TwoPhaseProjected
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import Model, linear
from thalweg.models.scale_and_direction import ScaledDirection, weight_normalised
from thalweg.problems import Problem, Supervised
from thalweg.problems.losses import as_loss
from thalweg.studies.wu2020_weight_normalization.flow import Draw, draw, system
from thalweg.theory.linear_nets import weight_normalisation as theory

EQUATIONS, UNKNOWNS = 20, 50
SCALES = (0.1, 0.5, 1.0, 2.0, 4.0)
ALGORITHMS = ("rPGD", "WN")
STEP_SIZES = (0.02, 0.005)
CURVE = tuple(np.geomspace(0.07, 5.0, 60))  # of g0, for the theory alone
ALIGNED = 1e-13  # ||w_perp|| at which phase I ends
QUOTED = (2.156, 0.7660)  # g* and ||w0_perp|| of a draw whose random stream is not recorded
RELATIVE_SCALES = (0.05, 0.2, 0.5, 1.0, 2.0)


class Lanes(NamedTuple):
    """Runs side by side, a leading axis on every leaf; every w0 has norm 1."""

    A: Float[Array, "lane m d"]
    y: Float[Array, "lane m"]
    w0: Float[Array, "lane d"]
    g0: Float[Array, " lane"]


class Run(NamedTuple):
    """Scale and direction at the records, (lane, record) and (lane, record, d)."""

    g: np.ndarray
    w: np.ndarray


def lanes_of(draws: Sequence[Draw], scales: np.ndarray) -> Lanes:
    """Every draw from each of its scales (draw, scale), the scale running fastest."""
    A, y, w0 = (
        jnp.asarray(np.repeat([getattr(d, part) for d in draws], scales.shape[1], axis=0))
        for part in ("A", "y", "w0")
    )
    return Lanes(A, y, w0, jnp.asarray(scales.ravel()))


def least_squares(model: Model, lanes: Lanes) -> Supervised:
    """1/2 ||A x - y||^2 in every lane, x the one row of weights of a linear model."""
    loss = as_loss("squared-error")

    def one(lane: Lanes) -> Supervised:
        return Supervised(model, loss, lane.A, lane.y[:, None], reduction="sum")

    return eqx.filter_vmap(one)(lanes)


def pairs(lanes: Lanes) -> Params:
    """Where the lanes start: the parameters of a weight-normalised linear model."""
    return [{"weight": ScaledDirection(lanes.g0[:, None], lanes.w0[:, None])}]


def pair_of(problem: Problem, state: State) -> Run:
    """Scale and direction of one lane."""
    weight = state.params[0]["weight"]
    return Run(weight.scale[0], weight.direction[0])


def follow(dynamics: Discrete, lanes: Lanes, every: Any, records: int) -> Run:
    """Each lane by its own entry of the dynamics, recorded every so many steps."""
    projected = not isinstance(dynamics, ReparametrisedDescent) or dynamics.projected
    model = weight_normalised(linear([]), sphere=projected)
    found = paths(
        dynamics, least_squares(model, lanes), pairs(lanes), every, records, pair_of,
        over=("dynamics", "problem", "params"),
    )  # fmt: skip
    return Run(*map(np.asarray, found.seen))


def reparametrised(algorithm: str, step_size: float, lanes: Lanes) -> ReparametrisedDescent:
    """One of the two algorithms with equal step sizes, for every lane."""
    eta = jnp.full(lanes.g0.shape, step_size)
    return ReparametrisedDescent(eta, eta, projected=algorithm == "rPGD")


@jax.jit
def aligned_after(lanes: Lanes, step_size: Array, basis: Array, most: Any) -> Array:
    """Steps of rPGD with the scale held until ||w_perp|| < 1e-13, at most `most`, (lane,)."""
    model = weight_normalised(linear([]), sphere=True)

    def one(problem: Supervised, params: Params, eta: Array, basis: Array) -> Array:
        def aligned(problem: Problem, state: State) -> Array:
            w = pair_of(problem, state).w
            return jnp.linalg.norm(w - basis.T @ (basis @ w)) < ALIGNED

        dynamics = ReparametrisedDescent(eta, jnp.zeros(()), projected=True)
        return path_until(dynamics, problem, params, aligned, most).step

    return eqx.filter_vmap(one)(least_squares(model, lanes), pairs(lanes), step_size, basis)


def plain_descent(lanes: Lanes, steps: int) -> np.ndarray:
    """Gradient descent on x from g0 w0, eta = 1/lambda_max; its last x, (lane, d)."""
    eta = 1 / jnp.linalg.norm(lanes.A, 2, axis=(1, 2)) ** 2
    start = [{"weight": (lanes.g0[:, None] * lanes.w0)[:, None]}]
    found = paths(
        GradientDescent(eta), least_squares(linear([]), lanes), start, steps, 1,
        over=("dynamics", "problem", "params"),
    )  # fmt: skip
    return np.asarray(found.seen[0]["weight"][:, -1, 0])


@dataclass(frozen=True)
class Sweep:
    """How many draws, which scales, and how long everything runs."""

    draws: int = 5
    scales: tuple[float, ...] = SCALES
    end: float = 400.0
    records: int = 100
    descent_steps: int = 2000
    phase_one_most: int = 20_000
    phase_two_steps: int = 20_000

    @property
    def systems(self) -> list[Draw]:
        """The draws."""
        size = 3 / np.sqrt(UNKNOWNS)
        return [draw(seed, EQUATIONS, UNKNOWNS, size) for seed in range(self.draws)]


SHORT = {"draws": 4, "end": 60.0, "records": 10, "phase_one_most": 1000, "phase_two_steps": 3000}
LONG = {"draws": 20, "scales": (0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)}


def two_phase_end(
    draws: Sequence[Draw], lanes: Lanes, first: np.ndarray, size: Sweep
) -> np.ndarray:
    """The x after two-phase rPGD whose phase I holds the scales `first` (draw, scale)."""
    most, norms = (
        np.repeat([getattr(at.target, name) for at in draws], first.shape[1])
        for name in ("most", "norm")
    )
    held = lanes._replace(g0=jnp.asarray(first.ravel()))
    basis = jnp.asarray(np.repeat([at.target.basis for at in draws], first.shape[1], axis=0))
    eta1 = 1 / (held.g0**2 * most)
    switch = aligned_after(held, eta1, basis, size.phase_one_most)
    eta2 = jnp.asarray(0.2 / (most * np.maximum(1, norms**2)))
    dynamics = TwoPhaseProjected(eta1, switch, eta2, jnp.asarray(0.2 / most))
    run = follow(dynamics, held, jnp.max(switch) + size.phase_two_steps, 1)
    return (run.g[:, -1, None] * run.w[:, -1]).reshape(*first.shape, -1)


@experiment("X2", Sweep(), smoke=SHORT, full=LONG)
def scale_sweep(lab: Lab, size: Sweep) -> xr.Dataset:
    """Where plain descent, rPGD, WN and two-phase rPGD end, against the initial scale."""
    draws = size.systems
    g0 = np.tile(size.scales, (len(draws), 1))
    lanes = lanes_of(draws, g0)
    norms = np.array([at.target.norm for at in draws])
    first, unit = np.minimum(g0, norms[:, None] / 2), "parameter"
    (limit, _), (limit_curve, descent_curve) = (limits(draws, s) for s in (size.scales, CURVE))

    def apart(x: np.ndarray, words: str) -> tuple[np.ndarray, str, str]:
        return distances(draws, x.reshape(*g0.shape, -1)), unit, f"||x - x*||, {words}"

    ends = {
        "descent": apart(plain_descent(lanes, size.descent_steps), "gradient descent"),
        "two_phase": apart(two_phase_end(draws, lanes, first, size), "phase I at min(g0, g*/2)"),
        "held_large": apart(two_phase_end(draws, lanes, g0, size), "phase I at g0"),
        "limit": (limit, unit, "||x - x*||, flow by E7"),
    }
    groups: dict[str, Any] = {
        "draw g0": ends,
        "draw scale": {
            "limit_curve": (limit_curve, unit, "||x - x*||, flow by E7"),
            "descent_curve": (descent_curve, unit, "||x - x*||, descent in theory"),
        },
        "quoted_g0": {"quoted": (quoted(), unit, "||x - x*|| by E7, g* = 2.156")},
        "draw": {
            "perp": ([at.perp for at in draws], "1", "||w0_perp||"),
            "norm": (norms, unit, "g* = ||x*||"),
        },
    }
    scale = "initial scale g0"
    found = table(
        groups,
        draw=range(size.draws),
        g0=(list(size.scales), unit, scale),
        scale=(CURVE, unit, scale),
        quoted_g0=SCALES,
    )
    return found.merge(both_algorithms(draws, lanes, g0.shape, size))


def limits(draws: Sequence[Draw], scales: Sequence[float]) -> np.ndarray:
    """E7 and the end of plain descent, (2, draw, scale)."""
    found = [[theory.wn_limit(*at[:3], g)[1:] for g in scales] for at in draws]
    return np.moveaxis(np.array(found), -1, 0)


def quoted() -> list[float]:
    """E7 for the draw that the specification quotes: two numbers of it decide."""
    squares = [theory.limit_scale_squared(*QUOTED, g) for g in SCALES]
    return [math.sqrt(G - QUOTED[0] ** 2) for G in squares]


def both_algorithms(
    draws: Sequence[Draw], lanes: Lanes, shape: tuple[int, ...], size: Sweep
) -> xr.Dataset:
    """Both algorithms at both step sizes: distance at the end, invariant and norm along the run."""
    times = np.linspace(0, size.end, size.records + 1)

    def one(algorithm: str, eta: float) -> xr.Dataset:
        every = round(size.end / eta / size.records)
        run = follow(reparametrised(algorithm, eta, lanes), lanes, every, size.records)
        g, w = run.g.reshape(*shape, -1), run.w.reshape(*shape, size.records + 1, -1)
        last = distances(draws, unit_product(g, w)[:, :, -1])
        along = {
            "invariant": (ratio(draws, g, w), "1", "invariant over its start, less 1"),
            "length": (norm(w), "1", "||w||"),
        }
        ends = {"distance": (last, "parameter", "||x - x*|| after the last step")}
        return table({"draw g0": ends, "draw g0 time": along}, time=times)

    return over(one, algorithm=ALGORITHMS, eta=STEP_SIZES)


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


@dataclass(frozen=True)
class Steps:
    """How many steps are looked at one by one."""

    steps: int = 500


@experiment("X2-steps", Steps(), smoke={"steps": 30})
def norm_growth(lab: Lab, size: Steps) -> xr.Dataset:
    """||w||^2 of weight normalisation step by step, beside eta^2 ||dh/dw||^2."""
    eta, (at,) = STEP_SIZES[0], Sweep(draws=1).systems
    lanes = lanes_of([at], np.array([SCALES]))
    run = follow(reparametrised("WN", eta, lanes), lanes, 1, size.steps)
    slope = theory.wn_gradients(at.A, at.y, run.w, run.g).direction
    squares = np.sum(run.w**2, axis=-1)
    expected = squares[:, :-1] + eta**2 * np.sum(slope**2, axis=-1)[:, :-1]
    found = {
        "squared": (squares[:, 1:], "1", "||w||^2 after the step"),
        "expected": (expected, "1", "||w||^2 before, plus eta^2 ||dh/dw||^2"),
    }
    return table({"g0 step": found}, g0=SCALES, step=range(1, size.steps + 1))


@dataclass(frozen=True)
class Systems:
    """Systems of a given condition number."""

    equations: int = 40
    unknowns: int = 100
    conditions: tuple[float, ...] = (1.0, 10.0, 100.0)


def conditioned(condition: float, m: int, d: int) -> Draw:
    """Singular values of A from 1 to condition^(-1/2), evenly in the logarithm; Gaussian x, w0."""
    rng = np.random.default_rng(0)
    left, _, right = np.linalg.svd(rng.normal(size=(m, d)), full_matrices=False)
    A = (left * np.geomspace(1, condition**-0.5, m)) @ right
    return system(A, A @ (3 * rng.normal(size=d) / np.sqrt(d)), rng.normal(size=d))


@experiment(
    "X2-condition",
    Systems(),
    smoke={"equations": 8, "unknowns": 20, "conditions": (1.0,)},
    full={"equations": 100, "unknowns": 500},
)
def condition_sweep(lab: Lab, size: Systems) -> xr.Dataset:
    """Larger systems whose A A^T has a given condition number, both algorithms."""
    eta = 0.05
    draws = [conditioned(c, size.equations, size.unknowns) for c in size.conditions]
    norms = np.array([at.target.norm for at in draws])[:, None]
    g0 = norms * RELATIVE_SCALES
    lanes = lanes_of(draws, g0)
    steps = round(20 * max(size.conditions) / eta)
    ends = []
    for algorithm in ALGORITHMS:
        run = follow(reparametrised(algorithm, eta, lanes), lanes, steps, 1)
        x = unit_product(run.g[:, -1], run.w[:, -1])
        ends.append(distances(draws, x.reshape(*g0.shape, -1)) / norms)
    rows = [limits([at], row)[:, 0] for at, row in zip(draws, g0, strict=True)]
    limit, plain = np.stack(rows, axis=1) / norms
    predicted = {
        "limit": (limit, "1", "||x - x*||/g*, flow by E7"),
        "descent": (plain, "1", "||x - x*||/g*, plain descent"),
    }
    measured = {"distance": (ends, "1", "||x - x*||/g* after the last step")}
    dims = "condition relative_scale"
    return table(
        {f"algorithm {dims}": measured, dims: predicted},
        algorithm=ALGORITHMS,
        condition=size.conditions,
        relative_scale=(RELATIVE_SCALES, "1", "initial scale g0/g*"),
    )
