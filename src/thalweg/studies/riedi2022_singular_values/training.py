"""Experiments X4 and X5: one layer trained alone, and a layer inside a net trained on digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.selection import part_of
from thalweg.core.tree import Params, lane
from thalweg.curvature import layer_hessian
from thalweg.driver.many import steps_to
from thalweg.driver.path import path
from thalweg.dynamics import gradient_descent, optax_dynamics
from thalweg.dynamics.dynamics import State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import piecewise_affine as pieces
from thalweg.models.residual import ResidualMLP
from thalweg.problems import Problem, Supervised, digits, trained_part
from thalweg.problems.losses import as_loss
from thalweg.problems.problem import unraveller
from thalweg.problems.recorded_outputs import share_right
from thalweg.studies.riedi2022_singular_values.exact import SKIP, SKIPS, square_net
from thalweg.theory.landscape import regions
from thalweg.theory.landscape import singular_values as sv

ACTIVATIONS = {"leaky ReLU": "leaky-relu:0.1", "absolute value": "abs"}
LEVEL = 1e-3  # of the initial loss: where training ends


# X4: the first of four layers is trained on one example, at its own best guess of a step size.


@dataclass(frozen=True)
class Descents:
    """Seeds, and where a descent is given up."""

    seeds: int = 5
    cap: int = 3000


@experiment("X4", Descents(), smoke={"cap": 1500}, full={"seeds": 25})
def training(lab: Lab, size: Descents) -> xr.Dataset:
    """Steps of gradient descent to a thousandth of the loss, and the first region's prediction."""
    n, cap = 16, size.cap
    keys = jax.vmap(jax.random.key)(jnp.arange(size.seeds))

    def one(activation: str, rho: float) -> xr.Dataset:
        net = square_net(ACTIVATIONS[activation], rho, n, 4, 0.5, False)
        tasks = jax.vmap(lambda key: _task(net, n, key))(keys)
        loss, inside, spectra = map(np.asarray, _descents(net, tasks, cap))
        told = np.array([_first_region(net, tasks, seed, cap) for seed in range(size.seeds)])
        taken = steps_to(loss, LEVEL * loss[:, 0])
        steps, counted = np.where(taken <= cap, taken, np.nan), np.minimum(taken, float(cap))
        left = np.where(inside.all(1), np.nan, inside.argmin(1))
        relative, theory = (_until_level(values / loss[:, :1]) for values in (loss, told))
        about = "largest eigenvalue at the start, 1/step size"
        groups: dict[str, Any] = {
            "seed step": {
                "loss": (relative, "1", "loss / initial loss"),
                "loss_theory": (theory, "1", "loss / initial loss if the first region never ended"),
            },
            "seed": {
                "steps": (steps, "1", "steps to a thousandth of the loss"),
                "steps_counted": (counted, "1", f"the same, {cap} where not reached"),
                "left_at": (left, "1", "first step outside the first region"),
                "condition": (sv.condition_number(spectra), "1", "condition number of Q at first"),
                "sharpness": (1 / tasks.step_size, "loss/weight^2", about),
            },
            "": {"median_steps": (np.median(counted), "1", "median over seeds of the steps")},
        }
        steps_taken = (range(cap + 1), "1", "step of gradient descent")
        return table(groups, seed=range(size.seeds), step=steps_taken)

    return over(one, activation=list(ACTIVATIONS), rho=(SKIPS, "1", SKIP))


def _until_level(path: np.ndarray) -> np.ndarray:
    """Relative losses up to the first at the level, then NaN."""
    return np.where(np.cumsum(path <= LEVEL, -1) > 1, np.nan, path)


class Task(NamedTuple):
    """A net, one example as a batch of one, its target, and the step size 1/lambda_max."""

    params: Params
    x: Float[Array, "1 n"]
    y: Float[Array, "1 n"]
    step_size: Float[Array, ""]


def _task(net: ResidualMLP, n: int, key: Array) -> Task:
    """The target is what the net says with other weights in its first layer."""
    own, other, draw = jax.random.split(key, 3)
    params = net.init(own, (n,), n)
    x = jax.random.normal(draw, (1, n)) / jnp.sqrt(n)
    y = net.apply([net.init(other, (n,), n)[0], *params[1:]], x)
    sharpness = layer_hessian(net, params, x, 0, reduction="sum").spectrum()[0]
    return Task(params, x, y, 1 / sharpness)


def _first_region(net: ResidualMLP, tasks: Task, seed: int, cap: int) -> np.ndarray:
    """The loss at every step if the quadratic of the first region were all."""
    params, x, y, step_size = lane(tasks, seed)
    told = regions.region_loss(net, params, x, y, 0, float(step_size), "sum")
    return told.at(np.arange(cap + 1) * float(step_size))


@eqx.filter_jit
def _descents(net: ResidualMLP, tasks: Task, cap: int) -> tuple[Array, Array, Array]:
    """Loss at every step, whether the first region still holds, and the spectrum of the first Q."""

    def one(task: Task) -> tuple[Array, Array, Array]:
        whole = Supervised(net, as_loss("squared-error"), task.x, task.y, "sum")
        problem = trained_part(whole, task.params, first_weights)
        part = part_of(task.params, first_weights)

        def pattern(theta: Array) -> Array:
            return regions.activation_pattern(net, part.params(theta), task.x)

        first = pattern(part.theta)

        def observe(problem: Problem, state: State) -> tuple[Array, Array]:
            return problem.objective(state.params), jnp.all(pattern(state.params) == first)

        dynamics = gradient_descent(task.step_size)
        loss, inside = path(dynamics, problem, part.theta, 1, cap, observe).seen
        Q = pieces.downstream_matrix(net, task.params, task.x[0], 0)
        return loss, inside, jnp.linalg.svd(Q, compute_uv=False)

    return jax.vmap(one)(tasks)


def first_weights(path: str) -> bool:
    """Which parameters X4 trains."""
    return path == "0.weight"


# X5: the same measures in the middle of a net trained on handwritten digits.


@dataclass(frozen=True)
class Digits:
    """The net, which layer of it is looked at, and how it is trained and measured."""

    width: int = 64
    hidden: int = 6
    layer: int = 1
    samples: int | None = 300
    steps: int = 200
    images: int = 30


TINY = {"width": 10, "hidden": 3, "samples": 40, "steps": 30, "images": 4}
LARGE = {"hidden": 12, "samples": None, "steps": 2000, "images": 200}


@experiment("X5", Digits(), smoke=TINY, full=LARGE)
def trained_digits(lab: Lab, size: Digits) -> xr.Dataset:
    """Downstream spectra of a layer of a net trained by Adam on the digits of scikit-learn.

    Spectra of Q by image, before and after the nearest wall in the layer's weights.
    """
    rate, ranks = 1e-3, min(size.width, 10)

    def one(rho: float) -> xr.Dataset:
        # What the branches add up to would grow with depth; half the weights keep it in bounds.
        net = ResidualMLP(
            (size.width,) * size.hidden, "leaky-relu:0.1", skip=rho, gain=1 - 0.5 * rho
        )
        problem = digits(net, "squared-error", samples=size.samples)
        adam = optax_dynamics(optax.adam(rate), rate, "Adam")
        run = lab.run(f"digits-{rho:g}", problem, adam, until=size.steps * rate, records=2)
        start, end = run.dataset["loss"].values[0, [0, -1]]
        params = unraveller(problem)(jnp.asarray(run.parameters.values[0, -1]))
        right = share_right(problem.outputs(params), problem.targets)
        x = problem.inputs[: size.images]
        M = jax.vmap(lambda one: pieces.local_matrix(net, params, one, size.layer + 1))(x)
        local = sv.condition_number(np.linalg.svd(np.asarray(M), compute_uv=False))
        spectrum, after = _walls(net, params, x, size.layer)
        jump = np.max(np.abs(after - spectrum) / spectrum, axis=1)
        ratio = spectrum / spectrum[:, :1]
        kappa = np.sort(sv.condition_number(spectrum))
        across = "largest relative change of a singular value across the nearest wall, sorted"
        groups = {
            "image rank": {"spectrum": (spectrum, "output/input", "singular value of Q")},
            "rank": {
                "relative": (np.median(ratio, 0), "1", "median of s_i(Q)/s_1(Q) over images"),
                "relative_error": (ratio.std(0), "1", "spread of s_i(Q)/s_1(Q) over images"),
            },
            "image": {
                "condition": (kappa, "1", "condition number of Q, sorted"),
                "local": (np.sort(local), "1", "condition number of the next layer, sorted"),
                "jump": (np.sort(jump), "1", across),
            },
            "": {
                "accuracy": (right, "1", "share of training images told right"),
                "start_loss": (start, "loss", "loss at the start"),
                "end_loss": (end, "loss", "loss at the end"),
            },
        }
        share = (np.arange(size.images) + 0.5) / size.images
        return table(
            groups,
            image=(share, "1", "share of images"),
            rank=(range(1, ranks + 1), "1", "rank i"),
        )

    return over(one, rho=(SKIPS, "1", SKIP))


def _walls(net: ResidualMLP, params: Params, x: Array, layer: int) -> tuple[np.ndarray, ...]:
    """Singular values of Q on both sides of the nearest wall, image by image."""
    found = []
    for image in x:
        wall = regions.boundary_distance(net, params, image[None], layer)
        crossing = regions.across(net, params, image[None], layer, wall)
        found.append((crossing.before, crossing.after))
    before, after = np.moveaxis(np.array(found), 1, 0)
    return before, after
