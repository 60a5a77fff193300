"""Optimistix minimisers as dynamics: BFGS, DFP, nonlinear conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.arguments import told
from thalweg.core.errors import require
from thalweg.core.result import finite
from thalweg.core.tree import Params
from thalweg.dynamics.descent import CountedSteps
from thalweg.dynamics.dynamics import VALUES, VALUES_TAKEN, Info, State, Statistic, fresh
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.problems.problem import Problem

TRIALS = 40
ARMIJO, CUT = 1e-4, 0.5
TAKEN = (optx.AbstractQuasiNewton, optx.AbstractGradientDescent)


class ParabolaState(eqx.Module):
    """Where a search stands.

    Attributes:
        step_size: Of the next trial.
        looked: Whether the parabola has been laid.
    """

    step_size: Float[Array, ""]
    looked: Array


class ParabolaSearch(optx.AbstractSearch):
    """A line search for Optimistix: the lowest point of a parabola, exact on quadratics.

    The first trial is at 1; with the slope at the start it fixes a parabola, whose lowest point is
    the second. That is taken if it falls enough (Armijo), else halved.

    Examples:
        >>> import optimistix as optx
        >>> search = tw.dynamics.ParabolaSearch()
        >>> gradients = optx.NonlinearCG(1e-8, 1e-8, search=search)
        >>> bowl = tw.problems.Quadratic([1.0, 9.0], slope=[0.0, 0.0], start=[1.0, 1.0])
        >>> cg = tw.dynamics.optimistix_dynamics(gradients)
        >>> float(tw.run(bowl, cg, until=2.0, records=1).dataset["loss"][0, -1]) < 1e-20
        True
    """

    def init(self, y: Any, f_info_struct: Any) -> ParabolaState:
        """Before the first trial."""
        return ParabolaState(jnp.ones((), f_info_struct.f.dtype), jnp.asarray(False))

    def step(
        self, first_step: Array, y: Any, y_eval: Any, f_info: Any, f_eval_info: Any, state: Any
    ) -> tuple[Array, Array, Any, ParabolaState]:
        """Whether the trial is taken, and where the next one is."""
        t = state.step_size
        foretold = f_info.compute_grad_dot(tree.difference(y_eval, y))
        fall = f_eval_info.as_min() - f_info.as_min()
        bend = fall - foretold
        lowest = jnp.where(bend > 0, -foretold / (2 * jnp.where(bend > 0, bend, 1)), 2.0)
        enough = (fall <= ARMIJO * foretold) & (foretold < 0)
        accept = first_step | (state.looked & enough)
        lowest = jnp.clip(jnp.where(jnp.isfinite(lowest), lowest, 1e-3), 1e-6, 1e6)
        ahead = jnp.where(state.looked, CUT * t, lowest * t)
        size = jnp.where(accept, jnp.ones_like(t), ahead)
        return size, accept, optx.RESULTS.successful, ParabolaState(size, ~accept)


class OptimistixDescent(CountedSteps):
    """An Optimistix minimiser as a dynamics.

    A step leads to the next point that its line search takes: what it refuses on the way, at most
    40 trials, costs its gradients and is no step. Its own rule of when to stop is not asked. A step
    counts training time 1. Deterministic. Cost: one gradient a trial, for the objective is
    linearised there, one at the start, and one value a step.

    Attributes:
        minimiser: As Optimistix makes it: a quasi-Newton method or nonlinear conjugate gradients.
        label: A name for tables and legends.
    """

    minimiser: Any
    label: str = eqx.field(static=True)

    @property
    def name(self) -> str:
        return self.label

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        return (VALUES_TAKEN,)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        return {VALUES: state.step}

    def init(self, problem: Problem, params: Params) -> State:
        shape = jax.eval_shape(problem.objective, params)
        made = self.minimiser.init(_function(problem), params, None, {}, shape, None, frozenset())
        odd = [leaf for leaf in jax.tree.leaves(made) if not eqx.is_array(leaf)]
        require(
            not odd,
            f"{self.label} carries programs from step to step, which no record can hold; take "
            "optax_dynamics(optax.lbfgs(), 1.0) in its place",
        )
        _, memory = self._trial(problem, params, made)
        return fresh(params, memory)._replace(evaluations=jnp.ones((), jnp.int64))

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        def going(now: tuple[Params, Any, Array]) -> Array:
            params, memory, trials = now
            tries = ~_same(memory.y_eval, params) & (trials < TRIALS)
            return _same(params, state.params) & tries

        def attempt(now: tuple[Params, Any, Array]) -> tuple[Params, Any, Array]:
            return (*self._trial(problem, now[0], now[1]), now[2] + 1)

        begin = (state.params, state.memory, jnp.zeros((), jnp.int64))
        params, memory, trials = jax.lax.while_loop(going, attempt, begin)
        loss = problem.objective(state.params)
        return state._replace(
            params=params,
            time=(state.step + 1).astype(jnp.float64),
            step=state.step + 1,
            evaluations=state.evaluations + trials,
            result=jnp.maximum(state.result, finite(loss)),
            memory=memory,
        ), Info(loss)

    def _trial(self, problem: Problem, params: Params, memory: Any) -> tuple[Params, Any]:
        with jax.numpy_dtype_promotion("standard"):  # what Optimistix converts is its own matter
            after, told_of, _ = self.minimiser.step(
                _function(problem), params, None, {}, memory, frozenset()
            )
        kept = jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), told_of, memory)
        return after, kept

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return no_rule("its line search takes no step that does not lower the loss")

    def without_limit(self, problem: Problem, params: Params) -> str:
        return "its steps are searched for, so that none of them goes to 0"


def optimistix_dynamics(minimiser: Any, name: str = "") -> OptimistixDescent:
    """An Optimistix minimiser as a dynamics; see `OptimistixDescent`.

    Args:
        minimiser: A quasi-Newton method or nonlinear conjugate gradients, as
            `optimistix.BFGS(rtol=1e-8, atol=1e-8)`, `DFP` or `NonlinearCG`; its tolerances are not
            asked.
        name: For tables and legends; its class by default.

    Raises:
        InputError: If it is none of these.

    Examples:
        >>> import optimistix as optx
        >>> bowl = tw.problems.Quadratic([1.0, 9.0], slope=[0.0, 0.0], start=[1.0, 1.0])
        >>> bfgs = tw.dynamics.optimistix_dynamics(optx.BFGS(1e-8, 1e-8))
        >>> float(tw.run(bowl, bfgs, until=20.0, records=1).dataset["loss"][0, -1]) < 1e-12
        True
    """
    require(
        isinstance(minimiser, TAKEN),
        f"minimiser came as {told(minimiser)}; give optimistix.BFGS(rtol=1e-8, atol=1e-8), DFP or "
        "NonlinearCG",
    )
    return OptimistixDescent(minimiser, name or type(minimiser).__name__)


def _function(problem: Problem) -> Callable[[Params, Any], tuple[Array, None]]:
    return lambda params, _: (problem.objective(params), None)


def _same(left: Params, right: Params) -> Array:
    equal = [jnp.all(a == b) for a, b in zip(*map(jax.tree.leaves, (left, right)), strict=True)]
    return jnp.all(jnp.stack(equal))
