"""The structure of F: Kronecker approximation and its inverse on a partly trained classifier."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.curvature import Kronecker, Whole, kronecker_fisher, whole_matrices
from thalweg.driver.path import paths
from thalweg.dynamics import optimiser
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import mlp
from thalweg.problems import digit_images, supervised

HIDDEN, LAST, GAMMA = (20, 20, 20, 20), 4, 0.1


@dataclass(frozen=True)
class Structure:
    """Seeds, steps of training and images that F is taken of."""

    seeds: int = 3
    steps: int = 60
    images: int = 500


@experiment("X3", Structure(), smoke={"seeds": 1, "images": 200}, full={"seeds": 10})
def structure(lab: Lab, size: Structure) -> xr.Dataset:
    """Mean magnitude of the blocks of F~ and of its inverse, by those of the diagonal."""
    images = digit_images(standardize="none")
    problem = supervised(mlp(HIDDEN, bias=True), images)

    def one(seed: int) -> xr.Dataset:
        rng = np.random.default_rng(seed)
        start = []
        for layer in problem.init(jax.random.key(0)):
            rows, columns = layer["weight"].shape
            W = rng.normal(size=(rows, columns)) / np.sqrt(columns)
            start.append({"weight": jnp.asarray(W), "bias": jnp.zeros(rows)})
        at = paths(optimiser("adam", 3e-3), problem, start, size.steps, 1, over=()).last.params
        part = problem.on(jnp.arange(size.images))
        both = whole_matrices(part, at, LAST)
        F, K = np.asarray(both.exact), np.asarray(both.approximate)
        damped = damped_blocks(K, both, kronecker_fisher(part, at, damping=GAMMA**2))
        blocks = {"kronecker": damped, "inverse": inverse_of(damped)}
        ratios = {name: block_ratios_of(M, both.sizes) for name, M in blocks.items()}
        found = {
            "kronecker": (ratios["kronecker"], "1", "blocks of the Kronecker approximation"),
            "inverse": (ratios["inverse"], "1", "blocks of its inverse"),
        }
        ends = {"apart": (np.linalg.norm(F - K) / np.linalg.norm(F), "1", "||F - F~||/||F||")}
        return table(
            {"row column": found, "": ends}, row=range(1, LAST + 1), column=range(1, LAST + 1)
        )

    return over(one, seed=range(size.seeds))


def damped_blocks(K: np.ndarray, both: Whole, damped: Kronecker) -> np.ndarray:
    """F~ with its diagonal blocks damped in their factors (E9), the others as they are."""
    f, found = damped.factors, K.copy()  # type: ignore[attr-defined]
    for i, (A, G) in enumerate(zip(f.inputs[-LAST:], f.outputs[-LAST:], strict=True)):
        found[both.block(i, i)] = np.kron(A, G)
    return found


def inverse_of(M: np.ndarray) -> np.ndarray:
    """The inverse."""
    return np.linalg.inv(M)


def block_ratios_of(M: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Mean |entry| of each block, over the geometric mean of the two diagonal blocks."""
    ends = np.concatenate([[0], np.cumsum(sizes)])
    cuts = [slice(a, b) for a, b in pairwise(ends)]
    mean = np.array([[np.mean(np.abs(M[a, b])) for b in cuts] for a in cuts])
    root = np.sqrt(np.diag(mean))
    return mean / np.outer(root, root)
