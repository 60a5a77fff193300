"""The interpolation threshold of practical sizes: success of a strong optimiser against d/n."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
import xarray as xr

from thalweg.driver import interpolation
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import padded, table
from thalweg.models import mlp, parameter_count
from thalweg.problems.data.random_labels import random_data

FEATURES = 8
SUCCESS = 1e-12  # mean squared residual


@dataclass(frozen=True)
class Sweep:
    """Numbers of labels, data sets of each, most steps of a fit."""

    sizes: tuple[int, ...] = (20, 40, 80)
    data_sets: int = 4
    steps: int = 150


@experiment(
    "X1",
    Sweep(),
    smoke={"sizes": (20, 36), "data_sets": 2, "steps": 100},
    full={"data_sets": 16},
)
def threshold(lab: Lab, size: Sweep) -> xr.Dataset:
    """Two-layer tanh nets of d = 10 m + 1 parameters on n random labels, best of two fits each."""
    rows = [_swept(n, size.data_sets, size.steps) for n in size.sizes]
    most = max(len(d) for d, _ in rows)
    d, residual = (np.stack([padded(row[i], most) for row in rows]) for i in range(2))
    success = np.where(np.isnan(residual), np.nan, residual < SUCCESS).mean(axis=2)
    spread = np.sqrt(success * (1 - success) / size.data_sets)
    found = [interpolation.interpolation_threshold(*row) for row in zip(d, success, strict=True)]
    median, ratio = np.median(residual, axis=2), d / np.asarray(size.sizes)[:, None]
    best = "mean squared residual, best of two fits"
    groups = {
        "examples net": {
            "parameters": (d, "1", "trainable parameters d"),
            "ratio": (ratio, "1", "parameters per label d/n"),
            "median_residual": (median, "label^2", "median residual over data sets"),
            "success": (success, "1", "fraction of data sets that are fitted"),
            "success_error": (spread, "1", "standard error over data sets"),
        },
        "examples net dataset": {"residual": (residual, "label^2", best)},
        "examples": {"threshold": (found, "1", "first d with half of the sets fitted")},
    }
    return table(groups, examples=size.sizes)


def _swept(n: int, data_sets: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and best residuals of every net with d/n from 0.5 to 2."""
    counts = {m: parameter_count(mlp((m,)), FEATURES, 1) for m in range(1, n // 4)}
    units = [m for m, d in counts.items() if 0.5 <= d / n <= 2]
    sets = [random_data(n, FEATURES, "gaussian", seed=seed) for seed in range(data_sets)]
    residual = interpolation.interpolation_residuals(
        np.stack([data.inputs for data in sets]),
        np.stack([data.targets[:, 0] for data in sets]),
        units,
        2,
        jax.random.key(n),
        steps=steps,
    )
    return np.array([counts[m] for m in units], float), residual
