"""Entropy-SGD: descent on the local entropy by an inner loop held near the point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.errors import require, unknown
from thalweg.core.ranges import require_from_zero, require_positive, require_share
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import Info, State, Statistic, fresh
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

CONVENTIONS = {"paper": 1.0, "code": math.sqrt(2)}  # of the inner noise


class EntropyMemory(NamedTuple):
    """What Entropy-SGD carries.

    Attributes:
        velocity: Of the outer momentum.
        first: gamma_0; negative until it is known.
        loss: At the last gradient of the last inner loop.
        away: ||w' - w||^2 there.
    """

    velocity: Params
    first: Float[Array, ""]
    loss: Float[Array, ""]
    away: Float[Array, ""]


class EntropySGD(Scoped):
    """Descent on the local-entropy loss -1/beta log int exp(-beta (f(w') + gamma/2 ||w' - w||^2)).

        w' = mu = w;  L times:  w' <- w' - eta' (grad f(w') + gamma (w' - w)) + noise,
                                mu <- alpha mu + (1 - alpha) w'
        w <- w - eta (w - mu), with Nesterov's momentum on w - mu

    Each inner step sees what `oracle` shows anew. Noise is sqrt(eta') epsilon N(0, I) in the
    "paper" convention and sqrt(2) times that in that of the public code. gamma is `first` or, where
    that is negative, f over ||w' - w||^2/2 at the end of the free steps, at most `most_first`; it
    grows as `coupling` says, up to 1/(2 eta'). Clock: how far a lasting gradient of a flat f moves
    w, eta eta' (1 - alpha) sum_l alpha^(L - l) l/(1 - momentum) a step. Cost: L gradients a step.
    Source: Chaudhari et al. (2017); Pittorino et al. (2021), algorithm 1.

    Attributes:
        learning_rate: eta with its drops.
        coupling: How gamma grows.
        momentum: Of the outer step.
        oracle: What an inner step sees.
        inner_steps: L.
        inner_rate: eta'.
        averaging: alpha.
        noise: epsilon.
        first: gamma_0 (unit: loss/parameter^2); negative for the automatic one.
        most_first: Up to where the automatic one goes.
        convention: Of the noise.
    """

    inner_steps: int = eqx.field(static=True)
    inner_rate: Float[Array, ""] = eqx.field(converter=number)
    averaging: Float[Array, ""] = eqx.field(converter=number)
    noise: Float[Array, ""] = eqx.field(converter=number)
    first: Float[Array, ""] = eqx.field(converter=number)
    most_first: Float[Array, ""] = eqx.field(converter=number)
    convention: str = eqx.field(static=True, default="paper")

    @property
    def name(self) -> str:
        return f"Entropy-SGD {self.oracle.name}".strip()

    def _unit(self) -> Float[Array, ""]:
        left = jnp.arange(self.inner_steps, 0, -1).astype(jnp.float64)
        weights = self.averaging ** (self.inner_steps - left)
        moved = (1 - self.averaging) * jnp.sum(weights * left)
        return self.inner_rate * moved * super()._unit()

    def init(self, problem: Problem, params: Params) -> State:
        self.oracle.suit(problem)
        zero = jnp.zeros((), jnp.float64)
        still = jax.tree.map(jnp.zeros_like, params)
        return fresh(params, EntropyMemory(still, self.first, zero, zero))

    def block(self, problem: Problem, params: Params) -> int:
        if not self.oracle.random:
            return 0
        return max(1, self.oracle.block(problem, params) // self.inner_steps)

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        drawn = self.oracle.draws(problem, params, key, count * self.inner_steps)
        shape = (count, self.inner_steps)
        return jax.tree.map(lambda a: a.reshape(shape + a.shape[1:]), drawn)

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        own = self.draws(problem, state.params, jax.random.fold_in(key, 3), 1)
        return self.drawn_step(problem, state, tree.lane(own, 0), key)

    def gamma(self, state: State) -> Float[Array, ""]:
        """The coupling of the next step."""
        memory: EntropyMemory = state.memory
        known = jnp.where(memory.first < 0, self._automatic(memory), memory.first)
        grown = self.coupling.at(state.step, known)
        return jnp.minimum(grown, STABLE / self.inner_rate)

    def _automatic(self, memory: EntropyMemory) -> Float[Array, ""]:
        apart = jnp.where(memory.away > 0, memory.away, jnp.inf)
        return jnp.clip(2 * memory.loss / apart, 0.0, self.most_first)

    def drawn_step(
        self, problem: Problem, state: State, draw: Any, key: Array
    ) -> tuple[State, Info]:
        memory: EntropyMemory = state.memory
        start = state.step.astype(jnp.float64) >= self.coupling.free
        known = jnp.where((memory.first < 0) & start, self._automatic(memory), memory.first)
        gamma, rate = self.gamma(state), self.inner_rate
        sigma = CONVENTIONS[self.convention] * self.noise * jnp.sqrt(rate)
        w = state.params

        def inner(at: tuple[Params, Params], given: Any) -> tuple[Any, Array]:
            near, mean = at
            draw, key = given
            seen = self.oracle.see(problem, near, draw)
            loss, slope = jax.value_and_grad(seen.objective)(near)
            keys = jax.random.split(key, len(jax.tree.leaves(near)))
            keys = jax.tree.unflatten(jax.tree.structure(near), list(keys))

            def moved(x: Array, g: Array, w: Array, key: Array) -> Array:
                pull = g + gamma.astype(x.dtype) * (x - w)
                shake = sigma.astype(x.dtype) * jax.random.normal(key, x.shape, x.dtype)
                return x - rate.astype(x.dtype) * pull + shake

            near = jax.tree.map(moved, near, slope, w, keys)
            mean = jax.tree.map(
                lambda mu, x: self.averaging.astype(x.dtype) * (mu - x) + x, mean, near
            )
            return (near, mean), loss

        keys = jax.random.split(jax.random.fold_in(key, 5), self.inner_steps)
        (near, mean), losses = jax.lax.scan(inner, (w, w), (draw, keys))
        slope = tree.difference(w, mean)
        after, velocity = self._nesterov(
            w, memory.velocity, slope, self.learning_rate.at(state.step)
        )
        away = tree.norm(tree.difference(near, w)).astype(jnp.float64) ** 2
        last = losses[-1].astype(jnp.float64)
        memory = EntropyMemory(velocity, known, last, away)
        return self._after(state, after, losses[0], self.inner_steps, memory), Info(losses[0])

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        return (Statistic("coupling", "loss/parameter^2", "gamma of the next step"),)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        return {"coupling": self.gamma(state)}

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return no_rule("its step leads to where an inner loop lingers, not along its gradient")

    def without_limit(self, problem: Problem, params: Params) -> str:
        return "its inner loop descends the local-entropy loss, whose flow is not known in numbers"


def entropy_sgd(
    learning_rate: float,
    *,
    inner_steps: int = 5,
    inner_rate: float = 0.1,
    averaging: float = 0.75,
    noise: float = 1e-4,
    momentum: float = 0.9,
    coupling: float | None = None,
    most_coupling: float = 0.1,
    coupling_steps: float = 1000.0,
    factor: float = 1e4,
    free_steps: float | None = None,
    drops: Sequence[float] = (),
    drop: float = 0.2,
    oracle: Oracle | None = None,
    convention: str = "paper",
) -> EntropySGD:
    """Entropy-SGD; see `EntropySGD`.

    Args:
        learning_rate: eta, a share of w - mu.
        inner_steps: L.
        inner_rate: eta'.
        averaging: alpha.
        noise: epsilon.
        momentum: Nesterov's, of the outer step.
        coupling: gamma_0; None for the automatic one.
        most_coupling: Up to where the automatic gamma_0 goes.
        coupling_steps: Steps over which gamma grows by `factor`.
        factor: 1 for a constant coupling.
        free_steps: Steps before there is a coupling; None for 10 where it is automatic, else 0.
        drops: Steps from which on the learning rate is lower.
        drop: By how much.
        oracle: What an inner step sees, as `tw.oracles.minibatch(50)`; None for all.
        convention: "paper" or "code", of the noise.

    Raises:
        InputError: If a number is out of its range.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.45 * jnp.sum(x**2), start=jnp.ones(1))
        >>> descent = tw.dynamics.entropy_sgd(
        ...     1.0, noise=0.0, momentum=0.0, coupling=0.7, factor=1.0
        ... )
        >>> state = descent.init(bowl, bowl.start)
        >>> after, _ = descent.step(bowl, state, jax.random.key(0))
        >>> round(1 - float(after.params[0]), 12)
        0.191575341225
    """
    require(inner_steps >= 1, f"inner_steps came as {inner_steps}; give at least 1")
    require(convention in CONVENTIONS, unknown(convention, CONVENTIONS, "convention"))
    require_share(momentum=momentum, averaging=averaging)
    require_from_zero(noise=noise, coupling=coupling, most_coupling=most_coupling)
    require_positive(learning_rate=learning_rate, inner_rate=inner_rate, drop=drop)
    require_positive(coupling_steps=coupling_steps, factor=factor)
    free = free_steps if free_steps is not None else (10.0 if coupling is None else 0.0)
    require(
        free >= (1 if coupling is None else 0),
        f"free_steps came as {free_steps}; an automatic coupling needs 1 step at least, a given "
        "one 0",
    )
    return EntropySGD(
        Dropping(number(learning_rate), number(drop_steps(drops)), number(drop)),
        Scoping(number(factor), number(coupling_steps), number(1.0), number(free)),
        number(momentum),
        full() if oracle is None else oracle,
        inner_steps,
        number(inner_rate),
        number(averaging),
        number(noise),
        number(-1.0 if coupling is None else coupling),
        number(most_coupling),
        convention,
    )
