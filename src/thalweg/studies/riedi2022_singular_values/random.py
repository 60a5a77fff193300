"""Experiments X1 and X2: condition numbers of random layers and of products of them."""

from __future__ import annotations

from functools import reduce

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import medians, over, table, variable
from thalweg.models import piecewise_affine as pieces
from thalweg.theory.landscape import singular_values as sv

SLOPES = {"ReLU": 0.0, "leaky ReLU": 0.1, "absolute value": -1.0}
SKIPS = (0.0, 0.25, 0.5, 1.0, 2.0)
SCALES = (0.2, 0.5, 1.0)
DEPTHS = (1, 3, 6)
N = 64
FLIPPED, LEAK = 4, 0.1  # X2: slopes of every layer that change between 1 and the leak


@experiment("X1", Draws(30), full={"draws": 300})
def layers(lab: Lab, size: Draws) -> xr.Dataset:
    """Condition number of D W + rho I, a random half of the slopes switched off.

    The same W and D serve every slope and every skip.
    """
    rng = np.random.default_rng(11)
    drawn = rng.normal(size=(len(SCALES), size.draws, N, N)) / np.sqrt(N)
    off = dict(zip(SCALES, rng.random((len(SCALES), size.draws, N)) < 0.5, strict=True))
    W = {c: c * part for c, part in zip(SCALES, drawn, strict=True)}

    def one(activation: str, scale: float) -> xr.Dataset:
        d = np.where(off[scale], SLOPES[activation], 1.0)
        spectra = [_spectra(pieces.affine_piece(W[scale], d, rho)) for rho in SKIPS]
        norm = spectra[0][:, 0]  # without a skip
        kappa = [sv.condition_number(s) for s in spectra]
        bound = [sv.shift_condition_bound(norm, rho) for rho in SKIPS]
        skips = {
            "condition": (kappa, "1", "condition number of D W + rho I"),
            "bound": (bound, "1", "bound (rho + s_1)/(rho - s_1) of the condition number"),
        }
        rho = (SKIPS, "1", "skip strength rho")
        return table({"rho draw": skips, "draw": {"norm": (norm, "1", "s_1(D W)")}}, rho=rho)

    found = over(one, activation=list(SLOPES), scale=(SCALES, "1", "weight scale c"))
    limit = variable("", sv.gaussian_norm(1.0, 0.5), "1", "limit of s_1(D W)/c for ReLU")
    return medians(found, "draw", "condition", "bound").assign(norm_limit=limit)


@experiment("X2", Draws(15), full={"draws": 150})
def depth(lab: Lab, size: Draws) -> xr.Dataset:
    """Condition number of a product of leaky layers, and what flipping slopes does to it."""
    rng, skips = np.random.default_rng(12), np.array([0.0, 1.0])

    def one(scale: float, depth: int, draw: int) -> xr.Dataset:
        W = scale * rng.normal(size=(depth, N, N)) / np.sqrt(N)
        off = rng.random((depth, N)) < 0.5
        turned = np.argsort(rng.random((depth, N)), axis=1) < FLIPPED
        before, after = (
            np.array([_spectra(_product(pieces.affine_piece(W, d, rho))) for rho in skips])
            for d in (np.where(slopes, LEAK, 1.0) for slopes in (off, off ^ turned))
        )
        ratio = before[:, 0] / before[:, -1]  # drawn, noise and all
        change = np.max(np.abs(after - before) / before, axis=1)
        noise = N * np.finfo(float).eps * ratio
        values = {
            "condition": (sv.condition_number(before), "1", "condition number of the product Q"),
            "log": (np.log10(ratio), "1", "log10 of the condition number of the product Q"),
            "change": (change, "1", "largest relative change of a singular value under flips"),
            "change_error": (noise, "1", "rounding error of the relative change"),
        }
        return table({"rho": values}, rho=(skips, "1", "skip strength rho"))

    found = over(
        one,
        scale=(SCALES[:2], "1", "weight scale c"),
        depth=(DEPTHS, "1", "number of layers p"),
        draw=range(size.draws),
    )
    return medians(found, "draw", "condition", "log", "change")


def _product(stack: ArrayLike) -> np.ndarray:
    """M_p ... M_1 of a stack (p, n, n)."""
    return reduce(lambda Q, M: M @ Q, np.asarray(stack))


def _spectra(M: ArrayLike) -> np.ndarray:
    return np.linalg.svd(np.asarray(M), compute_uv=False)
