"""Digits: a net that fits them, noise about it, its stiff directions, and what bounds its gap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.tree import Params
from thalweg.curvature import (
    affine_set,
    essential_convexity,
    hessian,
    participation_ratio,
    subspace_overlap,
    walk_participation,
)
from thalweg.driver.path import flat_parameters, paths
from thalweg.dynamics import gradient_descent
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import layer_weights, mlp
from thalweg.oracles import isotropic
from thalweg.problems import Supervised, supervised
from thalweg.problems.data.images import digit_images
from thalweg.theory.landscape.spectral_bounds import spectral_norms, tube_gap_bound
from thalweg.theory.landscape.stagnation import noisy_variance, staying_probability

ETA, SIGMA, EXAMPLES, COMPONENTS = 0.5, 0.02, 400, 16
STIFF = 0.01  # of the largest eigenvalue
TOP, MORE = 10, 20  # eigenvectors
LOOK = 10  # steps from one look at the noisy phase to the next
TUBE = 3.0  # of a tube, in rms distances of the stationary law across it


def halves(seed: int, width: int) -> tuple[Supervised, Supervised]:
    """Training and test problem: principal components of the training part, rms norm 1."""
    data = digit_images(standardize="none")
    order = np.random.default_rng(seed).permutation(len(data.inputs))
    train, test = order[:EXAMPLES], order[EXAMPLES:]
    x, y = np.asarray(data.inputs), np.asarray(data.targets)
    middle = x[train].mean(0)
    axes = np.linalg.svd(x[train] - middle, full_matrices=False)[2][:COMPONENTS]
    z = (x - middle) @ axes.T
    z = z / np.sqrt(np.mean(np.sum(z[train] ** 2, axis=1)))
    model = mlp([width], "relu", bias=False, initialiser="he-normal")
    made = partial(supervised, model, loss="cross-entropy")
    return made((z[train], y[train])), made((z[test], y[test]))


def error_rate(problem: Supervised, params: Params) -> float:
    """The share of examples that are told wrong."""
    told = jnp.argmax(problem.outputs(params), axis=1)
    return float(jnp.mean(told != jnp.argmax(problem.targets, axis=1)))


def ramp(problem: Supervised, params: Params) -> float:
    """The mean of a loss in [0, 1]: 1 less the margin, cut off; 2-Lipschitz in the outputs."""
    out = problem.outputs(params)
    right = jnp.sum(out * problem.targets, axis=1)
    other = jnp.max(jnp.where(problem.targets > 0, -jnp.inf, out), axis=1)
    return float(jnp.mean(jnp.clip(1 - (right - other), 0, 1)))


def gradients(problem: Supervised, points: Array, unravel: Any) -> Float[np.ndarray, "n p"]:
    """The gradient at every point."""

    @jax.jit
    def all_of_them(points: Array) -> Array:
        def one(theta: Array) -> Array:
            return jax.grad(lambda t: problem.objective(unravel(t)))(theta)

        return jax.lax.map(one, points, batch_size=10)

    return np.asarray(all_of_them(points))


@dataclass(frozen=True)
class Digits:
    """Widths, seeds, and steps of descent and of the noisy phase."""

    widths: tuple[int, ...] = (16, 48)
    seeds: tuple[int, ...] = (0, 1)
    descent: int = 6000
    noisy: int = 2000


@experiment(
    "X3",
    Digits(),
    smoke={"widths": (16,), "seeds": (0,), "descent": 100, "noisy": 100},
    full={"widths": (16, 48, 128), "seeds": (0, 1, 2, 3)},
)
def noise_about_a_minimum(lab: Lab, size: Digits) -> xr.Dataset:
    """Descent to a fit of 400 digits, then noisy descent from there."""

    def one(width: int, seed: int) -> xr.Dataset:
        train, test = halves(seed, width)
        start = train.init(jax.random.key(seed))
        found = paths(
            gradient_descent(ETA), train, start, size.descent, 1, flat_parameters, over=()
        )
        centre, unravel = jnp.asarray(found.seen[-1]), ravel_pytree(start)[1]
        best = unravel(centre)
        noisy = gradient_descent(ETA, oracle=isotropic(SIGMA))
        records = size.noisy // LOOK
        key = jax.random.key(100 + seed)
        walk = paths(noisy, train, best, LOOK, records, flat_parameters, key, over=())
        theta = np.asarray(walk.seen)
        values, vectors = np.linalg.eigh(np.asarray(hessian(train, best).dense()))
        values, vectors = values[::-1], vectors[:, ::-1]
        return measured(train, test, unravel, theta, values, vectors, size)

    return over(
        one,
        width=(list(size.widths), "1", "hidden units"),
        seed=(list(size.seeds), "1", "seed"),
    )


def measured(
    train: Supervised,
    test: Supervised,
    unravel: Any,
    theta: Float[np.ndarray, "records p"],
    values: Float[np.ndarray, " p"],
    vectors: Float[np.ndarray, "p p"],
    size: Digits,
) -> xr.Dataset:
    """What is told of one noisy phase, theta_0 the minimum that it began at."""
    p, best = theta.shape[1], unravel(jnp.asarray(theta[0]))
    last, half = unravel(jnp.asarray(theta[-1])), len(theta) // 2
    moved, late = theta - theta[0], theta[half:]
    slopes = gradients(train, jnp.asarray(late), unravel)
    overlap = subspace_overlap(vectors[:, :TOP], slopes)
    top = np.sqrt(np.mean(np.sum((moved[half:] @ vectors[:, :MORE]) ** 2, axis=1)))
    rest = np.linalg.norm(moved[-1] - vectors[:, :MORE] @ (vectors[:, :MORE].T @ moved[-1]))
    stiff = vectors[:, values > STIFF * values[0]]
    k = stiff.shape[1]
    floor = affine_set(best, jnp.asarray(stiff))
    towards = essential_convexity(train, floor, jax.vmap(unravel)(jnp.asarray(late)))
    across = noisy_variance(values[:k], ETA, SIGMA)
    reach = TUBE * np.sqrt(np.sum(across))
    bound = 0.0
    if towards.convexity > 0:
        bound = staying_probability(
            size.noisy, reach, 0.0, k, ETA, SIGMA, towards.convexity, towards.smoothness
        ).probability
    norms = spectral_norms(layer_weights(best))
    layers = [
        np.linalg.norm(np.asarray(a - b), 2)
        for a, b in zip(layer_weights(last), layer_weights(best), strict=True)
    ]
    input_norm = float(np.max(np.linalg.norm(np.asarray(train.inputs), axis=1)))
    loss = [float(problem.objective(best)) for problem in (train, test)]
    told = {
        "parameters": (p, "1", "parameters"),
        "product": (np.prod(norms), "1", "product of the spectral norms"),
        "gap": (loss[1] - loss[0], "loss", "cross-entropy on test less training digits"),
        "train_error": (error_rate(train, best), "1", "training error"),
        "test_error": (error_rate(test, best), "1", "test error"),
        "ramp_gap": (ramp(test, best) - ramp(train, best), "1", "gap of the ramp loss"),
        "tube_bound": (
            tube_gap_bound(norms, layers, EXAMPLES, lipschitz=2**0.5, input_norm=input_norm),
            "1", "bound of the gap in a tube of the noisy phase",
        ),
        "stiff": (k, "1", "eigenvalues above 1 % of the largest"),
        "overlap": (np.mean(overlap.fraction), "1", "share of the gradient in the top 10"),
        "overlap_null": (overlap.null, "1", "that of a random direction"),
        "top": (top, "parameter", "rms distance in the top 20, second half"),
        "top_theory": (
            float(np.sum(noisy_variance(values[:MORE], ETA, SIGMA))) ** 0.5, "parameter",
            "of a quadratic",
        ),
        "rest": (rest, "parameter", "distance in the other directions at the end"),
        "rest_theory": (
            ETA * SIGMA * (size.noisy * (p - MORE)) ** 0.5, "parameter", "free diffusion",
        ),
        "participation": (participation_ratio(theta), "1", "participation ratio of the iterates"),
        "participation_null": (
            walk_participation(len(theta)).mean, "1", "that of a random walk",
        ),
        "convexity": (towards.convexity, "loss/parameter^2", "least secant ratio"),
        "smoothness": (towards.smoothness, "loss/parameter^2", "largest growth"),
        "violations": (towards.violations, "1", "share of points whose gradient leads away"),
        "staying_theory": (bound, "1", "bound of staying within three rms distances"),
    }  # fmt: skip
    steps = np.arange(len(theta)) * LOOK
    inside = np.linalg.norm(moved @ vectors[:, :MORE], axis=1)
    outside = np.sqrt(np.maximum(np.sum(moved**2, axis=1) - inside**2, 0))
    return table(
        {
            "": told,
            "step": {
                "inside": (inside, "parameter", "distance in the top 20 directions"),
                "outside": (outside, "parameter", "distance in the others"),
                "outside_theory": (
                    ETA * SIGMA * np.sqrt(steps * (p - MORE)), "parameter", "free diffusion",
                ),
            },
            "mode": {
                "eigenvalue": (values[:120], "loss/parameter^2", "Hessian eigenvalue"),
            },
        },
        step=steps,
        mode=(np.arange(1, 121), "1", "number of the eigenvalue"),
    )  # fmt: skip
