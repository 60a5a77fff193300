"""Gradient flow, followed to a tolerance, with an error estimate of the whole path."""

from __future__ import annotations

from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from thalweg.core import tree
from thalweg.core.errors import InputError, choose
from thalweg.core.result import Result
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Continuous, State, fresh
from thalweg.dynamics.solvers import FLOW_SOLVERS
from thalweg.problems.problem import Problem

COARSER = 10.0  # how much looser the companion path is


class Path(NamedTuple):
    """One integration in progress; all a solver needs to go on to the same bits."""

    params: Params
    time: Float[Array, ""]
    proposal: Float[Array, ""]  # length of the next step before clipping
    steps: Int[Array, ""]
    attempts: Int[Array, ""]
    result: Int[Array, ""]
    solver_state: Any
    controller_state: Any
    made_jump: Bool[Array, ""]


class GradientFlow(Continuous):
    """theta'(t) = -grad f(theta(t)), Elkabetz and Cohen (2021), E1.

    Two paths are followed side by side: one at the tolerance asked, one at a tolerance ten times
    looser. Their distance at equal time, which is mostly the error of the looser path, is
    reported as the path error of the tighter one: an estimate of the *global* error on the safe
    side as long as the solver converges as it should. For nets with kinks (ReLU, max-pooling) no
    adaptive method converges beyond about one per cent; the estimate shows it.

    Attributes:
        rtol: Local tolerance of one step, relative to the norm of the parameters.
        solver: A name in `thalweg.dynamics.FLOW_SOLVERS`.
        atol: Absolute part of the tolerance per parameter (root mean square).
    """

    rtol: Float[Array, ""] = eqx.field(converter=lambda x: jnp.asarray(x, jnp.float64))
    solver: str = eqx.field(static=True, default="tsit5")
    atol: float = eqx.field(static=True, default=1e-12)

    def __check_init__(self) -> None:
        choose(self.solver, FLOW_SOLVERS, "flow solver")

    @property
    def name(self) -> str:
        return "gradient flow"

    def init(self, problem: Problem, params: Params) -> State:
        tolerances = self.rtol * jnp.asarray([1.0, COARSER])
        both = jax.lax.map(lambda tol: self._start(problem, params, tol), tolerances)
        return fresh(params, both)._replace(evaluations=2 * jnp.asarray(3, jnp.int64))

    def advance(
        self, problem: Problem, state: State, until: Float[Array, ""], most_steps: Int[Array, ""]
    ) -> State:
        tolerances = self.rtol * jnp.asarray([1.0, COARSER])
        # A map, not a vmap: each path stops when it is there, and the gradient is inlined once.
        both = jax.lax.map(
            lambda lane: self._advance(problem, lane[0], lane[1], until, most_steps),
            (state.memory, tolerances),
        )
        fine = tree.lane(both, 0)
        spent = jnp.sum(both.attempts - state.memory.attempts) * FLOW_SOLVERS[self.solver].cost
        return State(
            params=fine.params,
            time=jnp.min(both.time),
            step=fine.steps,
            evaluations=state.evaluations + spent,
            result=jnp.maximum(state.result, jnp.max(both.result)),
            memory=both,
        )

    def path_error(self, state: State) -> Float[Array, ""]:
        """Distance between the two paths at equal time (unit: parameter)."""
        both = state.memory.params
        return tree.norm(tree.difference(tree.lane(both, 0), tree.lane(both, 1)))

    def _pieces(
        self, problem: Problem, params: Params, rtol: Array
    ) -> tuple[diffrax.ODETerm, diffrax.AbstractSolver, diffrax.PIDController]:
        def downhill(t: Any, y: Params, args: Any) -> Params:
            return jax.tree.map(jnp.negative, jax.grad(problem.objective)(y))

        # One global scale: a weight crossing zero must not be asked for digits it has not got.
        scale = tree.norm(params) / np.sqrt(tree.size(params))
        control = diffrax.PIDController(
            rtol=0.0, atol=self.atol + rtol * scale, pcoeff=0.3, icoeff=0.4
        )
        return diffrax.ODETerm(downhill), FLOW_SOLVERS[self.solver].solver, control

    def _start(self, problem: Problem, params: Params, rtol: Array) -> Path:
        term, solver, control = self._pieces(problem, params, rtol)
        zero = jnp.zeros((), jnp.float64)
        order = solver.error_order(term)
        first, controller_state = control.init(
            term, zero, jnp.asarray(jnp.inf), params, None, None, solver.func, order
        )
        return Path(
            params=params,
            time=zero,
            proposal=jnp.asarray(first - zero),
            steps=jnp.zeros((), jnp.int64),
            attempts=jnp.zeros((), jnp.int64),
            result=jnp.asarray(int(Result.OK), jnp.int32),
            solver_state=solver.init(term, zero, first, params, None),
            controller_state=controller_state,
            made_jump=jnp.zeros((), bool),
        )

    def _advance(
        self, problem: Problem, path: Path, rtol: Array, until: Array, most_steps: Array
    ) -> Path:
        term, solver, control = self._pieces(problem, path.params, rtol)
        order = solver.error_order(term)
        assert order is not None  # every solver of the registry has an embedded error
        limit = path.attempts + most_steps

        def unfinished(path: Path) -> Array:
            return (path.time < until) & (path.attempts < limit) & (path.result < Result.NONFINITE)

        def attempt(path: Path) -> Path:
            rest = until - path.time
            # Halving the rest, rather than nearly reaching the mark, avoids a sliver of a step.
            length = jnp.where(path.proposal > rest / 2, rest / 2, path.proposal)
            length = jnp.where(path.proposal >= rest, rest, length)
            end = jnp.where(path.proposal >= rest, until, path.time + length)
            y1, error, _, solver_state, _ = solver.step(
                term, path.time, end, path.params, None, path.solver_state, path.made_jump
            )
            keep, start, stop, jump, controller_state, _ = control.adapt_step_size(
                path.time, end, path.params, y1, None, error, order, path.controller_state
            )
            proposal = stop - start
            # A step shortened to meet a mark says nothing against the longer one proposed.
            shortened = keep & (length < path.proposal)
            proposal = jnp.where(shortened, jnp.maximum(proposal, path.proposal), proposal)

            def kept(new: Any, old: Any) -> Any:
                return jax.tree.map(lambda a, b: jnp.where(keep, a, b), new, old)

            # The step is lost in rounding: the path cannot go on from here.
            stuck = path.time + proposal == path.time
            bad = ~jnp.isfinite(proposal) | (stuck & (proposal < rest))
            return Path(
                params=kept(y1, path.params),
                time=jnp.where(keep, end, path.time),
                proposal=proposal,
                steps=path.steps + keep.astype(jnp.int64),
                attempts=path.attempts + 1,
                result=jnp.where(bad, int(Result.NONFINITE), path.result).astype(jnp.int32),
                solver_state=kept(solver_state, path.solver_state),
                controller_state=controller_state,
                made_jump=jnp.asarray(jump),
            )

        return jax.lax.while_loop(unfinished, attempt, path)


def gradient_flow(rtol: float = 1e-6, solver: str = "tsit5") -> GradientFlow:
    """Gradient flow to a local tolerance, with an estimate of the global error.

    Args:
        rtol: Local error of a step relative to the norm of the parameters.
        solver: A name in `thalweg.dynamics.FLOW_SOLVERS`.

    Raises:
        InputError: If the tolerance is not in (0, 0.1] or the solver is unknown.
    """
    if not 0 < rtol <= 0.1:
        raise InputError(f"rtol came as {rtol}; give a number in (0, 0.1], as in 1e-6")
    return GradientFlow(jnp.asarray(rtol), solver)
