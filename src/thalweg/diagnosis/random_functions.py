"""Functions drawn at random whose constants are known: what bounds of theorems are tried on.

    f(x) = sum_i q_i z_i^2/2 + (c_i/s_i^2) (sqrt(1 + (s_i z_i)^2) - 1) + (a_i/s_i^2) sin^2(s_i z_i),

z = U^T x, U orthogonal. The least value is 0, at 0, so that nothing cancels near it; with all
numbers at least 0

    L = max q + c + 2 a,    mu = min q where all a = 0,    L_2 <= max s (0.859 c + 4 a).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.tree import Params
from thalweg.problems import Problem

DIMENSIONS = 6
CLASSES = ("convex", "strongly convex", "any")
STEEPEST = 1.5 * 1.25**-2.5  # the largest third derivative of sqrt(1 + t^2)


class DrawnFunction(Problem):
    """One of them, or many with a leading axis on every array; see the top of the file.

    Attributes:
        basis: U.
        quadratic: q.
        rounded: c.
        wavy: a.
        sharpness: s.
        start: x_0.
    """

    basis: Float[Array, "d d"]
    quadratic: Float[Array, " d"]
    rounded: Float[Array, " d"]
    wavy: Float[Array, " d"]
    sharpness: Float[Array, " d"]
    start: Float[Array, " d"]

    def init(self, key: Array) -> Params:
        return self.start

    def objective(self, params: Params) -> Float[Array, ""]:
        z = params @ self.basis
        t = self.sharpness * z
        bent = self.rounded * t**2 / (1 + jnp.sqrt(1 + t**2)) + self.wavy * jnp.sin(t) ** 2
        return jnp.sum(self.quadratic * z**2 / 2 + bent / self.sharpness**2)

    def describe(self) -> dict[str, Any]:
        return {"kind": "drawn function", "dimensions": DIMENSIONS}


class WronglyShown(Problem):
    """A function whose gradient is shown as (I + e Q) grad f: wrong by exactly a share e.

    Attributes:
        problem: f.
        error: e.
        turn: Q, orthogonal.
    """

    problem: Problem
    error: Float[Array, ""]
    turn: Float[Array, "d d"]

    def init(self, key: Array) -> Params:
        return self.problem.init(key)

    def objective(self, params: Params) -> Float[Array, ""]:
        @jax.custom_jvp
        def seen(x: Array) -> Array:
            return self.problem.objective(x)

        @seen.defjvp
        def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
            value, g = jax.value_and_grad(self.problem.objective)(*primals)
            return value, jnp.sum((g + self.error * (self.turn @ g)) * tangents[0])

        return seen(params)

    def describe(self) -> dict[str, Any]:
        return self.problem.describe()


class Drawn(NamedTuple):
    """Many functions, and their constants, one for each.

    Attributes:
        problem: Leading axis: functions.
        smoothness: L, attained at the minimum.
        convexity: mu, a lower bound on every curvature; negative where f may be not convex.
        hessian_lipschitz: L_2, an upper bound.
        length: What lengths are measured in.
    """

    problem: DrawnFunction
    smoothness: np.ndarray
    convexity: np.ndarray
    hessian_lipschitz: np.ndarray
    length: np.ndarray

    def gap(self) -> np.ndarray:
        """f(x_0) - f_*."""
        f = self.problem
        return np.asarray(jax.vmap(lambda p, x: p.objective(x))(f, f.start))


def drawn_functions(kind: str, instances: int, seed: int) -> Drawn:
    """Functions in 1 to 6 dimensions that move, of condition up to 1e6, in units of 1e-4 to 1e4.

    Half of the convex ones, and a third of any, are not strongly convex.

    Args:
        kind: One of `CLASSES`.
        instances: How many.
        seed: Of NumPy's default_rng.
    """
    assert kind in CLASSES
    rng, shape = np.random.default_rng(seed), (instances, DIMENSIONS)
    column = (instances, 1)
    still = np.arange(DIMENSIONS) >= rng.integers(1, DIMENSIONS + 1, column)
    spread = rng.uniform(0, 6, column)
    q = 10 ** (-spread * rng.uniform(0, 1, shape))
    c = 10 ** rng.uniform(-2, 1, column) * rng.uniform(0, 1, shape)
    a = np.zeros(shape)
    flat = rng.uniform(0, 1, column) < {"convex": 0.5, "strongly convex": 0.0, "any": 0.3}[kind]
    q = np.where(flat, 0.0, q)
    if kind == "any":
        a = 10 ** rng.uniform(-2, 1, column) * rng.uniform(0, 1, shape)
    s = 10 ** rng.uniform(-0.5, 1.5, shape)
    least = np.min(np.where(still, np.inf, q), axis=1, keepdims=True)
    q, c, a = np.where(still, least, q), np.where(still, 0.0, c), np.where(still, 0.0, a)
    z = np.where(still, 0.0, rng.normal(size=shape)) * 10 ** rng.uniform(-1, 1, column)
    length, height = 10 ** rng.uniform(-3, 3, column), 10 ** rng.uniform(-4, 4, column)
    unit = height / length**2
    q, c, a, s, z = unit * q, unit * c, unit * a, s / length, length * z
    U = np.linalg.qr(rng.normal(size=(instances, DIMENSIONS, DIMENSIONS)))[0]
    start = np.einsum("nij,nj->ni", U, z)
    problem = DrawnFunction(*map(jnp.asarray, (U, q, c, a, s, start)))
    return Drawn(
        problem,
        np.max(q + c + 2 * a, axis=1),
        np.min(q - 2 * a, axis=1),
        np.max(s * (STEEPEST * c + 4 * a), axis=1),
        length[:, 0],
    )
