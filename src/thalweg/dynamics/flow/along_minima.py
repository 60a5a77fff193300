"""Motion along a manifold of minima as dynamics: the limiting flow and the limiting diffusion."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.result import tree_finite
from thalweg.core.tree import Params
from thalweg.curvature.manifolds import method_for, normal_space, retracted
from thalweg.dynamics.dynamics import Discrete, Info, State, Statistic, fresh, step_size_array
from thalweg.dynamics.flow.drift import across_only, limiting_drift
from thalweg.dynamics.flow.followed import MOST_GRADIENTS, Flow, System, how_asked
from thalweg.oracles.oracle import Oracle, full
from thalweg.oracles.random_numbers import normals
from thalweg.problems.problem import Problem, Supervised

BLOCK_NUMBERS, MOST_STEPS = 2**11, 256  # of random numbers that are drawn at once for one lane
RETRACTIONS = 4  # Newton steps across the manifold after a step of a diffusion


class LimitingFlow(Flow):
    """theta' = -(eta/2) P_t d(Q) on the manifold of minima: descent with noise across it alone.

    What descent of a small step size eta with the noise of an oracle follows along the manifold, in
    its training time; with eta = 1 the time is the slow time eta^2 k itself. For noise of
    covariance c H, as that of labels at an exact fit, it is -(c eta/4) P_t grad tr H, the gradient
    flow of the trace on the manifold. H Q + Q H = P_n S P_n; d as in `thalweg.dynamics.flow.drift`.

    It begins where Newton across the manifold leads from the start: give a start on it, as
    `flow_limit` finds it. Every step ends with a retraction, and the speed is that at the retracted
    point, so the distance to the manifold stays at rounding.

    Attributes:
        oracle: The noise. Its part along the manifold is left out: `noise_along` records its share.
        step_size: eta.
        method: How the normal space is found; see `thalweg.curvature.normal_space`.
        rank: The same.
    """

    symmetric: ClassVar[bool] = False  # a drift along minima need not be a gradient

    oracle: Oracle = eqx.field(default_factory=full)
    step_size: Float[Array, ""] = eqx.field(converter=step_size_array, default=1.0)
    method: str = eqx.field(static=True, default="auto")
    rank: int | None = eqx.field(static=True, default=None)

    @property
    def name(self) -> str:
        return f"the limiting flow {self.oracle.name}".strip()

    def system(self, problem: Problem, params: Params) -> System:
        theta, unravel = ravel_pytree(params)
        how: dict[str, Any] = {"method": self.method, "rank": self.rank}

        def settled(flat: Array) -> Array:
            return ravel_pytree(retracted(problem, unravel(flat), **how))[0]

        def force(flat: Array) -> Array:
            at = unravel(settled(flat))
            space = normal_space(problem, at, **how)
            drift = across_only(problem, at, self.oracle, space, self._fitted(problem, params))
            return self.step_size.astype(flat.dtype) * drift

        return System(force, theta, theta.size, unravel, settled=settled)

    def init(self, problem: Problem, params: Params) -> State:
        self.oracle.suit(problem)
        how: dict[str, Any] = {"method": self.method, "rank": self.rank}
        on = retracted(problem, retracted(problem, params, **how), **how)
        return self._counted(problem, super().init(problem, on))

    def advance(
        self, problem: Problem, state: State, until: Float[Array, ""], most_steps: Array
    ) -> State:
        each = self.each(problem, state.params)
        speeds = dataclasses.replace(self, most_gradients=-(-self.most_gradients // each))
        after = super(LimitingFlow, speeds).advance(problem, state, until, most_steps)
        return self._counted(problem, after)

    def expected(self, problem: Problem, state: State, until: Float[Array, ""]) -> Array:
        return self.each(problem, state.params) * super().expected(problem, state, until)

    def each(self, problem: Problem, params: Params) -> int:
        """Gradients that a speed takes: twice the normal space, the factor, third derivatives."""
        p, q = tree.size(params), self.oracle.size(problem, params)
        method = method_for(problem, p, self.method, self.rank)
        fitted = self._fitted(problem, params)
        known = fitted and self.oracle.share_of_hessian(problem) is not None
        factor = 0 if known else self.oracle.column * q
        if method == "jacobian":
            assert isinstance(problem, Supervised)
            k, m = problem.targets.shape[1], problem.targets.size
            # Of an example that does not need the others a backward pass is 1/n of a gradient.
            jacobian = k if problem.model.separable else m
            return 2 * (1 + jacobian) + factor + (3 * k if fitted else 4 * m)
        if method == "dense":
            return 2 * (1 + 2 * p) + factor + 4 * p
        assert self.rank is not None
        products = max(2 * (self.rank + 1) + 20, 40)
        return 2 * (1 + 2 * products) + factor + 4 * (self.rank + 1)

    def _fitted(self, problem: Problem, params: Params) -> bool:
        """Whether the minima fit all examples exactly, each for itself."""
        if method_for(problem, tree.size(params), self.method, self.rank) != "jacobian":
            return False
        assert isinstance(problem, Supervised)
        return problem.model.separable

    def _counted(self, problem: Problem, state: State) -> State:
        spent = jnp.sum(state.memory.evaluations)
        return state._replace(evaluations=self.each(problem, state.params) * spent)

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        return (
            *super().recorded(problem),
            Statistic("noise_along", "1", "share of the noise along the manifold, left out"),
            Statistic("normal_rank", "1", "directions across the manifold"),
            Statistic("off_manifold", "parameter", "distance from the manifold of minima"),
        )

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        """What the flow came to know: see `Flow.statistics`.

        Returns:
            noise_along: ||P_t F|| / ||F||, Frobenius norms: 0 if the flow is all there is.
            normal_rank: The rank of the Hessian.
            off_manifold: ||H^+ grad f|| (unit: parameter).
        """
        space = normal_space(problem, state.params, method=self.method, rank=self.rank)
        factor = self.oracle.factor(problem, state.params).dense()
        whole = jnp.linalg.norm(factor)
        share = jnp.linalg.norm(space.to_tangent(factor)) / jnp.where(whole > 0, whole, 1)
        return super().statistics(problem, state) | {
            "noise_along": share.astype(jnp.float64),
            "normal_rank": space.rank.astype(jnp.float64),
            "off_manifold": space.distance.astype(jnp.float64),
        }


def limiting_flow(
    oracle: Oracle,
    step_size: float = 1.0,
    rtol: float | None = None,
    solver: str | None = None,
    *,
    error: float | None = None,
    method: str = "auto",
    rank: int | None = None,
    most_gradients: int = MOST_GRADIENTS,
) -> LimitingFlow:
    """The flow along the manifold of minima that descent with small noise across it follows.

    Args:
        oracle: The noise, as `tw.oracles.label_noise(1.0)`.
        step_size: eta of the descent whose training time it is; 1 for slow time, eta^2 k.
        rtol: Tolerance of a step; 1e-6 if `error` is not given either.
        solver: tsit5 by default, bosh3, dopri5 or dopri8.
        error: Wanted error of the whole path, relative to the norm of the parameters.
        method: How the normal space is found; see `thalweg.curvature.normal_space`.
        rank: The same.
        most_gradients: Gradients of a seed after which the flow ends with the code STEP_LIMIT.

    Raises:
        InputError: If a number is out of its range, or the solver is unknown or not explicit.

    Source: Li, Wang and Arora (2022), corollary 5.2; Blanc et al. (2020).

    Examples:
        >>> model = tw.problems.over_parametrised_linear([[1.0, 2.0]], [3.0])
        >>> flow = tw.dynamics.limiting_flow(tw.oracles.label_noise(1.0), error=1e-6)
        >>> path = tw.run(model, flow, until=20.0, records=1)
        >>> path.parameters[0, -1, :2].values.round(3).tolist()  # w = (3, 0), not (0, 1.5)
        [1.732, 0.0]
    """
    how = how_asked(rtol, error, most_gradients)
    return LimitingFlow(
        how.rtol,
        solver or "tsit5",
        error=how.error,
        most_gradients=how.most_gradients,
        oracle=oracle,
        step_size=step_size_array(step_size),
        method=method,
        rank=rank,
    )


class LimitingDiffusion(Discrete):
    """dY = P_t F dW + (1/2) d^2 Phi[F F^T] dT on the manifold of minima, by Euler and Maruyama.

    What descent of small steps eta with the noise of an oracle follows along the manifold, in law,
    on the clock of slow time T = eta^2 k. A step leaves the manifold by O(h), and ends with four of
    Newton's across it: eigenvalues along it must be at rounding to be told from those across, or
    give the rank. Errors of means are O(h). It begins where Newton leads from the start.

    Cost of a step: 4 gradients for each normal direction, 10 for each column of F, five
    normal spaces.

    Attributes:
        oracle: The noise.
        step_size: h, slow time of a step.
        method: How the normal space is found; see `thalweg.curvature.normal_space`.
        rank: The same.
    """

    oracle: Oracle
    step_size: Float[Array, ""] = eqx.field(converter=step_size_array)
    method: str = eqx.field(static=True, default="auto")
    rank: int | None = eqx.field(static=True, default=None)

    @property
    def name(self) -> str:
        return f"the limiting diffusion {self.oracle.name}".strip()

    @property
    def random(self) -> bool:
        return True

    def init(self, problem: Problem, params: Params) -> State:
        self.oracle.suit(problem)
        return fresh(self._on(problem, params), ())

    def _on(self, problem: Problem, params: Params) -> Params:
        for _ in range(RETRACTIONS):
            params = retracted(problem, params, method=self.method, rank=self.rank)
        return params

    def block(self, problem: Problem, params: Params) -> int:
        q = self.oracle.size(problem, params)
        return int(np.clip(BLOCK_NUMBERS // q, 1, MOST_STEPS))

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        kind = jax.tree.leaves(params)[0].dtype
        return normals(key, (count, self.oracle.size(problem, params)), kind)

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        return self.drawn_step(problem, state, self.draws(problem, state.params, key, 1)[0], key)

    def drawn_step(
        self, problem: Problem, state: State, draw: Any, key: Array
    ) -> tuple[State, Info]:
        theta, unravel = ravel_pytree(state.params)
        h = self.step_size.astype(theta.dtype)
        drift = limiting_drift(
            problem, state.params, self.oracle, method=self.method, rank=self.rank
        )
        moved = theta + h * drift.total + jnp.sqrt(h) * (drift.diffusion @ draw)
        params = self._on(problem, unravel(moved))
        p, q = theta.size, self.oracle.size(problem, state.params)
        spent = (1 + RETRACTIONS) * (1 + 2 * p) + 10 * q + 4 * p
        return state._replace(
            params=params,
            time=(state.step + 1).astype(float) * self.step_size,
            step=state.step + 1,
            evaluations=state.evaluations + spent,
            result=jnp.maximum(state.result, tree_finite(params)),
        ), Info(problem.objective(state.params))

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(steps) * float(self.step_size)

    def steps_until(self, time: float) -> int:
        return round(time / float(self.step_size))

    def without_limit(self, problem: Problem, params: Params) -> str:
        return "its limit is a diffusion, not a flow"


def limiting_diffusion(
    oracle: Oracle, step_size: float, *, method: str = "auto", rank: int | None = None
) -> LimitingDiffusion:
    """The diffusion along the manifold of minima that descent with small noise follows, in law.

    Args:
        oracle: The noise, as `tw.oracles.isotropic(1.0)`.
        step_size: Slow time of a step of Euler and Maruyama.
        method: How the normal space is found; see `thalweg.curvature.normal_space`.
        rank: The same.

    Raises:
        InputError: If the step size is not positive.

    Source: Li, Wang and Arora (2022), theorem 4.6.

    Examples:
        >>> valley = lambda z: 0.5 * (1 + z[0] ** 2) * z[1] ** 2
        >>> problem = tw.problems.Function(valley, start=jnp.array([1.5, 0.0]))
        >>> path = tw.dynamics.limiting_diffusion(tw.oracles.isotropic(1.0), 0.1)
        >>> run = tw.run(problem, path, until=1.0, records=1, seeds=3)
        >>> bool(abs(run.parameters[:, -1, 1]).max() < 1e-12), float(run.dataset["time"][-1])
        (True, 1.0)
    """
    return LimitingDiffusion(oracle, step_size_array(step_size), method, rank)
