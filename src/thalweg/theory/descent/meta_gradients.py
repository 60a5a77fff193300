"""How hidden weights steer the learning of the output weights, by differentiating all of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.problems.problem import Supervised


def learned_output_layer(
    problem: Supervised, params: Params, step_size: ArrayLike, shown: ArrayLike
) -> Params:
    """The output layer after descent of it alone, the hidden layer held.

        v_{t+1} = v_t - eta grad_v f_t(u, v_t),    f_t the objective on the examples shown at step t

    Args:
        problem: A net whose parameters are a list of two layers (u, v), with examples.
        params: Where it begins.
        step_size: eta.
        shown: Row numbers of the examples that each step sees, (steps, b).

    Raises:
        InputError: If the parameters are not a list of two layers.

    Cost: one gradient of the shown examples a step.

    Examples:
        >>> from thalweg.theory.descent import meta_gradients as theory
        >>> net = tw.models.mlp([1], "linear", bias=False)
        >>> problem = tw.problems.supervised(net, ([[1.0]], [[1.0]]))
        >>> layers = [{"weight": jnp.ones((1, 1))}, {"weight": jnp.zeros((1, 1))}]
        >>> theory.learned_output_layer(problem, layers, 0.5, jnp.zeros((1, 1), int))
        {'weight': Array([[0.5]], dtype=float64)}
    """
    _two_layers(params)
    first, last = params

    def step(last: Params, index: Array) -> tuple[Params, None]:
        slope = jax.grad(lambda v: problem.on(index).objective([first, v]))(last)
        moved = jax.tree.map(lambda v, g: v - jnp.asarray(step_size, v.dtype) * g, last, slope)
        return moved, None

    return jax.lax.scan(step, last, jnp.asarray(shown))[0]


def learning_jacobian(
    problem: Supervised, params: Params, step_size: ArrayLike, shown: ArrayLike
) -> Params:
    """H = d v_T/d u of `learned_output_layer`: what crossprop's traces approximate.

    Returns:
        A tree as the output layer's of trees as the hidden layer's; leaves of shape (shape of v,
        shape of u). Exact up to rounding.

    Cost: one forward-mode pass of the steps for each hidden weight.
    Source: Veeriah, Zhang and Sutton (2017); E3 and E9 of the study, in closed recursion.

    Examples:
        >>> from thalweg.theory.descent import meta_gradients as theory
        >>> net = tw.models.mlp([1], "linear", bias=False)
        >>> problem = tw.problems.supervised(net, ([[1.0]], [[1.0]]))
        >>> layers = [{"weight": jnp.full((1, 1), 3.0)}, {"weight": jnp.zeros((1, 1))}]
        >>> H = theory.learning_jacobian(problem, layers, 0.5, jnp.zeros((1, 1), int))
        >>> H["weight"]["weight"].item()  # of v = 0 + eta u
        0.5
    """
    _two_layers(params)
    first, last = params
    return jax.jacfwd(lambda u: learned_output_layer(problem, [u, last], step_size, shown))(first)


def meta_gradient(
    problem: Supervised, params: Params, step_size: ArrayLike, shown: ArrayLike
) -> Params:
    """The gradient d f_T/d u of the objective on what is shown last, through all of the learning.

        f_T(u, v_{T-1}(u)),    v after all steps but the last

    Args:
        problem: As for `learned_output_layer`.
        params: Likewise.
        step_size: Likewise.
        shown: Likewise; the last row is what the objective is taken on.

    Returns:
        A tree as the hidden layer's. Exact up to rounding.

    Cost: one reverse pass of the steps. Source: Veeriah, Zhang and Sutton (2017); E2 of the study.

    Examples:
        >>> from thalweg.theory.descent import meta_gradients as theory
        >>> net = tw.models.mlp([1], "linear", bias=False)
        >>> problem = tw.problems.supervised(net, ([[1.0]], [[1.0]]))
        >>> layers = [{"weight": jnp.ones((1, 1))}, {"weight": jnp.zeros((1, 1))}]
        >>> theory.meta_gradient(problem, layers, 0.5, jnp.zeros((2, 1), int))["weight"].item()
        -0.5
    """
    _two_layers(params)
    first, last = params
    rows = jnp.asarray(shown)

    def late(u: Params) -> Float[Array, ""]:
        learned = learned_output_layer(problem, [u, last], step_size, rows[:-1])
        return problem.on(rows[-1]).objective([u, learned])

    return jax.grad(late)(first)


def _two_layers(params: Params) -> None:
    require(
        isinstance(params, list | tuple) and len(params) == 2,
        "the parameters are not a list of two layers; give a dense net with one hidden layer, "
        "tw.models.mlp([8])",
    )
