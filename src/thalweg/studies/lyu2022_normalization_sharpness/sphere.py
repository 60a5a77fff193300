"""Experiments on a circle of minima, where the flow is that of one angle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline

from thalweg.core.hessian_product import dense_hessian
from thalweg.driver.path import paths
from thalweg.dynamics import decayed_descent, sharpness_reduction_flow, spherical_rmsprop
from thalweg.dynamics.dynamics import Discrete, State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.problems import Problem, circle_of_minima
from thalweg.theory.limits import sharpness_reduction as theory

B, ETA, START = 3.0, 0.1, 1.3
CIRCLE = theory.Circle(B)
WINDOWS = ((2000, 4000), (4000, 6000), (6000, 9000), (9000, 12000), (12000, 20000))
SETTLED = 0.5  # of tau: from then on it is at the edge


class Seen(NamedTuple):
    """Of a point: its angle, its height over the circle, its squared norm, its sharpness, loss."""

    angle: Any
    height: Any
    squared: Any
    sharpness: Any
    loss: Any


def seen(problem: Problem, state: State) -> Seen:
    """What is observed at every step."""
    w = state.params
    squared = jnp.sum(w**2)
    theta = w / jnp.sqrt(squared)
    top = jnp.linalg.eigvalsh(dense_hessian(problem.objective, theta))[-1]
    return Seen(jnp.arctan2(theta[1], theta[0]), theta[2], squared, top, problem.objective(theta))


def start(height: float, squared: float) -> np.ndarray:
    """The point of angle 1.3, a height above the circle, of a squared norm."""
    flat = np.sqrt(1 - height**2)
    return np.sqrt(squared) * np.array([flat * np.cos(START), flat * np.sin(START), height])


def followed(dynamics: Discrete, at: np.ndarray, steps: int) -> Seen:
    """Every step of a dynamics on the circle, the start first."""
    path = paths(dynamics, circle_of_minima(B), jnp.asarray(at), 1, steps, seen, over=())
    return Seen(*map(np.asarray, path.seen))


def flow_angles(lab: Lab, end: float, averaging: float = 2.0) -> CubicSpline:
    """The angle along the sharpness-reduction flow, as a function of tau."""
    at, flow = jnp.asarray(start(0.0, 1.0)), sharpness_reduction_flow(0.05, averaging)
    path = lab.run(
        f"flow-{averaging:g}", circle_of_minima(B), flow, until=end, records=60, start=at
    )
    theta = path.parameters.values[0]
    return CubicSpline(path.dataset["time"].values, np.arctan2(theta[:, 1], theta[:, 0]))


@dataclass(frozen=True)
class Drift:
    """Products of step size and weight decay, and how long."""

    decays: tuple[float, ...] = (1e-3, 2.5e-4, 6.25e-5)
    end: float = 6.0
    points: int = 120


@experiment("X1", Drift(), smoke={"decays": (1e-3,)})
def drift(lab: Lab, size: Drift) -> xr.Dataset:
    """Descent with weight decay along the circle, from near the edge, beside the flow."""
    flow, grid = flow_angles(lab, size.end), np.linspace(0, size.end, size.points + 1)

    def one(decay: float) -> xr.Dataset:
        at = start(1e-2, 1.02 * ETA * float(CIRCLE.sharpness(START)) / 2)
        steps = round(size.end / decay)
        run = followed(decayed_descent(ETA, decay / ETA), at, steps)
        tau = decay * np.arange(steps + 1)
        edge = theory.effective_rate(ETA, decay / ETA, run.squared) * run.sharpness
        late = edge[tau > SETTLED]
        kept = np.round(grid / decay).astype(int)
        along = {
            "angle": (run.angle[kept], "rad", "angle of descent"),
            "angle_theory": (flow(grid), "rad", "angle of the sharpness-reduction flow"),
            "angle_plain": (
                CIRCLE.angles(START, grid, squared=False),
                "rad",
                "angle of the flow without the squared slope",
            ),
            "edge": (edge[kept], "1", "effective learning rate times spherical sharpness"),
        }
        ends = {
            "apart": (np.max(np.abs(run.angle - flow(tau))), "rad", "largest distance in angle"),
            "lowest": (late.min(), "1", "least rate times sharpness from tau = 0.5 on"),
            "highest": (late.max(), "1", "largest rate times sharpness from tau = 0.5 on"),
        }
        return table({"tau": along, "": ends}, tau=(grid, "1", "tau"))

    return over(one, decay=(size.decays, "1", "step size times weight decay"))


@experiment("X1-oscillation")
def oscillation(lab: Lab) -> xr.Dataset:
    """The mean square of the oscillation and the loss that it costs, in windows of steps."""
    decay = 2.5e-4
    at = start(1e-2, ETA * float(CIRCLE.sharpness(START)) / 2)
    run = followed(decayed_descent(ETA, decay / ETA), at, WINDOWS[-1][1])
    slope, sharp = CIRCLE.slope(run.angle), CIRCLE.sharpness(run.angle)
    square = theory.mean_square(slope)

    def means(values: np.ndarray) -> list[float]:
        return [float(np.mean(values[a:b])) for a, b in WINDOWS]

    found = {
        "square": (means(run.height**2 / decay), "1", "mean squared height over eta lambda"),
        "square_theory": (means(square), "1", "mean of 2/(4 + g^2)"),
        "excess": (means(run.loss), "loss", "mean loss"),
        "excess_theory": (means(sharp * square * decay / 2), "loss", "mean loss, theory"),
    }
    middle = [decay * (a + b) / 2 for a, b in WINDOWS]
    return table({"tau": found}, tau=(middle, "1", "tau"))


@dataclass(frozen=True)
class Edge:
    """Products of step size and weight decay, and for how many steps."""

    decays: tuple[float, ...] = (5e-3, 1e-3, 2.5e-4)
    steps: int = 6200


@experiment("X1-edge", Edge(), smoke={"decays": (5e-3, 1e-3), "steps": 1600})
def edge(lab: Lab, size: Edge) -> xr.Dataset:
    """From a large norm: at which step the edge of stability is reached."""

    def one(decay: float) -> xr.Dataset:
        run = followed(decayed_descent(ETA, decay / ETA), start(1e-3, 4.0), size.steps)
        reached = theory.effective_rate(ETA, decay / ETA, run.squared) * run.sharpness >= 2
        first = int(np.argmax(reached)) if reached.any() else np.nan
        expected = theory.edge_time(decay, ETA, 4.0, float(CIRCLE.sharpness(START)))
        return table(
            {
                "": {
                    "first": (first, "step", "first step at the edge"),
                    "first_theory": (expected, "step", "first step at the edge, theory"),
                }
            }
        )

    return over(one, decay=(size.decays, "1", "step size times weight decay"))


@dataclass(frozen=True)
class Scheduler:
    """Rates of the average with their step sizes, and how far in eta^2 k."""

    averaging: tuple[float, ...] = (1.0, 2.0, 4.0)
    step_sizes: tuple[float, ...] = (0.015, 0.015, 0.005)
    end: float = 3.0
    points: int = 60


@experiment(
    "X1-scheduler", Scheduler(), smoke={"averaging": (1.0, 2.0), "step_sizes": (0.015, 0.015)}
)
def scheduler(lab: Lab, size: Scheduler) -> xr.Dataset:
    """The quasi-RMSProp scheduler on the sphere, beside the flow of its own averaging."""
    grid = np.linspace(0, size.end / 2, size.points + 1)
    eta_of = dict(zip(size.averaging, size.step_sizes, strict=True))

    def one(averaging: float) -> xr.Dataset:
        eta = eta_of[averaging]
        initial = 1.04 * (eta * float(CIRCLE.sharpness(START)) / 2) ** 2
        steps = round(size.end / eta**2)
        run = followed(spherical_rmsprop(eta, averaging, initial), start(1e-2, 1.0), steps)
        flow, tau = flow_angles(lab, size.end / 2, averaging), eta**2 / 2 * np.arange(steps + 1)
        kept = np.minimum(np.round(2 * grid / eta**2).astype(int), steps)
        along = {
            "angle": (run.angle[kept], "rad", "angle of quasi-RMSProp"),
            "angle_theory": (flow(grid), "rad", "angle of the flow with C"),
        }
        apart = np.max(np.abs(run.angle - flow(np.minimum(tau, size.end / 2))))
        ends = {"apart": (apart, "rad", "largest distance in angle")}
        return table({"tau": along, "": ends}, tau=(grid, "1", "tau"))

    return over(one, averaging=(size.averaging, "1", "C"))
