"""What a step of K-FAC sees of a problem, and what it weighs against each other."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.curvature.kronecker.factors import Factors
from thalweg.curvature.kronecker.layers import Layers
from thalweg.curvature.kronecker.passes import Passes
from thalweg.dynamics.natural_gradient.history import History
from thalweg.dynamics.natural_gradient.quadratic_model import QuadraticModel
from thalweg.oracles.examples_shown import supervised_in
from thalweg.problems.likelihoods import likelihood
from thalweg.problems.losses import ScaledLoss
from thalweg.problems.problem import Problem, Supervised
from thalweg.problems.weight_decay import Decayed

FOR = ("to take Kronecker factors of", "give a problem made by `supervised`")
SHARE, LEAST = 8, 256  # of the examples that factors are taken of
Scalar = Float[Array, ""]


class KFACMemory(NamedTuple):
    """What K-FAC carries from step to step.

    Attributes:
        factors: Moving averages of the Kronecker factors.
        shared: What solutions share, from the last refresh; nothing where each step makes its own.
            Of EKFAC the bases, and the averages of second moments in them.
        last: The last step delta_0, shaped as the parameters.
        damping: lambda (unit: loss/parameter^2).
        gamma: Damping of the factors; its square is in units of lambda.
        ratio: True over foretold change at the last look at it; NaN before any.
        along: (alpha, mu) of the last step.
        average: Polyak's average of the iterates; None without.
        history: Pairs of the last steps; None without.
    """

    factors: Factors
    shared: Any
    last: Params
    damping: Scalar
    gamma: Scalar
    ratio: Scalar
    along: Float[Array, "2"]
    average: Params
    history: History | None


class Proposal(NamedTuple):
    """A step that a damping leads to, and how good it is."""

    step: Params
    shared: Any
    damping: Scalar
    gamma: Scalar
    along: Float[Array, "2"]
    change: Scalar
    score: Scalar


class StepView(NamedTuple):
    """What a step sees of the problem: all that candidates share."""

    problem: Problem
    data: Supervised
    layers: Layers
    params: Params
    at: Passes  # what the model is taken of
    statistics: tuple[Passes, Array, Array | float]  # of what factors are taken
    factors: Factors
    gradient: Params
    decay: Scalar
    history: History | None = None


def model_on(seen: StepView, ways: list[Params], lam: Scalar) -> QuadraticModel:
    """M on the plane of the direction and the last step, F taken of the examples seen.

    Cost: a pass forward for each of `ways`; of one way alone the other is nothing.
    """
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *ways)
    pushed = jax.vmap(seen.at.push)(stacked)
    outputs, n = seen.at.outputs, len(seen.at.outputs)
    head = likelihood(unscaled(seen.data).loss)
    curved = jax.vmap(lambda u: head.product(outputs, u))(pushed)
    F = total_of(seen.data) / n * jnp.einsum("ank,bnk->ab", pushed, curved)
    inner = jnp.stack([jnp.stack([tree.dot(a, b) for b in ways]) for a in ways])
    inner, F = inner.astype(jnp.float64), F.astype(jnp.float64)
    slope = jnp.stack([tree.dot(seen.gradient, way) for way in ways])
    lifted, decayed = lam * inner, seen.decay * inner
    missing = 2 - len(ways)
    slope = jnp.pad(slope.astype(jnp.float64), (0, missing))
    whole = jnp.pad(F + decayed + lifted, (0, missing))
    return QuadraticModel(slope, whole, jnp.pad(lifted, (0, missing)))


def examples_and_decay(problem: Problem) -> tuple[Supervised, Scalar]:
    """The examples and the weight decay about them.

    Raises:
        InputError: If there are no examples, or the objective has another term.
    """
    data = supervised_in(problem, *FOR)
    decay = jnp.zeros((), jnp.float64)
    while isinstance(problem, Decayed):
        decay, problem = decay + problem.weight_decay, problem.problem
    require(
        problem is data and data.plain,
        f"a {type(problem).__name__} has a term beside its loss, of which K-FAC knows no Fisher "
        "matrix; give the problem without it, or tw.problems.Decayed about it",
    )
    return data, decay


def total_of(data: Supervised) -> float:
    """What the mean of the loss itself over the examples is multiplied with."""
    count = len(data.inputs) if data.reduction == "sum" else 1
    return count * (data.loss.factor if isinstance(data.loss, ScaledLoss) else 1.0)


def unscaled(data: Supervised) -> Supervised:
    """The same with the loss itself, of which there is a likelihood."""
    loss = data.loss
    return dataclasses.replace(data, loss=loss.base) if isinstance(loss, ScaledLoss) else data


def objective_at(data: Supervised, outputs: Array) -> Array:
    """The objective as a function of the outputs, without weight decay."""
    losses = jax.vmap(data.loss.one)(outputs, data.targets)
    return jnp.sum(losses) if data.reduction == "sum" else jnp.mean(losses)


def with_decay(gradient: Params, decay: Scalar, params: Params) -> Params:
    """The gradient with that of the weight decay."""
    return jax.tree.map(lambda g, w: g + decay.astype(w.dtype) * w, gradient, params)


def setting_at(setting: Any, step: Array) -> Any:
    """A setting at a step; None where it is left to the model."""
    return jnp.asarray(setting(step), jnp.float64) if callable(setting) else setting


def mean_curvature(seen: StepView) -> Scalar:
    """The mean eigenvalue of the Kronecker factors' product: the scale of the first dampings."""
    total, size = jnp.zeros((), jnp.float64), 0
    for layer, A, G in zip(
        seen.layers.blocks, seen.factors.inputs, seen.factors.outputs, strict=True
    ):
        rows, columns = layer.shape
        size += rows * columns
        part = jnp.trace(A) * jnp.trace(G) if layer.kronecker else jnp.sum(A)
        total += part.astype(jnp.float64)
    return jnp.maximum(total / size, 1e-300)


def few_of(n: int, wanted: int | None) -> int:
    """How many of n examples factors are taken of at a step; by default an eighth, or enough."""
    return min(n, max(LEAST, -(-n // SHARE)) if wanted is None else wanted)


def strided(n: int, few: int, step: Array) -> Int[Array, " few"]:
    """Every so manyth of n examples, from step to step the next ones, so that all have their turn.

    Examples:
        >>> from thalweg.dynamics.natural_gradient.seen import strided
        >>> [strided(6, 2, jnp.asarray(step)).tolist() for step in range(4)]
        [[0, 3], [1, 4], [2, 5], [0, 3]]
    """
    turns = -(-n // few)
    return (jnp.arange(few) * n // few + step % turns) % n
