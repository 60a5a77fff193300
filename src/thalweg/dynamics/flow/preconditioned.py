"""The flow that RMSProp and Adam follow where their steps are short against their memories.

An average m <- b m + (1 - b) g, taken once per step of training time eta, is after k steps

    m_k = sum_j (1 - b) b^j g(t_k - j eta),

the sum for the integral of alpha exp(-alpha s) g(t_k - s) ds with alpha = -log(b)/eta. With that
rate a constant gradient, the fading of the start and the corrections for it, 1 - b^k =
1 - exp(-alpha t_k), are the same in both to rounding; with (1 - b)/eta none of them is. The rest
differs by O(eta), as Euler's method does from gradient flow. So Optax's Adam has the limit

    theta' = -m^/(sqrt(v^ + epsilon_root) + epsilon) - omega theta,
    m' = alpha_1 (g - m),    v' = alpha_2 (g^2 - v),
    m^ = m/(1 - exp(-alpha_1 t)),    v^ = v/(1 - exp(-alpha_2 t)),

as eta goes to 0 at fixed alpha_1, alpha_2. RMSProp has m^ = g and, uncorrected, v^ = v. AMSGrad
divides by the largest v^ so far, centred RMSProp by what the root of the variance v - m^2 gives,
alpha_1 = alpha_2. The look ahead of NAdam and a momentum behind the preconditioner reach over a
number of steps, not over a time: they add to the O(eta) alone, the latter on the clock that counts
its reach, eta/(1 - beta).

At time zero the corrections are 0/0, and the speed of an uncorrected method that starts from v = 0
is infinite, sign(g)/sqrt(alpha_2 t). Both are smooth on the clock s with dt = r ds,
r = tanh(alpha_2 s/2), on which 1 - exp(-alpha_2 t) = r^2: that is what the solver counts by. The
divisors are integrated along with what they divide, so that at every stage of every method a
constant gradient has averages that are exact.

With a schedule of eta averages still forget by the step. The flow is then followed on the clock of
steps, k in place of t and -log(b) in place of alpha, and theta moves by eta(k) a step; see `pace`.

Source: Barakat and Bianchi (2021), SIAM J. Optim. 31, 244 (arXiv 1810.02263), for the limit with
corrections; da Silva and Gazeau (2020), JMLR 21 (129); the clock and the divisors are derived here.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.ranges import require_share
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import step_size_array
from thalweg.dynamics.flow.averages import Averages, Begin, begun_at, joined
from thalweg.dynamics.flow.followed import MOST_GRADIENTS, System, how_asked
from thalweg.dynamics.flow.methods import vector_norm
from thalweg.dynamics.flow.pace import PacedFlow
from thalweg.dynamics.flow.path import Integration, Measure
from thalweg.problems.problem import Problem

START = 0.1  # of what a step may err: how far the first one leads, where averages are not smooth

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]


def _rate(value: float | Array) -> Array:
    return jnp.asarray(value, jnp.float64)


class PreconditionedFlow(PacedFlow):
    """The continuous limit of RMSProp, Adam, AdamW, NAdam and AMSGrad at finite averaging times.

    theta' = -m^/(sqrt(v^ + epsilon_root) + epsilon) - omega theta, see the module. It is followed
    by explicit methods with control of the error of the parameters, of which errors of the
    averages are counted by what they make of it: an error of v counts |d theta'/dv|/alpha_2.

    `path_error` is that of `Flow`. `result` is NONFINITE where the path leaves the finite numbers
    and STEP_LIMIT after `most_gradients`: near a minimum v fades, the preconditioned curvature
    grows without bound but for epsilon, and explicit steps shrink with it.

    Attributes:
        rtol: As of `GradientFlow`.
        solver: An explicit one of `thalweg.dynamics.FLOW_SOLVERS`; "auto" is tsit5.
        atol: As of `GradientFlow`.
        error: As of `GradientFlow`.
        most_gradients: As of `GradientFlow`.
        second: alpha_2 = -log(b2)/eta, at which the average of squared gradients forgets (unit:
            1/step size).
        first: alpha_1 = -log(b1)/eta of the gradients; None for no average (RMSProp).
        epsilon: Added to the root.
        epsilon_root: Added within it.
        decay: omega, the rate at which the parameters decay beside the gradient.
        initial: v at time zero.
        corrected: Whether the averages are divided by 1 - exp(-alpha t).
        largest: Whether the largest v^ so far stands for v^, as in AMSGrad. It is taken up at the
            end of a step, so that a peak within one is cut by what the error tells.
        centred: Whether the variance v - m^2 stands for v, and g itself for m, as in centred
            RMSProp; alpha_1 is alpha_2.
        pace: The training time of steps, where it follows a schedule: alpha_1 and alpha_2 are then
            in units of 1/step. None where all are alike.
        begin: What the averages hold at time zero, where the path goes on from another; from there
            on nothing is infinite, and the solver counts training time. None where they hold
            nothing but `initial`.

    Cost: as an explicit flow; the averages bound a step to about 3/alpha.
    """

    symmetric: ClassVar[bool] = False

    second: Float[Array, ""] = eqx.field(converter=_rate, default=1.0)
    first: Float[Array, ""] | None = eqx.field(
        converter=lambda a: None if a is None else _rate(a), default=None
    )
    epsilon: Float[Array, ""] = eqx.field(converter=_rate, default=1e-8)
    epsilon_root: Float[Array, ""] = eqx.field(converter=_rate, default=0.0)
    decay: Float[Array, ""] = eqx.field(converter=_rate, default=0.0)
    initial: Float[Array, ""] = eqx.field(converter=_rate, default=0.0)
    corrected: bool = eqx.field(static=True, default=True)
    largest: bool = eqx.field(static=True, default=False)
    centred: bool = eqx.field(static=True, default=False)
    begin: Begin | None = None

    @property
    def name(self) -> str:
        return "the preconditioned flow"

    @property
    def counted(self) -> float:
        return min(super().counted, 0.0 if self.largest else 2.0)

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        told = super().doubts(problem)
        if not self.largest:
            return told
        return (
            *told,
            "AMSGrad's flow takes up the largest average so far at the ends of its steps; the "
            "error told of its path held at all times on 80 to 95 % of the problems measured, and "
            "was 12 times too small at worst",
        )

    def system(self, problem: Problem, params: Params) -> System:
        """Parameters, both averages and what divides them; see `Averages`."""
        theta, unravel = ravel_pytree(params)
        gradient = jax.grad(problem.objective)
        size, kind = theta.size, theta.dtype
        none = jnp.zeros((), kind)
        # From v > 0 nothing is infinite, and the solver counts training time itself.
        begun = self._going.astype(kind)
        start = Averages(
            theta,
            jnp.full_like(theta, self.initial.astype(kind)),
            theta[:0] if self.first is None else jnp.zeros_like(theta),
            jnp.zeros_like(theta) if self.largest else theta[:0],
            begun,
            begun,
            none,
            theta[:0] if self.pace is None else jnp.zeros_like(theta[:1]),
        )
        if self.begin is not None:
            rates = (self.second, self._faster) if self.corrected else None
            start = begun_at(self.begin, start, rates)

        def force(flat: Array) -> Array:
            at = self._cut(flat)
            g = ravel_pytree(gradient(unravel(at.theta)))[0]
            way = self._way(at, g)
            second, first = at.rate * _as(self.second, g), at.rate * _as(self._faster, g)
            moves = -at.rate * _as(self._size(at), g)
            return joined(
                Averages(
                    moves * (way.first * way.gain + _as(self.decay, g) * at.theta),
                    second * (g**2 - at.second),
                    at.first if self.first is None else first * (g - at.first),
                    jnp.zeros_like(at.highest),
                    _as(self.second, g) * (1 - at.rate**2) / 2,
                    second * (1 - at.second_share),
                    first * (1 - at.first_share),
                    jnp.full_like(at.steps, at.rate),
                )
            )

        def error(flat: Array, wrong: Array) -> Scalar:
            return vector_norm(self._blamed(self._cut(flat), self._cut(wrong)))

        def settled(flat: Array) -> Array:
            at = self._cut(flat)
            return joined(at._replace(highest=self._divided(at, jnp.zeros_like(theta))))

        def norm(flat: Array) -> Scalar:
            return vector_norm(flat[:size])

        measure = Measure(norm, error)
        keep = settled if self.largest else None
        return System(force, joined(start), size, unravel, measure, keep)

    def solver_clock(self, time: Scalar) -> Scalar:
        time = super().solver_clock(time)
        x = self.second * time / 2
        clock = 2 / self.second * (x + jnp.log1p(jnp.sqrt(-jnp.expm1(-2 * x))))
        return jnp.where(self._going, time, clock)

    def training_time(self, clock: Scalar) -> Scalar:
        x = self.second * clock / 2
        near = -jnp.log1p(-(jnp.tanh(jnp.minimum(x, 1.0)) ** 2)) / 2  # log cosh x
        far = x + jnp.log1p(jnp.exp(-2 * x)) - jnp.log(2.0)
        time = jnp.where(self._going, clock, 2 / self.second * jnp.where(x < 1, near, far))
        return super().training_time(time)

    def begun(self, problem: Problem, path: Integration) -> Integration:
        """The first step is short enough for what is not smooth in it to be lost."""
        size = path.largest
        at = self._cut(path.theta)
        least = self.relative(problem, path.theta)[0] * jnp.where(size > 0, size, 1.0) * START
        root = jnp.sqrt(jnp.asarray(at.theta.size, jnp.float64)) * self._size(at, ahead=1.0)
        # theta' is sign(g), times r = alpha_2 s/2 where it is corrected.
        short = jnp.sqrt(2 * least / (self.second * root)) if self.corrected else least / root
        short = jnp.where(self._going, path.proposal, short)
        # A preconditioned speed is bounded: the path does not blow up.
        return path._replace(
            proposal=jnp.minimum(short, 1 / self.second), speed=jnp.full_like(path.speed, jnp.inf)
        )

    def step_gains(self, problem: Problem, params: Params, memory: Integration) -> Params:
        """1/D, D = sqrt(v^ + epsilon_root) + epsilon where the path is; with a schedule eta/D."""
        unravel = ravel_pytree(params)[1]
        g = ravel_pytree(jax.grad(problem.objective)(params))[0]
        at = self._cut(memory.theta)
        return unravel(self._way(at, g).gain * _as(self._size(at), g))

    @property
    def _going(self) -> Array:
        """Whether the averages hold something at time zero."""
        return self.initial > 0 if self.begin is None else jnp.asarray(True)

    def _cut(self, flat: Array) -> Averages:
        counts = [1, 1, int(self.first is not None), int(self.largest)]
        alone = 3 + (self.pace is not None)
        size = (flat.size - alone) // sum(counts)
        ends = [size * sum(counts[: k + 1]) for k in range(4)]
        theta, second, first, highest, rest = jnp.split(flat, ends)
        return Averages(theta, second, first, highest, rest[0], rest[1], rest[2], rest[3:])

    def _size(self, at: Averages, ahead: Scalar | float = 0.0) -> Scalar:
        """What theta moves by on the clock of the averages; at its largest from here to ahead."""
        if self.pace is None:
            return jnp.ones((), jnp.float64)
        steps = at.steps[0].astype(jnp.float64)
        return jnp.maximum(self.pace.rate(steps), self.pace.rate(steps + ahead))

    def _divided(self, at: Averages, g: Vector) -> Vector:
        """V over its share, or the largest so far; g stands for an average over no time."""
        average = jnp.maximum(_over(at.second, at.second_share, g**2), 0)
        return jnp.maximum(average, at.highest) if self.largest else average

    @property
    def _faster(self) -> Array:
        return self.second if self.first is None else self.first

    def _way(self, at: Averages, g: Vector) -> _Way:
        """Where the flow leads; g stands for averages over no time."""
        first = at.first if self.first is not None else g
        if self.first is not None and self.corrected:
            first = _over(at.first, at.first_share, g)
        average = self._divided(at, g)
        share = jnp.ones_like(at.rate) if self.corrected else at.rate**2
        divided = share * average
        if self.centred:
            first, divided = g, jnp.maximum(divided - at.first**2, 0)
        root = jnp.sqrt(divided + _as(self.epsilon_root, g))
        divisor = root + _as(self.epsilon, g)
        gain = jnp.where(divisor > 0, 1 / jnp.where(divisor > 0, divisor, 1), 0)
        spread = jnp.where(root > 0, 1 / (2 * jnp.where(root > 0, root, 1)), 0) * gain
        return _Way(first, average, gain, share * spread, spread)

    def _blamed(self, at: Averages, wrong: Averages) -> Vector:
        """What errors of all parts make of the parameters, while the averages remember them."""
        # Without an average the gradient at hand is taken to be as large as its mean square.
        way = self._way(at, jnp.zeros_like(at.theta))
        plain = self.first is None or self.centred
        first = jnp.sqrt(way.average) if plain else way.first
        # An average is remembered while the schedule goes on.
        size = _as(self._size(at, 1 / self.second), first)
        speed = size * first * way.gain
        second = wrong.second - way.average * wrong.second_share
        told = [
            wrong.theta,
            speed * (way.turn * second) / _as(self.second, speed),
            speed * wrong.rate / _as(self.second, speed),
            *([] if self.pace is None else [speed * wrong.steps]),
        ]
        if self.centred:
            told.append(2 * speed * way.spread * at.first * wrong.first / _as(self.second, speed))
        elif self.first is not None:
            missed = wrong.first
            if self.corrected:
                missed = missed - way.first * wrong.first_share
            told.append(size * way.gain * missed / _as(self.first, speed))
        return jnp.concatenate(told)


class _Way(NamedTuple):
    """m^, v^ (or v over its share), 1/D, what D changes by with v^ and with its square, over D."""

    first: Vector
    average: Vector
    gain: Vector
    turn: Vector
    spread: Vector


def _as(value: Array, like: Array) -> Array:
    return value.astype(like.dtype)


def _over(average: Array, share: Scalar, none: Array) -> Array:
    """An average over its share; over no time at all, what is averaged."""
    return jnp.where(share > 0, average / jnp.where(share > 0, share, 1), none)


def preconditioned_flow(
    step_size: float,
    b1: float = 0.9,
    b2: float = 0.999,
    *,
    epsilon: float = 1e-8,
    epsilon_root: float = 0.0,
    weight_decay: float = 0.0,
    initial: float = 0.0,
    corrected: bool = True,
    largest: bool = False,
    centred: bool = False,
    rtol: float | None = None,
    error: float | None = None,
    solver: str | None = None,
    most_gradients: int = MOST_GRADIENTS,
) -> PreconditionedFlow:
    """The continuous limit of Adam, AdamW, NAdam, AMSGrad or RMSProp; see `PreconditionedFlow`.

    Args:
        step_size: The training time eta of a step, the learning rate (with momentum beta behind the
            preconditioner, that over 1 - beta); the averages forget at the rates -log(b1)/eta and
            -log(b2)/eta.
        b1: Decay of the average of gradients in a step; 0 for no average, as RMSProp.
        b2: Decay of the average of squared gradients in a step.
        epsilon: Added to the root, as `eps` of `optax.adam`.
        epsilon_root: Added within it, as `eps_root`, or `eps` of `optax.rmsprop`.
        weight_decay: As of `optax.adamw`: the parameters decay at this rate beside the gradient.
        initial: The average of squared gradients at time zero, as `initial_scale` of
            `optax.rmsprop`. From 0 an uncorrected method starts at infinite speed, and its steps
            keep a distance of the order of sqrt(eta), not eta.
        corrected: Whether averages are corrected for their start, as Adam's.
        largest: Whether it divides by the largest second moment so far, as AMSGrad.
        centred: Whether it divides by the variance, as `optax.rmsprop(centered=True)`: with b1 = 0
            and corrected=False.
        rtol: Tolerance of a step, as of `gradient_flow`; 1e-6 if `error` is not given either.
        error: Wanted error of the whole path, relative to the norm of the parameters.
        solver: tsit5 by default, bosh3, dopri5 or dopri8.
        most_gradients: Gradients of a seed after which the flow ends with the code STEP_LIMIT.

    Raises:
        InputError: If a number is out of its range, or the solver is unknown or not explicit.

    Examples:
        >>> import optax
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> flow = tw.preconditioned_flow(1e-3, error=1e-6)  # of Adam with Optax's numbers
        >>> path = tw.run(bowl, flow, until=0.1, records=1)
        >>> adam = tw.optax_dynamics(optax.adam(1e-3), 1e-3)
        >>> steps = tw.run(bowl, adam, until=0.1, records=1)
        >>> bool(abs(path.parameters[0, -1, 0] - steps.parameters[0, -1, 0]) < 1e-4)
        True
    """
    size = step_size_array(step_size)
    require_share(b1=b1)
    require(0 < b2 < 1, f"b2 came as {b2}; give a number in (0, 1), as in 0.999")
    numbers = {"epsilon": epsilon, "epsilon_root": epsilon_root, "weight_decay": weight_decay}
    for what, value in {**numbers, "initial": initial}.items():
        require(
            0 <= value < jnp.inf, f"{what} came as {value}; give a number of at least 0, as in 1e-8"
        )
    require(
        not (corrected and initial),
        f"initial came as {initial} for corrected averages, which begin at 0; give corrected=False",
    )
    require(
        corrected or not largest,
        "largest came with corrected=False; give corrected=True, as optax.amsgrad has it",
    )
    require(
        not centred or not (b1 or corrected or largest),
        "centred came with b1, corrected or largest; give b1=0, corrected=False and no largest, as "
        "optax.rmsprop has it",
    )
    how = how_asked(rtol, error, most_gradients)
    forgets = b2 if centred else b1
    return PreconditionedFlow(
        how.rtol,
        solver or "tsit5",
        error=how.error,
        most_gradients=how.most_gradients,
        second=-jnp.log(b2) / size,
        first=-jnp.log(forgets) / size if forgets else None,
        epsilon=_rate(epsilon),
        epsilon_root=_rate(epsilon_root),
        decay=_rate(weight_decay),
        initial=_rate(initial),
        corrected=corrected,
        largest=largest,
        centred=centred,
    )
