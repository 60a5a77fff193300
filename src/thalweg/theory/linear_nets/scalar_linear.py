"""The exact gradient flow of deep linear networks with one output, from a balanced start.

f = (1/2)|W_n ... W_1 - L|^2 with |L| = 1. With r = |W_n...W_1| and c the cosine of its angle to L,
r' = n r^{2-2/n} (c - r) and c' = r^{1-2/n} (1 - c^2). In the time s with ds = r^{1-2/n} dt,

    c = tanh(s + s_0),  s_0 = artanh c(0),
    r(s) = cosh^n(s + s_0) / [cosh^n(s_0)/r_0 + n int_0^s cosh^n(u + s_0) du],
    t(s) = int_0^s r^{-(1-2/n)}.

The inner integral is a sum of n + 1 positive exponentials, added in log space; t(s) is the only
quadrature, and its error is reported.

Source: derived from Elkabetz & Cohen 2021 (arXiv 2107.06608), linear networks with scalar output;
the start follows Arora et al. 2019 (ICLR, balanced initialisation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp

from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.theory.descent.euler import log_constant_m_integral

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(16)
_COARSE_NODES, _COARSE_WEIGHTS = np.polynomial.legendre.leggauss(12)


class ScalarLinearFlow(NamedTuple):
    """The flow at the times asked for; arrays of shape (T,).

    Attributes:
        times: Training time.
        norm: r, the norm of the product of the weights.
        alignment: c, the cosine of its angle to the target.
        misalignment: The sine of that angle, accurate where c is close to 1.
        loss: (1/2)|W_n...W_1 - L|^2, accurate where it is small.
        error: Estimated absolute error of `norm` and `alignment`: the quadrature error of time
            times the velocity, plus rounding.
    """

    times: np.ndarray
    norm: np.ndarray
    alignment: np.ndarray
    misalignment: np.ndarray
    loss: np.ndarray
    error: np.ndarray


def scalar_linear_flow(r0: float, nu: float, depth: int, times: ArrayLike) -> ScalarLinearFlow:
    """Closed-form gradient flow of a balanced deep linear network with one output.

    See the module's head for the formulas; for nu = 1, c = 1 and r = 1/(1 + (1/r0 - 1) e^{-ns}).

    Args:
        r0: Norm of the product of the weights at the start, > 0.
        nu: Cosine of its angle to the target, in (-1, 1]; at -1 the flow collapses to 0.
        depth: n, >= 1.
        times: Times (T,) >= 0, in any order.

    Raises:
        InputError: On arguments outside these ranges.

    Source: derived from Elkabetz & Cohen 2021, scalar output.

    Examples:
        >>> from thalweg.theory.linear_nets.scalar_linear import scalar_linear_flow
        >>> flow = scalar_linear_flow(0.5, 1.0, 2, [0.0, np.log(3) / 2])  # r = 1/(1 + exp(-2 t))
        >>> flow.norm.round(6).tolist()
        [0.5, 0.75]
    """
    t = np.atleast_1d(np.asarray(times, dtype=float))
    require(t.ndim == 1, f"times has shape {t.shape}; a list of times is allowed.")
    require(bool(np.all(np.isfinite(t) & (t >= 0))), "times must be finite and >= 0.")
    clock = _Clock(r0, nu, depth)
    s = clock.arc_at(t)
    log_r, c, sine, loss = clock.state(s)
    r = np.exp(log_r)
    velocity = np.maximum(
        depth * r ** (2 - 2 / depth) * np.abs(c - r), r ** (1 - 2 / depth) * sine**2
    )
    rounding = 64 * np.finfo(float).eps * depth * np.maximum(1.0, r)
    error = clock.time_error(t) * velocity + rounding
    return ScalarLinearFlow(t, r, c, sine, loss, error)


def scalar_linear_weights(
    flow: ScalarLinearFlow, initial: Sequence[ArrayLike], target: ArrayLike
) -> list[Float[np.ndarray, "time out in"]]:
    """All weight matrices along a `scalar_linear_flow` started at balanced weights.

    W_j(t) = (r/r_0)^{1/n} W_j(0) for j >= 2;
    W_1(t) = (r/r_0)^{1/n} W_1(0) w_0 w(t)^T with w = c L + sqrt(1-c^2) e the product's direction,
    w_0 the one at the start, e the unit vector orthogonal to L in the span of w_0 and L.

    Args:
        flow: The flow from r_0 = |W_n...W_1(0)| and nu, its cosine to the target.
        initial: [W_1(0), ..., W_n(0)], balanced, W_j of shape (out, in), one output.
        target: L, shape (1, d_0) or (d_0,), of norm 1.

    Raises:
        InputError: If the weights are not balanced to 1e-8 of their size, their product is 0, or
            the target's norm is not 1.

    Source: derived from Elkabetz & Cohen 2021, scalar output.

    Examples:
        >>> from thalweg.theory.linear_nets.scalar_linear import scalar_linear_weights
        >>> flow = tw.theory.scalar_linear.scalar_linear_flow(0.25, 1.0, 2, [0.0, 50.0])
        >>> first, last = scalar_linear_weights(flow, [[[0.5]], [[0.5]]], [1.0])
        >>> first.ravel().round(6).tolist(), last.ravel().round(6).tolist()
        ([0.5, 1.0], [0.5, 1.0])
    """
    W = [np.asarray(w, dtype=float) for w in initial]
    L = _unit_target(target)
    _check_balanced(W)
    product = W[0]
    for w in W[1:]:
        product = w @ product
    require(
        product.shape == (1, L.size), "the product of the weights is not a row like the target."
    )
    r0 = float(np.linalg.norm(product))
    require(r0 > 0, "the product of the weights is 0, a point at rest.")
    w0 = product[0] / r0
    across = w0 - (w0 @ L) * L
    size = np.linalg.norm(across)
    across = across / size if size > 0 else across
    direction = flow.alignment[:, None] * L + flow.misalignment[:, None] * across
    scale = ((flow.norm / r0) ** (1 / len(W)))[:, None, None]
    first = (W[0] @ w0)[None, :, None] * direction[:, None, :]
    return [scale * first] + [scale * w for w in W[1:]]


def time_to_loss(r0: float, nu: float, depth: int, loss: float) -> float:
    """Time at which the flow's loss (1/2)|W_n...W_1 - L|^2 comes down to a value.

    0 if it starts at or below it. The error is about 1e-13 of the time plus 1e-16/sqrt(loss).

    Args:
        r0: As `scalar_linear_flow`.
        nu: As `scalar_linear_flow`.
        depth: As `scalar_linear_flow`.
        loss: Value to reach, >= 1e-24 (below, rounding of r decides).

    Raises:
        InputError: On arguments outside these ranges.

    Source: derived from Elkabetz & Cohen 2021, scalar output.

    Examples:
        >>> from thalweg.theory.linear_nets.scalar_linear import time_to_loss
        >>> time = time_to_loss(0.5, 1.0, 2, loss=1 / 32)  # r = 3/4
        >>> bool(np.isclose(time, np.log(3) / 2))
        True
    """
    require(math.isfinite(loss) and loss >= 1e-24, f"loss is {loss}; >= 1e-24 is allowed.")
    clock = _Clock(r0, nu, depth)

    def excess(s: float) -> float:
        return float(np.log(clock.state(np.array([s]))[3][0] / loss))

    if excess(0.0) <= 0:
        return 0.0
    high = clock.edges[-1]
    while excess(high) > 0:
        high *= 1.5
    s = brentq(excess, 0.0, high, xtol=1e-15, rtol=8.9e-16)
    return float(clock.time_at(np.array([s]))[0])


def bound_integral(r: ArrayLike, r0: float, depth: int) -> Float[np.ndarray, "..."]:
    """Integral of the bound m = (n-1)(1-r) r^{1-2/n} at depth n along the aligned flow, nu = 1.

    int_0^t m = ((n-1)/n) ln(r(t)/r0), so e^{int m} = (r/r0)^{(n-1)/n}: polynomial in 1/r0. This
    is why the certified step size is not exponentially small. A pure number, r's shape.

    Raises:
        InputError: If r or r0 is not positive.

    Source: derived from Elkabetz & Cohen 2021, scalar output.

    Examples:
        >>> from thalweg.theory.linear_nets.scalar_linear import bound_integral
        >>> float(bound_integral(np.e, 1.0, 2))
        0.5
    """
    r_ = np.asarray(r, dtype=float)
    require_positive(r=r_, r0=r0)
    return (depth - 1) / depth * np.log(r_ / r0)


def flow_time_bound(r0: float, nu: float, depth: int, excess_loss: float) -> float:
    """Upper bound on the time after which the loss minus its minimum is at most `excess_loss`.

    t = (2 n M^n / r0) ln(15 n M / (r0 min{1, excess})),  M = max{1, (3/2)(1-nu)/(1+nu)}

    Args:
        r0: Norm of the product of the weights at the start, in (0, 0.2].
        nu: Cosine of its angle to the target, in (-1, 1].
        depth: n, >= 2.
        excess_loss: > 0.

    Raises:
        InputError: On arguments outside these ranges.

    Source: Elkabetz & Cohen 2021, convergence of gradient flow (whitened data, balanced start).

    Examples:
        >>> from thalweg.theory.linear_nets.scalar_linear import flow_time_bound
        >>> bound = flow_time_bound(0.2, nu=1.0, depth=2, excess_loss=1.0)
        >>> bool(np.isclose(bound, 20 * np.log(150)))
        True
    """
    require(0 < r0 <= 0.2, f"r0 is {r0}; the bound holds on (0, 0.2].")
    require(-1 < nu <= 1, f"nu is {nu}; a cosine in (-1, 1] is allowed.")
    require(depth >= 2, f"depth {depth} is given; at least 2 is allowed.")
    require(excess_loss > 0, f"excess_loss is {excess_loss}; > 0 is allowed.")
    M = max(1.0, 1.5 * (1 - nu) / (1 + nu))
    return 2 * depth * M**depth / r0 * math.log(15 * depth * M / (r0 * min(1.0, excess_loss)))


def balanced_init(
    A: Array, depth: int, widths: Sequence[int], key: Array | None = None
) -> list[Float[Array, "out in"]]:
    """Balanced weights with product A: W_1 = S^{1/n} V^T, W_j = S^{1/n}, W_n = U S^{1/n}.

    A = U S V^T is the singular value decomposition, padded with zeros to the widths. Then
    W_{j+1}^T W_{j+1} = W_j W_j^T for all j, and W_n...W_1 = A.

    Args:
        A: (d_n, d_0).
        depth: n, >= 1.
        widths: The n - 1 hidden widths, each at least the rank of A.
        key: If given, random orthogonal matrices are inserted between the layers, which changes
            neither property.

    Raises:
        InputError: If there are not n - 1 widths or one is below the rank.

    Source: Arora et al. 2019 (ICLR), procedure 1; Elkabetz & Cohen 2021.

    Examples:
        >>> from thalweg.theory.linear_nets.scalar_linear import balanced_init
        >>> first, last = balanced_init(jnp.diag(jnp.array([4.0, 1.0])), 2, [2])
        >>> (last @ first).round(6).tolist(), jnp.abs(first).round(6).tolist()
        ([[4.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 1.0]])
    """
    require(A.ndim == 2, f"A has shape {A.shape}; a matrix is allowed.")
    require(depth >= 1, f"depth {depth} is given; at least 1 is allowed.")
    require(
        len(widths) == depth - 1,
        f"{len(widths)} hidden widths are given; depth {depth} has {depth - 1}.",
    )
    rank = int(jnp.linalg.matrix_rank(A))
    require(
        all(w >= rank for w in widths),
        f"a hidden width of {min(widths, default=0)} cannot carry rank {rank}; widen the layer.",
    )
    if depth == 1:
        return [A]
    U, S, Vt = jnp.linalg.svd(A, full_matrices=False)
    root = S[:rank] ** (1 / depth)
    middle = [
        jnp.zeros((out, into)).at[jnp.arange(rank), jnp.arange(rank)].set(root)
        for into, out in pairwise(widths)
    ]
    first = jnp.zeros((widths[0], A.shape[1])).at[:rank].set(root[:, None] * Vt[:rank])
    last = jnp.zeros((A.shape[0], widths[-1])).at[:, :rank].set(U[:, :rank] * root[None])
    weights = [first, *middle, last]
    if key is None:
        return weights
    for j, (width, k) in enumerate(zip(widths, jax.random.split(key, depth - 1), strict=True)):
        Q = jax.random.orthogonal(k, width, dtype=A.dtype)
        weights[j], weights[j + 1] = Q @ weights[j], weights[j + 1] @ Q.T
    return weights


class _Clock:
    """The flow in its own time s, and the map between s and training time.

    Times are tabulated at `edges` (Gauss-Legendre on panels no wider than 1/n, the scale on which
    r varies); beyond the last edge r = 1 to all digits, so that t - s is constant.
    """

    def __init__(self, r0: float, nu: float, n: int) -> None:
        require_positive(r0=r0)
        require(-1 < nu <= 1, f"nu is {nu}; a cosine in (-1, 1] is allowed.")
        require(n >= 1, f"depth {n} is given; at least 1 is allowed.")
        self.n, self.log_r0 = n, math.log(r0)
        self.s0 = math.atanh(nu) if nu < 1 else math.inf
        self.power = 1 - 2 / n
        offset = abs(self.s0) if nu < 1 else 0.0
        settled = offset + 20.0 + (40.0 + abs(self.log_r0)) / n
        # Large weights leave fast: panels that double in width resolve the start.
        halvings = math.ceil(math.log2(max(r0, 1.0))) + 1
        early = 2.0 ** -np.arange(halvings, 0, -1) / n
        self.edges = np.concatenate([[0.0], early, np.arange(1, math.ceil(settled * n) + 1) / n])
        panels = self._integral(self.edges[:-1], self.edges[1:], _NODES, _NODE_WEIGHTS)
        coarse = self._integral(self.edges[:-1], self.edges[1:], _COARSE_NODES, _COARSE_WEIGHTS)
        self.time = np.concatenate([[0.0], np.cumsum(panels)])
        self.errors = np.concatenate([[0.0], np.cumsum(np.abs(panels - coarse))])

    def state(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Logarithm of r, cosine, sine and loss at s, any shape."""
        log_r = self.log_norm(s)
        short = -np.expm1(log_r)  # 1 - r
        if self.s0 == math.inf:
            return log_r, np.ones_like(s), np.zeros_like(s), short**2 / 2
        x = s + self.s0
        one_minus_c = 2 * np.exp(-np.logaddexp(0.0, 2 * x))
        sine = 2 * np.exp(-np.logaddexp(x, -x))
        loss = short**2 / 2 + np.exp(log_r) * one_minus_c
        return log_r, np.tanh(x), sine, loss

    def log_norm(self, s: np.ndarray) -> np.ndarray:
        """Logarithm of r(s); e^{nx} 2^{-n} is divided out of cosh^n(x) and of the denominator."""
        n = self.n
        if self.s0 == math.inf:
            # 1/r - 1 = (1/r0 - 1) e^{-ns}, exact also where r is close to 1
            return -np.log1p(np.expm1(-self.log_r0) * np.exp(-n * s))
        x = s + self.s0
        k = np.arange(n + 1)
        log_binomial = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
        terms = (
            math.log(n)
            + log_binomial
            - 2 * k * x[..., None]
            + log_constant_m_integral(2 * k - n, s[..., None])
        )
        start = n * np.logaddexp(0.0, -2 * self.s0) - n * s - self.log_r0
        total = np.logaddexp(start, logsumexp(terms, axis=-1))
        return n * np.logaddexp(0.0, -2 * x) - total

    def time_at(self, s: np.ndarray) -> np.ndarray:
        """t(s)."""
        panel = np.clip(np.searchsorted(self.edges, s, side="right") - 1, 0, self.edges.size - 1)
        start = self.edges[panel]
        inside = self._integral(start, s, _NODES, _NODE_WEIGHTS)
        return self.time[panel] + np.where(s > self.edges[-1], s - start, inside)

    def arc_at(self, t: np.ndarray) -> np.ndarray:
        """s(t): linear interpolation, then Newton, which keeps to the panel."""
        tail = t > self.time[-1]
        s = np.interp(t, self.time, self.edges)
        panel = np.minimum(np.searchsorted(self.time, t, side="right") - 1, self.edges.size - 2)
        low, high = self.edges[panel], self.edges[panel + 1]
        for _ in range(8):
            rate = np.exp(self.power * self.log_norm(s))
            s = np.clip(s + (t - self.time_at(s)) * rate, low, high)
        return np.where(tail, self.edges[-1] + t - self.time[-1], s)

    def time_error(self, t: np.ndarray) -> np.ndarray:
        """Estimated error of the quadrature up to time t, plus rounding."""
        panel = np.minimum(np.searchsorted(self.time, t), self.errors.size - 1)
        return self.errors[panel] + 8 * np.finfo(float).eps * t

    def _integral(
        self, a: np.ndarray, b: np.ndarray, nodes: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """int_a^b r^{-(1-2/n)} ds, elementwise."""
        half = (b - a)[:, None] / 2
        s = a[:, None] + half * (1 + nodes)
        return np.sum(half * weights * np.exp(-self.power * self.log_norm(s)), axis=-1)


def _unit_target(target: ArrayLike) -> np.ndarray:
    L = np.ravel(np.asarray(target, dtype=float))
    norm = float(np.linalg.norm(L))
    require(abs(norm - 1) < 1e-12, f"the target has norm {norm}; scale the labels to norm 1.")
    return L


def _check_balanced(W: Sequence[np.ndarray]) -> None:
    for j, (w, after) in enumerate(pairwise(W), start=1):
        gap = float(np.linalg.norm(after.T @ after - w @ w.T))
        require(
            gap <= 1e-8 * max(1e-300, float(np.linalg.norm(w)) ** 2),
            f"layers {j} and {j + 1} are not balanced (gap {gap:.1e}); start at balanced_init.",
        )
