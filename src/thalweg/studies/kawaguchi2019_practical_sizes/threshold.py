"""The interpolation threshold of practical sizes: success of a strong optimiser against d/n."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
import xarray as xr

from thalweg.driver import interpolation
from thalweg.lab.study import Lab, variable
from thalweg.models import mlp
from thalweg.problems.data.random_labels import random_data
from thalweg.theory.landscape import parameter_count

FEATURES = 8
SUCCESS = 1e-12  # mean squared residual


def threshold(lab: Lab) -> xr.Dataset:
    """X1: two-layer tanh nets of d = 10 m + 1 parameters on n random labels."""
    return threshold_of(lab, (20, 40, 80), 16 if lab.full else 4)


def threshold_of(lab: Lab, sizes: Sequence[int], data_sets: int, steps: int = 150) -> xr.Dataset:
    """Best residual of two fits per data set, and how many data sets are fitted, by n and d."""
    rows = [_swept(n, data_sets, steps) for n in sizes]
    most = max(len(d) for d, _ in rows)
    d, residual = (np.stack([_padded(row[i], most) for row in rows]) for i in range(2))
    fitted = np.where(np.isnan(residual), np.nan, residual < SUCCESS)
    success = fitted.mean(axis=2)
    spread = np.sqrt(success * (1 - success) / data_sets)
    n = np.asarray(sizes)[:, None]
    found = [interpolation.interpolation_threshold(*row) for row in zip(d, success, strict=True)]
    grid = ("examples", "net")
    return xr.Dataset(
        {
            "parameters": variable(grid, d, "1", "trainable parameters d"),
            "ratio": variable(grid, d / n, "1", "parameters per label d/n"),
            "residual": variable(
                (*grid, "dataset"), residual, "label^2", "mean squared residual, best of two fits"
            ),
            "median_residual": variable(
                grid, np.median(residual, axis=2), "label^2", "median residual over data sets"
            ),
            "success": variable(grid, success, "1", "fraction of data sets that are fitted"),
            "success_error": variable(grid, spread, "1", "standard error over data sets"),
            "threshold": variable("examples", found, "1", "first d with half of the sets fitted"),
        },
        {"examples": list(sizes)},
    )


def _swept(n: int, data_sets: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and best residuals of every net with d/n from 0.5 to 2."""
    counts = {m: parameter_count.parameter_count(mlp((m,)), FEATURES, 1) for m in range(1, n // 4)}
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


def _padded(row: np.ndarray, length: int) -> np.ndarray:
    """NaN behind the last entry of the first axis."""
    rest = [(0, length - len(row))] + [(0, 0)] * (row.ndim - 1)
    return np.pad(row, rest, constant_values=np.nan)
