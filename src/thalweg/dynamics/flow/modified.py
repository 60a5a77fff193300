"""The modified flow: what gradient descent follows to second order in its step size."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import State, step_size_array
from thalweg.dynamics.flow.followed import MOST_GRADIENTS, Flow, System, how_asked
from thalweg.problems.problem import Problem

EACH = 3  # gradients that a speed takes: the gradient, and a Hessian product with it


class ModifiedFlow(Flow):
    """theta' = -grad (f + (eta/4) ||grad f||^2) = -(grad f + (eta/2) H grad f).

    Gradient descent of step size eta is Euler's method on gradient flow; by backward error
    analysis it follows this flow to O(eta^2), where gradient flow is O(eta) away. It holds below
    the edge of stability, and fails beyond it as gradient flow does. Matrix-free; followed as
    `GradientFlow`, at three gradients for each of its speeds. Source: Barrett and Dherin (2021),
    theorem 3.1; Hairer, Lubich and Wanner (2006), chapter IX.

    Attributes:
        step_size: eta of the gradient descent that is described.
    """

    step_size: Float[Array, ""] = eqx.field(converter=step_size_array, default=1.0)

    @property
    def name(self) -> str:
        return "the modified flow"

    def system(self, problem: Problem, params: Params) -> System:
        theta, unravel = ravel_pytree(params)
        gradient = jax.grad(lambda flat: problem.objective(unravel(flat)))
        half = (self.step_size / 2).astype(theta.dtype)

        def force(flat: Array) -> Array:
            g = gradient(flat)
            return -(g + half * jax.jvp(gradient, (flat,), (g,))[1])

        return System(force, theta, theta.size, unravel)

    def init(self, problem: Problem, params: Params) -> State:
        return _counted(super().init(problem, params))

    def advance(
        self, problem: Problem, state: State, until: Float[Array, ""], most_steps: Array
    ) -> State:
        speeds = dataclasses.replace(self, most_gradients=-(-self.most_gradients // EACH))
        return _counted(super(ModifiedFlow, speeds).advance(problem, state, until, most_steps))

    def expected(self, problem: Problem, state: State, until: Float[Array, ""]) -> Array:
        return EACH * super().expected(problem, state, until)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        told = super().statistics(problem, state)
        return told | {"solver_evaluations": EACH * told["solver_evaluations"]}


def _counted(state: State) -> State:
    """A state whose evaluations are gradients, not speeds."""
    return state._replace(evaluations=EACH * state.evaluations)


def modified_flow(
    step_size: float,
    rtol: float | None = None,
    solver: str | None = None,
    *,
    error: float | None = None,
    most_gradients: int = MOST_GRADIENTS,
) -> ModifiedFlow:
    """The flow of f + (eta/4) ||grad f||^2, that gradient descent follows to O(eta^2).

    Args:
        step_size: eta.
        rtol: Tolerance of a step; 1e-6 if `error` is not given either.
        solver: A name in `thalweg.dynamics.FLOW_SOLVERS`; auto (the cheapest at each step) for an
            `error`, tsit5 for an `rtol`.
        error: Wanted error of the whole path, relative to the norm of the parameters.
        most_gradients: Gradients of a seed after which the flow ends with the code STEP_LIMIT.

    Raises:
        InputError: If a number is out of its range, or the solver is unknown.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> path = tw.run(bowl, tw.dynamics.modified_flow(0.1, error=1e-8), until=1.0, records=1)
        >>> float(path.parameters[0, -1, 0].round(5)), round(0.9**10, 5)  # ten steps; flow: 0.368
        (0.34994, 0.34868)
    """
    how = how_asked(rtol, error, most_gradients)
    solver = solver or ("tsit5" if error is None else "auto")
    return ModifiedFlow(
        how.rtol,
        solver,
        error=how.error,
        most_gradients=how.most_gradients,
        step_size=step_size_array(step_size),
    )
