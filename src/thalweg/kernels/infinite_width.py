"""Kernels of infinitely wide fully connected nets, and the arc-cosine kernels.

The convention is the NTK parametrisation: with widths d_l, standard normal weights W and biases b,
all trained,

    z^1 = s_w W^1 x / sqrt(d_0) + s_b b^1,
    z^{l+1} = s_w W^{l+1} s(z^l) / sqrt(d_l) + s_b b^{l+1},

and f = z^{depth+1}, so that `depth` counts hidden layers, s_w^2 is the weight variance and s_b^2
the bias variance. `thalweg.models.mlp(..., initialiser="gaussian", gain=s_w)` has the same outputs
at its start (its biases are 0), but other gradients: it trains in the standard parametrisation.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.result import Reading, finite
from thalweg.kernels.gaussian import (
    NODES,
    Activation,
    Covariance,
    closed,
    expectations,
    function_of,
)

NUDGE = 8  # roundings by which correlations are moved to see what rounding does


class InfiniteWidthKernels(NamedTuple):
    """Kernels of one output of an infinitely wide net; different outputs are independent.

    Attributes:
        nngp: Readings (n1, n2), the covariance of outputs at the start (unit: output^2).
        tangent: Readings (n1, n2), the tangent kernel, which training leaves as it is
            (unit: output^2/parameter^2).
    """

    nngp: Reading
    tangent: Reading


class _Level(NamedTuple):
    left: Float[Array, " n1"]
    right: Float[Array, " n2"]
    nngp: Float[Array, "n1 n2"]
    tangent: Float[Array, "n1 n2"]


def infinite_width_kernels(
    x1: ArrayLike,
    x2: ArrayLike | None = None,
    *,
    depth: int,
    activation: str | Activation,
    weight_variance: float = 1.0,
    bias_variance: float = 0.0,
    nodes: int = NODES,
) -> InfiniteWidthKernels:
    """The NNGP and the tangent kernel of fully connected nets of any depth.

    With Sigma^1 = s_w^2 x . x' / d_0 + s_b^2 and Theta^1 = Sigma^1, for l = 1..depth

        Sigma^{l+1} = s_w^2 E[s(u) s(v)] + s_b^2,    (u, v) ~ N(0, Sigma^l on x, x'),
        Theta^{l+1} = Sigma^{l+1} + s_w^2 Theta^l E[s'(u) s'(v)].

    Args:
        x1: Examples (n1, ...), flattened.
        x2: Examples (n2, ...); x1 by default.
        depth: Number of hidden layers, at least 0.
        activation: A name that `thalweg.models.activation` takes, or any elementwise function;
            see `thalweg.kernels.gaussian.expectations` for which have closed forms.
        weight_variance: s_w^2.
        bias_variance: s_b^2.
        nodes: Nodes of the quadrature in each of two directions, where there is no closed form.

    Returns:
        `InfiniteWidthKernels`. Error: for closed forms how far the kernel moves when correlations
        between different examples are off by 8 roundings, plus rounding (ReLU's tangent kernel
        has an infinite slope at correlation 1, so that examples that almost agree cost it half of
        the digits); else the distance to the same recursion with half of the nodes, which for
        kinked functions without a closed form is no bound.

    Raises:
        InputError: If shapes, depth, a variance or a name is not allowed.

    Source: Jacot, Gabriel and Hongler (2018), theorem 1; Lee et al. (2019), supplement E.

    Examples:
        >>> found = tw.kernels.infinite_width_kernels(np.eye(2), depth=1, activation="linear")
        >>> found.nngp.value.tolist()  # x.x'/2
        [[0.5, 0.0], [0.0, 0.5]]
        >>> found.tangent.value.tolist()  # each of the two layers adds as much
        [[1.0, 0.0], [0.0, 1.0]]
    """
    left, right = _flat(x1), _flat(x1 if x2 is None else x2)
    _check(left, right, depth, weight_variance, bias_variance)
    function_of(activation)

    kernels = partial(
        _kernels, left, right, x2 is None, depth, activation, weight_variance, bias_variance
    )
    fine = kernels(nodes, 0.0)
    nudge = NUDGE * float(jnp.finfo(left.dtype).eps)
    coarse = kernels(nodes, nudge) if closed(activation) else kernels(max(2, nodes // 2), 0.0)
    return InfiniteWidthKernels(
        *(compared(a, b) for a, b in ((fine.nngp, coarse.nngp), (fine.tangent, coarse.tangent)))
    )


def arc_cosine_kernel(x1: ArrayLike, x2: ArrayLike | None = None, order: int = 1) -> Reading:
    """The arc-cosine kernel, 2 E[(w.x)_+^n (w.x')_+^n] with w standard normal and 0^0 = 0.

    With t the angle between x and x', it is (|x| |x'|)^n J_n(t) / pi:

        J_0 = pi - t
        J_1 = sin t + (pi - t) cos t
        J_2 = 3 sin t cos t + (pi - t)(1 + 2 cos^2 t)

    Args:
        x1: Examples (n1, ...), flattened.
        x2: Examples (n2, ...); x1 by default.
        order: n = 0, 1 or 2.

    Returns:
        A `Reading`, (n1, n2). Error: how far 8 roundings of the cosine move it, plus rounding; for
        n = 0 that is 1e-8 where different examples are almost parallel.

    Raises:
        InputError: If the order is another one.

    Source: Cho and Saul (2009), eqs. 1-6.

    Examples:
        >>> K = tw.kernels.arc_cosine_kernel(np.eye(2), order=0).value  # (pi - angle)/pi
        >>> K.round(6).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    require(order in (0, 1, 2), f"order came as {order}; give 0, 1 or 2")
    left, right = _flat(x1), _flat(x1 if x2 is None else x2)
    require(left.shape[1] == right.shape[1], _unequal(left, right))
    start = _first(left, right, x2 is None, float(left.shape[1]), 0.0)

    def kernel(nudge: float) -> Array:
        of = _nudged(start, x2 is None, nudge)
        cos = of.correlation
        sin, rest = jnp.sqrt((1 - cos) * (1 + cos)), math.pi - jnp.arccos(cos)
        forms = (rest, sin + rest * cos, 3 * sin * cos + rest * (1 + 2 * cos**2))
        return of.scale**order * forms[order] / math.pi

    return compared(kernel(0.0), kernel(NUDGE * float(jnp.finfo(left.dtype).eps)))


def compared(fine: Array, coarse: Array) -> Reading:
    """A value whose error is its distance to a poorer one, plus a few roundings of its size."""
    eps = jnp.finfo(fine.dtype).eps
    error = jnp.abs(fine - coarse) + NUDGE * eps * jnp.max(jnp.abs(fine))
    return Reading(fine, error, finite(fine, error))


def _flat(x: ArrayLike) -> Float[Array, "n d"]:
    x = jnp.asarray(x)
    require(x.ndim >= 2, f"examples came with shape {x.shape}; give (n, ...)")
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float64)
    return x.reshape(len(x), -1)


def _check(left: Array, right: Array, depth: int, weight: float, bias: float) -> None:
    require(left.shape[1] == right.shape[1], _unequal(left, right))
    require(depth >= 0, f"depth came as {depth}; give 0 or more hidden layers")
    require(
        weight >= 0 and bias >= 0,
        f"variances came as {weight} (weights) and {bias} (biases); they must be at least 0",
    )


def _unequal(left: Array, right: Array) -> str:
    return f"examples have {left.shape[1]} and {right.shape[1]} numbers; they must agree"


def _first(left: Array, right: Array, same: bool, weight: float, bias: float) -> _Level:
    share = weight / left.shape[1]
    cross = share * jnp.matmul(left, right.T, precision="highest") + bias
    own = share * jnp.sum(left**2, axis=1) + bias
    other = own if same else share * jnp.sum(right**2, axis=1) + bias
    cross = with_diagonal(cross, own) if same else cross
    return _Level(own, other, cross, cross)


def _kernels(
    left: Array,
    right: Array,
    same: bool,
    depth: int,
    activation: str | Activation,
    weight: float,
    bias: float,
    nodes: int,
    nudge: float,
) -> _Level:
    """The last level of the recursion; correlations are drawn towards 0 by `nudge`."""
    level = _first(left, right, same, weight, bias)
    for _ in range(depth):
        level = _next(level, same, activation, weight, bias, nodes, nudge)
    return level


def _next(
    level: _Level,
    same: bool,
    activation: str | Activation,
    weight: float,
    bias: float,
    nodes: int,
    nudge: float,
) -> _Level:
    expected = expectations(activation, _nudged(level, same, nudge), nodes)
    nngp = weight * expected.product + bias
    tangent = nngp + weight * level.tangent * expected.slopes
    if same:
        own = other = jnp.diagonal(nngp)
    else:
        squares = (expectations(activation, Covariance(q, q, q), nodes).product for q in level[:2])
        own, other = (weight * square + bias for square in squares)
    return _Level(own, other, nngp, tangent)


def _nudged(level: _Level, same: bool, nudge: float) -> Covariance:
    """The covariance, with correlations of different examples drawn towards 0 by roundings."""
    cross = level.nngp * (1 - nudge)
    cross = with_diagonal(cross, level.left) if same else cross
    return Covariance(level.left[:, None], cross, level.right[None])


def with_diagonal(matrix: Float[Array, "n n"], diagonal: Float[Array, " n"]) -> Array:
    """The matrix with another diagonal."""
    return jnp.where(jnp.eye(len(matrix), dtype=bool), diagonal[None], matrix)
