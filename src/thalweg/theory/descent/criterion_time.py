"""When a deep linear net from a decoupled start has learned all of its modes together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from thalweg.core.errors import require
from thalweg.theory.linear_nets import linear_modes


def criterion_time(
    depth: int, u0: float, s: ArrayLike, fraction: float, tau: float = 1.0
) -> tuple[float, float]:
    """Time at which 1/2 sum_a (s_a - u_a)^2 has fallen to a fraction of 1/2 sum_a s_a^2.

    Every mode moves alone, tau du_a/dt = L u_a^{2 - 2/L} (s_a - u_a) from u_a(0) = u0; integrated
    in ln u, where the plateau is mild, with an event at the criterion.

    Args:
        depth: L, the number of weight matrices.
        u0: Strength of every mode at the start, positive and below every s.
        s: Singular values, positive.
        fraction: Of the loss of the zero map, in (0, 1).
        tau: Time scale in steps: 1/tau is the step size.

    Returns:
        (value, error): the time, and its distance to a solution with tolerances a hundred times
        looser; 0 for a start that meets the criterion, NaN if the integration never meets it.

    Raises:
        InputError: If an argument is out of range.

    Source: Saxe, McClelland and Ganguli (2014), dynamics of depth (E8), all modes.

    Examples:
        >>> from thalweg.theory.descent.criterion_time import criterion_time
        >>> time, error = criterion_time(1, u0=0.5, s=[1.0], fraction=1 / 16)
        >>> bool(np.isclose(time, np.log(2)))  # 1 - u falls as exp(-t)/2
        True
    """
    s = np.asarray(s, dtype=np.float64)
    require(0 < fraction < 1, f"the fraction is {fraction}: give a number between 0 and 1.")
    require(0 < u0 < s.min(), f"the start is {u0}: give a strength between 0 and {s.min():g}.")
    level = fraction * np.sum(s**2)

    def rate(_: float, z: np.ndarray) -> np.ndarray:
        u = np.exp(z)
        return linear_modes.deep_mode_rate(depth, u, s, tau) / u

    def excess(_: float, z: np.ndarray) -> float:
        return float(np.sum((s - np.exp(z)) ** 2) - level)

    excess.terminal = True  # type: ignore[attr-defined]

    start = np.full(s.shape, np.log(u0))
    if excess(0.0, start) <= 0:
        return 0.0, 0.0
    # By then every mode alone is near enough.
    near = s - np.minimum(np.sqrt(level / s.size), 0.5 * (s - u0))
    end = 1.01 * float(np.max(linear_modes.deep_mode_time(depth, u0, near, s, tau)[0]))
    times = [
        solve_ivp(rate, (0.0, end), start, "LSODA", events=excess, rtol=rtol, atol=rtol)
        for rtol in (1e-11, 1e-9)
    ]
    met = [found.t_events[0] for found in times if found.t_events is not None]
    if not all(len(found) for found in met):
        return np.nan, np.inf
    fine, coarse = (float(found[0]) for found in met)
    return fine, abs(fine - coarse)
