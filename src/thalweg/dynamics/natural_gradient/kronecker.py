"""K-FAC: natural gradient with Kronecker factors, and a damping that looks after itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from thalweg.core import tree
from thalweg.core.result import finite, tree_finite
from thalweg.core.tree import Params
from thalweg.curvature.kronecker.factors import Factors, check_chain, covectors_of, factors_of
from thalweg.curvature.kronecker.layers import Layers
from thalweg.curvature.kronecker.passes import Passes, layers_of, passes
from thalweg.dynamics.descent import CountedSteps
from thalweg.dynamics.dynamics import Info, State, Statistic, fresh
from thalweg.dynamics.natural_gradient.history import extended, no_history
from thalweg.dynamics.natural_gradient.preconditioning import (
    diagonal_of,
    inverted,
    measured,
    preconditioned_direction,
)
from thalweg.dynamics.natural_gradient.quadratic_model import next_damping
from thalweg.dynamics.natural_gradient.seen import (
    KFACMemory,
    Proposal,
    Scalar,
    StepView,
    examples_and_decay,
    few_of,
    mean_curvature,
    model_on,
    objective_at,
    setting_at,
    strided,
    total_of,
    unscaled,
    with_decay,
)
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.problems.likelihoods import likelihood
from thalweg.problems.problem import Problem, Supervised

TRIALS = tuple(10.0**power for power in range(-4, 4))  # dampings tried first, in mean curvatures
Setting = Scalar | Callable[[Array], Any] | None


def _number(value: Any) -> Any:
    return value if value is None or callable(value) else jnp.asarray(value, jnp.float64)


def _count(value: Any) -> Any:
    return jnp.asarray(value, jnp.int64)


class KFAC(CountedSteps):
    """Steps along -(Kronecker-factored Fisher matrix)^-1 gradient; see `kfac`.

    Result: NONFINITE once the objective or the parameters are not finite.

    Attributes:
        damping: lambda at the start, or of every step as a function; None for a line of trials.
        learning_rate: alpha, a number or a function of the step; None for that of the exact model.
        momentum: mu; None for that of the exact model.
        damping_decay: omega; None keeps lambda.
        damping_period: T1.
        least_damping: No lambda below.
        gamma_decay: What gamma is searched by, a step; None ties it to sqrt(lambda + decay).
        gamma_period: T2.
        average: Largest weight of the past in the moving average of factors.
        norm_constraint: Bound of delta^T (F + lambda I) delta; None for none.
        polyak: Weight of the past in the average of iterates; None for none.
        refresh: T3.
        structure: "diagonal", "tridiagonal" or "eigenvalues".
        targets: "sampled", "exact" or "empirical".
        samples: Draws of targets for every example.
        reject: Whether a step that is seen to raise the objective is not taken.
        damped_model: Whether the foretold change has lambda in it.
        factor_examples: How many examples factors are taken of; None for an eighth, 256 at least.
        model_examples: How many the exact model is taken of; None for all.
        without_momentum: Whether mu is 0 for good, so that no product with the last step is made.
        pairs: Past steps that the inverse is corrected by.
    """

    damping: Setting = eqx.field(converter=_number, default=None)
    learning_rate: Setting = eqx.field(converter=_number, default=None)
    momentum: Setting = eqx.field(converter=_number, default=None)
    damping_decay: Scalar | None = eqx.field(converter=_number, default=0.9)
    damping_period: Int[Array, ""] = eqx.field(converter=_count, default=5)
    least_damping: Scalar = eqx.field(converter=_number, default=1e-8)
    gamma_decay: Scalar | None = eqx.field(converter=_number, default=None)
    gamma_period: Int[Array, ""] = eqx.field(converter=_count, default=20)
    average: Scalar = eqx.field(converter=_number, default=0.95)
    norm_constraint: Scalar | None = eqx.field(converter=_number, default=None)
    polyak: Scalar | None = eqx.field(converter=_number, default=None)
    refresh: int = eqx.field(static=True, default=1)
    structure: str = eqx.field(static=True, default="diagonal")
    targets: str = eqx.field(static=True, default="sampled")
    samples: int = eqx.field(static=True, default=1)
    reject: bool = eqx.field(static=True, default=True)
    damped_model: bool = eqx.field(static=True, default=True)
    factor_examples: int | None = eqx.field(static=True, default=None)
    model_examples: int | None = eqx.field(static=True, default=None)
    without_momentum: bool = eqx.field(static=True, default=False)
    pairs: int = eqx.field(static=True, default=0)

    @property
    def name(self) -> str:
        kinds = {"tridiagonal": "block-tridiagonal K-FAC", "eigenvalues": "EKFAC"}
        return kinds.get(self.structure, "K-FAC")

    @property
    def random(self) -> bool:
        return self.targets == "sampled"

    @property
    def long_to_compile(self) -> bool:
        return True

    @property
    def modelled(self) -> bool:
        """Whether anything asks for the exact model."""
        fixed = self.learning_rate is not None and self.momentum is not None
        adapted = self.damping_decay is not None, self.gamma_decay is not None
        return not fixed or any(adapted) or self.norm_constraint is not None

    def init(self, problem: Problem, params: Params) -> State:
        data, decay = examples_and_decay(problem)
        layers = layers_of(data.model, params, data.inputs)
        if self.structure == "tridiagonal":
            check_chain(layers)
        if self.targets != "empirical" or self.modelled:
            likelihood(data.loss)
        still = jax.tree.map(jnp.zeros_like, params)

        def first(params: Params) -> tuple[Factors, Any]:
            layers = layers_of(data.model, params, data.inputs)
            drawn = jax.random.key(0), jnp.zeros((), jnp.int64)
            at, r, weight = self._statistics(data, layers, params, None, *drawn)
            found = self._factors(layers, at, r, weight)
            seen = StepView(
                problem, data, layers, params, at, (at, r, weight), found, params, decay
            )
            if self.structure == "eigenvalues":
                basis = diagonal_of(seen).shifted(decay)
                return found, (basis.bases, basis.values)
            return found, inverted(self.structure, seen, decay) if self.refresh > 1 else ()

        shapes = jax.eval_shape(first, params)
        # Zeros of the host compile no program for each shape.
        factors, shared = jax.tree.map(lambda s: jnp.asarray(np.zeros(s.shape, s.dtype)), shapes)
        nan = jnp.asarray(jnp.nan, jnp.float64)
        start = nan if self.damping is None or callable(self.damping) else self.damping
        gamma, average = jnp.sqrt(start + decay), None if self.polyak is None else params
        along = jnp.zeros(2, jnp.float64)
        kept = no_history(params, self.pairs)
        return fresh(
            params, KFACMemory(factors, shared, still, start, gamma, nan, along, average, kept)
        )

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        return self.guided_step(problem, state, key)

    def guided_step(
        self, problem: Problem, state: State, key: Array, gradient: Params | None = None
    ) -> tuple[State, Info]:
        """One step, with a gradient from elsewhere if one is given."""
        data, decay = examples_and_decay(problem)
        params, memory = state.params, state.memory
        layers = layers_of(data.model, params, data.inputs)
        at = passes(layers, params, data.inputs)
        loss, r = jax.value_and_grad(lambda z: objective_at(data, z))(at.outputs)
        loss = loss.astype(jnp.float64) + decay / 2 * tree.dot(params, params).astype(jnp.float64)
        if gradient is None:
            gradient = with_decay(at.pull(r)[0], decay, params)
        statistics = self._statistics(data, layers, params, at, key, state.step)
        new = self._factors(layers, *statistics)
        share = jnp.minimum(1 - 1 / (state.step + 1).astype(jnp.float64), self.average)
        factors = jax.tree.map(
            lambda a, b: a + (1 - share).astype(a.dtype) * (b - a), memory.factors, new
        )
        n, few = len(data.inputs), self.model_examples
        if few is not None and few < n:
            at = passes(layers, params, data.inputs[strided(n, few, state.step)])
        when = state.step, self.average
        past = extended(memory.history, memory.last, gradient, data, *when)
        seen = StepView(
            problem, data, layers, params, at, statistics, factors, gradient, decay, past
        )
        shared = memory.shared
        if self.structure == "eigenvalues":
            due = (state.step < 3) | (state.step % self.refresh == 0)
            shared = measured(seen, shared, due, share)
        best, tried = self._best(seen, state, shared)
        return self._taken(seen, state, best, tried, loss)

    def _statistics(
        self,
        data: Supervised,
        layers: Layers,
        params: Params,
        at: Passes | None,
        key: Array,
        step: Array,
    ) -> tuple[Passes, Array, Array | float]:
        """The examples that factors are taken of, and the covectors that are sent back."""
        few, total = few_of(n := len(data.inputs), self.factor_examples), total_of(data)
        if few < n or at is None:
            data = data.on(strided(n, few, step)) if few < n else data
            at = passes(layers, params, data.inputs)
        r, weight = covectors_of(unscaled(data), at.outputs, self.targets, key, self.samples)
        return at, r, weight * total

    def _factors(self, layers: Layers, at: Passes, r: Array, weight: Array | float) -> Factors:
        return factors_of(layers, at, r, weight, chain=self.structure == "tridiagonal")

    def _best(self, seen: StepView, state: State, shared: Any) -> tuple[Proposal, Array]:
        """The best of the candidates for damping, and how many they were."""
        memory, number = state.memory, state.step
        damping = setting_at(self.damping, number) if callable(self.damping) else memory.damping
        tied = jnp.sqrt(damping + seen.decay)
        first = jnp.asarray(self.damping is None) & (number == 0)
        if self.gamma_decay is None:
            gamma, looking = tied, jnp.asarray(False)
        else:
            gamma, looking = memory.gamma, ~first & ((number + 1) % self.gamma_period == 0)
        due = first | looking | (number < 3) | (number % self.refresh == 0)

        def candidate(i: Array) -> Proposal:
            lam, gam = damping, gamma
            if self.damping is None:
                tried = jnp.asarray(TRIALS)[i] * mean_curvature(seen)
                lam = jnp.where(first, tried, damping)
                gam = jnp.where(first, jnp.sqrt(tried + seen.decay), gamma)
            if self.gamma_decay is not None:
                power = jnp.asarray([0.0, 1.0, -1.0])[jnp.minimum(i, 2)]
                factor = self.gamma_decay ** (power * self.gamma_period.astype(jnp.float64))
                gam = jnp.where(looking, gam * factor, gam)
            if self.structure == "eigenvalues":  # the same for every gamma
                return self._proposed(seen, state, shared, lam, gam, first)
            made = inverted(self.structure, seen, gam) if self.refresh == 1 else jax.lax.cond(
                due, lambda: inverted(self.structure, seen, gam), lambda: shared
            )  # fmt: skip
            return self._proposed(seen, state, made, lam, gam, first)

        if self.damping is not None and self.gamma_decay is None:
            return candidate(jnp.zeros((), int)), jnp.ones((), int)

        def better(i: Array, best: Proposal) -> Proposal:
            new = candidate(i)
            good = new.score < best.score
            return jax.tree.map(lambda a, b: jnp.where(good, a, b), new, best)

        count = jnp.where(first, len(TRIALS), jnp.where(looking, 3, 1))
        shapes = jax.eval_shape(candidate, jnp.zeros((), int))
        none = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        none = none._replace(damping=damping, gamma=gamma, score=jnp.full_like(none.score, jnp.inf))
        return jax.lax.fori_loop(0, count, better, none), count

    def _proposed(
        self, seen: StepView, state: State, shared: Any, lam: Scalar, gam: Scalar, first: Array
    ) -> Proposal:
        """Where a damping leads: as far as the exact model says, or as is asked for."""
        ahead = preconditioned_direction(self.structure, seen, shared, gam, lam)
        last = state.memory.last
        alpha, mu = (
            setting_at(self.learning_rate, state.step),
            setting_at(self.momentum, state.step),
        )
        if self.modelled:
            ways = [ahead] if self.without_momentum else [ahead, last]
            model = model_on(seen, ways, lam)
            along = model.lowest(alpha, mu)
            if self.norm_constraint is not None:
                size = along @ model.curvature @ along
                along = along * jnp.sqrt(jnp.minimum(1, self.norm_constraint / size))
            change = model.change(along, self.damped_model)
        else:
            along, change = jnp.stack([alpha, mu]), jnp.asarray(jnp.nan)
        step = jax.tree.map(
            lambda d, old: along[0].astype(d.dtype) * d + along[1].astype(d.dtype) * old,
            ahead,
            last,
        )
        score = change
        if self.damping is None:

            def truly() -> Scalar:
                moved = jax.tree.map(jnp.add, seen.params, step)
                return seen.problem.objective(moved).astype(jnp.float64)

            score = jax.lax.cond(first, truly, lambda: change)
        kept = shared if self.refresh > 1 or self.structure == "eigenvalues" else ()
        return Proposal(step, kept, lam, gam, along, change, score)

    def _taken(
        self, seen: StepView, state: State, best: Proposal, tried: Array, loss: Scalar
    ) -> tuple[State, Info]:
        """The step taken, if it is no rise, and the damping after it."""
        memory, number = state.memory, state.step + 1
        moved = jax.tree.map(jnp.add, seen.params, best.step)
        damping, ratio, step = best.damping, memory.ratio, best.step
        look = jnp.asarray(False)
        if self.damping_decay is not None or self.reject:
            look = number % self.damping_period == 0

            def there() -> Scalar:
                return seen.problem.objective(moved).astype(jnp.float64)

            height = jax.lax.cond(look, there, lambda: loss)
            ratio = jnp.where(look, (height - loss) / best.change, ratio)
        if self.damping_decay is not None and not callable(self.damping):
            new = next_damping(
                damping, ratio, self.damping_decay ** self.damping_period.astype(jnp.float64)
            )
            damping = jnp.where(look, jnp.maximum(new, self.least_damping), damping)
        if self.reject:
            slack = 10 * jnp.finfo(jnp.float64).eps * jnp.abs(loss)
            bad = look & ~(height <= loss + slack) & jnp.isfinite(loss)
            moved, step = jax.tree.map(
                lambda new, old: jnp.where(bad, old, new),
                (moved, step),
                (seen.params, jax.tree.map(jnp.zeros_like, step)),
            )
        average = memory.average
        if self.polyak is not None:
            xi = self.polyak
            average = jax.tree.map(
                lambda old, new: new + xi.astype(new.dtype) * (old - new), average, moved
            )
        after = KFACMemory(
            seen.factors, best.shared, step, damping, best.gamma, ratio, best.along, average,
            seen.history,
        )  # fmt: skip
        return state._replace(
            params=moved,
            time=number.astype(jnp.float64),
            step=number,
            evaluations=state.evaluations + self._spent(seen, tried, look),
            result=jnp.maximum(state.result, jnp.maximum(finite(loss), tree_finite(moved))),
            memory=after,
        ), Info(loss)

    def _spent(self, seen: StepView, tried: Array, look: Array) -> Int[Array, ""]:
        """Gradients of a step, to the next whole one: an example forward a third, back two."""
        ways = 2 * (1 if self.without_momentum else 2) if self.modelled else 0
        few = few_of(n := len(seen.data.inputs), self.factor_examples)
        draws = len(seen.statistics[1]) * (2 if self.structure == "eigenvalues" else 1)
        back = -(-(2 * draws + (few < n)) * few // n)
        thirds = 3 + back + ways * tried + look.astype(int)
        trials = jnp.where((tried > 3), tried, 0)
        return ((thirds + trials + 2) // 3).astype(jnp.int64)

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        told = (
            Statistic("damping", "loss/parameter^2", "damping lambda"),
            Statistic("gamma", "(loss/parameter^2)^1/2", "damping gamma of the factors"),
            Statistic("ratio", "1", "true over foretold change at the last look"),
            Statistic("step_along", "1", "alpha, of the direction"),
            Statistic("momentum", "1", "mu, of the last step"),
        )
        if self.polyak is None:
            return told
        return (*told, Statistic("evaluation_loss", "loss", "objective at the average iterate"))

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        memory: KFACMemory = state.memory
        told = {name: getattr(memory, name) for name in ("damping", "gamma", "ratio")}
        told |= {"step_along": memory.along[0], "momentum": memory.along[1]}
        if self.polyak is not None:
            told["evaluation_loss"] = problem.objective(memory.average)
        return told

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        data, _ = examples_and_decay(problem)
        layers = layers_of(data.model, jax.eval_shape(data.init, jax.random.key(0)), data.inputs)
        strange = [layer.name for layer in layers.blocks if layer.kind == "other"]
        if not strange:
            return ()
        return (
            f"{', '.join(strange)} of the net gave no Kronecker product: {self.name} takes the "
            "diagonal of the Fisher matrix there",
        )

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        if self.learning_rate is None:
            return no_rule("its step is as long as the exact Fisher matrix allows")
        return no_rule("its factors are averages over steps; of constant-kfac one is known")

    def without_limit(self, problem: Problem, params: Params) -> str:
        if self.learning_rate is None:
            return "its step size is chosen anew at each step and does not go to 0"
        return "its factors are averages over steps; constant-kfac has a flow"
