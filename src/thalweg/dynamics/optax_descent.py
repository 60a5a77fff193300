"""Any Optax transformation as a discrete dynamics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from thalweg.core.arguments import told
from thalweg.core.errors import InputError, require
from thalweg.core.result import finite, tree_finite
from thalweg.core.tree import Params
from thalweg.dynamics.by_schedule import late_of, scheduled_rule
from thalweg.dynamics.descent import nearest_count
from thalweg.dynamics.dynamics import (
    VALUES,
    VALUES_TAKEN,
    Continuous,
    Discrete,
    Info,
    State,
    Statistic,
    fresh,
    step_size_array,
    timed,
    untimed,
)
from thalweg.dynamics.flow.followed import FLOW_ERROR, Flow
from thalweg.dynamics.linear_response import step_gains, transformation_rule
from thalweg.dynamics.noisy_steps import Noisy
from thalweg.dynamics.optax_limit import begun_from, optax_central, optax_limit
from thalweg.dynamics.optax_update import (
    ANY_RATE,
    Family,
    Objective,
    held_by,
    is_key,
    learning_rate_of,
    made,
    manner_of,
    optax_converts,
    parts_of,
    typed_as,
    update,
)
from thalweg.dynamics.optimiser_state import require_fits
from thalweg.dynamics.schedules import forward, in_counts, require_schedule
from thalweg.dynamics.stability import StabilityRule
from thalweg.oracles.batches import minibatch
from thalweg.oracles.oracle import Oracle
from thalweg.problems.problem import Problem


class OptaxMemory(NamedTuple):
    """What a transformation carries from step to step.

    Attributes:
        state: Its own state, as Optax makes it.
        slow: The slow parameters of `optax.lookahead`, else None.
        values: Evaluations of the objective without its gradient so far, where it makes any.
    """

    state: Any
    slow: Params | None = None
    values: Int[Array, ""] | None = None


class OptaxDescent(Discrete):
    """Any `optax.GradientTransformation` as a dynamics.

    A step is one call of `transform.update` and of `optax.apply_updates`. Of the extra arguments
    value, grad, value_fn, grad_fn and obj_fn it gets those that it accepts. The path is that of
    the same loop in plain Optax; in particular the parameters of a run are those that the loop
    holds and takes the gradient at:

    - of `optax.lookahead` the fast ones;
    - of `optax.contrib.schedule_free` the points y;
    - of `optax.contrib.sam` every iterate in turn, the ascended ones too, unless `opaque_mode`.

    `evaluation_loss` is recorded for the first two: the objective at the parameters that are meant
    for evaluation, the slow ones and the averages x.

    `evaluations` counts gradients: one per step, and every one that the transformation takes of the
    functions that it is given, as line searches do; a slope along a line counts as a gradient, a
    Hessian product as two. Evaluations of the objective alone are recorded as `value_evaluations`.
    With several seeds at once each counts what it would need alone. Where some cannot be seen the
    doubts of the trajectory say that the numbers are lower bounds.

    Attributes:
        transform: The transformation, its learning rate included, as Optax users write it; None
            where a family and a learning rate are given.
        step_size: How much training time one step takes: a number, or an Optax schedule (a
            function of the step) whose values are summed. It sets the clock only.
        label: A name for tables and legends.
        reseed: Whether the random keys in the transformation's state, as those of
            `optax.noisy_sgd`, are mixed with the seed of the run. If not every seed begins with
            the same key, as a plain Optax loop does, and the doubts of the trajectory say so.
        settings: What the transformation was made from, which cannot be read off it:
            told in the record of a run.
        family: Transformations of any learning rate, of which this is one: members of a sweep that
            differ in it alone then share a program.
        learning_rate: Of this one.
        begun: What the transformation remembers at the start of a path, in place of nothing; see
            `continued`.

    Result: NONFINITE once the parameters are not finite, or the objective on all examples.
    """

    transform: optax.GradientTransformationExtraArgs | None = eqx.field(static=True)
    step_size: Float[Array, ""] | Callable[[Any], Any] = eqx.field(static=False)
    label: str = eqx.field(static=True, default="optax")
    reseed: bool = eqx.field(static=True, default=False)
    settings: tuple[tuple[str, float | str], ...] = eqx.field(static=True, default=())
    family: Family | None = eqx.field(static=True, default=None)
    learning_rate: Float[Array, ""] | None = None
    begun: Any = None

    @property
    def alike(self) -> optax.GradientTransformationExtraArgs:
        """The transformation, or one of its family: of the same state, shapes and manner."""
        return self._transform if self.family is None else made(self.family, ANY_RATE)

    @property
    def examined(self) -> optax.GradientTransformationExtraArgs:
        """The transformation in numbers; not where the learning rate is traced."""
        if self.family is None:
            return self._transform
        assert self.learning_rate is not None
        return made(self.family, float(self.learning_rate))

    def applied(self, params: Params) -> optax.GradientTransformationExtraArgs:
        """The transformation that steps are taken by, for parameters of these types."""
        if self.family is None:
            return self._transform
        assert self.learning_rate is not None
        kind = jnp.result_type(*jax.tree.leaves(params))  # a number would not widen them either
        return self.family.at(self.learning_rate.astype(kind))

    @property
    def _transform(self) -> optax.GradientTransformationExtraArgs:
        assert self.transform is not None
        return self.transform

    @property
    def name(self) -> str:
        return self.label

    @property
    def random(self) -> bool:
        return self.reseed

    def init(self, problem: Problem, params: Params) -> State:
        return fresh(params, self.remember(params))

    def remember(self, params: Params) -> OptaxMemory:
        """The memory at the start of a path.

        Raises:
            InputError: If the transformation does not take such parameters, or what it begins with
                is not its own.
        """
        manner = manner_of(self.alike, params)
        slow = params if manner.slow else None
        if self.begun is None:
            with optax_converts():
                state = self.applied(params).init(held_by(params, slow))
            state = jax.tree.map(typed_as, state, manner.state)
        else:
            state = require_fits(self.begun, manner.state, self.name)
        values = manner.sight is not None and manner.sight.values
        return OptaxMemory(state, slow, jnp.zeros((), jnp.int64) if values else None)

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        if self.reseed:
            own = jax.random.fold_in(key, 2)
            memory = jax.tree.map(lambda a: _mixed(a, own, state.step == 0), state.memory)
            state = state._replace(memory=memory)
        return self.descend(problem.objective, state)

    def descend(self, objective: Objective, state: State) -> tuple[State, Info]:
        """One step of the transformation on an objective."""
        memory: OptaxMemory = state.memory
        loss, gradient = jax.value_and_grad(objective)(state.params)
        held = held_by(state.params, memory.slow)
        watched = manner_of(self.alike, state.params).sight is not None
        transform = self.applied(state.params)
        taken = update(transform, objective, loss, gradient, memory.state, held, watched)
        evaluations, values = state.evaluations + 1, memory.values
        if taken.spent is not None:
            evaluations = evaluations + taken.spent.gradients
            values = None if values is None else values + taken.spent.values
        after = optax.apply_updates(held, taken.updates)
        params, slow = (after, None) if memory.slow is None else after
        if callable(self.step_size):
            time = state.time + self.step_size(state.step)
        else:
            time = (state.step + 1).astype(jnp.float64) * self.step_size
        return state._replace(
            params=params,
            time=jnp.asarray(time, jnp.float64),
            step=state.step + 1,
            evaluations=evaluations,
            result=functools.reduce(jnp.maximum, (state.result, finite(loss), tree_finite(params))),
            memory=OptaxMemory(jax.tree.map(typed_as, taken.state, memory.state), slow, values),
        ), Info(loss)

    def describe(self) -> dict[str, Any]:
        told = super().describe()
        del told["settings"]
        return told | dict(self.settings)

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        told = []
        manner = manner_of(self.alike, _shapes(problem))
        if manner.sight and manner.sight.values:
            told.append(VALUES_TAKEN)
        if manner.slow or manner.free:
            about = "objective at the parameters that are meant for evaluation"
            told.append(Statistic("evaluation_loss", "loss", about))
        return tuple(told)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        memory: OptaxMemory = state.memory
        told = {} if memory.values is None else {VALUES: memory.values}
        if memory.slow is not None:
            told["evaluation_loss"] = problem.objective(memory.slow)
        elif free := parts_of(memory.state, optax.contrib.ScheduleFreeState):
            params = optax.contrib.schedule_free_eval_params(free[0], state.params)
            told["evaluation_loss"] = problem.objective(params)
        return told

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        manner, told = manner_of(self.alike, _shapes(problem)), []
        if manner.sight and not manner.sight.whole:
            told.append(
                f"The evaluations of {self.name} are a lower bound: its transformation takes some "
                "where they cannot be counted."
            )
        if manner.random and not self.reseed:
            told.append(
                f"The random numbers of {self.name} come from its own key, not from the seed of "
                "the run, so seeds do not show how they scatter; optax_dynamics(..., reseed=True) "
                "draws them anew for each seed."
            )
        return tuple(told)

    def carried(self, state: State) -> State:
        return state if callable(self.step_size) else untimed(state)

    def released(self, state: State) -> State:
        return state if callable(self.step_size) else timed(state, self.step_size)

    @property
    def additive(self) -> bool:
        return True  # `optax.apply_updates` adds

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        steps = np.asarray(steps)
        if not callable(self.step_size):
            return steps * float(self.step_size)
        sizes = forward(self._sizes(int(steps.max(initial=0))), self.step_size, np.inf)
        total = np.concatenate([[0.0], np.cumsum(sizes)])
        return total[steps]

    def steps_until(self, time: float) -> int:
        if not callable(self.step_size):
            return nearest_count(time, float(self.step_size))
        count = 64
        while (reached := np.cumsum(forward(self._sizes(count), self.step_size, time)))[-1] < time:
            still = reached[count // 4] == reached[-1]
            stopped = count > (50_000 if reached[-1] > 0 else 4_000_000) and still
            if stopped or count > 50_000_000:
                raise InputError(
                    f"the schedule's step sizes add up to only {reached[-1]:g} in {count} steps; "
                    f"training time {time:g} is out of reach; ask for no more than that, or for "
                    "a longer schedule"
                )
            count *= 4
        return int(np.argmin(np.abs(np.concatenate([[0.0], reached]) - time)))

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        if callable(self.step_size):
            return scheduled_rule(self.examined, params, in_counts(self.step_size))
        return transformation_rule(self.examined, params, float(self.step_size))

    def limit(self, problem: Problem, params: Params) -> Flow | None:
        found = self._limit(problem, params)
        return None if isinstance(found, str) else found

    def without_limit(self, problem: Problem, params: Params) -> str:
        found = self._limit(problem, params)
        return found if isinstance(found, str) else ""

    def central(self, problem: Problem, params: Params) -> Continuous | None:
        """That of gradient descent or RMSProp, where the transformation is one of them.

        RMSProp must not begin with an average of 0, from which its first steps are no mean path.
        """
        if callable(self.step_size) or not problem.smooth:
            return None
        rule, flow = self.stability(problem, params), self.limit(problem, params)
        return optax_central(float(self.step_size), rule, flow)

    def _limit(self, problem: Problem, params: Params) -> Flow | str:
        size = in_counts(self.step_size) if callable(self.step_size) else float(self.step_size)
        flow = optax_limit(self.examined, params, size, FLOW_ERROR[problem.smooth])
        if self.begun is None or isinstance(flow, str):
            return flow
        assert not callable(size)
        return begun_from(flow, self.begun, params, size)

    def step_gains(self, problem: Problem, params: Params, memory: OptaxMemory) -> Params:
        size = None if callable(self.step_size) else self.step_size
        gradient = jax.grad(problem.objective)(params)
        transform = self.applied(params)
        known = self.alike
        return step_gains(
            transform, params, memory.state, gradient, size, known, late_of(self.step_size)
        )

    def _sizes(self, count: int) -> np.ndarray:
        assert callable(self.step_size)
        return np.asarray(jax.vmap(self.step_size)(jnp.arange(count)), np.float64)


def _shapes(problem: Problem) -> Params:
    return jax.eval_shape(problem.init, jax.random.key(0))


def _mixed(leaf: Array, key: Array, first: Array) -> Array:
    """A random key mixed with another one at the first step; other leaves as they are."""
    if not is_key(leaf):
        return leaf
    return jnp.where(first, jax.random.fold_in(leaf, jax.random.bits(key)), leaf)


@overload
def optax_dynamics(
    transform: Any,
    step_size: float | Callable[[Any], Any] | None = None,
    name: str = "optax",
    batch: None = None,
    reseed: bool = False,
    oracle: None = None,
) -> OptaxDescent: ...


@overload
def optax_dynamics(
    transform: Any,
    step_size: float | Callable[[Any], Any] | None = None,
    name: str = "optax",
    batch: int | None = None,
    reseed: bool = False,
    oracle: Oracle | None = None,
) -> Discrete: ...


def optax_dynamics(
    transform: Any,  # an optax.GradientTransformation, or what acts like one
    step_size: float | Callable[[Any], Any] | None = None,
    name: str = "optax",
    batch: int | None = None,
    reseed: bool = False,
    oracle: Oracle | None = None,
) -> Discrete:
    """Any Optax transformation as a dynamics; see `OptaxDescent`.

    Args:
        transform: For example `optax.sgd(0.1, momentum=0.9)`, `optax.adam(1e-3)`, or an
            `optax.MultiSteps`.
        step_size: Training time per step, usually the learning rate; a schedule is summed. Optax
            does not let a learning rate be read from a transformation, unless it was made by
            `optax.inject_hyperparams` with a constant one: then None takes that.
        name: For tables and legends.
        batch: Examples per step, in a new random order for each pass over the data: short for
            `oracle=tw.oracles.minibatch(batch)`. None for all.
        reseed: Whether each seed draws the transformation's random numbers anew.
        oracle: What its steps see of the problem, as `tw.oracles.label_noise(0.1)`; None for all
            of it.

    Raises:
        InputError: If the transformation is none, the step size is missing or not positive, or
            `batch` comes beside `oracle`; at the start of a run, if the transformation refuses the
            problem's parameters, or the problem has fewer examples than the batch, or none.

    Examples:
        >>> import optax
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> path = tw.run(bowl, tw.optax_dynamics(optax.sgd(0.5), 0.5), until=1.0, records=2)
        >>> path.dataset["loss"].values.tolist()
        [[0.5, 0.125, 0.03125]]
    """
    if hasattr(transform, "gradient_transformation"):  # optax.MultiSteps
        transform = transform.gradient_transformation()
    if not all(callable(getattr(transform, part, None)) for part in ("init", "update")):
        raise InputError(
            f"transform came as {told(transform)}; give an Optax transformation with its learning "
            "rate, as optax.adam(1e-3)"
        )
    if not isinstance(transform, optax.GradientTransformation):
        transform = optax.GradientTransformationExtraArgs(transform.init, transform.update)
    if step_size is None:
        step_size = learning_rate_of(transform)
    size = require_schedule(step_size) if callable(step_size) else step_size_array(step_size)
    descent = OptaxDescent(optax.with_extra_args_support(transform), size, name, reseed)
    require(
        batch is None or oracle is None,
        "both batch and oracle came; give one of them, as oracle=tw.oracles.minibatch(32)",
    )
    if batch is not None:
        return Noisy(descent, minibatch(batch), name)
    return descent if oracle is None else Noisy(descent, oracle)
