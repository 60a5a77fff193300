"""Newton's method and what mends it at saddles: damped, saddle-free, cubic, trust region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import choose, require
from thalweg.core.hessian_product import hessian_product
from thalweg.core.lanczos import tridiagonalise
from thalweg.core.ranges import require_positive
from thalweg.core.result import finite
from thalweg.core.subproblems import (
    cubic_step,
    damped_step_of,
    saddle_free_step,
    trust_region_step,
)
from thalweg.core.tree import Params
from thalweg.dynamics.descent import CountedSteps
from thalweg.dynamics.dynamics import VALUES, VALUES_TAKEN, Info, State, Statistic, fresh
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.problems.problem import Problem

Step = Callable[[Array, Array, Array], Array]
ACCEPTED, GOOD = 0.1, 0.75  # of the fall that the model foretells
LARGEST = 1e6  # times the first radius


@dataclass(frozen=True)
class Kind:
    """A rule for steps on a quadratic model.

    Attributes:
        label: Its name in sentences.
        step: From eigenvalues, gradient and the number to the step.
        number: What the number is.
        unit: Of the number.
        adapts: Whether the number follows the success of steps, which may be refused.
    """

    label: str
    step: Step
    number: str
    unit: str
    adapts: bool = False


KINDS: dict[str, Kind] = {
    "newton": Kind("Newton's method", lambda e, g, _: -g / e, "unused", "1"),
    "damped": Kind("damped Newton", damped_step_of, "damping M", "loss/parameter^2"),
    "saddle-free": Kind(
        "saddle-free Newton", saddle_free_step, "least |curvature|", "loss/parameter^2"
    ),
    "cubic": Kind("cubic Newton", cubic_step, "M of the cubic term", "loss/parameter^3"),
    "trust-region": Kind(
        "trust region", trust_region_step, "radius of the first step", "parameter", adapts=True
    ),
}


class NewtonType(CountedSteps):
    """Steps on the quadratic model of the objective, each by a rule of `KINDS`.

    With H = U diag(e) U^T and g~ = U^T g: Newton -g~/e; damped -g~/(e + M), for H + M I > 0 the
    trust region's step of its own length; saddle-free -g~/|e|; cubic, the global minimiser of
    <g, s> + s^T H s/2 + (M/6) ||s||^3, which for M >= L_2 lowers f by M r^3/12 at least, r = ||s||;
    trust region, the global minimiser over a ball, whose radius follows how well the model foretold
    the fall. The hard case, g orthogonal to the lowest eigenvector, is solved.

    A step counts training time 1. Deterministic. Cost: one gradient and p Hessian products a step,
    p^3 operations; with a Krylov space of dimension k, k products; a trust region one value more.

    Attributes:
        kind: A key of `KINDS`.
        number: What the rule needs: see there.
        krylov: Dimension of the Krylov space of H and g; 0 for the whole space.
    """

    kind: str = eqx.field(static=True)
    number: Float[Array, ""]
    krylov: int = eqx.field(static=True, default=0)

    @property
    def name(self) -> str:
        space = f" in Krylov spaces of {self.krylov}" if self.krylov else ""
        return KINDS[self.kind].label + space

    def recorded(self, problem: Problem) -> tuple[Statistic, ...]:
        rule = KINDS[self.kind]
        radius = (Statistic("radius", rule.unit, "radius of the trust region"),)
        length = Statistic("step_length", "parameter", "length of the last step")
        products = Statistic("hessian_products", "1", "Hessian products so far")
        return (*((*radius, VALUES_TAKEN) if rule.adapts else ()), length, products)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        number, length, products = state.memory
        told = {"step_length": length, "hessian_products": products}
        return told | ({"radius": number, VALUES: state.step} if KINDS[self.kind].adapts else {})

    def init(self, problem: Problem, params: Params) -> State:
        kind = ravel_pytree(params)[0].dtype
        zero = jnp.zeros((), kind)
        return fresh(params, (self.number.astype(kind), zero, jnp.zeros((), jnp.int64)))

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        number, _, products = state.memory
        theta, unravel = ravel_pytree(state.params)
        loss, gradient = jax.value_and_grad(problem.objective)(state.params)
        g = ravel_pytree(gradient)[0]
        e, U, spent = self._spectrum(problem, state.params, g, key)
        components = U.T @ g
        s = KINDS[self.kind].step(e, components, number)
        moved = theta + U @ s
        length = jnp.sqrt(jnp.sum(s**2))
        if KINDS[self.kind].adapts:
            foretold = -(components @ s + 0.5 * jnp.sum(e * s**2))
            fall = loss - problem.objective(unravel(moved))
            kept = (fall >= ACCEPTED * foretold) & (foretold > 0)
            wide = (fall >= GOOD * foretold) & (length >= 0.9 * number)
            most = self.number.astype(number.dtype) * LARGEST
            grown = jnp.minimum(2 * number, most)
            number = jnp.where(kept, jnp.where(wide, grown, number), length / 4)
            moved, length = jnp.where(kept, moved, theta), jnp.where(kept, length, 0 * length)
        return state._replace(
            params=unravel(moved),
            time=(state.step + 1).astype(jnp.float64),
            step=state.step + 1,
            evaluations=state.evaluations + 1 + 2 * spent,
            result=jnp.maximum(state.result, finite(loss, g)),
            memory=(number, length, products + spent),
        ), Info(loss)

    def _spectrum(
        self, problem: Problem, params: Params, g: Array, key: Array
    ) -> tuple[Array, Array, int]:
        """Eigenvalues, eigenvectors as columns, and the products spent."""
        product, p = hessian_product(problem.objective, params), g.size
        if not 0 < self.krylov < p:
            H = jax.vmap(product)(jnp.eye(p, dtype=g.dtype))
            e, U = jnp.linalg.eigh((H + H.T) / 2)
            return e, U, p
        start = jnp.where(jnp.any(g != 0), g, jnp.ones_like(g))
        space = tridiagonalise(product, start, self.krylov, key)
        e, V = jnp.linalg.eigh(space.projected)
        return e, space.basis.T @ V, self.krylov

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return no_rule("its steps fit the curvature, so that no curvature is too large")

    def without_limit(self, problem: Problem, params: Params) -> str:
        return "its steps fit the curvature, so that none of them goes to 0"


def newton_type(kind: str = "cubic", number: float = 1.0, krylov: int = 0) -> NewtonType:
    """A method that steps on the quadratic model of the objective; see `NewtonType`.

    Args:
        kind: "newton", "damped", "saddle-free", "cubic" or "trust-region".
        number: What the rule needs: damping M, least |curvature|, M of the cubic term (L_2 by its
            theorem), or the radius of the first step; unused by "newton".
        krylov: Dimension of the Krylov space of Hessian and gradient in which the step is sought; 0
            for the whole space.

    Raises:
        InputError: If the kind is unknown, the number not positive and finite, or `krylov` no whole
            number from 0 on.

    Examples:
        >>> saddle = tw.problems.Quadratic([-1.0, 2.0], slope=[0.0, 0.0], start=[0.1, 1.0])
        >>> free = tw.run(saddle, tw.dynamics.newton_type("saddle-free", 1e-6), 1.0, records=1)
        >>> np.round(free.dataset["parameters"].values[0, -1], 12).tolist()  # away from the saddle
        [0.2, 0.0]
    """
    choose(kind, KINDS, "kind of Newton step")
    require_positive(number=number)
    require(
        not misfit(krylov, int) and krylov >= 0,
        f"krylov came as {told(krylov)}; give a whole number from 1 on, or 0 for the whole space",
    )
    return NewtonType(kind, jnp.asarray(float(number), jnp.float64), int(krylov))
