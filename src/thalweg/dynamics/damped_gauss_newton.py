"""Levenberg-Marquardt in sample space: least squares with more or fewer parameters than residuals.

The step -J^T (J J^T + lambda I)^{-1} r equals the usual -(J^T J + lambda I)^{-1} J^T r and costs a
factorisation of the size of the residuals, not of the parameters, so that both sides of the
interpolation threshold are served alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core.errors import require
from thalweg.core.result import finite
from thalweg.core.tree import Params
from thalweg.dynamics.descent import CountedSteps
from thalweg.dynamics.dynamics import VALUES, VALUES_TAKEN, Info, State, Statistic, fresh
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.problems.problem import Problem, Supervised

# Maps flat parameters (p,) and one example (a pytree) to that example's residuals (k,).
Residual = Callable[[Array, Any], Array]

DAMPING, LEAST, MOST = 1.0, 1e-12, 1e8
EASED, RAISED = 1 / 5, 4.0  # what the damping is multiplied by after a success, after a failure


class Attempt(NamedTuple):
    """Where one step of Levenberg-Marquardt leads.

    Attributes:
        theta: Flat parameters; the old ones if no attempt reduced the residuals.
        damping: lambda for the next step.
        square: ||r||^2 at `theta`.
        tries: Dampings tried.
    """

    theta: Float[Array, " p"]
    damping: Float[Array, ""]
    square: Float[Array, ""]
    tries: Int[Array, ""]


def damped_step(
    one: Residual,
    examples: Any,
    theta: Float[Array, " p"],
    damping: Float[Array, ""],
    tries: int = 8,
) -> Attempt:
    """One step theta - J^T (J J^T + lambda I)^{-1} r, with lambda raised until ||r||^2 falls.

    A success divides lambda by 5 (not below 1e-12); a failure multiplies it by 4 (not above 1e8)
    and tries again.

    Args:
        one: Residuals (k,) of one example at flat parameters.
        examples: A pytree with a leading axis n.
        theta: Flat parameters.
        damping: lambda (unit: residual^2/parameter^2).
        tries: At most so many dampings.

    Cost: k gradients for J; a Cholesky factorisation of size n k and the residuals per attempt.
    Source: Levenberg (1944), Marquardt (1963); algorithm B of the study of Kawaguchi and Huang.
    """
    r = _residuals(one, examples, theta)
    jacobian = jax.vmap(jax.jacrev(one), (None, 0))(theta, examples).reshape(r.size, theta.size)
    gram, before = jacobian @ jacobian.T, r @ r

    def attempt(now: Attempt) -> Attempt:
        shifted = gram + now.damping * jnp.eye(r.size, dtype=r.dtype)
        solved = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(shifted, lower=True), r)
        moved = theta - jacobian.T @ solved
        square = _square(one, examples, moved)
        better = square < before  # a failed factorisation gives NaN, which is no better
        eased = jnp.maximum(now.damping * EASED, LEAST)
        raised = jnp.minimum(now.damping * RAISED, MOST)
        return Attempt(
            jnp.where(better, moved, theta),
            jnp.where(better, eased, raised),
            jnp.where(better, square, before),
            now.tries + 1,
        )

    def failing(now: Attempt) -> Array:
        return (now.square >= before) & (now.tries < tries)

    begin = Attempt(theta, damping, before, jnp.zeros((), jnp.int64))
    return jax.lax.while_loop(failing, attempt, begin)


class Fit(NamedTuple):
    """A least-squares fit.

    Attributes:
        theta: Flat parameters.
        mean_square: ||r||^2 / (n k) (unit: residual^2), exact up to rounding.
        steps: Steps taken.
    """

    theta: Float[Array, " p"]
    mean_square: Float[Array, ""]
    steps: Int[Array, ""]


def least_squares(
    one: Residual,
    examples: Any,
    theta: Float[Array, " p"],
    *,
    steps: int = 150,
    tolerance: float = 1e-18,
) -> Fit:
    """Fit residuals by Levenberg-Marquardt until their mean square is below a tolerance.

    A pure function: `jax.vmap` it over data sets and starts. Parameters that `one` does not use
    stay where they are, so that nets of several widths share one compilation.

    Args:
        one: Residuals (k,) of one example at flat parameters.
        examples: A pytree with a leading axis n.
        theta: Where to start.
        steps: At most so many steps.
        tolerance: Stop once the mean of r^2 is below it.

    Cost: `damped_step`, times the steps taken. Source: see there.
    """
    count = jax.eval_shape(lambda: _residuals(one, examples, theta)).size

    def onward(state: tuple[Attempt, Array]) -> Array:
        now, taken = state
        return (now.square >= tolerance * count) & (taken < steps)

    def step(state: tuple[Attempt, Array]) -> tuple[Attempt, Array]:
        now, taken = state
        return damped_step(one, examples, now.theta, now.damping), taken + 1

    zero = jnp.zeros((), jnp.int64)
    damping = jnp.asarray(DAMPING, theta.dtype)
    begin = Attempt(theta, damping, _square(one, examples, theta), zero)
    last, taken = jax.lax.while_loop(onward, step, (begin, zero))
    return Fit(last.theta, last.square / count, taken)


class LevenbergMarquardtMemory(NamedTuple):
    """What Levenberg-Marquardt carries.

    Attributes:
        damping: lambda of the next step.
        values: Passes over the examples without a derivative, so far.
    """

    damping: Float[Array, ""]
    values: Int[Array, ""]


class LevenbergMarquardt(CountedSteps):
    """Levenberg-Marquardt on a squared error: each step is `damped_step`, of training time 1.

    A step that lowers the objective at none of its dampings leaves the parameters where they are.
    Deterministic. Cost: k gradients a step, for k outputs, a factorisation of size n k, and a value
    for the residuals, the loss and each damping tried.

    Attributes:
        tries: How many dampings a step tries.

    Raises:
        InputError: For a problem without data, another loss, or a net that mixes its examples.
    """

    tries: int = eqx.field(static=True, default=8)

    @property
    def name(self) -> str:
        return "Levenberg-Marquardt"

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        return (Statistic("damping", "output^2/parameter^2", "damping lambda"), VALUES_TAKEN)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        memory: LevenbergMarquardtMemory = state.memory
        return {"damping": memory.damping, VALUES: memory.values}

    def init(self, problem: Problem, params: Params) -> State:
        kind = ravel_pytree(params)[0].dtype
        return fresh(
            params, LevenbergMarquardtMemory(jnp.asarray(DAMPING, kind), jnp.zeros((), jnp.int64))
        )

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        data = _fitted(problem)
        memory: LevenbergMarquardtMemory = state.memory
        theta, unravel = ravel_pytree(state.params)

        def one(theta: Array, example: tuple[Array, Array]) -> Array:
            x, y = example
            return data.model.apply(unravel(theta), x[None])[0] - y

        examples = (data.inputs, data.targets)
        went = damped_step(one, examples, theta, memory.damping, self.tries)
        loss = problem.objective(state.params)
        after = state._replace(
            params=unravel(went.theta),
            time=(state.step + 1).astype(jnp.float64),
            step=state.step + 1,
            evaluations=state.evaluations + data.targets.shape[1],
            result=jnp.maximum(state.result, finite(loss)),
            memory=LevenbergMarquardtMemory(went.damping, memory.values + went.tries + 2),
        )
        return after, Info(loss)

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return no_rule("each step lowers the loss or stays, at any curvature")

    def without_limit(self, problem: Problem, params: Params) -> str:
        return "its damping follows its success, so that none of its steps goes to 0"


def levenberg_marquardt(tries: int = 8) -> LevenbergMarquardt:
    """Levenberg-Marquardt in sample space; see `LevenbergMarquardt`.

    Examples:
        >>> x, y = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), np.array([[1.0], [3.0], [5.0]])
        >>> line = tw.problems.supervised(tw.models.linear([]), (x, y))
        >>> path = tw.run(line, tw.dynamics.levenberg_marquardt(), until=10.0, records=1)
        >>> np.round(path.dataset["parameters"].values[0, -1], 4).tolist()  # y = 1 + 2 x
        [1.0, 2.0]
    """
    return LevenbergMarquardt(tries)


def _residuals(one: Residual, examples: Any, theta: Array) -> Float[Array, " nk"]:
    return jax.vmap(one, (None, 0))(theta, examples).ravel()


def _square(one: Residual, examples: Any, theta: Array) -> Float[Array, ""]:
    r = _residuals(one, examples, theta)
    return r @ r


def _fitted(problem: Problem) -> Supervised:
    require(
        isinstance(problem, Supervised) and problem.plain and problem.loss.name == "squared-error",
        "Levenberg-Marquardt fits least squares; give a problem with data and squared-error, and "
        "no other term",
    )
    assert isinstance(problem, Supervised)
    require(
        problem.model.separable,
        "this net normalises over the whole batch, so its examples have no Jacobian of their own; "
        "take another dynamics",
    )
    return problem
