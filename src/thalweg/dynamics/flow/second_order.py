"""Momentum's equation of second order: a ball with mass in the landscape, with friction.

    m q'' + (c + 3 a m/t) q' + grad f(q) = 0,    q(0) = theta_0,    q'(0) = -k grad f(theta_0).

**Heavy ball**, w_{n+1} = w_n - eta g_n + beta (w_n - w_{n-1}), on the clock t = n h, h = eta/(1 -
beta), is the difference quotient of m q'' + q' = -g: with w_{n+1} - 2 w_n + w_{n-1} ~ h^2 q'' and
w_n - w_{n-1} ~ h q' - h^2 q''/2

    m = eta (1 + beta)/(2 (1 - beta)^2),

and as beta -> 1 this is q_ss + ((1 - beta)/sqrt(eta)) q_s + grad f = 0 in the time s = n sqrt(eta)
= t/sqrt(m). Optax's Nesterov momentum has beta (g_n - g_{n-1}) ~ -beta h q'' beside g_n where q' is
-g but for O(h), which takes beta h from m. A lasting gradient leaves both a fixed way behind n h g;
the start k makes that of the equation the same. A momentum b that is not empty, the sum of beta^j
g, leads heavy ball a way -h beta b further until it has faded, Nesterov's -h beta^2 b: as far as a
velocity -(1 - k)(1 - beta) b does, which is added to the first one. At fixed beta its distance is
then O(eta^2) once the start has faded, some m later, and O(eta) before; gradient flow, m = 0, is
O(eta) away for good. At a fixed friction in the time s it is O(eta) for heavy ball and O(sqrt eta)
for Nesterov's, where gradient flow does not come near.

**Nesterov's schema** for convex problems, whose momentum grows as 1 - 3/n, has m = alpha, c = 0,
a = 1, k = 0 on its clock t = n alpha: q_ss + (3/s) q_s + grad f = 0, s = n sqrt(alpha).

Source: Polyak (1964); Qian (1999); Su, Boyd and Candes (2016, JMLR 17); Kovachki and Stuart (2021,
JMLR 22) for the second order in eta at fixed beta; the start is derived here.
"""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import State, step_size_array
from thalweg.dynamics.flow.followed import MOST_GRADIENTS, Flow, System, how_asked
from thalweg.dynamics.flow.methods import vector_norm
from thalweg.dynamics.flow.path import Integration, Measure
from thalweg.problems.problem import Problem


def _number(value: float | Array) -> Array:
    return jnp.asarray(value, jnp.float64)


class SecondOrderFlow(Flow):
    """m q'' + (c + 3 m a/t) q' + grad f(q) = 0: what momentum follows; see the module.

    It is followed by explicit methods, whose steps the mass bounds to about 3 m/c. An error of the
    velocity counts by the way that it leads until friction has stopped it. The loss may rise along
    it. `path_error` and `result` are those of `Flow`.

    Attributes:
        rtol: As of `GradientFlow`.
        solver: An explicit one of `thalweg.dynamics.FLOW_SOLVERS`; "auto" is tsit5.
        atol: As of `GradientFlow`.
        error: As of `GradientFlow`.
        most_gradients: As of `GradientFlow`.
        mass: m (unit: step size).
        friction: c (unit: 1).
        fading: a, 1 where the friction has a part 3 m/t, 0 where it has none.
        kick: k, the first velocity over minus the gradient (unit: 1).
        pushed: What is added to that velocity (p,), by a momentum that is not empty; or None.
    """

    symmetric: ClassVar[bool] = False

    mass: Float[Array, ""] = eqx.field(converter=_number, default=1.0)
    friction: Float[Array, ""] = eqx.field(converter=_number, default=1.0)
    fading: Float[Array, ""] = eqx.field(converter=_number, default=0.0)
    kick: Float[Array, ""] = eqx.field(converter=_number, default=0.0)
    pushed: Float[Array, " p"] | None = None

    @property
    def name(self) -> str:
        return "the second-order flow"

    def system(self, problem: Problem, params: Params) -> System:
        """Parameters, velocity and time, (2 p + 1,)."""
        theta, unravel = ravel_pytree(params)
        gradient = jax.grad(problem.objective)
        p, kind = theta.size, theta.dtype
        m, c = self.mass.astype(kind), self.friction.astype(kind)
        lost = 3 * self.fading.astype(kind)

        def force(flat: Array) -> Array:
            q, v, t = flat[:p], flat[p:-1], flat[-1]
            pushed = -(ravel_pytree(gradient(unravel(q)))[0] + c * v) / m
            # At time zero v/t is v', and v' = pushed - lost v'.
            begun = t > 0
            faster = jnp.where(
                begun, pushed - lost * v / jnp.where(begun, t, 1), pushed / (1 + lost)
            )
            return jnp.concatenate([v, faster, jnp.ones(1, kind)])

        def norm(flat: Array) -> Array:
            return vector_norm(flat[:p])

        def error(flat: Array, wrong: Array) -> Array:
            t = jnp.maximum(flat[-1], 0)
            faded = m * t / jnp.where(lost > 0, c * t + lost * m, 1)
            way = jnp.where(lost > 0, faded, m / jnp.where(c > 0, c, 1))
            return vector_norm(jnp.concatenate([wrong[:p], way * wrong[p:-1]]))

        start = jnp.concatenate([theta, jnp.zeros(p + 1, kind)])
        return System(force, start, p, unravel, Measure(norm, error))

    def init(self, problem: Problem, params: Params) -> State:
        system = self.system(problem, params)
        slope = ravel_pytree(jax.grad(problem.objective)(params))[0]
        velocity = -self.kick.astype(slope.dtype) * slope
        if self.pushed is not None:
            velocity = velocity + self.pushed.astype(slope.dtype)
        first = system.start.at[system.size : -1].set(velocity)
        state = self.started(problem, params, system._replace(start=first))
        return state._replace(evaluations=jnp.sum(state.memory.evaluations))

    def begun(self, problem: Problem, path: Integration) -> Integration:
        """From a slow start it may become fast without blowing up; a first step within the mass."""
        return path._replace(
            evaluations=path.evaluations.at[0].add(1),  # for the first velocity
            proposal=jnp.minimum(path.proposal, self.mass / jnp.maximum(self.friction, 1)),
            speed=jnp.full_like(path.speed, jnp.inf),
        )


def momentum_flow(
    learning_rate: float,
    momentum: float = 0.9,
    *,
    nesterov: bool = False,
    rtol: float | None = None,
    error: float | None = None,
    solver: str | None = None,
    most_gradients: int = MOST_GRADIENTS,
) -> SecondOrderFlow:
    """Momentum's equation of second order, on the clock of momentum; see `SecondOrderFlow`.

        m q'' + q' + grad f(q) = 0,    m = eta (1 + beta)/(2 (1 - beta)^2),

    for heavy ball, and less by beta eta/(1 - beta) for Nesterov's momentum as Optax has it, from
    q'(0) = -(1 - beta)/(1 + beta) grad f(theta_0), for Nesterov's -(1 - beta^2 eta/(m (1 -
    beta)^2)) grad f(theta_0). The steps are O(eta^2) from it, but O(eta) in the first few m. A step
    counts eta/(1 - beta), as in `tw.dynamics.optimiser("momentum", eta)`, so that all three, steps,
    this and gradient flow, are compared at equal time.

    Args:
        learning_rate: eta, as Optax takes it.
        momentum: beta, above 0 and below 1.
        nesterov: Whether the gradient is taken ahead.
        rtol: Tolerance of a step; 1e-6 if `error` is not given either.
        error: Wanted error of the whole path, relative to the norm of the parameters.
        solver: tsit5 by default, bosh3, dopri5 or dopri8.
        most_gradients: Gradients of a seed after which the flow ends with the code STEP_LIMIT.

    Raises:
        InputError: If a number is out of its range, or the solver is unknown or not explicit.

    Cost: as an explicit flow; steps are bounded to about 3 m. Source: Kovachki and Stuart (2021).

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> ball = tw.dynamics.optimiser("momentum", 0.001, momentum=0.9)
        >>> second = tw.dynamics.momentum_flow(0.001, 0.9, error=1e-8)
        >>> ends = [tw.run(bowl, d, until=2.0, records=1).parameters[0, -1, 0]
        ...         for d in (ball, second, tw.gradient_flow(error=1e-8))]
        >>> [float(abs(end - ends[0]).round(4)) for end in ends[1:]]  # O(eta^2); O(eta)
        [0.0, 0.0149]
    """
    eta = step_size_array(learning_rate)
    require(
        not misfit(momentum, float) and 0 < momentum < 1,
        f"momentum came as {told(momentum)}; give a number above 0 and below 1, as in 0.9",
    )
    beta, how = float(momentum), how_asked(rtol, error, most_gradients)
    mass = (1 + beta) / 2 - (beta * (1 - beta) if nesterov else 0.0)  # times eta/(1 - beta)^2
    behind = beta**2 if nesterov else beta  # likewise: what a lasting gradient leaves it behind
    return SecondOrderFlow(
        how.rtol, solver or "tsit5", error=how.error, most_gradients=how.most_gradients,
        mass=eta * mass / (1 - beta) ** 2, kick=_number(1 - behind / mass),
    )  # fmt: skip


def accelerated_flow(
    step_size: float,
    *,
    rtol: float | None = None,
    error: float | None = None,
    solver: str | None = None,
    most_gradients: int = MOST_GRADIENTS,
) -> SecondOrderFlow:
    """The equation of Nesterov's schema for convex problems, on its clock; see `SecondOrderFlow`.

        alpha q'' + (3 alpha/t) q' + grad f(q) = 0,    q(0) = theta_0,    q'(0) = 0.

    A step of `tw.dynamics.accelerated_descent(1/alpha)` counts alpha, so that both are compared at
    equal time; in the time s = n sqrt(alpha) of the literature it is q'' + (3/s) q' + grad f = 0,
    whatever alpha is, and f(q) - f* <= 2 ||theta_0 - q*||^2/s^2 on convex problems.

    Args:
        step_size: alpha.
        rtol: Tolerance of a step; 1e-6 if `error` is not given either.
        error: Wanted error of the whole path, relative to the norm of the parameters.
        solver: tsit5 by default, bosh3, dopri5 or dopri8.
        most_gradients: Gradients of a seed after which the flow ends with the code STEP_LIMIT.

    Raises:
        InputError: If a number is out of its range, or the solver is unknown or not explicit.

    Source: Su, Boyd and Candes (2016), theorems 1 to 3.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> flow = tw.dynamics.accelerated_flow(0.01, error=1e-8)
        >>> path = tw.run(bowl, flow, until=0.2, records=1)  # s = t/sqrt(alpha) = 2
        >>> round(float(path.parameters[0, -1, 0]), 6)  # 2 J_1(s)/s
        0.576725
    """
    alpha, how = step_size_array(step_size), how_asked(rtol, error, most_gradients)
    return SecondOrderFlow(
        how.rtol, solver or "tsit5", error=how.error, most_gradients=how.most_gradients,
        mass=alpha, friction=_number(0.0), fading=_number(1.0),
    )  # fmt: skip
