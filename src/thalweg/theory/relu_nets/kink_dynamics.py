"""Gradient descent of a one-input ReLU net of any width in thirteen numbers, until a kink crosses.

While no kink has passed an example, every unit of a side s moves by the same 3 x 3 map (E3):

    theta_i <- (I + h Q(u_s)) theta_i,   Q(u) = [[0, 0, u1], [0, 0, u2], [u1, u2, 0]]
    c <- c + h (u_right,2 + u_left,2),   u = M (v_opt - v)

so that theta_i(k) = T_s(k) (a_i, 0, w_i), and the lines v(k) follow from T_s Sigma_s(0) T_s^T. The
ratio b_i/a_i is a Moebius map of rho_i = w_i(0)/a_i(0) (E4), monotone while its denominator is
positive, so that the extreme rho of a side are the only kinks to watch. With a leak alpha the map
of a side is that of u_s + alpha u_(-s).

Source: Holzmueller and Steinwart (2022), arXiv 2002.04861, reduced by us; E3 and E4 of the study.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from thalweg.core.errors import InputError, require
from thalweg.core.ranges import require_positive
from thalweg.theory.relu_nets.one_input import (
    OneInputData,
    OneInputNet,
    largest_step_size,
    second_moments,
    two_lines,
)


class ReducedState(NamedTuple):
    """Where reduced runs are.

    Attributes:
        maps: Columns 0 and 2 of T, of the right side, then of the left, (..., 2, 3, 2): column 1
            would act on b(0) = 0.
        c: Output bias, (...).
        steps: Steps taken, (...); a run stops with the step by which a kink crosses.
        crossed: Whether max_i |b_i/a_i| has come to min_j |x_j|, or an a_i has changed its sign,
            its kink gone through infinity, (...).
    """

    maps: Float[np.ndarray, "... 2 3 2"]
    c: Float[np.ndarray, "..."]
    steps: np.ndarray
    crossed: np.ndarray


class KinkDynamics(NamedTuple):
    """Gradient descent of nets without hidden biases at the start, reduced.

    Attributes:
        net: Where it starts; b = 0, a without 0.
        data: The examples; weights with the leading axes of the nets, or none.
        step_size: h, (...).
        leak: alpha of the activation.
    """

    net: OneInputNet
    data: OneInputData
    step_size: Float[np.ndarray, "..."]
    leak: float = 0.0

    @property
    def start(self) -> ReducedState:
        """No step taken: T = I."""
        many = self.step_size.shape
        maps = np.broadcast_to(np.eye(3)[:, [0, 2]], (*many, 2, 3, 2))
        c = np.broadcast_to(self.net.c, many)
        return ReducedState(maps.copy(), c.copy(), np.zeros(many, int), np.zeros(many, bool))

    def advance(self, state: ReducedState, steps: int) -> ReducedState:
        """Take so many steps; runs that have crossed stay, as the map holds no longer.

        Exact but for rounding. Cost: some 120 operations a step and run, whatever the width; a
        number of runs compiles once.

        Raises:
            InputError: If `steps` is no whole number from 0 on.
        """
        require(
            isinstance(steps, int | np.integer) and not isinstance(steps, bool) and steps >= 0,
            f"steps came as {steps!r}; give a whole number from 0 on",
        )
        many = self.step_size.shape
        flat = jax.tree.map(lambda v: np.reshape(v, (-1, *v.shape[len(many) :])), state)
        found = _advance(_fixed(self), flat, jnp.asarray(steps))
        return ReducedState(*(np.asarray(v).reshape((*many, *v.shape[1:])) for v in found))

    def net_at(self, state: ReducedState) -> OneInputNet:
        """The whole net, (..., n): theta_i = T (a_i, 0, w_i)."""
        start = np.stack([self.net.a, self.net.w], axis=-1)
        moved = np.einsum("...sxy,...iy->...six", state.maps, start)
        right = self.net.sides()[0][..., None]
        theta = np.where(right, moved[..., 0, :, :], moved[..., 1, :, :])
        return OneInputNet(theta[..., 0], theta[..., 1], theta[..., 2], state.c)

    def lines_at(self, state: ReducedState) -> Float[np.ndarray, "... 4"]:
        """Slope and intercept of f on the right, then on the left."""
        start = second_moments(self.net)[..., [0, 2], :][..., [0, 2]]
        T = state.maps
        return two_lines(T @ start @ np.swapaxes(T, -1, -2), state.c, self.leak)

    def excess_loss(self, state: ReducedState) -> Float[np.ndarray, "..."]:
        """The loss less its floor, 1/2 (v - v_opt)^T M (v - v_opt), without cancellation."""
        gap = self.lines_at(state) - self.data.best_lines()
        return 0.5 * np.einsum("...i,...ij,...j->...", gap, self.data.moments(), gap)

    def reach(self, state: ReducedState) -> Float[np.ndarray, "..."]:
        """max_i |b_i/a_i| from the extreme rho alone (E4); inf past a pole."""
        rho, there = extreme_ratios(self.net)
        T = state.maps[..., None]
        a = T[..., 0, 0, :] + T[..., 0, 1, :] * rho
        b = T[..., 1, 0, :] + T[..., 1, 1, :] * rho
        with np.errstate(divide="ignore", invalid="ignore"):
            far = np.where(a > 0, np.abs(b) / a, np.inf)
        return np.max(np.where(there[..., None], far, 0.0), axis=(-2, -1))

    def take(self, index: Any) -> KinkDynamics:
        """Some of the runs, by their place on the first axis."""
        p = self.data.p if self.data.p.ndim == 1 else self.data.p[index]
        net = OneInputNet(*(v[index] for v in self.net))
        return self._replace(net=net, data=self.data._replace(p=p), step_size=self.step_size[index])


def kink_dynamics(
    net: OneInputNet,
    data: OneInputData,
    step_size: ArrayLike | None = None,
    leak: float = 0.0,
) -> KinkDynamics:
    """The reduced gradient descent of nets from their starts.

    Args:
        net: The starts, with b = 0 and no a of 0; leading axes for many runs.
        data: The examples; weights may have the leading axes, too.
        step_size: h; `largest_step_size` of each start by default.
        leak: alpha of the activation max(z, alpha z).

    Raises:
        InputError: If a hidden bias is not 0, or an input weight is, a number is not finite, the
            step size not positive, or leading axes do not fit.

    Examples:
        >>> from thalweg.theory.relu_nets.kink_dynamics import kink_dynamics
        >>> from thalweg.theory.relu_nets.one_input import he_net, one_input_data
        >>> data = one_input_data([-3, -2, -1, 1, 2, 3], [-1, 2, -1, 1, -2, 1])
        >>> runs = kink_dynamics(he_net(np.random.default_rng(0), 64, (100,)), data)
        >>> end = runs.advance(runs.start, 12_800)
        >>> bool(0.05 < end.crossed.mean() < 0.35)  # the paper's probability is 0.18
        True
    """
    require_positive(step_size=step_size)
    steps = () if step_size is None else np.shape(step_size)
    parts = {"net": net.a.shape[:-1], "data": data.p.shape[:-1], "step_size": steps}
    try:
        np.broadcast_shapes(*parts.values())
    except ValueError:
        raise InputError(f"the leading axes came as {parts}; give each the same, or none") from None
    require(
        all(bool(np.all(np.isfinite(v))) for v in net),
        "a number of the net is not finite; give a net of finite numbers",
    )
    require(
        bool(np.all(net.b == 0)) and bool(np.all(net.a != 0)),
        "the reduced dynamics start with all kinks at 0; give a net with zero hidden biases and "
        "input weights that are not 0",
    )
    h = largest_step_size(net, data, leak) if step_size is None else np.asarray(step_size, float)
    many = np.broadcast_shapes(h.shape, net.a.shape[:-1], data.p.shape[:-1])
    a, b, w = (np.broadcast_to(v, (*many, v.shape[-1])) for v in (net.a, net.b, net.w))
    net = OneInputNet(a, b, w, np.broadcast_to(net.c, many))
    return KinkDynamics(net, data, np.broadcast_to(h, many), leak)


def extreme_ratios(
    net: OneInputNet,
) -> tuple[Float[np.ndarray, "... 2 2"], np.ndarray]:
    """Least and largest rho_i = w_i/a_i of either side, and whether the side has units.

    Examples:
        >>> from thalweg.theory.relu_nets.kink_dynamics import extreme_ratios
        >>> from thalweg.theory.relu_nets.one_input import OneInputNet
        >>> a, w = np.array([1.0, 2.0]), np.array([3.0, -4.0])
        >>> net = OneInputNet(a, np.zeros(2), w, np.zeros(()))
        >>> rho, there = extreme_ratios(net)
        >>> rho[0].tolist(), there.tolist()
        ([-2.0, 3.0], [True, False])
    """
    rho, sides = net.w / net.a, net.sides()
    there = np.stack([own.any(-1) for own in sides], axis=-1)
    ends = [
        np.stack([np.where(own, rho, np.inf).min(-1), np.where(own, rho, -np.inf).max(-1)], -1)
        for own in sides
    ]
    return np.where(there[..., None], np.stack(ends, axis=-2), 0.0), there


class _Fixed(NamedTuple):
    """What does not change along a run; the last axis is that of the runs."""

    sigma: Array  # (2, 3): aa, aw, ww
    M: Array  # (2, 3): xx, x, 1
    targets: Array  # (2, 2)
    rho: Array  # (2, 2)
    limit: Array  # (2,): min |x_j|, inf for a side without units
    h: Array
    leak: Array


def _fixed(runs: KinkDynamics) -> _Fixed:
    many = runs.step_size.shape

    def last(values: np.ndarray, axes: int) -> Array:
        kept = values.shape[values.ndim - axes :]
        full = np.broadcast_to(values, (*many, *kept)).reshape(-1, *kept)
        return jnp.asarray(np.moveaxis(full, 0, -1))

    sigma, M, targets = second_moments(runs.net), runs.data.moments(), runs.data.targets()
    rho, there = extreme_ratios(runs.net)
    blocks = np.stack([M[..., :2, :2], M[..., 2:, 2:]], axis=-3)
    return _Fixed(
        last(sigma[..., [0, 0, 2], [0, 2, 2]], 2),
        last(blocks[..., [0, 0, 1], [0, 1, 1]], 2),
        last(targets.reshape(*targets.shape[:-1], 2, 2), 2),
        last(rho, 2),
        last(np.where(there, runs.data.nearest, np.inf), 1),
        last(runs.step_size, 0),
        jnp.asarray(runs.leak),
    )


@jax.jit
def _advance(fixed: _Fixed, state: ReducedState, steps: Array) -> ReducedState:
    """All runs side by side: every number is a vector over the runs, so that XLA fuses a step."""
    T = jnp.moveaxis(jnp.asarray(state.maps), 0, -1)
    maps = [[(T[s, r, 0], T[s, r, 1]) for r in range(3)] for s in range(2)]
    begin = (maps, jnp.asarray(state.c), jnp.asarray(state.steps), jnp.asarray(state.crossed))
    last = jax.lax.fori_loop(0, steps, lambda _, now: _step(fixed, *now), begin)
    rows = jnp.stack([jnp.stack([jnp.stack(row) for row in side]) for side in last[0]])
    return ReducedState(jnp.moveaxis(rows, -1, 0), *last[1:])  # type: ignore[arg-type]


def _step(fixed: _Fixed, maps: Any, c: Array, steps: Array, crossed: Array) -> tuple[Any, ...]:
    """One simultaneous step of T and c; the crossing is asked without a division."""
    pulls = _pulls(fixed, maps, c)
    crossing, moved = crossed, []
    for s in range(2):
        (a0, a2), (b0, b2), (w0, w2) = maps[s]
        u1, u2 = (
            own + fixed.leak * other for own, other in zip(pulls[s], pulls[1 - s], strict=True)
        )
        a, b = (a0 + u1 * w0, a2 + u1 * w2), (b0 + u2 * w0, b2 + u2 * w2)
        moved.append([a, b, (w0 + u1 * a0 + u2 * b0, w2 + u1 * a2 + u2 * b2)])
        for rho in fixed.rho[s]:  # |b/a| >= limit, or a <= 0: past a pole
            crossing |= jnp.abs(b[0] + b[1] * rho) >= fixed.limit[s] * (a[0] + a[1] * rho)
    after = (moved, c + pulls[0][1] + pulls[1][1])
    kept = jax.tree.map(lambda new, old: jnp.where(crossed, old, new), after, (maps, c))
    return (*kept, steps + (~crossed).astype(steps.dtype), crossing)


def _pulls(fixed: _Fixed, maps: Any, c: Array) -> list[tuple[Array, Array]]:
    """How either side is pulled, h u with u = M (v_opt - v)."""
    own = []
    for s in range(2):
        (a0, a2), (b0, b2), (w0, w2) = maps[s]
        aa, aw, ww = fixed.sigma[s]
        m0, m2 = w0 * aa + w2 * aw, w0 * aw + w2 * ww
        own.append((m0 * a0 + m2 * a2, m0 * b0 + m2 * b2))
    pulls = []
    for s in range(2):
        p, q = (mine + fixed.leak * other for mine, other in zip(own[s], own[1 - s], strict=True))
        (xx, x, one), (first, second) = fixed.M[s], fixed.targets[s]
        pulls.append(
            (fixed.h * (first - xx * p - x * (q + c)), fixed.h * (second - x * p - one * (q + c)))
        )
    return pulls
