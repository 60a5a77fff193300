"""The central flow: the differential equation of a method's mean path, beyond the edge as well.

Beyond the edge of stability the path of gradient descent is chaotic, its mean over the oscillation
is not. It follows gradient flow on f + <H, Sigma>/2, with the covariance Sigma of the oscillation
that keeps every eigenvalue of the Hessian at most 2/eta: see `thalweg.dynamics.flow.edge`.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core.arguments import told as told_of
from thalweg.core.errors import choose, require
from thalweg.core.ranges import require_from_zero
from thalweg.core.result import Result, finite
from thalweg.core.tree import Params
from thalweg.curvature.eigenvalues import top_k
from thalweg.curvature.operator import preconditioned
from thalweg.curvature.operators import hessian
from thalweg.dynamics.dynamics import Continuous, State, Statistic, fresh, step_size_array
from thalweg.dynamics.flow.central_substep import Bent, Followed, Told, seen, substep
from thalweg.dynamics.flow.edge import AVERAGES, EDGE, Scaling
from thalweg.dynamics.flow.followed import MOST_GRADIENTS, how_asked
from thalweg.dynamics.flow.methods import vector_norm
from thalweg.problems.problem import Problem

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]
Count = Int[Array, ""]


class CentralMemory(NamedTuple):
    """Both paths, how far they were apart, and what the last substeps told, the latest first."""

    path: Followed
    companion: Followed
    apart: Scalar
    told: Told


class CentralFlow(Continuous):
    """The mean path of gradient descent, scalar RMSProp or RMSProp, before the edge and beyond.

    theta' = -(eta P)^-1 (grad f + (1/2) grad <H, Sigma>), in training time; see
    `thalweg.dynamics.flow.edge` for P and Sigma. Below the edge Sigma = 0 and it is gradient flow,
    or its kin.

    Followed by Euler substeps of eta/m. Each finds the eigenpairs near the edge from those before,
    the third-order products of all pairs of them, and X such that no eigenvalue is above the edge
    at its end, to second order: so errors do not accumulate and eigenvalues join and leave.
    Third-order products serve eight substeps, turned with the eigenvectors, and are taken anew
    before that where these leave their span or an eigenvalue goes beyond the edge. A companion
    takes every two substeps as one, and so its third-order products for twice the time; see
    `path_error`.

    - Its equation assumes that the oscillation has the size that it needs. Where none has grown
      yet, as in double precision at first, descent passes the edge and comes back late.
    - It has not the drift -(eta/4) grad ||grad f||^2 of every step of descent; of that, substeps
      carry 1/m, which is no virtue of the flow.
    - With kinks (ReLU) third derivatives vanish almost everywhere, and nothing holds the edge.

    Cost of a substep with k eigenvalues near the edge: 1 + 2 (k + 1) gradients and more where
    vectors turn, and every eighth 2 k (k + 1); half as much again for the companion. Memory: 60
    vectors per vector held. Deterministic.

    Attributes:
        scaling: P, and how it moves.
        threshold: Eigenvalues of P^-1 H from which on they are taken into X; the edge is 2.
        substeps: m, in the training time of a step.
        vectors: Eigenvectors held at most.
        initial: The average of squared gradients at time zero, of the size of what is averaged; by
            default the squares of the gradient there.
        most_gradients: After which it ends with the code STEP_LIMIT.
    """

    scaling: Scaling
    threshold: Scalar = eqx.field(converter=lambda x: jnp.asarray(x, jnp.float64), default=1.95)
    substeps: int = eqx.field(static=True, default=4)
    vectors: int = eqx.field(static=True, default=8)
    initial: Float[Array, "*n"] | None = None
    most_gradients: Count = eqx.field(
        converter=lambda n: jnp.asarray(n, jnp.int64), default=MOST_GRADIENTS
    )

    @property
    def name(self) -> str:
        of = {"none": "", "shared": " of scalar RMSProp", "each": " of RMSProp"}
        return "the central flow" + of[self.scaling.average]

    @property
    def step_size(self) -> Scalar:
        """The training time of a step of the method."""
        return self.scaling.step_size

    def init(self, problem: Problem, params: Params) -> State:
        theta, _ = ravel_pytree(params)
        loss, gradient = seen(problem, params)
        nu = self.scaling.begun(gradient)
        if self.initial is not None:
            nu = jnp.broadcast_to(self.initial.astype(nu.dtype), nu.shape)
        c, p = self._held(theta), theta.size
        block, products = self._first(problem, params, nu, gradient)
        path = Followed(
            theta,
            nu,
            loss,
            gradient,
            jnp.zeros((c, p), theta.dtype).at[: len(block)].set(block),
            jnp.zeros((c, c), theta.dtype),
            Bent(
                jnp.zeros((c, p), theta.dtype),
                jnp.zeros((c * (c + 1) // 2, p), theta.dtype),
                jnp.zeros((), jnp.int64),
            ),
            jnp.zeros((c, p), theta.dtype),
        )
        zero, none = jnp.zeros((), jnp.float64), jnp.zeros((), jnp.int64)
        code = jnp.asarray(int(Result.OK), jnp.int32)
        told = Told(zero, zero, zero, zero, none, zero, zero, zero, none, code)
        told = jax.tree.map(lambda a: jnp.broadcast_to(a, (self.substeps,)), told)
        spent = 1 + 2 * products.astype(jnp.int64)
        return fresh(params, CentralMemory(path, path, zero, told))._replace(evaluations=spent)

    def advance(self, problem: Problem, state: State, until: Scalar, most_steps: Count) -> State:
        unravel = ravel_pytree(state.params)[1]
        begin = state.step

        def going(state: State) -> Array:
            free = (state.step - begin < 2 * most_steps) & (state.evaluations < self.most_gradients)
            return (state.time < until) & free & (state.result < Result.STEP_LIMIT)

        def stride(state: State) -> State:
            """Two substeps, and one of the companion."""
            rest = jnp.asarray(until, jnp.float64) - state.time
            usual = 2 * self.step_size / self.substeps
            strides = jnp.maximum(jnp.ceil(rest / usual - 1e-6), 1)
            h = rest / strides / 2 / self.step_size
            memory: CentralMemory = state.memory
            key = jax.random.fold_in(jax.random.key(0), state.step)

            def leg(carry: CentralMemory, which: Array) -> tuple[CentralMemory, tuple[Array, ...]]:
                """The path twice, then its companion: one program for all three."""
                path, companion, apart, told = carry
                own = which < 2
                at = jax.tree.map(lambda a, b: jnp.where(own, a, b), path, companion)
                after, found = substep(
                    problem,
                    unravel,
                    self.scaling,
                    self.threshold,
                    at,
                    jnp.where(own, h, 2 * h),
                    key,
                )
                path, companion = (
                    jax.tree.map(lambda new, old, w=w: jnp.where(w, new, old), after, before)
                    for w, before in ((own, path), (~own, companion))
                )
                last = jax.tree.map(lambda new, old: jnp.roll(old, 1).at[0].set(new), found, told)
                told = jax.tree.map(lambda a, b: jnp.where(own, a, b), last, told)
                return CentralMemory(path, companion, apart, told), (
                    found.evaluations,
                    found.result,
                )

            memory, (spent, codes) = jax.lax.scan(leg, memory, jnp.arange(3))
            time = jnp.where(strides > 1, state.time + rest / strides, until)
            gap = vector_norm(memory.path.theta - memory.companion.theta)
            kept = memory.apart * state.time / time
            memory = memory._replace(apart=jnp.maximum(kept, gap))
            path, code = memory.path, jnp.maximum(state.result, jnp.max(codes))
            return State(
                params=path.theta,
                time=time,
                step=state.step + 2,
                evaluations=state.evaluations + jnp.sum(spent),
                result=jnp.maximum(code, finite(path.theta, path.loss)),
                memory=memory,
            )

        flat = state._replace(params=state.memory.path.theta)
        end = jax.lax.while_loop(going, stride, flat)
        late = (end.evaluations >= self.most_gradients) & (end.time < until)
        code = jnp.where(late, int(Result.STEP_LIMIT), int(Result.OK)).astype(jnp.int32)
        return end._replace(params=unravel(end.params), result=jnp.maximum(end.result, code))

    @property
    def most(self) -> float:
        return float(self.most_gradients)

    def expected(self, problem: Problem, state: State, until: Scalar) -> Scalar:
        told: Told = state.memory.told
        steps, spent = jnp.sum(told.length), jnp.sum(told.evaluations).astype(jnp.float64)
        pace = jnp.where(steps > 0, 1.5 * spent / jnp.where(steps > 0, steps, 1), jnp.nan)
        rest = jnp.maximum(until - state.time, 0) / self.step_size
        return state.evaluations.astype(jnp.float64) + pace * rest

    def path_error(self, problem: Problem, state: State) -> Scalar:
        """Estimated distance of the parameters from the exact path (unit: parameter).

        1.5 times the largest distance so far to the companion, whose substeps are twice as long,
        at equal time: the method is of order 1. A distance at s counts s/t at t, so that a start is
        forgotten, not the record before: where eigenvalues join or a valley narrows the two may
        cross, and their distance there says nothing. It is an estimate (on 22 problems of five
        parameters it covered the error in all records, the truth extrapolated to no step; along
        nine flows of RMSProp, scalar or not, with one or two eigenvalues at the edge, in 53 records
        of 54, and was 0.6 of it once), and says nothing of how far the flow is from the method.
        """
        memory: CentralMemory = state.memory
        rounding = float(jnp.finfo(memory.path.theta.dtype).eps) * vector_norm(memory.path.theta)
        return 1.5 * memory.apart + rounding * jnp.sqrt(state.step.astype(jnp.float64))

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        return (
            Statistic("predicted_loss", "loss", "mean loss of the oscillating method"),
            Statistic(
                "predicted_squared_gradient", "loss^2/parameter^2",
                "mean squared gradient norm of the oscillating method",
            ),
            Statistic("oscillation", "parameter^2", "trace of the covariance of the oscillation"),
            Statistic("critical", "1", "eigenvalues at the edge"),
            Statistic("effective_sharpness", "1", "largest eigenvalue of 1/P H; the edge is 2"),
            Statistic("eigenpair_residual", "1", "residual of the eigenpairs at the edge"),
            Statistic("complementarity", "1", "relative residual of the complementarity problem"),
        )  # fmt: skip

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        """What the flow predicts and came to know, at no cost.

        Returns:
            predicted_loss: f + tr X, the mean loss of the method's steps (unit: loss). The
                oscillation is averaged over the substeps of the last step.
            predicted_squared_gradient: ||grad f||^2 + 4 tr(P Sigma P).
            oscillation: tr Sigma (unit: parameter^2).
            critical: Eigenvalues above the threshold at the last substep.
            effective_sharpness: The largest eigenvalue of P^-1 H there; eta times the sharpness for
                gradient descent.
            eigenpair_residual: The largest of those above the threshold, in units of
                `effective_sharpness`.
            complementarity: The residual of the complementarity problem, relative to ||A||.
        """
        memory: CentralMemory = state.memory
        told, whole = memory.told, jnp.sum(memory.told.length)

        def mean(values: Array) -> Array:
            return jnp.sum(told.length * values) / jnp.where(whole > 0, whole, 1)

        square = jnp.sum(memory.path.gradient**2).astype(jnp.float64)
        return {
            "predicted_loss": memory.path.loss.astype(jnp.float64) + mean(told.excess_loss),
            "predicted_squared_gradient": square + mean(told.excess_square),
            "oscillation": mean(told.oscillation),
            "critical": told.critical[0].astype(jnp.float64),
            "effective_sharpness": told.largest[0],
            "eigenpair_residual": told.residual[0],
            "complementarity": told.complementarity[0],
        }

    def doubts(self, problem: Problem) -> tuple[str, ...]:
        if problem.smooth:
            return ()
        return (
            "the net has kinks (ReLU, max-pooling): its third derivatives vanish almost "
            "everywhere, and the central flow does not see what holds the sharpness; take a smooth "
            "activation, as tanh or gelu",
        )

    def _held(self, theta: Vector) -> int:
        return min(self.vectors, theta.size)

    def _first(
        self, problem: Problem, params: Params, nu: Array, gradient: Vector
    ) -> tuple[Float[Array, "b p"], Count]:
        """The leading eigenvectors at time zero, checked for what was missed."""
        P = self.scaling.diagonal(nu, gradient)
        operator = preconditioned(hessian(problem, params), P)
        found = top_k(operator, min(2, gradient.size), jax.random.key(0), tolerance=1e-3)
        return found.vectors.T, found.products


def central_flow(
    step_size: float,
    substeps: int = 4,
    threshold: float = 1.95,
    *,
    average: str = "none",
    decay: float = 0.99,
    epsilon: float = 0.0,
    initial: float | Array | None = None,
    vectors: int = 8,
    most_gradients: int = MOST_GRADIENTS,
) -> CentralFlow:
    """The mean path of gradient descent or RMSProp, before the edge of stability and beyond.

    theta' = -grad f - (1/2) grad <H, Sigma> for gradient descent, Sigma the covariance that keeps
    the sharpness at most 2/eta. See `CentralFlow` for how it is followed and what it assumes, and
    its `statistics` for the loss, the squared gradient and the variance that it predicts.

    Args:
        step_size: eta of the method that is described, which is the training time of a step.
        substeps: Euler substeps in that time; errors fall in proportion.
        threshold: Effective sharpness (eta times the sharpness, of gradient descent) from which on
            an eigenvalue is taken to be near the edge, 2.
        average: Of squared gradients, that the method divides by the root of: "none" for gradient
            descent; "each", for each parameter, for RMSProp; "shared", of their sum, for scalar
            RMSProp, x <- x - eta g/(sqrt(nu) + epsilon).
        decay: b of the average, nu <- b nu + (1 - b) g^2, taken before the step.
        epsilon: Added to the root.
        initial: nu at time zero: a number, or flat (p,) for "each"; by default at equilibrium with
            the gradient there. It is not corrected for its start.
        vectors: Eigenvectors held at most: one more than eigenvalues near the edge. Where they are
            too few the code is NOT_CONVERGED.
        most_gradients: After which it ends with the code STEP_LIMIT.

    Raises:
        InputError: If a number is out of its range.

    Examples:
        >>> valley = tw.problems.Function(  # y x^2/2 - y/100: the valley's sides get steeper
        ...     lambda z: z[1] * z[0] ** 2 / 2 - 0.01 * z[1], start=jnp.array([0.07, 19.9])
        ... )
        >>> path = tw.run(valley, tw.dynamics.central_flow(0.1), until=40.0, records=2)
        >>> path.dataset["effective_sharpness"][0, 1:].round(5).values.tolist()  # it stays at 2
        [2.0, 2.0]
        >>> path.dataset["oscillation"][0, 1:].round(5).values.tolist()  # x^2 averages 2 * 0.01
        [0.02, 0.02]
    """
    choose(average, {name: name for name in AVERAGES}, "average")
    require(0 < decay < 1, f"decay came as {decay}; give a number in (0, 1), as 0.99")
    require_from_zero(epsilon=epsilon)
    begun = None if initial is None else jnp.asarray(initial, jnp.float64)
    if begun is not None:
        require(average != "none", "initial is of an average; give average='each' or 'shared'")
        require(
            begun.ndim <= (average == "each") and bool(jnp.all(begun >= 0)),
            f"initial came as {told_of(initial)}; give numbers of at least 0: one, or flat "
            "(p,) for an average of each",
        )
    for what, value, least, usual in (("substeps", substeps, 2, 4), ("vectors", vectors, 2, 8)):
        require(
            isinstance(value, int) and not isinstance(value, bool) and value >= least,
            f"{what} came as {value!r}; give a whole number of at least {least}, as {usual}",
        )
    require(
        0 < threshold < EDGE, f"threshold came as {threshold}; give a number in (0, 2), as 1.95"
    )
    b, eps = (jnp.asarray(x if average != "none" else 0.0, float) for x in (decay, epsilon))
    return CentralFlow(
        Scaling(step_size_array(step_size), b, eps, average),
        jnp.asarray(threshold),
        substeps,
        vectors,
        begun,
        how_asked(None, None, most_gradients).most_gradients,
    )
