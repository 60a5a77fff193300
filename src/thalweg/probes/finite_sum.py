"""Whether an objective is a mean over its examples, and the gradients of single ones."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.errors import InputError
from thalweg.core.tree import Params
from thalweg.oracles.batches import minibatch
from thalweg.oracles.examples_shown import supervised_in
from thalweg.problems.problem import Problem

WHY = ("to measure by themselves", "give a supervised problem")


class SingleGradients(NamedTuple):
    """Of the examples: mean ||g_i||^2, mean ||g_i - g||^2, and |<mean g_i - g, r>|.

    At a point, or at each of some.
    r is a normal draw, so that the last is about ||mean g_i - g||.
    """

    square: Float[Array, "*points"]
    spread: Float[Array, "*points"]
    off: Float[Array, "*points"]


@eqx.filter_jit
def single_gradients(problem: Problem, points: Params) -> SingleGradients:
    """Gradients of single examples, each with every term that is common to all of them.

    Args:
        problem: With examples, maybe within weight decay or a penalty.
        points: Parameters, a leading axis on each leaf.

    Cost: A gradient of each example at each point.
    """
    single = minibatch(1, replace=True)
    rows = jnp.arange(len(supervised_in(problem, *WHY).inputs))

    def one(params: Params) -> SingleGradients:
        whole = ravel_pytree(jax.grad(problem.objective)(params))[0]
        along = jax.random.normal(jax.random.key(2), whole.shape, whole.dtype)

        def example(row: Array) -> tuple[Array, Array, Array]:
            alone = single.see(problem, params, row[None])
            apart = ravel_pytree(jax.grad(alone.objective)(params))[0] - whole
            return jnp.sum((apart + whole) ** 2), jnp.sum(apart**2), apart @ along

        found = jax.lax.map(example, rows, batch_size=32)
        square, spread, off = (jnp.mean(a) for a in found)
        return SingleGradients(square, spread, jnp.abs(off))

    return jax.lax.map(one, points)


def no_finite_sum(problem: Problem, points: Params) -> str:
    """Why the objective is no mean over examples f = 1/n sum_i f_i; empty where it is one.

    A term that looks at the parameters alone, as weight decay, is a part of every f_i. Whether the
    gradients of all f_i, as mini-batches of one show them, have that of f for their mean is
    measured, to the root of rounding of the largest that are met.

    Args:
        problem: Any.
        points: Parameters at which gradients are compared, a leading axis on each leaf.

    Cost: As `single_gradients`.

    Examples:
        >>> from thalweg.probes.finite_sum import no_finite_sum
        >>> bowl = tw.problems.Quadratic([1.0], slope=[0.0], start=[1.0])
        >>> no_finite_sum(bowl, jnp.ones((3, 1)))
        'a Quadratic has no examples'
    """
    try:
        data = supervised_in(problem, *WHY)
    except InputError:
        inner = problem
        while hasattr(inner, "problem"):
            inner = inner.problem
        return f"a {type(inner).__name__} has no examples"
    if not data.model.separable:
        return "this net normalises over the whole batch, so no example has a loss of its own"
    try:
        found = single_gradients(problem, points)
    except InputError as error:
        return f"no example has an objective of its own: {error}"
    size, off = (np.asarray(a, float) for a in (found.square, found.off))
    digits = float(jnp.finfo(found.off.dtype).eps) ** 0.5
    if not off.max() <= digits * size.max() ** 0.5:  # what is not finite neither
        return (
            f"the objective of this {type(problem).__name__} is no mean over its examples: their "
            f"gradients' mean is {off.max():.2g} off its gradient, of {size.max() ** 0.5:.2g}"
        )
    return ""
