"""Gradient flow, followed to a wanted error of the path, with an estimate of that error."""

from __future__ import annotations

import jax
from jax.flatten_util import ravel_pytree

from thalweg.core.tree import Params
from thalweg.dynamics.flow.followed import MOST_GRADIENTS, Flow, System, how_asked
from thalweg.problems.problem import Problem

__all__ = ["MOST_GRADIENTS", "GradientFlow", "gradient_flow"]


class GradientFlow(Flow):
    """theta'(t) = -grad f(theta(t)), Elkabetz and Cohen (2021), E1.

    A companion path is followed at the side, which takes every two steps of the path as one; its
    distance at equal time tells the error of the path: see `path_error`. It costs about 0.7 times
    the path.

    Attributes:
        rtol: Tolerance of one step, relative to the norm of the parameters, if that is what was
            asked.
        solver: A name in `thalweg.dynamics.FLOW_SOLVERS`.
        atol: Absolute part of the tolerance per parameter (root mean square).
        error: Wanted error of the whole path, relative to the norm of the parameters, if that is
            what was asked.
        most_gradients: Gradients after which the flow ends with the code STEP_LIMIT.
    """

    @property
    def name(self) -> str:
        return "gradient flow"

    def system(self, problem: Problem, params: Params) -> System:
        """-grad f on flat parameters, and nothing beside them."""
        theta, unravel = ravel_pytree(params)
        gradient = jax.grad(problem.objective)
        return System(
            lambda flat: -ravel_pytree(gradient(unravel(flat)))[0], theta, theta.size, unravel
        )


def gradient_flow(
    rtol: float | None = None,
    solver: str | None = None,
    *,
    error: float | None = None,
    most_gradients: int = MOST_GRADIENTS,
) -> GradientFlow:
    """Gradient flow, with an estimate of the error of the path at every record.

    Args:
        rtol: Local error of a step relative to the norm of the parameters; 1e-6 if neither this
            nor `error` is given.
        solver: A name in `thalweg.dynamics.FLOW_SOLVERS`; by default "auto" if an error is asked,
            "tsit5" if a tolerance is.
        error: Wanted error of the whole path, relative to the norm of the parameters: the
            tolerance of a step follows from it. Not a guarantee; `path_error` says what came of it.
        most_gradients: Gradients of a seed after which the flow ends with the code STEP_LIMIT;
            exceeded by a solver step at most.

    Raises:
        InputError: If both are given, one is not in (0, 0.1], `most_gradients` is not a positive
            whole number, or the solver is unknown.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> path = tw.run(bowl, tw.gradient_flow(error=1e-6), until=1.0, records=1)
        >>> bool(np.isclose(path.dataset["loss"].values[0, -1], 0.5 * np.exp(-2), rtol=1e-5))
        True
    """
    how = how_asked(rtol, error, most_gradients)
    solver = solver or ("tsit5" if error is None else "auto")
    return GradientFlow(how.rtol, solver, error=how.error, most_gradients=how.most_gradients)
