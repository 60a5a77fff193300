"""The exact part of practical sizes: counts, gradient domination, rank of the Jacobian."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core import tree
from thalweg.core.tree import Params
from thalweg.dynamics import gradient_descent
from thalweg.models import Model, mlp
from thalweg.models.last_layer import last_layer_inputs
from thalweg.models.starts import gaussian_start
from thalweg.problems import Supervised, supervised
from thalweg.problems.random_labels import random_data
from thalweg.studies.kawaguchi2019_practical_sizes_descent import SIZES, signs, task
from thalweg.studies.study import Lab, variable
from thalweg.theory import parameter_count, polyak_lojasiewicz

NARROW = (16, 16)
FEATURES, PER_EXAMPLE = 32, 1.2
POINTS = 5


def counts(lab: Lab) -> xr.Dataset:
    """C1: parameters of the narrow-wide net, counted and by formula."""
    nets = [parameter_count.narrow_wide_net(n, PER_EXAMPLE, NARROW) for n in SIZES]
    counted = [parameter_count.parameter_count(net, FEATURES, 1) for net in nets]
    formula = [parameter_count.dense_count(FEATURES, net.hidden, 1) for net in nets]
    least = [parameter_count.minimum_parameters(n) for n in SIZES]
    return xr.Dataset(
        {
            "parameters": variable("examples", counted, "1", "trainable parameters d"),
            "formula": variable("examples", formula, "1", "d by E5"),
            "minimum": variable("examples", least, "1", "least d for any labels, n"),
        },
        {"examples": list(SIZES)},
    )


def domination(lab: Lab) -> xr.Dataset:
    """C2, C9: the gradient beside what the last layer guarantees, at random points and at a start.

    The sharp case has a last layer of zero and, as targets, the left singular vector of A that
    belongs to sigma_n; then all three numbers of the chain are equal.
    """
    net = parameter_count.narrow_wide_net(SIZES[0], PER_EXAMPLE, NARROW)
    random = supervised(net, signs(SIZES[0], 0), "squared-error")
    points = [
        polyak_lojasiewicz.gradient_domination(random, random.init(jax.random.key(seed)))
        for seed in range(POINTS)
    ]
    start = task(net, signs(SIZES[0], 0), 0)
    params = start.problem.init(jax.random.key(0))
    A = last_layer_inputs(net, params, start.problem.inputs)
    last_vector = np.linalg.svd(np.asarray(A), full_matrices=False)[0][:, -1:]
    sharp = supervised(start.problem.model, (start.problem.inputs, last_vector), "squared-error")
    unit = "loss/parameter^2"
    whole, last, bound = (np.asarray(column) for column in zip(*points, strict=True))
    chain = polyak_lojasiewicz.gradient_domination(sharp, params)
    return xr.Dataset(
        {
            "whole": variable("point", whole, unit, "||grad L||^2 / 2L at random parameters"),
            "last_layer": variable("point", last, unit, "||dL/dV||^2 / 2L there"),
            "bound": variable("point", bound, unit, "sigma_n(A)^2 / n there"),
            "sharp": variable(
                (), chain.whole / chain.bound, "1", "||grad L||^2 n / 2 s^2 L, sharp"
            ),
            "sharp_last_layer": variable(
                (), chain.last_layer / chain.bound, "1", "||dL/dV||^2 n / 2 s^2 L, sharp"
            ),
            **_first_steps(lab, start.problem, start.step_size, params, A),
        }
    )


def _first_steps(
    lab: Lab, problem: Supervised, step_size: float, params: Params, A: Array
) -> dict[str, xr.Variable]:
    """Gradients at a last layer of zero, and what two steps of descent do."""
    slope = jax.grad(problem.objective)(params)
    Y, n = problem.targets, len(problem.inputs)
    by_hand = -A.T @ Y / n
    last = jnp.concatenate([slope[-1]["weight"].T, slope[-1]["bias"][None]])
    hidden = jnp.max(jnp.abs(tree.flatten(slope[:-1])))
    chain = polyak_lojasiewicz.gradient_domination(problem, params)
    sigma = np.linalg.svd(np.asarray(A), compute_uv=False)[-1]
    expected = jnp.sum((A.T @ Y) ** 2) / (sigma**2 * jnp.sum(Y**2))
    run = lab.run(
        "first-steps", problem, gradient_descent(step_size), times=step_size * np.arange(3)
    )
    paths = run.parameters.values[0][:, : tree.size(params[:-1])]
    moved = [np.linalg.norm(after - before) for before, after in pairwise(paths)]
    return {
        "hidden_slope": variable((), hidden, "loss/parameter", "largest hidden slope at k = 0"),
        "last_slope_gap": variable(
            (),
            jnp.linalg.norm(last - by_hand) / jnp.linalg.norm(by_hand),
            "1",
            "||dL/dV + A^T Y / n|| / ||A^T Y / n|| at k = 0",
        ),
        "ratio": variable((), chain.whole / chain.bound, "1", "||grad L||^2 n / 2 s^2 L at k = 0"),
        "ratio_theory": variable((), expected, "1", "||A^T Y||^2 / (sigma_n^2 ||Y||^2)"),
        "moved": variable("step", moved, "parameter", "length of a step in the hidden layers"),
    }


NETS = {"d < n": (40, 2, 1), "d a little < n": (40, 3, 1), "two outputs": (20, 2, 2)} | {
    "d > n": (40, 5, 1)
}  # examples, units, outputs


def rank(lab: Lab) -> xr.Dataset:
    """C3: rank of the Jacobian of two-layer tanh nets at two points, and what it leaves out."""
    rows = []
    for seed, (n, units, outputs) in enumerate(NETS.values()):
        net = gaussian_start(mlp((units,), "tanh"), 1.5)
        x = jnp.asarray(random_data(n, 8, "gaussian", seed=seed).inputs)
        found = [_rank(net, x, outputs, key) for key in jax.random.split(jax.random.key(seed))]
        spaces = [space for *_, space in found]
        overlap = jnp.sum((spaces[0].T @ spaces[1]) ** 2) / max(spaces[0].shape[1], 1)
        ranks, sizes, leaks = zip(*((r, s.shape[1], leak) for r, leak, s in found), strict=True)
        count = parameter_count.parameter_count(net, 8, outputs)
        numbers = parameter_count.minimum_parameters(n, outputs)
        rows.append((ranks, sizes, leaks, overlap, count, numbers))
    ranks, sizes, leaks, overlap, count, numbers = zip(*rows, strict=True)
    both = ("net", "point")
    return xr.Dataset(
        {
            "rank": variable(both, ranks, "1", "numerical rank of J"),
            "complement": variable(both, sizes, "1", "directions that J leaves out"),
            "leak": variable(both, leaks, "1", "largest |c^T J| / sigma_1(J)"),
            "overlap": variable("net", overlap, "1", "shared part of the complements, 1 if equal"),
            "parameters": variable("net", count, "1", "trainable parameters d"),
            "numbers": variable("net", numbers, "1", "numbers to fit, n m_y"),
        },
        {"net": list(NETS)},
    )


def _rank(net: Model, x: Array, outputs: int, key: Array) -> tuple[int, float, Array]:
    """Rank, leak and complement; the leak by products with J^T alone, without J itself."""
    params = net.init(key, x.shape[1:], outputs)
    found = parameter_count.jacobian_rank(lambda p: net.apply(p, x), params)
    pull = jax.vjp(lambda p: net.apply(p, x).ravel(), params)[1]
    if found.complement.shape[1] == 0:
        return found.rank, 0.0, found.complement
    pulled = jax.vmap(lambda c: jnp.linalg.norm(tree.flatten(pull(c)[0])))(found.complement.T)
    return found.rank, float(pulled.max() / found.singular_values[0]), found.complement
