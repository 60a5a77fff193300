"""The constants that theorems on optimisers assume, measured at the points of a path.

A constant that bounds from above all over the space, as L, is at least its largest value at the
points seen: what is measured is a lower bound. One that bounds from below, as the constant of
Polyak and Lojasiewicz, is at most its smallest value there: an upper bound. Along the path itself
both are the constants that a theorem's proof uses, between the points up to how they vary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.arguments import told
from thalweg.core.errors import require
from thalweg.core.hessian_product import hessian_product
from thalweg.core.lanczos import tridiagonalise
from thalweg.core.tree import Params
from thalweg.curvature import pl_constant
from thalweg.oracles.batches import minibatch
from thalweg.problems.problem import Problem, Supervised

DENSE, DEPTH = 64, 40  # parameters up to which Hessians are decomposed, and products beyond
LOWER, UPPER, ESTIMATE = "lower bound", "upper bound", "estimate"
MOST_EXAMPLES = 64  # whose own curvature is measured
SMOOTH = "loss/parameter^2"
GRADIENT = "loss^2/parameter^2"


class Assumption(NamedTuple):
    """A constant of a theorem, as it was measured.

    Attributes:
        name: The constant, by the names of `thalweg.theory.rates.CONSTANTS` where it is there.
        value: Measured; NaN if it could not be.
        error: Of the value at the points (same unit): a residual of eigenvalues, the standard error
            of a fit; 0 where only rounding is left.
        bound: "lower bound", "upper bound" or "estimate" of the constant over all the space.
        unit: Of both.
        about: What it is, and what was not measured of it.
    """

    name: str
    value: float
    error: float
    bound: str
    unit: str
    about: str


class Extremes(NamedTuple):
    """The outermost eigenvalues of a symmetric map, each with its residual."""

    smallest: Float[Array, ""]
    largest: Float[Array, ""]
    error: Float[Array, ""]

    @property
    def size(self) -> Array:
        """The largest in size."""
        return jnp.maximum(jnp.abs(self.smallest), jnp.abs(self.largest))


def measured_assumptions(
    problem: Problem, points: Params, minimum: Params | None = None, least: float | None = None
) -> tuple[Assumption, ...]:
    """The constants of theorems at the points of a path.

    L, the least curvature, L_2 between neighbours; the constant of Polyak and Lojasiewicz and that
    of weak quasi-convexity; on data also the largest and the mean square L_i of single examples
    (of 64 of them, evenly, where there are more), the variance of their gradients, and
    the constants of E||g_i||^2 <= 2 A (f - f_*) + B ||grad f||^2 + C, fitted.

    Args:
        problem: What is trained.
        points: Parameters at several points in the order of the path, a leading axis on each leaf.
        minimum: x*, to which weak quasi-convexity refers; the lowest of the points by default,
            which is then left out.
        least: f_*; the value at `minimum` by default.

    Returns:
        The constants; see `Assumption` for what is a bound and what an estimate.

    Raises:
        InputError: If there are fewer than three points.

    Error: Eigenvalues of up to 64 parameters are exact up to rounding, beyond they are Ritz values
        with their residual. Cost: at each point up to 64 Hessian products, and for single examples
        as many each.

    Source: Danilova et al. (2022), sections 2 to 4; Khaled and Richtarik (2023) for A, B and C.

    Examples:
        >>> bowl = tw.problems.Quadratic([1.0, 4.0], slope=[0.0, 0.0], start=[1.0, 1.0])
        >>> points = jnp.array([[1.0, 1.0], [0.5, 0.0], [0.0, 0.1]])
        >>> found = tw.probes.measured_assumptions(bowl, points, jnp.zeros(2), 0.0)
        >>> [(a.name, round(a.value, 9), a.bound) for a in found[:2]]
        [('smoothness', 4.0, 'lower bound'), ('convexity', 1.0, 'upper bound')]
    """
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    _fit("points", points, shapes, 1)
    _fit("minimum", shapes if minimum is None else minimum, shapes, 0)
    count = len(jax.tree.leaves(points)[0])
    require(count >= 3, f"{count} points came; give three or more, in the order of the path")
    require(
        least is None or bool(np.isfinite(least)),
        f"least came as {least}; give the infimum of the objective, a finite number",
    )
    at = _at_points(problem, points)
    lowest = int(jnp.argmin(at.value))
    own = minimum is None
    end = tree.lane(points, lowest) if minimum is None else minimum
    if least is None:
        least = float(problem.objective(end))
    others = np.arange(count) != lowest if own else np.ones(count, bool)
    found = [*_of_curvature(at), *_of_classes(problem, points, at, end, least, others)]
    if isinstance(problem, Supervised) and problem.plain and problem.model.separable:
        found += _of_examples(problem, points, at, least)
    return tuple(found)


def _fit(name: str, given: Any, shapes: Any, axes: int) -> None:
    """Refuse what is not parameters of the problem, behind so many leading axes."""
    one: Any = jax.tree.structure(given)
    same = one == jax.tree.structure(shapes)
    pairs = zip(jax.tree.leaves(given), jax.tree.leaves(shapes), strict=True) if same else ()
    fits = same and all(
        np.ndim(a) == b.ndim + axes and np.shape(a)[axes:] == b.shape for a, b in pairs
    )
    lead = " with a leading axis on each array" if axes else ""
    require(fits, f"{name} came as {told(given)}; give parameters as problem.init draws them{lead}")


class _Points(NamedTuple):
    value: Array
    slope: Array  # (points, p)
    extremes: Extremes
    bend: Array  # ||H(x) - H(y)||/||x - y|| of neighbours
    bend_error: Array


def extremes(product: Callable[[Array], Array], like: Array, key: Array) -> Extremes:
    """The outermost eigenvalues of a symmetric map on vectors of a shape."""
    p = like.size
    if p <= DENSE:
        e = jnp.linalg.eigvalsh(jax.vmap(product)(jnp.eye(p, dtype=like.dtype)))
        return Extremes(e[0], e[-1], jnp.zeros_like(e[0]))
    space = tridiagonalise(product, jax.random.normal(key, (p,), like.dtype), DEPTH, key)
    e, V = jnp.linalg.eigh(space.projected)
    residual = space.remainder * jnp.maximum(jnp.abs(V[-1, 0]), jnp.abs(V[-1, -1]))
    return Extremes(e[0], e[-1], residual)


@eqx.filter_jit
def _at_points(problem: Problem, points: Params) -> _Points:
    key = jax.random.key(0)

    def one(params: Params) -> tuple[Array, Array, Extremes]:
        value, gradient = jax.value_and_grad(problem.objective)(params)
        flat = ravel_pytree(gradient)[0]
        return value, flat, extremes(hessian_product(problem.objective, params), flat, key)

    def between(pair: tuple[Params, Params]) -> tuple[Array, Array]:
        x, y = pair
        left, right = (hessian_product(problem.objective, at) for at in pair)
        way = tree.norm(tree.difference(x, y))
        found = extremes(lambda v: left(v) - right(v), ravel_pytree(x)[0], key)
        safe = jnp.where(way > 0, way, 1.0)
        bend = jnp.where(way > 0, found.size / safe, 0.0)
        return bend, jnp.where(way > 0, found.error / safe, 0.0)

    value, slope, curve = jax.lax.map(one, points)
    before, after = (jax.tree.map(lambda a, s=s: a[s], points) for s in (slice(-1), slice(1, None)))
    return _Points(value, slope, curve, *jax.lax.map(between, (before, after)))


def _of_curvature(at: _Points) -> list[Assumption]:
    size, e = np.asarray(at.extremes.size), np.asarray(at.extremes.error)
    small, bend = np.asarray(at.extremes.smallest), np.asarray(at.bend)
    return [
        Assumption(
            "smoothness", float(size.max()), float(e[size.argmax()]), LOWER, SMOOTH,
            "L, the largest |eigenvalue| of the Hessian",
        ),
        Assumption(
            "convexity", float(small.min()), float(e[small.argmin()]), UPPER, SMOOTH,
            "mu, the smallest eigenvalue of the Hessian; below 0 the problem is not convex",
        ),
        Assumption(
            "hessian_lipschitz", float(bend.max()), float(at.bend_error[int(bend.argmax())]),
            LOWER, "loss/parameter^3", "L_2, from the Hessians of neighbouring points",
        ),
    ]  # fmt: skip


def _of_classes(
    problem: Problem, points: Params, at: _Points, end: Params, least: float, others: np.ndarray
) -> list[Assumption]:
    gap = np.asarray(at.value, float) - least
    # A gap within rounding of the value has no digits left.
    sound = others & (gap > 1e-12 * np.abs(np.asarray(at.value, float)).max())
    norm = np.linalg.norm(np.asarray(at.slope), axis=1)
    pl = np.where(sound, pl_constant(norm, np.where(sound, gap, 1.0)), np.nan)
    ways = jax.vmap(lambda x: ravel_pytree(tree.difference(x, end))[0])(points)
    inner = np.sum(np.asarray(ways) * np.asarray(at.slope), axis=1)
    alpha = np.where(sound, inner / np.where(sound, gap, 1.0), np.nan)
    return [
        Assumption(
            "domination", _least(pl), 0.0, UPPER, SMOOTH,
            "mu of Polyak and Lojasiewicz, ||grad f||^2/(2 (f - f_*))",
        ),
        Assumption(
            "quasi_convexity", _least(alpha), 0.0, UPPER, "1",
            "alpha of weak quasi-convexity, <grad f, x - x*>/(f - f_*)",
        ),
    ]  # fmt: skip


def _of_examples(
    problem: Supervised, points: Params, at: _Points, least: float
) -> list[Assumption]:
    n = len(problem.inputs)
    rows = np.unique(np.linspace(0, n - 1, min(n, MOST_EXAMPLES)).astype(int))
    some = "" if len(rows) == n else f", of {len(rows)} examples of {n}"
    each, error = _curvature_of(problem, points, jnp.asarray(rows))
    each, off = np.asarray(each).max(0), float(np.asarray(error).max())
    square, spread = (np.asarray(a, float) for a in _gradients_of(problem, points))
    norm = np.sum(np.asarray(at.slope) ** 2, axis=1)
    gap = np.maximum(np.asarray(at.value, float) - least, 0.0)
    found = [
        Assumption(
            "example_smoothness", float(each.max()), off, LOWER, SMOOTH,
            f"L_max, the largest L_i of single examples{some}",
        ),
        Assumption(
            "mean_smoothness", float(np.sqrt(np.mean(each**2))), off, LOWER, SMOOTH,
            f"L_av, the root of the mean L_i^2{some}",
        ),
        Assumption(
            "example_variance", float(spread.max()), 0.0, LOWER, GRADIENT,
            "sigma^2, mean of ||grad f_i - grad f||^2",
        ),
    ]  # fmt: skip
    fitted, errors = _growth(square, gap, norm)
    units = {"growth_a": SMOOTH, "growth_b": "1", "growth_c": GRADIENT}
    words = "of E||grad f_i||^2 <= 2 A (f - f_*) + B ||grad f||^2 + C, at all points"
    for name, value, error in zip(units, fitted, errors, strict=True):
        about = f"{name[-1].upper()} {words}"
        found.append(Assumption(name, float(value), float(error), ESTIMATE, units[name], about))
    return found


@eqx.filter_jit
def _curvature_of(problem: Supervised, points: Params, rows: Array) -> tuple[Array, Array]:
    """The largest |eigenvalue| of the Hessian of single examples, (points, rows), and residuals."""
    single = minibatch(1, replace=True)

    def one(params: Params, row: Array) -> tuple[Array, Array]:
        alone = single.see(problem, params, row[None])
        product = hessian_product(alone.objective, params)
        found = extremes(product, ravel_pytree(params)[0], jax.random.key(1))
        return found.size, found.error

    return jax.lax.map(
        lambda params: jax.lax.map(lambda row: one(params, row), rows, batch_size=8), points
    )


@eqx.filter_jit
def _gradients_of(problem: Supervised, points: Params) -> tuple[Array, Array]:
    """Mean ||grad f_i||^2 and mean ||grad f_i - grad f||^2 at each point."""
    single = minibatch(1, replace=True)
    rows = jnp.arange(len(problem.inputs))

    def one(params: Params) -> tuple[Array, Array]:
        whole = ravel_pytree(jax.grad(problem.objective)(params))[0]

        def example(row: Array) -> tuple[Array, Array]:
            alone = single.see(problem, params, row[None])
            g = ravel_pytree(jax.grad(alone.objective)(params))[0]
            return jnp.sum(g**2), jnp.sum((g - whole) ** 2)

        square, spread = jax.lax.map(example, rows, batch_size=32)
        return jnp.mean(square), jnp.mean(spread)

    return jax.lax.map(one, points)


def _growth(square: Any, gap: Any, norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Constants that are not negative and hold at all points, and jackknifed standard errors."""
    terms = np.stack([2 * gap, norm, np.ones_like(gap)], axis=1)

    def fit(kept: np.ndarray) -> np.ndarray:
        scale = np.maximum(terms[kept].max(0), 1e-300)
        weight = 1 / np.maximum(square[kept], 1e-300)  # relative misfits
        found = scipy.optimize.nnls(terms[kept] / scale * weight[:, None], square[kept] * weight)[0]
        return found / scale

    everything = np.arange(len(square))
    found = fit(everything)
    without = np.stack([fit(np.delete(everything, i)) for i in everything])
    k = len(square)
    errors = np.sqrt((k - 1) / k * np.sum((without - without.mean(0)) ** 2, axis=0))
    worst = np.max(square / np.maximum(terms @ found, 1e-300))
    return found * max(worst, 1.0), errors * max(worst, 1.0)


def _least(values: np.ndarray) -> float:
    return float(np.nanmin(values)) if np.any(np.isfinite(values)) else float("nan")
