"""Boundary control: what lies in a half line, from what is heard at its end.

Waves u^f are those of `thalweg.problems.wave_equation`, heard at 2N times dt apart, T = N dt. With
inner products in dV = c^-2 dx, those of waves at time T are known from the end alone
(Blagovestchenskii's identity):

    <u^f(T), u^h(T)> = f . K h,    K = dt^2 (S Lambda - Lambda^T S) on times 0..N-1,
    <u^f(T), 1>      = b . f,      b_n = dt^2 (N - n),

S the chequerboard of `time_average`. Sources of the last k times reach travel time r, just so far.
Of these

    f_r = argmin |u^f(T) - 1|^2 on what they reach + alpha |f|^2 = (P K P + alpha)^-1 P b

makes the wave 1 there, and b . f_r is the volume V(r), whose slope is 1/c.

Restrictions to the last k times are nested: with time running backwards they are the leading blocks
of one matrix, so that one factorisation L D L^T solves for every k, and volumes differ by the
squares z_k^2/d_k, L z = b, which are the masses of the nodes.

Source: de Hoop, Lassas and Wong (2019, arXiv 1912.11090).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import InputError, require
from thalweg.core.ranges import require_positive
from thalweg.problems import causal_toeplitz


class ControlOperators(NamedTuple):
    """What is known at the end of inner products of waves inside.

    Attributes:
        K: Of two waves, shape (..., N, N), symmetric (unit of dt^2 times that of a response).
        b: Of a wave and 1, shape (N,) (unit: time^2).
        time_step: dt.
    """

    K: NDArray[np.float64]
    b: NDArray[np.float64]
    time_step: float


class VolumeCurve(NamedTuple):
    """Volumes by how far sources reach.

    Attributes:
        travel_time: r_k = (k - 1/2) dt, up to where the first k masses are the volume, (N,).
        volume: b . f_r for the last k = 1..N times, shape (..., N) (unit: time^2/length).
        masses: What each time more adds, shape (..., N).
        pivots: D, shape (..., N). Up to the first that is not positive, K + alpha is positive
            definite; beyond it noise has made it indefinite, and f_r is a saddle. Where one is 0
            there is no f_r, and volumes are not finite from there on.
    """

    travel_time: NDArray[np.float64]
    volume: NDArray[np.float64]
    masses: NDArray[np.float64]
    pivots: NDArray[np.float64]


class SpeedCurve(NamedTuple):
    """A speed that was reconstructed.

    Attributes:
        travel_time: Middles of the cells, shape (N,).
        speed: c there, shape (..., N); NaN where the volume does not increase.
        position: x there, shape (..., N); NaN from the first such place on.
        reach: x at T, how far the reconstruction goes, shape (...).
    """

    travel_time: NDArray[np.float64]
    speed: NDArray[np.float64]
    position: NDArray[np.float64]
    reach: NDArray[np.float64]


def time_average(steps: int) -> NDArray[np.float64]:
    """S, for which dt^2 S f is (Jf)(t) = 1/2 int_t^{2T-t} f: 1 on every other time between.

    S_nm = 1 where n < N, |m - N| <= N - 1 - n and m - N has the parity of N - 1 - n; else 0.

    Args:
        steps: N.

    Returns:
        Shape (2N, 2N).

    Raises:
        InputError: If there is no step.

    Source: de Hoop, Lassas and Wong (2019), J; its grid is derived so that the identity is exact.

    Examples:
        >>> from thalweg.theory.inverse_problems.boundary_control import time_average
        >>> time_average(2).astype(int).tolist()
        [[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    """
    require(steps >= 1, f"steps came as {steps}; give at least 1")
    n, off = np.arange(2 * steps)[:, None], np.arange(2 * steps) - steps
    left = steps - 1 - n
    return np.asarray((left >= 0) & (np.abs(off) <= left) & ((off - left) % 2 == 0), float)


def control_operators(response: ArrayLike, time_step: float) -> ControlOperators:
    """K and b from what is heard of an impulse, the first column of Lambda.

    Args:
        response: g at times 0..2N-1, shape (..., 2N).
        time_step: dt.

    Returns:
        K and b. Error: none on a grid of travel time but rounding; O(dt) on others.

    Raises:
        InputError: If the number of times is odd or 0, or the time step is not positive.

    Cost: 6 N^3 operations for each response.

    Source: de Hoop, Lassas and Wong (2019).

    Examples:
        >>> from thalweg.theory.inverse_problems.boundary_control import control_operators
        >>> media = tw.problems.layered_media([1.0], steps=2, horizon=2.0)
        >>> control = control_operators(media.responses[0], media.time_step)
        >>> control.K.tolist(), control.b.tolist()  # u^f(T) = (2 f_1, 2 f_0), masses 1/2, 1
        ([[4.0, 0.0], [0.0, 2.0]], [2.0, 1.0])
    """
    g = np.asarray(response, float)
    require(
        g.ndim >= 1 and g.shape[-1] >= 2 and g.shape[-1] % 2 == 0,
        f"response came with shape {g.shape}; give an even number of times, 2N",
    )
    require_positive(time_step=time_step)
    N = g.shape[-1] // 2
    S, Lambda = time_average(N)[:N], causal_toeplitz(g)[..., :N]  # all that times 0..N-1 ask
    K = time_step**2 * (S @ Lambda - np.swapaxes(Lambda[..., :N, :], -1, -2) @ S[:, :N])
    return ControlOperators(K, time_step**2 * (N - np.arange(N, dtype=float)), float(time_step))


def volume_curve(operators: ControlOperators, penalty: ArrayLike = 0.0) -> VolumeCurve:
    """Volumes for every reach, by one factorisation.

    Args:
        operators: K and b.
        penalty: alpha, at least 0, a number or one for each K, shape (...) (unit of K).

    Returns:
        The curve. Error: rounding times the condition number of K + alpha; alpha itself takes from
        the volume what grows with it, in proportion where it is small.

    Raises:
        InputError: If a penalty is negative, or not as many came as there are operators.

    Cost: N^3/3 operations, as for one reach alone.

    Source: de Hoop, Lassas and Wong (2019); nested as in the text of this module.

    Examples:
        >>> from thalweg.theory.inverse_problems.boundary_control import (
        ...     control_operators, volume_curve,
        ... )
        >>> media = tw.problems.layered_media([2.0], steps=4, horizon=2.0)
        >>> volume_curve(control_operators(media.responses, media.time_step)).volume.tolist()
        [[0.125, 0.375, 0.625, 0.875]]
    """
    K, b, dt = operators
    N = len(b)
    backwards = _penalised(K, penalty)[..., ::-1, ::-1].copy()
    z = np.broadcast_to(b[::-1], K.shape[:-1]).copy()
    with np.errstate(divide="ignore", invalid="ignore"):  # a pivot may be 0
        for i in range(N - 1):  # L D L^T without exchanges, which would break the order of times
            below = backwards[..., i + 1 :, i] / backwards[..., i, i, None]
            backwards[..., i + 1 :, i + 1 :] -= below[..., None] * backwards[..., None, i, i + 1 :]
            z[..., i + 1 :] -= below * z[..., i, None]
        pivots = np.diagonal(backwards, axis1=-2, axis2=-1).copy()
        masses = z**2 / pivots
    travel_time = (np.arange(N, dtype=np.float64) + 0.5) * dt
    return VolumeCurve(travel_time, np.cumsum(masses, -1), masses, pivots)


def control(
    operators: ControlOperators, penalty: ArrayLike = 0.0, reach: int | None = None
) -> NDArray[np.float64]:
    """f_r = (P K P + alpha)^-1 P b, the source whose wave is 1 up to r (Tikhonov).

    Args:
        operators: K and b.
        penalty: alpha, at least 0, a number or one for each K.
        reach: k, of how many last times it makes use; of all N by default.

    Returns:
        Shape (..., N), 0 before the last k times.

    Raises:
        InputError: If a penalty is negative, the reach is not between 1 and N, or the matrix is
            singular.

    Error: Rounding times the condition number. Cost: k^3/3 operations.

    Source: de Hoop, Lassas and Wong (2019).

    Examples:
        >>> from thalweg.theory.inverse_problems.boundary_control import control, control_operators
        >>> media = tw.problems.layered_media([1.0], steps=2, horizon=2.0)
        >>> control(control_operators(media.responses[0], 1.0)).tolist()  # its wave is 1
        [0.5, 0.5]
    """
    matrix, right = restricted_system(operators, penalty, reach)
    right = np.broadcast_to(right, matrix.shape[:-1])
    f = np.zeros(operators.K.shape[:-1])
    try:
        f[..., -matrix.shape[-1] :] = np.linalg.solve(matrix, right[..., None])[..., 0]
    except np.linalg.LinAlgError as error:
        raise InputError("K + penalty is singular; give a penalty above 0") from error
    return f


def restricted_system(
    operators: ControlOperators, penalty: ArrayLike = 0.0, reach: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P (K + alpha) P and P b on the last k times alone, shapes (..., k, k) and (k,).

    Args:
        operators: K and b.
        penalty: alpha, at least 0, a number or one for each K.
        reach: k; all N by default.

    Raises:
        InputError: If a penalty is negative, or the reach is not between 1 and N.

    Source: de Hoop, Lassas and Wong (2019).

    Examples:
        >>> from thalweg.theory.inverse_problems.boundary_control import (
        ...     control_operators, restricted_system,
        ... )
        >>> media = tw.problems.layered_media([1.0], steps=2, horizon=2.0)
        >>> matrix, right = restricted_system(control_operators(media.responses[0], 1.0), 0.5, 1)
        >>> matrix.tolist(), right.tolist()
        ([[2.5]], [1.0])
    """
    N = len(operators.b)
    require(reach is None or 1 <= reach <= N, f"reach came as {reach}; give 1 to {N}")
    first = 0 if reach is None else N - reach
    return _penalised(operators.K, penalty)[..., first:, first:], operators.b[first:]


def wave_speed(curve: VolumeCurve, window: int | None = None) -> SpeedCurve:
    """The speed as a function of travel time and of position, from c = 1/V'.

    Without a window by the recursion that is exact for cells, zeta_{1/2} = 2 M_0/dt and
    zeta_{i+1/2} = 2 M_i/dt - zeta_{i-1/2}, which doubles an error in a mass and keeps it for ever.
    With one, the slope of a parabola fitted to that many volumes around each (Savitzky and Golay).

    Args:
        curve: Volumes.
        window: How many volumes are smoothed together, odd, 3 to N; needed where there is noise, a
            penalty or another grid than that of travel time.

    Returns:
        The speed. Error: rounding times the condition number without a window, else O(window^2
        dt^2) where it is smooth, and noise.

    Raises:
        InputError: If the window is even or out of its range.

    Cost: O(N).

    Source: de Hoop, Lassas and Wong (2019).

    Examples:
        >>> from thalweg.theory.inverse_problems.boundary_control import (
        ...     control_operators, volume_curve, wave_speed,
        ... )
        >>> media = tw.problems.layered_media([0.5, 2.0], steps=4, horizon=2.0)
        >>> operators = control_operators(media.responses[0], media.time_step)
        >>> found = wave_speed(volume_curve(operators))
        >>> found.speed.round(12).tolist(), float(found.reach.round(12))
        ([0.5, 0.5, 2.0, 2.0], 2.5)
    """
    N = len(curve.travel_time)
    dt = 2 * float(curve.travel_time[0])
    if window is None:
        signs = (-1.0) ** np.arange(N)
        slope = signs * np.cumsum(signs * 2 * curve.masses / dt, axis=-1)
    else:
        require(
            window % 2 == 1 and 3 <= window <= N,
            f"window came as {window}; give an odd number from 3 to {N}",
        )
        from scipy.signal import savgol_filter  # takes long to import

        slope = savgol_filter(curve.volume, window, 2, deriv=1, delta=dt)
    speed = np.divide(1.0, slope, out=np.full_like(slope, np.nan), where=slope > 0)
    ends = dt * np.cumsum(speed, axis=-1)
    return SpeedCurve(curve.travel_time, speed, ends - dt * speed / 2, ends[..., -1])


def _penalised(K: NDArray[np.float64], penalty: ArrayLike) -> NDArray[np.float64]:
    alpha = np.asarray(penalty, float)
    require(
        bool(np.all((alpha >= 0) & np.isfinite(alpha))), f"penalty came as {alpha}; give at least 0"
    )
    require(
        alpha.ndim == 0 or alpha.shape == K.shape[:-2],
        f"penalty came with shape {alpha.shape} for {K.shape[:-2]} operators; give one for each",
    )
    return np.asarray(K + alpha[..., None, None] * np.eye(K.shape[-1]))
