"""Descent on scale and direction: weight normalisation, and projection onto the sphere."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.ranges import from_zero
from thalweg.core.result import finite
from thalweg.core.tree import Params
from thalweg.dynamics.descent import nearest_count
from thalweg.dynamics.dynamics import Discrete, Info, State, fresh, step_size_array
from thalweg.dynamics.stability import StabilityRule, descent_rule, no_rule
from thalweg.models.scale_and_direction import (
    ScaledDirection,
    is_scaled_direction,
    unit_directions,
)
from thalweg.problems.problem import Problem


class ReparametrisedDescent(Discrete):
    """Gradient descent on (g, w), both at once, with a step size for each.

        v = w - eta dh/dw,  w <- v, or projected v/||v||,  g <- g - gamma dh/dg

    Every `ScaledDirection` among the parameters moves so, row by row; all others move with eta.
    Unprojected on x = g w/||w|| this is weight normalisation, ||w||^2 growing by eta^2 ||dh/dw||^2
    each step; projected on x = g w it is reparametrised projected gradient descent (rPGD). As eta
    goes to zero both follow one flow, with c = gamma/eta. Step k sits at training time k eta.
    Cost: one gradient a step. Source: Wu et al. (2020), arXiv 1911.07956, E2 and E3.

    Attributes:
        step_size: eta.
        scale_step_size: gamma; 0 keeps the scales.
        projected: Whether w is brought back to the sphere.
    """

    step_size: Float[Array, ""] = eqx.field(converter=step_size_array)
    scale_step_size: Float[Array, ""] = eqx.field(
        converter=partial(from_zero, "step size of the scale")
    )
    projected: bool = eqx.field(static=True, default=False)

    @property
    def name(self) -> str:
        return "projected descent (rPGD)" if self.projected else "weight normalisation"

    def init(self, problem: Problem, params: Params) -> State:
        return _start(params, self.projected)

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        count = state.step + 1
        time = count.astype(jnp.float64) * self.step_size
        rates = self.step_size, self.scale_step_size
        return _descended(problem, state._replace(time=time), *rates, self.projected)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(steps) * float(self.step_size)

    def steps_until(self, time: float) -> int:
        return nearest_count(time, float(self.step_size))

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        if self.projected:
            return no_rule("after each step it is brought back to the sphere")
        if float(self.step_size) != float(self.scale_step_size):
            return no_rule("scales and directions have step sizes of their own")
        return descent_rule(float(self.step_size))


class TwoPhaseProjected(Discrete):
    """rPGD with the scales held for `switch` steps, then with all free.

        k < switch    w <- v/||v||, v = w - eta_1 dh/dw; g stays
        k >= switch   w likewise with eta_2; g <- g - gamma dh/dg

    On underdetermined least squares with 0 < g < ||x*|| in phase I, w enters the row space, and x
    ends at the solution of least norm. Phase I is stable for eta_1 <= 1/(g^2 lambda_max(A A^T)).
    Cost: one gradient a step. Source: Wu et al. (2020), arXiv 1911.07956, E12.

    Attributes:
        first_step_size: eta_1.
        switch: Steps of phase I.
        step_size: eta_2.
        scale_step_size: gamma.
    """

    first_step_size: Float[Array, ""] = eqx.field(converter=step_size_array)
    switch: Int[Array, ""] = eqx.field(converter=jnp.asarray)
    step_size: Float[Array, ""] = eqx.field(converter=step_size_array)
    scale_step_size: Float[Array, ""] = eqx.field(
        converter=partial(from_zero, "step size of the scale")
    )

    @property
    def name(self) -> str:
        return "two-phase projected descent"

    def init(self, problem: Problem, params: Params) -> State:
        return _start(params, projected=True)

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        count = state.step + 1
        early, late = jnp.minimum(count, self.switch), jnp.maximum(count - self.switch, 0)
        early, late = early.astype(jnp.float64), late.astype(jnp.float64)
        time = early * self.first_step_size + late * self.step_size
        first = state.step < self.switch
        rate = jnp.where(first, self.first_step_size, self.step_size)
        scale_rate = jnp.where(first, 0.0, self.scale_step_size)
        return _descended(problem, state._replace(time=time), rate, scale_rate, True)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        steps, switch = np.asarray(steps), int(self.switch)
        early = np.minimum(steps, switch) * float(self.first_step_size)
        return early + np.maximum(steps - switch, 0) * float(self.step_size)

    def steps_until(self, time: float) -> int:
        switch, first = int(self.switch), float(self.first_step_size)
        if time <= switch * first:
            return nearest_count(time, first)
        return switch + nearest_count(time - switch * first, float(self.step_size))

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return no_rule("after each step it is brought back to the sphere")


def weight_normalised_descent(
    step_size: float, scale_step_size: float | None = None
) -> ReparametrisedDescent:
    """Gradient descent on (g, w) of x = g w/||w||; see `ReparametrisedDescent`.

    Args:
        step_size: eta, of the directions.
        scale_step_size: gamma, of the scales; eta by default.

    Raises:
        InputError: If eta is not positive or gamma negative; at the start of a run, if no
            parameter is a `ScaledDirection`.

    Examples:
        >>> net = tw.models.weight_normalised(tw.models.linear([]))
        >>> fit = tw.problems.supervised(net, (np.eye(2), np.array([[3.0], [4.0]])))
        >>> path = tw.run(fit, tw.dynamics.weight_normalised_descent(0.1), until=100.0, records=1)
        >>> bool(np.isclose(path.dataset["loss"].values[0, -1], 0, atol=1e-6))
        True
    """
    return _with_rates(step_size, scale_step_size, projected=False)


def projected_descent(
    step_size: float, scale_step_size: float | None = None
) -> ReparametrisedDescent:
    """Projected descent (rPGD) on (g, w) of x = g w with ||w|| = 1; see `ReparametrisedDescent`.

    Arguments and errors are those of `weight_normalised_descent`; w is brought to norm 1 at once.

    Examples:
        >>> net = tw.models.weight_normalised(tw.models.linear([]), sphere=True)
        >>> fit = tw.problems.supervised(net, (np.eye(2), np.array([[3.0], [4.0]])))
        >>> path = tw.run(fit, tw.dynamics.projected_descent(0.1), until=100.0, records=1)
        >>> bool(np.isclose(path.dataset["loss"].values[0, -1], 0, atol=1e-6))
        True
    """
    return _with_rates(step_size, scale_step_size, projected=True)


def two_phase_projected_descent(
    first_step_size: float, switch: int, step_size: float, scale_step_size: float
) -> TwoPhaseProjected:
    """Two-phase rPGD; see `TwoPhaseProjected`.

    Raises:
        InputError: If a step size is not positive, or `switch` no whole number of at least 0.

    Examples:
        >>> net = tw.models.weight_normalised(tw.models.linear([]), sphere=True)
        >>> fit = tw.problems.supervised(net, (np.eye(2), np.array([[3.0], [4.0]])))
        >>> phases = tw.dynamics.two_phase_projected_descent(0.1, 100, 0.1, 0.1)
        >>> path = tw.run(fit, phases, until=100.0, records=1)
        >>> bool(np.isclose(path.dataset["loss"].values[0, -1], 0, atol=1e-6))
        True
    """
    require(
        isinstance(switch, int | np.integer) and switch >= 0,
        f"switch came as {switch!r}; give a whole number of steps, at least 0",
    )
    return TwoPhaseProjected(
        step_size_array(first_step_size),
        jnp.asarray(switch),
        step_size_array(step_size),
        from_zero("step size of the scale", scale_step_size),
    )


def _with_rates(eta: float, gamma: float | None, projected: bool) -> ReparametrisedDescent:
    return ReparametrisedDescent(
        step_size_array(eta),
        from_zero("step size of the scale", eta if gamma is None else gamma),
        projected,
    )


def _start(params: Params, projected: bool) -> State:
    nodes = jax.tree.leaves(params, is_leaf=is_scaled_direction)
    require(
        any(map(is_scaled_direction, nodes)),
        "no parameter is a ScaledDirection; give a weight_normalised model, or parameters made by "
        "scaled_direction",
    )
    if projected:
        params = jax.tree.map(_on_sphere, params, is_leaf=is_scaled_direction)
    return fresh(params, ())


def _on_sphere(node: Any) -> Any:
    if not is_scaled_direction(node):
        return node
    return node._replace(direction=unit_directions(node.direction, node.scale.ndim))


def _descended(
    problem: Problem, state: State, rate: Array, scale_rate: Array, projected: bool
) -> tuple[State, Info]:
    """One step of both at the state's point; its time is already that of the next."""
    loss, gradient = jax.value_and_grad(problem.objective)(state.params)

    def move(node: Any, slope: Any) -> Any:
        if not is_scaled_direction(node):
            return tree.step_along(node, -rate, slope)
        scale = tree.step_along(node.scale, -scale_rate, slope.scale)
        moved = ScaledDirection(scale, tree.step_along(node.direction, -rate, slope.direction))
        return _on_sphere(moved) if projected else moved

    after = state._replace(
        params=jax.tree.map(move, state.params, gradient, is_leaf=is_scaled_direction),
        step=state.step + 1,
        evaluations=state.evaluations + 1,
        result=jnp.maximum(state.result, finite(loss)),
    )
    return after, Info(loss)
