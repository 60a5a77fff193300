"""Any dynamics in steps, watched as it enters and leaves tubes about a set of minima."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.curvature.stagnation_sets import StagnationSet, require_nearest
from thalweg.dynamics.around import Around
from thalweg.dynamics.dynamics import Continuous, Discrete, Info, State, Statistic
from thalweg.problems.problem import Problem

Radii = Float[Array, " r"]


class MonitoredMemory(NamedTuple):
    """What a watched dynamics carries.

    Attributes:
        base: What the dynamics carries.
        entry: The first step within each tube, NaN so far where there was none.
        exit: The first step outside after it, NaN so far where there was none.
    """

    base: Any
    entry: Radii
    exit: Radii


class Monitored(Around):
    """A dynamics that tells at which steps it entered and left tubes; see `monitored`.

    Attributes:
        base: The dynamics; it takes the steps that it takes alone, to the bit.
        region: The set that the tubes are about.
        radii: Of the tubes.
    """

    region: StagnationSet
    radii: Radii = eqx.field(converter=lambda x: jnp.asarray(x, jnp.float64))

    def inner(self, state: State) -> State:
        return state._replace(memory=state.memory.base)

    def init(self, problem: Problem, params: Params) -> State:
        require_nearest(self.region, params)
        state = self.base.init(problem, params)
        never = jnp.full(self.radii.shape, jnp.nan)
        entry = jnp.where(self._inside(params), 0.0, never)
        return state._replace(memory=MonitoredMemory(state.memory, entry, never))

    def _inside(self, params: Params) -> Array:
        return self.region.distance(params).astype(jnp.float64) <= self.radii

    def block(self, problem: Problem, params: Params) -> int:
        return self.base.block(problem, params)

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        return self.base.draws(problem, params, key, count)

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        return self._seen(state.memory, *self.base.step(problem, self.inner(state), key))

    def drawn_step(
        self, problem: Problem, state: State, draw: Any, key: Array
    ) -> tuple[State, Info]:
        inner = self.inner(state)
        return self._seen(state.memory, *self.base.drawn_step(problem, inner, draw, key))

    def _seen(self, memory: MonitoredMemory, after: State, info: Info) -> tuple[State, Info]:
        inside, now = self._inside(after.params), after.step.astype(jnp.float64)
        never = jnp.isnan(memory.entry)
        entry = jnp.where(never & inside, now, memory.entry)
        leaves = ~never & ~inside & jnp.isnan(memory.exit)
        exit_ = jnp.where(leaves, now, memory.exit)
        return after._replace(memory=MonitoredMemory(after.memory, entry, exit_)), info

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        labels = tuple(f"{radius:g}" for radius in np.asarray(self.radii))
        own = (
            Statistic("entry_step", "step", "first step within the tube", "radius", labels),
            Statistic("exit_step", "step", "first step outside it after that", "radius", labels),
        )
        return super().recorded(problem) + own

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        memory: MonitoredMemory = state.memory
        own = {"entry_step": memory.entry, "exit_step": memory.exit}
        return super().statistics(problem, state) | own

    def limit(self, problem: Problem, params: Params) -> Continuous | None:
        return self.base.limit(problem, params)

    def without_limit(self, problem: Problem, params: Params) -> str:
        return self.base.without_limit(problem, params)

    def central(self, problem: Problem, params: Params) -> Continuous | None:
        return self.base.central(problem, params)

    def step_gains(self, problem: Problem, params: Params, memory: Any) -> Params:
        return self.base.step_gains(problem, params, memory.base)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"base": self.base.describe()}


def monitored(
    dynamics: Discrete, region: StagnationSet, radii: float | Sequence[float]
) -> Monitored:
    """Any dynamics in steps, watched at every step as it enters and leaves tubes about a set.

    A run tells, for every radius, the first step within the tube (`entry_step`) and the first step
    outside after it (`exit_step`), NaN while there was none; a run that diverges has left. Over
    many seeds `tw.trajectory.staying_share` makes the share that stays of it, with its error.

    Args:
        dynamics: As `gradient_descent(0.1, oracle=tw.oracles.isotropic(0.5))`.
        region: The set: `tw.curvature.stiff_set`, `affine_set` or `nearest_points`.
        radii: delta of the tubes, one or several, increasing (unit: parameter).

    Raises:
        InputError: If the radii are not positive and increasing; at the start of a run, if the set
            does not fit the parameters.

    Cost: a nearest point at every step.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.zeros(2))
        >>> noisy = tw.gradient_descent(0.1, oracle=tw.oracles.isotropic(1.0))
        >>> seen = tw.dynamics.monitored(noisy, tw.curvature.affine_set(jnp.zeros(2)), [0.2, 9.0])
        >>> path = tw.run(bowl, seen, until=20.0, records=1, seeds=50, parameters=False)
        >>> left = path.dataset["exit_step"].isel(time=-1)
        >>> bool(left.sel(radius="0.2").notnull().all()), int(left.sel(radius="9").count())
        (True, 0)
    """
    fits = not misfit(radii, np.typing.ArrayLike)
    asked = np.atleast_1d(np.asarray(radii if fits else [], float))
    require(
        asked.ndim == 1
        and asked.size > 0
        and bool(np.all(asked > 0) and np.all(np.diff(asked) > 0)),
        f"radii came as {told(radii)}; give positive numbers that increase, as [0.5, 1.0]",
    )
    return Monitored(dynamics, region, jnp.asarray(asked))
