"""The iteration of boundary control as an operator recurrent network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.models.operator_recurrent import OperatorRecurrent
from thalweg.models.starts import GivenStart
from thalweg.theory.inverse_problems.boundary_control import time_average


def unrolled_control(
    steps: int,
    time_step: float,
    layers: int,
    bound: float,
    penalty: float = 0.0,
    reach: int | None = None,
    scale: float = 1.0,
    rank: int | None = None,
    tied: bool = False,
    readout: bool = True,
    key: Array | None = None,
) -> GivenStart:
    """A net that starts as so many Landweber iterations of boundary control, and can be trained.

    The state is (f, g) with g = R S f, R the reversal of time, J = dt^2 S; with kappa =
    1 - alpha/omega, mu = dt^2/omega and P the last `reach` steps before T,

        f' = kappa P f - mu P S X f + mu P R X g + P b / omega,    g' = R S f',

    which is the layer A = [[kappa P, 0], [kappa R S P, 0]], B = -mu [[P S, -P R], [R S P S,
    -R S P R]], bias [P b, R S P b] / omega, without a branch under phi. After m layers f is the
    m-th iterate from f = 0, to rounding, and the readout <b, f> the volume.

    Args:
        steps: N, so that T = N dt and the input is (2N, 2N).
        time_step: dt.
        layers: m.
        bound: omega, at least ||K||, so that the iteration converges.
        penalty: alpha, as of the regularised least squares.
        reach: k, for r = k dt; None for N.
        scale: What the operators were divided by, as of `problems.volume_data`.
        rank: None trains all weights from there; a number holds them fixed and trains so many
            rank-one factors beside each matrix, which start at zero.
        tied: Whether all layers share their weights.
        readout: Whether the output is the volume; else it is the state (f, g).
        key: Draws the left factors, where there are any; the right ones are zero.

    Returns:
        The net with its start.

    Raises:
        InputError: If a number is out of range.

    Source: de Hoop, Lassas and Wong (2019); the weights derived.

    Examples:
        >>> from thalweg.theory.operator_nets.unrolled_control import unrolled_control
        >>> net = unrolled_control(steps=4, time_step=0.1, layers=3, bound=0.1, readout=False)
        >>> params = net.init(jax.random.key(0), (8, 8), 16)
        >>> net.apply(params, jnp.zeros((1, 8, 8)))[0, :4].round(4).tolist()  # 3 b / omega
        [1.2, 0.9, 0.6, 0.3]
    """
    reach = steps if reach is None else reach
    require(steps >= 1, f"steps came as {steps}; give a whole number of at least 1")
    require(1 <= reach <= steps, f"reach came as {reach}; give a whole number from 1 to {steps}")
    require_positive(time_step=time_step, bound=bound, scale=scale)
    require(
        0 <= penalty <= bound,
        f"penalty came as {penalty}; give a number from 0 to the bound, {bound}",
    )
    size = 2 * steps
    times = np.arange(size)
    P = np.diag(((times >= steps - reach) & (times < steps)).astype(float))
    S, R = np.asarray(time_average(steps)), np.eye(size)[::-1]
    b = time_step**2 * np.maximum(steps - times, 0)
    both = np.concatenate([np.eye(size), R @ S])  # (f, g) of an f
    kappa, zero = 1 - penalty / bound, np.zeros((size, size))
    A = both @ np.concatenate([kappa * P, zero], axis=1)
    B = both @ np.concatenate([P @ S, -P @ R], axis=1)
    B = B * (-scale * time_step**2 / bound)
    shift = jnp.asarray(both @ P @ b / bound)
    last = {"weight": jnp.asarray(np.concatenate([b @ P, 0 * b]))[None], "bias": jnp.zeros(1)}
    parts = {"A0": jnp.asarray(A), "B0": jnp.asarray(B)}
    net = OperatorRecurrent(
        layers, 2, rank, None, tied, readout, None, None if rank is None else parts
    )
    count = 1 if tied else layers
    start = [{**parts, "b0": shift} for _ in range(count)]
    if rank is not None:
        drawn = net.init(
            jax.random.key(0) if key is None else key, (size, size), 1 if readout else 2 * size
        )
        for own, layer in zip(start, drawn, strict=False):
            own |= {
                name: layer[name] | {"right": jnp.zeros_like(layer[name]["right"])}
                for name in parts
            }
    return GivenStart(net, [*start, last] if readout else start)
