"""What needs no training: perturbed nets, bounds against the number of examples, random walks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr

from thalweg.curvature import participation_ratio, walk_participation
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import table
from thalweg.theory.landscape.spectral_bounds import (
    entropy_gap_bound,
    perturbation_bound,
    spectral_norms,
    tube_gap_bound,
)

TIGHT = 1e-6  # d of the pair that attains the bound up to d/2
NORMS, RADII, DISTANCES = (1.2, 1.0, 0.8), (0.1, 0.1, 0.2), (0.1, 0.1, 0.1)


def outputs(weights: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """A ReLU net without biases."""
    for A in weights[:-1]:
        x = np.maximum(A @ x, 0)
    return weights[-1] @ x


def ratio(left: list[np.ndarray], right: list[np.ndarray], x: np.ndarray) -> float:
    """How much of the perturbation bound two nets use."""
    apart = float(np.linalg.norm(outputs(left, x) - outputs(right, x)))
    return apart / (perturbation_bound(left, right) * float(np.linalg.norm(x)))


@dataclass(frozen=True)
class Pairs:
    """Random pairs of nets of each depth."""

    pairs: int = 750
    seed: int = 0


@experiment("X0", Pairs(), smoke={"pairs": 200}, full={"pairs": 25_000})
def perturbed_nets(lab: Lab, size: Pairs) -> xr.Dataset:
    """Outputs of nets that are near each other, over what spectral norms allow."""
    rng, depths = np.random.default_rng(size.seed), np.arange(1, 5)

    def one(depth: int) -> float:
        widths = rng.integers(1, 7, size=depth + 1)
        left = [rng.normal(size=(b, a)) for a, b in pairwise(widths)]
        right = [A + 10 ** rng.uniform(-3, 0.5) * rng.normal(size=A.shape) for A in left]
        return ratio(left, right, rng.normal(size=widths[0]))

    ratios = np.array([[one(int(depth)) for _ in range(size.pairs)] for depth in depths])
    u = np.full(4, 0.5)
    pair = [2 * np.outer(u, u)] * 3, [(2 - TIGHT) * np.outer(u, u)] * 3
    return table(
        {
            "depth": {
                "ratio": (ratios.max(1), "1", "largest share of the bound that is used"),
                "median": (np.median(ratios, axis=1), "1", "median share"),
            },
            "": {"tight": (ratio(*pair, u), "1", "share used by nets of rank one")},
        },
        depth=(depths, "1", "layers"),
    )


@experiment("X6")
def bounds_and_examples(lab: Lab) -> xr.Dataset:
    """The bounds of the gap against the number of examples, at fixed norms and radii."""
    n = 10.0 ** np.arange(4, 11)

    def net(width: int) -> list[np.ndarray]:
        """Matrices of these spectral norms, whatever the width."""
        rng = np.random.default_rng(width)
        drawn = [rng.normal(size=(width, width)) for _ in NORMS]
        return [s * A / np.linalg.norm(A, 2) for s, A in zip(NORMS, drawn, strict=True)]

    tube = [[tube_gap_bound(spectral_norms(net(w)), RADII, m) for m in n] for w in (8, 64)]
    entropy = np.array([entropy_gap_bound(NORMS, DISTANCES, m, 64) for m in n])
    return table(
        {
            "width examples": {"tube": (tube, "1", "bound by tubes about a reference")},
            "examples": {
                "entropy": (entropy, "1", "bound by covering numbers"),
                "rate": (entropy * np.sqrt(n) / np.log(n), "1", "that times sqrt(n)/ln n"),
            },
        },
        width=([8, 64], "1", "width"),
        examples=(n, "1", "examples n"),
    )


@dataclass(frozen=True)
class Walks:
    """Random walks."""

    walks: int = 5
    dimensions: int = 2000
    steps: int = 400


@experiment("X5", Walks(), full={"walks": 40})
def random_walks(lab: Lab, size: Walks) -> xr.Dataset:
    """The participation ratio of random walks in many dimensions."""
    rng = np.random.default_rng(5)
    walks = [
        participation_ratio(np.cumsum(rng.normal(size=(size.steps, size.dimensions)), axis=0))
        for _ in range(size.walks)
    ]
    null = walk_participation(size.steps)
    return table(
        {
            "walk": {"participation": (walks, "1", "participation ratio of a random walk")},
            "": {"null": (null.mean, "1", "in the limit of many dimensions")},
        },
        walk=(np.arange(size.walks), "1", "walk"),
    )
