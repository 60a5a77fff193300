"""Extreme Hessian eigenvalues along a run, warm-started from record to record."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.curvature import hessian_product
from thalweg.core.errors import require
from thalweg.core.lanczos import smallest_eigenvalue as smallest_of
from thalweg.core.lanczos import track_largest
from thalweg.core.result import Reading, finite, judged
from thalweg.core.tree import Params
from thalweg.probes.probe import Moment, Probe
from thalweg.problems.problem import Problem


class Sharpness(Probe):
    """Largest Hessian eigenvalue, signed, of the full objective.

    value   (), loss/parameter^2; gradient descent's threshold of stability is 2/eta
    error   (), ||H v - value v|| at the unit Ritz vector v: some eigenvalue is this near. That
            it is the largest is not proven; a random direction is tried afresh every `recheck`
            records, and the value itself can only be too low
    result  NOT_CONVERGED if the error is above `tolerance * |value|`, NONFINITE if anything is
    cost    2 products when training moves slowly, at most `most_products`; a gradient each

    Two vectors are carried from record to record, so that a second eigenvalue on its way up is
    seen before it takes over. Source: Lanczos (1950); Cohen et al. (2021), section 2.
    """

    tolerance: float = eqx.field(static=True, default=1e-2)
    recheck: int = eqx.field(static=True, default=25)
    most_products: int = eqx.field(static=True, default=200)
    name: ClassVar[str] = "sharpness"
    unit: ClassVar[str] = "loss/parameter^2"
    dims: ClassVar[tuple[str, ...]] = ()

    def start(self, problem: Problem, params: Params) -> Float[Array, "b p"]:
        theta = tree.flatten(params)
        return jnp.zeros((min(2, theta.size), theta.size), theta.dtype)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        product = hessian_product(problem.objective, params)
        first = moment.record == 0
        again = moment.record % self.recheck == 0
        usable = ~first & jnp.all(jnp.isfinite(memory))

        # The leading vector survives a recheck, its challenger is drawn anew. A warm vector
        # that is not usable (after a divergence, say) must not be kept for ever.
        def redrawn() -> Array:
            drawn = jax.random.normal(moment.key, memory.shape, memory.dtype)
            return drawn.at[0].set(jnp.where(usable, memory[0], drawn[0]))

        found = track_largest(
            product,
            jax.lax.cond(usable & ~again, lambda: memory, redrawn),
            self.tolerance,
            least_products=jnp.where(again, 16, 0),
            most_products=self.most_products,
        )
        value, error = found.values[0], found.residuals[0]
        return judged(value, error, self.tolerance * jnp.abs(value)), found.ahead


class SmallestEigenvalue(Probe):
    """Smallest Hessian eigenvalue, signed, with a bound on how much smaller it can be.

    value   (), loss/parameter^2; never too low beyond rounding
    error   (), with probability at least 1 - 2 `failure` the true eigenvalue lies in
            [value - error, value]: the bound of Kuczynski and Wozniakowski (1992) for a random
            start, drawn anew at every record; 0 up to rounding once `products` reaches the
            number of parameters, infinite if `products` are too few for any bound
    result  NOT_CONVERGED if the residual of the pair exceeds the error and `tolerance` times
            the largest eigenvalue in size, or if the error is infinite
    cost    `products` + 2 products, a gradient each, and `products` vectors of memory
    """

    products: int = eqx.field(static=True, default=60)
    failure: float = eqx.field(static=True, default=0.005)
    tolerance: float = eqx.field(static=True, default=1e-2)
    name: ClassVar[str] = "smallest_eigenvalue"
    unit: ClassVar[str] = "loss/parameter^2"
    dims: ClassVar[tuple[str, ...]] = ()

    def __check_init__(self) -> None:
        require(self.products >= 2, f"products came as {self.products}; give at least 2")
        require(0 < self.failure < 0.5, f"failure came as {self.failure}; give one in (0, 0.5)")

    def start(self, problem: Problem, params: Params) -> Float[Array, " p"]:
        return jnp.zeros_like(tree.flatten(params))

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        product = hessian_product(problem.objective, params)
        guess = jnp.where(jnp.all(jnp.isfinite(memory)), memory, jnp.zeros_like(memory))
        found = smallest_of(product, guess, moment.key, self.products, self.failure)
        scale = jnp.maximum(jnp.abs(found.largest), jnp.abs(found.value))
        rounding = 100 * jnp.finfo(found.value.dtype).eps * scale
        error = found.missed + rounding
        allowed = jnp.maximum(error, self.tolerance * scale)
        late = (found.residual > allowed) | jnp.isinf(error)
        code = jnp.maximum(late.astype(jnp.int32), finite(found.value, found.residual))
        return Reading(found.value, error, code), found.vector


def sharpness(tolerance: float = 1e-2, recheck: int = 25, most_products: int = 200) -> Sharpness:
    """Largest Hessian eigenvalue; see `Sharpness`."""
    return Sharpness(tolerance, recheck, most_products)


def smallest_eigenvalue(products: int = 60, failure: float = 0.005) -> SmallestEigenvalue:
    """Smallest Hessian eigenvalue with a bound; see `SmallestEigenvalue`."""
    return SmallestEigenvalue(products, failure)
