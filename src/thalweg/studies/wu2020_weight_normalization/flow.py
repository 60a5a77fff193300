"""Experiments of weight normalisation in continuous time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr

from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.theory.limits.minimum_norm import MinimumNorm, minimum_norm
from thalweg.theory.linear_nets import weight_normalisation as theory

SCALES = (-1.0, 0.1, 1.0, 2.0, 4.0)
ATOL = 1e-16  # of the solver: w_perp falls to 1e-9, and its digits are wanted
SMALLEST = 1e-20  # of the first loss; below it the error of the solver rules


class Draw(NamedTuple):
    """An underdetermined system and a direction to start from.

    Attributes:
        A: (m, d).
        y: (m,).
        w0: (d,), norm 1.
        target: The solution of least norm.
    """

    A: np.ndarray
    y: np.ndarray
    w0: np.ndarray
    target: MinimumNorm

    @property
    def perp(self) -> float:
        """||w_perp|| of the start."""
        return float(np.linalg.norm(self.target.split(self.w0).null))


def draw(seed: int, m: int, d: int, size: float) -> Draw:
    """A_ij ~ N(0, 1/d), x ~ size N(0, I), w0 uniform on the sphere, in this order; y = A x."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(m, d)) / np.sqrt(d)
    x = size * rng.normal(size=d)
    w0 = rng.normal(size=d)
    return system(A, A @ x, w0)


def system(A: np.ndarray, y: np.ndarray, w0: np.ndarray) -> Draw:
    """A draw from its parts."""
    return Draw(A, y, w0 / np.linalg.norm(w0), minimum_norm(A, y))


@dataclass(frozen=True)
class Flow:
    """Draws of a system of 10 equations for 30 unknowns, ratios of the rates, and times."""

    draws: tuple[int, ...] = (0,)
    ratios: tuple[float, ...] = (0.25, 1.0, 4.0)
    end: float = 4000.0
    records: int = 120

    @property
    def times(self) -> np.ndarray:
        """Zero, then evenly in the logarithm."""
        return np.concatenate([[0.0], np.geomspace(1e-2, self.end, self.records)])


@experiment("X1", Flow(), smoke={"end": 400.0, "records": 30, "ratios": (1.0, 4.0)})
def flow(lab: Lab, size: Flow) -> xr.Dataset:
    """The flow from five scales at three ratios of the learning rates."""
    at = draw(size.draws[0], 10, 30, 1.0)
    return over(lambda g0, c: _path(at, g0, c, size.times), g0=SCALES, c=size.ratios)


@experiment(
    "X1-draws",
    Flow(draws=(1, 2, 3)),
    smoke={"draws": (1,), "end": 400.0, "records": 30},
    full={"draws": tuple(range(1, 21))},
)
def flow_draws(lab: Lab, size: Flow) -> xr.Dataset:
    """The same at c = 1 from other draws."""

    def one(draw: int, g0: float) -> xr.Dataset:
        return _path(systems[draw], g0, 1.0, size.times)

    systems = {seed: draw(seed, 10, 30, 1.0) for seed in size.draws}
    return over(one, draw=size.draws, g0=SCALES)


def _path(at: Draw, g0: float, c: float, times: np.ndarray) -> xr.Dataset:
    """One flow of the squared error beside its invariant, its limit and its bounds."""
    path = theory.wn_flow(at.A, at.y, at.w0, g0, c, times, atol=ATOL)
    limit = theory.wn_limit(at.A, at.y, at.w0, g0, c)
    loss = 0.5 * np.sum((path.x @ at.A.T - at.y) ** 2, axis=1)
    distance = np.linalg.norm(path.x - at.target.solution, axis=1)
    perp = np.linalg.norm(at.target.split(path.x).null, axis=1)
    bound = theory.rate_bound(path, at.A, at.y).at(times)
    bound = np.where(loss > SMALLEST * loss[0], bound, np.nan)
    floor = theory.least_scale_squared(at.perp, g0, c)
    along = {
        "g": (path.g, "parameter", "scale g"),
        "loss": (loss, "loss", "loss"),
        "loss_bound": (bound, "loss", "bound on the loss while above 1e-20, E9"),
        "distance": (distance, "parameter", "||x - x*||"),
        "perp": (perp, "parameter", "||x_perp||"),
        "drift": (drift(at, path, g0, c), "1", "relative drift of w_perp e^G"),
    }
    ends = {
        "floor": (floor, "parameter^2", "lower bound on g^2, E8"),
        "limit": (limit.scale_squared, "parameter^2", "g(inf)^2, root of E7"),
        "limit_distance": (limit.distance, "parameter", "||x(inf) - x*||, E7"),
        "descent_distance": (limit.descent_distance, "parameter", "||x(inf) - x*||, plain descent"),
    }
    return table({"time": along, "": ends}, time=times)


def drift(at: Draw, path: theory.WNFlow, g0: float, c: float) -> np.ndarray:
    """||I(t) - I(0)||/||I(0)||, I = w_perp exp(g^2/(2c))."""
    kept = theory.wn_invariant(path.w, path.g, at.target.null_projector, c, g0)
    return np.linalg.norm(kept - kept[0], axis=1) / np.linalg.norm(kept[0])


@experiment("X1-others", Flow(ratios=(0.5, 1.0)), smoke={"end": 400.0, "records": 30})
def other_flows(lab: Lab, size: Flow) -> xr.Dataset:
    """Another loss, and weight normalisation from ||w0|| = 2."""
    at, g0 = draw(size.draws[0], 10, 30, 1.0), 1.0

    def one(c: float) -> xr.Dataset:
        w0, slope = 2 * at.w0, theory.pseudo_huber_slope
        huber = theory.wn_flow(at.A, at.y, at.w0, g0, c, size.times, slope=slope)
        long = theory.wn_flow(at.A, at.y, w0, g0, c, size.times)
        right = drift(at, long, g0, theory.effective_ratio(c, w0))
        drifts = {
            "huber": (drift(at, huber, g0, c), "1", "relative drift, pseudo-Huber loss"),
            "long": (right, "1", "relative drift, ||w0|| = 2"),
            "wrong": (drift(at, long, g0, c), "1", "the same with c for c ||w0||^2"),
        }
        return table({"time": drifts}, time=size.times)

    return over(one, c=size.ratios)
