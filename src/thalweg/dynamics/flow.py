"""Gradient flow, followed to a wanted error of the path, with an estimate of that error."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.errors import choose, require
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Continuous, State, fresh
from thalweg.dynamics.integrator import follow
from thalweg.dynamics.path import Tolerances, path_error, start
from thalweg.dynamics.solvers import FLOW_SOLVERS
from thalweg.dynamics.stabilised import SAFETY
from thalweg.problems.problem import Problem

KINKED_ERROR = 1e-2  # what adaptive solvers reach on nets with kinks


def _optional(value: float | Array | None) -> Array | None:
    return None if value is None else jnp.asarray(value, jnp.float64)


class GradientFlow(Continuous):
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
    """

    rtol: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)
    solver: str = eqx.field(static=True, default="auto")
    atol: float = eqx.field(static=True, default=1e-12)
    error: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)

    def __check_init__(self) -> None:
        choose(self.solver, FLOW_SOLVERS, "flow solver")
        require((self.rtol is None) != (self.error is None), "give either rtol or error, not both")

    @property
    def name(self) -> str:
        return "gradient flow"

    def init(self, problem: Problem, params: Params) -> State:
        force, theta, _ = _flat(problem, params)
        path = start(force, theta, FLOW_SOLVERS[self.solver].methods, paired=True)
        return fresh(params, path)._replace(evaluations=jnp.ones((), jnp.int64))

    def advance(
        self, problem: Problem, state: State, until: Float[Array, ""], most_steps: Array
    ) -> State:
        force, theta, unravel = _flat(problem, state.params)
        solver = FLOW_SOLVERS[self.solver]
        absolute = self.atol * jnp.sqrt(jnp.asarray(theta.size, jnp.float64))
        tolerances = Tolerances(solver.tolerances(self._error(), self.rtol), absolute)
        path = follow(force, state.memory, solver.methods, tolerances, until, most_steps)
        return State(
            params=unravel(path.theta),
            time=path.time,
            step=path.steps,
            evaluations=jnp.sum(path.evaluations),
            result=jnp.maximum(state.result, path.result),
            memory=path,
        )

    def path_error(self, state: State) -> Float[Array, ""]:
        """Estimated distance of the parameters from the exact path (unit: parameter).

        d/(2^q - 1), d the distance to the companion at equal time, q the order of the method. It
        is an estimate of the *global* error, good to a factor of a few where steps are short
        against the turns of the path. For nets with kinks (ReLU, max-pooling) no adaptive method
        converges beyond about one per cent, and neither does the estimate; see `doubts`.
        """
        return path_error(state.memory, FLOW_SOLVERS[self.solver].methods)

    def statistics(self, state: State) -> dict[str, Array]:
        """What the solver came to know on the way.

        Returns:
            sharpness: Largest |eigenvalue| of the Hessian by power iteration, a few steps old at
                most and from below (unit: loss/parameter^2); NaN if the solver does not need it.
            sharpness_bound: What the solver held to be a bound of it: 1.1 times as much.
            stiffness_budget: Integral of the sharpness over training time (unit: 1): explicit
                solvers need about 2 gradients per unit.
            rejections: Steps refused so far (unit: step).
            method: Which method takes the next step: a place in the solver's `methods`.
            method_evaluations: Gradients spent by each method, then on the sharpness, then on the
                companion.
        """
        path = state.memory
        known = any(method.bounded for method in FLOW_SOLVERS[self.solver].methods)
        unknown = 0.0 if known else jnp.nan
        return {
            "sharpness": path.sharpness + unknown,
            "sharpness_bound": SAFETY * path.sharpness + unknown,
            "stiffness_budget": path.budget + unknown,
            "rejections": path.attempts - path.steps,
            "method": path.method,
            "method_evaluations": path.evaluations,
        }

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        """Sentences on why the estimate of the error may be wrong; none for smooth problems."""
        error = self._error()
        if problem.smooth or float(error) >= KINKED_ERROR:
            return ()
        return (
            f"the net has kinks, where adaptive solvers reach a path error of about "
            f"{KINKED_ERROR:g}, not the {float(error):.2g} asked for; its estimate is not to be "
            f"trusted: ask for error={KINKED_ERROR:g}, or take a smooth activation as tanh or gelu",
        )

    def _error(self) -> Array:
        """The relative error of the path that is aimed at."""
        if self.error is not None:
            return self.error
        assert self.rtol is not None
        return 0.8 * self.rtol ** (2 / 3)


def _flat(
    problem: Problem, params: Params
) -> tuple[Callable[[Array], Array], Array, Callable[[Array], Params]]:
    """-grad f on flat vectors, the parameters as one, and the way back."""
    theta, unravel = ravel_pytree(params)
    gradient = jax.grad(problem.objective)
    return lambda flat: -ravel_pytree(gradient(unravel(flat)))[0], theta, unravel


def gradient_flow(
    rtol: float | None = None, solver: str | None = None, *, error: float | None = None
) -> GradientFlow:
    """Gradient flow, with an estimate of the error of the path at every record.

    Args:
        rtol: Local error of a step relative to the norm of the parameters; 1e-6 if neither this
            nor `error` is given.
        solver: A name in `thalweg.dynamics.FLOW_SOLVERS`; by default "auto" if an error is asked,
            "tsit5" if a tolerance is.
        error: Wanted error of the whole path, relative to the norm of the parameters: the
            tolerance of a step follows from it. Not a guarantee; `path_error` says what came of it.

    Raises:
        InputError: If both are given, one is not in (0, 0.1], or the solver is unknown.
    """
    require(
        rtol is None or error is None,
        f"rtol came as {rtol} and error as {error}; give one: rtol for a step, error for the path",
    )
    for what, value in (("rtol", rtol), ("error", error)):
        require(
            value is None or 0 < value <= 0.1,
            f"{what} came as {value}; give a number in (0, 0.1], as in 1e-6",
        )
    if error is not None:
        return GradientFlow(solver=solver or "auto", error=jnp.asarray(error))
    return GradientFlow(jnp.asarray(1e-6 if rtol is None else rtol), solver or "tsit5")
