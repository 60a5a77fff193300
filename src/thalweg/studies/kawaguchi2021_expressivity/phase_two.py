"""Experiment X3 of the expressivity condition: phase 2 against its certificates."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.linalg
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array
from numpy.typing import NDArray

from thalweg import curvature
from thalweg.core.tree import Params
from thalweg.dynamics import gradient_descent
from thalweg.dynamics.two_phase_training import CERTIFIED, two_phase
from thalweg.lab.study import Lab, variable
from thalweg.models import expressivity
from thalweg.problems import Supervised, supervised
from thalweg.problems.last_layer import last_layer_problem, loss_smoothness
from thalweg.problems.losses import cross_entropy
from thalweg.studies.kawaguchi2021_expressivity.condition import EXAMPLES, WIDE, digits, net
from thalweg.studies.kawaguchi2021_expressivity.training import (
    MOMENTUM,
    NOISE,
    RATE,
    SGD,
    hidden_part,
    unraveller,
)
from thalweg.theory.descent import last_layer

LABELS = ("true", "random")
STEPS, EXACT = 3000, 1000  # of phase 2, and how far the closed form is held
WIDTHS = (20, 60, 100, 150, 190, 199, 220)
CLASSES = 10


def labels(kind: str, seed: int = 0) -> NDArray[np.int64]:
    """The digits' own labels, or labels drawn without looking at them."""
    if kind == "true":
        return digits().y
    return np.random.default_rng(1000 + seed).integers(CLASSES, size=EXAMPLES)


def squared(hidden: Sequence[int], kind: str, seed: int = 0) -> Supervised:
    """A net on the digits with half the squared distance from one-hot labels."""
    targets = np.eye(CLASSES)[labels(kind, seed)]
    return supervised(net(hidden), (digits().x, targets), "squared-error")


def stacked(layer: Params) -> NDArray[np.float64]:
    """V = [W^T; b^T] of the last layer."""
    return np.vstack([np.asarray(layer["weight"]).T, np.asarray(layer["bias"])])


def unstacked(V: NDArray[np.float64]) -> Params:
    """The last layer of V."""
    return {"weight": jnp.asarray(V[:-1].T), "bias": jnp.asarray(V[-1])}


def phase_two(lab: Lab) -> xr.Dataset:
    """Descent with 1/L_H from a perturbed random start, true and random labels."""
    return phases(lab, STEPS, EXACT, 10 if lab.full else 2)


def phases(lab: Lab, steps: int, exact: int, seeds: int) -> xr.Dataset:
    """Phase 2 recorded at 61 steps, the first of them up to `exact` beside the closed form."""
    after = np.unique(np.linspace(1, steps, 61).round().astype(int))
    process = two_phase(SGD, RATE, 0, NOISE, last_step_size=CERTIFIED)
    found = []
    for kind in LABELS:
        problem = squared((64, WIDE), kind)
        run = lab.run(
            f"X3-{kind}", problem, process, times=RATE * np.array([0, *after]), seeds=seeds
        ).dataset
        theta = run["parameters"].values
        losses = run["loss"].values
        found.append([_one(problem, *one, after, exact) for one in zip(theta, losses, strict=True)])
    names = {
        "loss": ("loss", "training loss"),
        "loss_bound": ("loss", "bound on the training loss, E6"),
        "loss_theory": ("loss", "training loss by the closed form, E8"),
        "residual_gap": ("1", "|residual - closed form|/|residual|"),
        "hidden_change": ("parameter", "largest change of a hidden parameter in phase 2"),
        "midpoint_gap": ("loss", "mean of two losses - loss at the midpoint"),
        "midpoint_theory": ("loss", "the same by |A (V - V')|^2/(8 n)"),
        "least_loss": ("loss", "loss at the least-squares last layer"),
        "rank": ("1", "numerical rank at the perturbed start"),
        "margin": ("1", "smallest/largest singular value"),
        "distance_squared": ("parameter^2", "R^2, squared distance of the nearest minimiser"),
        "last_change": ("parameter", "largest change of any parameter in phase 2"),
    }
    dims = {
        **dict.fromkeys(("loss", "loss_bound", "loss_theory", "hidden_change"), ("step",)),
        "residual_gap": ("step",),
        "midpoint_gap": ("pair",),
        "midpoint_theory": ("pair",),
    }
    data = {
        name: variable(
            ("labels", "seed", *dims.get(name, ())),
            [[one[name] for one in row] for row in found],
            unit,
            words,
        )
        for name, (unit, words) in names.items()
    }
    return xr.Dataset(
        data,
        {
            "labels": list(LABELS),
            "seed": np.arange(seeds),
            "step": variable("step", after, "1", "steps of phase 2"),
        },
    )


def _one(
    problem: Supervised,
    path: NDArray[np.float64],
    losses: NDArray[np.float64],
    after: NDArray[np.int64],
    exact: int,
) -> dict[str, NDArray[np.float64] | float]:
    """One seed: flat parameters and losses before phase 2, then at the steps `after`."""
    x, Y, n = problem.inputs, np.asarray(problem.targets), len(problem.inputs)
    unravel = unraveller(problem)
    points = [unravel(theta) for theta in jnp.asarray(path)]
    A = np.asarray(expressivity.feature_matrix(problem.model, points[1], x))
    V = [stacked(point[-1]) for point in points]
    verdict = expressivity.rank_of(A)
    residual = np.asarray(_outputs(problem, jax.vmap(unravel)(jnp.asarray(path[1:])))) - Y
    theory = last_layer.descent_residual(A, A @ V[0] - Y, after)
    gap = np.linalg.norm(residual - theory, axis=(1, 2)) / np.linalg.norm(theory, axis=(1, 2))
    best = last_layer.nearest_minimiser(A, Y, V[0])
    R = float(np.linalg.norm(V[0] - best))
    L_H = last_layer.last_layer_smoothness(A, loss_smoothness(problem.loss))
    hidden = hidden_part(problem, path[1:])
    gaps, expected = _midpoints(problem, points, A, V)
    return {
        "loss": losses[1:],
        "loss_bound": last_layer.descent_bound(L_H, R, 1.0).at(after),
        "loss_theory": np.sum(theory**2, axis=(1, 2)) / (2 * n),
        "residual_gap": np.where(after <= exact, gap, 0.0),
        "hidden_change": np.abs(hidden - hidden[0]).max(-1),
        "midpoint_gap": gaps,
        "midpoint_theory": expected,
        "least_loss": float(problem.objective([*points[1][:-1], unstacked(best)])),
        "rank": verdict.rank,
        "margin": verdict.margin,
        "distance_squared": R**2,
        "last_change": float(np.abs(path[-1] - path[1]).max()),
    }


@eqx.filter_jit
def _outputs(problem: Supervised, points: Params) -> Array:
    return jax.lax.map(problem.outputs, points)


@eqx.filter_jit
def _objective(problem: Supervised, params: Params) -> Array:
    return problem.objective(params)


def _midpoints(
    problem: Supervised,
    points: list[Params],
    A: NDArray[np.float64],
    V: list[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(L(V) + L(V'))/2 - L((V + V')/2) for 20 random pairs about the path of phase 2."""
    rng = np.random.default_rng(2)
    hidden = points[1][:-1]

    def objective(V: NDArray[np.float64]) -> float:
        return float(_objective(problem, [*hidden, unstacked(V)]))

    gaps, expected = [], []
    for _ in range(20):
        i, j = rng.integers(1, len(V), 2)
        one, two = (V[k] + 0.1 * rng.standard_normal(V[k].shape) for k in (i, j))
        ends = [objective(one), objective(two)]
        gaps.append(np.mean(ends) - objective((one + two) / 2))
        expected.append(np.sum((A @ (one - two)) ** 2) / (8 * len(A)))
    return np.array(gaps), np.array(expected)


def every_step(lab: Lab) -> xr.Dataset:
    """The loss of phase 2 at every single step, beside the bound E6."""
    steps, losses, bounds = STEPS, [], []
    for kind in LABELS:
        problem = squared((64, WIDE), kind)
        params = problem.init(jax.random.key(0))
        last = last_layer_problem(problem, params)
        A = np.asarray(expressivity.feature_matrix(problem.model, params, problem.inputs))
        V = stacked(params[-1])
        best = last_layer.nearest_minimiser(A, np.asarray(problem.targets), V)
        L_H = last_layer.last_layer_smoothness(A, loss_smoothness(problem.loss))
        run = lab.run(
            f"X3-steps-{kind}",
            last,
            gradient_descent(1 / L_H),
            until=steps / L_H,
            records=steps,
            parameters=False,
        ).dataset
        bound = last_layer.descent_bound(L_H, float(np.linalg.norm(V - best)), 1 / L_H)
        losses.append(run["loss"].values[0, 1:])
        bounds.append(bound.at(run["time"].values[1:]))
    dims = ("labels", "step")
    return xr.Dataset(
        {
            "loss": variable(dims, losses, "loss", "training loss"),
            "loss_bound": variable(dims, bounds, "loss", "bound on the training loss, E6"),
        },
        {
            "labels": list(LABELS),
            "step": variable("step", np.arange(1, steps + 1), "1", "steps of phase 2"),
        },
    )


def floors(lab: Lab) -> xr.Dataset:
    """Random labels and last hidden layers of too few units: where phase 2 must end."""
    draws, n = 20 if lab.full else 4, EXAMPLES
    features = wide_features(draws)
    table = np.empty((len(WIDTHS), draws, 4))
    for i, width in enumerate(WIDTHS):
        for seed, h in enumerate(features[:, :, :width]):
            A, Y = np.column_stack([h, np.ones(n)]), np.eye(CLASSES)[labels("random", seed)]
            rank = last_layer.range_basis(A).shape[1]
            table[i, seed] = (
                rank,
                last_layer.least_squares_floor(A, Y),
                solved(h, Y),
                last_layer.random_label_floor(n, rank, CLASSES),
            )
    loss, floor = narrow(lab, 3000)
    dims = ("width", "seed")
    return xr.Dataset(
        {
            "rank": variable(dims, table[..., 0], "1", "numerical rank of [h, 1]"),
            "floor": variable(dims, table[..., 1], "loss", "floor by projection, E9"),
            "floor_solved": variable(dims, table[..., 2], "loss", "loss of a least-squares solve"),
            "floor_theory": variable(dims, table[..., 3], "loss", "expected floor"),
            "narrow_loss": variable((), loss, "loss", "loss after phase 2, 20 units"),
            "narrow_floor": variable((), floor, "loss", "its floor, 20 units"),
        },
        {
            "width": variable("width", WIDTHS, "1", "units of the last hidden layer"),
            "seed": np.arange(draws),
        },
    )


def wide_features(draws: int) -> NDArray[np.float64]:
    """Features of perturbed random starts, (draws, n, 220); the first m are those of width m."""
    problem = squared((64, max(WIDTHS)), "random")

    def one(key: Array) -> Array:
        start, shake = jax.random.split(key)
        flat, unravel = ravel_pytree(problem.init(start))
        params = unravel(flat + NOISE * jax.random.normal(shake, flat.shape))
        return problem.model.features(params, problem.inputs)

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(7), draws)))


def solved(h: NDArray[np.float64], Y: NDArray[np.float64]) -> float:
    """The least loss of V on features h and ones, by LAPACK's SVD of columns scaled to norm 1."""
    A = np.column_stack([h, np.ones(len(h))])
    cut, norms = max(A.shape) * np.finfo(float).eps, np.linalg.norm(A, axis=0)
    A = A[:, norms > cut * np.linalg.norm(A, 2)]
    A = A / np.linalg.norm(A, axis=0)
    V = scipy.linalg.lstsq(A, Y, cond=cut, lapack_driver="gelsd")[0]
    return float(np.sum((A @ V - Y) ** 2) / (2 * len(Y)))


def narrow(lab: Lab, steps: int) -> tuple[float, float]:
    """The loss after many steps of phase 2 with too few units, and its floor.

    Heavy momentum goes far enough for a phase 2 that trained more than the last layer to pass it.
    """
    problem = squared((64, WIDTHS[0]), "random")
    rate = 0.01  # at RATE all layers together would diverge
    process = two_phase(optax.sgd(rate, momentum=MOMENTUM), rate, 1, NOISE)
    run = lab.run(f"X3-narrow-{steps}", problem, process, times=rate * np.array([2, steps])).dataset
    params = unraveller(problem)(jnp.asarray(run["parameters"].values[0, 0]))
    A = np.asarray(expressivity.feature_matrix(problem.model, params, problem.inputs))
    floor = last_layer.least_squares_floor(A, np.asarray(problem.targets))
    return float(run["loss"].values[0, -1]), floor


def smoothness(lab: Lab) -> xr.Dataset:
    """The largest Hessian eigenvalue of phase 2 for both losses, beside E4."""
    data, starts = digits(), 20 if lab.full else 4
    measured, residual, theory = [], [], []
    for loss in ("squared-error", "cross-entropy"):
        problem = supervised(net((64, WIDE)), (data.x, data.y), loss)
        for seed in range(starts):
            params = problem.init(jax.random.key(seed))
            params[-1] = jax.tree.map(lambda leaf, size=seed: leaf * size, params[-1])
            last = last_layer_problem(problem, params)
            pairs = curvature.top_k(
                curvature.hessian(last, params[-1]), 1, jax.random.key(9), tolerance=1e-8
            )
            A = expressivity.feature_matrix(problem.model, params, problem.inputs)
            measured.append(float(pairs.values[0]))
            residual.append(float(pairs.residuals[0]))
            theory.append(
                last_layer.last_layer_smoothness(np.asarray(A), loss_smoothness(problem.loss))
            )
    logits = jnp.asarray(np.random.default_rng(3).normal(0, 8, (4000, CLASSES)))
    hessians = jax.vmap(jax.hessian(cross_entropy), (0, None))(logits, jnp.eye(CLASSES)[0])
    shape, dims = (2, starts), ("loss", "seed")
    unit = "loss/parameter^2"
    return xr.Dataset(
        {
            "eigenvalue": variable(
                dims, np.reshape(measured, shape), unit, "largest Hessian eigenvalue"
            ),
            "eigenvalue_error": variable(
                dims, np.reshape(residual, shape), unit, "residual of the eigenpair"
            ),
            "eigenvalue_theory": variable(dims, np.reshape(theory, shape), unit, "L_H, E4"),
            "softmax": variable(
                (), jnp.linalg.eigvalsh(hessians).max(), "loss/output^2", "largest over logits"
            ),
        },
        {"loss": ["squared-error", "cross-entropy"], "seed": np.arange(starts)},
    )
