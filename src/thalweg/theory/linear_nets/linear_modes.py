"""Learning in deep linear networks, mode by mode (Saxe, McClelland and Ganguli 2014).

The input-output correlation Sigma_31 = U diag(s) V^T of whitened inputs (Sigma_11 = I) splits the
loss 1/2 sum_mu ||y - W x||^2 into singular modes. From a decoupled start each mode moves alone;
its strength u is the diagonal entry of U^T W V. L counts weight matrices. Time t is in steps of
descent of batch step size 1/tau, so t/tau is training time. Correlations are sums over examples.

The times and strengths are exact up to rounding, in float64 NumPy; only the quadrature of
`deep_mode_time` has an error of its own, which it returns. The functions of matrices are JAX.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import quad
from scipy.special import exprel

from thalweg.core.errors import InputError, require
from thalweg.core.ranges import require_positive

Values = NDArray[np.float64]


def mode_trajectory(s: ArrayLike, u0: ArrayLike, time: ArrayLike, tau: float = 1.0) -> Values:
    """Strength of the modes of a one-hidden-layer linear net, equal in both layers.

    tau du/dt = 2u(s - u), hence u(t) = s e^{2st/tau} / (e^{2st/tau} - 1 + s/u0).

    Args:
        s: Singular values, at least 0; broadcasts with `u0` to the shape of the modes.
        u0: Strengths at time 0, at least 0.
        time: t, times, at least 0, any shape.
        tau: Time scale, steps per unit of training time.

    Returns:
        Strengths, shape t.shape + modes.shape (unit: that of s). Modes with s = 0 decay as
        u0/(1 + 2 u0 t/tau).

    Raises:
        InputError: If a singular value, a strength or a time is negative, or tau not positive.

    Source: the paper, eq. for u_f(t) (E5).

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import mode_trajectory
        >>> round(float(mode_trajectory(1.0, 0.25, np.log(9) / 2)), 6)
        0.75
    """
    s, u0, time = _modes_and_times(s, u0, time, tau)
    require(bool(np.all(u0 >= 0)), "a mode strength u0 is negative: give u0 >= 0.")
    x = 2 * s * time / tau
    # The textbook form divided by e^x: no overflow, and s = 0 is no special case.
    return u0 / (np.exp(-x) + u0 * (2 * time / tau) * exprel(-x))


def mode_time(u0: ArrayLike, uf: ArrayLike, s: ArrayLike, tau: float = 1.0) -> Values:
    """Time in which a mode of a one-hidden-layer linear net goes from u0 to uf.

    t = tau/(2s) ln[uf (s - u0) / (u0 (s - uf))]; from eps to s - eps it is
    (tau/s) ln((s - eps)/eps).

    Args:
        u0: Start, positive; all arguments broadcast.
        uf: End, on the same side of s as u0; a time before the start is negative.
        s: Singular value, positive.
        tau: Time scale in steps.

    Raises:
        InputError: If uf is not reached from u0 in finite time.

    Source: the paper, eq. for t (E5).

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import mode_time
        >>> bool(np.isclose(mode_time(0.25, 0.75, 1.0), np.log(9) / 2))
        True
    """
    u0, uf, s = _span(u0, uf, s, tau)
    return tau / (2 * s) * (np.log(uf / u0) + np.log((s - u0) / (s - uf)))


def half_rise_time(u0: ArrayLike, s: ArrayLike, tau: float = 1.0) -> Values:
    """Time to half the final strength: tau/(2s) ln((s - u0)/u0), as `mode_time` to s/2.

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import half_rise_time
        >>> bool(np.isclose(half_rise_time(0.25, 1.0), np.log(3) / 2))
        True
    """
    return mode_time(u0, np.asarray(s, dtype=np.float64) / 2, s, tau)


def product_trajectory(
    U: ArrayLike, s: ArrayLike, V: ArrayLike, u0: ArrayLike, time: ArrayLike, tau: float = 1.0
) -> Values:
    """The whole one-hidden-layer map W_2 W_1(t) = U diag(u(t)) V^T from a decoupled start.

    Args:
        U: Output singular vectors, shape (out, r).
        s: Singular values, shape (r,).
        V: Input singular vectors of the same decomposition, shape (in, r).
        u0: Strengths at time 0, scalar or shape (r,).
        time: t, times, any shape.
        tau: Time scale in steps.

    Returns:
        The maps, shape t.shape + (out, in).

    Source: the paper, whole-network solution (E7).

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import product_trajectory
        >>> product_trajectory(np.eye(2), [2.0, 1.0], np.eye(2), 0.1, 100.0).round(6).tolist()
        [[2.0, 0.0], [0.0, 1.0]]
    """
    u = mode_trajectory(s, u0, time, tau)
    return np.einsum("or,...r,ir->...oi", np.asarray(U), u, np.asarray(V))


def hyperbolic_trajectory(
    s: ArrayLike, a0: ArrayLike, b0: ArrayLike, time: ArrayLike, tau: float = 1.0
) -> tuple[Values, Values]:
    """Both layers of a decoupled mode from any start: tau da/dt = b(s - ab), tau db/dt = a(s - ab).

    The flow conserves c0 = a^2 - b^2. With F = [[c0/2, s], [s, -c0/2]], F^2 = (k/2)^2 I and
    k = sqrt(c0^2 + 4 s^2), the pair is e^{Ft/tau}(a0, b0) / sqrt(N), where N(t) = 1 +
    (1/tau) int_0^t |e^{Fr/tau}(a0, b0)|^2 dr. It holds for every sign of a0, b0 and c0; the
    hyperbola theta of the paper, tanh(theta/2) = b/a, is the direction of this vector.

    Args:
        s: Singular values, at least 0; broadcasts with a0 and b0 to the shape of the modes.
        a0: First-layer strengths at time 0.
        b0: Second-layer strengths at time 0.
        time: t, times, at least 0, any shape.
        tau: Time scale in steps.

    Returns:
        (a, b), each of shape t.shape + modes.shape; the strength of the mode is a*b.

    Raises:
        InputError: If a singular value or a time is negative, or tau is not positive.

    Source: solves the same equations as the paper's E6; the form with N is the Riccati solution.

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import hyperbolic_trajectory
        >>> a, b = hyperbolic_trajectory(1.0, 2.0, 0.5, [0.0, 50.0])
        >>> (a * b).round(6).tolist(), (a**2 - b**2).round(6).tolist()  # u goes to s, c0 stays
        ([1.0, 1.0], [3.75, 3.75])
    """
    plus, minus = np.asarray(a0) + np.asarray(b0), np.asarray(a0) - np.asarray(b0)
    s, plus, time = _modes_and_times(s, plus, time, tau)
    s, minus, _ = _modes_and_times(s, minus, time, tau)
    c0 = plus * minus
    k = np.hypot(c0, 2 * s)
    decay = np.exp(-k * time / tau)
    g = (time / tau) * exprel(-k * time / tau)
    # In a+b and a-b, and scaled by e^{-kt/tau}, every term is at least 0: nothing cancels.
    gap = _ratio(c0**2, k + 2 * s) / 2
    grow = (1 + decay) / 2 + g * s
    shrink = decay + g * gap
    norm = decay + g / 2 * (plus**2 * grow + minus**2 * shrink + g * c0**2)
    a_plus_b = _ratio(plus * (grow + g * minus**2 / 2), np.sqrt(norm))
    a_minus_b = _ratio(minus * (shrink + g * plus**2 / 2), np.sqrt(norm))
    return (a_plus_b + a_minus_b) / 2, (a_plus_b - a_minus_b) / 2


def hyperbolic_time(
    a0: ArrayLike, b0: ArrayLike, uf: ArrayLike, s: ArrayLike, tau: float = 1.0
) -> Values:
    """Time in which a decoupled mode with unequal layers reaches the strength uf.

    t = (tau/k) [ln|(k + c0 + 2s T) / (k - c0 - 2s T)|] between T0 and Tf, T = tanh(theta/2) = b/a,
    c0 = a^2 - b^2 > 0, k = sqrt(c0^2 + 4 s^2); for c0 < 0 swap a and b; c0 = 0 is `mode_time`.
    Computed in y = (a + b)^2, where every sign of c0 and a is one formula.

    Args:
        a0: First-layer strength at time 0; all arguments broadcast.
        b0: Second-layer strength at time 0.
        uf: Strength to reach, on the same side of s as a0*b0; earlier times are negative.
        s: Singular value, positive.
        tau: Time scale in steps.

    Raises:
        InputError: If uf is not on the orbit at a finite time.

    Source: the paper, the hyperbolic solution (E6).

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import hyperbolic_time, mode_time
        >>> time = hyperbolic_time(0.5, 0.5, 0.75, 1.0)  # equal layers
        >>> bool(np.isclose(time, mode_time(0.25, 0.75, 1.0)))
        True
    """
    a0, b0 = np.asarray(a0, dtype=np.float64), np.asarray(b0, dtype=np.float64)
    uf, s = np.asarray(uf, dtype=np.float64), np.asarray(s, dtype=np.float64)
    u0, c0 = a0 * b0, (a0 + b0) * (a0 - b0)
    require_positive(tau=tau)
    require(bool(np.all(s > 0)), "a singular value is not positive: a time needs s > 0.")
    require(bool(np.all((s - u0) * (s - uf) > 0)), _BEYOND)
    on_saddle_line = (c0 == 0) & (u0 * uf <= 0)
    require(not bool(np.any(on_saddle_line)), _ACROSS)
    k = np.hypot(c0, 2 * s)
    low = _ratio(c0**2, k + 2 * s)

    def above(u: Values) -> Values:  # y - y_minus, the roots of 4 s y + c0^2 - y^2 being y_+-
        return _square_of_sum(u, c0) + low

    def below(u: Values) -> Values:  # (y_plus - y) / (s - u)
        return 2 + 4 * (s + u) / (k + np.hypot(c0, 2 * u))

    # On the line b = -a, where y = 0, the layers decay and the equal-layer law runs with -u.
    line = (c0 == 0) & (u0 < 0)
    rise = np.log(_ratio(above(uf), above(u0), where=~line, default=1.0))
    fall = np.log(_ratio(below(u0), below(uf), where=~line, default=1.0))
    rise = np.where(line, np.log(np.abs(_ratio(u0, uf, where=line, default=1.0))), rise)
    gap = np.log((s - u0) / (s - uf))
    return tau / k * (rise + fall + np.where(line, -gap, gap))


def deep_mode_rate(depth: ArrayLike, u: ArrayLike, s: ArrayLike, tau: float = 1.0) -> Values:
    """Speed du/dt = (L/tau) u^{2 - 2/L} (s - u) of a mode that is equal in all L layers.

    Args:
        depth: L, the number of weight matrices; all arguments broadcast.
        u: Strength of the product, at least 0.
        s: Singular value.
        tau: Time scale in steps.

    Source: the paper, depth dynamics (E8; there L = N_l - 1).

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import deep_mode_rate
        >>> float(deep_mode_rate(depth=2, u=1.0, s=3.0))
        4.0
    """
    depth, u, s = (np.asarray(value, dtype=np.float64) for value in (depth, u, s))
    return depth / tau * u ** (2 - 2 / depth) * (s - u)


def deep_mode_time(
    depth: ArrayLike, u0: ArrayLike, uf: ArrayLike, s: ArrayLike, tau: float = 1.0
) -> tuple[Values, Values]:
    """Time in which a mode, equal in all L layers, goes from u0 to uf.

    t = (tau/L) int_{u0}^{uf} du / [u^{2 - 2/L} (s - u)], by adaptive Gauss-Kronrod quadrature in
    z = ln(u/|s - u|): there the integrand is s^{-1} u^{2/L - 1}, smooth at both ends (z is ln u
    for small u).

    Args:
        depth: L, the number of weight matrices, at least 1; all arguments broadcast.
        u0: Start, positive.
        uf: End, on the same side of s as u0; a time before the start is negative.
        s: Singular value, positive.
        tau: Time scale in steps.

    Returns:
        (value, error): the times and the quadrature's own estimates of their absolute errors.

    Raises:
        InputError: If L < 1 or uf is not reached from u0 in finite time.

    Source: the paper, implicit time at finite depth (E9).

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import deep_mode_time, mode_time
        >>> time, error = deep_mode_time(2, 0.25, 0.75, 1.0)
        >>> bool(np.isclose(time, mode_time(0.25, 0.75, 1.0)))  # two matrices: one hidden layer
        True
    """
    u0, uf, s = _span(u0, uf, s, tau)
    depth = np.asarray(depth, dtype=np.float64)
    require(bool(np.all(depth >= 1)), "a depth is below 1: it counts weight matrices.")

    def one(L: float, u0: float, uf: float, s: float) -> tuple[float, float]:
        side = np.sign(s - u0)
        start, end = (float(np.log(u / abs(s - u))) for u in (u0, uf))

        def integrand(z: float) -> float:
            return float((s / (1 + side * np.exp(-z))) ** (2 / L - 1))

        value, error, *_ = quad(
            integrand, start, end, epsabs=0.0, epsrel=1e-13, limit=500, full_output=True
        )
        return tau / (L * s) * value, tau / (L * s) * error

    values, errors = np.vectorize(one, otypes=[np.float64, np.float64])(depth, u0, uf, s)
    return values, errors


def deep_mode_time_infinite(
    depth: ArrayLike, u0: ArrayLike, uf: ArrayLike, s: ArrayLike, tau: float = 1.0
) -> Values:
    """Leading time at large depth, t = (tau/L) [ln(uf(s-u0)/(u0(s-uf)))/s^2 + 1/(s u0) - 1/(s uf)].

    Asymptotic: the exact L t approaches this L t with an error O(1/L). With a step size
    proportional to 1/L (`deep_mode_sharpness`) the number of steps is finite at any depth: a
    finite delay, as long as u0 does not vanish.

    Args:
        depth: L, the number of weight matrices; all arguments broadcast.
        u0: Start, positive.
        uf: End, on the same side of s as u0.
        s: Singular value, positive.
        tau: Time scale in steps.

    Raises:
        InputError: If uf is not reached from u0 in finite time.

    Source: the paper, infinite-depth limit (E10).

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import deep_mode_time_infinite
        >>> time = deep_mode_time_infinite(100, 0.25, 0.75, 1.0)
        >>> bool(np.isclose(100 * time, np.log(9) + 4 - 4 / 3))
        True
    """
    u0, uf, s = _span(u0, uf, s, tau)
    log = np.log(uf / u0) + np.log((s - u0) / (s - uf))
    return tau / np.asarray(depth, dtype=np.float64) * (log / s**2 + (uf - u0) / (s * u0 * uf))


def deep_mode_sharpness(depth: ArrayLike, s: ArrayLike) -> Values:
    """Sharpness L s^{2 - 2/L} of 1/2 (prod w_i - s)^2 at the balanced minimum of depth L.

    The largest eigenvalue on the path 0 <= u <= s; descent converges there below a step size of
    2/sharpness, which falls as 1/L.

    Source: the paper, optimal learning rate and depth (E11).

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import deep_mode_sharpness
        >>> float(deep_mode_sharpness(depth=2, s=3.0))
        6.0
    """
    depth, s = np.asarray(depth, dtype=np.float64), np.asarray(s, dtype=np.float64)
    return depth * s ** (2 - 2 / depth)


def strengths_along(
    product: Float[Array, "*time out in"], U: Float[Array, "out r"], V: Float[Array, "in r"]
) -> Float[Array, "*time r"]:
    """Strengths diag(U^T W V) of a linear map in given singular bases.

    U and V must come from one decomposition: two calls of an SVD may disagree in signs.

    Args:
        product: The end-to-end map W, with any leading axes.
        U: Output singular vectors, orthonormal columns.
        V: Input singular vectors, orthonormal columns.

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import strengths_along
        >>> strengths_along(jnp.diag(jnp.array([2.0, 3.0])), jnp.eye(2), jnp.eye(2)).tolist()
        [2.0, 3.0]
    """
    return jnp.einsum("or,...oi,ir->...r", U, product, V)


def conserved_quantities(
    weights: Sequence[Float[Array, "*time out in"]],
) -> list[Float[Array, "*time width width"]]:
    """Adjacent balancedness matrices W_l W_l^T - W_{l+1}^T W_{l+1}, constant under gradient flow.

    Exact for every linear net, loss of the product and input correlation.

    Args:
        weights: [W_1, ..., W_L], W_l of shape (out, in), first applied first, with any leading
            axes in common.

    Returns:
        L - 1 matrices, one per hidden layer (unit: weight^2).

    Source: the paper, conservation of a^2 - b^2, in matrix form.

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import conserved_quantities
        >>> [C.tolist() for C in conserved_quantities([jnp.array([[2.0]]), jnp.array([[3.0]])])]
        [[[-5.0]]]
    """
    return [W @ _transpose(W) - _transpose(above) @ above for W, above in pairwise(weights)]


def mode_energy(
    A: Float[Array, "hidden inputs"], B: Float[Array, "outputs hidden"], s: Float[Array, " r"]
) -> Float[Array, ""]:
    """Energy 1/2 sum_a (s_a - a^a.b^a)^2 + 1/2 sum_{a != b} (a^a.b^b)^2 of all modes together.

    The first sum is cooperation of a mode's two layers, the second competition between modes;
    modes beyond len(s) have s = 0. One-hidden-layer gradient flow is tau d/dt = -grad E.

    Args:
        A: W_1 in the input singular basis, W_1 V; column a^alpha belongs to mode alpha.
        B: W_2 in the output singular basis, U^T W_2; row b^alpha belongs to mode alpha.
        s: Singular values.

    Source: the paper, energy of the mode dynamics (E3).

    Examples:
        >>> from thalweg.theory.linear_nets.linear_modes import mode_energy
        >>> A, B, s = jnp.array([[1.0]]), jnp.array([[2.0]]), jnp.array([3.0])
        >>> float(mode_energy(A, B, s))  # (3 - 2)^2/2
        0.5
    """
    overlaps = B @ A
    r = min(len(s), *overlaps.shape)
    require(len(s) == r, f"{len(s)} singular values for overlaps of shape {overlaps.shape}.")
    target = jnp.zeros_like(overlaps).at[jnp.arange(r), jnp.arange(r)].set(s)
    return jnp.sum((target - overlaps) ** 2) / 2


_BEYOND = (
    "the final strength uf is not on the same side of s as the start: a mode approaches s "
    "without reaching it, so give a uf strictly between the start and s."
)
_ACROSS = "a mode with a^2 = b^2 never changes the sign of its strength: give uf the sign of a*b."


def _transpose(W: Array) -> Array:
    return jnp.swapaxes(W, -1, -2)


def _modes_and_times(
    s: ArrayLike, modes: ArrayLike, t: ArrayLike, tau: float
) -> tuple[Values, Values, Values]:
    """Modes on the trailing axes, times on the leading ones."""
    s, modes = np.broadcast_arrays(np.asarray(s, float), np.asarray(modes, float))
    t = np.asarray(t, dtype=np.float64)
    require_positive(tau=tau)
    require(bool(np.all(s >= 0)), "a singular value is negative: give s >= 0.")
    require(bool(np.all(t >= 0)), "a time is negative: the solution is given for t >= 0.")
    return s, modes, t.reshape(t.shape + (1,) * s.ndim)


def _span(u0: ArrayLike, uf: ArrayLike, s: ArrayLike, tau: float) -> tuple[Values, Values, Values]:
    u0, uf, s = (np.asarray(value, dtype=np.float64) for value in (u0, uf, s))
    require_positive(tau=tau)
    if not np.all((u0 > 0) & (uf > 0) & (s > 0)):
        raise InputError("a strength or singular value is not positive: give u0, uf, s > 0.")
    require(bool(np.all((s - u0) * (s - uf) > 0)), _BEYOND)
    return u0, uf, s


def _ratio(
    top: Values, bottom: Values, where: NDArray[np.bool_] | None = None, default: float = 0.0
) -> Values:
    """top/bottom where that is defined (and asked for), else the default."""
    top, bottom = np.broadcast_arrays(top, bottom)
    asked = bottom != 0 if where is None else np.broadcast_to(where, top.shape)
    return np.divide(top, bottom, out=np.full(top.shape, default), where=asked)


def _square_of_sum(u: Values, c0: Values) -> Values:
    """(a + b)^2 from u = ab and c0 = a^2 - b^2, without cancellation for u < 0."""
    root = np.hypot(c0, 2 * u)
    return np.where(u >= 0, root + 2 * u, _ratio(c0**2, root - 2 * u))
