"""What moves parameters: two kinds of process on one clock, training time.

Training time is the sum of step sizes, so that iterate k of gradient descent with step size eta
sits at time k * eta on the axis of gradient flow. A `Discrete` process takes steps; a
`Continuous` one advances to a time. Both are modules of pure functions: hyper-parameters are
arrays, so a new step size compiles nothing.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.arguments import told
from thalweg.core.digest import identity
from thalweg.core.doors import Checked
from thalweg.core.errors import InputError
from thalweg.core.ranges import positive
from thalweg.core.result import Result
from thalweg.core.tracebacks import told_function
from thalweg.core.tree import Params
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.problems.problem import Problem


class State(NamedTuple):
    """Where a process is.

    Attributes:
        params: The parameters.
        time: Training time, the sum of step sizes so far.
        step: Steps taken: descent steps, or accepted solver steps.
        evaluations: Gradients computed so far; a Hessian product counts 2.
        result: A `Result` code; NONFINITE once the objective or the parameters are not finite.
        memory: What the process carries from step to step.
    """

    params: Params
    time: Float[Array, ""]
    step: Int[Array, ""]
    evaluations: Int[Array, ""]
    result: Int[Array, ""]
    memory: Any


class Info(NamedTuple):
    """What a step shows to observers."""

    loss: Float[Array, ""]


def fresh(params: Params, memory: Any) -> State:
    """The state at time zero."""
    return State(
        params,
        jnp.zeros((), jnp.float64),
        jnp.zeros((), jnp.int64),
        jnp.zeros((), jnp.int64),
        jnp.asarray(int(Result.OK), jnp.int32),
        memory,
    )


def state_at_start(dynamics: Dynamics, problem: Problem, params: Params) -> State:
    """The state at time zero, held against what `init` gives.

    Raises:
        InputError: If it is no `State`, or of other things than arrays.
    """
    state = dynamics.init(problem, params)
    if not isinstance(state, State):
        raise InputError(
            f"{told_function(dynamics.init)} gave {told(state)}; let it return a State, as "
            "fresh(params, memory)"
        )
    for leaf in jax.tree.leaves(state):
        if not hasattr(leaf, "dtype"):
            raise InputError(
                f"{told_function(dynamics.init)} gave a state that holds {told(leaf)}; give arrays"
            )
    return state


def stepped(dynamics: Discrete, before: State, given: Any) -> tuple[State, Info]:
    """What a step gave, where it is a state of the kind that it came from, and an `Info`.

    Raises:
        InputError: What it is instead, with the function and its line.
    """
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], State)):
        raise InputError(
            f"{told_function(dynamics.step)} gave {told(given)}; let it return the state after the "
            "step and an Info, as state._replace(...), Info(loss)"
        )
    old, new = (jax.tree_util.tree_leaves_with_path(state) for state in (before, given[0]))
    alike = [path for path, _ in old] == [path for path, _ in new]
    for (path, was), (_, leaf) in zip(old, new, strict=alike) if alike else ():
        if not hasattr(leaf, "dtype") or (leaf.shape, leaf.dtype) != (was.shape, was.dtype):
            name = jax.tree_util.keystr(path).lstrip(".")
            raise InputError(
                f"{told_function(dynamics.step)} gave as {name} of the state {told(leaf)}, which "
                f"came as {told(was)}; let a step keep shapes and types"
            )
    if not alike:
        raise InputError(
            f"{told_function(dynamics.step)} gave a state of another structure than came; let a "
            "step keep the structure of parameters and memory"
        )
    return given


def untimed(state: State) -> State:
    """A state without its time, of steps of one size: to carry it costs more than to count."""
    return state._replace(time=None)  # type: ignore[arg-type]


def timed(state: State, step_size: Float[Array, ""]) -> State:
    """The state with the time of its step."""
    return state._replace(time=state.step.astype(jnp.float64) * step_size)


class Clock(NamedTuple):
    """A further time of a dynamics, beside training time.

    Attributes:
        of: Maps counts of steps (n,) to times (n,).
        unit: Its unit.
        about: What it counts, for axes and tables.
    """

    of: Callable[[np.ndarray], np.ndarray]
    unit: str
    about: str


class Statistic(NamedTuple):
    """What a process tells of itself, recorded beside what is measured.

    Attributes:
        name: Of the variable.
        unit: Its unit.
        about: What it is, for axes and tables.
        dim: For vectors, the name of their dimension.
        labels: For vectors, a name for each entry.
    """

    name: str
    unit: str
    about: str
    dim: str = ""
    labels: tuple[str, ...] = ()


# What a process takes of the objective beside its gradients, as line searches do: it records the
# values so far under this name, and their price counts.
VALUES = "value_evaluations"
VALUES_TAKEN = Statistic(VALUES, "1", "evaluations of the objective without gradient")


class Dynamics(Checked):
    """A process that moves parameters; see `Discrete` and `Continuous`."""

    @abc.abstractmethod
    def init(self, problem: Problem, params: Params) -> State:
        """The state at time zero."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """A short name for tables and legends."""

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        """What `statistics` tells."""
        return ()

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        """What the process came to know on the way, by the names in `recorded`."""
        return {}

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        """Sentences on why its own error estimates may be wrong on a problem."""
        return ()

    def describe(self) -> dict[str, Any]:
        """What the record of a run says of the process: plain data."""
        return {"name": self.name, **_plain(self)}


class Discrete(Dynamics):
    """A process in steps."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # What is said of a step does not hold for that of a subclass.
        if {"step", "drawn_step"} & vars(cls).keys():
            for name in {"carried", "released", "carried_step", "additive"} - vars(cls).keys():
                setattr(cls, name, getattr(Discrete, name))

    @abc.abstractmethod
    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        """One step; the key is for this step alone."""

    def carried(self, state: State) -> State:
        """The state as a row of steps carries it, where that is faster: laid out or with less."""
        return state

    def released(self, state: State) -> State:
        """The state that is carried so, at the end of a row."""
        return state

    def carried_step(
        self, problem: Problem, state: State, key: Array, draw: Any = None
    ) -> tuple[State, Info]:
        """`step`, or `drawn_step` if its random numbers come, from a carried state to the next."""
        whole = self.released(state)
        if draw is None:
            after, info = stepped(self, whole, self.step(problem, whole, key))
        else:
            after, info = self.drawn_step(problem, whole, draw, key)
        return self.carried(after), info

    @abc.abstractmethod
    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Training time after so many steps."""

    @abc.abstractmethod
    def steps_until(self, time: float) -> int:
        """The number of steps whose training time is nearest to a time."""

    def clocks(self, problem: Problem) -> dict[str, Clock]:
        """Further times, which a run records beside training time, by their names."""
        return {}

    def block(self, problem: Problem, params: Params) -> int:
        """Of how many steps the random numbers are drawn at once; 0 if each step draws its own.

        A function of sizes alone: the numbers of a step are those of its block, (seed, block).
        """
        return 0

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        """Random numbers of so many steps: a pytree, leaves with `count` as first axis.

        Of `params` only the structure counts.
        """
        return ()

    def drawn_step(
        self, problem: Problem, state: State, draw: Any, key: Array
    ) -> tuple[State, Info]:
        """One step with its random numbers drawn; the key is for this step alone."""
        return self.step(problem, state, key)

    @property
    def random(self) -> bool:
        """Whether its steps draw random numbers, so that one start leads along many paths."""
        return False

    @property
    def long_to_compile(self) -> bool:
        """Whether its step is a program that is sooner run than compiled, with few loops in it."""
        return False

    @property
    def additive(self) -> bool:
        """Whether steps add to the parameters, so that what is not finite never is again."""
        return False

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        """Up to which curvature it is stable; of `params` only the structure counts."""
        return no_rule("it states none")

    def limit(self, problem: Problem, params: Params) -> Continuous | None:
        """The flow that it follows as its steps go to 0, on its own clock; None if none is known.

        Of `params` only the structure counts. What is None is compared with gradient flow at equal
        loss, and `without_limit` says why.
        """
        return None

    def without_limit(self, problem: Problem, params: Params) -> str:
        """Why no continuous limit of it is known; empty if `limit` gives one."""
        return "" if self.limit(problem, params) is not None else "it states none"

    def central(self, problem: Problem, params: Params) -> Continuous | None:
        """The flow of its mean path beyond the edge of stability; None if none is known."""
        return None

    def told_limit(self, problem: Problem, params: Params) -> dict[str, Any]:
        """Its limit as the record of a run keeps it: {"flow": ...} or {"because": ...}."""
        flow = self.limit(problem, params)
        if flow is None:
            return {"because": self.without_limit(problem, params)}
        return {"flow": flow.describe()}

    def step_gains(self, problem: Problem, params: Params, memory: Any) -> Params:
        """1/D of the next step, D its diagonal preconditioner in units of the step size.

        Raises:
            InputError: If it has none, or none is known.
        """
        raise InputError(
            f"{self.name} tells no preconditioner; measure tw.probes.sharpness(), or give the "
            "diagonal: tw.probes.preconditioned_sharpness(diagonal)"
        )


class Continuous(Dynamics):
    """A process in continuous time, followed by a solver."""

    @abc.abstractmethod
    def advance(
        self, problem: Problem, state: State, until: Float[Array, ""], most_steps: Int[Array, ""]
    ) -> State:
        """Go on to a time exactly, or as far as `most_steps` solver steps lead."""

    @property
    def most(self) -> float:
        """Gradients after which it ends with the code STEP_LIMIT, whatever the time."""
        return float("inf")

    def expected(self, problem: Problem, state: State, until: Float[Array, ""]) -> Float[Array, ""]:
        """Gradients up to a time at the present pace, those spent included; NaN if not known."""
        return jnp.asarray(jnp.nan)

    @abc.abstractmethod
    def path_error(self, problem: Problem, state: State) -> Float[Array, ""]:
        """Estimated distance of the parameters from the exact path (unit: parameter)."""


def step_size_array(value: float | Array) -> Float[Array, "*lanes"]:
    """A positive, finite step size as an array, so that changing it compiles nothing.

    Or one for each lane, of dynamics that are then mapped over.
    """
    return positive("step size", value)


def _plain(module: eqx.Module) -> dict[str, Any]:
    """Scalar fields of a module as plain data, others as a digest."""
    plain: dict[str, Any] = {}
    for field in module.__dataclass_fields__:
        value = getattr(module, field)
        if isinstance(value, bool | int | float | str):
            plain[field] = value
        elif hasattr(value, "shape") and value.shape == ():
            plain[field] = value.item()
        elif value is not None:
            plain[field] = identity(value)
    return plain
