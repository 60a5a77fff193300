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
divides by the largest v^ so far. The look ahead of NAdam and a momentum behind the preconditioner
reach over a number of steps, not over a time: they add to the O(eta) alone, the latter on the clock
that counts its reach, eta/(1 - beta).

At time zero the corrections are 0/0, and the speed of an uncorrected method that starts from v = 0
is infinite, sign(g)/sqrt(alpha_2 t). Both are smooth on the clock s with dt = r ds,
r = tanh(alpha_2 s/2), on which 1 - exp(-alpha_2 t) = r^2: that is what the solver counts by. The
divisors are integrated along with what they divide, so that at every stage of every method a
constant gradient has averages that are exact.

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
from thalweg.core.tree import Params
from thalweg.dynamics.dynamics import step_size_array
from thalweg.dynamics.flow.followed import MOST_GRADIENTS, Flow, System, how_asked
from thalweg.dynamics.flow.methods import vector_norm
from thalweg.dynamics.flow.path import Integration, Measure
from thalweg.problems.problem import Problem

START = 0.1  # of what a step may err: how far the first one leads, where averages are not smooth

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]


class Averages(NamedTuple):
    """What moves, cut into its parts.

    Attributes:
        theta: Parameters (p,).
        second: v, the average of squared gradients (p,), not corrected.
        first: m, the average of gradients (p,); empty where there is none.
        highest: The largest v^ so far (p,), as AMSGrad keeps it; empty where none is kept.
        rate: r, training time by the solver's clock.
        second_share: 1 - exp(-alpha_2 t), integrated as v is.
        first_share: 1 - exp(-alpha_1 t), integrated as m is.
    """

    theta: Vector
    second: Vector
    first: Vector
    highest: Vector
    rate: Scalar
    second_share: Scalar
    first_share: Scalar


def _joined(parts: Averages) -> Array:
    return jnp.concatenate([*parts[:4], jnp.stack(parts[4:])])


def _rate(value: float | Array) -> Array:
    return jnp.asarray(value, jnp.float64)


class PreconditionedFlow(Flow):
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

    @property
    def name(self) -> str:
        return "the preconditioned flow"

    def system(self, problem: Problem, params: Params) -> System:
        """Parameters, both averages and what divides them; see `Averages`."""
        theta, unravel = ravel_pytree(params)
        gradient = jax.grad(problem.objective)
        size, kind = theta.size, theta.dtype
        none = jnp.zeros((), kind)
        # From v > 0 nothing is infinite, and the solver counts training time itself.
        begun = (self.initial > 0).astype(kind)
        start = Averages(
            theta,
            jnp.full_like(theta, self.initial.astype(kind)),
            theta[:0] if self.first is None else jnp.zeros_like(theta),
            jnp.zeros_like(theta) if self.largest else theta[:0],
            begun,
            begun,
            none,
        )

        def force(flat: Array) -> Array:
            at = self._cut(flat)
            g = ravel_pytree(gradient(unravel(at.theta)))[0]
            way = self._way(at, g)
            second, first = at.rate * _as(self.second, g), at.rate * _as(self._faster, g)
            return _joined(
                Averages(
                    -at.rate * (way.first * way.gain + _as(self.decay, g) * at.theta),
                    second * (g**2 - at.second),
                    at.first if self.first is None else first * (g - at.first),
                    jnp.zeros_like(at.highest),
                    _as(self.second, g) * (1 - at.rate**2) / 2,
                    second * (1 - at.second_share),
                    first * (1 - at.first_share),
                )
            )

        def error(flat: Array, wrong: Array) -> Scalar:
            return vector_norm(self._blamed(self._cut(flat), self._cut(wrong)))

        def settled(flat: Array) -> Array:
            at = self._cut(flat)
            return _joined(at._replace(highest=self._divided(at, jnp.zeros_like(theta))))

        def norm(flat: Array) -> Scalar:
            return vector_norm(flat[:size])

        measure = Measure(norm, error)
        keep = settled if self.largest else None
        return System(force, _joined(start), size, unravel, measure, keep)

    def solver_clock(self, time: Scalar) -> Scalar:
        x = self.second * time / 2
        clock = 2 / self.second * (x + jnp.log1p(jnp.sqrt(-jnp.expm1(-2 * x))))
        return jnp.where(self.initial > 0, time, clock)

    def training_time(self, clock: Scalar) -> Scalar:
        x = self.second * clock / 2
        near = -jnp.log1p(-(jnp.tanh(jnp.minimum(x, 1.0)) ** 2)) / 2  # log cosh x
        far = x + jnp.log1p(jnp.exp(-2 * x)) - jnp.log(2.0)
        return jnp.where(self.initial > 0, clock, 2 / self.second * jnp.where(x < 1, near, far))

    def step_length(self, path: Integration) -> Scalar:
        before = self.training_time(jnp.maximum(path.time - path.length_before, 0))
        return self.training_time(path.time) - before

    def begun(self, problem: Problem, path: Integration) -> Integration:
        """The first step is short enough for what is not smooth in it to be lost."""
        size = path.largest
        at = self._cut(path.theta)
        least = self.relative(problem, path.theta)[0] * jnp.where(size > 0, size, 1.0) * START
        root = jnp.sqrt(jnp.asarray(at.theta.size, jnp.float64))
        # theta' is sign(g), times r = alpha_2 s/2 where it is corrected.
        short = jnp.sqrt(2 * least / (self.second * root)) if self.corrected else least / root
        short = jnp.where(self.initial > 0, path.proposal, short)
        # A preconditioned speed is bounded: the path does not blow up.
        return path._replace(
            proposal=jnp.minimum(short, 1 / self.second), speed=jnp.full_like(path.speed, jnp.inf)
        )

    def step_gains(self, problem: Problem, params: Params, memory: Integration) -> Params:
        """1/D where the path is, D = sqrt(v^ + epsilon_root) + epsilon."""
        unravel = ravel_pytree(params)[1]
        g = ravel_pytree(jax.grad(problem.objective)(params))[0]
        return unravel(self._way(self._cut(memory.theta), g).gain)

    def _cut(self, flat: Array) -> Averages:
        counts = [1, 1, int(self.first is not None), int(self.largest)]
        size = (flat.size - 3) // sum(counts)
        ends = [size * sum(counts[: k + 1]) for k in range(3)]
        theta, second, first, highest = jnp.split(flat[:-3], ends)
        return Averages(theta, second, first, highest, flat[-3], flat[-2], flat[-1])

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
        root = jnp.sqrt(share * average + _as(self.epsilon_root, g))
        divisor = root + _as(self.epsilon, g)
        gain = jnp.where(divisor > 0, 1 / jnp.where(divisor > 0, divisor, 1), 0)
        turn = jnp.where(root > 0, share / (2 * jnp.where(root > 0, root, 1)), 0) * gain
        return _Way(first, average, gain, turn)

    def _blamed(self, at: Averages, wrong: Averages) -> Vector:
        """What errors of all parts make of the parameters, while the averages remember them."""
        # Without an average the gradient at hand is taken to be as large as its mean square.
        way = self._way(at, jnp.zeros_like(at.theta))
        first = jnp.sqrt(way.average) if self.first is None else way.first
        speed = first * way.gain
        second = wrong.second - way.average * wrong.second_share
        told = [
            wrong.theta,
            speed * (way.turn * second) / _as(self.second, speed),
            speed * wrong.rate / _as(self.second, speed),
        ]
        if self.first is not None:
            missed = wrong.first
            if self.corrected:
                missed = missed - way.first * wrong.first_share
            told.append(way.gain * missed / _as(self.first, speed))
        return jnp.concatenate(told)


class _Way(NamedTuple):
    """m^, v^ (or v over its share), 1/D, and what D changes by with v^, over D."""

    first: Vector
    average: Vector
    gain: Vector
    turn: Vector


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
    require(0 <= b1 < 1, f"b1 came as {b1}; give a number in [0, 1), as in 0.9")
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
    how = how_asked(rtol, error, most_gradients)
    return PreconditionedFlow(
        how.rtol,
        solver or "tsit5",
        error=how.error,
        most_gradients=how.most_gradients,
        second=-jnp.log(b2) / size,
        first=-jnp.log(b1) / size if b1 else None,
        epsilon=_rate(epsilon),
        epsilon_root=_rate(epsilon_root),
        decay=_rate(weight_decay),
        initial=_rate(initial),
        corrected=corrected,
        largest=largest,
    )
