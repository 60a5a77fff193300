"""Experiments on the reduced dynamics: that they are exact, and how often a kink crosses."""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.driver.path import paths
from thalweg.dynamics import gradient_descent
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import mlp
from thalweg.problems import Supervised
from thalweg.problems.losses import as_loss
from thalweg.studies.holzmuller2020_inconsistency.data import X, drawn_counts, six_points, star
from thalweg.theory.relu_nets import affine_floors, good_event, kink_certificate, kink_dynamics
from thalweg.theory.relu_nets.one_input import (
    OneInputData,
    OneInputNet,
    he_net,
    one_input_net,
    parameters_of,
)

OFFSETS = (0.0, 0.01, 0.1)


@dataclass(frozen=True)
class Exact:
    """How many nets are followed both ways, and how wide they are."""

    nets: int = 20
    width: int = 16
    samples: int = 64
    steps: tuple[int, ...] = (1, 10, 50, 100, 200)
    neurons: int = 1000


@experiment("X0", Exact(), smoke={"nets": 8})
def exactness(lab: Lab, size: Exact) -> xr.Dataset:
    """Full nets of the library on rows drawn with repetition, beside thirteen numbers."""
    rng = np.random.default_rng(0)
    net = he_net(rng, size.width, (size.nets,))
    counts = drawn_counts(rng, size.samples, size.nets)
    data = six_points(0.05, counts)
    runs = kink_dynamics.kink_dynamics(net, data)
    full = full_nets(net, data, counts, np.asarray(runs.step_size), size.steps)
    apart, reach, reach_full, crossed = [], [], [], []
    for k, steps in enumerate(size.steps):
        state = runs.advance(runs.start, steps)
        mine = runs.net_at(state)
        theirs = OneInputNet(*(v[:, k + 1] for v in full))
        gaps = [
            np.abs(m - t).reshape(size.nets, -1).max(1) for m, t in zip(mine, theirs, strict=True)
        ]
        apart.append(np.max(gaps, axis=0))
        reach.append(runs.reach(state))
        reach_full.append(theirs.reach())
        crossed.append(state.crossed)
    along = {
        "apart": (apart, "parameter", "largest difference of a parameter, reduced less full"),
        "reach": (reach, "input", "max |b/a| from the reduced dynamics"),
        "reach_full": (reach_full, "input", "max |b/a| of the full net"),
        "crossed": (np.array(crossed, float), "1", "whether a kink has crossed"),
    }
    extreme, largest = extremes(size)
    ratios = {
        "extreme": (extreme, "input", "max |b/a| at the extreme rho"),
        "largest": (largest, "input", "max |b/a| over all neurons"),
    }
    return table({"step net": along, "step": ratios}, step=list(size.steps), net=range(size.nets))


def full_nets(
    net: OneInputNet, data: OneInputData, counts: np.ndarray, h: np.ndarray, steps: tuple[int, ...]
) -> OneInputNet:
    """The nets under the library's gradient descent, at the start and after so many steps."""
    model, loss = mlp([net.a.shape[-1]], "relu"), as_loss("squared-error")
    rows = [np.repeat(np.arange(len(X)), c) for c in counts]
    x, y = (jnp.asarray(np.stack([v[r] for r in rows])[..., None]) for v in (data.x, data.y))
    problems = eqx.filter_vmap(lambda a, b: Supervised(model, loss, a, b))(x, y)
    start = jax.tree.map(jnp.asarray, parameters_of(net))
    dynamics = jax.vmap(gradient_descent)(jnp.asarray(h))
    gaps = np.diff([0, *steps])
    found = paths(dynamics, problems, start, gaps, over=("dynamics", "problem", "params"))
    return one_input_net(found.seen)


def extremes(size: Exact) -> tuple[np.ndarray, np.ndarray]:
    """The largest |b/a| at the extreme rho, and over all neurons of one wide net."""
    net = he_net(np.random.default_rng(1), size.neurons)
    runs = kink_dynamics.kink_dynamics(net, six_points(0.05))
    states = [runs.advance(runs.start, steps) for steps in size.steps]
    return (
        np.array([runs.reach(s) for s in states]),
        np.array([runs.net_at(s).reach() for s in states]),
    )


@experiment("X0-floors")
def floors(lab: Lab) -> xr.Dataset:
    """The least loss of nets whose kinks do not move, on both data sets."""
    data, (x, y) = six_points(), star()
    found = {
        "sides": (affine_floors.affine_per_side_loss(data.x, data.y), "loss", "floor, six points"),
        "star": (affine_floors.affine_per_ray_loss(x, y), "loss", "floor, star data"),
    }
    lines = {"best": (data.best_lines(), "output", "slopes and intercepts of the best lines")}
    return table({"": found, "line": lines}, line=range(4))


@dataclass(frozen=True)
class Crossing:
    """Widths and offsets, runs each, and how many steps a unit of width."""

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    offsets: tuple[float, ...] = OFFSETS
    runs: int = 1000
    steps: int = 200


@experiment(
    "X1",
    Crossing(),
    smoke={"widths": (16, 32, 64), "runs": 100},
    full={"widths": (16, 32, 64, 128, 256, 512, 1024, 2048), "runs": 10_000},
)
def crossing(lab: Lab, size: Crossing) -> xr.Dataset:
    """How often a kink crosses, by width, for three offsets; the same draws for all offsets."""

    def one(offset: float, width: int) -> xr.Dataset:
        runs = drawn_runs(width, size.runs, offset)
        share = runs.advance(runs.start, size.steps * width).crossed.mean()
        error = np.sqrt(max(share * (1 - share), 1 / size.runs) / size.runs)
        return table(
            {
                "": {
                    "crossed": (share, "1", "share of runs in which a kink crosses"),
                    "crossed_error": (error, "1", "standard error of the share"),
                }
            }
        )

    return over(one, offset=list(size.offsets), width=list(size.widths))


def drawn_runs(width: int, runs: int, offset: float = 0.0) -> kink_dynamics.KinkDynamics:
    """Nets and n^2 samples each, drawn from a stream of their own for each width."""
    rng = np.random.default_rng([2022, width])
    net = he_net(rng, width, (runs,))
    return kink_dynamics.kink_dynamics(net, six_points(offset, drawn_counts(rng, width**2, runs)))


@dataclass(frozen=True)
class Fates:
    """Widths, runs each, steps a unit of width until it is given up, and how much longer to go."""

    widths: tuple[int, ...] = (16, 64)
    runs: int = 1000
    steps: int = 900
    longer: int = 2
    every: int = 1000


@experiment("X1-fates", Fates(), smoke={"runs": 100, "longer": 1}, full={"runs": 10_000})
def fates(lab: Lab, size: Fates) -> xr.Dataset:
    """Runs followed until they cross or are certified, and those certified yet longer."""

    def one(width: int) -> xr.Dataset:
        runs = drawn_runs(width, size.runs)
        found = kink_certificate.kink_fates(runs, size.steps * width, size.every)
        end = runs.advance(runs.start, size.longer * size.steps * width)
        shares = {
            name: (found.share(name), "1", f"share of runs {name}")
            for name in kink_certificate.FATES
        }
        certified = found.fate == kink_certificate.CERTIFIED
        kept = {
            "contradictions": (
                float(np.sum(certified & end.crossed)), "1", "certified runs that crossed later"
            ),
            "certificates": (float(certified.sum()), "1", "certified runs"),
            "wait": (
                np.median(found.steps[certified]) / width, "1", "median steps to certify, over n"
            ),
        }  # fmt: skip
        return table({"": shares | kept})

    return over(one, width=list(size.widths))


@dataclass(frozen=True)
class Event:
    """Widths and draws of the event's frequency."""

    widths: tuple[int, ...] = (16, 64, 256, 1024, 4096)
    draws: int = 1000
    gamma: float = 0.25


@experiment("X1-event", Event(), smoke={"widths": (16, 64), "draws": 200})
def event(lab: Lab, size: Event) -> xr.Dataset:
    """How often the event of the theorem holds, and which of its conditions fail."""

    def one(width: int) -> xr.Dataset:
        rng = np.random.default_rng([7, width])
        drawn = six_points(0.0, drawn_counts(rng, width**2, size.draws))
        nets = he_net(rng, width, (size.draws,))
        held = good_event.good_event(nets, drawn, six_points(), width**2, size.gamma)
        names = list(held)
        values = [1 - held[name].mean() for name in names]
        fails = {"fails": (values, "1", "share of draws in which the condition fails")}
        return table({"condition": fails}, condition=names)

    return over(one, width=list(size.widths))
