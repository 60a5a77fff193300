"""Experiments on trained factorisations: components that appear one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.comparison.crossing import first_crossing
from thalweg.core.rank import effective_rank_from
from thalweg.core.tensors import matricise, perfect_tree
from thalweg.core.tree import Params
from thalweg.dynamics import optax_dynamics
from thalweg.dynamics.dynamics import Discrete
from thalweg.dynamics.grouped_rmsprop import group_rmsprop
from thalweg.lab.study import Lab, variable
from thalweg.models.tensor_factorisation import (
    CPFactorisation,
    HierarchicalFactorisation,
    TensorFactorisation,
)
from thalweg.problems.tensor_entries import TensorCompletion, random_tensor, tensor_completion

TREE = perfect_tree(4)
TOP = 10
CP_STDS = (0.3, 0.1, 0.03, 0.01)
HTF_STDS = (0.3, 0.1, 0.03)
FIRST_STDS = (0.1, 0.03, 0.01, 0.003)


class Setting(NamedTuple):
    """What is recovered and how it is trained.

    Attributes:
        model: The factorisation that is trained.
        truth: The factorisation that the target is drawn from, all weights N(0, 1).
        norm: Frobenius norm of the target.
        observed: How many entries are seen.
        rate: Learning rate of GroupRMSprop.
        steps: How many steps.
        every: Steps between records.
    """

    model: TensorFactorisation
    truth: TensorFactorisation
    norm: float
    observed: int
    rate: float
    steps: int
    every: int


DIMS = (8, 8, 8)
CP = Setting(CPFactorisation(DIMS, 32), CPFactorisation(DIMS, 3), 1.0, 256, 1e-3, 20_000, 100)
FOUR = (4, 4, 4, 4)
HTF = Setting(
    HierarchicalFactorisation(FOUR, TREE, (16, 16)),
    HierarchicalFactorisation(FOUR, TREE, (3, 3)),
    4.0,
    154,
    3e-3,
    30_000,
    100,
)


def problem_of(setting: Setting, std: float, draw: int) -> TensorCompletion:
    """The completion of one draw of target and entries, from starts of a scale."""
    truth, entries = jax.random.split(jax.random.key(draw))
    target = random_tensor(setting.truth, truth, setting.norm)
    return tensor_completion(setting.model, target, setting.observed, entries, std)


def _problems(setting: Setting, stds: Sequence[float], draws: int) -> tuple[Any, Array]:
    """Problems and the keys of their starts, one for each std and draw in a row."""
    cells = [(std, draw) for std in stds for draw in range(draws)]
    problems = [problem_of(setting, std, draw) for std, draw in cells]
    keys = [jax.random.key(1000 + draw) for _, draw in cells]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems), jnp.stack(keys)


def _dynamics(setting: Setting) -> Discrete:
    return optax_dynamics(group_rmsprop(setting.rate), setting.rate, "GroupRMSprop")


class Record(NamedTuple):
    """What is looked at along a run; norms by node, all components."""

    loss: Array
    error: Array
    norms: dict[str, Array]
    tensor: Array


def _record(problem: TensorCompletion, params: Params) -> Record:
    model = problem.factorisation
    return Record(
        problem.objective(params),
        problem.error(params),
        model.component_norms(params),
        model.tensor(params),
    )


@eqx.filter_jit
def _follow(dynamics: Discrete, problems: Any, keys: Array, records: int, every: int) -> Record:
    """Train all at once; records at every `every`-th step, on the second axis."""

    def one(problem: TensorCompletion, key: Array) -> Record:
        def go(state: Any, _: None) -> tuple[Any, Record]:
            def step(_: Array, state: Any) -> Any:
                return dynamics.step(problem, state, key)[0]

            return jax.lax.fori_loop(0, every, step, state), _record(problem, state.params)

        first = dynamics.init(problem, problem.init(key))
        return jax.lax.scan(go, first, None, length=records + 1)[1]

    return jax.vmap(one)(problems, keys)


def _trained(setting: Setting, stds: Sequence[float], draws: int) -> Any:
    """A `Record` of NumPy arrays with axes (std, draw, record, ...)."""
    problems, keys = _problems(setting, stds, draws)
    records = setting.steps // setting.every
    found = _follow(_dynamics(setting), problems, keys, records, setting.every)
    return jax.tree.map(lambda v: np.asarray(v).reshape(len(stds), draws, *v.shape[1:]), found)


def _largest(norms: np.ndarray, count: int) -> np.ndarray:
    """Curves of the components that are the largest in the end, the largest first.

    (..., record, component) to (..., component, record).
    """
    order = np.argsort(-norms[..., -1, :], axis=-1)[..., :count]
    return np.swapaxes(np.take_along_axis(norms, order[..., None, :], -1), -1, -2)


def _coords(setting: Setting, stds: Sequence[float], draws: int) -> dict[str, Any]:
    steps = setting.every * np.arange(setting.steps // setting.every + 1)
    return {
        "std": variable("std", list(stds), "1", "standard deviation of the starting weights"),
        "draw": np.arange(draws),
        "step": variable("step", steps, "1", "steps of GroupRMSprop"),
    }


CELL = ("std", "draw")
ALONG = (*CELL, "step")


def cp_completion(lab: Lab) -> xr.Dataset:
    """X1: a CP factorisation completes a tensor of rank 3, from starts of four scales."""
    return cp_completion_of(CP, CP_STDS, draws=20 if lab.full else 4)


def cp_draws(lab: Lab) -> xr.Dataset:
    """X1-draws: the smallest start of X1 alone, in draws enough for a statement about all."""
    return cp_completion_of(CP, CP_STDS[-1:], draws=40 if lab.full else 16)


def cp_completion_of(setting: Setting, stds: Sequence[float], draws: int) -> xr.Dataset:
    """Loss, error, the ten largest components, and when each has half of its final norm."""
    found = _trained(setting, stds, draws)
    (norms,) = found.norms.values()
    top = _largest(norms, TOP)
    coords = _coords(setting, stds, draws)
    steps = coords["step"].values
    half = first_crossing(steps, np.moveaxis(top, -1, 0), top[..., -1] / 2)
    what = "component norm, by final size"
    last = found.tensor[:, :, -1]
    s = np.linalg.svd(last.reshape(*last.shape[:3], -1), compute_uv=False)
    return xr.Dataset(
        {
            "loss": variable(ALONG, found.loss, "norm^2", "mean square over observed entries"),
            "error": variable(ALONG, found.error, "1", "reconstruction error"),
            "norm": variable((*CELL, "component", "step"), top, "norm", what),
            "spectrum": variable(
                (*CELL, "index"), s, "norm", "singular values of mode 0, at the end"
            ),
            "half_rise": variable(
                (*CELL, "component"), half.time, "step", "step at half of the final norm"
            ),
            "half_rise_error": variable(
                (*CELL, "component"), half.error, "step", "error of the half-rise step"
            ),
        },
        coords | {"component": np.arange(1, TOP + 1)},
    )


def htf_completion(lab: Lab) -> xr.Dataset:
    """X2: a hierarchical factorisation completes a tensor of hierarchical rank (3, 3)."""
    return htf_completion_of(HTF, HTF_STDS, draws=20 if lab.full else 5)


def htf_draws(lab: Lab) -> xr.Dataset:
    """X2-draws: the start of X2 that C8 is about alone, in draws enough for a statement."""
    return htf_completion_of(HTF, HTF_STDS[1:2], draws=40 if lab.full else 12)


def htf_completion_of(setting: Setting, stds: Sequence[float], draws: int) -> xr.Dataset:
    """Loss, error, local components at the root and below, effective rank of modes {0, 1}."""
    found = _trained(setting, stds, draws)
    spread = jax.jit(jax.vmap(_effective_rank))
    shape = found.tensor.shape[: len(ALONG)]
    rank = np.asarray(spread(found.tensor.reshape(-1, *setting.model.dims))).reshape(shape)
    targets = jnp.stack([problem_of(setting, 1.0, draw).target for draw in range(draws)])
    target = np.asarray(spread(targets))
    (root, below, *_) = (_largest(norms, TOP) for norms in found.norms.values())
    parts = (*CELL, "component", "step")
    return xr.Dataset(
        {
            "loss": variable(ALONG, found.loss, "norm^2", "mean square over observed entries"),
            "error": variable(ALONG, found.error, "1", "reconstruction error"),
            "root_norm": variable(parts, root, "norm", "local component norm at the root"),
            "node_norm": variable(parts, below, "norm", "local component norm at {0, 1}"),
            "effective_rank": variable(ALONG, rank, "1", "effective rank of modes {0, 1}"),
            "target_rank": variable("draw", target, "1", "effective rank of the target"),
            "first_target_rank": variable((), target[0], "1", "effective rank of draw 0's target"),
        },
        _coords(setting, stds, draws) | {"component": np.arange(1, TOP + 1)},
    )


def _effective_rank(tensor: Array) -> Array:
    return effective_rank_from(jnp.linalg.svd(matricise(tensor, (0, 1)), compute_uv=False))


# X4: the state when the tensor first has a norm of 0.5.


@eqx.filter_jit
def _first_reach(
    dynamics: Discrete, problems: Any, keys: Array, level: float, limit: int
) -> tuple[Array, Array, Array]:
    """Component norms, tensor and step when ||W||_F first is `level` or more, or at the limit."""

    def one(problem: TensorCompletion, key: Array) -> tuple[Array, Array, Array]:
        model = problem.factorisation

        def short(state: Any) -> Array:
            norm = jnp.linalg.norm(model.tensor(state.params).ravel())
            return (norm < level) & (state.step < limit)

        def step(state: Any) -> Any:
            return dynamics.step(problem, state, key)[0]

        last = jax.lax.while_loop(short, step, dynamics.init(problem, problem.init(key)))
        (norms,) = model.component_norms(last.params).values()
        return norms, model.tensor(last.params), last.step

    return jax.vmap(one)(problems, keys)


def rank_one(lab: Lab) -> xr.Dataset:
    """X4: how near to rank one the tensor is on its way out of the origin."""
    return rank_one_of(CP, FIRST_STDS, draws=20 if lab.full else 4)


def rank_one_of(setting: Setting, stds: Sequence[float], draws: int) -> xr.Dataset:
    """Share of the top component, and what of the mode-0 matricisation is not of rank one."""
    problems, keys = _problems(setting, stds, draws)
    norms, tensors, steps = _first_reach(_dynamics(setting), problems, keys, 0.5, setting.steps)
    s = jnp.linalg.svd(jax.vmap(lambda T: matricise(T, (0,)))(tensors), compute_uv=False)
    # Summed from the small ones: 1 - s_1^2/sum would lose what is below rounding.
    residue = jnp.sum(s[:, 1:] ** 2, 1) / jnp.sum(s**2, 1)
    share = jnp.max(norms, 1) / jnp.sum(norms, 1)
    size = jnp.linalg.norm(tensors.reshape(len(keys), -1), axis=1)
    share, residue, size, steps = (
        v.reshape(len(stds), draws) for v in (share, residue, size, steps)
    )
    coords = _coords(setting, stds, draws)
    del coords["step"]
    return xr.Dataset(
        {
            "share": variable(CELL, share, "1", "largest component norm / sum of all"),
            "residue": variable(CELL, residue, "1", "share of squares beyond the first rank"),
            "size": variable(CELL, size, "norm", "Frobenius norm of the tensor then"),
            "reached": variable(CELL, steps, "step", "step at which the norm first is 0.5"),
        },
        coords,
    )
