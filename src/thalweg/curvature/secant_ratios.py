"""Whether a landscape is convex towards a set of minima, though the set be large and curved."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.curvature.stagnation_sets import StagnationSet, require_nearest
from thalweg.problems.problem import Problem

ABREAST = 64  # points that are worked on at once


class EssentialConvexity(NamedTuple):
    """What sampled points say of c and M in <grad f, u> >= c |u|^2, |P grad f| <= M |u|.

    Attributes:
        secant: <grad f, u>/|u|^2 at every point (unit: loss/parameter^2); NaN on the set itself.
        growth: |P grad f|/|u|, P the part across the set where its normal space is known.
        distance: |u|.
        convexity: The least secant ratio: c is not above it, for certain; other points may be
            lower.
        smoothness: The largest growth: M is not below it.
        violations: The share of points at which the gradient leads away from the set.
        violations_error: Its standard error, of (v + 1/2)/(n + 1), so that it is never 0.
    """

    secant: Float[np.ndarray, " n"]
    growth: Float[np.ndarray, " n"]
    distance: Float[np.ndarray, " n"]
    convexity: float
    smoothness: float
    violations: float
    violations_error: float


def essential_convexity(
    problem: Problem, region: StagnationSet, points: Params
) -> EssentialConvexity:
    """Test local essential convexity about a set of minima, at some points.

        <grad f(theta), u> >= c |u|^2,    |P grad f(theta)| <= M |u|,    u = theta - pi(theta).

    Ordinary convexity is not asked: the set may be curved. With c and M, and 2c > eta M^2, noisy
    descent stays near the set: `tw.theory.stagnation.staying_probability`.

    Args:
        problem: f, best the population's (or an independent sample's) objective.
        region: The set; `stiff_set`, `affine_set` or `nearest_points`.
        points: Parameters, stacked along a new first axis: those that a run visited, or
            `affine_set(...).draws(radius, count, key)`.

    Returns:
        Ratios at every point and their extremes; see `EssentialConvexity` for what they bound.

    Raises:
        InputError: If the points are not stacked parameters, all lie on the set, or one has
            an offset or a gradient that is not finite.

    Cost: a gradient at every point.

    Source: Imaizumi and Schmidt-Hieber (2022), arXiv 2201.04545, essential convexity; this form
    derived.

    Examples:
        >>> ring = tw.problems.Function(lambda x: (jnp.linalg.norm(x) - 1) ** 2, jnp.ones(2))
        >>> circle = tw.curvature.nearest_points(lambda x: x / jnp.linalg.norm(x))
        >>> found = tw.curvature.essential_convexity(ring, circle, jnp.array([[2.0, 0], [0, 0.5]]))
        >>> round(found.convexity, 6), round(found.smoothness, 6), found.violations
        (2.0, 2.0, 0.0)
    """
    leaves = jax.tree.leaves(points)
    counts = {leaf.shape[0] if jnp.ndim(leaf) else 0 for leaf in leaves}
    require(
        len(counts) == 1 and min(counts) > 0,
        f"points came with first axes {sorted(counts)}; stack parameters along a new first axis",
    )
    require_nearest(region, tree.lane(points, 0))
    secant, growth, distance = (np.asarray(x) for x in _ratios(problem, region, points))
    there = distance > 0
    lost = ~np.isfinite(distance) | (there & ~np.isfinite(secant + growth))
    require(
        not bool(np.any(lost)),
        f"{np.sum(lost)} of {len(lost)} points have no finite offset and gradient; leave out those "
        "of runs that diverged",
    )
    require(bool(np.any(there)), "all points lie on the set; give some that do not")
    away, n = int(np.sum(secant[there] < 0)), int(np.sum(there))
    share = (away + 0.5) / (n + 1)
    return EssentialConvexity(
        secant,
        growth,
        distance,
        float(np.min(secant[there])),
        float(np.max(growth[there])),
        away / n,
        float(np.sqrt(share * (1 - share) / n)),
    )


@eqx.filter_jit
def _ratios(problem: Problem, region: StagnationSet, points: Params) -> tuple[Array, ...]:
    def one(params: Params) -> tuple[Array, ...]:
        u = region.offset(params)
        slope = tree.flatten(jax.grad(problem.objective)(params))
        square = jnp.sum(u * u)
        known = jnp.where(square > 0, square, jnp.nan)
        length = tree.length(region.across(params, slope))
        return jnp.sum(slope * u) / known, length / jnp.sqrt(known), jnp.sqrt(square)

    count = len(jax.tree.leaves(points)[0])
    return jax.lax.map(one, points, batch_size=min(ABREAST, count))
