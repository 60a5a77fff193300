"""Two-phase training: all layers first, then the last one alone, with a guarantee for its limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.errors import InputError, require
from thalweg.core.result import finite
from thalweg.core.tree import Params
from thalweg.dynamics.descent import nearest_count
from thalweg.dynamics.dynamics import (
    Discrete,
    Info,
    State,
    Statistic,
    fresh,
    step_size_array,
)
from thalweg.dynamics.noisy_steps import Noisy
from thalweg.dynamics.optax_descent import OptaxDescent, optax_dynamics
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.oracles.batches import minibatch
from thalweg.oracles.oracle import Oracle, full
from thalweg.problems.last_layer import last_layer_problem, loss_smoothness
from thalweg.problems.problem import Problem, Supervised

CERTIFIED = "1/L_H"


class TwoPhaseMemory(NamedTuple):
    """What the two phases carry.

    Attributes:
        base: The transformation's state.
        features: h(x_i, u), (n, m), of all training examples; zeros in phase 1.
        step_size: Phase 2's own step size; zero before it, or if there is none.
        began: Training time at which phase 2 began.
    """

    base: Any
    features: Float[Array, "n m"]
    step_size: Float[Array, ""]
    began: Float[Array, ""]


class TwoPhase(Discrete):
    """Any optimiser for tau steps, a shake of the hidden layers, then the last layer alone.

        k < tau     a step of `base` on all parameters
        k = tau     u <- u + noise N(0, I), once, before the step
        k >= tau    V <- V - eta dL/dV; u stands still to the bit

    u are all parameters below the last, affine layer V = `params[-1]`. The shake comes from the
    key of step tau, so a record at step tau still shows the u of phase 1. In phase 2 the features
    h(x_i, u) are kept in memory, n x m numbers: a step costs one affine layer, and what hidden
    layers left in the optimiser's state reaches nothing. Where `base` goes on it draws the batches
    that it would have drawn. If A = [h, 1] has rank n the limit is the infimum over all parameters.

    Attributes:
        base: The optimiser of phase 1.
        oracle: What its steps see; phase 2 as full-batch descent sees all.
        tau: Steps of phase 1; a number, so that another one compiles nothing.
        noise: Standard deviation of the shake (unit: parameter).
        last_step_size: Phase 2 as full-batch descent with this step size; None lets `base` go on.
        certified: Phase 2 as full-batch descent with 1/L_H, L_H = L_l sigma_max(A)^2/n.
        reset: Whether `base` begins phase 2 with a fresh state, its schedules' count included.

    Evaluations are counted as those of `base`; a step of gradient descent in phase 2 counts one.
    Source: Kawaguchi and Sun (2021), arXiv 2104.05785.
    """

    base: OptaxDescent
    oracle: Oracle
    tau: Int[Array, ""]
    noise: Float[Array, ""]
    last_step_size: Float[Array, ""] | None = None
    certified: bool = eqx.field(static=True, default=False)
    reset: bool = eqx.field(static=True, default=False)

    @property
    def name(self) -> str:
        return f"two-phase {self.base.name}"

    @property
    def random(self) -> bool:
        return self.base.random or self.oracle.random or bool(self.noise > 0)

    def init(self, problem: Problem, params: Params) -> State:
        if not isinstance(problem, Supervised):
            raise InputError(
                f"a {type(problem).__name__} has no last layer to train alone; give a supervised "
                "problem"
            )
        require(
            not self.oracle.remembers,
            f"training in two phases came {self.oracle.name}, which remembers the parameters of "
            "all layers; give an oracle without a memory, as tw.oracles.minibatch(32)",
        )
        self.oracle.suit(problem)
        state = self.base.init(problem, params)
        features = jax.eval_shape(lambda p: last_layer_problem(problem, p).inputs, params)
        if self.certified:
            loss_smoothness(problem.loss)
        blank = jnp.zeros(features.shape, features.dtype)
        zero = jnp.zeros((), jnp.float64)
        return fresh(params, TwoPhaseMemory(state.memory, blank, zero, zero))

    def block(self, problem: Problem, params: Params) -> int:
        return self._sampled.block(problem, params)

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        return self._sampled.draws(problem, params, key, count)

    @property
    def _sampled(self) -> Noisy:
        return Noisy(self.base, self.oracle)

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        return self.drawn_step(problem, state, self._sampled.draw(problem, state, key), key)

    def drawn_step(
        self, problem: Problem, state: State, draw: Any, key: Array
    ) -> tuple[State, Info]:
        assert isinstance(problem, Supervised)
        now = _of_all_seeds(state.step)
        state = jax.lax.cond(
            now == self.tau, lambda s: self._shaken(problem, s, key), lambda s: s, state
        )
        return jax.lax.cond(
            now < self.tau,
            lambda s: self._all_layers(problem, s, draw, key),
            lambda s: self._last_layer(problem, s, draw),
            state,
        )

    def _shaken(self, problem: Supervised, state: State, key: Array) -> State:
        flat, unravel = ravel_pytree(state.params[:-1])
        noise = self.noise * jax.random.normal(jax.random.fold_in(key, 1), flat.shape)
        params = _with_last(unravel(flat + noise.astype(flat.dtype)), state.params[-1])
        last = last_layer_problem(problem, params)
        memory = state.memory._replace(
            base=self._begun_anew(params, state.memory.base),
            features=last.inputs,
            began=state.time,
        )
        if self.certified:
            memory = memory._replace(step_size=_certified(last, "bias" in params[-1]))
        elif self.last_step_size is not None:
            memory = memory._replace(step_size=self.last_step_size)
        return state._replace(params=params, memory=memory)

    def _begun_anew(self, params: Params, memory: Any) -> Any:
        fresh = self.base.remember(params)._replace(values=memory.values)
        return fresh if self.reset else memory

    def _all_layers(
        self, problem: Supervised, state: State, draw: Any, key: Array
    ) -> tuple[State, Info]:
        inner = state._replace(memory=state.memory.base)
        after, info = self._sampled.drawn_step(problem, inner, draw, key)
        return after._replace(memory=state.memory._replace(base=after.memory)), info

    def _last_layer(self, problem: Supervised, state: State, draw: Any) -> tuple[State, Info]:
        memory, V = state.memory, state.params[-1]
        last = last_layer_problem(problem, state.params, memory.features)
        if not self.certified and self.last_step_size is None:
            seen = self.oracle.see(last, V, draw)
            inner = state._replace(memory=memory.base)
            after, info = self.base.descend(lambda params: seen.objective(params[-1]), inner)
            after = after._replace(result=self._sampled.result(state, after))
            V = after.params[-1]
            memory = memory._replace(base=after.memory)
            # The update is masked, not only the gradient: momentum of hidden layers stays out.
            return after._replace(params=_with_last(state.params[:-1], V), memory=memory), info
        loss, gradient = jax.value_and_grad(last.objective)(V)
        count = state.step + 1
        after = state._replace(
            params=_with_last(state.params[:-1], tree.step_along(V, -memory.step_size, gradient)),
            time=memory.began + (count - self.tau).astype(jnp.float64) * memory.step_size,
            step=count,
            evaluations=state.evaluations + 1,
            result=jnp.maximum(state.result, finite(loss)),
        )
        return after, Info(loss)

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        return self.base.recorded(problem)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        return self.base.statistics(problem, state._replace(memory=state.memory.base))

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        return self.base.doubts(problem)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        steps = np.asarray(steps)
        if self.last_step_size is None:
            return self.base.clock(steps)
        tau = int(self.tau)
        late = np.maximum(steps - tau, 0) * float(self.last_step_size)
        return self.base.clock(np.minimum(steps, tau)) + late

    def steps_until(self, time: float) -> int:
        if self.last_step_size is None:
            return self.base.steps_until(time)
        tau = int(self.tau)
        late = time - float(self.base.clock(np.array([tau]))[0])
        if late <= 0:
            return self.base.steps_until(time)
        return tau + nearest_count(late, float(self.last_step_size))

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        if self.certified or self.last_step_size is not None or self.reset:
            return no_rule("its phases are different dynamics")
        because = "once the last layer moves alone, its own curvature counts, which is no larger"
        rule = self._sampled.stability(problem, params)
        return rule._replace(kind="indicative", because=because) if rule.known else rule


def two_phase(
    transform: Any,  # as `optax_dynamics` takes it
    step_size: float | Callable[[Any], Any],
    tau: int,
    noise: float,
    *,
    batch: int | None = None,
    oracle: Oracle | None = None,
    last_step_size: float | str | None = None,
    reset: bool = False,
    name: str = "optax",
) -> TwoPhase:
    """Any Optax transformation with a guarantee for the limit (EXP wrapper); see `TwoPhase`.

    Args:
        transform: For example `optax.sgd(0.05, momentum=0.9)`.
        step_size: Training time per step, usually the learning rate; a schedule is summed.
        tau: Steps of phase 1, at least 0.
        noise: Standard deviation of the one perturbation of all hidden parameters, at least 0.
        batch: Examples per step of the transformation; None for all.
        oracle: What its steps see of the problem instead, as `tw.oracles.label_noise(0.1)`.
        last_step_size: None lets the transformation go on in phase 2. A number, or "1/L_H" from
            the features at tau, makes phase 2 full-batch descent with that step size. 1/L_H differs
            from seed to seed, so the time axis of records counts `step_size` for its steps too;
            the state's own time counts 1/L_H.
        reset: Whether the transformation begins phase 2 with a fresh state.
        name: For tables and legends.

    Raises:
        InputError: If a number is out of range, or `last_step_size` is another word; at the start
            of a run, if the problem has no last layer.

    Examples:
        >>> import optax
        >>> data = (np.eye(2), np.array([[1.0], [-1.0]]))
        >>> fit = tw.problems.supervised(tw.models.mlp([4], "tanh"), data)
        >>> sgd = optax.sgd(0.1)
        >>> phases = tw.dynamics.two_phase(sgd, 0.1, tau=5, noise=0.1, last_step_size="1/L_H")
        >>> path = tw.run(fit, phases, until=50.0, records=1)
        >>> float(path.dataset["loss"][0, -1]) < 1e-6  # the infimum over all parameters
        True
    """
    require(
        isinstance(tau, int | np.integer) and tau >= 0,
        f"tau came as {tau!r}; give a whole number of steps, at least 0",
    )
    require(
        bool(np.isfinite(noise)) and noise >= 0,
        f"the perturbation's size came as {noise}; give a finite number, at least 0",
    )
    require(
        not isinstance(last_step_size, str) or last_step_size == CERTIFIED,
        f"last_step_size came as {last_step_size!r}; give a number, {CERTIFIED!r} or None",
    )
    own = None if isinstance(last_step_size, str | None) else step_size_array(last_step_size)
    require(batch is None or oracle is None, "both batch and oracle came; give one of them")
    base = optax_dynamics(transform, step_size, name)
    return TwoPhase(
        base,
        (full() if oracle is None else oracle) if batch is None else minibatch(batch),
        jnp.asarray(tau),
        jnp.asarray(noise, jnp.float64),
        own,
        last_step_size == CERTIFIED,
        reset,
    )


def _with_last(hidden: Any, last: Params) -> Params:
    """All parameters, in the kind of list that the hidden ones are."""
    return hidden + type(hidden)([last])


def _certified(last: Supervised, bias: bool) -> Float[Array, ""]:
    """1/L_H of frozen features."""
    h = last.inputs
    A = jnp.concatenate([h, jnp.ones((len(h), int(bias)), h.dtype)], axis=1)
    constant = loss_smoothness(last.loss) * jnp.linalg.norm(A, 2) ** 2
    return (len(h) if last.reduction == "mean" else 1) / constant.astype(jnp.float64)


@custom_vmap
def _of_all_seeds(step: Int[Array, ""]) -> Int[Array, ""]:
    """The step count, which all seeds of a run share, so that a branch is taken, not selected."""
    return step


@_of_all_seeds.def_vmap
def _of_first(size: int, batched: list[bool], step: Array) -> tuple[Array, bool]:
    return (step[0] if batched[0] else step), False
