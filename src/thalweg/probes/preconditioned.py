"""The sharpness that adaptive methods meet: that of the preconditioned Hessian."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from thalweg.core import tree
from thalweg.core.complement import is_due
from thalweg.core.errors import InputError, require
from thalweg.core.hessian_product import hessian_product
from thalweg.core.result import Reading, Result
from thalweg.core.tree import Params
from thalweg.probes.curvature import tracked
from thalweg.probes.probe import Moment, Probe, bent_objective
from thalweg.problems.problem import Problem

Diagonal = Callable[[Any], Params]  # from an Optax state to the positive diagonal of D


class PreconditionedSharpness(Probe):
    """Largest eigenvalue of D^{-1/2} H D^{-1/2}, D the preconditioner an adaptive method holds.

    An Optax method whose update is -eta D^{-1} g descends a quadratic with fixed D while this is
    below 2/eta; with momentum beta that is averaged, as in Adam, below
    (2/eta) (1 + beta)/(1 - beta).

    Along a run of `optax_dynamics` D is what the transformation itself does in its next step:
    D^{-1} g eta is where a lasting gradient g leads per step. That is sqrt(v) + epsilon of Adam,
    AdamW, RMSProp, AdaGrad in each one's own convention, corrections for the start and schedules
    included, times 1 - beta for heavy-ball momentum. Of natural gradient D is its matrix with the
    damping. A `diagonal` given is taken instead.

    value   (), a number without unit for Adam's D = sqrt(second moment) + epsilon in units of
            gradient: 1/parameter times parameter of the step size
    error   (), as for `Sharpness`
    result  NOT_CONVERGED if the error is above `tolerance` times the value; NOT_MEASURED where a
            diagonal given is not positive and finite, as sqrt(v) before the first step
    cost    as `Sharpness`, and a gradient

    Source: Cohen et al. (2022, arXiv 2207.14484), section 3.
    """

    diagonal: Diagonal | None = eqx.field(static=True, default=None)
    tolerance: float = eqx.field(static=True, default=1e-2)
    recheck: int = eqx.field(static=True, default=25)
    most_products: int = eqx.field(static=True, default=200)
    name: ClassVar[str] = "preconditioned_sharpness"
    unit: ClassVar[str] = "1/step size"
    dims: ClassVar[tuple[str, ...]] = ()
    dynamics: Any = None

    def along(self, dynamics: Any) -> Probe:
        return self if self.diagonal else dataclasses.replace(self, dynamics=dynamics)

    def start(self, problem: Problem, params: Params) -> Float[Array, "b p"]:
        theta = tree.flatten(params)
        return jnp.zeros((min(2, theta.size), theta.size), theta.dtype)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        theta = tree.flatten(params)
        if hasattr(self.dynamics, "gain_root"):  # no diagonal, but a matrix of its own
            return self._within(problem, params, memory, moment)
        gains = tree.flatten(self._gains(problem, params, moment.process)).astype(theta.dtype)
        require(
            gains.size == theta.size,
            f"the diagonal has {gains.size} entries, the parameters {theta.size}; give as many",
        )
        known = jnp.all(jnp.isfinite(gains) & (gains >= 0)) & jnp.any(gains > 0)
        scale = jnp.sqrt(jnp.where(known, gains, 1))
        bent = bent_objective(problem, params, "the preconditioned sharpness")
        hessian = hessian_product(bent, params)
        found = tracked(
            lambda v: scale * hessian(scale * v),
            memory,
            moment,
            self.tolerance,
            self.recheck,
            self.most_products,
        )
        value, error, result = found.reading
        reading = Reading(value[0], error[0], result)
        missing = Reading(
            jnp.full_like(value[0], jnp.nan),
            jnp.full_like(error[0], jnp.nan),
            jnp.asarray(int(Result.NOT_MEASURED), jnp.int32),
        )
        chosen = jax.tree.map(lambda a, b: jnp.where(known, a, b), reading, missing)
        return chosen, found.memory

    def bounds(self, record: Int[Array, ""] | int, size: int) -> Bool[Array, ""] | bool:
        return is_due(record, self.recheck, size)

    def _within(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        """P^1/2 H P^1/2, P the matrix that the gradient is multiplied by."""
        root = self.dynamics.gain_root(problem, params)
        hessian = hessian_product(problem.objective, params)
        found = tracked(
            lambda v: root @ hessian(root @ v),
            memory,
            moment,
            self.tolerance,
            self.recheck,
            self.most_products,
        )
        value, error, result = found.reading
        return Reading(value[0], error[0], result), found.memory

    def _gains(self, problem: Problem, params: Params, process: Any) -> Params:
        """1/D."""
        if self.dynamics is not None:
            return self.dynamics.step_gains(problem, params, process)
        return jax.tree.map(lambda d: 1 / d, (self.diagonal or second_moment())(process))


def second_moment(b2: float = 0.999, epsilon: float = 1e-8, corrected: bool = True) -> Diagonal:
    """D = sqrt(v) + epsilon of Adam, AdamW, RMSProp and their like, read from the Optax state.

    Args:
        b2: Decay of the second moment v, as given to the method.
        epsilon: As given to the method.
        corrected: Whether v is divided by 1 - b2^count, as Adam does and RMSProp does not.

    Returns:
        A function of the state. It raises an `InputError` where the state has no second moment
        (`nu`), as that of plain gradient descent.

    Examples:
        >>> import optax
        >>> g = jnp.array([2.0, -3.0])
        >>> adam = optax.adam(0.1)
        >>> moved, state = adam.update(g, adam.init(g))
        >>> tw.probes.second_moment(epsilon=0.0)(state).round(6).tolist()  # sqrt of the mean of g^2
        [2.0, 3.0]
    """

    def diagonal(state: Any) -> Params:
        moment = optax.tree_utils.tree_get(state, "nu")
        if moment is None:
            raise InputError(
                "preconditioned sharpness needs a method that keeps a second moment (optax.adam, "
                "adamw, rmsprop ...) in optax_dynamics; this one keeps none"
            )
        share: Any = 1.0
        if corrected:
            count = optax.tree_utils.tree_get(state, "count")
            share = 1 - b2 ** jnp.asarray(count, float)
        return jax.tree.map(lambda v: jnp.sqrt(v / share) + epsilon, moment)

    return diagonal


def preconditioned_sharpness(
    diagonal: Diagonal | None = None, tolerance: float = 1e-2, recheck: int = 25
) -> PreconditionedSharpness:
    """Sharpness of the preconditioned Hessian; see `PreconditionedSharpness`.

    Args:
        diagonal: From the state of the optimiser to D; by default what the dynamics of the run
            says, and outside a run `second_moment()`, Adam's with its default numbers.
        tolerance: Relative residual allowed.
        recheck: How often, in records, a random direction is tried.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 4 * x[0] ** 2 + x[1] ** 2 / 2, start=jnp.ones(2))
        >>> scaled = tw.probes.preconditioned_sharpness(lambda state: jnp.array([4.0, 1.0]))
        >>> round(float(tw.measure(bowl, bowl.start, scaled).value), 6)  # 8/4 above 1/1
        2.0
    """
    return PreconditionedSharpness(diagonal, tolerance, recheck)
