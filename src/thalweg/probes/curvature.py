"""Extreme Hessian eigenvalues along a run, warm-started from record to record."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from thalweg.core import tree
from thalweg.core.curvature import Product, hessian_product
from thalweg.core.errors import require
from thalweg.core.lanczos import Tracked, track_largest
from thalweg.core.lanczos import smallest_eigenvalue as smallest_of
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
        again = moment.record % self.recheck == 0
        found = tracked(product, memory, moment, self.tolerance, again, self.most_products)
        value, error = found.values[0], found.residuals[0]
        return judged(value, error, self.tolerance * jnp.abs(value)), found.ahead


def tracked(
    product: Product,
    memory: Float[Array, "b p"],
    moment: Moment,
    tolerance: float,
    again: Bool[Array, ""],
    most_products: int,
    wanted: int = 1,
) -> Tracked:
    """Largest eigenvalues, from the vectors of the last record.

    The wanted vectors survive a recheck (`again`), their challengers are drawn anew. Warm vectors
    that are not usable (at the first record, or after a divergence) are not kept.
    """
    usable = (moment.record > 0) & jnp.all(jnp.isfinite(memory))

    def redrawn() -> Array:
        drawn = jax.random.normal(moment.key, memory.shape, memory.dtype)
        return drawn.at[:wanted].set(jnp.where(usable, memory[:wanted], drawn[:wanted]))

    return track_largest(
        product,
        jax.lax.cond(usable & ~again, lambda: memory, redrawn),
        tolerance,
        least_products=jnp.where(again, 16, 0),
        most_products=most_products,
        wanted=wanted,
    )


class TopEigenvalues(Probe):
    """The k largest Hessian eigenvalues, signed, in decreasing order.

    value   (eigenvalue,), loss/parameter^2
    error   (eigenvalue,), residuals ||H v - value v||: some eigenvalue is this near to each. As
            for `Sharpness`, values can only be too low, and a random direction is tried afresh
            every `recheck` records
    result  NOT_CONVERGED if a residual is above `tolerance` times the largest value
    cost    k + 1 products when training moves slowly, at most `most_products`; a gradient each
    memory  12 (k + 1) vectors while it searches, k + 1 from record to record
    """

    count: int = eqx.field(static=True, default=5)
    tolerance: float = eqx.field(static=True, default=1e-2)
    recheck: int = eqx.field(static=True, default=25)
    most_products: int = eqx.field(static=True, default=400)
    name: ClassVar[str] = "top_eigenvalues"
    unit: ClassVar[str] = "loss/parameter^2"
    dims: ClassVar[tuple[str, ...]] = ("eigenvalue",)

    def __check_init__(self) -> None:
        require(self.count >= 1, f"count came as {self.count}; give at least 1")

    def start(self, problem: Problem, params: Params) -> Float[Array, "b p"]:
        theta = tree.flatten(params)
        require(
            self.count <= theta.size,
            f"{self.count} eigenvalues were asked of a Hessian of size {theta.size}",
        )
        return jnp.zeros((min(self.count + 1, theta.size), theta.size), theta.dtype)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        product = hessian_product(problem.objective, params)
        again = moment.record % self.recheck == 0
        k = self.count
        found = tracked(product, memory, moment, self.tolerance, again, self.most_products, k)
        values, errors = found.values[:k], found.residuals[:k]
        return judged(values, errors, self.tolerance * jnp.abs(values[0])), found.ahead


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


def top_eigenvalues(
    count: int = 5, tolerance: float = 1e-2, recheck: int = 25, most_products: int = 400
) -> TopEigenvalues:
    """The largest Hessian eigenvalues; see `TopEigenvalues`."""
    return TopEigenvalues(count, tolerance, recheck, most_products)


def smallest_eigenvalue(products: int = 60, failure: float = 0.005) -> SmallestEigenvalue:
    """Smallest Hessian eigenvalue with a bound; see `SmallestEigenvalue`."""
    return SmallestEigenvalue(products, failure)
