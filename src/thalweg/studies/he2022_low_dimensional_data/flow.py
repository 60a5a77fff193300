"""Experiments of low-dimensional data with the reduced flow of a deep linear net."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.theory.linear_nets import linear_modes
from thalweg.theory.linear_nets.low_dimensional import (
    closest_norm,
    frozen_invariant,
    normal_decay,
    normal_decay_rate,
    plane_loss,
    reduced_flow,
    settled_normal_norm,
)

FOREVER = np.array([1e7])
CASES = {"clean": (2.0, 0.0), "noisy": (1.1, 0.2)}  # a and the noise
STARTS = [(x, y) for x in (-1.5, -0.5, 0.5) for y in (-1.0, -0.4, 0.1, 0.7)]
DIRECTION = np.array([0.6, 0.8])
WRONG_SIDE = np.array([-0.8, 0.4])
UNIT = "output/input"
LOOSER = "distance to a looser solution"
DEPTH = ("1", "depth L")
SCALE = (UNIT, "norm of the start")


@dataclass(frozen=True)
class Paths:
    """Of the portrait: how many starts and records."""

    starts: int = 12
    records: int = 150


@experiment("X1", Paths(), smoke={"starts": 3}, full={"records": 400})
def portrait(lab: Lab, size: Paths) -> xr.Dataset:
    """Paths of the reduced flow at depth 2 around the origin, clean and noisy."""
    times = np.concatenate([[0.0], np.geomspace(0.01, 100.0, size.records)])

    def path(case: str, draw: int) -> xr.Dataset:
        a, noise = CASES[case]
        flow = reduced_flow(plane_loss(a, 1, noise), STARTS[draw], 2, times)
        along = {
            "w_x": (flow.w[:, 0], UNIT, "tangent part w_x"),
            "w_y": (flow.w[:, 1], UNIT, "normal part w_y"),
            "error": (flow.error, UNIT, LOOSER),
        }
        return table({"time": along}, time=times)

    return over(path, case=list(CASES), draw=range(size.starts))


@dataclass(frozen=True)
class Grid:
    """Depths, and draws or norms of the start at each."""

    depths: tuple[int, ...]
    draws: int = 1
    scales: tuple[float, ...] = ()


@experiment("X1-invariant", Grid((1, 2, 3, 5), draws=3), full={"draws": 10})
def invariant(lab: Lab, size: Grid) -> xr.Dataset:
    """What clean data conserve along the reduced flow, in two and three dimensions.

    Largest changes of the invariant and of the direction of w_y over the times.
    """

    def changes(depth: int, draw: int) -> xr.Dataset:
        rng = np.random.default_rng(draw)
        X = rng.normal(size=(20, 2))
        loss = plane_loss(rng.normal(size=2), 3, correlation=X.T @ X / 20)
        w = reduced_flow(loss, rng.normal(size=5), depth, np.linspace(0.0, 20.0, 41)).w
        norms = np.linalg.norm(w[:, 2:], axis=1)
        values = frozen_invariant(np.linalg.norm(w, axis=1), norms, depth)
        directions = w[:, 2:] / norms[:, None]
        turn = np.max(np.linalg.norm(directions - directions[0], axis=1))
        found = {
            "variation": (np.ptp(values) / values[0], "1", "relative variation of the invariant"),
            "turn": (turn, "1", "change of the direction of w_y"),
        }
        return table({"": found})

    return over(changes, depth=(size.depths, *DEPTH), draw=range(size.draws))


@experiment("X1-closest", Grid((1, 2, 3, 4, 5)), full={"depths": tuple(range(1, 9))})
def closest(lab: Lab, size: Grid) -> xr.Dataset:
    """How near to the origin a start on the wrong side comes, with and without noise; ||a|| = 1."""
    whole, normal = (float(np.linalg.norm(v)) for v in (WRONG_SIDE, WRONG_SIDE[1:]))

    def past_origin(noise: float, depth: int) -> xr.Dataset:
        loss = plane_loss(1.0, 1, noise)
        flow = reduced_flow(loss, WRONG_SIDE, depth, FOREVER, until=lambda w: 0.5 - w[0])
        found = {
            "closest": (flow.closest, UNIT, "least ||w||"),
            "closest_error": (flow.closest_error, UNIT, LOOSER),
        }
        return table({"": found})

    theory = [closest_norm(whole, normal, L) for L in size.depths]
    beside = table({"depth": {"closest_theory": (theory, UNIT, "least ||w|| by E6, clean")}})
    return over(past_origin, noise=(0.0, 0.3), depth=(size.depths, *DEPTH)).merge(beside)


@experiment(
    "X3",
    Grid((1, 2, 3, 5), scales=(1e-4, 1e-3, 1e-2, 1e-1)),
    smoke={"scales": (1e-3, 1e-2)},
    full={"scales": tuple(np.geomspace(1e-4, 1e-1, 13).tolist())},
)
def initial_scale(lab: Lab, size: Grid) -> xr.Dataset:
    """The normal part that is left of a small start, for every depth; ||a|| = 1.

    The flow goes on until ||w_x - a|| falls through 1e-9.
    """

    def settled(depth: int, scale: float) -> xr.Dataset:
        flow = reduced_flow(
            plane_loss(1.0, 1), scale * DIRECTION, depth, FOREVER, lambda w: abs(w[0] - 1) - 1e-9
        )
        theory = settled_normal_norm(scale, scale * DIRECTION[1], 1.0, depth)
        found = {
            "normal": (abs(flow.w[-1, 1]), UNIT, "||w_y|| after training"),
            "normal_error": (flow.error[-1], UNIT, LOOSER),
            "normal_theory": (theory, UNIT, "||w_y|| after training, by E5"),
        }
        return table({"": found})

    return over(settled, depth=(size.depths, *DEPTH), scale=(size.scales, *SCALE))


@experiment(
    "X1-escape",
    Grid((2, 3, 4, 6), scales=(1e-6, 1e-5, 1e-4)),
    smoke={"scales": (1e-6, 1e-4)},
    full={"scales": tuple(np.geomspace(1e-6, 1e-2, 17).tolist())},
)
def escape(lab: Lab, size: Grid) -> xr.Dataset:
    """The time that a small aligned start takes to half of ||a|| = 1."""

    def short_of_half(w: np.ndarray) -> float:
        return 0.5 - float(np.linalg.norm(w))

    def timed(depth: int, scale: float) -> xr.Dataset:
        start, loss = np.array([scale, 0.0]), plane_loss(1.0, 1)
        flow = reduced_flow(loss, start, depth, FOREVER, short_of_half, atol=1e-9 * scale)
        theory, words = linear_modes.deep_mode_time(depth, scale, 0.5, 1.0)[0], "time to half"
        found = {
            "time": (flow.stopped, "step size", f"{words} of the target"),
            "time_error": (flow.stopped_error, "step size", LOOSER),
            "time_theory": (theory, "step size", f"{words}, by quadrature"),
        }
        return table({"": found})

    return over(timed, depth=(size.depths, *DEPTH), scale=(size.scales, *SCALE))


@dataclass(frozen=True)
class Late:
    """Depths, and how long and how often the rate is read from time 800 on."""

    depths: tuple[int, ...] = (1, 2, 3, 4)
    end: float = 1200.0
    records: int = 41


@experiment(
    "X1-noise",
    Late(),
    smoke={"depths": (2, 3), "end": 900.0, "records": 11},
    full={"depths": (1, 2, 3, 4, 5, 6)},
)
def noise_rate(lab: Lab, size: Late) -> xr.Dataset:
    """How fast noise of variance 0.01 drives w_y to zero from (1, 0.3), a = 1.5."""
    a, noise = 1.5, 0.1
    late = np.linspace(800.0, size.end, size.records)
    times = np.concatenate([np.linspace(0.0, 780.0, 40), late])

    def decay(depth: int) -> xr.Dataset:
        flow = reduced_flow(plane_loss(a, 1, noise), (1.0, 0.3), depth, times, atol=1e-16)
        normal, last = abs(flow.w[:, 1]), times >= late[0]
        rate = -np.polyfit(times[last], np.log(normal[last]), 1)[0]
        theory, gap = normal_decay_rate(a, noise, depth), abs(flow.w[last, 0] - a)
        through = normal_decay(normal[last][0], a, noise, depth).at(times - late[0])
        return table(
            {
                "time": {
                    "normal": (normal, UNIT, "||w_y||"),
                    "normal_error": (flow.error, UNIT, LOOSER),
                    "normal_theory": (through, UNIT, "E8 through the late times"),
                },
                "": {
                    "rate": (rate, "1/step size", "fitted rate at late times"),
                    "rate_theory": (theory, "1/step size", "rate by E8"),
                    "tangent_gap": (np.max(gap), UNIT, "largest |w_x - a| at late times"),
                    "normal_late": (normal[last][0], UNIT, "||w_y|| at late times"),
                },
            },
            time=times,
        )

    return over(decay, depth=(size.depths, *DEPTH))
