"""Experiments X4 and X5: one layer trained alone, and a layer inside a net trained on digits."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.selection import part_of
from thalweg.core.tree import Params
from thalweg.dynamics import gradient_descent, optax_dynamics
from thalweg.dynamics.dynamics import State
from thalweg.lab.study import Lab, variable
from thalweg.models.residual import ResidualMLP
from thalweg.problems import Problem, Supervised, digits, trained_part
from thalweg.problems.losses import as_loss
from thalweg.studies.riedi2022_singular_values.exact import square_net
from thalweg.theory.landscape import piecewise_affine as pieces
from thalweg.theory.landscape import regions
from thalweg.theory.landscape import singular_values as sv

ACTIVATIONS = {"leaky ReLU": "leaky-relu:0.1", "absolute value": "abs"}
SKIPS = (0.0, 1.0)
LEVEL = 1e-3  # of the initial loss: where training ends
CAP = 3000


# X4: the first of four layers is trained on one example, at its own best guess of a step size.


def training(lab: Lab) -> xr.Dataset:
    """Steps of gradient descent to a thousandth of the loss."""
    return training_of(seeds=25 if lab.full else 5)


def training_of(seeds: int, n: int = 16, cap: int = CAP) -> xr.Dataset:
    """Losses by step, steps to the level, and what the first region alone predicts."""
    shape = (len(ACTIVATIONS), len(SKIPS), seeds)
    loss = np.empty((*shape, cap + 1))
    predicted = np.full_like(loss, np.nan)
    steps, left, kappa, rate = (np.empty(shape) for _ in range(4))
    for a, r in np.ndindex(shape[:2]):
        net = square_net(list(ACTIVATIONS.values())[a], SKIPS[r], n, 4, 0.5, False)
        tasks = jax.vmap(lambda key, net=net: _task(net, n, key))(
            jax.vmap(jax.random.key)(jnp.arange(seeds))
        )
        found, stayed, spectra = map(np.asarray, _descents(net, tasks, cap))
        loss[a, r] = found
        there = found <= LEVEL * found[:, :1]
        steps[a, r] = np.where(there.any(1), there.argmax(1), np.nan)
        left[a, r] = np.where(stayed.all(1), np.nan, stayed.argmin(1))
        kappa[a, r], rate[a, r] = sv.condition_number(spectra), 1 / tasks.step_size
        for seed in range(seeds):
            one = jax.tree.map(lambda leaf, seed=seed: leaf[seed], tasks)
            size = float(one.step_size)
            told = regions.region_loss(net, one.params, one.x, one.y, 0, size, "sum")
            predicted[a, r, seed] = told.at(np.arange(cap + 1) * size)
    counted = np.where(np.isnan(steps), cap, steps)
    dims = ("activation", "rho", "seed")
    relative, inside = (_until_level(path / loss[..., :1]) for path in (loss, predicted))
    return xr.Dataset(
        {
            "loss": variable((*dims, "step"), relative, "1", "loss / initial loss, to the end"),
            "loss_theory": variable(
                (*dims, "step"), inside, "1", "the same if the first region never ended"
            ),
            "steps": variable(dims, steps, "1", "steps to a thousandth of the loss"),
            "steps_counted": variable(dims, counted, "1", f"the same, {cap} where not reached"),
            "median_steps": variable(dims[:2], np.median(counted, -1), "1", "median over seeds"),
            "left_at": variable(dims, left, "1", "first step outside the first region"),
            "condition": variable(dims, kappa, "1", "condition number of Q at the start"),
            "sharpness": variable(
                dims, rate, "loss/weight^2", "largest eigenvalue at the start, 1/step size"
            ),
        },
        {
            "activation": list(ACTIVATIONS),
            "rho": variable("rho", list(SKIPS), "1", "skip strength rho"),
            "seed": np.arange(seeds),
            "step": variable("step", np.arange(cap + 1), "1", "step of gradient descent"),
        },
    )


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
    sharpness = pieces.layer_hessian(net, params, x, 0, reduction="sum").spectrum()[0]
    return Task(params, x, y, 1 / sharpness)


@eqx.filter_jit
def _descents(net: ResidualMLP, tasks: Task, cap: int) -> tuple[Array, Array, Array]:
    """Loss at every step, whether the first region still holds, and the spectrum of the first Q."""

    def one(task: Task) -> tuple[Array, Array, Array]:
        whole = Supervised(net, as_loss("squared-error"), task.x, task.y, "sum")
        problem = trained_part(whole, task.params, first_weights)
        part, key = part_of(task.params, first_weights), jax.random.key(0)
        dynamics = gradient_descent(task.step_size)

        def pattern(theta: Array) -> Array:
            return regions.activation_pattern(net, part.params(theta), task.x)

        def on(state: State, _: None) -> tuple[State, tuple[Array, Array]]:
            held = jnp.all(pattern(state.params) == first)
            after, info = dynamics.step(problem, state, key)
            return after, (info.loss, held)

        start, first = dynamics.init(problem, part.theta), pattern(part.theta)
        loss, held = jax.lax.scan(on, start, length=cap + 1)[1]
        Q = pieces.downstream_matrix(net, task.params, task.x[0], 0)
        return loss, held, jnp.linalg.svd(Q, compute_uv=False)

    return jax.vmap(one)(tasks)


def first_weights(path: str) -> bool:
    """Which parameters X4 trains."""
    return path == "0.weight"


# X5: the same measures in the middle of a net trained on handwritten digits.


def trained_digits(lab: Lab) -> xr.Dataset:
    """X5: downstream spectra of a layer of a net trained by Adam on the digits of scikit-learn."""
    if lab.full:
        return digits_of(lab, width=64, hidden=12, layer=1, samples=None, steps=2000, images=200)
    return digits_of(lab, width=64, hidden=6, layer=1, samples=300, steps=200, images=30)


def digits_of(
    lab: Lab, *, width: int, hidden: int, layer: int, samples: int | None, steps: int, images: int
) -> xr.Dataset:
    """Spectra of Q by image, before and after the nearest wall in the layer's weights."""
    rate, ranks = 1e-3, min(width, 10)
    spectrum, jump = np.empty((2, images, ranks)), np.empty((2, images))
    local, accuracy, flat = np.empty((2, images)), np.empty(2), np.empty((2, 2))
    for r, rho in enumerate(SKIPS):
        # What the branches add up to would grow with depth; half the weights keep it in bounds.
        net = ResidualMLP((width,) * hidden, "leaky-relu:0.1", skip=rho, gain=1 - 0.5 * rho)
        problem = digits(net, "squared-error", samples=samples)
        adam = optax_dynamics(optax.adam(rate), rate, "Adam")
        path = lab.run(f"digits-{rho:g}", problem, adam, until=steps * rate, records=2)
        flat[r] = path.dataset["loss"].values[0, [0, -1]]
        params = _shaped(problem, path.parameters.values[0, -1])
        x = problem.inputs[:images]
        told = np.argmax(np.asarray(problem.outputs(params)), 1)
        accuracy[r] = np.mean(told == np.argmax(np.asarray(problem.targets), 1))
        M = jax.vmap(lambda one, p=params, m=net: pieces.local_matrix(m, p, one, layer + 1))(x)
        local[r] = sv.condition_number(np.linalg.svd(np.asarray(M), compute_uv=False))
        for i in range(images):
            one = x[i : i + 1]
            wall = regions.boundary_distance(net, params, one, layer)
            crossing = regions.across(net, params, one, layer, wall)
            spectrum[r, i] = crossing.before
            jump[r, i] = np.max(np.abs(crossing.after - crossing.before) / crossing.before)
    ratio = spectrum / spectrum[..., :1]
    return xr.Dataset(
        {
            "spectrum": variable(
                ("rho", "image", "rank"), spectrum, "output/input", "singular value of Q"
            ),
            "relative": variable(
                ("rho", "rank"), np.median(ratio, 1), "1", "median of s_i(Q)/s_1(Q) over images"
            ),
            "relative_error": variable(
                ("rho", "rank"), ratio.std(1), "1", "its spread (standard deviation) over images"
            ),
            "condition": variable(
                ("rho", "image"), np.sort(sv.condition_number(spectrum), 1), "1", "kappa(Q), sorted"
            ),
            "local": variable(
                ("rho", "image"), np.sort(local, 1), "1", "kappa of the next layer, sorted"
            ),
            "jump": variable(
                ("rho", "image"),
                np.sort(jump, 1),
                "1",
                "largest relative change of a singular value across the nearest wall, sorted",
            ),
            "accuracy": variable("rho", accuracy, "1", "share of training images told right"),
            "start_loss": variable("rho", flat[:, 0], "loss", "loss at the start"),
            "end_loss": variable("rho", flat[:, 1], "loss", "loss at the end"),
        },
        {
            "rho": variable("rho", list(SKIPS), "1", "skip strength rho"),
            "image": variable("image", (np.arange(images) + 0.5) / images, "1", "share of images"),
            "rank": variable("rank", np.arange(1, ranks + 1), "1", "rank i"),
        },
    )


def _shaped(problem: Problem, flat: np.ndarray) -> Params:
    """Flat parameters in the shape that the problem draws them in."""
    return ravel_pytree(problem.init(jax.random.key(0)))[1](jnp.asarray(flat))
