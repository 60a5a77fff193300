"""The functions of the study, with constants that are known."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.problems import Function, Quadratic


def wavy(x: Float[Array, " n"]) -> Float[Array, ""]:
    """Sum of x^2 + 3 sin^2 x: L = 8, Polyak-Lojasiewicz with mu = 0.17553, not convex."""
    return jnp.sum(x**2 + 3 * jnp.sin(x) ** 2)


def bent(x: Float[Array, " n"]) -> Float[Array, ""]:
    """Sum of |x| (1 - exp(-|x|)): not convex, but star-convex."""
    return jnp.sum(jnp.abs(x) * -jnp.expm1(-jnp.abs(x)))


def saturated(x: Float[Array, " n"]) -> Float[Array, ""]:
    """Sum of t^2/(1 + t^2): L = 2."""
    return jnp.sum(x**2 / (1 + x**2))


def saddle(x: Float[Array, " 2"]) -> Float[Array, ""]:
    """x^2/2 + y^4/4 - y^2/2: a strict saddle at 0, minima (0, +-1) of -1/4."""
    return 0.5 * x[0] ** 2 + 0.25 * x[1] ** 4 - 0.5 * x[1] ** 2


def quartic(x: Float[Array, " n"]) -> Float[Array, ""]:
    """Sum of x^4, whose gradient has no Lipschitz constant."""
    return jnp.sum(x**4)


@functools.cache
def cubic(seed: int) -> Function:
    """(1/2) x^T A x + sum phi(x_i), phi'' = sqrt(1 + t^2) - 1: L_2 = 1, a saddle at 0."""
    rng = np.random.default_rng(seed)
    V = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    A = jnp.asarray(V * np.linspace(-0.5, 1, 8) @ V.T)
    # From near the saddle, where the Hessian has a negative eigenvalue.
    return Function(lambda x: 0.5 * x @ A @ x + jnp.sum(_phi(x)), jnp.asarray(rng.normal(size=8)))


def _phi(t: Array) -> Array:
    return (t**2 / 6 - 1 / 3) * jnp.sqrt(1 + t**2) + t / 2 * jnp.arcsinh(t) - t**2 / 2 + 1 / 3


@functools.cache
def cosh(dimensions: int = 20) -> Function:
    """Log cosh, summed over an orthonormal basis: L = 1, L_2 = 4/(3 sqrt 3)."""
    rng = np.random.default_rng(1)
    U = jnp.asarray(np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0])
    start = jnp.asarray(rng.normal(size=dimensions))
    return Function(lambda x: jnp.sum(jnp.logaddexp(U @ x, -U @ x)), start)


COSH_HESSIAN_LIPSCHITZ = 4 / (3 * 3**0.5)  # the largest |tanh''|


def ill_conditioned(seed: int) -> Quadratic:
    """A quadratic of 50 eigenvalues from 1e-4 to 1, x_0 standard normal."""
    start = np.random.default_rng(seed).normal(size=50)
    return Quadratic(jnp.geomspace(1e-4, 1, 50), jnp.zeros(50), jnp.asarray(start))


def curve(f: Function, x: Array) -> np.ndarray:
    """F'' of a function of one variable, at many points."""
    second = jax.vmap(jax.grad(jax.grad(lambda t: f.objective(t[None]))))
    return np.asarray(second(x))
