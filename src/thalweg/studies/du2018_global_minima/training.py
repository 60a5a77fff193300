"""Experiments that train: deep nets whose all layers move, and two-layer nets of ReLUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg import kernels
from thalweg.core.tree import Params
from thalweg.dynamics import GradientDescent
from thalweg.dynamics.dynamics import State
from thalweg.lab.study import Lab, variable
from thalweg.models import TwoLayerNet, WideNet
from thalweg.problems import Supervised, supervised
from thalweg.studies.du2018_global_minima.gram import C_RES, DENSE, DEPTH, limit, unit
from thalweg.theory.descent import geometric_rate

EIGENVALUE = "output^2/parameter^2"
PERIOD = 10  # steps between two looks at Gram matrix and weights

Observe = Callable[[Supervised, Params, Params], dict[str, Array]]


class Descent(NamedTuple):
    """Losses L(0), ..., L(K), and what was seen at steps 0, PERIOD, ..., K."""

    losses: Float[np.ndarray, " steps"]
    seen: dict[str, np.ndarray]


def descend(
    problem: Supervised, start: Params, step_size: float, steps: int, observe: Observe
) -> Descent:
    """Gradient descent with a loss from every step and a look at every tenth."""
    size = jnp.asarray(step_size)
    losses, seen = _descend(problem, start, size, steps // PERIOD, observe)
    return Descent(np.asarray(losses), {name: np.asarray(v) for name, v in seen.items()})


@eqx.filter_jit
def _descend(
    problem: Supervised, start: Params, step_size: Array, records: int, observe: Observe
) -> tuple[Array, dict[str, Array]]:
    dynamics = GradientDescent(step_size)
    key = jax.random.key(0)  # descent is deterministic

    def step(state: State, _: None) -> tuple[State, Array]:
        state, info = dynamics.step(problem, state, key)
        return state, info.loss

    def record(state: State, _: None) -> tuple[State, tuple[Array, dict[str, Array]]]:
        seen = observe(problem, state.params, start)
        state, losses = jax.lax.scan(step, state, None, length=PERIOD)
        return state, (losses, seen)

    begun = dynamics.init(problem, start)
    state, (losses, seen) = jax.lax.scan(record, begun, None, length=records)
    last = observe(problem, state.params, start)
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), seen, last)
    return jnp.append(losses.ravel(), problem.objective(state.params)), joined


# X2: deep nets, every layer trained.


def deep(lab: Lab) -> xr.Dataset:
    """Tanh nets of three hidden layers on eight labelled points."""
    return deep_runs((64, 256, 1024, 4096), 5) if lab.full else deep_runs((64, 256, 1024), 3)


def deep_data(lab: Lab) -> xr.Dataset:
    """X2-data: nets 512 wide, each on points and labels of its own draw."""
    return deep_data_runs(512, 32 if lab.full else 6)


def deep_data_runs(width: int, draws: int, steps: int = 300) -> xr.Dataset:
    """How near the linearised net comes on several data sets, with a start for each."""
    found = []
    for name in DENSE:
        for draw in range(draws):
            x, y = labelled(draw)
            problem = _deep_problem(name, width, x, y)
            least = float(limit(name, x, DEPTH, "tanh").smallest.value)
            found.append(_deep_run(problem, least, draw, steps))
    kept = {name: DEEP_RUN[name] for name in ("loss", "log_gap", "tail", "tail_linearised")}
    return _collected(found, (len(DENSE), draws), ("net", "draw"), kept).assign_coords(
        net=list(DENSE),
        draw=np.arange(draws),
        step=variable("step", np.arange(steps + 1), "1", "step k"),
    )


def labelled(draw: int) -> tuple[np.ndarray, np.ndarray]:
    """Eight points on the sphere of ten dimensions, with labels of 1 or -1."""
    labels = np.random.default_rng(1 + draw).choice([-1.0, 1.0], size=(8, 1))
    return unit((8, 10), draw), labels


def _deep_problem(name: str, width: int, x: np.ndarray, y: np.ndarray) -> Supervised:
    return supervised(WideNet(name, width, DEPTH, "tanh", C_RES), (x, y), reduction="sum")


def deep_runs(widths: Sequence[int], draws: int, steps: int = 300) -> xr.Dataset:
    """Training of fully connected and residual nets from several starts of each width."""
    x, y = labelled(0)
    smallest = [float(limit(name, x, DEPTH, "tanh").smallest.value) for name in DENSE]
    found = []
    for name, least in zip(DENSE, smallest, strict=True):
        for width in widths:
            problem = _deep_problem(name, width, x, y)
            found += [_deep_run(problem, least, seed, steps) for seed in range(draws)]
    shape, dims = (len(DENSE), len(widths), draws), ("net", "width", "draw")
    record = np.arange(0, steps + 1, PERIOD)
    data = _collected(found, shape, dims, DEEP_RUN)
    return data.assign(
        limit_smallest=variable("net", smallest, EIGENVALUE, "lambda_0 of K^(H)"),
        half_limit=variable((), smallest[0] / 2, EIGENVALUE, "lambda_0/2, fully connected"),
        gram_drift_mean=_mean(data["gram_drift_end"], "mean over starts"),
        gram_drift_error=_spread(data["gram_drift_end"], "standard error of the mean"),
        moved_mean=_mean(data["moved_end"], "mean over starts"),
        moved_error=_spread(data["moved_end"], "standard error of the mean"),
    ).assign_coords(
        net=list(DENSE),
        width=variable("width", widths, "1", "width m"),
        draw=np.arange(draws),
        step=variable("step", np.arange(steps + 1), "1", "step k"),
        record=variable("record", record, "1", "step k"),
        layer=variable("layer", np.arange(1, DEPTH + 2), "1", "layer h"),
    )


# What is kept of a run: its dimensions, unit and long name.
DEEP_RUN: dict[str, tuple[tuple[str, ...], str, str]] = {
    "loss": (("step",), "loss", "L = 1/2 sum (u - y)^2"),
    "linearised": (("step",), "loss", "loss of the linearised net"),
    "bound": (("step",), "loss", "(1 - eta lambda_0/2)^k L(0)"),
    "log_gap": ((), "1", "largest |ln L - ln linearised L|"),
    "room": ((), "1", "least ln of bound / loss"),
    "tightest": ((), "1", "smallest factor per step of a geometric bound"),
    "tail": ((), "1/step", "rate of the second half of the steps"),
    "tail_linearised": ((), "1/step", "the same of the linearised net"),
    "tail_slowest": ((), "1/step", "-2 ln(1 - eta lambda_min(G(0)))"),
    "step_size": ((), "parameter^2/loss", "step size 0.5 / lambda_max(G(0))"),
    "gram_smallest": (("record",), EIGENVALUE, "lambda_min(G^(H)(k))"),
    "gram_drift": (("record",), "1", "|G^(H)(k) - G^(H)(0)| / |G^(H)(0)|, largest eigenvalues"),
    "gram_drift_end": ((), "1", "the same at the end"),
    "moved": (("record", "layer"), "parameter", "|W^(h)(k) - W^(h)(0)|_F"),
    "moved_end": (("layer",), "parameter", "the same at the end"),
    "size": (("layer",), "parameter", "|W^(h)(0)|_F"),
}


def _deep_run(problem: Supervised, smallest: float, seed: int, steps: int) -> dict[str, Any]:
    start = problem.init(jax.random.key(seed))
    gram = np.asarray(kernels.layer_grams(problem, start).total)
    eigenvalues = np.linalg.eigvalsh(gram)
    step_size = 0.5 / float(eigenvalues[-1])
    run = descend(problem, start, step_size, steps, _deep_view)
    k = np.arange(steps + 1)
    residual = np.asarray(problem.outputs(start) - problem.targets)[:, 0]
    straight = geometric_rate.linearised_loss(gram, residual, step_size).at(k * step_size)
    certificate = geometric_rate.rate_certificate(run.losses, step_size, smallest)
    grams = run.seen["gram"]
    drift = _norms(grams - grams[0]) / _norms(grams[0])
    return {
        "loss": run.losses,
        "linearised": straight,
        "bound": run.losses[0] * certificate.factor**k,
        "log_gap": np.max(np.abs(np.log(run.losses / straight))),
        "room": certificate.room,
        "tightest": certificate.tightest,
        "tail": geometric_rate.tail_rate(run.losses),
        "tail_linearised": geometric_rate.tail_rate(straight),
        "tail_slowest": geometric_rate.linearised_tail_rate(float(eigenvalues[0]), step_size),
        "step_size": step_size,
        "gram_smallest": np.linalg.eigvalsh(grams)[:, 0],
        "gram_drift": drift,
        "gram_drift_end": drift[-1],
        "moved": run.seen["moved"],
        "moved_end": run.seen["moved"][-1],
        "size": [np.linalg.norm(layer["weight"]) for layer in start],
    }


def _deep_view(problem: Supervised, params: Params, start: Params) -> dict[str, Array]:
    model = problem.model
    assert isinstance(model, WideNet)
    moved = [
        jnp.linalg.norm(now["weight"] - then["weight"])
        for now, then in zip(params, start, strict=True)
    ]
    gram = kernels.last_layer_gram(model, params, problem.inputs)
    return {"gram": gram, "moved": jnp.stack(moved)}


# X3: two layers of ReLUs, the first one trained.


def average(lab: Lab) -> xr.Dataset:
    """The closed form of H^inf beside an average over many neurons."""
    neurons, draws = 200_000, 8 if lab.full else 3
    gaps, allowed = [], []
    for seed in range(draws):
        x = jnp.asarray(unit((20, 20), seed))
        w = jax.random.normal(jax.random.key(seed), (neurons, 20))
        closed = kernels.two_layer_relu_gram(x).value
        gaps.append(np.max(np.abs(kernels.two_layer_gram(w, x) - closed)))
        share = closed / jnp.where(x @ x.T == 0, 1, x @ x.T)
        allowed.append(np.max(jnp.abs(x @ x.T) * jnp.sqrt(share * (1 - share) / neurons)))
    return xr.Dataset(
        {
            "gap": variable("draw", gaps, EIGENVALUE, "largest |average - H^inf| of the entries"),
            "gap_error": variable("draw", allowed, EIGENVALUE, "largest standard error in it"),
        },
        {"draw": np.arange(draws)},
    )


def two_layers(lab: Lab) -> xr.Dataset:
    """Two-layer nets of growing width; at full scale with the precursor's numbers of examples."""
    if lab.full:
        return two_layer_runs((1000, 4000, 16_000, 32_000), seeds=3, n=1000, d=1000, steps=100)
    return two_layer_runs((200, 800, 3200, 12_800), seeds=3, n=20, d=20, steps=300)


def two_layer_runs(widths: Sequence[int], seeds: int, n: int, d: int, steps: int) -> xr.Dataset:
    """Training of the first layer; every seed draws data and start."""
    found = [_two_layer_run(width, seed, n, d, steps) for width in widths for seed in range(seeds)]
    shape, dims = (len(widths), seeds), ("width", "seed")
    data = _collected(found, shape, dims, TWO_LAYER_RUN)
    means = {
        name: _mean(data[name], "mean over seeds", "seed")
        for name in ("gram_gap", "pattern_change", "moved", "moved_bound")
    }
    errors = {
        f"{name}_mean_error": _spread(data[name], "standard error of the mean", "seed")
        for name in means
    }
    return data.assign({f"{name}_mean": v for name, v in means.items()} | errors).assign_coords(
        width=variable("width", widths, "1", "width m"),
        seed=np.arange(seeds),
        step=variable("step", np.arange(steps + 1), "1", "step k"),
        record=variable("record", np.arange(0, steps + 1, PERIOD), "1", "step k"),
    )


TWO_LAYER_RUN: dict[str, tuple[tuple[str, ...], str, str]] = {
    "loss": (("step",), "loss", "L = 1/2 sum (u - y)^2"),
    "bound": (("step",), "loss", "(1 - eta lambda_0/2)^k L(0)"),
    "room": ((), "1", "least ln of bound / loss"),
    "tightest": ((), "1", "smallest factor per step of a geometric bound"),
    "step_size": ((), "parameter^2/loss", "step size 0.5 / lambda_max(H(0))"),
    "limit_smallest": ((), EIGENVALUE, "lambda_0 of H^inf"),
    "smallest": (("record",), EIGENVALUE, "lambda_min(H(k))"),
    "gram_gap": ((), EIGENVALUE, "|H(0) - H^inf|, largest eigenvalue"),
    "pattern_change": ((), "1", "fraction of changed activation patterns at the end"),
    "moved": ((), "parameter", "largest |w_r(k) - w_r(0)| over neurons and steps"),
    "moved_bound": ((), "parameter", "4 sqrt(n) |y - u(0)| / (sqrt(m) lambda_0)"),
}


def _two_layer_run(width: int, seed: int, n: int, d: int, steps: int) -> dict[str, Any]:
    x, y = unit((n, d), seed), np.random.default_rng(1000 + seed).normal(size=(n, 1))
    problem = supervised(TwoLayerNet(width), (x, y), reduction="sum")
    start = problem.init(jax.random.key(seed))
    limit_gram = np.asarray(kernels.two_layer_relu_gram(x).value)
    least = float(np.linalg.eigvalsh(limit_gram)[0])
    gram = np.asarray(kernels.two_layer_gram(start[0]["weight"], problem.inputs))
    step_size = 0.5 / float(np.linalg.eigvalsh(gram)[-1])
    run = descend(problem, start, step_size, steps, _two_layer_view)
    certificate = geometric_rate.rate_certificate(run.losses, step_size, least)
    norm = float(np.sqrt(2 * run.losses[0]))
    return {
        "loss": run.losses,
        "bound": run.losses[0] * certificate.factor ** np.arange(steps + 1),
        "room": certificate.room,
        "tightest": certificate.tightest,
        "step_size": step_size,
        "limit_smallest": least,
        "smallest": np.linalg.eigvalsh(run.seen["gram"])[:, 0],
        "gram_gap": _norms(gram - limit_gram),
        "pattern_change": run.seen["changed"][-1],
        "moved": np.max(run.seen["moved"]),
        "moved_bound": geometric_rate.two_layer_drift_bound(norm, n, width, least),
    }


def _two_layer_view(problem: Supervised, params: Params, start: Params) -> dict[str, Array]:
    now, then, x = params[0]["weight"], start[0]["weight"], problem.inputs
    return {
        "gram": kernels.two_layer_gram(now, x),
        "changed": kernels.pattern_change(now, then, x),
        "moved": jnp.max(jnp.linalg.norm(now - then, axis=1)),
    }


def _norms(matrices: Float[np.ndarray, "... n n"]) -> Float[np.ndarray, "..."]:
    """Operator norms."""
    return np.linalg.norm(matrices, 2, axis=(-2, -1))


def _collected(
    runs: Sequence[dict[str, Any]],
    shape: tuple[int, ...],
    dims: tuple[str, ...],
    kept: dict[str, tuple[tuple[str, ...], str, str]],
) -> xr.Dataset:
    """Runs, last dimension first, as one data set."""

    def stacked(name: str) -> np.ndarray:
        values = np.array([run[name] for run in runs])
        return values.reshape(*shape, *values.shape[1:])

    return xr.Dataset(
        {
            name: variable((*dims, *own), stacked(name), units, about)
            for name, (own, units, about) in kept.items()
        }
    )


def _mean(values: xr.DataArray, about: str, over: str = "draw") -> xr.DataArray:
    kept = {"units": values.attrs["units"], "long_name": f"{values.attrs['long_name']}, {about}"}
    return values.mean(over).assign_attrs(kept)


def _spread(values: xr.DataArray, about: str, over: str = "draw") -> xr.DataArray:
    kept = {"units": values.attrs["units"], "long_name": f"{values.attrs['long_name']}, {about}"}
    return (values.std(over, ddof=1) / np.sqrt(values.sizes[over])).assign_attrs(kept)
