"""Phase 2 against its certificates: X3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import feature_rank
from thalweg.models.last_layer import affine_layer, affine_matrix
from thalweg.problems import Supervised, supervised
from thalweg.problems.last_layer import last_layer_problem, loss_smoothness
from thalweg.problems.losses import cross_entropy
from thalweg.problems.problem import unraveller
from thalweg.problems.recorded_outputs import outputs_at
from thalweg.studies.kawaguchi2021_expressivity.condition import (
    EXAMPLES,
    MARGIN,
    WIDE,
    digits,
    net,
)
from thalweg.studies.kawaguchi2021_expressivity.training import (
    MOMENTUM,
    NOISE,
    RATE,
    SGD,
    hidden_part,
)
from thalweg.theory.descent import last_layer

LABELS, CLASSES = ("true", "random"), 10
SLOW = 0.01  # at RATE all layers together would diverge
SLOWER = optax.sgd(SLOW, momentum=MOMENTUM)  # one object, so that it is compiled once
LOSS_BOUND = "bound on the training loss, E6"


def labels(kind: str, seed: int = 0) -> NDArray[np.int64]:
    """The digits' own labels, or labels drawn without looking at them."""
    if kind == "true":
        return digits().y
    return np.random.default_rng(1000 + seed).integers(CLASSES, size=EXAMPLES)


def squared(hidden: Sequence[int], kind: str, seed: int = 0) -> Supervised:
    """A net on the digits with half the squared distance from one-hot labels."""
    targets = np.eye(CLASSES)[labels(kind, seed)]
    return supervised(net(hidden), (digits().x, targets), "squared-error")


@dataclass(frozen=True)
class PhaseTwo:
    """Steps of phase 2, how far the closed form is held, and seeds."""

    steps: int = 3000
    exact: int = 1000
    seeds: int = 2


@experiment("X3", PhaseTwo(), smoke={"steps": 60, "exact": 60, "seeds": 1}, full={"seeds": 10})
def phase_two(lab: Lab, size: PhaseTwo) -> xr.Dataset:
    """Descent with 1/L_H from a perturbed random start, at 61 steps, true and random labels."""
    after = np.unique(np.linspace(1, size.steps, 61).round().astype(int))
    process = two_phase(SGD, RATE, 0, NOISE, last_step_size=CERTIFIED)
    times, problems = (
        RATE * np.array([0, *after]),
        {kind: squared((64, WIDE), kind) for kind in LABELS},
    )
    runs = {
        kind: lab.run(f"X3-{kind}", problem, process, times=times, seeds=size.seeds).dataset
        for kind, problem in problems.items()
    }

    def one(labels: str, seed: int) -> xr.Dataset:
        run = runs[labels]
        path, losses = run["parameters"].values[seed], run["loss"].values[seed]
        return _beside_theory(problems[labels], path, losses, after, size.exact)

    return over(one, labels=LABELS, seed=range(size.seeds))


def _beside_theory(
    problem: Supervised,
    path: NDArray[np.float64],
    losses: NDArray[np.float64],
    after: NDArray[np.int64],
    exact: int,
) -> xr.Dataset:
    """One seed: flat parameters and losses before phase 2, then at the steps `after`."""
    x, Y, n = problem.inputs, np.asarray(problem.targets), len(problem.inputs)
    unravel = unraveller(problem)
    points = [unravel(theta) for theta in jnp.asarray(path)]
    A = np.asarray(feature_rank.feature_matrix(problem.model, points[1], x))
    V = [np.asarray(affine_matrix(point[-1])) for point in points]
    verdict = feature_rank.rank_of(A)
    residual = np.asarray(outputs_at(problem, path[1:])) - Y
    theory = last_layer.descent_residual(A, A @ V[0] - Y, after)
    gap = np.linalg.norm(residual - theory, axis=(1, 2)) / np.linalg.norm(theory, axis=(1, 2))
    best = last_layer.nearest_minimiser(A, Y, V[0])
    R = float(np.linalg.norm(V[0] - best))
    L_H = last_layer.last_layer_smoothness(A, loss_smoothness(problem.loss))
    bound = last_layer.descent_bound(L_H, R, 1.0).at(after)
    closed, held = np.sum(theory**2, axis=(1, 2)) / (2 * n), np.where(after <= exact, gap, 0.0)
    hidden = hidden_part(problem, path[1:])
    still, moved = np.abs(hidden - hidden[0]).max(-1), np.abs(path[-1] - path[1]).max()
    gaps, expected = _midpoints(problem, points, A, V)
    least = problem.objective([*points[1][:-1], affine_layer(best)])
    change = "largest change of a hidden parameter in phase 2"
    groups = {
        "step": {
            "loss": (losses[1:], "loss", "training loss"),
            "loss_bound": (bound, "loss", LOSS_BOUND),
            "loss_theory": (closed, "loss", "training loss by the closed form, E8"),
            "residual_gap": (held, "1", "|residual - closed form|/|residual|"),
            "hidden_change": (still, "parameter", change),
        },
        "pair": {
            "midpoint_gap": (gaps, "loss", "mean of two losses - loss at the midpoint"),
            "midpoint_theory": (expected, "loss", "the same by |A (V - V')|^2/(8 n)"),
        },
        "": {
            "least_loss": (least, "loss", "loss at the least-squares last layer"),
            "rank": (verdict.rank, "1", "numerical rank at the perturbed start"),
            "margin": (verdict.margin, "1", MARGIN),
            "distance_squared": (
                R**2,
                "parameter^2",
                "R^2, squared distance of the nearest minimiser",
            ),
            "last_change": (moved, "parameter", "largest change of any parameter in phase 2"),
        },
    }
    return table(groups, step=(after, "1", "steps of phase 2"))


@eqx.filter_jit
def _objective(problem: Supervised, params: Params) -> Array:
    return problem.objective(params)


def _midpoints(
    problem: Supervised,
    points: list[Params],
    A: NDArray[np.float64],
    V: list[NDArray[np.float64]],
) -> tuple[list[float], list[float]]:
    """(L(V) + L(V'))/2 - L((V + V')/2) for 20 random pairs about the path of phase 2."""
    rng, hidden = np.random.default_rng(2), points[1][:-1]

    def objective(V: NDArray[np.float64]) -> float:
        return float(_objective(problem, [*hidden, affine_layer(V)]))

    gaps, expected = [], []
    for _ in range(20):
        i, j = rng.integers(1, len(V), 2)
        one, two = (V[k] + 0.1 * rng.standard_normal(V[k].shape) for k in (i, j))
        ends = [objective(one), objective(two)]
        gaps.append(float(np.mean(ends)) - objective((one + two) / 2))
        expected.append(float(np.sum((A @ (one - two)) ** 2)) / (8 * len(A)))
    return gaps, expected


@dataclass(frozen=True)
class Steps:
    """Steps of phase 2, every one recorded."""

    steps: int = 3000


@experiment("X3-steps", Steps(), smoke={"steps": 20})
def every_step(lab: Lab, size: Steps) -> xr.Dataset:
    """The loss of phase 2 at every single step, beside the bound E6."""
    return over(lambda labels: _every_step(lab, labels, size.steps), labels=LABELS)


def _every_step(lab: Lab, kind: str, steps: int) -> xr.Dataset:
    problem = squared((64, WIDE), kind)
    params = problem.init(jax.random.key(0))
    A = np.asarray(feature_rank.feature_matrix(problem.model, params, problem.inputs))
    V = np.asarray(affine_matrix(params[-1]))
    best = last_layer.nearest_minimiser(A, np.asarray(problem.targets), V)
    L_H = last_layer.last_layer_smoothness(A, loss_smoothness(problem.loss))
    options: dict[str, Any] = {"until": steps / L_H, "records": steps, "parameters": False}
    last, descent = last_layer_problem(problem, params), gradient_descent(1 / L_H)
    run = lab.run(f"X3-steps-{kind}", last, descent, **options).dataset
    bound = last_layer.descent_bound(L_H, float(np.linalg.norm(V - best)), 1 / L_H)
    found = {
        "loss": (run["loss"].values[0, 1:], "loss", "training loss"),
        "loss_bound": (bound.at(run["time"].values[1:]), "loss", LOSS_BOUND),
    }
    return table({"step": found}, step=(np.arange(1, steps + 1), "1", "steps of phase 2"))


@dataclass(frozen=True)
class Floors:
    """Draws of parameters and labels, widths of the last hidden layer, steps with too few units."""

    draws: int = 4
    widths: tuple[int, ...] = (20, 60, 100, 150, 190, 199, 220)
    steps: int = 3000


@experiment(
    "X3-floors",
    Floors(),
    smoke={"draws": 2, "widths": (20, 150, 220), "steps": 20},
    full={"draws": 20},
)
def floors(lab: Lab, size: Floors) -> xr.Dataset:
    """Random labels and last hidden layers of too few units: where phase 2 must end."""
    features = wide_features(size.draws, max(size.widths))
    width = (size.widths, "1", "units of the last hidden layer")
    found = over(
        lambda width, seed: _floor(features[seed, :, :width], seed),
        width=width,
        seed=range(size.draws),
    )
    return found.merge(narrow(lab, min(size.widths), size.steps))


def _floor(h: NDArray[np.float64], seed: int) -> xr.Dataset:
    A, Y = np.column_stack([h, np.ones(EXAMPLES)]), np.eye(CLASSES)[labels("random", seed)]
    rank = last_layer.range_basis(A).shape[1]
    theory = last_layer.random_label_floor(EXAMPLES, rank, CLASSES)
    found = {
        "rank": (rank, "1", "numerical rank of [h, 1]"),
        "floor": (last_layer.least_squares_floor(A, Y), "loss", "floor by projection, E9"),
        "floor_solved": (solved(h, Y), "loss", "loss of a least-squares solve"),
        "floor_theory": (theory, "loss", "expected floor"),
    }
    return table({"": found})


def wide_features(draws: int, width: int) -> NDArray[np.float64]:
    """Features of perturbed random starts, (draws, n, width); the first m are those of width m."""
    problem = squared((64, width), "random")

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


def narrow(lab: Lab, width: int, steps: int) -> xr.Dataset:
    """The loss after many steps of phase 2 with too few units, and its floor.

    Heavy momentum goes far enough for a phase 2 that trained more than the last layer to pass it.
    """
    problem = squared((64, width), "random")
    process = two_phase(SLOWER, SLOW, 1, NOISE)
    run = lab.run(f"X3-narrow-{steps}", problem, process, times=SLOW * np.array([2, steps])).dataset
    params = unraveller(problem)(jnp.asarray(run["parameters"].values[0, 0]))
    A = np.asarray(feature_rank.feature_matrix(problem.model, params, problem.inputs))
    floor = last_layer.least_squares_floor(A, np.asarray(problem.targets))
    found = {
        "narrow_loss": (run["loss"].values[0, -1], "loss", f"loss after phase 2, {width} units"),
        "narrow_floor": (floor, "loss", f"its floor, {width} units"),
    }
    return table({"": found})


@experiment("X3-smoothness", Draws(4), smoke={"draws": 2}, full={"draws": 20})
def smoothness(lab: Lab, size: Draws) -> xr.Dataset:
    """The largest Hessian eigenvalue of phase 2 for both losses, beside E4."""
    losses = ("squared-error", "cross-entropy")
    logits = jnp.asarray(np.random.default_rng(3).normal(0, 8, (4000, CLASSES)))
    hessians = jax.vmap(jax.hessian(cross_entropy), (0, None))(logits, jnp.eye(CLASSES)[0])
    largest = jnp.linalg.eigvalsh(hessians).max()
    softmax = table({"": {"softmax": (largest, "loss/output^2", "largest over logits")}})
    return over(_smoothness, loss=losses, seed=range(size.draws)).merge(softmax)


def _smoothness(loss: str, seed: int) -> xr.Dataset:
    data = digits()
    problem = supervised(net((64, WIDE)), (data.x, data.y), loss)
    params = problem.init(jax.random.key(seed))
    params[-1] = jax.tree.map(lambda leaf: leaf * seed, params[-1])
    hessian = curvature.hessian(last_layer_problem(problem, params), params[-1])
    pairs = curvature.top_k(hessian, 1, jax.random.key(9), tolerance=1e-8)
    A = np.asarray(feature_rank.feature_matrix(problem.model, params, problem.inputs))
    theory = last_layer.last_layer_smoothness(A, loss_smoothness(problem.loss))
    unit = "loss/parameter^2"
    found = {
        "eigenvalue": (pairs.values[0], unit, "largest Hessian eigenvalue"),
        "eigenvalue_error": (pairs.residuals[0], unit, "residual of the eigenpair"),
        "eigenvalue_theory": (theory, unit, "L_H, E4"),
    }
    return table({"": found})
