"""Extreme Hessian eigenvalues along a run, warm-started from record to record."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from thalweg.core import tree
from thalweg.core.complement import is_due, missed
from thalweg.core.errors import require
from thalweg.core.hessian_product import Product, hessian_product
from thalweg.core.lanczos import Tracked, lanczos_smallest, track_largest
from thalweg.core.result import Reading, Result, finite
from thalweg.core.tree import Params
from thalweg.probes.flatness.measure import Costed, FlatnessMeasure
from thalweg.probes.probe import Moment, Probe, bent_objective
from thalweg.problems.problem import Problem

FAILURE = 0.005  # with which a recheck may overlook an eigenvalue


class Sharpness(FlatnessMeasure):
    """Largest Hessian eigenvalue, signed, of the full objective.

    value   (), loss/parameter^2; gradient descent's threshold of stability is 2/eta
    error   (), the true eigenvalue lies in [value, value + error]. At records 0, 5, 15, 35, ...,
            twice as many apart each time and at most `recheck`, and at every one of at most 256
            parameters, that holds with probability 0.995: Lanczos from a random start bounds what
            was missed. In between it holds unless an eigenvalue from outside the two vectors
            carried has overtaken since; the error is then ||H v - value v||. `bounds` says which
    result  NOT_CONVERGED if the error is above `tolerance * |value|`, infinite where
            `most_products` left none to look with; NONFINITE if the value is not finite
    cost    2 products when training moves slowly; at a recheck some 10 to 60 more, fewer the
            farther the largest eigenvalue stands out; at most about `most_products`. A gradient
            each

    Two vectors are carried from record to record, so that a second eigenvalue on its way up is
    seen before it takes over. Source: Lanczos (1950); Cohen et al. (2021), section 2.
    """

    tolerance: float = eqx.field(static=True, default=1e-2)
    recheck: int = eqx.field(static=True, default=25)
    most_products: int = eqx.field(static=True, default=200)
    name: ClassVar[str] = "sharpness"
    unit: ClassVar[str] = "loss/parameter^2"
    dims: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = "largest eigenvalue"
    unchanged_by: ClassVar[tuple[str, ...]] = ("translation", "permutation", "rotation")

    def start(self, problem: Problem, params: Params) -> Float[Array, "b p"]:
        theta = tree.flatten(params)
        return jnp.zeros((min(2, theta.size), theta.size), theta.dtype)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        found = self._found(problem, params, memory, moment)
        value, error, result = found.reading
        return Reading(value[0], error[0], result), found.memory

    def bounds(self, record: Int[Array, ""] | int, size: int) -> Bool[Array, ""] | bool:
        return is_due(record, self.recheck, size)

    def taken(self, problem: Problem, params: Params, key: Array) -> Costed:
        first = Moment(jnp.zeros((), int), key)
        found = self._found(problem, params, self.start(problem, params), first)
        value, error, result = found.reading
        return Costed(Reading(value[0], error[0], result), found.products.astype(float))

    def _found(self, problem: Problem, params: Params, memory: Any, moment: Moment) -> Largest:
        product = hessian_product(bent_objective(problem, params, "the sharpness"), params)
        return tracked(product, memory, moment, self.tolerance, self.recheck, self.most_products)


class Largest(NamedTuple):
    """The largest eigenvalues at a record.

    Attributes:
        reading: Values, descending, with errors and a code: NOT_CONVERGED where an error is above
            the tolerance times the largest value, rounding allowed for.
        memory: The block to start from at the next record.
        products: How many were spent.
        vectors: Orthonormal rows, the eigenvectors of the values.
        angle: How far their span is from that of the true ones, as a sine: residuals over the gap
            to the next Ritz value (Davis and Kahan); 0 if there are no further ones.
    """

    reading: Reading
    memory: Float[Array, "b p"]
    products: Int[Array, ""]
    vectors: Float[Array, "k p"]
    angle: Float[Array, ""]


class _Tried(NamedTuple):
    """A search, and a bound on what it missed."""

    found: Tracked
    block: Float[Array, "b p"]
    upper: Float[Array, " k"]
    scale: Float[Array, ""]
    again: Bool[Array, ""]
    rounds: Int[Array, ""]
    spent: Int[Array, ""]


def tracked(
    product: Product,
    memory: Float[Array, "b p"],
    moment: Moment,
    tolerance: float,
    recheck: int,
    most_products: int,
    wanted: int = 1,
) -> Largest:
    """Largest eigenvalues, from the vectors of the last record.

    At records 0, 5, 15, 35, ..., at most `recheck` apart, and at every one of few parameters
    (`thalweg.core.complement.is_due`), what the search may have missed is bounded from a random
    start, and whatever that sees is pursued until nothing more is seen: from a symmetric start, as
    a diagonal linear net, carried vectors can stay in a subspace that the flow does not leave, and
    another takes over. The wanted vectors survive a recheck, their challengers are drawn anew. Warm
    vectors that are not usable (at the first record, or after a divergence) are not kept.

    The true values lie at most an error above those read: with rho the root sum of squares of the
    residuals, lambda_j <= max(value_j, mu) + rho (Weyl) if no eigenvalue of the complement is above
    mu. Between rechecks it is taken that none is above the values read.
    """
    b, p = memory.shape
    # A search that met numbers which are not finite leaves zeros.
    total = jnp.sum(jnp.abs(memory))
    usable = (moment.record > 0) & jnp.isfinite(total) & (total > 0)
    again = jnp.asarray(is_due(moment.record, recheck, p))
    # A recheck leaves half of the tolerance to what the complement may hide.
    half = jnp.asarray(jnp.where(again, tolerance / 2, tolerance), memory.dtype)
    eps, tiny = jnp.finfo(memory.dtype).eps, jnp.finfo(memory.dtype).tiny

    def redrawn() -> Array:
        drawn = jax.random.normal(moment.key, memory.shape, memory.dtype)
        return drawn.at[:wanted].set(jnp.where(usable, memory[:wanted], drawn[:wanted]))

    def searched(s: _Tried) -> _Tried:
        left = jnp.asarray(most_products, s.spent.dtype) - s.spent
        found = track_largest(product, s.block, half, 0, left, wanted=wanted)
        values, spent = found.values[:wanted], s.spent + found.products
        rho = tree.length(found.residuals[:wanted])
        scale = jnp.maximum(s.scale, jnp.max(jnp.abs(found.values)))
        if wanted == p:
            return s._replace(found=found, upper=values + rho, scale=scale, again=again & False)
        allowed = jnp.maximum(half * jnp.abs(values[0]) + 100 * eps * scale, tiny)
        other = missed(
            product,
            found.vectors[:wanted],
            values[-1],
            allowed,
            jax.random.fold_in(moment.key, s.rounds + 1),
            jnp.where(again, most_products - spent, 0),
            FAILURE / 2.0 ** (s.rounds + 1).astype(memory.dtype),
            len(s.block) * 6,
        )
        spent = spent + other.products
        bound = jnp.maximum(values, values[-1] + other.beyond) + rho
        return _Tried(
            found,
            found.vectors.at[-1].set(other.vector),
            jnp.minimum(s.upper, bound),
            jnp.maximum(scale, other.scale),
            other.seen & (spent < most_products),
            s.rounds + 1,
            spent,
        )

    none = jnp.zeros(b, memory.dtype)
    whole = jnp.zeros((), jnp.int32)
    unknown = Tracked(none, none, jnp.zeros_like(memory), jnp.zeros_like(memory), whole)
    first = _Tried(
        unknown,
        jax.lax.cond(usable & ~again, lambda: memory, redrawn),
        jnp.full(wanted, jnp.inf, memory.dtype),
        jnp.zeros((), memory.dtype),
        jnp.asarray(True),
        whole,
        whole,
    )
    s = jax.lax.while_loop(lambda s: s.again, searched, first)
    values, rho = s.found.values[:wanted], tree.length(s.found.residuals[:wanted])
    rounding = 100 * eps * s.scale
    error = jnp.where(again, jnp.maximum(s.upper - values, 0), rho) + rounding
    allowed = tolerance * jnp.abs(values[0]) + 3 * rounding + 2 * tiny
    # An infinite error, where products ran out before anything was known, is no divergence.
    late = jnp.where(jnp.any(error > allowed), int(Result.NOT_CONVERGED), int(Result.OK))
    code = jnp.maximum(late.astype(jnp.int32), finite(values, rho))
    gap = values[-1] - s.found.values[wanted] if b > wanted else jnp.asarray(jnp.inf, rho.dtype)
    angle = jnp.where(gap > rho + rounding, rho / jnp.where(gap > 0, gap, 1), 1)
    return Largest(
        Reading(values, error, code), s.found.ahead, s.spent, s.found.vectors[:wanted], angle
    )


class TopEigenvalues(Probe):
    """The k largest Hessian eigenvalues, signed, in decreasing order.

    value   (eigenvalue,), loss/parameter^2
    error   (eigenvalue,), each true eigenvalue, counted as often as it occurs, lies in
            [value, value + error], as for `Sharpness`; between rechecks the error is the root sum
            of squares of the residuals ||H v - value v||
    result  NOT_CONVERGED if an error is above `tolerance` times the largest value
    cost    k + 1 products when training moves slowly, more at a recheck as for `Sharpness`, at
            most about `most_products`; a gradient each
    memory  12 (k + 1) vectors while it searches, k + 1 from record to record
    """

    count: int = eqx.field(static=True, default=5)
    tolerance: float = eqx.field(static=True, default=1e-2)
    recheck: int = eqx.field(static=True, default=25)
    most_products: int = eqx.field(static=True, default=400)
    name: ClassVar[str] = "top_eigenvalues"
    unit: ClassVar[str] = "loss/parameter^2"
    dims: ClassVar[tuple[str, ...]] = ("eigenvalue",)
    asks_process: ClassVar[bool] = False

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
        product = hessian_product(bent_objective(problem, params, "an eigenvalue"), params)
        most, k = self.most_products, self.count
        found = tracked(product, memory, moment, self.tolerance, self.recheck, most, k)
        return found.reading, found.memory

    def bounds(self, record: Int[Array, ""] | int, size: int) -> Bool[Array, ""] | bool:
        return is_due(record, self.recheck, size)


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
    asks_process: ClassVar[bool] = False

    def __check_init__(self) -> None:
        require(self.products >= 2, f"products came as {self.products}; give at least 2")
        require(0 < self.failure < 0.5, f"failure came as {self.failure}; give one in (0, 0.5)")

    def start(self, problem: Problem, params: Params) -> Float[Array, " p"]:
        return jnp.zeros_like(tree.flatten(params))

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        product = hessian_product(
            bent_objective(problem, params, "the smallest eigenvalue"), params
        )
        guess = jnp.where(jnp.all(jnp.isfinite(memory)), memory, jnp.zeros_like(memory))
        found = lanczos_smallest(product, guess, moment.key, self.products, self.failure)
        scale = jnp.maximum(jnp.abs(found.largest), jnp.abs(found.value))
        rounding = 100 * jnp.finfo(found.value.dtype).eps * scale
        error = found.missed + rounding
        allowed = jnp.maximum(error, self.tolerance * scale)
        late = (found.residual > allowed) | jnp.isinf(error)
        code = jnp.maximum(late.astype(jnp.int32), finite(found.value, found.residual))
        return Reading(found.value, error, code), found.vector


def sharpness(tolerance: float = 1e-2, recheck: int = 25, most_products: int = 200) -> Sharpness:
    """Largest Hessian eigenvalue; see `Sharpness`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: x[0] ** 2 + 4.5 * x[1] ** 2, start=jnp.ones(2))
        >>> reading = tw.measure(bowl, bowl.start, tw.probes.sharpness())
        >>> round(float(reading.value), 6), float(reading.error) < 0.01
        (9.0, True)
    """
    return Sharpness(tolerance, recheck, most_products)


def top_eigenvalues(
    count: int = 5, tolerance: float = 1e-2, recheck: int = 25, most_products: int = 400
) -> TopEigenvalues:
    """The largest Hessian eigenvalues; see `TopEigenvalues`.

    Examples:
        >>> bowl = tw.problems.Function(
        ...     lambda x: jnp.sum(jnp.array([1.0, 2.0, 5.0]) * x**2) / 2, start=jnp.ones(3)
        ... )
        >>> tw.measure(bowl, bowl.start, tw.probes.top_eigenvalues(2)).value.round(6).tolist()
        [5.0, 2.0]
    """
    return TopEigenvalues(count, tolerance, recheck, most_products)


def smallest_eigenvalue(products: int = 60, failure: float = 0.005) -> SmallestEigenvalue:
    """Smallest Hessian eigenvalue with a bound; see `SmallestEigenvalue`.

    Examples:
        >>> saddle = tw.problems.Function(lambda x: x[0] ** 2 / 2 - x[1] ** 2, start=jnp.ones(2))
        >>> round(float(tw.measure(saddle, saddle.start, tw.probes.smallest_eigenvalue()).value), 6)
        -2.0
    """
    return SmallestEigenvalue(products, failure)
