"""Gradients from few directions: two values of the objective each, or a slope along coordinates."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require, unknown
from thalweg.core.ranges import positive
from thalweg.core.tree import Params
from thalweg.oracles.oracle import Counts, Oracle
from thalweg.oracles.random_numbers import normals
from thalweg.problems.problem import Problem

LAWS = ("normal", "sphere", "coordinates")


class Directions(Oracle):
    """g = 1/m sum_j D_j u_j, D_j the slope of f along u_j, E u u^T = I; see `two_point`.

    Attributes:
        count: m.
        law: "normal", "sphere" of radius sqrt(p), or "coordinates", sqrt(p) e_i with m distinct i.
        differences: Whether D_j is a central difference of two values; else it is the derivative.
        smoothing: h of the differences, on |u| of about sqrt(p); None for a choice by precision.
    """

    count: int = eqx.field(static=True, default=1)
    law: str = eqx.field(static=True, default="normal")
    differences: bool = eqx.field(static=True, default=True)
    smoothing: Float[Array, ""] | None = None

    @property
    def name(self) -> str:
        kind = "coordinate" if self.law == "coordinates" else "random direction"
        return f"along {self.count} {kind}" + ("" if self.count == 1 else "s")

    @property
    def source(self) -> str:
        return "random directions"

    def suit(self, problem: Problem) -> None:
        p = tree.size(jax.eval_shape(problem.init, jax.random.key(0)))
        require(
            self.law != "coordinates" or self.count <= p,
            f"{self.count} coordinates of {p} came; give 1 to {p}",
        )

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        p, kind = tree.size(params), jax.tree.leaves(params)[0].dtype
        if self.law == "coordinates":
            if self.count == 1:
                return jax.random.randint(key, (count, 1), 0, p, jnp.int32)
            order = jax.random.bits(key, (count, p), jnp.uint32)
            return jax.lax.top_k(order, self.count)[1].astype(jnp.int32)
        u = normals(key, (count, self.count, p), kind)
        if self.law == "sphere":
            u = u * (p**0.5 / jnp.sqrt(jnp.sum(u * u, axis=-1, keepdims=True)))
        return u

    def see(self, problem: Problem, params: Params, draw: Any) -> Problem:
        h = self.smoothing
        if h is None:
            h = jnp.asarray(float(jnp.finfo(jax.tree.leaves(params)[0].dtype).eps) ** (1 / 3))
        return Along(problem, draw, h, self.law == "coordinates", self.differences)

    def counts(self, problem: Problem) -> Counts:
        if self.differences:
            return Counts(values=2 * self.count, gradients=0)
        return Counts()

    def size(self, problem: Problem, params: Params) -> int:
        return tree.size(params)

    def noise(self, problem: Problem, params: Params, xi: Float[Array, " m"]) -> Params:
        g, unravel = ravel_pytree(jax.grad(problem.objective)(params))
        p = g.size
        xi = xi.astype(g.dtype)
        if self.law == "coordinates":
            left = (p - self.count) / max(p - 1, 1)
            return unravel((left * p / self.count) ** 0.5 * g * (xi - jnp.mean(xi)))
        # Sigma = |g|^2 (a (I - P) + b P)/m, P the projector on g.
        a, b = (1.0, 2.0) if self.law == "normal" else (p / (p + 2), (2 * p - 2) / (p + 2))
        length = tree.length(g)
        unit = g / jnp.where(length > 0, length, 1)
        onto = jnp.sum(unit * xi) * unit
        return unravel(length / self.count**0.5 * (a**0.5 * (xi - onto) + b**0.5 * onto))


class Along(Problem):
    """An objective whose derivatives are seen along some directions alone.

    Attributes:
        problem: f.
        directions: u_j, (m, p), or the places (m,) of coordinates.
        smoothing: h.
        coordinates: Whether directions are coordinates.
        differences: Whether slopes are differences of two values.
    """

    problem: Problem
    directions: Array
    smoothing: Float[Array, ""]
    coordinates: bool = eqx.field(static=True)
    differences: bool = eqx.field(static=True)

    def init(self, key: Array) -> Params:
        return self.problem.init(key)

    @property
    def smooth(self) -> bool:
        return self.problem.smooth

    def describe(self) -> dict[str, Any]:
        return self.problem.describe()

    def objective(self, params: Params) -> Float[Array, ""]:
        @jax.custom_jvp
        def seen(params: Params) -> Array:
            return self.problem.objective(params)

        @seen.defjvp
        def _(primals: tuple[Params], tangents: tuple[Params]) -> tuple[Array, Array]:
            value, gradient = self._estimate(*primals)
            return value, tree.dot(gradient, tangents[0])

        return seen(params)

    def _estimate(self, params: Params) -> tuple[Array, Params]:
        """The value, and g."""
        theta, unravel = ravel_pytree(params)
        p, (m, *_) = theta.size, self.directions.shape
        reach = p**0.5 if self.differences else 1.0  # of a coordinate direction

        def f(theta: Array) -> Array:
            return self.problem.objective(unravel(theta))

        def direction(given: Array) -> Array:
            if self.coordinates:
                return jnp.zeros_like(theta).at[given].set(reach)
            return given

        if self.differences:
            h = self.smoothing.astype(theta.dtype)

            def slope(given: Array) -> tuple[Array, Array]:
                ahead, behind = f(theta + h * direction(given)), f(theta - h * direction(given))
                return (ahead + behind) / 2, (ahead - behind) / (2 * h)

            values, slopes = jax.lax.map(slope, self.directions, batch_size=min(m, 16))
            value = jnp.mean(values)
        elif m == 1:  # forwards, a third of a gradient
            value, one = jax.jvp(f, (theta,), (direction(self.directions[0]),))
            slopes = one[None]
        else:
            value, gradient = jax.value_and_grad(f)(theta)
            slopes = gradient[self.directions]
        if self.coordinates:
            flat = jnp.zeros_like(theta).at[self.directions].add(p / (reach * m) * slopes)
        else:
            flat = slopes @ self.directions / m
        return value, unravel(flat)


def two_point(
    smoothing: float | Array | None = None, directions: int = 1, law: str = "normal"
) -> Directions:
    """A gradient from two values of the objective along each of some random directions.

        g = 1/m sum_j (f(theta + h u_j) - f(theta - h u_j))/(2h) u_j,    E u u^T = I.

    Unbiased up to h^2 |u|^4 times the third derivative and to rounding of f over h, exactly so on
    quadratics. As h goes to 0, with g the gradient in place,

        Sigma = 1/m (|g|^2 I + g g^T)                                       normal
        Sigma = 1/m (p/(p + 2) |g|^2 I + (p - 2)/(p + 2) g g^T)             sphere
        Sigma = c/m (p diag(g^2) - g g^T),    c = (p - m)/(p - 1)           coordinates

    Args:
        smoothing: h, above 0 (unit: parameter); None for the cube root of the rounding unit.
        directions: m, drawn afresh at each step.
        law: "normal", "sphere" of radius sqrt(p), or "coordinates", sqrt(p) e_i, all i distinct.

    Raises:
        InputError: If a number or a name is out of range; at the start of a run, if there are
            fewer coordinates.

    Cost: 2m values of the objective a step, and no gradient. A step that looks at several points
    takes the same directions at each.

    Source: Nesterov and Spokoiny (2017), Foundations of Computational Mathematics 17.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.array([3.0, 4.0]))
        >>> values_only = tw.oracles.two_point(1e-3)
        >>> values_only.covariance(bowl, bowl.start).dense().round(9).tolist()  # 25 I + g g^T
        [[34.0, 12.0], [12.0, 41.0]]
    """
    require(law in LAWS, unknown(law, LAWS, "law of the directions"))
    h = None if smoothing is None else positive("smoothing", smoothing)
    return Directions(_many(directions, "directions"), law, True, h)


def coordinate(count: int = 1) -> Directions:
    """The exact derivative along some random coordinates: coordinate descent.

        g = p/m sum_j df/dtheta_(i_j) e_(i_j),    Sigma = (p - m)/(p - 1)/m (p diag(g^2) - g g^T),

    m distinct coordinates of p, so that all of them give the gradient. Unbiased: a step of size
    eta moves a coordinate by p/m eta.

    Args:
        count: m.

    Raises:
        InputError: If it is no whole number of at least 1; at the start of a run, if there are
            fewer coordinates.

    Cost: a derivative along one direction, about two values of the objective, or a gradient if m
    is above 1.

    Source: Nesterov (2012), SIAM Journal on Optimization 22.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.array([3.0, 4.0]))
        >>> one = tw.oracles.coordinate()
        >>> jax.grad(one.see(bowl, bowl.start, jnp.array([1])).objective)(bowl.start).tolist()
        [0.0, 8.0]
    """
    return Directions(_many(count, "count"), "coordinates", False)


def _many(value: int, name: str) -> int:
    require(
        not misfit(value, int) and value >= 1,
        f"{name} came as {told(value)}; give a whole number from 1 on",
    )
    return int(value)
