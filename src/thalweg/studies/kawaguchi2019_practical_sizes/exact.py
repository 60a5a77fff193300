"""The exact part of practical sizes: counts, gradient domination, rank of the Jacobian."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg import curvature
from thalweg.core import tree
from thalweg.core.tree import Params
from thalweg.dynamics import gradient_descent
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import Model, mlp, parameter_count
from thalweg.models.last_layer import affine_matrix
from thalweg.models.starts import gaussian_start
from thalweg.problems import Supervised, supervised
from thalweg.problems.data.random_labels import random_data
from thalweg.studies.kawaguchi2019_practical_sizes.descent import SIZES, Task, signs, task
from thalweg.theory.landscape import parameter_count as counting

NARROW = (16, 16)
FEATURES, PER_EXAMPLE = 32, 1.2
POINTS = 5
CONSTANT = "loss/parameter^2"


@experiment("counts")
def counts(lab: Lab) -> xr.Dataset:
    """C1: parameters of the narrow-wide net, counted and by formula."""

    def one(examples: int) -> xr.Dataset:
        net = counting.narrow_wide_net(examples, PER_EXAMPLE, NARROW)
        counted = parameter_count(net, FEATURES, 1)
        formula = counting.dense_count(FEATURES, net.hidden, 1)
        least = counting.minimum_parameters(examples)
        numbers = {
            "parameters": (float(counted), "1", "trainable parameters d"),
            "formula": (float(formula), "1", "d by E5"),
            "minimum": (float(least), "1", "least d for any labels, n"),
        }
        return table({"": numbers})

    return over(one, examples=SIZES)


@experiment("domination")
def domination(lab: Lab) -> xr.Dataset:
    """C2, C9: the gradient beside what the last layer guarantees, at random points and at a start.

    The sharp case has a last layer of zero and, as targets, the left singular vector of A that
    belongs to sigma_n; then all three numbers of the chain are equal.
    """
    net = counting.narrow_wide_net(SIZES[0], PER_EXAMPLE, NARROW)
    random = supervised(net, signs(SIZES[0], 0), "squared-error")
    draw = eqx.filter_jit(random.init)
    points = [
        curvature.gradient_domination(random, draw(jax.random.key(seed))) for seed in range(POINTS)
    ]
    whole, last, bound = zip(*points, strict=True)
    start = task(net, signs(SIZES[0], 0), 0)
    last_vector = np.linalg.svd(start.A, full_matrices=False)[0][:, -1:]
    sharp = supervised(net, (start.problem.inputs, last_vector), "squared-error")
    chain = curvature.gradient_domination(sharp, start.params)
    ratios = chain.whole / chain.bound, chain.last_layer / chain.bound
    groups: dict[str, Any] = {
        "point": {
            "whole": (whole, CONSTANT, "||grad L||^2 / 2L at random parameters"),
            "last_layer": (last, CONSTANT, "||dL/dV||^2 / 2L there"),
            "bound": (bound, CONSTANT, "sigma_n(A)^2 / n there"),
        },
        "": {
            "sharp": (ratios[0], "1", "||grad L||^2 n / 2 s^2 L, sharp"),
            "sharp_last_layer": (ratios[1], "1", "||dL/dV||^2 n / 2 s^2 L, sharp"),
        },
    }
    return table(groups).merge(_first_steps(lab, start))


@eqx.filter_jit
def _slope(problem: Supervised, params: Params) -> Params:
    return jax.grad(problem.objective)(params)


def _first_steps(lab: Lab, start: Task) -> xr.Dataset:
    """Gradients at a last layer of zero, and what two steps of descent do."""
    problem, params, A, eta = start
    Y, n = np.asarray(problem.targets), len(A)
    slope = _slope(problem, params)
    by_hand = -A.T @ Y / n
    last = affine_matrix(slope[-1])
    gap = np.linalg.norm(last - by_hand) / np.linalg.norm(by_hand)
    hidden = np.abs(tree.flatten(slope[:-1])).max()
    chain = curvature.gradient_domination(problem, params)
    sigma = np.linalg.svd(A, compute_uv=False)[-1]
    expected = np.sum((A.T @ Y) ** 2) / (sigma**2 * np.sum(Y**2))
    times = eta * np.arange(3)
    run = lab.run("first-steps", problem, gradient_descent(eta), start=params, times=times)
    paths = run.parameters.values[0][:, : tree.size(params[:-1])]
    moved = [np.linalg.norm(after - before) for before, after in pairwise(paths)]
    ratio, words = chain.whole / chain.bound, "||dL/dV + A^T Y / n|| / ||A^T Y / n|| at k = 0"
    numbers = {
        "hidden_slope": (hidden, "loss/parameter", "largest hidden slope at k = 0"),
        "last_slope_gap": (gap, "1", words),
        "ratio": (ratio, "1", "||grad L||^2 n / 2 s^2 L at k = 0"),
        "ratio_theory": (expected, "1", "||A^T Y||^2 / (sigma_n^2 ||Y||^2)"),
    }
    steps = {"moved": (moved, "parameter", "length of a step in the hidden layers")}
    return table({"": numbers, "step": steps})


@dataclass(frozen=True)
class Jacobians:
    """Nets by name: examples, units, outputs."""

    nets: tuple[tuple[str, int, int, int], ...]


@experiment(
    "rank",
    Jacobians((("d < n", 40, 2, 1), ("d > n", 40, 5, 1), ("two outputs, d < 2 n", 20, 2, 2))),
    smoke={"nets": (("d < n", 12, 1, 1), ("d > n", 12, 2, 1))},
)
def rank(lab: Lab, size: Jacobians) -> xr.Dataset:
    """C3: rank of the Jacobian of two-layer tanh nets at two points, and what it leaves out."""
    shapes = {name: shape for name, *shape in size.nets}

    def one(net: str) -> xr.Dataset:
        n, units, outputs = shapes[net]
        drawn = gaussian_start(mlp((units,), "tanh"), 1.5)
        found = [_rank(drawn, n, outputs, key) for key in jax.random.split(jax.random.key(0))]
        ranks, left, leaks, spaces = zip(*found, strict=True)
        overlap = np.sum((spaces[0].T @ spaces[1]) ** 2) / max(spaces[0].shape[1], 1)
        count = parameter_count(drawn, 8, outputs)
        numbers = counting.minimum_parameters(n, outputs)
        groups: dict[str, Any] = {
            "point": {
                "rank": (ranks, "1", "numerical rank of J"),
                "complement": (left, "1", "directions that J leaves out"),
                "leak": (leaks, "1", "largest |c^T J| / sigma_1(J)"),
            },
            "": {
                "overlap": (overlap, "1", "shared part of the complements, 1 if equal"),
                "parameters": (count, "1", "trainable parameters d"),
                "numbers": (numbers, "1", "numbers to fit, n m_y"),
            },
        }
        return table(groups)

    return over(one, net=list(shapes))


def _rank(net: Model, n: int, outputs: int, key: Array) -> tuple[int, int, float, np.ndarray]:
    """Rank, size of the complement, leak and complement at one point."""
    data = random_data(n, 8, "gaussian")
    problem = supervised(net, (data.inputs, np.zeros((n, outputs))), "squared-error")
    J = curvature.jacobian(problem, eqx.filter_jit(problem.init)(key))
    found = curvature.jacobian_rank(J.dense())
    free = found.complement.shape[1]
    pulled = np.asarray(J.T @ jnp.asarray(found.complement)) if free else np.zeros((1, 1))
    leak = np.linalg.norm(pulled, axis=0).max() / found.singular_values[0]
    return found.rank, free, float(leak), found.complement
