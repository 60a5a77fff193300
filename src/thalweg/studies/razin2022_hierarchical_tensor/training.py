"""Experiments on trained factorisations: components that appear one after another."""

from __future__ import annotations

from dataclasses import dataclass
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
from thalweg.core.tree import Params, stacked
from thalweg.driver.path import Path, path_until, paths
from thalweg.dynamics import optax_dynamics
from thalweg.dynamics.dynamics import Discrete, State
from thalweg.dynamics.grouped_rmsprop import group_rmsprop
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import table
from thalweg.models.tensor_factorisation import (
    CPFactorisation,
    HierarchicalFactorisation,
    TensorFactorisation,
)
from thalweg.problems.tensor_entries import TensorCompletion, random_tensor, tensor_completion

TREE = perfect_tree(4)
TOP = 10
EVERY = 100  # steps between records
STD = "standard deviation of the starting weights"


class Setting(NamedTuple):
    """What is recovered and how it is trained.

    Attributes:
        model: The factorisation that is trained.
        truth: The factorisation that the target is drawn from, all weights N(0, 1).
        norm: Frobenius norm of the target.
        observed: How many entries are seen.
        rate: Learning rate of GroupRMSprop.
    """

    model: TensorFactorisation
    truth: TensorFactorisation
    norm: float
    observed: int
    rate: float

    @property
    def dynamics(self) -> Discrete:
        """What trains it."""
        return optax_dynamics(group_rmsprop(self.rate), self.rate, "GroupRMSprop")


DIMS, FOUR = (8, 8, 8), (4, 4, 4, 4)
CP = Setting(CPFactorisation(DIMS, 32), CPFactorisation(DIMS, 3), 1.0, 256, 1e-3)
HTF = Setting(
    HierarchicalFactorisation(FOUR, TREE, (16, 16)),
    HierarchicalFactorisation(FOUR, TREE, (3, 3)),
    4.0,
    154,
    3e-3,
)


@dataclass(frozen=True)
class Grid:
    """Scales of the start, draws of target, entries and start at each, and steps at most."""

    stds: tuple[float, ...]
    draws: int
    steps: int

    def apart(self, values: Any) -> np.ndarray:
        """Values of all lanes as an array with the axes (std, draw, ...)."""
        return np.asarray(values).reshape(len(self.stds), self.draws, *np.shape(values)[1:])

    @property
    def labels(self) -> dict[str, Any]:
        """What its axes are called."""
        return {"std": (self.stds, "1", STD), "draw": range(self.draws)}


def problem_of(setting: Setting, std: float, draw: int) -> TensorCompletion:
    """The completion of one draw of target and entries, from starts of a scale."""
    truth, entries = jax.random.split(jax.random.key(draw))
    target = random_tensor(setting.truth, truth, setting.norm)
    return tensor_completion(setting.model, target, setting.observed, entries, std)


def lanes(setting: Setting, size: Grid) -> tuple[TensorCompletion, Params]:
    """Problems and their starts, one for each std and draw in a row."""
    cells = [(std, draw) for std in size.stds for draw in range(size.draws)]
    problems = [problem_of(setting, std, draw) for std, draw in cells]
    starts = [p.init(jax.random.key(1000 + d)) for p, (_, d) in zip(problems, cells, strict=True)]
    return stacked(problems), stacked(starts)


class Record(NamedTuple):
    """What is looked at along a run; norms by node, all components."""

    loss: Array
    error: Array
    norms: dict[str, Array]
    tensor: Array


def record(problem: Any, state: State) -> Record:
    """What is looked at in a state."""
    model, params = problem.factorisation, state.params
    norms = model.component_norms(params)
    return Record(problem.objective(params), problem.error(params), norms, model.tensor(params))


def trained(setting: Setting, size: Grid) -> tuple[Any, dict[str, Any]]:
    """A `Record` with the axes (std, draw, step, ...), and the labels of these axes."""
    problems, starts = lanes(setting, size)
    over, records = ["problem", "params"], size.steps // EVERY
    found: Path = paths(setting.dynamics, problems, starts, EVERY, records, record, over=over)
    steps = EVERY * np.arange(records + 1)
    axes = size.labels | {"step": (steps, "1", "steps of GroupRMSprop")}
    return jax.tree.map(size.apart, found.seen), axes | {"component": np.arange(1, TOP + 1)}


def largest(norms: np.ndarray) -> np.ndarray:
    """Curves of the components that are the largest in the end, the largest first.

    (..., step, component) to (..., component, step).
    """
    order = np.argsort(-norms[..., -1, :], axis=-1)[..., :TOP]
    return np.swapaxes(np.take_along_axis(norms, order[..., None, :], -1), -1, -2)


def _told(found: Any) -> dict[str, tuple[Any, str, str]]:
    return {
        "loss": (found.loss, "norm^2", "mean square over observed entries"),
        "error": (found.error, "1", "reconstruction error"),
    }


STDS = (0.3, 0.1, 0.03, 0.01)


@experiment("X1", Grid(STDS, 4, 20_000), smoke={"draws": 1, "steps": 6_000}, full={"draws": 20})
def cp_completion(lab: Lab, size: Grid) -> xr.Dataset:
    """A CP factorisation completes a tensor of rank 3: the ten largest components, their rise."""
    found, axes = trained(CP, size)
    (norms,) = found.norms.values()
    top = largest(norms)
    half = first_crossing(axes["step"][0], np.moveaxis(top, -1, 0), top[..., -1] / 2)
    last = found.tensor[:, :, -1]
    s = np.linalg.svd(last.reshape(*last.shape[:3], -1), compute_uv=False)
    return table(
        {
            "std draw step": _told(found),
            "std draw component step": {"norm": (top, "norm", "component norm, by final size")},
            "std draw index": {"spectrum": (s, "norm", "singular values of mode 0, at the end")},
            "std draw component": {
                "half_rise": (half.time, "step", "step at half of the final norm"),
                "half_rise_error": (half.error, "step", "error of the half-rise step"),
            },
        },
        **axes,
    )


@experiment(
    "X1-draws",
    Grid(STDS[-1:], 16, 20_000),
    smoke={"draws": 1, "steps": 2_000},
    full={"draws": 40},
)
def cp_draws(lab: Lab, size: Grid) -> xr.Dataset:
    """The smallest start of X1 alone, in draws enough for a statement about all."""
    return cp_completion.function(lab, size)


@experiment(
    "X2", Grid((0.3, 0.1, 0.03), 5, 30_000), smoke={"draws": 1, "steps": 300}, full={"draws": 20}
)
def htf_completion(lab: Lab, size: Grid) -> xr.Dataset:
    """A hierarchical factorisation completes a tensor of hierarchical rank (3, 3).

    Local components at the root and below it, and the effective rank of modes {0, 1}.
    """
    found, axes = trained(HTF, size)
    root, below, *_ = (largest(norms) for norms in found.norms.values())
    targets = np.stack([problem_of(HTF, 1.0, draw).target for draw in range(size.draws)])
    target = _rank_of_halves(targets)
    return table(
        {
            "std draw step": {
                **_told(found),
                "effective_rank": (
                    _rank_of_halves(found.tensor),
                    "1",
                    "effective rank of modes {0, 1}",
                ),
            },
            "std draw component step": {
                "root_norm": (root, "norm", "local component norm at the root"),
                "node_norm": (below, "norm", "local component norm at {0, 1}"),
            },
            "draw": {"target_rank": (target, "1", "effective rank of the target")},
            "": {"first_target_rank": (target[0], "1", "effective rank of draw 0's target")},
        },
        **axes,
    )


@experiment(
    "X2-draws", Grid((0.1,), 12, 30_000), smoke={"draws": 1, "steps": 300}, full={"draws": 40}
)
def htf_draws(lab: Lab, size: Grid) -> xr.Dataset:
    """The start of X2 that C8 is about alone, in draws enough for a statement about all."""
    return htf_completion.function(lab, size)


def _rank_of_halves(tensors: np.ndarray) -> np.ndarray:
    """Effective ranks of modes {0, 1} against {2, 3}."""
    halves = tensors.reshape(*tensors.shape[:-4], 16, 16)
    return np.asarray(effective_rank_from(jnp.linalg.svd(halves, compute_uv=False)))


@experiment("X4", Grid((0.1, 0.03, 0.01, 0.003), 4, 20_000), smoke={"draws": 1}, full={"draws": 20})
def rank_one(lab: Lab, size: Grid) -> xr.Dataset:
    """How near to rank one the tensor is when it first has a norm of 0.5."""
    norms, tensors, steps = first_reach(CP.dynamics, *lanes(CP, size), jnp.asarray(size.steps))
    s = np.linalg.svd(jax.vmap(lambda T: matricise(T, (0,)))(tensors), compute_uv=False)
    # Summed from the small ones: 1 - s_1^2/sum would lose what is below rounding.
    residue = np.sum(s[:, 1:] ** 2, 1) / np.sum(s**2, 1)
    share = jnp.max(norms, 1) / jnp.sum(norms, 1)
    length = jnp.linalg.norm(tensors.reshape(len(tensors), -1), axis=1)
    told = {
        "share": (share, "1", "largest component norm / sum of all"),
        "residue": (residue, "1", "share of squares beyond the first rank"),
        "size": (length, "norm", "Frobenius norm of the tensor then"),
        "reached": (steps, "step", "step at which the norm first is 0.5"),
    }
    apart = {name: (size.apart(v), unit, words) for name, (v, unit, words) in told.items()}
    return table({"std draw": apart}, **size.labels)


@eqx.filter_jit
def first_reach(
    dynamics: Discrete, problems: TensorCompletion, starts: Params, limit: Array
) -> tuple[Array, Array, Array]:
    """Component norms, tensor and step when ||W||_F first is 0.5 or more, or at the limit."""

    def reached(problem: Any, state: State) -> Array:
        return jnp.linalg.norm(problem.factorisation.tensor(state.params).ravel()) >= 0.5

    def one(problem: TensorCompletion, start: Params) -> tuple[Array, Array, Array]:
        last, model = path_until(dynamics, problem, start, reached, limit), problem.factorisation
        (norms,) = model.component_norms(last.params).values()
        return norms, model.tensor(last.params), last.step

    return eqx.filter_vmap(one)(problems, starts)
