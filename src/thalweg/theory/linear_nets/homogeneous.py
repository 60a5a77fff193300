"""The smallest Hessian eigenvalue of homogeneous networks: lower bounds and exact values.

A network without biases is h(x) = W_n s(W_{n-1} s(... s(W_1 x))) with s(z) = a z for z > 0 and
b z for z < 0. Weights are lists [W_1, ..., W_n], W_j of shape (..., out, in): leading axes (time,
seeds) are carried through. Away from the kinks, where some pre-activation is 0, the smallest
eigenvalue along gradient flow is only mildly negative, however negative it is elsewhere.

Source: Elkabetz & Cohen 2021 (arXiv 2107.06608), section on the roughly convex landscape; the
forms with the spectral norm of the gradient and the exact eigenvalues are derived from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from thalweg.core.errors import require

Weights = Sequence[Array]


class TubeBounds(NamedTuple):
    """Bounds over the ball of radius eps around the weights, as `euler_certificate` takes them.

    Attributes:
        m: >= -lambda_min of the Hessian, shape (...), 1/time.
        beta: >= spectral norm of the Hessian, shape (...), 1/time.
        gamma: >= norm of the gradient, shape (...), distance/time.
    """

    m: Float[Array, "..."]
    beta: Float[Array, "..."]
    gamma: Float[Array, "..."]


def homogeneous_min_eig_bound(
    weights: Weights, slopes: tuple[float, float], gradients: Array, inputs: Array
) -> Float[Array, "..."]:
    """Lower bound on lambda_min of the Hessian of a mean loss, convex in the outputs.

    lambda_min >= -max(|a|, |b|)^{n-1} (n-1) [mean_i |grad l_i| |x_i|] max_{|J| = n-2} prod_J |W_j|

    with spectral norms of the weights; an empty product is 1.

    Args:
        weights: [W_1, ..., W_n].
        slopes: (a, b), the activation's slope right and left of 0: (1, 1) linear, (1, 0) ReLU.
        gradients: Derivative (..., samples, outputs) of each sample's loss by its outputs.
        inputs: (samples, features).

    Raises:
        InputError: If the layers do not chain, or the shapes of gradients and inputs disagree.

    Source: Elkabetz & Cohen 2021, lemma on non-linear homogeneous networks.

    Examples:
        >>> from thalweg.theory.linear_nets.homogeneous import homogeneous_min_eig_bound
        >>> weights = [jnp.array([[2.0]]), jnp.array([[3.0]])]
        >>> slope, x = jnp.array([[5.0]]), jnp.array([[1.0]])
        >>> float(homogeneous_min_eig_bound(weights, (1, 0), slope, x))
        -5.0
    """
    _check_chain(weights)
    require(
        gradients.ndim >= 2 and inputs.ndim == 2 and gradients.shape[-2] == inputs.shape[0],
        f"gradients of shape {gradients.shape} and inputs of shape {inputs.shape} do not match; "
        "give (..., samples, outputs) and (samples, features).",
    )
    n = len(weights)
    slope = max(abs(slopes[0]), abs(slopes[1])) ** (n - 1)
    steep = jnp.linalg.norm(gradients, axis=-1)
    sample = steep * jnp.broadcast_to(jnp.linalg.norm(inputs, axis=-1), steep.shape)
    return -slope * (n - 1) * jnp.mean(sample, axis=-1) * _largest_product(weights)


def linear_min_eig_bound(weights: Weights, product_gradient: Array) -> Float[Array, "..."]:
    """Lower bound on lambda_min for a linear network, f = phi(W_n ... W_1) with phi convex.

    lambda_min >= -(n-1) |grad phi|_op max_{|J| = n-2} prod_J |W_j|_op

    Args:
        weights: [W_1, ..., W_n].
        product_gradient: grad phi at the product, shape (..., d_n, d_0).

    Raises:
        InputError: If the layers do not chain.

    Source: Elkabetz & Cohen 2021, lemma on linear networks, with the spectral norm.

    Examples:
        >>> from thalweg.theory.linear_nets.homogeneous import linear_min_eig_bound
        >>> weights = [jnp.array([[2.0]]), jnp.array([[3.0]])]
        >>> float(linear_min_eig_bound(weights, jnp.array([[5.0]])))
        -5.0
    """
    _check_chain(weights)
    return -(len(weights) - 1) * _spectral(product_gradient) * _largest_product(weights)


def balanced_min_eig_bound(
    product_norm: ArrayLike, gradient_norm: ArrayLike, depth: int
) -> Float[Array, "..."]:
    """The same for balanced weights: lambda_min >= -(n-1) |grad phi|_op |W_n...W_1|_op^{1-2/n}.

    Balanced means W_{j+1}^T W_{j+1} = W_j W_j^T for all j. The bound vanishes at convergence and,
    for n >= 3, at a near-zero start.

    Raises:
        InputError: If the depth n < 1.

    Source: Elkabetz & Cohen 2021, corollary for balanced weights.

    Examples:
        >>> from thalweg.theory.linear_nets.homogeneous import balanced_min_eig_bound
        >>> float(balanced_min_eig_bound(8.0, gradient_norm=1.0, depth=3))  # -2 * 8^(1/3)
        -4.0
    """
    _check_depth(depth)
    if depth == 1:
        return jnp.zeros(jnp.broadcast_shapes(jnp.shape(product_norm), jnp.shape(gradient_norm)))
    power = jnp.asarray(product_norm, dtype=float) ** (1 - 2 / depth)
    return -(depth - 1) * jnp.asarray(gradient_norm, dtype=float) * power


def conserved_product_bound(weights: Weights, initial: Weights) -> Float[Array, "..."]:
    """Bound on max_{|J| = n-2} prod_J |W_j(t)|_op from what gradient flow conserves.

    max_J prod_J |W_j|_op <= (min_i |W_i|_F^2 + delta_0)^{(n-2)/2},
    delta_0 = max_{i,j} | |W_i(0)|_F^2 - |W_j(0)|_F^2 |

    Every homogeneous activation conserves the differences of squared Frobenius norms.

    Args:
        weights: [W_1, ..., W_n] at some time of the flow, n >= 2.
        initial: The same at its start.

    Raises:
        InputError: If there are fewer than two layers, or not as many at the start.

    Source: Elkabetz & Cohen 2021, section on non-linear homogeneous networks.

    Examples:
        >>> from thalweg.theory.linear_nets.homogeneous import conserved_product_bound
        >>> weights = [jnp.array([[2.0]])] * 3
        >>> float(conserved_product_bound(weights, weights))  # balanced: the norm of one layer
        2.0
    """
    n = len(weights)
    require(n >= 2, f"{n} layer is given; the bound needs at least 2.")
    require(len(initial) == n, f"{len(initial)} initial layers are given for {n} layers.")
    now, start = _squared_frobenius(weights), _squared_frobenius(initial)
    imbalance = jnp.max(start, axis=-1) - jnp.min(start, axis=-1)
    return (jnp.min(now, axis=-1) + imbalance) ** ((n - 2) / 2)


def linear_tube_bounds(weights: Weights, target: Array, eps: float) -> TubeBounds:
    """Bounds over the ball of radius eps for a linear network with phi = (1/2)|W - target|_F^2.

    With s_j = |W_j|_op + eps, P_j = prod_{i != j} s_i, d = eps sqrt(sum_j P_j^2):
    gamma = (|grad phi|_F + d) sqrt(sum_j P_j^2),
    m = (n-1) (|grad phi|_op + d) max_{j<k} prod_{i != j,k} s_i,  beta = sum_j P_j^2 + m.

    Args:
        weights: [W_1, ..., W_n].
        target: (d_n, d_0).
        eps: Radius of the ball in parameter space, >= 0.

    Raises:
        InputError: If the layers do not chain, do not end in the target's shape, or eps < 0.

    Source: derived from Elkabetz & Cohen 2021, linear networks.

    Examples:
        >>> from thalweg.theory.linear_nets.homogeneous import linear_tube_bounds
        >>> weights = [jnp.array([[1.0]]), jnp.array([[1.0]])]
        >>> found = linear_tube_bounds(weights, jnp.array([[0.0]]), eps=0.0)
        >>> float(found.m), float(found.beta), round(float(found.gamma) ** 2, 6)
        (1.0, 3.0, 2.0)
    """
    _check_chain(weights)
    shape = (weights[-1].shape[-2], weights[0].shape[-1])
    require(target.shape == shape, f"target has shape {target.shape}; the network maps to {shape}.")
    require(math.isfinite(eps) and eps >= 0, f"eps is {eps}; a finite number >= 0 is allowed.")
    n = len(weights)
    norms = _norms(weights) + eps
    others = [jnp.prod(jnp.delete(norms, j, axis=-1), axis=-1) for j in range(n)]
    jacobian = sum(p**2 for p in others)
    product = _product(weights)
    residual = product - jnp.broadcast_to(target, product.shape)
    drift = eps * jnp.sqrt(jacobian)
    gamma = (jnp.linalg.norm(residual, axis=(-2, -1)) + drift) * jnp.sqrt(jacobian)
    m = (n - 1) * (_spectral(residual) + drift) * _product_of_largest(norms)
    return TubeBounds(m, jacobian + m, gamma)


def negative_curvature_weights(
    widths: Sequence[int], scale: float, zero: tuple[int, int]
) -> list[Float[Array, "out in"]]:
    """Weights at which a deep linear network's Hessian is as negative as one likes.

    Layers `zero` are 0, all others scale * e_1 e_1^T; see `negative_curvature_min_eig`.

    Args:
        widths: (d_0, ..., d_n), n >= 3.
        scale: c > 0.
        zero: The numbers p < q of two layers, counted from 1.

    Raises:
        InputError: If there are fewer than three layers or p < q are not two of them.

    Source: Elkabetz & Cohen 2021, proposition on arbitrarily negative eigenvalues.

    Examples:
        >>> from thalweg.theory.linear_nets.homogeneous import negative_curvature_weights
        >>> [float(W[0, 0]) for W in negative_curvature_weights((1, 1, 1, 1), 2.0, (1, 2))]
        [0.0, 0.0, 2.0]
    """
    n = len(widths) - 1
    _check_zero_layers(n, zero)
    return [
        jnp.zeros((out, into)).at[0, 0].set(0.0 if j in zero else scale)
        for j, (into, out) in enumerate(pairwise(widths), start=1)
    ]


def negative_curvature_min_eig(
    gradient_at_zero: Array, depth: int, scale: float, zero: tuple[int, int]
) -> Float[Array, ""]:
    """Exact lambda_min at `negative_curvature_weights`: -c^{n-2} |G|.

    G is grad phi(0), |G| the spectral norm of the part that the fixed layers select: its first
    row if q < n, its first column if p > 1 (both: one entry; neither: the whole).

    Args:
        gradient_at_zero: (d_n, d_0).
        depth: n, >= 3.
        scale: c.
        zero: (p, q), the layers set to 0, counted from 1.

    Raises:
        InputError: As `negative_curvature_weights`.

    Source: derived from Elkabetz & Cohen 2021, proposition on arbitrarily negative eigenvalues.

    Examples:
        >>> from thalweg.theory.linear_nets.homogeneous import negative_curvature_min_eig
        >>> float(negative_curvature_min_eig(jnp.array([[3.0]]), 3, 2.0, (1, 2)))
        -6.0
    """
    _check_zero_layers(depth, zero)
    first, last = zero
    rows = slice(None) if last == depth else slice(0, 1)
    columns = slice(None) if first == 1 else slice(0, 1)
    return -(scale ** (depth - 2)) * _spectral(gradient_at_zero[rows, columns])


def aligned_min_eig(r: ArrayLike, depth: int) -> Float[Array, "..."]:
    """Exact lambda_min at balanced weights aligned with the target, scalar output.

    f = (1/2)|W_n...W_1 - L|^2, |L| = 1, W_n...W_1 = r L, 0 < r < 1, hidden widths >= 2:
    lambda_min = min{-(1-r) r^{1-2/n}, n r^{2-2/n} - (n-1)(1-r) r^{1-2/n}}

    Raises:
        InputError: If the depth n < 2 or some r is outside (0, 1).

    Source: derived from Elkabetz & Cohen 2021, scalar output.

    Examples:
        >>> from thalweg.theory.linear_nets.homogeneous import aligned_min_eig
        >>> float(aligned_min_eig(0.25, 2))
        -0.75
    """
    require(depth >= 2, f"depth {depth} is given; at least 2 is allowed.")
    simple, repeated = chain_eigenvalues(r, depth)
    return jnp.minimum(-repeated, simple)


def chain_eigenvalues(r: ArrayLike, depth: int) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Hessian eigenvalues of a chain of n equal scalar weights w = r^{1/n}, f = (1/2)(w^n - 1)^2.

    Once n r^{2-2/n} - (n-1)(1-r) r^{1-2/n}, and (1-r) r^{1-2/n} with multiplicity n-1.

    Args:
        r: Product of the weights, in (0, 1), any shape.
        depth: n, >= 1.

    Returns:
        The simple eigenvalue and the repeated one, each of r's shape.

    Raises:
        InputError: If the depth n < 1 or some r is outside (0, 1).

    Source: derived from Elkabetz & Cohen 2021, scalar output.

    Examples:
        >>> from thalweg.theory.linear_nets.homogeneous import chain_eigenvalues
        >>> simple, repeated = chain_eigenvalues(0.25, 2)  # of (w_1 w_2 - 1)^2/2 at w = (1/2, 1/2)
        >>> float(simple), float(repeated)
        (-0.25, 0.75)
    """
    _check_depth(depth)
    _check_unit_interval(r)
    r_ = jnp.asarray(r, dtype=float)
    repeated = (1 - r_) * r_ ** (1 - 2 / depth)
    return depth * r_ ** (2 - 2 / depth) - (depth - 1) * repeated, repeated


def chain_negative_curvature_integral(r0: ArrayLike, depth: int) -> Float[Array, "..."]:
    """Total negative curvature that a chain of n equal scalar weights meets from r0 to the minimum.

    int_0^inf max(-lambda_min, 0) dt = ((n-1)/n) ln[(n-1)/((2n-1) r0)] + ln[n/((2n-1)(1-r0))]

    for r0 < (n-1)/(2n-1), and 0 for larger r0. A pure number.

    Raises:
        InputError: If the depth n < 1 or some r0 is outside (0, 1).

    Source: derived from Elkabetz & Cohen 2021, scalar output.

    Examples:
        >>> from thalweg.theory.linear_nets.homogeneous import chain_negative_curvature_integral
        >>> float(chain_negative_curvature_integral(0.5, 2))  # 1/2 is above (n - 1)/(2 n - 1)
        0.0
    """
    _check_depth(depth)
    _check_unit_interval(r0)
    start = jnp.asarray(r0, dtype=float)
    if depth == 1:
        return jnp.zeros_like(start)
    end = (depth - 1) / (2 * depth - 1)
    start = jnp.minimum(start, end)
    return (depth - 1) / depth * jnp.log(end / start) + jnp.log((1 - end) / (1 - start))


def _largest_product(weights: Weights) -> Array:
    return _product_of_largest(_norms(weights))


def _product_of_largest(norms: Array) -> Array:
    """Product of the n - 2 largest of n norms, over the last axis."""
    return jnp.prod(jnp.sort(norms, axis=-1)[..., 2:], axis=-1)


def _norms(weights: Weights) -> Array:
    return jnp.stack([_spectral(w) for w in weights], axis=-1)


def _spectral(matrix: Array) -> Array:
    return jnp.linalg.norm(matrix, ord=2, axis=(-2, -1))


def _squared_frobenius(weights: Weights) -> Array:
    return jnp.stack([jnp.sum(w**2, axis=(-2, -1)) for w in weights], axis=-1)


def _product(weights: Weights) -> Array:
    product = weights[0]
    for w in weights[1:]:
        product = w @ product
    return product


def _check_chain(weights: Weights) -> None:
    require(len(weights) >= 1, "no weights are given; give [W_1, ..., W_n].")
    for j, w in enumerate(weights, start=1):
        require(w.ndim >= 2, f"W_{j} has shape {w.shape}; give (..., out, in).")
    for j, (w, after) in enumerate(pairwise(weights), start=1):
        require(
            w.shape[-2] == after.shape[-1],
            f"W_{j} has {w.shape[-2]} outputs, W_{j + 1} takes {after.shape[-1]}; "
            "give the layers from input to output, each (out, in).",
        )


def _check_depth(n: int) -> None:
    require(n >= 1, f"depth {n} is given; at least 1 is allowed.")


def _check_zero_layers(n: int, zero: tuple[int, int]) -> None:
    require(n >= 3, f"depth {n} is given; the construction needs at least 3.")
    require(1 <= zero[0] < zero[1] <= n, f"zero layers {zero}; give p < q from 1 to {n}.")


def _check_unit_interval(r: ArrayLike) -> None:
    inside = (np.asarray(r) > 0) & (np.asarray(r) < 1)
    require(bool(np.all(inside)), "r is outside (0, 1), where the formula holds.")
