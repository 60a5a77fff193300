"""What holds curvature at the edge of stability: the oscillation that a method needs there.

A method w <- w - P^-1 grad f(w), P diagonal, grows along an eigenvector u of H u = s P u once s
passes 2. It then oscillates about its path w with some covariance Sigma, which adds to the mean
force -(1/2) grad <H, Sigma> (third derivatives of f): that lowers s. Sigma = U X U^T, the columns
u_i of U the eigenvectors at the edge with U^T P U = 1, is the one that keeps all s at most 2:

    X >= 0,  Y = A + B[X] >= 0,  <X, Y> = 0,

Y = U^T (2 P - H) U after a step of so long. With D_ij the gradient of u_i^T H u_j and h in steps,

    A = 2 - s + h (<D_ij, P^-1 grad f> + 2 u_i^T P' u_j),
    B[X] = h (1/2 sum_kl <D_ij, P^-1 D_kl> X_kl + 2 u_i^T P'[X] u_j),

P' how P moves without the oscillation and P'[X] what that adds. B is a Gram map.

Source: Cohen, Damian, Talwalkar, Kolter and Lee (2025), of which P moving is derived anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.errors import require
from thalweg.core.hessian_product import Product
from thalweg.core.sdcp import MOST_ITERATIONS, Complementary, sdcp, smat, svec

EDGE = 2.0  # eigenvalue of P^-1 H from which on disturbances grow
AVERAGES = ("none", "shared", "each")  # of squared gradients: of all together, of each parameter

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]
Third = Callable[[Vector], Product]


class Scaling(eqx.Module):
    """P of a method, and how it moves.

    P = 1/eta for gradient descent ("none"); (sqrt(nu) + epsilon)/eta for RMSProp, with
    nu <- b nu + (1 - b) g^2 before each step, for each parameter ("each") or with ||g||^2 for all
    ("shared", scalar RMSProp). In the mean over the oscillation, per step,

        nu' = kappa (g^2 + diag(H Sigma H) - nu),  kappa = (1 - b)/b,

    as the step uses the average after it has taken in the gradient; the sum of it where nu is
    shared. At the edge H U = 2 P U.

    Attributes:
        step_size: eta.
        decay: b, 0 where there is no average.
        epsilon: Added to the root.
        average: "none", "shared" or "each".
    """

    step_size: Scalar
    decay: Scalar
    epsilon: Scalar
    average: str = eqx.field(static=True, default="none")

    def __check_init__(self) -> None:
        require(self.average in AVERAGES, f"average came as {self.average!r}; give {AVERAGES}")

    @property
    def kappa(self) -> Scalar:
        """How fast the average forgets, per step."""
        return (1 - self.decay) / jnp.where(self.decay > 0, self.decay, 1)

    def begun(self, gradient: Vector) -> Float[Array, "*n"]:
        """The average at its equilibrium with a gradient."""
        return gradient[:0] if self.average == "none" else self.taken(gradient**2)

    def taken(self, squares: Vector) -> Float[Array, "*n"]:
        """What the average takes in of squares of gradients."""
        return jnp.sum(squares) if self.average == "shared" else squares

    def diagonal(self, nu: Float[Array, "*n"], like: Vector) -> Vector:
        """The diagonal of P."""
        if self.average == "none":
            return jnp.full_like(like, 1) / self.step_size.astype(like.dtype)
        root = jnp.sqrt(nu) + self.epsilon.astype(like.dtype)
        return jnp.broadcast_to(root / self.step_size.astype(like.dtype), like.shape)

    def slope(self, nu: Float[Array, "*n"], like: Vector) -> Vector:
        """D P/d nu, for each parameter; 0 where nu is 0, of parameters without a gradient."""
        if self.average == "none":
            return jnp.zeros_like(like)
        there = nu > 0
        root = jnp.where(there, 2 * jnp.sqrt(jnp.where(there, nu, 1)), jnp.inf)
        return jnp.broadcast_to(1 / root / self.step_size.astype(like.dtype), like.shape)

    def speed(self, nu: Float[Array, "*n"], squares: Vector) -> Float[Array, "*n"]:
        """Nu' per step, of the mean squares of gradients."""
        return self.kappa.astype(squares.dtype) * (self.taken(squares) - nu)


class Edge(NamedTuple):
    """The complementarity problem at a point; m = c (c + 1)/2 pairs in the order of `svec`.

    Attributes:
        diagonal: Of P.
        squares: svec of u_i u_j, parameter by parameter, (m, p).
        thirds: svec of D_ij, (m, p); empty rows for vectors that are not at the edge.
        slack: A.
        growth: B.
    """

    diagonal: Vector
    squares: Float[Array, "m p"]
    thirds: Float[Array, "m p"]
    slack: Float[Array, "c c"]
    growth: Float[Array, "m m"]

    def solved(
        self, start: Float[Array, "c c"] | None = None, most_iterations: int = MOST_ITERATIONS
    ) -> Complementary:
        """X and Y."""
        return sdcp(self.slack, self.growth, start, most_iterations=most_iterations)

    def force(self, gradient: Vector, X: Float[Array, "c c"]) -> Vector:
        """Grad f + (1/2) grad <H, Sigma>."""
        return gradient + svec(X) @ self.thirds / 2

    def variances(self, X: Float[Array, "c c"]) -> Vector:
        """The diagonal of Sigma = U X U^T."""
        return svec(X) @ self.squares

    def excess(self, X: Float[Array, "c c"]) -> Vector:
        """The diagonal of H Sigma H, H U = 2 P U: what the oscillation adds to g^2."""
        return (EDGE * self.diagonal) ** 2 * self.variances(X)


def edge(
    scaling: Scaling,
    third: Third,
    gradient: Vector,
    nu: Float[Array, "*n"],
    vectors: Float[Array, "c p"],
    values: Float[Array, " c"],
    count: Int[Array, ""],
    steps: Scalar,
) -> Edge:
    """The complementarity problem of the first `count` eigenpairs.

    Args:
        scaling: P.
        third: Of `thalweg.core.hessian_product.third_product`.
        gradient: grad f.
        nu: The average.
        vectors: Rows u_i with u_i^T P u_j = delta_ij.
        values: s_i.
        count: How many are at the edge; the rest is left out of X.
        steps: h, for how many steps A and B look ahead; 1 with the slack taken away is the problem
            of the instant.

    Returns:
        An `Edge`. Cost: count (count + 1)/2 third-order products, 4 gradients each.
    """
    D = thirds(third, vectors, count)
    return assembled(scaling, D, gradient, nu, vectors, values, count, steps)


def assembled(
    scaling: Scaling,
    D: Float[Array, "m p"],
    gradient: Vector,
    nu: Float[Array, "*n"],
    vectors: Float[Array, "c p"],
    values: Float[Array, " c"],
    count: Int[Array, ""],
    steps: Scalar,
) -> Edge:
    """`edge` of third-order products that are known, as of `thirds`; no gradients."""
    c, kind = len(values), gradient.dtype
    p, turn = scaling.diagonal(nu, gradient), scaling.slope(nu, gradient)
    active = jnp.arange(c) < count
    U = jnp.where(active[:, None], vectors, 0)
    squares = svec(U[:, None] * U[None])
    h = steps.astype(kind)
    drift = D @ (gradient / p)
    growth = (D / p[None]) @ D.T / 2
    if scaling.average != "none":
        still = jnp.broadcast_to(scaling.speed(nu, gradient**2), p.shape)
        drift = drift + EDGE * squares @ (turn * still)
        added = scaling.kappa.astype(kind) * (EDGE * p[None]) ** 2 * squares
        if scaling.average == "shared":
            growth = growth + EDGE * jnp.outer(squares @ turn, jnp.sum(added, axis=1))
        else:
            growth = growth + EDGE * (squares * turn[None]) @ added.T
        growth = (growth + growth.T) / 2
    room = jnp.where(active, EDGE - values, 0)
    slack = jnp.diag(room) + h * smat(drift)
    # Those not at the edge have room enough, whatever its size: X is 0 there.
    slack = slack + jnp.diag(jnp.where(active, 0, jnp.linalg.norm(slack)))
    return Edge(p, squares, D, slack, h * growth)


def thirds(third: Third, U: Float[Array, "c p"], count: Int[Array, ""]) -> Float[Array, "m p"]:
    """Svec of D_ij = T[u_i, u_j] of the first `count` rows, zeros of others.

    The product with u_i is linearised once for all j.
    """
    c = len(U)
    place = np.zeros((c, c), int)
    place[np.triu_indices(c)] = np.arange(c * (c + 1) // 2)
    places = jnp.asarray(place)
    none = jnp.zeros((c * (c + 1) // 2, U.shape[1]), U.dtype)

    def of_first(i: Array, D: Array) -> Array:
        along = third(U[i])

        def of_second(j: Array, D: Array) -> Array:
            weight = jnp.where(i == j, 1.0, np.sqrt(2.0)).astype(U.dtype)
            return D.at[places[i, j]].set(weight * along(U[j]))

        return jax.lax.fori_loop(i, count, of_second, D)

    return jax.lax.fori_loop(jnp.zeros_like(count), count, of_first, none)


def turned(D: Float[Array, "m p"], turn: Float[Array, "c c"]) -> Float[Array, "m p"]:
    """Svec of T[v_i, v_j], v = turn u, from that of T[u_i, u_j]: bilinear, no gradients."""
    pairs = turn[:, None, :, None] * turn[None, :, None, :]  # of v_i v_j in u_a u_b
    pairs = (pairs + jnp.swapaxes(pairs, 2, 3)) / 2
    by_row = jnp.moveaxis(svec(pairs), 0, -1)
    return svec(by_row).T @ D
