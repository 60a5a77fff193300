"""Replicated-SGD: copies that are drawn to each other, told by their mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.ranges import require_from_zero, require_positive, require_share
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import VALUES, VALUES_TAKEN, Info, State, Statistic, fresh
from thalweg.dynamics.scoping import (
    STABLE,
    Dropping,
    Scoped,
    Scoping,
    drop_steps,
    number,
)
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.oracles.oracle import Oracle, full
from thalweg.problems.problem import Problem


class ReplicaMemory(NamedTuple):
    """What Replicated-SGD carries: leaves with the replicas as first axis.

    Attributes:
        replicas: w^a.
        velocity: Of their momentum.
        first: gamma_0.
    """

    replicas: Params
    velocity: Params
    first: Float[Array, ""]


class ReplicatedSGD(Scoped):
    """y coupled copies: descent on sum_a f(w^a) + gamma/2 sum_a ||w^a - wbar||^2, told by wbar.

        g^a = grad f(w^a) + [every K-th step] K gamma (w^a - wbar),  Nesterov's momentum

    The parameters of a run are the barycentre wbar, the mean of the copies. The first copy begins
    at the start of the run, the others at starts that the problem draws, unless `starts` gives all.
    Each sees what `oracle` shows to it alone. gamma is `first`, or where that is negative twice
    mean_a f(w^a)/mean_a ||w^a - wbar||^2 at the start; it grows as `coupling` says, up to where
    eta K gamma/(1 - momentum) is 1/2. Clock: eta/(1 - momentum) a step. Cost: y gradients a step.
    Source: Pittorino et al. (2021), algorithm 2.

    Attributes:
        learning_rate: eta with its drops.
        coupling: How gamma grows.
        momentum: Of every copy.
        oracle: What a copy sees.
        replicas: y.
        every: K.
        first: gamma_0 (unit: loss/parameter^2); negative for the automatic one.
        starts: All copies, leaves with y as first axis, or None.
    """

    replicas: int = eqx.field(static=True)
    every: int = eqx.field(static=True)
    first: Float[Array, ""] = eqx.field(converter=number)
    starts: Params | None = None

    @property
    def name(self) -> str:
        return f"Replicated-SGD {self.oracle.name}".strip()

    def init(self, problem: Problem, params: Params) -> State:
        self.oracle.suit(problem)
        copies = self.starts
        if copies is not None:
            own = jax.tree.map(lambda a: (self.replicas, *jnp.shape(a)), params)
            given = jax.tree.map(jnp.shape, copies)
            require(
                given == own,
                f"starts came with leaves of shapes {given}; give those of the parameters with the "
                f"copies as first axis, {own}",
            )
        else:
            # The start stands for the seed of the run, which is not told here.
            bits = jax.random.key(0)
            for leaf in jax.tree.leaves(params):
                total = jnp.sum(leaf).astype(jnp.float32)
                bits = jax.random.fold_in(bits, jax.lax.bitcast_convert_type(total, jnp.uint32))
            drawn = jax.vmap(problem.init)(jax.random.split(bits, self.replicas - 1))
            copies = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), params, drawn)
        centre = barycentre(copies)
        losses = jax.lax.map(problem.objective, copies)
        apart = spread(copies)
        ratio = jnp.mean(losses).astype(jnp.float64) / jnp.where(apart > 0, apart, jnp.inf)
        first = jnp.where(self.first < 0, 2 * ratio, self.first)
        still = jax.tree.map(jnp.zeros_like, copies)
        return fresh(centre, ReplicaMemory(copies, still, first))

    def block(self, problem: Problem, params: Params) -> int:
        return self.oracle.block(problem, params) if self.oracle.random else 0

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        keys = jax.random.split(key, self.replicas)
        return jax.vmap(lambda k: self.oracle.draws(problem, params, k, count), out_axes=1)(keys)

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        own = self.draws(problem, state.params, jax.random.fold_in(key, 3), 1)
        return self.drawn_step(problem, state, tree.lane(own, 0), key)

    def gamma(self, state: State) -> Float[Array, ""]:
        """The coupling of the next step."""
        grown = self.coupling.at(state.step, state.memory.first)
        rate = self.learning_rate.at(state.step) * self.every
        return jnp.minimum(grown, STABLE * (1 - self.momentum) / rate)

    def drawn_step(
        self, problem: Problem, state: State, draw: Any, key: Array
    ) -> tuple[State, Info]:
        memory: ReplicaMemory = state.memory
        acts = (state.step + 1) % self.every == 0
        gamma = self.gamma(state) * self.every
        gamma = jnp.where(acts, gamma, jnp.zeros_like(gamma))

        def own(w: Params, draw: Any) -> tuple[Array, Params]:
            return jax.value_and_grad(self.oracle.see(problem, w, draw).objective)(w)

        losses, slopes = jax.vmap(own)(memory.replicas, draw)
        slopes = jax.tree.map(
            lambda g, w: g + gamma.astype(w.dtype) * (w - jnp.mean(w, axis=0, keepdims=True)),
            slopes,
            memory.replicas,
        )
        rate = self.learning_rate.at(state.step)
        copies, velocity = self._nesterov(memory.replicas, memory.velocity, slopes, rate)
        loss = jnp.mean(losses)
        memory = ReplicaMemory(copies, velocity, memory.first)
        return self._after(state, barycentre(copies), loss, self.replicas, memory), Info(loss)

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        return (
            Statistic("coupling", "loss/parameter^2", "gamma of the next step"),
            Statistic("replica_spread", "parameter^2", "mean squared distance to the barycentre"),
            VALUES_TAKEN,
        )

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        copies = state.memory.replicas
        count = len(jax.tree.leaves(copies)[0])  # of each, once, at the start
        told = {"coupling": self.gamma(state), "replica_spread": spread(copies)}
        return told | {VALUES: jnp.asarray(count, jnp.int64)}

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return no_rule("its copies stand at points of their own, and are drawn to their mean")

    def without_limit(self, problem: Problem, params: Params) -> str:
        return "it moves several copies, and its parameters are their mean"


def barycentre(copies: Params) -> Params:
    """The mean of copies, leaves with the copies as first axis."""
    return jax.tree.map(lambda a: jnp.mean(a, axis=0), copies)


def spread(copies: Params) -> Float[Array, ""]:
    """Mean over copies of the squared distance to their mean (unit: parameter^2)."""
    squares = [
        jnp.sum((a - jnp.mean(a, axis=0, keepdims=True)) ** 2) / len(a)
        for a in jax.tree.leaves(copies)
    ]
    return sum(squares[1:], squares[0]).astype(jnp.float64)


def replicated_sgd(
    learning_rate: float,
    *,
    replicas: int = 3,
    momentum: float = 0.9,
    every: int = 1,
    coupling: float | None = None,
    coupling_steps: float = 1000.0,
    factor: float = 1e4,
    raise_every: float = 1.0,
    drops: Sequence[float] = (),
    drop: float = 0.2,
    oracle: Oracle | None = None,
    starts: Any = None,
) -> ReplicatedSGD:
    """Replicated-SGD; see `ReplicatedSGD`.

    Args:
        learning_rate: eta.
        replicas: y, at least 2.
        momentum: Nesterov's.
        every: K.
        coupling: gamma_0; None for the automatic one.
        coupling_steps: Steps over which gamma grows by `factor`.
        factor: 1 for a constant coupling.
        raise_every: After how many steps it is raised, as those of an epoch.
        drops: Steps from which on the learning rate is lower.
        drop: By how much.
        oracle: What a copy sees, as `tw.oracles.minibatch(50)`; None for all.
        starts: All copies, leaves with y as first axis; None for the start of the run and others
            that the problem draws.

    Raises:
        InputError: If a number is out of its range, or `starts` has another number of copies.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> both = tw.dynamics.replicated_sgd(
        ...     0.1, replicas=2, momentum=0.0, coupling=1.0, factor=1.0,
        ...     starts=jnp.array([[1.5], [0.5]]),
        ... )
        >>> path = tw.run(bowl, both, until=0.1, records=1)
        >>> path.dataset["replica_spread"][0].values.round(6).tolist()  # 0.5^2, then (0.8 0.5)^2
        [0.25, 0.16]
    """
    require(replicas >= 2, f"replicas came as {replicas}; give at least 2")
    require(every >= 1, f"every came as {every}; give at least 1")
    require_share(momentum=momentum)
    require_positive(learning_rate=learning_rate)
    require_from_zero(coupling=coupling)
    require_positive(
        coupling_steps=coupling_steps, factor=factor, raise_every=raise_every, drop=drop
    )
    counts = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(starts)}
    require(
        counts <= {(replicas,)},
        f"starts came with {sorted(counts)} copies; give leaves whose first axis is {replicas}",
    )
    return ReplicatedSGD(
        Dropping(number(learning_rate), number(drop_steps(drops)), number(drop)),
        Scoping(number(factor), number(coupling_steps), number(raise_every), number(0.0)),
        number(momentum),
        full() if oracle is None else oracle,
        replicas,
        every,
        number(-1.0 if coupling is None else coupling),
        jax.tree.map(jnp.asarray, starts),
    )
