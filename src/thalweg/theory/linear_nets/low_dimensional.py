"""Learning from data on a plane: what becomes of the derivative normal to it.

A deep linear net f(z) = W_L ... W_1 z with one output has an effective vector w = (w_x, w_y),
tangent and normal to the plane M of the data, and df/dn = w_y. From balanced layers,
W_{j+1}^T W_{j+1} = W_j W_j^T, gradient flow moves w by the reduced flow

    dw/dt = -||w||^{2 - 2/L} [G + (L - 1) w <w, G>/||w||^2],   G = H (w - c),

for the loss 1/2 (w - c)^T H (w - c). Data on M have H = diag(Sigma_x, 0), noise of variance s^2
off it makes H = diag(Sigma_x, s^2 I), and c = (a, 0). All arrays are NumPy float64.

Source: He, Tsai and Ward (2023), Research in the Mathematical Sciences 10:13, arXiv 2203.00614;
Arora, Cohen and Hazan (2018) for the reduced flow. The formulas are derived, not quoted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.linalg import block_diag
from scipy.optimize import brentq

from thalweg.core.errors import require
from thalweg.theory.prediction import Prediction, make_prediction

Values = np.ndarray
SOURCE = "He, Tsai and Ward (2023), arXiv 2203.00614"


class QuadraticLoss(NamedTuple):
    """The loss E(w) = 1/2 (w - c)^T H (w - c) of an effective vector.

    Attributes:
        hessian: H, symmetric, shape (d, d).
        minimiser: c, shape (d,); one of them where H is singular.
    """

    hessian: Float[Values, "d d"]
    minimiser: Float[Values, " d"]

    def gradient(self, w: Float[Values, " d"]) -> Float[Values, " d"]:
        """H (w - c)."""
        return self.hessian @ (w - self.minimiser)


def plane_loss(
    a: ArrayLike, codimension: int, noise: float = 0.0, correlation: ArrayLike | None = None
) -> QuadraticLoss:
    """The population loss of data near a plane: H = diag(Sigma_x, noise^2 I), c = (a, 0).

    Args:
        a: Least-squares vector in tangent coordinates, (d_x,).
        codimension: d_y.
        noise: Standard deviation of every normal coordinate, independent of x and the target.
        correlation: Sigma_x = E x x^T, (d_x, d_x); None for the identity.

    Raises:
        InputError: If the sizes do not fit, or the noise is negative.

    Examples:
        >>> from thalweg.theory.linear_nets.low_dimensional import plane_loss
        >>> loss = plane_loss([2.0], codimension=1, noise=0.5)
        >>> loss.hessian.tolist(), loss.minimiser.tolist()
        ([[1.0, 0.0], [0.0, 0.25]], [2.0, 0.0])
    """
    a = np.atleast_1d(np.asarray(a, float))
    inside = np.eye(a.size) if correlation is None else np.asarray(correlation, float)
    require(
        a.ndim == 1 and inside.shape == (a.size, a.size) and codimension >= 0 and noise >= 0,
        f"a of shape {a.shape}, a correlation of shape {inside.shape}, codimension {codimension} "
        f"and noise {noise} came; give (d_x,), (d_x, d_x) and numbers of at least 0",
    )
    H = block_diag(inside, noise**2 * np.eye(codimension))
    return QuadraticLoss(H[: a.size + codimension], np.concatenate([a, np.zeros(codimension)]))


def reduced_velocity(w: Float[Values, " d"], gradient: Float[Values, " d"], depth: int) -> Values:
    """dw/dt = -||w||^{2 - 2/L} [G + (L - 1) w <w, G>/||w||^2] of balanced layers; -G for L = 1.

    Args:
        w: Effective vector, not zero.
        gradient: G = grad E(w).
        depth: L, the number of weight matrices.

    Source: Arora, Cohen and Hazan (2018), one output; E4 of the study.

    Examples:
        >>> from thalweg.theory.linear_nets.low_dimensional import reduced_velocity
        >>> reduced_velocity(np.array([2.0]), np.array([1.0]), 2).tolist()  # -2 |w| g
        [-4.0]
    """
    square = w @ w
    along = (depth - 1) * (w @ gradient) / square
    return -(square ** (1 - 1 / depth)) * (gradient + along * w)


class ReducedFlow(NamedTuple):
    """A solution of the reduced flow.

    Attributes:
        times: Shape (T,).
        w: Effective vectors, (T, d); NaN where the solver gave up.
        error: Distance of each from a solution of tolerances a hundred times looser, (T,).
        closest: Least ||w|| along the way, by location of <w, G> = 0 from above.
        closest_error: Its distance from the one of the looser solution.
        stopped: When `until` came true, NaN if it never did.
        stopped_error: Its distance from the one of the looser solution.
    """

    times: Float[Values, " T"]
    w: Float[Values, "T d"]
    error: Float[Values, " T"]
    closest: float
    closest_error: float
    stopped: float
    stopped_error: float


def reduced_flow(
    loss: QuadraticLoss,
    start: ArrayLike,
    depth: int,
    times: ArrayLike,
    until: Callable[[Values], float] | None = None,
    rtol: float = 1e-11,
    atol: float = 1e-13,
) -> ReducedFlow:
    """Integrate the reduced flow by an adaptive method of order 8 (DOP853), twice.

    Args:
        loss: E.
        start: w(0), shape (d,), not zero.
        depth: L, the number of weight matrices, at least 1.
        times: Increasing, from at least 0, (T,); after `until` came true w stays where it was.
        until: A function of w; the integration ends where it falls through 0.
        rtol: Relative tolerance of the better solution.
        atol: Absolute tolerance of the better solution.

    Returns:
        The better solution, with its distance from the other as its error, which is on the safe
        side. ||w||^2 falls as long as <w, G> > 0, so that it is least where that changes sign.

    Raises:
        InputError: If a shape does not fit, the depth is below 1 or the start is zero.

    Cost: two integrations, one gradient of E per evaluation of the right side.

    Source: E4 of the study.

    Examples:
        >>> from thalweg.theory.linear_nets.low_dimensional import plane_loss, reduced_flow
        >>> found = reduced_flow(plane_loss([1.0], codimension=1), [2.0, 3.0], depth=1, times=[1.0])
        >>> bool(np.allclose(found.w, [[1 + np.exp(-1), 3.0]]))  # clean data leave w_y as it was
        True
    """
    w0, times = np.asarray(start, float), np.asarray(times, float)
    require(
        w0.shape == loss.minimiser.shape and bool(np.any(w0)) and depth >= 1,
        f"a start of shape {w0.shape} and depth {depth} came; give a vector of "
        f"{loss.minimiser.size} numbers, not all zero, and at least 1",
    )
    require(
        times.ndim == 1 and times.size > 0 and times[0] >= 0 and bool(np.all(np.diff(times) > 0)),
        "the times must increase from at least 0",
    )
    fine, coarse = (
        _integrated(loss, w0, depth, times, until, factor * rtol, factor * atol)
        for factor in (1, 100)
    )
    error = np.linalg.norm(fine[0] - coarse[0], axis=1)
    return ReducedFlow(
        times, fine[0], error, fine[1], abs(fine[1] - coarse[1]), fine[2], abs(fine[2] - coarse[2])
    )


def _integrated(
    loss: QuadraticLoss,
    w0: Values,
    L: int,
    times: Values,
    until: Callable[[Values], float] | None,
    rtol: float,
    atol: float,
) -> tuple[Values, float, float]:
    """Vectors at the times, least norm, time of the stop."""

    def velocity(_: float, w: Values) -> Values:
        return reduced_velocity(w, loss.gradient(w), L)

    def inward(_: float, w: Values) -> float:
        return float(w @ loss.gradient(w))

    def stop(_: float, w: Values) -> float:
        return 1.0 if until is None else until(w)

    inward.direction, stop.direction, stop.terminal = -1, -1, True  # type: ignore[attr-defined]
    found = solve_ivp(
        velocity,
        (0.0, times[-1]),
        w0,
        "DOP853",
        t_eval=times,
        events=(inward, stop),
        rtol=rtol,
        atol=atol,
    )
    assert found.y_events is not None  # as events were asked for
    assert found.t_events is not None
    turned, ended = found.y_events
    reached = np.reshape(found.y, (len(w0), -1)).T  # SciPy gives an empty list for no times
    last = ended[0] if len(ended) else reached[-1] if found.status == 0 else np.nan * w0
    w = np.vstack([reached, np.tile(last, (len(times) - len(reached), 1))])
    closest = np.min(np.linalg.norm([w0, last, *turned], axis=1))
    when = float(found.t_events[1][0]) if len(ended) else np.nan
    return w, float(closest), when


# Data on the plane: what the start decides.


def frozen_invariant(w_norm: ArrayLike, normal_norm: ArrayLike, depth: int) -> Values:
    """||w_y|| / ||w||^{1 - 1/L}, which the reduced flow conserves on clean data.

    From d ln||w_y||/dt = -(L - 1) ||w||^{-2/L} <w, G> and d ln||w||/dt = -L ||w||^{-2/L} <w, G>,
    both for G_y = 0; the direction of w_y is conserved as well.

    Args:
        w_norm: ||w||, all of it.
        normal_norm: ||w_y||.
        depth: L, the number of weight matrices.

    Source: E5 of the study.

    Examples:
        >>> from thalweg.theory.linear_nets.low_dimensional import frozen_invariant
        >>> float(frozen_invariant(w_norm=4.0, normal_norm=1.0, depth=2))
        0.5
    """
    return np.asarray(normal_norm, float) / np.asarray(w_norm, float) ** (1 - 1 / depth)


def settled_normal_norm(w_norm: float, normal_norm: float, fitted_norm: float, depth: int) -> float:
    """||w_y(inf)|| of clean data: the start's, times (||w(inf)||/||w(0)||)^{1 - 1/L}.

    ||w(inf)||^2 = ||a||^2 + ||w_y(inf)||^2, solved for its one root. Depth damps df/dn if
    ||w(0)|| > ||w(inf)||, and amplifies it otherwise; it falls as ||w(0)||^{1/L} for small starts.

    Args:
        w_norm: ||w(0)||, positive.
        normal_norm: ||w_y(0)||.
        fitted_norm: ||a||, positive, to which ||w_x|| converges.
        depth: L, the number of weight matrices.

    Error: a relative 1e-14.

    Raises:
        InputError: If a norm is out of range or the depth below 1.

    Source: E5 of the study.

    Examples:
        >>> from thalweg.theory.linear_nets.low_dimensional import settled_normal_norm
        >>> round(settled_normal_norm(w_norm=2.0, normal_norm=1.0, fitted_norm=3.0, depth=1), 6)
        1.0
    """
    require(
        w_norm >= normal_norm >= 0 and w_norm > 0 and fitted_norm > 0 and depth >= 1,
        f"||w(0)|| = {w_norm}, ||w_y(0)|| = {normal_norm}, ||a|| = {fitted_norm} and depth "
        f"{depth} came; give ||w(0)|| >= ||w_y(0)|| >= 0, a positive ||a||, and a depth >= 1",
    )
    invariant = float(frozen_invariant(w_norm, normal_norm, depth))

    def excess(r: float) -> float:
        return r**2 - (invariant * r ** (1 - 1 / depth)) ** 2 - fitted_norm**2

    low = max(fitted_norm, invariant**depth)
    high = 2 * low
    while excess(high) < 0:
        high *= 2
    norm = low if excess(low) >= 0 else brentq(excess, low, high, xtol=1e-300, rtol=1e-14)
    return float(invariant * norm ** (1 - 1 / depth))


def closest_norm(w_norm: ArrayLike, normal_norm: ArrayLike, depth: int) -> Values:
    """min_t ||w|| = ||w_y(0)||^L / ||w(0)||^{L - 1} of clean data on a line, d_x = 1.

    For a start on the wrong side, w_x(0) a < 0: w passes w_x = 0, where ||w|| = ||w_y||. With
    noise it comes nearer still.

    Args:
        w_norm: ||w(0)||.
        normal_norm: ||w_y(0)||.
        depth: L, the number of weight matrices.

    Source: E6 of the study.

    Examples:
        >>> from thalweg.theory.linear_nets.low_dimensional import closest_norm
        >>> float(closest_norm(w_norm=2.0, normal_norm=1.0, depth=2))
        0.5
    """
    return np.asarray(normal_norm, float) ** depth / np.asarray(w_norm, float) ** (depth - 1)


def decayed_columns(start: ArrayLike, decay: float, step_size: float, steps: ArrayLike) -> Values:
    """B_k = (1 - eta mu)^k B_0: the first layer's normal columns under weight decay, clean data.

    For any net whose first layer is affine, by gradient descent; mu = 0 freezes them.

    Args:
        start: B_0, any shape.
        decay: mu, the factor of 1/2 ||theta||^2 in the objective.
        step_size: eta.
        steps: k, broadcast in front of B_0.

    Source: E3 of the study.

    Examples:
        >>> from thalweg.theory.linear_nets.low_dimensional import decayed_columns
        >>> decayed_columns([4.0], decay=0.5, step_size=1.0, steps=[0, 1, 2]).ravel().tolist()
        [4.0, 2.0, 1.0]
    """
    factor = np.asarray((1 - step_size * decay) ** np.asarray(steps, float))
    start = np.asarray(start, float)
    return factor.reshape(*factor.shape, *[1] * start.ndim) * start


def redrawn_variance(
    column_variance: float, first_layer_gradient: Float[ArrayLike, "n width"]
) -> Float[Values, " n"]:
    """Variance s^2 ||g_1(x)||^2 of df/dy_k(x, 0) over the first layer's normal columns B.

    With B(0) of independent N(0, s^2) entries and clean data, df/dy = B^T g_1 is Gaussian given
    the training, which B does not enter, and independent over k.

    Args:
        column_variance: s^2, 2/fan-in for He's start.
        first_layer_gradient: g_1, the output's derivative by the first pre-activations.

    Source: E10 of the study.

    Examples:
        >>> from thalweg.theory.linear_nets.low_dimensional import redrawn_variance
        >>> redrawn_variance(0.5, [[1.0, 1.0]]).tolist()
        [1.0]
    """
    return column_variance * np.sum(np.asarray(first_layer_gradient, float) ** 2, axis=-1)


# Noise off the plane.


def normal_decay_rate(a_norm: ArrayLike, noise: ArrayLike, depth: int) -> Values:
    """Rate ||a||^{2 - 2/L} noise^2 at which w_y dies near the optimum (a, 0), per training time.

    The rank-one term of the reduced flow vanishes in normal directions there, to first order.

    Args:
        a_norm: ||a||.
        noise: Standard deviation of normal coordinates.
        depth: L, the number of weight matrices.

    Source: E8 of the study.

    Examples:
        >>> from thalweg.theory.linear_nets.low_dimensional import normal_decay_rate
        >>> float(normal_decay_rate(a_norm=4.0, noise=0.5, depth=2))
        1.0
    """
    return np.asarray(a_norm, float) ** (2 - 2 / depth) * np.asarray(noise, float) ** 2


def normal_decay(normal_norm: float, a_norm: float, noise: float, depth: int) -> Prediction:
    """||w_y(t)|| = ||w_y(0)|| exp(-||a||^{2 - 2/L} noise^2 t) near the optimum.

    Args:
        normal_norm: ||w_y|| at training time 0.
        a_norm: ||a||.
        noise: Standard deviation of normal coordinates.
        depth: L, the number of weight matrices.

    Examples:
        >>> from thalweg.theory.linear_nets.low_dimensional import normal_decay
        >>> decay = normal_decay(normal_norm=2.0, a_norm=1.0, noise=1.0, depth=2)
        >>> bool(np.allclose(decay.at([0.0, 1.0]), [2, 2 / np.e]))
        True
    """
    rate = float(normal_decay_rate(a_norm, noise, depth))
    return make_prediction(
        "normal_derivative",
        "output/input",
        "asymptotic",
        "balanced deep linear net with one output, many samples, w near (a, 0)",
        lambda times: normal_norm * np.exp(-rate * np.asarray(times, float)),
        f"{SOURCE}; E8 of the study",
    )


def least_squares_normal(
    residual: ArrayLike,
    noise: ArrayLike,
    examples: ArrayLike,
    dimension: int = 1,
    codimension: int = 1,
) -> Values:
    """Root mean square of each normal weight w_y,k at the least-squares minimum.

        residual / (noise sqrt(n - dimension - codimension - 1))

    For Gaussian y independent of x and of the target; the same at every depth, which has the same
    minimum. What the plane's own fit leaves over is fitted by the noise. The mean is over y and
    over residuals of mean square residual^2 that do not depend on x: then it is exact, by the mean
    1/(noise^2 (m - codimension - 1)) of the diagonal of an inverse Wishart matrix of
    m = n - dimension degrees of freedom. Residuals that depend on x change it by O(1/n).

    Args:
        residual: Root mean square of target less best linear fit in x.
        noise: Standard deviation of normal coordinates.
        examples: n, samples; up to dimension + codimension + 1 of them the mean square is infinite.
        dimension: Coordinates x on the plane that are fitted.
        codimension: Normal coordinates y.

    Source: E9 of the study, with the moments of the inverse Wishart distribution.

    Examples:
        >>> from thalweg.theory.linear_nets.low_dimensional import least_squares_normal
        >>> float(least_squares_normal(residual=1.0, noise=0.5, examples=19))  # 2/sqrt(19 - 3)
        0.5
    """
    left = np.maximum(np.asarray(examples, float) - dimension - codimension - 1, 0)
    with np.errstate(divide="ignore"):
        return np.asarray(residual, float) / (np.asarray(noise, float) * np.sqrt(left))


def samples_needed(
    residual: ArrayLike,
    noise: ArrayLike,
    derivative: ArrayLike,
    dimension: int = 1,
    codimension: int = 1,
) -> Values:
    """Samples for a root mean square df/dn of `derivative` per direction, not rounded.

        residual^2/(noise^2 derivative^2) + dimension + codimension + 1

    The inverse of `least_squares_normal`.

    Examples:
        >>> from thalweg.theory.linear_nets.low_dimensional import samples_needed
        >>> float(samples_needed(residual=1.0, noise=0.5, derivative=0.5))
        19.0
    """
    size = np.asarray(noise, float) * np.asarray(derivative, float)
    return (np.asarray(residual, float) / size) ** 2 + dimension + codimension + 1
