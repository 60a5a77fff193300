"""RMSprop with one scale for all parameters: an adaptive step length along the gradient."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.tree import Params


class GroupScale(NamedTuple):
    """The running mean of ||g||^2 and the number of steps."""

    square: Float[Array, ""]
    steps: Int[Array, ""]


def group_rmsprop(
    learning_rate: float,
    decay: float = 0.99,
    epsilon: float = 1e-6,
    initial: float | None = None,
) -> optax.GradientTransformation:
    """RMSprop whose running mean is of the squared norm of the whole gradient.

    v <- decay v + (1 - decay) ||g||^2, x <- x - lr g / (sqrt(v / (1 - decay^k)) + epsilon).

    The norm is over all parameters, k counts steps from 1. As the direction is the gradient's, it
    follows gradient flow in another time and does not wait on plateaus. An Optax transformation:
    give it to `thalweg.dynamics.optax_dynamics`.

    With `initial` v begins there, and is not corrected for its start: scalar RMSProp, whose mean
    path beyond the edge of stability is `central_flow(learning_rate, average="shared")`.

    Source: Razin, Maman and Cohen (2021), optimisation in the experiments.

    Examples:
        >>> transform = tw.dynamics.group_rmsprop(0.1, epsilon=0.0)
        >>> g = jnp.array([3.0, 4.0])
        >>> move, state = transform.update(g, transform.init(g))
        >>> move.round(6).tolist()  # the first step has length lr, along the gradient
        [-0.06, -0.08]
    """

    def init(params: Params) -> GroupScale:
        kind = jax.tree.leaves(params)[0].dtype
        return GroupScale(jnp.asarray(initial or 0.0, kind), jnp.zeros((), int))

    def update(
        gradient: Params, state: GroupScale, params: Params | None = None
    ) -> tuple[Params, GroupScale]:
        count = state.steps + 1
        square = decay * state.square + (1 - decay) * tree.dot(gradient, gradient)
        whole = 1.0 if initial is not None else 1 - decay ** count.astype(square.dtype)
        scale = -learning_rate / (jnp.sqrt(square / whole) + epsilon)
        return jax.tree.map(lambda g: scale * g, gradient), GroupScale(square, count)

    return optax.GradientTransformation(init, update)
