"""Along a run: how far it is from a set of minima, and how much it moves in stiff directions."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.hessian_product import hessian_product
from thalweg.core.result import Reading, Result, exact, finite
from thalweg.core.tree import Params
from thalweg.curvature.stagnation_sets import StagnationSet, require_nearest
from thalweg.probes.curvature import tracked
from thalweg.probes.probe import Moment, Probe, bent_objective
from thalweg.problems.problem import Problem


class SetDistance(Probe):
    """The distance from a set of minima, |theta - pi(theta)|.

    value   (), parameter
    error   0: exact up to rounding and the set's own nearest point
    raises  InputError if the set does not fit the parameters
    cost    a nearest point
    """

    region: StagnationSet
    name: ClassVar[str] = "set_distance"
    unit: ClassVar[str] = "parameter"
    dims: ClassVar[tuple[str, ...]] = ()

    def start(self, problem: Problem, params: Params) -> Any:
        require_nearest(self.region, params)
        return ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(self.region.distance(params)), memory


class GradientOverlap(Probe):
    """The share of the gradient's squared length in the top eigenspace of the Hessian.

    value   (), 1: |V^T g|^2/|g|^2, V the `count` top eigenvectors; of a direction drawn at random
            `count`/p, see `tw.curvature.subspace_overlap`
    error   (), sin of the angle of the eigenspace that was found from the true one, by the
            residual over the gap to the next Ritz value (Davis and Kahan), at most 1
    result  NOT_CONVERGED if the error is above `tolerance`
    cost    `count` + 1 products when training moves slowly, more at a recheck, as `TopEigenvalues`;
            at most about `most_products`; a gradient each
    """

    count: int = eqx.field(static=True, default=10)
    tolerance: float = eqx.field(static=True, default=5e-2)
    recheck: int = eqx.field(static=True, default=25)
    most_products: int = eqx.field(static=True, default=800)
    name: ClassVar[str] = "gradient_overlap"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def __check_init__(self) -> None:
        require(self.count >= 1, f"count came as {self.count}; give at least 1")

    def start(self, problem: Problem, params: Params) -> Float[Array, "b p"]:
        theta = tree.flatten(params)
        require(
            self.count < theta.size,
            f"{self.count} eigenvectors of {theta.size} came; give fewer than there are parameters",
        )
        return jnp.zeros((self.count + 1, theta.size), theta.dtype)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        bent = bent_objective(problem, params, "the overlap with its eigenvectors")
        product = hessian_product(bent, params)
        found = tracked(product, memory, moment, 1e-3, self.recheck, self.most_products, self.count)
        g = tree.flatten(jax.grad(problem.objective)(params))
        length = tree.length(g)
        part = found.vectors @ (g / jnp.where(length > 0, length, 1))
        share = jnp.where(length > 0, jnp.sum(part * part), jnp.nan)
        share = jnp.where(jnp.isfinite(length), share, length)
        error = jnp.minimum(found.angle, 1)
        late = jnp.where(error > self.tolerance, int(Result.NOT_CONVERGED), int(Result.OK))
        code = jnp.maximum(late.astype(jnp.int32), finite(share, found.reading.value))
        return Reading(share, error, code), found.memory


def set_distance(region: StagnationSet) -> SetDistance:
    """The distance from a set of minima along a run; see `SetDistance`.

    Args:
        region: `tw.curvature.stiff_set`, `affine_set` or `nearest_points`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> centre = tw.curvature.affine_set(jnp.zeros(2))
        >>> far = tw.measure(bowl, jnp.array([3.0, 4.0]), tw.probes.set_distance(centre))
        >>> float(far.value)
        5.0
    """
    return SetDistance(region)


def gradient_overlap(
    count: int = 10, tolerance: float = 5e-2, recheck: int = 25, most_products: int = 800
) -> GradientOverlap:
    """The share of the gradient in the top eigenspace of the Hessian; see `GradientOverlap`.

    Args:
        count: Eigenvectors.
        tolerance: Error from which on the code is NOT_CONVERGED.
        recheck: Records from one check for overlooked eigenvalues to the next.
        most_products: Hessian products of one reading, about.

    Examples:
        >>> bowl = tw.problems.Function(
        ...     lambda x: jnp.sum(jnp.array([1.0, 2.0, 5.0]) * x**2) / 2, start=jnp.ones(3)
        ... )
        >>> found = tw.measure(bowl, bowl.start, tw.probes.gradient_overlap(1))
        >>> round(float(found.value), 6)  # 25/(1 + 4 + 25)
        0.833333
    """
    return GradientOverlap(count, tolerance, recheck, most_products)
