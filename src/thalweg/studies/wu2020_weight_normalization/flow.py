"""Experiments of weight normalisation in continuous time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from thalweg.lab.study import Lab, variable
from thalweg.theory.limits.minimum_norm import MinimumNorm, minimum_norm
from thalweg.theory.linear_nets import weight_normalisation as theory

SCALES = (-1.0, 0.1, 1.0, 2.0, 4.0)
RATIOS = (0.25, 1.0, 4.0)
OTHER_DRAWS = (1, 2, 3)
FULL_OTHER_DRAWS = tuple(range(1, 21))
END = 4000.0
ATOL = 1e-16  # of the solver: w_perp falls to 1e-9, and its digits are wanted
SMALLEST = 1e-20  # of the first loss; below it the error of the solver rules
TIMES = np.concatenate([[0.0], np.geomspace(1e-2, END, 120)])


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


def flow(lab: Lab) -> xr.Dataset:
    """X1: the flow from five scales at three ratios of the learning rates."""
    at = draw(0, 10, 30, 1.0)
    rows = [xr.concat([_path(at, g0, c) for c in RATIOS], "c") for g0 in SCALES]
    return xr.concat(rows, "g0").assign_coords(g0=list(SCALES), c=list(RATIOS))


def flow_draws(lab: Lab) -> xr.Dataset:
    """X1-draws: the same at c = 1 from other draws."""
    seeds = FULL_OTHER_DRAWS if lab.full else OTHER_DRAWS
    rows = [
        xr.concat([_path(draw(seed, 10, 30, 1.0), g0, 1.0) for g0 in SCALES], "g0")
        for seed in seeds
    ]
    return xr.concat(rows, "draw").assign_coords(g0=list(SCALES), draw=list(seeds))


def _path(at: Draw, g0: float, c: float) -> xr.Dataset:
    """One flow of the squared error beside its invariant, its limit and its bounds."""
    path = theory.wn_flow(at.A, at.y, at.w0, g0, c, TIMES, atol=ATOL)
    limit = theory.wn_limit(at.A, at.y, at.w0, g0, c)
    loss = 0.5 * np.sum((path.x @ at.A.T - at.y) ** 2, axis=1)
    distance = np.linalg.norm(path.x - at.target.solution, axis=1)
    perp = np.linalg.norm(at.target.split(path.x).null, axis=1)
    bound = theory.rate_bound(path, at.A, at.y).at(TIMES)
    bound = np.where(loss > SMALLEST * loss[0], bound, np.nan)
    floor = theory.least_scale_squared(at.perp, g0, c)
    return xr.Dataset(
        {
            "g": variable("time", path.g, "parameter", "scale g"),
            "loss": variable("time", loss, "loss", "loss"),
            "loss_bound": variable(
                "time", bound, "loss", "bound on the loss while above 1e-20, E9"
            ),
            "distance": variable("time", distance, "parameter", "||x - x*||"),
            "perp": variable("time", perp, "parameter", "||x_perp||"),
            "drift": variable("time", drift(at, path, g0, c), "1", "relative drift of w_perp e^G"),
            "floor": variable((), floor, "parameter^2", "lower bound on g^2, E8"),
            "limit": variable((), limit.scale_squared, "parameter^2", "g(inf)^2, root of E7"),
            "limit_distance": variable((), limit.distance, "parameter", "||x(inf) - x*||, E7"),
            "descent_distance": variable(
                (), limit.descent_distance, "parameter", "||x(inf) - x*|| of plain descent"
            ),
        },
        {"time": variable("time", TIMES, "step size", "training time")},
    )


def drift(at: Draw, path: theory.WNFlow, g0: float, c: float) -> np.ndarray:
    """||I(t) - I(0)||/||I(0)||, I = w_perp exp(g^2/(2c))."""
    kept = theory.wn_invariant(path.w, path.g, at.target.null_projector, c, g0)
    return np.linalg.norm(kept - kept[0], axis=1) / np.linalg.norm(kept[0])


def other_flows(lab: Lab) -> xr.Dataset:
    """X1-others: another loss, and weight normalisation from ||w0|| = 2."""
    at, g0, cs = draw(0, 10, 30, 1.0), 1.0, (0.5, 1.0)
    huber, long, wrong = [], [], []
    for c in cs:
        path = theory.wn_flow(at.A, at.y, at.w0, g0, c, TIMES, slope=theory.pseudo_huber_slope)
        huber.append(drift(at, path, g0, c))
        w0 = 2 * at.w0
        path = theory.wn_flow(at.A, at.y, w0, g0, c, TIMES)
        long.append(drift(at, path, g0, theory.effective_ratio(c, w0)))
        wrong.append(drift(at, path, g0, c))
    dims = ("c", "time")
    return xr.Dataset(
        {
            "huber": variable(dims, huber, "1", "relative drift, pseudo-Huber loss"),
            "long": variable(dims, long, "1", "relative drift, ||w0|| = 2"),
            "wrong": variable(dims, wrong, "1", "the same with c for c ||w0||^2"),
        },
        {"c": list(cs), "time": variable("time", TIMES, "step size", "training time")},
    )
