"""Experiments of low-dimensional data with deep linear nets and with least squares."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.dynamics import gradient_descent
from thalweg.lab.study import Lab, variable
from thalweg.models import layer_weights, linear
from thalweg.models.initialisers import decoupled_init
from thalweg.problems.data.planes import coordinate_plane, near_plane
from thalweg.problems.linear_targets import deep_linear_params
from thalweg.studies.he2022_low_dimensional_data.training import follow, problems_of, stacked
from thalweg.theory.linear_nets.low_dimensional import least_squares_normal, settled_normal_norm

TARGET = np.array([1.0, -0.5])
SIZES = {"dimension": 2, "codimension": 3}
EXAMPLES, WIDTH, LAYER_NORM = 50, 6, 0.6
DEPTHS = (2, 3, 4)
STEP, STEPS, RECORDS = 2e-3, 40_000, 100
SEEDS = 5
UNIT = "output/input"


def descent(lab: Lab) -> xr.Dataset:
    """X2: gradient descent on deep linear nets, clean data, at the step size and at half of it."""
    seeds = 20 if lab.full else SEEDS
    plane = coordinate_plane(**SIZES)
    data = [
        near_plane(plane, EXAMPLES, lambda x: x @ TARGET, law="normal", seed=seed)
        for seed in range(seeds)
    ]
    parts = [_of_depth(L, plane.normal, data) for L in DEPTHS]
    return xr.concat(parts, xr.Variable("depth", list(DEPTHS)))


def _of_depth(L: int, normal: np.ndarray, data: list) -> xr.Dataset:
    starts = [balanced_start(L, len(normal), seed) for seed in range(len(data))]
    problems = problems_of(linear((WIDTH,) * (L - 1)), data)
    paths = [
        follow(
            problems, stacked(starts), gradient_descent(STEP / cut), STEPS * cut // RECORDS, RECORDS
        )
        for cut in (1, 2)
    ]
    w = np.stack([effective(path) for path in paths])
    moved = [np.abs((_first(p)[:, -1] - _first(p)[:, 0]) @ normal).max((1, 2)) for p in paths]
    w_y = np.linalg.norm(w @ normal, axis=-1)
    gap = np.linalg.norm(w[:, :, -1, : len(TARGET)] - TARGET, axis=-1)
    whole = np.linalg.norm(w[0, :, 0], axis=-1)
    predicted = [
        settled_normal_norm(float(n), float(y), float(np.linalg.norm(TARGET)), L)
        for n, y in zip(whole, w_y[0, :, 0], strict=True)
    ]
    along = ("step_size", "seed")
    return xr.Dataset(
        {
            "normal": variable((*along, "time"), w_y, UNIT, "||w_y||"),
            "settled": variable(along, w_y[..., -1], UNIT, "||w_y|| after training"),
            "predicted": variable("seed", predicted, UNIT, "||w_y|| after training, by E5"),
            "predicted_line": variable(
                ("seed", "time"),
                np.tile(predicted, (RECORDS + 1, 1)).T,
                UNIT,
                "||w_y|| after training, by E5, at all times",
            ),
            "fit": variable(along, gap, UNIT, "||w_x - a|| after training"),
            "moved": variable(along, moved, "parameter", "max |B(end) - B(0)|"),
        },
        {
            "step_size": [STEP, STEP / 2],
            "seed": np.arange(len(data)),
            "time": variable(
                "time", STEP * STEPS / RECORDS * np.arange(RECORDS + 1), "step size", "time"
            ),
        },
    )


def balanced_start(L: int, inputs: int, seed: int) -> list:
    """Balanced layers of rank one and norm 0.6 whose input direction is uniform on the sphere."""
    v = jnp.asarray(np.random.default_rng(seed).normal(size=(inputs, 1)))
    v, key = v / jnp.linalg.norm(v), jax.random.key(seed)
    return deep_linear_params(decoupled_init(jnp.ones((1, 1)), v, LAYER_NORM**L, L, WIDTH, key))


def effective(paths: list) -> np.ndarray:
    """The vectors W_L ... W_1 of nets with one output, any axes in front."""
    weights = [np.asarray(W) for W in layer_weights(paths)]
    product = weights[-1]
    for W in weights[-2::-1]:
        product = product @ W
    return product[..., 0, :]


def _first(paths: list) -> np.ndarray:
    return np.asarray(layer_weights(paths)[0])


NOISES = (0.05, 0.1, 0.3)
SAMPLES = (30, 100, 1000)
POINTS = 4_000_000  # random points in each cell, of as many repeats as they make


def least_squares(lab: Lab) -> xr.Dataset:
    """X2-samples: the normal part of a least-squares fit of sin 3x, x ~ U(-1, 1), d_y = 1."""
    samples = (30, 100, 300, 1000, 3000) if lab.full else SAMPLES
    residual = sine_residual()
    squares = [[_fitted(n, s, POINTS // n) ** 2 for n in samples] for s in NOISES]
    rms = np.sqrt([[cell.mean() for cell in row] for row in squares])
    spread = np.array([[cell.std(ddof=1) / np.sqrt(cell.size) for cell in row] for row in squares])
    error = spread / (2 * rms)
    theory = least_squares_normal(residual, np.array(NOISES)[:, None], samples)
    dims = ("noise", "n")
    return xr.Dataset(
        {
            "normal": variable(dims, rms, UNIT, "rms of w_y"),
            "normal_error": variable(dims, error, UNIT, "standard error over repeats"),
            "normal_theory": variable(dims, theory, UNIT, "rms of w_y by E9, finite N"),
            "residual": variable((), residual, "output", "rms of sin 3x less its linear fit"),
        },
        {"noise": list(NOISES), "n": variable("n", list(samples), "1", "samples N")},
    )


def sine_residual() -> float:
    """Root mean square of sin 3x - c x over U(-1, 1) at its best c, by quadrature."""
    x, weight = np.polynomial.legendre.leggauss(40)
    g, weight = np.sin(3 * x), weight / 2
    slope = weight @ (g * x) / (weight @ x**2)
    return float(np.sqrt(weight @ (g - slope * x) ** 2))


def _fitted(n: int, noise: float, repeats: int) -> np.ndarray:
    """w_y of fits without intercept on n points, repeat by repeat."""
    rng = np.random.default_rng([n, round(1000 * noise)])
    x, y = rng.uniform(-1, 1, (repeats, n)), noise * rng.standard_normal((repeats, n))
    z = np.stack([x, y], axis=-1)
    normal = np.swapaxes(z, 1, 2)
    return np.linalg.solve(normal @ z, normal @ np.sin(3 * x)[..., None])[:, 1, 0]
