"""The flow that AdaGrad follows on a clock of its own.

AdaGrad divides by the root of the sum of all squared gradients so far,

    s <- s + g^2,    x <- x - eta g/(sqrt(s + epsilon_root) + epsilon),

a sum that grows with the number of steps. With S = c s, c the training time of a step, it is
Euler's method on

    theta' = -(eta/c) g/(sqrt(S/c + epsilon_root) + epsilon),    S' = g^2,    S(0) = c initial,

whatever c is. For c = eta^2 and epsilon = 0 the learning rate is no longer in it but at the start,

    theta' = -g/sqrt(S + eta^2 (initial + epsilon_root)):

two learning rates then follow one flow at equal time, at a distance that falls as the rate.

With a schedule, the sum still grows by the step: the flow is followed on the clock of steps, on
which theta moves by eta(k) a step and s' = g^2; see `pace`.

Source: Duchi, Hazan and Singer (2011), JMLR 12, for the method; the limit on this clock is derived
here.
"""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.ranges import require_from_zero, require_positive
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import step_size_array
from thalweg.dynamics.flow.followed import MOST_GRADIENTS, System, how_asked
from thalweg.dynamics.flow.methods import vector_norm
from thalweg.dynamics.flow.pace import PacedFlow
from thalweg.dynamics.flow.path import Integration, Measure
from thalweg.problems.problem import Problem


def _number(value: float | Array) -> Array:
    return jnp.asarray(value, jnp.float64)


class AdaGradFlow(PacedFlow):
    """The continuous limit of AdaGrad: theta' = -rate g/(sqrt(s + epsilon_root) + epsilon).

    s' = intake g^2 from s = initial > 0; see the module. It is followed by explicit methods. An
    error of s counts by what it makes of a way as long as the parameters' norm, half its relative
    size; that is cautious, as a rule.

    `path_error` and `result` are those of `Flow`.

    Attributes:
        rtol: As of `GradientFlow`.
        solver: An explicit one of `thalweg.dynamics.FLOW_SOLVERS`; "auto" is tsit5.
        atol: As of `GradientFlow`.
        error: As of `GradientFlow`.
        most_gradients: As of `GradientFlow`.
        rate: Learning rate over the training time of a step.
        intake: 1 over the training time of a step, at which s takes in squared gradients.
        initial: s at time zero, above 0: one number, or of each parameter.
        epsilon: Added to the root.
        epsilon_root: Added within it.
        pace: The training time c(k) of steps, where it follows a schedule: rate and intake are then
            by step, in units of eta(k). None where all are alike.
        power: With it eta(k) is this power of c(k): 1, or 1/2 where the clock counts squares.
    """

    symmetric: ClassVar[bool] = False

    rate: Float[Array, ""] = eqx.field(converter=_number, default=1.0)
    intake: Float[Array, ""] = eqx.field(converter=_number, default=1.0)
    initial: Float[Array, "*p"] = eqx.field(converter=_number, default=0.1)
    epsilon: Float[Array, ""] = eqx.field(converter=_number, default=0.0)
    epsilon_root: Float[Array, ""] = eqx.field(converter=_number, default=0.0)
    power: Float[Array, ""] = eqx.field(converter=_number, default=1.0)

    @property
    def name(self) -> str:
        return "the AdaGrad flow"

    def system(self, problem: Problem, params: Params) -> System:
        """Parameters, the sum of squared gradients, and with a schedule steps: (2 p,) or more."""
        theta, unravel = ravel_pytree(params)
        gradient = jax.grad(problem.objective)
        size = theta.size

        def force(flat: Array) -> Array:
            g = ravel_pytree(gradient(unravel(flat[:size])))[0]
            moved = -g * self._gain(flat, size)
            passed = jnp.ones_like(flat[2 * size :])
            return jnp.concatenate([moved, self.intake.astype(g.dtype) * g**2, passed])

        def norm(flat: Array) -> Array:
            return vector_norm(flat[:size])

        def error(flat: Array, wrong: Array) -> Array:
            total = flat[size : 2 * size] + self.epsilon_root.astype(flat.dtype)
            way = norm(flat) / jnp.sqrt(jnp.asarray(size, jnp.float64))
            blamed = 0.5 * way.astype(flat.dtype) * wrong[size : 2 * size] / total
            return vector_norm(jnp.concatenate([wrong[:size], blamed]))

        begun = [theta, jnp.broadcast_to(self.initial.astype(theta.dtype), theta.shape)]
        begun += [] if self.pace is None else [jnp.zeros_like(theta[:1])]
        return System(force, jnp.concatenate(begun), size, unravel, Measure(norm, error))

    def begun(self, problem: Problem, path: Integration) -> Integration:
        """A preconditioned speed is bounded: the path does not blow up."""
        return path._replace(speed=jnp.full_like(path.speed, jnp.inf))

    def step_gains(self, problem: Problem, params: Params, memory: Integration) -> Params:
        """rate/D where the path is, D = sqrt(s + epsilon_root) + epsilon, or eta(k)/D by step."""
        theta, unravel = ravel_pytree(params)
        return unravel(self._gain(memory.theta, theta.size))

    def _gain(self, flat: Array, size: int) -> Array:
        kind, rate = flat.dtype, self.rate
        if self.pace is not None:
            rate = rate * self.pace.rate(flat[-1].astype(jnp.float64)) ** self.power
        root = jnp.sqrt(jnp.maximum(flat[size : 2 * size], 0) + self.epsilon_root.astype(kind))
        return rate.astype(kind) / (root + self.epsilon.astype(kind))


def adagrad_flow(
    learning_rate: float,
    step_size: float | None = None,
    *,
    initial: float = 0.1,
    epsilon: float = 0.0,
    epsilon_root: float = 1e-7,
    rtol: float | None = None,
    error: float | None = None,
    solver: str | None = None,
    most_gradients: int = MOST_GRADIENTS,
) -> AdaGradFlow:
    """The continuous limit of AdaGrad; see `AdaGradFlow`.

    Args:
        learning_rate: eta.
        step_size: Training time of a step; its square by default, on which clock the flow does not
            know the learning rate but for the start.
        initial: What the sum of squared gradients begins with, above 0: from 0 a flow would begin
            at infinite speed.
        epsilon: Added to the root, as `eps` of PyTorch.
        epsilon_root: Added within it, as `eps` of `optax.adagrad`.
        rtol: Tolerance of a step, as of `gradient_flow`; 1e-6 if `error` is not given either.
        error: Wanted error of the whole path, relative to the norm of the parameters.
        solver: tsit5 by default, bosh3, dopri5 or dopri8.
        most_gradients: Gradients of a seed after which the flow ends with the code STEP_LIMIT.

    Raises:
        InputError: If a number is out of its range, or the solver is unknown or not explicit.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> path = tw.run(bowl, tw.dynamics.adagrad_flow(0.01, error=1e-6), until=0.1, records=1)
        >>> adagrad = tw.dynamics.optimiser("adagrad", 0.01)  # 1000 steps of 0.01^2
        >>> steps = tw.run(bowl, adagrad, until=0.1, records=1)
        >>> bool(abs(path.parameters[0, -1, 0] - steps.parameters[0, -1, 0]) < 1e-2)
        True
    """
    rate = step_size_array(learning_rate)
    clock = rate**2 if step_size is None else step_size_array(step_size)
    require_positive(initial=initial)
    require_from_zero(epsilon=epsilon, epsilon_root=epsilon_root)
    how = how_asked(rtol, error, most_gradients)
    return AdaGradFlow(
        how.rtol,
        solver or "tsit5",
        error=how.error,
        most_gradients=how.most_gradients,
        rate=rate / clock,
        intake=1 / clock,
        initial=_number(initial),
        epsilon=_number(epsilon),
        epsilon_root=_number(epsilon_root),
    )
