"""Any objective with a term that looks at the parameters alone."""

from __future__ import annotations

import abc
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.digest import identity
from thalweg.core.errors import InputError, reason, require
from thalweg.core.ranges import from_zero
from thalweg.core.tree import Params
from thalweg.problems.problem import Problem


class Regularised(Problem):
    """A problem within another term; oracles that draw examples draw them from within."""

    problem: Problem

    @abc.abstractmethod
    def term(self, params: Params) -> Float[Array, ""]:
        """What is added to the objective (unit: loss)."""

    def init(self, key: Array) -> Params:
        return self.problem.init(key)

    def objective(self, params: Params) -> Float[Array, ""]:
        return self.problem.objective(params) + self.term(params)


class Penalised(Regularised):
    """f(theta) + alpha R(theta), R any function of the parameters; see `penalised`.

    Attributes:
        problem: f.
        penalty: R.
        strength: alpha, at least 0 (unit: loss / unit of R).
        is_smooth: Whether R is twice differentiable.
    """

    penalty: Callable[[Params], Array] = eqx.field(static=True)
    strength: Float[Array, ""] = eqx.field(converter=partial(from_zero, "strength"))
    is_smooth: bool = eqx.field(static=True, default=True)

    def term(self, params: Params) -> Float[Array, ""]:
        value = self.penalty(params)
        return self.strength.astype(value.dtype) * value

    @property
    def smooth(self) -> bool:
        return self.is_smooth and self.problem.smooth

    def describe(self) -> dict[str, Any]:
        name = getattr(self.penalty, "__qualname__", repr(self.penalty))
        about = {"penalty": name, "penalty_code": identity(self.penalty)}
        return {**self.problem.describe(), **about, "strength": float(self.strength)}


def penalised(
    problem: Problem,
    penalty: Callable[[Params], Array],
    strength: float | Array,
    is_smooth: bool = True,
) -> Penalised:
    """A problem with a penalty on its parameters: f(theta) + alpha R(theta).

    Mini-batches and other oracles see batches of f and all of the penalty. For many strengths in
    one program map over `strength`, an array.

    Args:
        problem: f, any problem.
        penalty: R: maps parameters to one number, by functions of JAX.
        strength: alpha, at least 0.
        is_smooth: Say False if R has kinks, as norms that are not squared have.

    Raises:
        InputError: If the penalty does not map the problem's parameters to one real number, or the
            strength is negative.

    Examples:
        >>> from thalweg.models import factor_regulariser
        >>> net = tw.models.OperatorRecurrent(2, rank=3)
        >>> plain = tw.problems.supervised(net, (np.ones((4, 2, 2)), np.ones((4, 1))))
        >>> sparse = tw.problems.penalised(plain, factor_regulariser, 1e-4, is_smooth=False)
        >>> params = sparse.init(jax.random.key(0))
        >>> gap = sparse.objective(params) - plain.objective(params)
        >>> bool(jnp.isclose(gap, 1e-4 * factor_regulariser(params)))
        True
    """
    params = jax.eval_shape(problem.init, jax.random.key(0))
    try:
        value = jax.eval_shape(penalty, params)
    except InputError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise InputError(
            f"the penalty does not take the problem's parameters: {reason(error)}"
        ) from error
    one = getattr(value, "shape", None) == () and jnp.issubdtype(value.dtype, jnp.floating)
    require(one, f"the penalty gives {value}; let it give one real number")
    return Penalised(problem, penalty, from_zero("strength", strength), is_smooth)
