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
from thalweg.oracles.examples_shown import supervised_in
from thalweg.probes.finite_sum import WHY, no_finite_sum, single_gradients
from thalweg.problems.problem import Problem

DENSE, DEPTH = 64, 40  # parameters up to which Hessians are decomposed, and products beyond
ROUNDING = 10.0  # last digits by which a computed value, gradient or eigenvalue may be off
DIGITS = 0.1  # relative error from which on a quotient of differences is not looked at
LOWER, UPPER, ESTIMATE = "lower bound", "upper bound", "estimate"
MOST_EXAMPLES = 64  # whose own curvature is measured
SMOOTH = "loss/parameter^2"
GRADIENT = "loss^2/parameter^2"


class Assumption(NamedTuple):
    """A constant of a theorem, as it was measured.

    Attributes:
        name: The constant, by the names of `thalweg.theory.rates.CONSTANTS` where it is there.
        value: Measured; NaN if it could not be.
        error: Of the value at the points (same unit), rounding included: a residual of
            eigenvalues, the standard error of a fit or of a sample. A lower bound is at most the
            constant plus it, an upper bound at least the constant less it.
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
    of weak quasi-convexity; where the objective is a mean over examples also the largest and the
    mean square L_i of single ones (of 64 of them, evenly, where there are more), the variance of
    their gradients, and the constants of E||g_i||^2 <= 2 A (f - f_*) + B ||grad f||^2 + C, fitted.
    What is common to all of them, as weight decay, is a part of each (`no_finite_sum`).

    Without x* the least point stands for it, and weak quasi-convexity is an estimate.

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
        with their residual. Of extremes over points the one is taken that is furthest out with its
        own error allowed for: near a minimum differences have no digits left. Cost: at each point
        up to 64 Hessian products, and for single examples as many each.

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
    found = [*_of_curvature(at), *_of_classes(problem, points, at, end, least, others, own)]
    if not no_finite_sum(problem, points):
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
    off = ROUNDING * p**0.5 * jnp.finfo(like.dtype).eps
    if p <= DENSE:
        e = jnp.linalg.eigvalsh(jax.vmap(product)(jnp.eye(p, dtype=like.dtype)))
        return Extremes(e[0], e[-1], off * jnp.maximum(jnp.abs(e[0]), jnp.abs(e[-1])))
    space = tridiagonalise(product, jax.random.normal(key, (p,), like.dtype), DEPTH, key)
    e, V = jnp.linalg.eigh(space.projected)
    residual = space.remainder * jnp.maximum(jnp.abs(V[-1, 0]), jnp.abs(V[-1, -1]))
    return Extremes(e[0], e[-1], residual + off * jnp.maximum(jnp.abs(e[0]), jnp.abs(e[-1])))


@eqx.filter_jit
def _at_points(problem: Problem, points: Params) -> _Points:
    key = jax.random.key(0)

    def one(params: Params) -> tuple[Array, Array, Extremes]:
        value, gradient = jax.value_and_grad(problem.objective)(params)
        flat = ravel_pytree(gradient)[0]
        return value, flat, extremes(hessian_product(problem.objective, params), flat, key)

    def between(pair: tuple[Params, Params]) -> tuple[Array, Array, Array]:
        x, y = pair
        left, right = (hessian_product(problem.objective, at) for at in pair)
        way = tree.norm(tree.difference(x, y))
        found = extremes(lambda v: left(v) - right(v), ravel_pytree(x)[0], key)
        safe = jnp.where(way > 0, way, 1.0)
        bend = jnp.where(way > 0, found.size / safe, 0.0)
        return bend, jnp.where(way > 0, found.error / safe, 0.0), 1 / safe

    value, slope, curve = jax.lax.map(one, points)
    before, after = (jax.tree.map(lambda a, s=s: a[s], points) for s in (slice(-1), slice(1, None)))
    bend, error, per_way = jax.lax.map(between, (before, after))
    # Both Hessians have rounded by themselves, which a short way between them makes much of.
    off = ROUNDING * slope.shape[1] ** 0.5 * jnp.finfo(slope.dtype).eps
    error += off * (curve.size[:-1] + curve.size[1:]) * per_way
    return _Points(value, slope, curve, bend, error)


def _of_curvature(at: _Points) -> list[Assumption]:
    size, e = np.asarray(at.extremes.size), np.asarray(at.extremes.error)
    small, bend, off = (np.asarray(a) for a in (at.extremes.smallest, at.bend, at.bend_error))
    most, least = int(np.argmax(size - e)), int(np.argmin(small + e))
    bent = int(np.argmax(bend - off))
    return [
        Assumption(
            "smoothness", float(size[most]), float(e[most]), LOWER, SMOOTH,
            "L, the largest |eigenvalue| of the Hessian",
        ),
        Assumption(
            "convexity", float(small[least]), float(e[least]), UPPER, SMOOTH,
            "mu, the smallest eigenvalue of the Hessian; below 0 the problem is not convex",
        ),
        Assumption(
            "hessian_lipschitz", float(bend[bent]), float(off[bent]), LOWER,
            "loss/parameter^3", "L_2, from the Hessians of neighbouring points",
        ),
    ]  # fmt: skip


def _of_classes(
    problem: Problem, points: Params, at: _Points, end: Params, least: float, others: np.ndarray,
    own: bool,
) -> list[Assumption]:  # fmt: skip
    value, slope = np.asarray(at.value, float), np.asarray(at.slope, float)
    flat = np.asarray(jax.vmap(lambda x: ravel_pytree(x)[0])(points), float)
    last = np.asarray(ravel_pytree(end)[0], float)
    gap, norm = value - least, np.linalg.norm(slope, axis=1)
    # Rounding of values, and of gradients, whose terms are as large as H x.
    eps = ROUNDING * float(jnp.finfo(at.slope.dtype).eps)
    gap_off = eps * np.maximum(np.abs(value), abs(least))
    L = np.asarray(at.extremes.size, float).max()
    norm_off = eps * (norm + L * np.linalg.norm(flat, axis=1))
    sound = others & (gap > gap_off / DIGITS) & (norm > norm_off / DIGITS)
    gap, norm = np.where(sound, gap, 1.0), np.where(sound, norm, 1.0)
    pl = pl_constant(norm, gap)
    ways = flat - last
    alpha = np.sum(ways * slope, axis=1) / gap
    alpha_off = (norm_off * np.linalg.norm(ways, axis=1) + np.abs(alpha) * gap_off) / gap
    mu, mu_off = _least(pl, pl * (2 * norm_off / norm + gap_off / gap), sound)
    if own and mu > 0:  # how far x* is yet, and how deep below, if mu is that of the function
        rest = float(np.linalg.norm(ravel_pytree(jax.grad(problem.objective)(end))[0]))
        alpha_off += (norm * rest / mu + np.abs(alpha) * rest**2 / (2 * mu)) / gap
    return [
        Assumption(
            "domination", mu, mu_off, UPPER, SMOOTH,
            "mu of Polyak and Lojasiewicz, ||grad f||^2/(2 (f - f_*))",
        ),
        Assumption(
            "quasi_convexity", *_least(alpha, alpha_off, sound), ESTIMATE if own else UPPER, "1",
            "alpha of weak quasi-convexity, <grad f, x - x*>/(f - f_*)"
            + (", x* the least point seen" if own else ""),
        ),
    ]  # fmt: skip


def _of_examples(problem: Problem, points: Params, at: _Points, least: float) -> list[Assumption]:
    n = len(supervised_in(problem, *WHY).inputs)
    rows = np.unique(np.linspace(0, n - 1, min(n, MOST_EXAMPLES)).astype(int))
    some = "" if len(rows) == n else f", of {len(rows)} examples of {n}"
    each, error = _curvature_of(problem, points, jnp.asarray(rows))
    each, off = np.asarray(each).max(0), float(np.asarray(error).max())
    mean = float(np.sqrt(np.mean(each**2)))
    # Of a part of the examples the mean is a sample's, drawn without replacement.
    drawn = 0.0
    if len(rows) < n:
        scatter = np.std(each**2, ddof=1) * np.sqrt((1 / len(rows)) * (1 - len(rows) / n))
        drawn = float(scatter / (2 * max(mean, 1e-300)))
    alone = single_gradients(problem, points)
    square, spread = np.asarray(alone.square, float), np.asarray(alone.spread, float)
    rounded = ROUNDING * float(jnp.finfo(at.slope.dtype).eps)
    norm = np.sum(np.asarray(at.slope) ** 2, axis=1)
    gap = np.maximum(np.asarray(at.value, float) - least, 0.0)
    found = [
        Assumption(
            "example_smoothness", float(each.max()), off, LOWER, SMOOTH,
            f"L_max, the largest L_i of single examples{some}",
        ),
        Assumption(
            "mean_smoothness", mean, off + drawn, ESTIMATE if drawn else LOWER, SMOOTH,
            f"L_av, the root of the mean L_i^2{some}",
        ),
        Assumption(
            "example_variance", float(spread.max()), rounded * float(square.max()), LOWER, GRADIENT,
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
def _curvature_of(problem: Problem, points: Params, rows: Array) -> tuple[Array, Array]:
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


def _least(values: np.ndarray, errors: np.ndarray, sound: np.ndarray) -> tuple[float, float]:
    """The smallest with its error on top, and the error."""
    if not sound.any():
        return float("nan"), float("nan")
    i = int(np.argmin(np.where(sound, values + errors, np.inf)))
    return float(values[i]), float(errors[i])
