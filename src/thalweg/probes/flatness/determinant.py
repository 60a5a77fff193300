"""The trace of the Hessian and the logarithm of its pseudo-determinant, as probes."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.hessian_product import dense_hessian
from thalweg.core.result import Reading, Result, finite
from thalweg.core.tree import Params
from thalweg.curvature.operators import hessian
from thalweg.curvature.stochastic import trace
from thalweg.probes.flatness.measure import Costed, FlatnessMeasure
from thalweg.probes.probe import bent_objective
from thalweg.problems.problem import Problem

MOST_DENSE = 4000  # parameters: 128 MB of Hessian


class HessianTrace(FlatnessMeasure):
    """The trace of the Hessian of the full objective.

    value   (), loss/parameter^2
    error   (), as of `thalweg.curvature.trace`: three of them hold the truth in 99.7 % of draws; 0
            where `products` reaches the number of parameters
    result  NONFINITE if the value is not finite
    cost    `products` Hessian products, 2 gradients each
    """

    products: int = eqx.field(static=True, default=60)
    name: ClassVar[str] = "hessian_trace"
    unit: ClassVar[str] = "loss/parameter^2"
    dims: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = "trace of the Hessian"
    unchanged_by: ClassVar[tuple[str, ...]] = ("translation", "permutation", "rotation")

    def __check_init__(self) -> None:
        require(self.products >= 10, f"products came as {self.products}; give at least 10")

    def taken(self, problem: Problem, params: Params, key: Array) -> Costed:
        bent_objective(problem, params, "the trace")
        spent = min(self.products, tree.size(params))
        reading = trace(hessian(problem, params), key, products=self.products)
        return Costed(reading, jnp.asarray(2.0 * spent))


class LogPseudoDeterminant(FlatnessMeasure):
    """sum of log |lambda| over the eigenvalues of the Hessian that are not flat.

    value   (), natural logarithm; of the directions that the Hessian bends, |lambda| above
            `tolerance` times the largest
    error   (), what rounding of the eigenvalues can change, sum of 100 eps |lambda|_max/|lambda|
    result  NOT_CONVERGED where the rank is not plain: the largest eigenvalue that was left out is
            above a tenth of the smallest that was not
    raises  InputError above 4,000 parameters
    cost    a Hessian product a parameter, p^2 numbers and an eigendecomposition
    """

    tolerance: float = eqx.field(static=True, default=1e-6)
    name: ClassVar[str] = "log_pseudo_determinant"
    unit: ClassVar[str] = "log(loss/parameter^2)"
    dims: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = "log pseudo-determinant"
    unchanged_by: ClassVar[tuple[str, ...]] = ("translation", "permutation", "rotation")

    def __check_init__(self) -> None:
        require(0 < self.tolerance < 1, f"tolerance came as {self.tolerance}; give one in (0, 1)")

    def taken(self, problem: Problem, params: Params, key: Array) -> Costed:
        p = tree.size(params)
        require(
            p <= MOST_DENSE,
            f"the pseudo-determinant needs the whole Hessian, and there are {p} parameters; give a "
            f"problem of at most {MOST_DENSE}",
        )
        bent = bent_objective(problem, params, "the pseudo-determinant")
        values = jnp.linalg.eigvalsh(dense_hessian(bent, params))
        sizes, largest = jnp.abs(values), jnp.max(jnp.abs(values))
        across = sizes > self.tolerance * largest
        value = jnp.sum(jnp.log(jnp.where(across, sizes, 1)))
        rounding = 100 * jnp.finfo(sizes.dtype).eps * largest
        error = rounding * jnp.sum(jnp.where(across, 1 / jnp.where(across, sizes, 1), 0))
        gap = jnp.max(jnp.where(across, 0, sizes)) / jnp.min(jnp.where(across, sizes, jnp.inf))
        unclear = jnp.where(gap > 0.1, int(Result.NOT_CONVERGED), int(Result.OK))
        code = jnp.maximum(unclear.astype(jnp.int32), finite(values))
        bad = code >= int(Result.NONFINITE)
        reading = Reading(jnp.where(bad, jnp.nan, value), error, code)
        return Costed(reading, jnp.asarray(2.0 * p))


def hessian_trace(products: int = 60) -> HessianTrace:
    """The trace of the Hessian; see `HessianTrace`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: x[0] ** 2 + 4.5 * x[1] ** 2, start=jnp.ones(2))
        >>> round(float(tw.measure(bowl, bowl.start, "hessian-trace").value), 6)
        11.0
    """
    return HessianTrace(products)


def log_pseudo_determinant(tolerance: float = 1e-6) -> LogPseudoDeterminant:
    """Log-determinant of the Hessian across its flat directions; see `LogPseudoDeterminant`.

    Args:
        tolerance: Eigenvalues below this share of the largest in size are flat.

    Examples:
        >>> valley = tw.problems.Function(lambda x: 2 * (x[0] + x[1]) ** 2, start=jnp.zeros(2))
        >>> reading = tw.measure(valley, valley.start, "log-pseudo-determinant")
        >>> round(float(jnp.exp(reading.value)), 6)  # eigenvalues 8 and 0
        8.0
    """
    return LogPseudoDeterminant(tolerance)
