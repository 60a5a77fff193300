"""Finite sums: what variance reduction saves, counted in gradients of examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from thalweg.core import tree
from thalweg.driver.path import paths
from thalweg.dynamics import State, gradient_descent, optax_dynamics
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, padded, table
from thalweg.models import linear
from thalweg.oracles import Anchored, Oracle, page, sarah, single, svrg
from thalweg.problems import Problem, Supervised, robust_regression, supervised
from thalweg.theory.optimisers.rates import theorem_bound

SMOOTHNESS = 2.0  # of every example, and so of their mean
TARGET = 5e-3
METHODS = ("GD", "PAGE", "SPIDER", "SVRG")


class Planned(NamedTuple):
    """A method on m examples: its step size, what its steps see, how many are enough, its batch."""

    step_size: float
    oracle: Oracle | None
    most: int
    batch: int


def planned(name: str, m: int) -> Planned:
    """A method with the step size and the batches of its theorem."""
    root, cube = round(m**0.5), m ** (1 / 3)
    if name == "GD":
        return Planned(1 / SMOOTHNESS, None, 500, m)
    if name == "SPIDER":
        return Planned(1 / (2 * SMOOTHNESS), sarah(root, root), 1000, root)
    if name == "SVRG":
        batch = round(cube**2)
        return Planned(1 / (3 * SMOOTHNESS), svrg(batch, round(cube)), 1500, batch)
    p = root / (m + root)
    size = 1 / (SMOOTHNESS * (1 + ((1 - p) / (p * root)) ** 0.5))
    return Planned(size, page(root), 1000, root)


def speed_up(name: str, m: int, passes: float = np.inf) -> float:
    """Step size times steps a pass over those of GD, where the estimator's noise is harmless.

    PAGE begins with a full gradient, which counts where GD takes so many passes.
    """
    plan = planned(name, m)
    if name == "SPIDER":
        cost = m**0.5 * (3 - 2 / m**0.5)
    elif name == "PAGE":
        p = plan.batch / (m + plan.batch)
        cost = p * m + 2 * (1 - p) * plan.batch
    else:
        return m ** (1 / 3) / 9
    alone = plan.step_size * SMOOTHNESS * m / cost
    return alone / (1 + alone / passes) if name == "PAGE" else alone


def observe(problem: Problem, state: State) -> tuple[Array, Array, Array]:
    """||grad f||^2; of a remembered estimator its error, and its distance from the last one."""
    gradient = jax.grad(problem.objective)(state.params)
    square = tree.dot(gradient, gradient)
    memory = getattr(state.memory, "oracle", None)
    if memory is None:
        return square, jnp.zeros(()), jnp.zeros(())
    truth = ravel_pytree(jax.grad(problem.objective)(memory.params))[0]
    error = jnp.linalg.norm(ravel_pytree(memory.gradient)[0] - truth)
    return square, error, jnp.sqrt(tree.dot(memory.gradient, memory.gradient))


def followed(name: str, m: int, seeds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient norms, errors of what was remembered, and gradients of examples, (seed, step)."""
    plan = planned(name, m)
    problems = _stacked([robust_regression(m, seed=s) for s in range(seeds)])
    start = robust_regression(m).init(jax.random.key(0))
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    found = paths(
        gradient_descent(plan.step_size, oracle=plan.oracle), problems, start, 1, plan.most,
        observe, keys, over=("problem", "key"),
    )  # fmt: skip
    square, error, size = (np.asarray(part) for part in found.seen)
    steps = np.arange(plan.most + 1)
    if name == "GD":
        spent = np.broadcast_to(m * steps, square.shape)
    elif name == "SVRG":
        assert isinstance(plan.oracle, Anchored)
        spent = np.broadcast_to(plan.oracle.spent(robust_regression(m), steps), square.shape)
    else:  # a full gradient is where the error of what was shown vanishes
        full = error[:, 1:] <= 1e-12 * (1 + size[:, 1:])
        each = np.where(full, m, 2 * plan.batch)
        spent = np.concatenate([np.zeros((seeds, 1)), np.cumsum(each, axis=1)], axis=1)
    return np.sqrt(square), error, spent


def _stacked(drawn: Sequence[Supervised]) -> Supervised:
    """Problems of one size as one, a leading axis on its arrays."""
    bare = [Supervised(p.model, p.loss, p.inputs, p.targets, reduction=p.reduction) for p in drawn]
    found: Supervised = tree.stacked(bare)
    return found


def cost_to(norm: np.ndarray, spent: np.ndarray) -> np.ndarray:
    """Gradients of examples until the gradient is small, NaN where it never is."""
    small = norm <= TARGET
    at = np.argmax(small, axis=1)
    lanes = np.arange(len(norm))
    return np.where(small.any(axis=1), spent[lanes, at], np.nan)


@dataclass(frozen=True)
class Sums:
    """How many examples, and how many seeds."""

    examples: tuple[int, ...] = (64, 256, 1024, 4096)
    seeds: int = 5


@experiment("X1", Sums(), smoke={"examples": (64, 256), "seeds": 3})
def finite_sums(lab: Lab, size: Sums) -> xr.Dataset:
    """Gradients of examples that each method takes to a small gradient, over full gradients."""

    def one(m: int) -> xr.Dataset:
        costs, between, shares = [], [], []
        lines = {}
        for name in METHODS:
            norm, error, spent = followed(name, m, size.seeds)
            costs.append(np.median(cost_to(norm, spent)) / m)
            # Up to the target: beyond it errors are small of themselves.
            seen = error[:, 1:][np.minimum.accumulate(norm, axis=1)[:, :-1] > TARGET]
            refreshed = seen <= 1e-12
            recursive = name in ("PAGE", "SPIDER")
            some = recursive and not refreshed.all()
            between.append(np.median(seen[~refreshed]) if some else np.nan)
            shares.append(refreshed.mean() if recursive else np.nan)
            lines[name] = (padded(norm[0], 1501), padded(spent[0] / m, 1501))
        passes = np.array(costs)
        theory = [np.nan if n == "GD" else speed_up(n, m, costs[0]) for n in METHODS]
        unit = "loss/parameter"
        return table(
            {
                "algorithm": {
                    "speed_up": (passes[0] / passes, "1", "passes of GD over those of a method"),
                    "speed_up_theory": (theory, "1", "step size times steps a pass, closed form"),
                    "error_between": (between, unit, "error between refreshes, the median"),
                    "refreshed": (shares, "1", "share of steps with a full gradient"),
                },
                "algorithm step": {
                    "gradient_norm": (
                        [lines[n][0] for n in METHODS], unit, "gradient norm of the first seed",
                    ),
                    "spent": ([lines[n][1] for n in METHODS], "1", "passes over the data"),
                },
            },
            algorithm=list(METHODS),
            step=np.arange(1501),
        )  # fmt: skip

    return over(one, m=(list(size.examples), "1", "examples"))


@dataclass(frozen=True)
class Single:
    """How long PAGE and Polyak's steps are followed."""

    steps: int = 400
    polyak: int = 6000
    draws: int = 3


@experiment("X4", Single(), smoke={"polyak": 3000, "draws": 1}, full={"draws": 10})
def page_and_polyak(lab: Lab, size: Single) -> xr.Dataset:
    """PAGE beside its bound, and Polyak's step on an interpolated regression."""
    m, seeds = 256, 5
    norm, _, spent = followed("PAGE", m, seeds)
    plan = planned("PAGE", m)
    mean = np.mean(norm[:, : size.steps] ** 2)
    f = robust_regression(m)
    gap = float(f.objective(f.init(jax.random.key(0))))
    bound = theorem_bound("page", size.steps, gap=gap, step_size=plan.step_size)
    p = plan.batch / (m + plan.batch)
    rates = [_polyak(draw, size.polyak) for draw in range(size.draws)]
    return table(
        {
            "": {
                "mean": (mean, "loss^2/parameter^2", "mean squared gradient of PAGE"),
                "mean_bound": (float(bound), "loss^2/parameter^2", "its bound"),
                "cost": (spent[:, -1].mean() / plan.most, "1", "gradients of examples a step"),
                "cost_theory": (p * m + 2 * (1 - p) * plan.batch, "1", "p m + 2 (1 - p) r'"),
                "cost_error": (
                    spent[:, -1].std(ddof=1) / plan.most / seeds**0.5, "1", "its standard error",
                ),
            },
            "draw": {
                "factor": (
                    [r[0] for r in rates], "1", "factor of ||x - A^+ b||^2 a step, Polyak's steps",
                ),
                "factor_bound": ([r[1] for r in rates], "1", "1 - lambda_min(A A^T)/m"),
                "loss": ([r[2] for r in rates], "loss", "the loss where it ends"),
            },
        },
        draw=range(size.draws),
    )  # fmt: skip


def _polyak(draw: int, steps: int) -> tuple[float, float, float]:
    """Polyak's step on single examples of 40 equations in 60 unknowns, from 0."""
    rng = np.random.default_rng(draw)
    A = rng.normal(size=(40, 60))
    A /= np.linalg.norm(A, axis=1, keepdims=True)
    b = A @ rng.normal(size=60) / 60**0.5
    problem: Supervised = supervised(linear([]), (A, b[:, None]))
    polyak = optax.polyak_sgd(max_learning_rate=1e9, scaling=2.0, f_min=0.0, eps=0.0)
    start = jax.tree.map(jnp.zeros_like, problem.init(jax.random.key(0)))
    found = paths(
        optax_dynamics(polyak, 1.0, "Polyak's step", oracle=single()), problem, start,
        steps // 60, 60, key=jax.random.key(draw), over=(),
    )  # fmt: skip
    x = np.asarray(found.seen[0]["weight"])[:, 0]
    away = np.sum((x - np.linalg.pinv(A) @ b) ** 2, axis=1)
    factor = (away[-1] / away[0]) ** (1 / (steps // 60 * 60))
    least = np.linalg.eigvalsh(A @ A.T)[0]
    return factor, 1 - least / 40, float(problem.objective(found.last.params))
