"""Gradient flow, followed to a wanted error of the path, with an estimate of that error."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core.errors import choose, require
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Continuous, State, Statistic, fresh
from thalweg.dynamics.flow.integrator import expected, follow
from thalweg.dynamics.flow.methods import Method
from thalweg.dynamics.flow.path import Tolerances, noise_floor, path_error, start_path
from thalweg.dynamics.flow.solvers import FLOW_SOLVERS
from thalweg.problems.problem import Problem

KINKED_ERROR = 1e-2  # of a path over kinks; nothing smaller is promised
KINKED_SOLVER = "bosh3"  # many short steps: methods that lengthen steps lose their way over kinks
MOST_GRADIENTS = 10_000_000  # of a flow, unless another bound is given
SMALLEST = 1e-6  # of the largest norm so far: parameters below are followed no more closely
KINKED_SHARE = 0.01  # of the wanted error that a step over kinks may err: such errors add up


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
        most_gradients: Gradients after which the flow ends with the code STEP_LIMIT.
    """

    rtol: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)
    solver: str = eqx.field(static=True, default="auto")
    atol: Float[Array, ""] = eqx.field(
        converter=lambda a: jnp.asarray(a, jnp.float64), default=1e-12
    )
    error: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)
    most_gradients: Int[Array, ""] = eqx.field(
        converter=lambda n: jnp.asarray(n, jnp.int64), default=MOST_GRADIENTS
    )

    def __check_init__(self) -> None:
        choose(self.solver, FLOW_SOLVERS, "flow solver")
        require((self.rtol is None) != (self.error is None), "give either rtol or error, not both")

    @property
    def name(self) -> str:
        return "gradient flow"

    @property
    def most(self) -> float:
        return float(self.most_gradients)

    def init(self, problem: Problem, params: Params) -> State:
        force, theta, _ = _flat(problem, params)
        path = start_path(force, theta, self._methods(problem), paired=True)
        return fresh(params, path)._replace(evaluations=jnp.ones((), jnp.int64))

    def advance(
        self, problem: Problem, state: State, until: Float[Array, ""], most_steps: Array
    ) -> State:
        force, theta, unravel = _flat(problem, state.params)
        methods = self._methods(problem)
        relative = self._tolerances(problem)
        # Below a few units of rounding the error estimates of steps are noise.
        relative = jnp.where(relative > 0, jnp.maximum(relative, _least(theta)), relative)
        absolute = self.atol * jnp.sqrt(jnp.asarray(theta.size, jnp.float64))
        # Over a kink at zero, steps of a relative tolerance would shrink without end.
        tolerances = Tolerances(relative, absolute, SMALLEST if problem.smooth else 1.0)
        most = self.most_gradients
        path = follow(force, state.memory, methods, tolerances, until, most_steps, most)
        return State(
            params=unravel(path.theta),
            time=path.time,
            step=path.steps,
            evaluations=jnp.sum(path.evaluations),
            result=jnp.maximum(state.result, path.result),
            memory=path,
        )

    def expected(self, problem: Problem, state: State, until: Float[Array, ""]) -> Array:
        return expected(state.memory, self._methods(problem), until)

    def path_error(self, problem: Problem, state: State) -> Float[Array, ""]:
        """Estimated distance of the parameters from the exact path (unit: parameter).

        d/(2^q - 1), d the distance to the companion at equal time, q the lowest order of the
        methods taken so far, 1 on nets with kinks (ReLU, max-pooling). It is an estimate of the
        *global* error, good to a factor of a few where steps are short against the turns of the
        path; with kinks it is rougher, see `doubts`. What rounding adds, `noise_floor`, is
        included: it matters in float32.
        """
        return path_error(state.memory, problem.smooth)

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        spent_on = tuple(m.name for m in self._methods(problem))
        return (
            Statistic("solver_sharpness", "loss/parameter^2", "sharpness that the solver found"),
            Statistic("stiffness_budget", "1", "integral of the sharpness over training time"),
            Statistic("step_length", "step size", "length of the last solver step"),
            Statistic("stages", "1", "gradients of the last solver step"),
            Statistic("rejections", "1", "solver steps refused"),
            Statistic("noise_floor", "parameter", "path error by rounding alone"),
            Statistic(
                "solver_evaluations", "1", "gradient evaluations by what they were spent on",
                "spent_on", (*spent_on, "curvature", "error estimate"),
            ),
        )  # fmt: skip

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        """What the solver came to know on the way, at no cost.

        Returns:
            solver_sharpness: Largest |eigenvalue| of the Hessian by power iteration, a few steps
                old at most and from below: the solver takes 1.1 times as much for a bound (unit:
                loss/parameter^2); NaN if the solver does not need it.
            stiffness_budget: Z, the integral of the sharpness over training time (unit: 1):
                explicit solvers need about 2 Z gradients, stabilised ones a multiple of the root
                of Z times the number of steps.
            step_length: Of the last accepted step (unit: step size).
            stages: Gradients of the last attempted step.
            rejections: Steps refused so far.
            noise_floor: See `thalweg.dynamics.flow.path.noise_floor`.
            solver_evaluations: Gradients spent by each method, on the curvature, and on the error
                estimate; their sum is `evaluations`.
        """
        path = state.memory
        unknown = 0.0 if any(m.bounded for m in self._methods(problem)) else jnp.nan
        return {
            "solver_sharpness": path.sharpness + unknown,
            "stiffness_budget": path.budget + unknown,
            "step_length": path.length_before,
            "stages": path.stages,
            "rejections": path.attempts - path.steps // 2,
            "noise_floor": noise_floor(path),
            "solver_evaluations": path.evaluations,
        }

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        """Why the estimate of the path's error may be wrong; nothing for smooth problems."""
        error = self._error()
        if problem.smooth or float(error) >= KINKED_ERROR:
            return ()
        return (
            f"the net has kinks (ReLU, max-pooling); which are crossed, and when, decides its "
            f"path, and below an error of about {KINKED_ERROR:g} no solver promises anything: the "
            f"{float(error):.2g} asked for is an aim, its estimate a rough one; take a smooth "
            "activation, as tanh or gelu, where more is needed",
        )

    def _methods(self, problem: Problem) -> tuple[Method, ...]:
        auto = self.solver == "auto" and not problem.smooth
        return FLOW_SOLVERS[KINKED_SOLVER if auto else self.solver].methods

    def _tolerances(self, problem: Problem) -> Float[Array, " m"]:
        if self.error is None or problem.smooth:
            return FLOW_SOLVERS[self.solver].tolerances(self._error(), self.rtol)
        return jnp.full(len(self._methods(problem)), KINKED_SHARE) * self.error

    def _error(self) -> Array:
        """The relative error of the path that is aimed at."""
        if self.error is not None:
            return self.error
        assert self.rtol is not None
        return 0.8 * self.rtol ** (2 / 3)


def _least(theta: Array) -> float:
    """The smallest tolerance of a step that makes sense in the type of the parameters."""
    return 4 * float(jnp.finfo(theta.dtype).eps)


def _flat(
    problem: Problem, params: Params
) -> tuple[Callable[[Array], Array], Array, Callable[[Array], Params]]:
    """-grad f on flat vectors, the parameters as one, and the way back."""
    theta, unravel = ravel_pytree(params)
    gradient = jax.grad(problem.objective)
    return lambda flat: -ravel_pytree(gradient(unravel(flat)))[0], theta, unravel


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
    require(
        rtol is None or error is None,
        f"rtol came as {rtol} and error as {error}; give one: rtol for a step, error for the path",
    )
    for what, value in (("rtol", rtol), ("error", error)):
        require(
            value is None or 0 < value <= 0.1,
            f"{what} came as {value}; give a number in (0, 0.1], as in 1e-6",
        )
    whole = isinstance(most_gradients, int | np.integer) and not isinstance(most_gradients, bool)
    require(
        whole and 1 <= most_gradients < 2**63,
        f"most_gradients came as {most_gradients!r}; give a positive whole number, as in 10000000",
    )
    bound = jnp.asarray(most_gradients, jnp.int64)
    if error is not None:
        wanted = jnp.asarray(error)
        return GradientFlow(solver=solver or "auto", error=wanted, most_gradients=bound)
    tolerance = jnp.asarray(1e-6 if rtol is None else rtol)
    return GradientFlow(tolerance, solver or "tsit5", most_gradients=bound)
