"""Experiments that train: deep nets whose all layers move, and two-layer nets of ReLUs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg import kernels
from thalweg.core.tree import Params
from thalweg.driver.path import path
from thalweg.dynamics import GradientDescent
from thalweg.dynamics.dynamics import State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import averaged, over, table, variable
from thalweg.models import TwoLayerNet, WideNet
from thalweg.problems import Problem, Supervised, supervised
from thalweg.studies.du2018_global_minima.gram import (
    C_RES,
    DENSE,
    DEPTH,
    EIGENVALUE,
    limit,
    unit,
)
from thalweg.theory.descent import geometric_rate

PERIOD = 10  # steps between two looks at Gram matrix and weights

Look = Callable[[Supervised, Params, Params], dict[str, Array]]


def descend(
    problem: Supervised, start: Params, step_size: float, steps: int, look: Look
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Losses L(0), ..., L(K) of gradient descent, and what is seen at steps 0, PERIOD, ..., K."""
    found = _descend(GradientDescent(jnp.asarray(step_size)), problem, start, steps, look)
    losses, seen = jax.tree.map(np.asarray, found)
    return losses, {name: values[::PERIOD] for name, values in seen.items()}


@eqx.filter_jit
def _descend(
    dynamics: GradientDescent, problem: Supervised, start: Params, steps: int, look: Look
) -> tuple[Array, dict[str, Array]]:
    def seen(params: Params) -> dict[str, Array]:
        return look(problem, params, start)

    nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(seen, start))

    def observe(_: Problem, state: State) -> tuple[Array, dict[str, Array]]:
        due = state.step % PERIOD == 0
        found = jax.lax.cond(due, seen, lambda _: nothing, state.params)
        return problem.objective(state.params), found

    return path(dynamics, problem, start, 1, steps, observe).seen


def labels_of(steps: int) -> dict[str, Any]:
    """Steps, and those among them at which one looks at Gram matrix and weights."""
    return {
        "step": (np.arange(steps + 1), "1", "step k"),
        "record": (np.arange(0, steps + 1, PERIOD), "1", "step k"),
    }


# X2: deep nets, every layer trained.


@dataclass(frozen=True)
class Deep:
    """Widths, starts of each, steps."""

    widths: tuple[int, ...]
    draws: int
    steps: int = 300


@experiment(
    "X2",
    Deep((64, 256, 1024), 3),
    smoke={"widths": (32, 128, 512), "draws": 2, "steps": 60},
    full={"widths": (64, 256, 1024, 4096), "draws": 5},
)
def deep(lab: Lab, size: Deep) -> xr.Dataset:
    """Tanh nets of three hidden layers on eight labelled points."""
    points = labelled(0)
    least = {net: float(limit(net, points[0], DEPTH, "tanh").smallest.value) for net in DENSE}

    def one(net: str, width: float, draw: int) -> xr.Dataset:
        return _deep_run(net, int(width), points, least[net], draw, size.steps)

    widths = np.array(size.widths, float)
    found = over(one, net=DENSE, width=(widths, "1", "width m"), draw=range(size.draws))
    found = averaged(found, "draw", "gram_drift_end", "moved_end")
    half = least["fully-connected"] / 2
    return found.assign(
        limit_smallest=variable("net", list(least.values()), EIGENVALUE, "lambda_0 of K^(H)"),
        half_limit=variable("", half, EIGENVALUE, "lambda_0/2, fully connected"),
    )


@dataclass(frozen=True)
class DeepData:
    """One width, data sets with a start each, steps."""

    width: int
    draws: int
    steps: int = 300


@experiment(
    "X2-data",
    DeepData(512, 6),
    smoke={"width": 256, "draws": 5, "steps": 40},
    full={"draws": 32},
)
def deep_data(lab: Lab, size: DeepData) -> xr.Dataset:
    """Nets of one width, each on points and labels of its own draw."""

    def one(net: str, draw: int) -> xr.Dataset:
        points = labelled(draw)
        found = _deep_run(net, size.width, points, 0.0, draw, size.steps)
        return found[["loss", "log_gap", "tail", "tail_linearised"]]

    return over(one, net=DENSE, draw=range(size.draws))


def labelled(draw: int) -> tuple[np.ndarray, np.ndarray]:
    """Eight points on the sphere of ten dimensions, with labels of 1 or -1."""
    labels = np.random.default_rng(1 + draw).choice([-1.0, 1.0], size=(8, 1))
    return unit((8, 10), draw), labels


def _deep_run(
    net: str,
    width: int,
    points: tuple[np.ndarray, np.ndarray],
    least: float,
    seed: int,
    steps: int,
) -> xr.Dataset:
    """One training; `least` is lambda_0 of the theorem's bound."""
    problem = supervised(WideNet(net, width, DEPTH, "tanh", C_RES), points, reduction="sum")
    start = problem.init(jax.random.key(seed))
    gram = np.asarray(_whole_gram(problem, start))
    eigenvalues = np.linalg.eigvalsh(gram)
    step_size = 0.5 / float(eigenvalues[-1])
    losses, seen = descend(problem, start, step_size, steps, _deep_look)
    residual = np.asarray(problem.outputs(start) - problem.targets)[:, 0]
    k = np.arange(steps + 1)
    straight = geometric_rate.linearised_loss(gram, residual, step_size).at(k * step_size)
    certificate = geometric_rate.rate_certificate(losses, step_size, least)
    tail, straight_tail = (geometric_rate.tail_rate(values) for values in (losses, straight))
    gap = np.max(np.abs(np.log(losses / straight)))
    smallest = np.linalg.eigvalsh(seen["gram"])[:, 0]
    first, last = seen["gram"][0], seen["gram"][-1]
    drift = _norms(last - first) / _norms(first)
    drifted = "|G^(H)(K) - G^(H)(0)| / |G^(H)(0)|, largest eigenvalues"
    norms = [np.linalg.norm(layer["weight"]) for layer in start]
    groups = {
        "step": {
            "loss": (losses, "loss", "L = 1/2 sum (u - y)^2"),
            "linearised": (straight, "loss", "loss of the linearised net"),
            "bound": (losses[0] * certificate.factor**k, "loss", "(1 - eta lambda_0/2)^k L(0)"),
        },
        "record": {"gram_smallest": (smallest, EIGENVALUE, "lambda_min(G^(H)(k))")},
        "record layer": {"moved": (seen["moved"], "parameter", "|W^(h)(k) - W^(h)(0)|_F")},
        "layer": {
            "moved_end": (seen["moved"][-1], "parameter", "|W^(h)(K) - W^(h)(0)|_F"),
            "size": (norms, "parameter", "|W^(h)(0)|_F"),
        },
        "": {
            "log_gap": (gap, "1", "largest |ln L - ln linearised L|"),
            "room": (certificate.room, "1", "least ln of bound / loss"),
            "tightest": (certificate.tightest, "1", "smallest factor of a geometric bound"),
            "tail": (tail, "1/step", "rate of the second half of the steps"),
            "tail_linearised": (straight_tail, "1/step", "the same of the linearised net"),
            "step_size": (step_size, "parameter^2/loss", "step size 0.5 / lambda_max(G(0))"),
            "gram_drift_end": (drift, "1", drifted),
        },
    }
    return table(groups, layer=(range(1, DEPTH + 2), "1", "layer h"), **labels_of(steps))


@eqx.filter_jit
def _whole_gram(problem: Supervised, params: Params) -> Float[Array, "n n"]:
    return kernels.layer_grams(problem, params).total


def _deep_look(problem: Supervised, params: Params, start: Params) -> dict[str, Array]:
    moved = [
        jnp.linalg.norm(now["weight"] - then["weight"])
        for now, then in zip(params, start, strict=True)
    ]
    assert isinstance(problem.model, WideNet)
    gram = kernels.last_layer_gram(problem.model, params, problem.inputs)
    return {"gram": gram, "moved": jnp.stack(moved)}


# X3: two layers of ReLUs, the first one trained.


@dataclass(frozen=True)
class Average:
    """Neurons to average over, draws of examples."""

    neurons: int
    draws: int


@experiment("X3-average", Average(200_000, 3), smoke={"draws": 1}, full={"draws": 8})
def average(lab: Lab, size: Average) -> xr.Dataset:
    """The closed form of H^inf beside an average over many neurons."""

    def one(draw: int) -> xr.Dataset:
        x = jnp.asarray(unit((20, 20), draw))
        w = jax.random.normal(jax.random.key(draw), (size.neurons, 20))
        closed = kernels.two_layer_relu_gram(x).value
        share = closed / jnp.where(x @ x.T == 0, 1, x @ x.T)
        chance = jnp.max(jnp.abs(x @ x.T) * jnp.sqrt(share * (1 - share) / size.neurons))
        gap = jnp.max(jnp.abs(kernels.two_layer_gram(w, x) - closed))
        numbers = {
            "gap": (gap, EIGENVALUE, "largest |average - H^inf| of the entries"),
            "gap_error": (chance, EIGENVALUE, "largest standard error in it"),
        }
        return table({"": numbers})

    return over(one, draw=range(size.draws))


@dataclass(frozen=True)
class Shallow:
    """Widths, draws of data and start, examples in as many dimensions, steps."""

    widths: tuple[int, ...]
    examples: int = 20
    steps: int = 300
    draws: int = 3


@experiment(
    "X3",
    Shallow((200, 800, 3200, 12_800)),
    smoke={"widths": (200, 3200), "steps": 200},
    full={"widths": (1000, 4000, 16_000, 32_000), "examples": 1000, "steps": 100},
)
def two_layers(lab: Lab, size: Shallow) -> xr.Dataset:
    """Two-layer nets of growing width; at full scale with the precursor's numbers of examples."""

    def one(width: int, seed: int) -> xr.Dataset:
        return _two_layer_run(width, seed, size.examples, size.steps)

    found = over(one, width=(size.widths, "1", "width m"), seed=range(size.draws))
    return averaged(found, "seed", "gram_gap", "pattern_change", "moved", "moved_bound")


def _two_layer_run(width: int, seed: int, n: int, steps: int) -> xr.Dataset:
    x, y = unit((n, n), seed), np.random.default_rng(1000 + seed).normal(size=(n, 1))
    problem = supervised(TwoLayerNet(width), (x, y), reduction="sum")
    start = problem.init(jax.random.key(seed))
    limit_gram = np.asarray(kernels.two_layer_relu_gram(x).value)
    least = float(np.linalg.eigvalsh(limit_gram)[0])
    gram = np.asarray(kernels.two_layer_gram(start[0]["weight"], problem.inputs))
    step_size = 0.5 / float(np.linalg.eigvalsh(gram)[-1])
    losses, seen = descend(problem, start, step_size, steps, _two_layer_look)
    certificate = geometric_rate.rate_certificate(losses, step_size, least)
    bound = losses[0] * certificate.factor ** np.arange(steps + 1)
    farthest = geometric_rate.two_layer_drift_bound(float(np.sqrt(2 * losses[0])), n, width, least)
    gap, moved, changed = _norms(gram - limit_gram), np.max(seen["moved"]), seen["changed"][-1]
    groups = {
        "step": {
            "loss": (losses, "loss", "L = 1/2 sum (u - y)^2"),
            "bound": (bound, "loss", "(1 - eta lambda_0/2)^k L(0)"),
        },
        "record": {"smallest": (seen["smallest"], EIGENVALUE, "lambda_min(H(k))")},
        "": {
            "room": (certificate.room, "1", "least ln of bound / loss"),
            "tightest": (certificate.tightest, "1", "smallest factor of a geometric bound"),
            "step_size": (step_size, "parameter^2/loss", "step size 0.5 / lambda_max(H(0))"),
            "limit_smallest": (least, EIGENVALUE, "lambda_0 of H^inf"),
            "gram_gap": (gap, EIGENVALUE, "|H(0) - H^inf|, largest eigenvalue"),
            "pattern_change": (changed, "1", "fraction of activation patterns changed at the end"),
            "moved": (moved, "parameter", "largest |w_r(k) - w_r(0)| over neurons and steps"),
            "moved_bound": (farthest, "parameter", "4 sqrt(n) |y - u(0)| / (sqrt(m) lambda_0)"),
        },
    }
    return table(groups, **labels_of(steps))


def _two_layer_look(problem: Supervised, params: Params, start: Params) -> dict[str, Array]:
    now, then, x = params[0]["weight"], start[0]["weight"], problem.inputs
    return {
        "smallest": jnp.linalg.eigvalsh(kernels.two_layer_gram(now, x))[0],
        "changed": kernels.pattern_change(now, then, x),
        "moved": jnp.max(jnp.linalg.norm(now - then, axis=1)),
    }


def _norms(matrices: Float[np.ndarray, "... n n"]) -> Float[np.ndarray, "..."]:
    """Operator norms."""
    return np.linalg.norm(matrices, 2, axis=(-2, -1))
