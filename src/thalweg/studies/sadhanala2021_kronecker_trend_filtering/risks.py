"""Risks: the phase transition on spikes, a step, a heterogeneous function; degrees of freedom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from thalweg.estimators.linear_smoothers import best_eigenmap, best_laplacian
from thalweg.estimators.pieces import degrees_of_freedom
from thalweg.estimators.signals import centred_spike, pyramid_on_plane
from thalweg.estimators.trend_filtering import trend_filter
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import mean_and_error, over, table

SQUARE = "signal^2"
AT_ONCE = 2**20  # cells of all draws and penalties that are fitted together


@dataclass(frozen=True)
class Tried:
    """Sides of the lattices, draws of the noise, penalties to choose from, relative gap."""

    sides: tuple[int, ...]
    draws: int = 5
    penalties: int = 9
    gap: float = 1e-4


def adaptive_risk(truth: np.ndarray, sigma: float, order: int, size: Tried) -> tuple[float, float]:
    """Mean squared error of trend filtering at the best penalty over draws, and its error."""
    lams = sigma * np.logspace(-1, 1.2, size.penalties)
    noise = np.random.default_rng(0).normal(size=(size.draws, *truth.shape))
    found = []
    for part in np.array_split(noise, -(-noise.size * len(lams) // AT_ONCE)):
        y = np.repeat(truth + sigma * part, len(lams), axis=0)
        fits = trend_filter(y, np.tile(lams, len(part)), order, draws=True, tolerance=size.gap)
        squares = ((fits.values - truth) ** 2).mean(tuple(range(1, y.ndim)))
        found.append(squares.reshape(len(part), len(lams)))
    losses = np.concatenate(found)
    best = int(losses.mean(0).argmin())
    return float(losses[:, best].mean()), float(losses[:, best].std(ddof=1) / np.sqrt(size.draws))


def _spikes(dims: int, size: Tried) -> xr.Dataset:
    def of(side: int) -> xr.Dataset:
        truth = centred_spike(side, dims)
        found, error = adaptive_risk(truth, 1.0, 0, size)
        return table(
            {
                "": {
                    "cells": (truth.size, "1", "cells of the lattice"),
                    "trend": (found, SQUARE, "trend filtering"),
                    "trend_error": (error, SQUARE, "standard error over draws"),
                    "laplacian": (best_laplacian(truth, 1.0).risk, SQUARE, "Laplacian smoothing"),
                    "eigenmap": (best_eigenmap(truth, 1.0).risk, SQUARE, "eigenmaps"),
                }
            }
        )

    return over(of, side=(size.sides, "cells", "side of the lattice"))


@experiment(
    "A2",
    Tried((8, 16, 32, 64)),
    smoke={"draws": 2, "penalties": 5},
    full={"draws": 20, "sides": (8, 16, 32, 64, 128)},
)
def plane(lab: Lab, size: Tried) -> xr.Dataset:
    """One spike on a plane as high as the canonical total variation allows, at the best tuning."""
    return _spikes(2, size)


@experiment(
    "A3",
    Tried((4, 8, 16)),
    smoke={"draws": 2, "penalties": 5},
    full={"draws": 20, "sides": (4, 8, 16, 32)},
)
def space(lab: Lab, size: Tried) -> xr.Dataset:
    """The same in three dimensions."""
    return _spikes(3, size)


@experiment("B", Tried((64, 256, 1024, 4096), draws=40), full={"draws": 400})
def step(lab: Lab, size: Tried) -> xr.Dataset:
    """A step on a line, to 256 points by trend filtering."""

    def of(side: int) -> xr.Dataset:
        truth = (np.arange(side) >= side // 2).astype(float)
        small = side <= 256
        found, error = adaptive_risk(truth, 0.5, 0, size) if small else (np.nan, np.nan)
        return table(
            {
                "": {
                    "trend": (found, SQUARE, "trend filtering"),
                    "trend_error": (error, SQUARE, "standard error over draws"),
                    "laplacian": (best_laplacian(truth, 0.5).risk, SQUARE, "Laplacian smoothing"),
                    "eigenmap": (best_eigenmap(truth, 0.5).risk, SQUARE, "eigenmaps"),
                }
            }
        )

    return over(of, side=(size.sides, "cells", "points on the line"))


@experiment(
    "C", Tried((32,), draws=4), smoke={"draws": 2, "penalties": 4, "gap": 1e-2}, full={"draws": 16}
)
def heterogeneous(lab: Lab, size: Tried) -> xr.Dataset:
    """A pyramid on a plane, orders 0, 1 and 2."""
    truth = pyramid_on_plane(size.sides[0])

    def of(order: int) -> xr.Dataset:
        found, error = adaptive_risk(truth, 0.5, order, size)
        return table(
            {
                "": {
                    "trend": (found, SQUARE, "trend filtering"),
                    "trend_error": (error, SQUARE, "standard error over draws"),
                    "laplacian": (
                        best_laplacian(truth, 0.5, order + 1).risk, SQUARE, "Laplacian smoothing",
                    ),
                    "eigenmap": (best_eigenmap(truth, 0.5).risk, SQUARE, "eigenmaps"),
                }
            }
        )  # fmt: skip

    return over(of, order=range(3))


@dataclass(frozen=True)
class Covariances:
    """How many draws the covariance is estimated from, and the relative gap of each fit."""

    draws: int = 400
    gap: float = 1e-8


@experiment("D", Covariances(), smoke={"draws": 360, "gap": 1e-6}, full={"draws": 2000})
def freedom(lab: Lab, size: Covariances) -> xr.Dataset:
    """Degrees of freedom on 8 x 8 at penalty 1: by covariance, and by the active set."""

    def of(order: int) -> xr.Dataset:
        row = np.arange(8.0)[:, None] + np.zeros(8)
        truth = 2.0 * (row >= 4) if order == 0 else np.abs(row - 4)
        noise = np.random.default_rng(order).normal(size=(size.draws, 8, 8))
        fits = trend_filter(truth + noise, 1.0, order, draws=True, tolerance=size.gap)
        along = ((fits.values - truth) * noise).sum((1, 2))
        counts = np.array([degrees_of_freedom(fits.at(i)) for i in range(size.draws)], float)
        words = "mean nullity of D without active rows"
        found = mean_and_error("covariance", along, "1", "sum of Cov(fit, y) / sigma^2")
        return table({"": {**found, **mean_and_error("nullity", counts, "1", words)}})

    return over(of, order=range(2))
