"""The over-parametrised linear model: SGD with label noise beside its limiting flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core.tree import Params
from thalweg.driver.path import paths
from thalweg.dynamics import gradient_descent, limiting_flow
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import padded, table
from thalweg.oracles import label_noise
from thalweg.problems import SquaresModel, Supervised
from thalweg.problems.losses import as_loss
from thalweg.studies.li2021_zero_loss.exact import EXAMPLES, SPARSE, UNKNOWNS
from thalweg.theory.limits.weighted_l1 import weighted_basis_pursuit

TIMES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
STEP_SIZE = 0.003  # of the paper's loss, which has no factor 1/2
HALF = 2.0  # step sizes here by those of the paper's loss; slow times by the square
DESCENT = 0.01


class Inputs(NamedTuple):
    """Examples of every draw, (draw, n, d) and (draw, n)."""

    Z: Array
    y: Array


def problems(inputs: Inputs) -> Supervised:
    """The problem of every draw, a leading axis on its arrays."""
    loss = as_loss("squared-error")

    def one(lane: Inputs) -> Supervised:
        return Supervised(SquaresModel(), loss, lane.Z, lane.y[:, None], reduction="mean")

    return eqx.filter_vmap(one)(inputs)


def draws_of(count: int) -> Inputs:
    """The inputs of NumPy's default_rng(0), (1), ..., targets of the sparse truth."""
    Z = [np.random.default_rng(i).normal(size=(EXAMPLES, UNKNOWNS)) for i in range(count)]
    return Inputs(jnp.asarray(np.stack(Z)), jnp.asarray(np.stack([z @ SPARSE for z in Z])))


def descended(inputs: Inputs, params: Params, steps: int) -> Params:
    """Plain descent from the start of every lane."""
    found = paths(
        gradient_descent(HALF * DESCENT), problems(inputs), params, steps, 1,
        over=("problem", "params"),
    )  # fmt: skip
    return found.last.params


def trace_weights(Z: np.ndarray) -> np.ndarray:
    """c_j = (8/n) sum_i z_ij^2, with which the trace is sum_j c_j (u_j^2 + v_j^2)."""
    return 8 / len(Z) * np.sum(Z**2, axis=0)


def seen(inputs: Inputs, params: Params) -> dict[str, np.ndarray]:
    """Trace of the Hessian and squared error, (draw, record) of params (draw, record, d)."""
    u, v = np.asarray(params["u"]), np.asarray(params["v"])
    c = np.stack([trace_weights(Z) for Z in np.asarray(inputs.Z)])
    return {
        "trace": np.sum(c[:, None] * (u**2 + v**2), axis=-1),
        "error": np.sum((u**2 - v**2 - SPARSE) ** 2, axis=-1),
    }


def projected(inputs: Inputs, params: Params, steps: int) -> Params:
    """About where gradient flow ends from every record: plain descent without noise."""
    lanes, records = params["u"].shape[:2]
    many = Inputs(*(jnp.repeat(part, records, axis=0) for part in inputs))
    flat = jax.tree.map(lambda a: a.reshape(lanes * records, -1), params)
    ends = descended(many, flat, steps)
    return jax.tree.map(lambda a: a.reshape(lanes, records, -1), ends)


@dataclass(frozen=True)
class Size:
    """How many draws, and how long."""

    draws: int = 3
    times: tuple[float, ...] = TIMES
    descent: int = 20_000
    projection: int = 3000


@experiment(
    "X1", Size(), smoke={"draws": 1, "times": (0.02, 0.05), "descent": 5000}, full={"draws": 10}
)
def sparse_recovery(lab: Lab, size: Size) -> xr.Dataset:
    """SGD with label noise after plain descent, its limit map, and the limiting flow."""
    inputs = draws_of(size.draws)
    start = {k: jnp.ones((size.draws, UNKNOWNS)) for k in "uv"}
    rest = descended(inputs, start, size.descent)
    times = np.array([*size.times, 2 * size.times[-1]])
    steps = np.rint(times[:-1] / STEP_SIZE**2).astype(int)
    noise = label_noise(1.0, single=True, law="sign")
    keys = jax.random.split(jax.random.key(0), size.draws)
    sgd = paths(
        gradient_descent(HALF * STEP_SIZE, oracle=noise), problems(inputs), rest,
        np.diff(steps, prepend=0), key=keys, over=("problem", "params", "key"),
    )  # fmt: skip
    raw = jax.tree.map(lambda a: a[:, 1:], sgd.seen)
    flow = paths(
        limiting_flow(noise, error=1e-6), problems(inputs), rest,
        HALF**2 * np.diff(times, prepend=0), over=("problem", "params"),
    )  # fmt: skip
    along = jax.tree.map(lambda a: a[:, 1:], flow.seen)
    three = {
        "sgd": (raw, "SGD with label noise"),
        "limit": (projected(inputs, raw, size.projection), "SGD, then the limit map"),
        "flow": (along, "limiting flow"),
    }
    units = {"trace": ("1", "trace of the Hessian"), "error": ("parameter^2", "||w - w*||^2")}
    groups: dict[str, dict[str, tuple[Any, str, str]]] = {"draw slow": {}, "draw": {}}
    for name, (params, words) in three.items():
        for what, values in seen(inputs, params).items():
            unit, about = units[what]
            values = padded(values, len(times), axis=1)
            groups["draw slow"][f"{name}_{what}"] = (values, unit, f"{about}, {words}")
    least = [
        weighted_basis_pursuit(Z, y, trace_weights(Z))
        for Z, y in zip(np.asarray(inputs.Z), np.asarray(inputs.y), strict=True)
    ]
    once = jax.tree.map(lambda a: a[:, None], rest)
    groups["draw"] = {
        "descent_error": (
            seen(inputs, once)["error"][:, 0],
            "parameter^2",
            "||w - w*||^2, descent",
        ),
        "least_trace": ([f.value for f in least], "1", "least trace, by weighted basis pursuit"),
        "least_trace_error": ([f.error for f in least], "1", "its duality gap"),
        "flow_gradients": (flow.evaluations[:, -1], "1", "gradients that the flow took"),
        "sgd_gradients": (sgd.evaluations[:, -1], "1", "gradients that SGD took"),
    }
    line = np.repeat(np.array(groups["draw"]["least_trace"][0])[:, None], len(times), axis=1)
    groups["draw slow"]["least"] = (line, "1", "least trace, by weighted basis pursuit")
    return table(groups, draw=range(size.draws), slow=(times, "1", "slow time eta^2 k"))
