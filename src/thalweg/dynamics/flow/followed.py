"""A flow, followed to a wanted error of its path with an estimate of that error."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.errors import choose, require
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Continuous, State, Statistic, fresh
from thalweg.dynamics.flow.integrator import Force, expected, follow
from thalweg.dynamics.flow.methods import Method
from thalweg.dynamics.flow.path import (
    EUCLIDEAN,
    Integration,
    Measure,
    Tolerances,
    noise_floor,
    path_error,
    start_path,
)
from thalweg.dynamics.flow.solvers import FLOW_SOLVERS
from thalweg.models.spiking.surrogates import takes_surrogates
from thalweg.problems.problem import Problem

KINKED_ERROR = 1e-2  # of a path over kinks; nothing smaller is promised
FLOW_ERROR = {True: 1e-4, False: 1e-3}  # asked of a path by default, by whether it is smooth
KINKED_SOLVER = "bosh3"  # many short steps: methods that lengthen steps lose their way over kinks
EXPLICIT_SOLVER = "tsit5"  # where the force has no symmetric Jacobian
MOST_GRADIENTS = 10_000_000  # of a flow, unless another bound is given
SMALLEST = 1e-6  # of the largest norm so far: parameters below are followed no more closely
CORNERS = 3.0  # times the distance of the companion: what both err over a corner may be alike
KINKED_SHARE = 0.01  # of the wanted error that a step over kinks may err: such errors add up


def _optional(value: float | Array | None) -> Array | None:
    return None if value is None else jnp.asarray(value, jnp.float64)


class System(NamedTuple):
    """What is integrated for a flow: parameters first, then what else moves with them.

    Attributes:
        force: How fast all of it moves at a point, with one gradient.
        start: All of it at time zero, flat.
        size: How many of its numbers are parameters.
        unravel: Parameters from so many flat numbers.
        measure: How large it is, and an error of it.
        settled: What the end of a step is made, where not all of it is integrated; the force there
            must stay the same.
    """

    force: Force
    start: Float[Array, " y"]
    size: int
    unravel: Callable[[Array], Params]
    measure: Measure = EUCLIDEAN
    settled: Force | None = None


class Flow(Continuous):
    """What flows have in common: tolerances, a companion that tells the error, and a bound.

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

    symmetric: ClassVar[bool] = True
    """Whether the force has a symmetric Jacobian, as the methods with bounded stages need."""

    @property
    def counted(self) -> float:
        """The order that the estimate of the error counts on at most; 0 along corners."""
        return math.inf

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
        explicit = [n for n, s in FLOW_SOLVERS.items() if not any(m.bounded for m in s.methods)]
        require(
            self.symmetric or self.solver in (*explicit, "auto"),
            f"the flow solver {self.solver} is for symmetric curvature, which {self.name} has not; "
            f"give {', '.join(explicit)}",
        )
        require((self.rtol is None) != (self.error is None), "give either rtol or error, not both")

    @abc.abstractmethod
    def system(self, problem: Problem, params: Params) -> System:
        """What is integrated, from parameters at time zero; elsewhere only their shapes count."""

    def solver_clock(self, time: Float[Array, ""]) -> Float[Array, ""]:
        """The clock that the solver counts by, at a training time."""
        return time

    def training_time(self, clock: Float[Array, ""]) -> Float[Array, ""]:
        """The inverse of `solver_clock`."""
        return clock

    def step_length(self, path: Integration) -> Float[Array, ""]:
        """Training time of the last accepted step."""
        return path.length_before

    def begun(self, problem: Problem, path: Integration) -> Integration:
        """The path at time zero, with the length of its first step."""
        return path

    def asked(
        self,
        error: float,
        solver: str | None = None,
        most_gradients: int = MOST_GRADIENTS,
    ) -> Self:
        """The same flow, followed to another error of the path, by a solver if one is named."""
        how = how_asked(None, error, most_gradients)
        return dataclasses.replace(
            self,
            rtol=None,
            error=how.error,
            solver=solver or self.solver,
            most_gradients=how.most_gradients,
        )

    @property
    def most(self) -> float:
        return float(self.most_gradients)

    def init(self, problem: Problem, params: Params) -> State:
        return self.started(problem, params, self.system(problem, params))

    def started(self, problem: Problem, params: Params, system: System) -> State:
        """The state at time zero of what is integrated."""
        path = start_path(system.force, system.start, self.methods(problem), paired=True)
        path = path._replace(largest=system.measure.size(system.start))
        path = self.begun(problem, path)
        return fresh(params, path)._replace(evaluations=jnp.ones((), jnp.int64))

    def advance(
        self, problem: Problem, state: State, until: Float[Array, ""], most_steps: Array
    ) -> State:
        system = self.system(problem, state.params)
        mark = self.solver_clock(jnp.asarray(until, jnp.float64))
        tolerances = self._tolerances(problem, system)
        methods, most = self.methods(problem), self.most_gradients
        path = follow(
            system.force, state.memory, methods, tolerances, mark, most_steps, most, system.settled
        )
        return State(
            params=system.unravel(path.theta[: system.size]),
            time=jnp.where(path.time >= mark, until, self.training_time(path.time)),
            step=path.steps,
            evaluations=jnp.sum(path.evaluations),
            result=jnp.maximum(state.result, path.result),
            memory=path,
        )

    def expected(self, problem: Problem, state: State, until: Float[Array, ""]) -> Array:
        return expected(state.memory, self.methods(problem), self.solver_clock(until))

    def path_error(self, problem: Problem, state: State) -> Float[Array, ""]:
        """Estimated distance of the parameters from the exact path (unit: parameter).

        d/(2^q - 1), d the distance to the companion at equal time, q the lowest order of the
        methods taken so far, 1 on nets with kinks (ReLU, max-pooling), at most 2 along
        preconditioned flows, whose steps are often as long as is stable and not as exact. Along a
        schedule or AMSGrad's flow, which have corners that both paths may cross alike by chance,
        3 d, d the largest so far, what was at s counting s/t at t. It is an estimate of the
        *global* error and no bound: where path and companion cross it is too small. Held against
        SciPy's DOP853 at 1e-12 on 20 problems of five parameters, at four times each and tolerances
        of 1e-4 and 1e-6, it covered the error in 99 % of records of Tsit5 and 78 % of "auto"; at
        1e-6 in 70 % of RKC2, 93 % along the flow of momentum; twice it in 95 % or more of each,
        five times it in 99 %; the worst was 11 times too small. Along Adam's and RMSProp's, at ten
        times each on 20 other problems, asked 1e-3, 1e-4 and 1e-6, it covers all, in the median 20
        times too large and near minima hundreds, RMSProp's from v = 1 to t = 10 included (70
        records); along AMSGrad's at all times on 80 to 95 % of the
        problems, 12 times too small at worst. With kinks it is rougher: see `doubts`. What rounding
        adds, `noise_floor`, is included: it matters in float32.
        """
        path = _of_parameters(state)
        if self.counted == 0:
            return CORNERS * path.apart + noise_floor(path)
        return path_error(path, self.counted if problem.smooth else 1.0)

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        spent_on = tuple(m.name for m in self.methods(problem))
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
        unknown = 0.0 if any(m.bounded for m in self.methods(problem)) else jnp.nan
        return {
            "solver_sharpness": path.sharpness + unknown,
            "stiffness_budget": path.budget + unknown,
            "step_length": self.step_length(path),
            "stages": path.stages,
            "rejections": path.attempts - path.steps // 2,
            "noise_floor": noise_floor(_of_parameters(state)),
            "solver_evaluations": path.evaluations,
        }

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        """Why the estimate of the path's error may be wrong; nothing for smooth problems."""
        error = self._error()
        if takes_surrogates(problem.objective, jax.eval_shape(problem.init, jax.random.key(0))):
            return (
                "the gradient of this net is a surrogate, and of no loss the gradient: what is "
                "followed is the flow of its field g, theta' = -g(theta), along which the loss "
                "need not fall; the field jumps where spikes come and go, so that the error told "
                "of the path is a rough one",
            )
        if problem.smooth or float(error) >= KINKED_ERROR:
            return ()
        return (
            f"the net has kinks (ReLU, max-pooling); which are crossed, and when, decides its "
            f"path, and below an error of about {KINKED_ERROR:g} no solver promises anything: the "
            f"{float(error):.2g} asked for is an aim, its estimate a rough one; take a smooth "
            "activation, as tanh or gelu, where more is needed",
        )

    def methods(self, problem: Problem) -> tuple[Method, ...]:
        """The methods that steps are taken by."""
        return FLOW_SOLVERS[self.chosen(problem)].methods

    def chosen(self, problem: Problem) -> str:
        """The solver that is taken for a problem."""
        if self.solver != "auto":
            return self.solver
        if not problem.smooth:
            return KINKED_SOLVER
        return "auto" if self.symmetric else EXPLICIT_SOLVER

    def relative(self, problem: Problem, theta: Array) -> Float[Array, " m"]:
        """What a step by each method may err, relative to the norm of the parameters."""
        if self.error is None or problem.smooth:
            relative = FLOW_SOLVERS[self.chosen(problem)].tolerances(self._error(), self.rtol)
        else:
            relative = jnp.full(len(self.methods(problem)), KINKED_SHARE) * self.error
        # Below a few units of rounding the error estimates of steps are noise.
        return jnp.where(relative > 0, jnp.maximum(relative, _least(theta)), relative)

    def _tolerances(self, problem: Problem, system: System) -> Tolerances:
        absolute = self.atol * jnp.sqrt(jnp.asarray(system.size, jnp.float64))
        relative = self.relative(problem, system.start)
        # Over a kink at zero, steps of a relative tolerance would shrink without end.
        share = SMALLEST if problem.smooth else 1.0
        return Tolerances(relative, absolute, share, system.measure)

    def _error(self) -> Array:
        """The relative error of the path that is aimed at."""
        if self.error is not None:
            return self.error
        assert self.rtol is not None
        return 0.8 * self.rtol ** (2 / 3)


def _of_parameters(state: State) -> Integration:
    """The path without what moves beside the parameters."""
    path: Integration = state.memory
    size = tree.size(state.params)
    return path._replace(theta=path.theta[:size], companion=path.companion[:size])


def _least(theta: Array) -> float:
    """The smallest tolerance of a step that makes sense in the type of the parameters."""
    return 4 * float(jnp.finfo(theta.dtype).eps)


def _in_range(what: str, value: float | None) -> None:
    require(
        value is None or 0 < value <= 0.1,
        f"{what} came as {value}; give a number in (0, 0.1], as in 1e-6",
    )


def error_asked(problem: Problem, flow_error: float | None) -> float:
    """The error that a path is followed to beside a training: as asked, or what suits the problem.

    Raises:
        InputError: If it is not in (0, 0.1].
    """
    _in_range("flow_error", flow_error)
    return FLOW_ERROR[problem.smooth] if flow_error is None else flow_error


def _bound(most_gradients: int) -> Int[Array, ""]:
    whole = isinstance(most_gradients, int | np.integer) and not isinstance(most_gradients, bool)
    require(
        whole and 1 <= most_gradients < 2**63,
        f"most_gradients came as {most_gradients!r}; give a positive whole number, as in 10000000",
    )
    return jnp.asarray(most_gradients, jnp.int64)


class Asked(NamedTuple):
    """How closely a flow is to be followed: by `rtol` or by `error`, and with what effort."""

    rtol: Float[Array, ""] | None
    error: Float[Array, ""] | None
    most_gradients: Int[Array, ""]


def how_asked(rtol: float | None, error: float | None, most_gradients: int) -> Asked:
    """How a flow is to be followed, from what was asked; a tolerance of 1e-6 if nothing was.

    Raises:
        InputError: If both are given, one is not in (0, 0.1], or `most_gradients` is not a positive
            whole number.
    """
    require(
        rtol is None or error is None,
        f"rtol came as {rtol} and error as {error}; give one: rtol for a step, error for the path",
    )
    _in_range("rtol", rtol)
    _in_range("error", error)
    if error is None:
        return Asked(jnp.asarray(1e-6 if rtol is None else rtol), None, _bound(most_gradients))
    return Asked(None, jnp.asarray(error), _bound(most_gradients))
