"""Experiments on the infinitely wide net: at temperatures, and at zero temperature."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models.knots_on_the_line import knots_of_gaps
from thalweg.theory.mean_field.cluster_set import cluster_polynomials
from thalweg.theory.mean_field.cold import cold_net
from thalweg.theory.mean_field.gibbs import GibbsNet, gibbs_net


class Points(NamedTuple):
    """Data on the line.

    Attributes:
        x: Inputs, ascending.
        y: Targets.
    """

    x: np.ndarray
    y: np.ndarray


PLATEAUS = Points(
    np.add.outer([1.0, 2.0, 3.0], [0.0, 0.1, 0.2, 0.3]).ravel(), np.repeat([0.0, 1.0, 0.0], 4)
)
SEVEN = Points(np.arange(2.0, 9.0), np.array([-1.0, -2.0, -1.0, -1.0, -2.0, -1.0, 1.0]))
TWO_POINTS = Points(np.array([-10.0, 10.0]), np.array([2.0, 2.0]))

COLD_KNOTS = (2.1, 2.15024)  # of the plateaus at weight decay 0.003, on [0.9, 3.4]
FAR = 0.08  # from a knot
SHOWN = np.linspace(0.9, 3.4, 126)
CHECKED = np.array([1.05, 1.6, 1.85, 2.15, 2.5, 3.05])  # where curvature is held to differences
STEP = 1e-4  # of these differences
WEIGHT_DECAY = 0.003
PATTERNS = ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 1))  # knots of a gap, and inside


@dataclass(frozen=True)
class Temperatures:
    """Inverse temperatures, and points between 0.9 and 3.4."""

    betas: tuple[float, ...] = (1e2, 1e3, 1e4, 1e5, 1e6)
    points: int = 2501


@experiment("X1", Temperatures(), smoke={"points": 501}, full={"points": 10_001})
def temperatures(lab: Lab, size: Temperatures) -> xr.Dataset:
    """The Gibbs law of the three plateaus: prediction and curvature as the temperature falls."""
    grid = np.union1d(np.linspace(0.9, 3.4, size.points), COLD_KNOTS)
    far = np.all(np.abs(np.subtract.outer(grid, COLD_KNOTS)) > FAR, axis=1)
    cold = cold_net(*PLATEAUS, WEIGHT_DECAY)

    def one(beta: float) -> xr.Dataset:
        net = gibbs_net(*PLATEAUS, WEIGHT_DECAY, beta)
        curvature = np.abs(net.curvature(grid))
        shift = np.stack([net.predictor(CHECKED + d * STEP) for d in (-1, 0, 1)])
        ends = {
            **consistency(net),
            "far": (curvature[far].max(), "output/input^2", "largest |y''| far from the knots"),
            "near": (curvature.max(), "output/input^2", "largest |y''|"),
            "place": (grid[curvature.argmax()], "input", "where |y''| is largest"),
            "excess": (net.risk + net.penalty - cold.objective, "loss", "risk and penalty, excess"),
        }
        along = {
            "prediction": (net.predictor(grid), "output", "prediction"),
            "curvature": (curvature, "output/input^2", "|y''|"),
        }
        held = {
            "formula": (net.curvature(CHECKED), "output/input^2", "y'', E11"),
            "difference": (np.diff(shift, 2, axis=0)[0] / STEP**2, "output/input^2", "differences"),
        }
        return table({"": ends, "x": along, "checked": held})

    found = over(one, beta=(list(size.betas), "1/loss", "inverse temperature"))
    limit = {"x": {"cold": (cold.predictor(grid), "output", "zero temperature")}}
    labels = table(limit, x=(grid, "input", "x"), checked=(CHECKED, "input", "x"))
    return found.assign_coords(labels.coords).merge(labels)


def consistency(net: GibbsNet) -> dict[str, tuple[float, str, str]]:
    """How far a law is from being that of its own prediction, and its free energy from the dual.

    -int rho log rho = log Z + beta E Psi, E Psi = R . prediction + lambda E|theta|^2/2: the penalty
    cancels in the free energy.
    """
    prediction = net.predictor(net.arcs.x)
    misfit = prediction - net.y
    direct = np.mean(misfit**2) / 2 - net.R @ prediction
    primal = direct - net.log_partition / net.inverse_temperature
    off = np.abs(misfit - len(net.y) * net.R).max()
    return {
        "inconsistency": (off, "output", "max |prediction - y - M R|"),
        "duality": (primal - net.free_energy, "loss", "free energy less the dual"),
    }


@dataclass(frozen=True)
class Quadrature:
    """Points a side of the grid on [-3, 3]^3."""

    points: int = 161


@experiment("X1-brute", Quadrature(), smoke={"points": 81}, full={"points": 241})
def brute_force(lab: Lab, size: Quadrature) -> xr.Dataset:
    """The law of two points at beta = 20 against sums over a grid in three dimensions."""
    net = gibbs_net(*TWO_POINTS, 1.0, 20.0)
    grid = np.linspace(-3.0, 3.0, size.points)
    a, w, b = np.meshgrid(grid, grid, grid, indexing="ij", sparse=True)
    neurons = [a * np.maximum(w * t + b, 0.0) for t in net.arcs.x]
    square = a**2 + w**2 + b**2
    psi = net.R[0] * neurons[0] + net.R[1] * neurons[1] + square / 2
    rho = np.exp(-20.0 * psi)
    total = rho.sum()
    summed = [total * (grid[1] - grid[0]) ** 3, (neurons[1] * rho).sum() / total]
    summed.append((square * rho).sum() / total)
    exact = [np.exp(net.log_partition), net.predictor(10.0)[0], sum(net.second_moments)]
    groups: dict[str, Any] = {
        "quantity": {
            "exact": (exact, "varied", "closed form"),
            "summed": (summed, "varied", "sum over the grid"),
        },
        "": consistency(net),
    }
    return table(groups, quantity=["Z", "prediction at 10", "E |theta|^2"])


@dataclass(frozen=True)
class Decays:
    """Weight decays of the two points, below sqrt(101)."""

    decays: tuple[float, ...] = (0.1, 1.0, 9.0)


@experiment("X5", Decays(), full={"decays": (0.01, 0.1, 0.5, 1.0, 3.0, 9.0, 10.0)})
def two_points(lab: Lab, size: Decays) -> xr.Dataset:
    """Two points at zero temperature, and at beta = 1e5, weight decay 1."""
    at = np.linspace(-9.0, 9.0, 37)

    def one(decay: float) -> xr.Dataset:
        net = cold_net(*TWO_POINTS, decay)
        right = cluster_polynomials(net.arcs.x, net.R, decay).at(at)[0]
        groups: dict[str, Any] = {
            "": {"minimum": (net.objective, "loss", "minimum, the value of the dual")},
            "side": {
                "knots": (net.knots, "input", "knots"),
                "R": (net.R, "output", "R"),
                "coefficients": (np.sort(net.coefficients), "output", "coefficients"),
            },
            "x": {"polynomial": (right, "1", "f_1")},
        }
        return table(groups, side=["left", "right"], x=(at, "input", "x"))

    chilled = gibbs_net(*TWO_POINTS, 1.0, 1e5)
    cool: dict[str, Any] = {
        "": {"chilled": (chilled.free_energy, "loss", "free energy at beta = 1e5")},
        "side": {"chilled_R": (chilled.R, "output", "R at beta = 1e5")},
    }
    return over(one, decay=(list(size.decays), "1", "weight decay")).merge(table(cool))


CASES = {
    "plateaus, 0.003": (PLATEAUS, 0.003),
    "plateaus, 0.0001": (PLATEAUS, 1e-4),
    "seven points, 0.0001": (SEVEN, 1e-4),
    "seven points, 0.003": (SEVEN, 0.003),
}


@experiment("X6")
def papers_data(lab: Lab) -> xr.Dataset:
    """The paper's data at zero temperature."""

    def one(case: str) -> xr.Dataset:
        points, decay = CASES[case]
        net = cold_net(*points, decay)
        knots = np.full(6, np.nan)
        knots[: len(net.knots)] = net.knots
        low, high = points.x[[0, -1]] + [-0.3, 0.3]
        x = np.linspace(low, high, 401)
        inputs, targets = np.full((2, 12), np.nan)
        inputs[: len(points.x)], targets[: len(points.x)] = points
        groups: dict[str, Any] = {
            "knot": {"knots": (knots, "input", "knots")},
            "example": {
                "inputs": (inputs, "input", "inputs"),
                "targets": (targets, "output", "targets"),
            },
            "": {
                "minimum": (net.objective, "loss", "minimum"),
                "gap": (net.gap, "loss", "primal less dual"),
            },
            "place": {
                "x": (x, "input", "x"),
                "prediction": (net.predictor(x), "output", "prediction"),
            },
        }
        return table(groups, knot=range(6), example=range(12), place=range(401))

    return over(one, case=list(CASES))


@experiment("X4", Draws(200), smoke={"draws": 60}, full={"draws": 2000})
def random_data(lab: Lab, size: Draws) -> xr.Dataset:
    """Random data at zero temperature: knots a gap, and the two quadratics."""
    rng = np.random.default_rng(0)
    rows, seen = [], Counter[tuple[int, int]]()
    for _ in range(size.draws):
        M = int(rng.integers(3, 9))
        x, y = np.sort(rng.uniform(-3, 3, M)), rng.normal(size=M)
        decay = 10 ** rng.uniform(-3, -1)
        net = cold_net(x, y, decay)
        found = knots_of_gaps(net.touching_knots, x, 1e-6 / np.ptp(x))
        seen.update(zip(found.total.tolist(), found.interior.tolist(), strict=True))
        rows.append([*polynomials_at(x, net.R, decay, net.touching_knots), net.gap, net.violation])
    least, zero, gap, violation = np.array(rows).T
    others = sum(seen.values()) - sum(seen[pattern] for pattern in PATTERNS)
    groups: dict[str, Any] = {
        "draw": {
            "least": (least, "1", "smallest f/(1 + x^2) on its gap"),
            "zero": (zero, "1", "largest f/(1 + x^2) of a knot"),
            "gap": (gap, "loss", "primal less dual"),
            "violation": (violation, "1", "max |h| - 1"),
        },
        "pattern": {"count": ([float(seen[p]) for p in PATTERNS], "1", "gaps")},
        "": {"others": (float(others), "1", "gaps with other counts of knots")},
    }
    words = [f"{total} knots, {inside} inside" for total, inside in PATTERNS]
    return table(groups, draw=range(size.draws), pattern=words)


def polynomials_at(
    x: np.ndarray, R: np.ndarray, decay: float, knots: np.ndarray
) -> tuple[float, float]:
    """The least f/(1 + x^2) on the gaps, on 200 points each, and the largest that a knot has.

    Of a knot counts the smaller of the two quadratics, in the gap where it is smaller if the knot
    lies at an input.
    """
    polynomials = cluster_polynomials(x, R, decay)
    fine = np.linspace(x[:-1], x[1:], 200)
    least, own = np.inf, np.full(len(knots), np.inf)
    for j in range(len(x) - 1):
        at = fine[:, j]
        least = min(least, float((polynomials.at(at, j + 1) / (1 + at**2)).min()))
        inside = (knots >= x[j] - 1e-6) & (knots <= x[j + 1] + 1e-6)
        value = polynomials.at(knots[inside], j + 1) / (1 + knots[inside] ** 2)
        own[inside] = np.minimum(own[inside], np.abs(value).min(axis=0))
    within = np.isfinite(own)
    return least, float(own[within].max(initial=0.0))
