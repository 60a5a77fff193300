"""Experiments X1 and X2: condition numbers of random layers and of products of them."""

from __future__ import annotations

from functools import reduce

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from thalweg.lab.study import Lab, variable
from thalweg.theory.landscape import piecewise_affine as pieces
from thalweg.theory.landscape import singular_values as sv

SLOPES = {"ReLU": 0.0, "leaky ReLU": 0.1, "absolute value": -1.0}
SKIPS = (0.0, 0.25, 0.5, 1.0, 2.0)
SCALES = (0.2, 0.5, 1.0)
DEPTHS = (1, 3, 6)
N = 64


def layers(lab: Lab) -> xr.Dataset:
    """X1: condition number of D W + rho I, a random half of the slopes switched off."""
    return layers_of(draws=300 if lab.full else 30)


def layers_of(draws: int, n: int = N) -> xr.Dataset:
    """The same W and D serve every slope and every skip; medians are over draws."""
    rng = np.random.default_rng(11)
    W = rng.normal(size=(len(SCALES), draws, n, n)) / np.sqrt(n)
    W *= np.reshape(SCALES, (-1, 1, 1, 1))
    off = rng.random((len(SCALES), draws, n)) < 0.5
    shape = (len(SLOPES), len(SCALES), len(SKIPS), draws)
    kappa, bound, norm = np.empty(shape), np.empty(shape), np.empty((*shape[:2], draws))
    for a, eta in enumerate(SLOPES.values()):
        d = np.where(off, eta, 1.0)
        norm[a] = _spectra(pieces.affine_piece(W, d))[..., 0]
        for r, rho in enumerate(SKIPS):
            s = _spectra(pieces.affine_piece(W, d, rho))
            kappa[a, :, r] = sv.condition_number(s)
            bound[a, :, r] = sv.shift_condition_bound(norm[a], rho)
    dims = ("activation", "scale", "rho", "draw")
    limits = [sv.gaussian_norm(1.0, kept) for kept in (0.5, 1.0)]
    return xr.Dataset(
        {
            "condition": variable(dims, kappa, "1", "condition number of D W + rho I"),
            "bound": variable(dims, bound, "1", "its bound (rho + s_1)/(rho - s_1)"),
            "median": variable(dims[:3], np.median(kappa, -1), "1", "median condition number"),
            "median_error": variable(
                dims[:3], _median_error(kappa), "1", "standard error of the median"
            ),
            "median_bound": variable(dims[:3], np.median(bound, -1), "1", "median of the bound"),
            "norm": variable(("activation", "scale", "draw"), norm, "1", "s_1(D W)"),
            "norm_limit": variable((), limits[0], "1", "limit of s_1(D W)/c for ReLU"),
        },
        {
            "activation": list(SLOPES),
            "scale": variable("scale", list(SCALES), "1", "weight scale c"),
            "rho": variable("rho", list(SKIPS), "1", "skip strength rho"),
        },
    )


def depth(lab: Lab) -> xr.Dataset:
    """X2: condition number of a product of layers, and what flipping slopes does to it."""
    return depth_of(draws=150 if lab.full else 15)


def depth_of(draws: int, n: int = N, eta: float = 0.1, flips: int = 4) -> xr.Dataset:
    """Leaky layers; `flips` distinct random slopes of every layer change between 1 and eta."""
    rng = np.random.default_rng(12)
    skips, scales = (0.0, 1.0), SCALES[:2]
    shape = (len(scales), len(skips), len(DEPTHS), draws)
    kappa, log, change, noise = np.empty((4, *shape))
    for c, p, draw in np.ndindex(len(scales), len(DEPTHS), draws):
        L = DEPTHS[p]
        W = scales[c] * rng.normal(size=(L, n, n)) / np.sqrt(n)
        off = rng.random((L, n)) < 0.5
        turned = np.argsort(rng.random((L, n)), axis=1) < flips
        for r, rho in enumerate(skips):
            before, after = (
                _spectra(_product(pieces.affine_piece(W, np.where(o, eta, 1.0), rho)))
                for o in (off, off ^ turned)
            )
            at = c, r, p, draw
            kappa[at] = sv.condition_number(before)
            log[at] = np.log10(before[0] / before[-1])  # drawn, noise and all
            change[at] = np.max(np.abs(after - before) / before)
            noise[at] = n * np.finfo(float).eps * before[0] / before[-1]
    dims = ("scale", "rho", "depth", "draw")
    about = "largest relative change of a singular value under flips"
    return xr.Dataset(
        {
            "condition": variable(dims, kappa, "1", "condition number of the product Q"),
            "median": variable(dims[:3], np.median(kappa, -1), "1", "median condition number"),
            "median_log": variable(
                dims[:3], np.median(log, -1), "1", "median log10 of the condition number"
            ),
            "median_log_error": variable(
                dims[:3], _median_error(log), "1", "standard error of the median"
            ),
            "change": variable(dims, change, "1", about),
            "change_error": variable(dims, noise, "1", "rounding error of the relative change"),
            "median_change": variable(dims[:3], np.median(change, -1), "1", f"median {about}"),
            "median_change_error": variable(
                dims[:3], _median_error(change), "1", "standard error of the median"
            ),
        },
        {
            "scale": variable("scale", list(scales), "1", "weight scale c"),
            "rho": variable("rho", list(skips), "1", "skip strength rho"),
            "depth": variable("depth", list(DEPTHS), "1", "number of layers p"),
        },
    )


def _product(stack: ArrayLike) -> np.ndarray:
    """M_p ... M_1 of a stack (p, n, n)."""
    return reduce(lambda Q, M: M @ Q, np.asarray(stack))


def _spectra(M: ArrayLike) -> np.ndarray:
    return np.linalg.svd(np.asarray(M), compute_uv=False)


def _median_error(values: np.ndarray) -> np.ndarray:
    """Half the distance of the order statistics one binomial deviation off the middle, or NaN."""
    n = values.shape[-1]
    spread = np.sqrt(n) / 2
    low, high = int(np.floor(n / 2 - spread)), min(int(np.ceil(n / 2 + spread)), n - 1)
    ordered = np.sort(values, -1)
    with np.errstate(invalid="ignore"):
        error = (ordered[..., high] - ordered[..., low]) / 2
    return np.where(np.isfinite(error), error, np.nan)
