"""Depth as a preconditioner: what gradient descent on W_N ... W_1 does to the product.

From balanced matrices, W_{j+1}^T W_{j+1} = W_j W_j^T, the product W (k, d) of a deep linear net
obeys a closed rule, the end-to-end rule: gradient descent on L(W) with a positive semidefinite
preconditioner made of W itself. It knows the depth N, and no widths. For one output it is an
adaptive step size and a momentum along w; for N >= 3 it is the gradient of no function.

`thalweg.dynamics.end_to_end_descent` descends along the rule, by a formula of its own.

Source: Arora, Cohen and Hazan (2018, arXiv 1802.06509).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require

__all__ = [
    "Integral",
    "PreconditionerSpectrum",
    "balance_defect",
    "constant_gradient_integral",
    "end_to_end_field",
    "end_to_end_velocity",
    "gamma_curve",
    "jacobian_asymmetry",
    "line_integral",
    "preconditioner",
    "preconditioner_spectrum",
    "scalar_factor_step",
    "single_output_rule",
]

Vector = Float[Array, " d"]
Piece = Callable[[Array], Vector]  # [0, 1] -> a point, smooth


def balance_defect(weights: Sequence[Float[Array, "out in"]]) -> Float[Array, ""]:
    """Largest ||W_{j+1}^T W_{j+1} - W_j W_j^T||_F over adjacent layers; 0 if balanced.

    Conserved matrix by matrix by gradient flow; weight decay lambda shrinks it as e^{-2 lambda t}.

    Args:
        weights: [W_1, ..., W_N], at least two.

    Raises:
        InputError: If there is only one matrix.

    Source: Arora, Cohen and Hazan (2018), Theorem 1.

    Examples:
        >>> from thalweg.theory.linear_nets.end_to_end import balance_defect
        >>> float(balance_defect([jnp.array([[2.0]]), jnp.array([[3.0]])]))  # 3^2 - 2^2
        5.0
    """
    require(len(weights) >= 2, "balance compares adjacent layers; give at least two matrices")
    gaps = [jnp.linalg.norm(top.T @ top - low @ low.T) for low, top in pairwise(weights)]
    return jnp.max(jnp.stack(gaps))


def end_to_end_field(
    W: Float[Array, "k d"], G: Float[Array, "k d"], depth: int
) -> Float[Array, "k d"]:
    """The direction that depth N makes of a gradient: sum_j [W W^T]^a_j G [W^T W]^b_j.

    a_j = (j - 1)/N, b_j = (N - j)/N, j = 1..N. The powers are fractional powers of positive
    semidefinite matrices and the power 0 is the whole identity, on the null space too. Depth 1
    leaves G as it is; at W = 0 the field of any greater depth vanishes.

    Taken from the thin singular value decomposition of W: that of W^T W would turn the rounding of
    zero eigenvalues, 1e-16, into (1e-16)^(1/N). Exact up to rounding; not to be differentiated
    where singular values coincide or vanish.

    Args:
        W: The product of the matrices.
        G: The gradient of the loss in W (unit: loss/parameter).
        depth: N, the number of matrices, at least 1.

    Raises:
        InputError: If the shapes differ, or the depth is below 1.

    Cost: one decomposition, N products of matrices; no gradients.
    Source: Arora, Cohen and Hazan (2018), Theorem 1.

    Examples:
        >>> from thalweg.theory.linear_nets.end_to_end import end_to_end_field
        >>> end_to_end_field(jnp.array([[4.0]]), jnp.array([[1.0]]), 2).tolist()  # 2 |w| g
        [[8.0]]
    """
    _check_depth(depth)
    if depth == 1:
        return G
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)

    def left(power: float, M: Array) -> Array:
        return M if power == 0 else (U * s[None] ** (2 * power)) @ (U.T @ M)

    def right(power: float, M: Array) -> Array:
        return M if power == 0 else ((M @ Vt.T) * s[None] ** (2 * power)) @ Vt

    terms = [left((j - 1) / depth, right((depth - j) / depth, G)) for j in range(1, depth + 1)]
    return jnp.sum(jnp.stack(terms), axis=0)


def end_to_end_velocity(
    W: Float[Array, "k d"], G: Float[Array, "k d"], depth: int, weight_decay: Array | float = 0.0
) -> Float[Array, "k d"]:
    """dW/dt = -(lambda N W + `end_to_end_field`(W, G, N)), W the product of N balanced matrices.

    Every matrix follows gradient flow of L(W_N ... W_1) + (lambda/2) sum_j ||W_j||_F^2. Exact for
    balanced matrices, W_{j+1}^T W_{j+1} = W_j W_j^T, whatever the hidden widths.

    Args:
        W: The product.
        G: The gradient of L in W, without the decay.
        depth: N, the number of matrices.
        weight_decay: lambda, at least 0.

    Raises:
        InputError: As `end_to_end_field`.

    Source: Arora, Cohen and Hazan (2018), Theorem 1.

    Examples:
        >>> from thalweg.theory.linear_nets.end_to_end import end_to_end_velocity
        >>> W, G = jnp.array([[4.0]]), jnp.array([[1.0]])
        >>> end_to_end_velocity(W, G, 2, weight_decay=0.5).tolist()  # -(0.5 * 2 * 4 + 2 * 4)
        [[-12.0]]
    """
    return -(weight_decay * depth * W + end_to_end_field(W, G, depth))


def preconditioner(W: Float[Array, "k d"], depth: int) -> Float[Array, "kd kd"]:
    """P = sum_j [W^T W]^{(N-j)/N} (x) [W W^T]^{(j-1)/N}, which acts on column-major vec(G).

    vec(`end_to_end_field`(W, G, N)) = P vec(G), vec stacking columns: `G.T.ravel()`. Symmetric and
    positive semidefinite. Dense, (k d)^2 entries; for anything large take the field.

    Args:
        W: The product of the matrices.
        depth: N, their number, at least 1.

    Source: Arora, Cohen and Hazan (2018), Claim 1.

    Examples:
        >>> from thalweg.theory.linear_nets.end_to_end import preconditioner
        >>> preconditioner(jnp.array([[4.0]]), 2).tolist()
        [[8.0]]
    """
    _check_depth(depth)
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)

    def power(basis: Array, exponent: float) -> Array:
        if exponent == 0:
            return jnp.eye(len(basis), dtype=basis.dtype)
        return (basis * s[None] ** (2 * exponent)) @ basis.T

    terms = [
        jnp.kron(power(Vt.T, (depth - j) / depth), power(U, (j - 1) / depth))
        for j in range(1, depth + 1)
    ]
    return jnp.sum(jnp.stack(terms), axis=0)


class PreconditionerSpectrum(NamedTuple):
    """Eigenvalues and eigenvectors of the preconditioner.

    Attributes:
        values: (k, d); values[r, q] belongs to the eigenvector vec(u_r v_q^T).
        U: (k, k), all left singular vectors u_r of W in its columns.
        V: (d, d), all right singular vectors v_q.
    """

    values: Float[Array, "k d"]
    U: Float[Array, "k k"]
    V: Float[Array, "d d"]


def preconditioner_spectrum(W: Float[Array, "k d"], depth: int) -> PreconditionerSpectrum:
    """Eigenvalues sum_j s_r^{2(j-1)/N} s_q^{2(N-j)/N} on vec(u_r v_q^T), r = 1..k, q = 1..d.

    s are the singular values of W, padded with zeros, and 0^0 = 1. For r = q it is
    N s_r^{2 - 2/N}: directions along which W is large already are stretched. All at least 0.

    Args:
        W: The product of the matrices.
        depth: N, their number, at least 1.

    Raises:
        InputError: If the depth is below 1.

    Source: Arora, Cohen and Hazan (2018), Claim 1.

    Examples:
        >>> from thalweg.theory.linear_nets.end_to_end import preconditioner_spectrum
        >>> preconditioner_spectrum(jnp.diag(jnp.array([4.0, 1.0])), 2).values.round(6).tolist()
        [[8.0, 5.0], [5.0, 2.0]]
    """
    _check_depth(depth)
    U, s, Vt = jnp.linalg.svd(W, full_matrices=True)
    left, right = (jnp.zeros(side).at[: s.size].set(s) for side in W.shape)
    values = [
        left[:, None] ** (2 * (j - 1) / depth) * right[None] ** (2 * (depth - j) / depth)
        for j in range(1, depth + 1)
    ]
    return PreconditionerSpectrum(jnp.sum(jnp.stack(values), axis=0), U, Vt.T)


def single_output_rule(w: Vector, g: Vector, depth: int) -> Vector:
    """F = ||w||^{2-2/N} (g + (N - 1) Pr_w g), Pr_w g = w (w.g)/||w||^2: the rule for one output.

    The first factor is a step size that grows with the distance from 0, the projection a momentum
    along the way gone. At w = 0 it is 0 for N > 1 (and g for N = 1), and its derivatives there are
    given as 0 too.

    Args:
        w: The product of a vector and N - 1 balanced factors.
        g: The gradient of the loss in w (unit: loss/parameter).
        depth: N, at least 1.

    Raises:
        InputError: If the depth is below 1.

    Source: Arora, Cohen and Hazan (2018), Claim 2.

    Examples:
        >>> from thalweg.theory.linear_nets.end_to_end import single_output_rule
        >>> w, g = jnp.array([3.0, 4.0]), jnp.array([4.0, -3.0])
        >>> single_output_rule(w, g, 2).round(6).tolist()  # |w| g
        [20.0, -15.0]
    """
    _check_depth(depth)
    square = w @ w
    safe = jnp.where(square > 0, square, 1.0)  # no NaN in derivatives at w = 0
    size = jnp.where(square > 0, safe ** (1 - 1 / depth), 1.0 if depth == 1 else 0.0)
    return size * (g + (depth - 1) * w * (w @ g) / safe)


def scalar_factor_step(
    w: Vector, factor: Array | float, g: Vector, step_size: Array | float
) -> Vector:
    """One step of descent on both factors of w = w_1 omega, seen in w.

    It is w - eta omega^2 g - (eta/omega) (w_1.g) w + eta^2 omega (w_1.g) g, with w_1 = w/omega.

    Without the last term it is w - rho g - gamma w, rho = eta omega^2, gamma = (eta/omega) w_1.g:
    from w ~ 0 a weighted sum of all gradients so far, as in momentum. Exact up to rounding.

    Args:
        w: The product.
        factor: omega, not 0.
        g: The gradient of the loss in w.
        step_size: eta.

    Source: Arora, Cohen and Hazan (2018), section on a single scalar at depth 2.

    Examples:
        >>> from thalweg.theory.linear_nets.end_to_end import scalar_factor_step
        >>> w = scalar_factor_step(jnp.array([2.0]), 1.0, jnp.array([1.0]), 0.1)
        >>> w.round(6).tolist()  # (2 - 0.1) (1 - 0.1 * 2)
        [1.52]
    """
    slope = w @ g / factor
    decay = step_size / factor * slope * w
    return w - step_size * factor**2 * g - decay + step_size**2 * factor * slope * g


class Integral(NamedTuple):
    """An integral, and how far it is from the one with half as many nodes (same unit)."""

    value: float
    error: float


def line_integral(
    field: Callable[[Vector], Vector], curve: Sequence[Piece], nodes: int = 64
) -> Integral:
    """The integral of field(x) . dx along a curve; zero on every closed one for a gradient.

    Gauss-Legendre quadrature on each piece; the tangent is by differentiation.

    Args:
        field: Maps a point (d,) to a vector (d,), smooth along each piece.
        curve: Pieces one after the other, each a smooth map of [0, 1], written in JAX.
        nodes: Per piece, at least 2.

    Returns:
        The integral (unit: that of the field times that of the points) and its error, the
        difference from the integral by half as many nodes: far above the true one if smooth.

    Raises:
        InputError: If there are too few nodes.

    Cost: 1.5 nodes evaluations of the field per piece.

    Examples:
        >>> from thalweg.theory.linear_nets.end_to_end import line_integral
        >>> found = line_integral(lambda x: x, [lambda t: t * jnp.array([3.0, 4.0])])
        >>> round(found.value, 6)  # |x|^2/2 at the end
        12.5
    """
    require(nodes >= 2, f"nodes came as {nodes}; give at least 2")

    def along(piece: Piece, t: Array) -> Array:
        point, tangent = jax.jvp(piece, (t,), (jnp.ones_like(t),))
        return field(point) @ tangent

    def by(count: int) -> float:
        places, shares = np.polynomial.legendre.leggauss(count)
        t = jnp.asarray((places + 1) / 2)
        values = [jax.vmap(lambda s, piece=piece: along(piece, s))(t) for piece in curve]
        return float(np.sum(np.asarray(values) @ (shares / 2)))

    value = by(nodes)
    return Integral(value, abs(value - by(nodes // 2)))


def gamma_curve(u: ArrayLike, r: float, R: float) -> tuple[Piece, ...]:
    """The closed curve that shows the end-to-end rule to be no gradient, in four pieces.

    From -R u to -r u, along half a circle of radius r to r u, on to R u, and along half a circle
    of radius R back, in the plane of u and of the axis that is least along it.

    Args:
        u: A direction (d,), d at least 2; its length does not matter.
        r: Small radius, positive.
        R: Large radius, above r.

    Raises:
        InputError: If the radii or the direction do not fit.

    Source: Arora, Cohen and Hazan (2018), proof of Theorem 2.

    Examples:
        >>> from thalweg.theory.linear_nets.end_to_end import gamma_curve
        >>> curve = gamma_curve([5.0, 0.0], r=1.0, R=2.0)
        >>> [piece(0.0).round(6).tolist()[0] for piece in curve]  # where each piece begins
        [-2.0, -1.0, 1.0, 2.0]
    """
    u = np.asarray(u, float)
    require(0 < r < R, f"the radii came as {r} and {R}; give 0 < r < R")
    length = float(np.linalg.norm(u))
    require(u.ndim == 1 and u.size >= 2 and length > 0, "give a direction with two or more entries")
    u = u / length
    axis = np.eye(u.size)[np.argmin(np.abs(u))]
    side = axis - u * (axis @ u)
    side = side / np.linalg.norm(side)

    def segment(begin: float, end: float) -> Piece:
        return lambda t: (begin + (end - begin) * t) * u

    def arc(radius: float, begin: float) -> Piece:
        return lambda t: radius * (begin * jnp.cos(jnp.pi * t) * u + jnp.sin(jnp.pi * t) * side)

    return segment(-R, -r), arc(r, -1.0), segment(r, R), arc(R, 1.0)


def constant_gradient_integral(slope: float, depth: int, r: float, R: float) -> float:
    """The integral of the rule on `gamma_curve`, for a loss of constant gradient g.

    It is [2(N-1)(N-2)/(3N-2)] ||g|| (R^{3-2/N} - r^{3-2/N}) for a gradient g along the curve's
    direction; zero for N = 1 and 2 alone. For other losses it is the leading term as R -> 0.

    Args:
        slope: ||g||.
        depth: N, at least 1.
        r: Small radius.
        R: Large radius.

    Source: derived from Arora, Cohen and Hazan (2018), proof of Theorem 2.

    Examples:
        >>> from thalweg.theory.linear_nets.end_to_end import constant_gradient_integral
        >>> constant_gradient_integral(1.0, 2, 1.0, 2.0)  # two layers: the rule is a gradient
        0.0
        >>> constant_gradient_integral(1.0, 3, 1.0, 2.0) > 0
        True
    """
    _check_depth(depth)
    power = 3 - 2 / depth
    return 2 * (depth - 1) * (depth - 2) / (3 * depth - 2) * slope * (R**power - r**power)


def jacobian_asymmetry(field: Callable[[Vector], Vector], w: Vector) -> Float[Array, ""]:
    """Largest entry of |J - J^T| of the Jacobian J of a field at w, zero where it is a gradient.

    By automatic differentiation, exact up to rounding. Unit: that of the field per parameter.
    Cost: d forward derivatives of the field.

    Examples:
        >>> from thalweg.theory.linear_nets.end_to_end import jacobian_asymmetry
        >>> float(jacobian_asymmetry(lambda w: jnp.array([w[1], -w[0]]), jnp.zeros(2)))
        2.0
    """
    J = jax.jacfwd(field)(w)
    return jnp.max(jnp.abs(J - J.T))


def _check_depth(depth: int) -> None:
    require(depth >= 1, f"the depth came as {depth}; give the number of matrices, at least 1")
